"""A training that is measured as it goes keeps its best weights, whenever it is killed, and trains as without."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from embedloom.errors import RunError
from embedloom.evals.held_out import evaluate_held_out
from embedloom.model.encoder import Encoder
from embedloom.model.inputs import contract_for
from embedloom.records import Embedder, Example
from embedloom.run import read_records
from embedloom.train.development import DEVELOPMENT_FILE, Development, Measurement
from embedloom.train.loop import StepLog
from embedloom.train.lora import add_lora
from embedloom.train.state import best_score, trained
from tiny import model_of, tokenizer_of
from toy_training import EXAMPLES, SETTINGS, figures, finds_its_own, toy_training, weights
from word_embedder import WordEmbedder


class Stop(Exception):  # noqa: N818 - what a user does
    """Raised in the middle of a training."""


def scripted(scores: Sequence[float], every: int = 2) -> Development:
    """Gives these scores one after the other: that of the untrained model first."""
    left = list(scores)
    return Development(lambda _: {"set": left.pop(0)}, every, "scripted")


def fresh() -> object:
    return add_lora(model_of("llama"), rank=4, alpha=8, dropout=0.1, seed=0)


def measurements(folder: Path) -> list[tuple[int, float]]:
    return [(found.step, found.score) for found in read_records(folder / DEVELOPMENT_FILE, Measurement)]


def test_the_best_weights_are_those_behind_the_best_step(tmp_path: Path) -> None:
    at: dict[int, dict[str, bytes]] = {}
    models = []

    def keep(log: StepLog) -> None:
        at[log.step + 1] = weights(models[0])

    # Eleven steps, measured behind every second one and the last.
    scores = [0.9, 0.1, 0.3, 0.7, 0.7, 0.2, float("nan")]

    def look(model: Embedder) -> dict[str, float]:
        return {"set": scores.pop(0)}

    real = add_lora

    def remembered(*arguments: object, **words: object) -> object:
        models.append(real(*arguments, **words))  # type: ignore[arg-type]
        return models[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embedloom.train.lora.add_lora", remembered)
        model, _ = toy_training(tmp_path, development=Development(look, 2, "scripted"), on_step=keep)
    assert [step for step, _ in measurements(tmp_path)] == [0, 2, 4, 6, 8, 10, 11]
    # The first of two equal ones; what the untrained model reached does not count.
    assert best_score(tmp_path) == 0.7
    assert weights(trained(fresh(), tmp_path)) == at[6]
    assert weights(model) == at[11] != at[6]
    assert [path.name for path in tmp_path.glob("best*")] == ["best-6.pt"]


@pytest.mark.parametrize("at", [0, 2, 3, 5, 6, 8, 9])
def test_a_stopped_training_still_knows_its_best(tmp_path: Path, at: int) -> None:
    """The state is saved every three steps, and the best weights between."""
    whole, logs = toy_training(tmp_path / "whole", development=finds_its_own())

    def stop(log: StepLog) -> None:
        if log.step == at:
            raise Stop

    with pytest.raises(Stop):
        toy_training(tmp_path / "parts", development=finds_its_own(), on_step=stop)
    resumed, again = toy_training(tmp_path / "parts", development=finds_its_own())
    assert figures(again) == figures(logs)
    assert weights(resumed) == weights(whole)
    assert measurements(tmp_path / "parts") == measurements(tmp_path / "whole")
    assert weights(trained(fresh(), tmp_path / "parts")) == weights(trained(fresh(), tmp_path / "whole"))
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


def test_a_better_score_of_steps_that_are_done_again_is_forgotten(tmp_path: Path) -> None:
    """Behind the state of step 6 step 8 was the best; the second time it is not."""

    def stop(log: StepLog) -> None:
        if log.step == 7:
            raise Stop

    with pytest.raises(Stop):
        toy_training(tmp_path, development=scripted([0, 0.1, 0.5, 0.3, 0.9]), on_step=stop)
    assert (tmp_path / "best-8.pt").exists()
    toy_training(tmp_path, development=scripted([0.4, 0.3, 0.2]))
    assert best_score(tmp_path) == 0.5
    assert measurements(tmp_path) == [(0, 0), (2, 0.1), (4, 0.5), (6, 0.3), (8, 0.4), (10, 0.3), (11, 0.2)]
    assert [path.name for path in tmp_path.glob("best*")] == ["best-4.pt"]


def test_measuring_changes_no_digit_of_the_training(tmp_path: Path) -> None:
    plain, logs = toy_training(tmp_path / "plain")
    measured, same = toy_training(tmp_path / "measured", development=finds_its_own(1))
    assert figures(same) == figures(logs)
    assert weights(measured) == weights(plain)
    assert best_score(tmp_path / "plain") is None
    assert weights(trained(fresh(), tmp_path / "plain")) == weights(plain)


@pytest.mark.parametrize("prompt", ["instruction", "prefix", "both", "none"])
def test_the_measured_vectors_are_the_encoders(tmp_path: Path, prompt: str) -> None:
    seen: list[np.ndarray] = []

    def measure(model: Embedder) -> dict[str, float]:
        seen.append(model.encode_queries([example.query for example in EXAMPLES], "Find it"))
        seen.append(model.encode_documents([example.positives[0] for example in EXAMPLES]))
        assert model.dimension == seen[-1].shape[1]
        return {"set": 0.0}

    tokenizer = tokenizer_of("llama")
    contract = contract_for(tokenizer, prompt=prompt)
    model, _ = toy_training(tmp_path, contract=contract, development=Development(measure, 100, ""))
    encoder = Encoder(model, tokenizer, contract, name="", fingerprint="")
    queries = encoder.encode_queries([example.query for example in EXAMPLES], "Find it")
    np.testing.assert_allclose(seen[2], queries, atol=1e-6)
    np.testing.assert_allclose(
        seen[3], encoder.encode_documents([example.positives[0] for example in EXAMPLES]), atol=1e-6
    )
    assert np.abs(seen[2] - seen[0]).max() > 1e-2


def test_another_development_set_makes_another_training(tmp_path: Path) -> None:
    toy_training(tmp_path, development=finds_its_own())
    with pytest.raises(RunError, match="other data or settings"):
        toy_training(tmp_path)
    (tmp_path / next(path.name for path in tmp_path.glob("best*"))).write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"the best weights, is gone or can't be read; delete"):
        trained(fresh(), tmp_path)


def test_held_out_rows_are_searched_among_all_their_texts() -> None:
    rows = [
        Example("Find", "red fox", ("a red fox jumps",), ("a green river",)),
        Example("Find", "green river", ("green river of the north", "a green river"), ("red",)),
        Example("Else", "nothing known", ("small boats",)),
    ]
    (found,) = evaluate_held_out(WordEmbedder(), rows)
    assert (found.main.name, found.count, found.split) == ("ndcg@10", 3, "dev")
    assert found.items[0] == 1.0
    assert found.items[1] == 1.0
    assert found.items[2] < 1.0
    swapped = [dataclasses.replace(rows[0], positives=rows[0].negatives, negatives=rows[0].positives, id=""), *rows[1:]]
    assert evaluate_held_out(WordEmbedder(), swapped)[0].items[0] < 1.0


def test_held_out_rows_with_scores_are_measured_by_the_order_of_their_cosines() -> None:
    told = {"family": "sts", "high_score": 5.0, "low_score": 0.0}
    rows = [
        Example("Find", "red fox", ("a red fox jumps",)),
        Example("Same", "seven small boats", ("seven small boats wait",), ("letters about water",), **told),
        Example("Alike", "rivers run", ("green rivers run",), ("old sea", "quiet towns"), **told | {"low_score": 1.0}),
        Example("Rate", "bread", ("fire",), family="bitext", high_score=4.0),
    ]
    words = WordEmbedder()
    searched, ordered = evaluate_held_out(words, rows)
    # Bitext has one score alone, which no order can be made of.
    assert (searched.task, searched.count) == ("held-out rows", 2)
    assert (ordered.task, ordered.family, ordered.main.name) == ("held-out rows: sts", "sts", "spearman")
    assert ordered.gold.tolist() == [5, 0, 5, 1, 1]
    assert ordered.main.estimate.value == pytest.approx(stats.spearmanr(ordered.gold, ordered.items).statistic)
    assert ordered.main.estimate.value > 0.5
    # Both sentences are asked under the row's instruction, as in an evaluation; a query's two pairs encode it once.
    assert words.asked[-2:] == [("query", "Same", 3), ("query", "Alike", 4)]
    wrong = [dataclasses.replace(row, high_score=row.low_score, low_score=row.high_score, id="") for row in rows[1:3]]
    (against,) = evaluate_held_out(words, wrong)
    assert against.main.estimate.value < -0.5


def test_settings_of_the_toy_have_the_steps_that_these_tests_count() -> None:
    assert (SETTINGS.steps, SETTINGS.save_every) == (11, 3)
