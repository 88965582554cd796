"""What moves a figure besides the model: the words of the instruction, the batch, the precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from embedloom.cli.main import cli
from embedloom.data.pairs import TranslationPair
from embedloom.errors import ModelError
from embedloom.evals.bitext import evaluate_bitext
from embedloom.evals.instructions import DEFAULTS as OWN_DEFAULTS
from embedloom.evals.instructions import INSTRUCTIONS, instruction_for
from embedloom.evals.invariance import batch_gap, gap, sampled_texts
from embedloom.evals.paraphrases import DEFAULTS, PARAPHRASES, paraphrases_of, sensitivity
from embedloom.evals.suite import discover
from tiny import save_tiny
from word_embedder import WordEmbedder

PAIRS = tuple(TranslationPair(text, text) for text in ("red fox", "blue sky", "old car", "new day"))


def test_every_family_has_other_words_than_its_own() -> None:
    patterns = {pattern for pattern, _ in INSTRUCTIONS}
    for pattern, words in PARAPHRASES:
        assert pattern in patterns
        assert len({*words, instruction_for(pattern.strip("*"), "retrieval")}) == 4
    for family, own in OWN_DEFAULTS.items():
        assert len({*paraphrases_of("unheard-of", family), own}) == 4
    assert paraphrases_of("SciFact", "retrieval") != DEFAULTS["retrieval"]


def test_the_spread_is_that_of_the_best_and_the_worst_words() -> None:
    """The first word of an instruction decides here how many of four lines find their translation."""

    def measured(instruction: str) -> Any:
        right = ["Retrieve", "Find", "Given"].index(instruction.split()[0]) + 2
        pairs = [pair if n < right else TranslationPair(pair.sentence1, f"x{n}") for n, pair in enumerate(PAIRS)]
        return evaluate_bitext(WordEmbedder(), pairs, task="t", instruction=instruction)

    results = [measured(words) for words in (OWN_DEFAULTS["bitext"], *paraphrases_of("t", "bitext"))]
    assert [result.instruction for result in results] == [OWN_DEFAULTS["bitext"], *DEFAULTS["bitext"]]
    told = sensitivity(results)
    assert (told.task, told.metric, told.instructions) == ("t", "f1", 4)
    assert told.own == results[0].main.estimate.value
    assert told.worst is results[0]
    assert told.best.instruction == DEFAULTS["bitext"][1]
    assert told.difference.value == pytest.approx(told.best.main.estimate.value - told.own)


class BatchEmbedder(WordEmbedder):
    """Its vectors depend on what stands beside a text."""

    def _encode(self, texts: Sequence[str], progress: Any) -> Any:
        found = super()._encode(texts, progress)
        found[:, 0] += 0.1 * (len(texts) > 1)
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_a_vector_that_depends_on_its_batch_is_seen() -> None:
    texts = ["red fox", "blue sky over old towns", "night"]
    assert batch_gap(WordEmbedder(), texts, "Find it") < 1e-6
    assert batch_gap(BatchEmbedder(), texts, "Find it") > 1e-3
    left = np.eye(3, dtype=np.float32)
    assert gap(left, left) == 0
    assert gap(left, left[[0, 2, 1]]) == 1


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [{"sentence1": f"red fox {n}", "sentence2": f"red fox {n} runs"} for n in range(30)]
    path = tmp_path / "some" / "lines.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_texts_are_taken_short_and_long_and_each_once(pairs: Path) -> None:
    found = discover(pairs)
    texts = sampled_texts([*found, *found], 8)
    assert len(texts) == len(set(texts)) <= 8
    lengths = [len(text) for text in sampled_texts(found, 8)]
    assert min(lengths) == len("red fox 0")
    assert max(lengths) == len("red fox 10 runs")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["eval", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_eval_tells_the_spread_and_writes_a_row_for_each_wording(tmp_path: Path, pairs: Path) -> None:
    model, out = save_tiny(tmp_path / "model"), tmp_path / "scores.jsonl"
    told = run(str(model), str(pairs), "--paraphrases", "--dtype", "float32", "--out", str(out))
    assert "under 4 instructions; best - worst" in told
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["instruction"] for row in rows} == {OWN_DEFAULTS["bitext"], *DEFAULTS["bitext"]}
    assert len(rows) == 4 * 4


def test_eval_proves_that_batch_and_precision_leave_a_text_its_vector(tmp_path: Path, pairs: Path) -> None:
    model = save_tiny(tmp_path / "model", "qwen3")
    told = run(str(model), str(pairs), "--invariance", "--dtype", "float32")
    assert "batch and order: largest 1 - cosine of 16 texts" in told
    assert "float32 against bfloat16: largest 1 - cosine of 16 texts" in told
    assert "f1_reversed" in told


def test_bm25_has_neither(pairs: Path) -> None:
    with pytest.raises(ModelError, match="bm25 has no instruction and no vectors"):
        CliRunner().invoke(cli, ["eval", "bm25", str(pairs), "--paraphrases"], catch_exceptions=False)


def test_mteb_that_is_absent_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    from embedloom.errors import MissingExtraError

    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    from embedloom.evals.mteb_model import mteb_model
    from embedloom.evals.mteb_tasks import mteb_sets

    for call in (lambda: mteb_sets("STSBenchmark"), lambda: mteb_model(WordEmbedder())):
        with pytest.raises(MissingExtraError, match=r"pip install 'embedloom\[mteb\]'"):
            call()
