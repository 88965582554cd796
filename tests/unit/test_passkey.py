"""Passkey retrieval: documents of the right length that differ in one passage, checked figures, pictures."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from embedloom.cli.main import cli
from embedloom.errors import DataError
from embedloom.evals.passkey import PasskeySet, evaluate_passkey, languages, make_passkey_set
from embedloom.evals.passkey_curve import PasskeyScore, passkey_page, passkey_picture
from tiny import WINDOW, save_tiny
from word_embedder import WordEmbedder


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + 2 for text in texts]


@pytest.mark.parametrize("language", languages())
def test_documents_fill_their_length_and_answer_one_query_each(language: str) -> None:
    def count_characters(texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    made = make_passkey_set(900, count_characters, documents=12, queries=5, language=language, seed=3)
    assert (len(made.documents), len(made.queries), len(made.answers)) == (12, 5, 5)
    assert made.tokens == tuple(map(len, made.documents))
    assert all(850 < count <= 900 for count in made.tokens)
    assert not any("{" in text for text in (*made.documents, *made.queries))
    # The person whom a query names stands in the document that answers it, and in no other.
    for query, answer in zip(made.queries, made.answers, strict=True):
        shared = [len(longest_shared(query, document)) for document in made.documents]
        assert shared.index(max(shared)) == answer
        assert shared.count(max(shared)) == 1


def longest_shared(query: str, document: str) -> str:
    pieces = (query[a:b] for a in range(len(query)) for b in range(a + 1, len(query) + 1))
    return max((piece for piece in pieces if piece in document), key=len, default="")


def test_the_passage_stands_anywhere_and_the_seed_decides() -> None:
    made = make_passkey_set(400, count_words, seed=1)
    places = [document.index("passkey") / len(document) for document in made.documents]
    assert min(places) < 0.1
    assert max(places) > 0.9
    assert len(set(made.documents)) == 100
    assert made == make_passkey_set(400, count_words, seed=1)
    assert made.documents != make_passkey_set(400, count_words, seed=2).documents
    assert all(count + 6 >= 398 and count <= 400 for count in made.tokens)


@pytest.mark.parametrize(
    ("length", "more", "sentence"),
    [
        (500, {"language": "xx"}, "no passkey texts for the language 'xx'; expected one of en, de"),
        (500, {"documents": 101}, "expected 2 to 100 documents, as there are persons"),
        (500, {"documents": 9, "queries": 10}, "and 1 to 9 queries"),
        (12, {}, "a passage alone has 18 tokens; expected a length of at least that, got 12"),
    ],
)
def test_a_set_that_can_not_be_made_says_why(length: int, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        make_passkey_set(length, count_words, **more)


def test_accuracy_is_the_share_of_first_documents_that_are_right() -> None:
    made = make_passkey_set(60, count_words, documents=30, queries=20)
    embedder = WordEmbedder()
    told: list[int] = []
    found = evaluate_passkey(embedder, made, progress=told.append)
    assert sum(told) == 50
    # Words of the names decide, and some are in several.
    assert found.accuracy.value > 0.7
    assert "passkey" in found.instruction
    assert [(role, count) for role, _, count in embedder.asked] == [("query", 20), ("document", 30)]
    turned = dataclasses.replace(made, answers=tuple((answer + 1) % 30 for answer in made.answers))
    assert evaluate_passkey(embedder, turned).accuracy.value < 0.1
    half = PasskeySet(8, "en", ("a b", "c d"), (2, 2), ("a", "a"), (0, 1))
    assert evaluate_passkey(embedder, half, instruction="").accuracy.value == 0.5


def score(length: int, value: float, setting: str = "as trained", **more: Any) -> PasskeyScore:
    interval = (max(0.0, value - 0.1), min(1.0, value + 0.1))
    return PasskeyScore("tiny <b>", length, "en", value, interval, 100, 50, setting, 1e4, **more)


def test_the_picture_has_a_line_a_setting_and_its_points_in_place() -> None:
    scores = [score(256, 1.0), score(1024, 0.5), score(4096, 0.0), score(1024, 0.8, "base 100,000 & more")]
    root = ElementTree.fromstring(passkey_picture(scores))
    name = "{http://www.w3.org/2000/svg}"
    lines = [line.get("points", "") for line in root.iter(f"{name}polyline")]
    (first, second) = ([tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines)
    xs, ys = zip(*first, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] < ys[1] < ys[2]
    assert ys[1] == pytest.approx((ys[0] + ys[2]) / 2)
    assert second[0][0] == xs[1]
    texts = [text.text for text in root.iter(f"{name}text")]
    assert {"256", "1k", "4k", "as trained", "base 100,000 & more"} <= set(texts)
    page = passkey_page(scores)
    assert "tiny &lt;b&gt;" in page
    assert "base 100,000 &amp; more" in page
    assert page.count("<svg") == 1
    with pytest.raises(ValueError, match="at least one score"):
        passkey_picture([])


def test_what_was_measured_is_known_again_whatever_came_out() -> None:
    assert score(256, 1.0).id == score(256, 0.2, "other words", seconds=5.0).id
    others = [score(512, 1.0), score(256, 1.0, window=8), score(256, 1.0, seed=1), score(256, 1.0, fingerprint="f")]
    assert len({one.id for one in [score(256, 1.0), *others]}) == 5


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "gemma3")
    out = tmp_path / "scores.jsonl"
    base = ["passkey", str(model), "--documents", "4", "--queries", "3", "--dtype", "float32", "--out", str(out)]
    sweep = [*base, "--lengths", "300,150", "--rotary-base", "1e5", "--window", "8,32"]

    def run(arguments: list[str]) -> list[dict[str, Any]]:
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    rows = run(sweep)
    settings = ["as trained", "base 100,000, window 8", "base 100,000, window 32"]
    assert [(row["length"], row["setting"]) for row in rows] == [(n, one) for n in (150, 300) for one in settings]
    assert [(row["base"], row["local_base"], row["window"]) for row in rows[:3]] == [
        (1e6, 1e4, WINDOW), (1e5, 1e4, 8), (1e5, 1e4, 32)
    ]  # fmt: skip
    assert all(row["peak_bytes"] > 0 and 100 < row["tokens"] <= row["length"] for row in rows)
    lines = out.read_text(encoding="utf-8").splitlines()
    out.write_text("\n".join(lines[:4]) + "\n" + lines[4][:20], encoding="utf-8")
    again = run(sweep)
    assert again[:4] == rows[:4]
    assert [row["value"] for row in again] == [row["value"] for row in rows]
    assert len(run([*base, "--lengths", "150", "--languages", "ja"])) == 7
    assert "ja · as trained" in out.with_suffix(".html").read_text(encoding="utf-8")
    assert ElementTree.parse(out.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_the_values_of_an_option_are_checked(tmp_path: Path) -> None:
    wrong = {"--lengths": ("1,x", "expected lengths"), "--rotary-scaling": ("yarn", "expected KIND:FACTOR")}
    for option, (value, sentence) in wrong.items():
        result = CliRunner().invoke(cli, ["passkey", str(tmp_path), option, value])
        assert result.exit_code == 2
        assert sentence in result.output
