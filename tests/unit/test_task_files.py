"""Files of pairs, labels and candidates: rows, and the sentence each fault gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedloom.data.candidates import Candidates, read_candidates
from embedloom.data.labels import LabelledText, read_labels
from embedloom.data.pairs import ScoredPair, TranslationPair, read_scored_pairs, read_translation_pairs
from embedloom.errors import DataError

STS = ['{"sentence1": "a", "sentence2": "b", "score": 1}', '{"sentence1": "c", "sentence2": "d", "score": 2.5}']
LABELS = ['{"text": "a", "label": "x"}', '{"text": "b", "label": 3}']
RERANK = ['{"query": "q", "positives": ["p"], "negatives": ["n", "m"]}']


def written(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_are_read(tmp_path: Path) -> None:
    assert read_scored_pairs(written(tmp_path, STS)) == (ScoredPair("a", "b", 1.0), ScoredPair("c", "d", 2.5))
    assert read_translation_pairs(written(tmp_path, STS)) == (TranslationPair("a", "b"), TranslationPair("c", "d"))
    assert read_labels(written(tmp_path, LABELS)) == (LabelledText("a", "x"), LabelledText("b", "3"))
    assert read_candidates(written(tmp_path, RERANK)) == (Candidates("q", ("p",), ("n", "m")),)


@pytest.mark.parametrize(
    ("read", "lines", "words"),
    [
        (read_scored_pairs, [STS[0], '{"sentence1": "a", "sentence2": "b"}'], ":2: key 'score' is missing"),
        (read_scored_pairs, [STS[0], STS[1].replace("2.5", "NaN")], ":2: key 'score': expected a finite number"),
        (read_scored_pairs, [STS[0], STS[1].replace("2.5", "Infinity")], ":2: key 'score': expected a finite number"),
        (read_scored_pairs, [STS[0], STS[1].replace("2.5", '"high"')], ":2: key 'score': expected a finite number"),
        (read_scored_pairs, [STS[0], STS[1].replace("2.5", "null")], ":2: key 'score': expected a finite number"),
        (read_scored_pairs, [STS[0], STS[1].replace('"c"', '" "')], ":2: key 'sentence1' is empty"),
        (read_scored_pairs, [STS[0], STS[0]], "at least two pairs with different scores"),
        (read_scored_pairs, [""], "at least two pairs with different scores"),
        (read_translation_pairs, [""], "is empty"),
        (read_translation_pairs, ['{"sentence1": "a"}'], ":1: key 'sentence2' is missing; the line has 'sentence1'"),
        (read_translation_pairs, ['{"sentence1": "a", "sentence2": null}'], ":1: key 'sentence2': expected text"),
        (read_labels, [LABELS[0], LABELS[0]], "at least two different labels, found 1"),
        (read_labels, [LABELS[0], '{"text": "", "label": "y"}'], ":2: key 'text' is empty"),
        (read_labels, [LABELS[0], '{"text": "b", "label": 0.5}'], ":2: key 'label': expected an id"),
        (read_candidates, [RERANK[0], RERANK[0].replace('["p"]', "[]")], ":2: expected at least one positive"),
        (read_candidates, [RERANK[0].replace('["p"]', '"p"')], ":1: key 'positives': expected a list of texts"),
        (read_candidates, [RERANK[0].replace('"m"', '""')], ":1: key 'negatives' holds ''"),
        (read_candidates, [""], "is empty"),
    ],
)
def test_each_fault_is_one_sentence_with_its_place(
    tmp_path: Path, read: Callable[[Path], Any], lines: list[str], words: str
) -> None:
    path = written(tmp_path, lines)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
