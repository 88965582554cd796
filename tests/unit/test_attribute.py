"""Source attribution: quotations found word for word, what is foreign has no source, spans stand where they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from embedloom.cli.attribute import command
from embedloom.errors import DataError, FingerprintError
from embedloom.model.encoder import open_encoder
from embedloom.records import Document
from embedloom.search.attribute import attribute, background_threshold
from embedloom.search.index import VectorIndex, create_index
from embedloom.search.spans import spans, statements
from fakes import HashEmbedder
from tiny import save_tiny
from word_embedder import WordEmbedder

DOCUMENTS = [
    Document("ovens", "Bakers heat stone ovens before dawn. The bread rests an hour. Dr. Oven knows.", "Bread ovens"),
    Document("ferries", "River ferries cross at noon. Each carries nine carts.\nNobody pays on Sundays."),
    Document("kettles", "Copper kettles boil slowly. A lid keeps the heat in."),
    Document("empty", "?!"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> VectorIndex:
    return create_index(tmp_path_factory.mktemp("attribute") / "index", DOCUMENTS, WordEmbedder())


def test_a_quotation_has_its_very_span_and_a_foreign_sentence_has_none(index: VectorIndex) -> None:
    text = "EACH carries [1] nine carts! [2, 3]\n\n- Violins have four strings. The stone ovens bakers heat before dawn"
    quoted, foreign, turned = attribute(text, index, WordEmbedder(), threshold=0.5)
    [source] = quoted.sources
    assert (source.document_id, source.score, source.text) == ("ferries", 1.0, "Each carries nine carts.")
    assert (foreign.sentence, foreign.sources) == ("Violins have four strings.", ())
    assert 0 < foreign.best < 0.5
    best = turned.sources[0]
    content = DOCUMENTS[0].content
    assert (best.document_id, content[best.start : best.end]) == ("ovens", best.text)
    assert "heat stone ovens before dawn." in best.text
    assert 0.5 < best.score < 1


def test_sources_are_ordered_and_limited(index: VectorIndex) -> None:
    [found] = attribute("Bakers heat copper kettles before noon.", index, WordEmbedder(), threshold=-1, most=2)
    scores = [source.score for source in found.sources]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert found.best == scores[0]
    assert {source.document_id for source in found.sources} <= {"ovens", "kettles", "ferries"}


def test_a_text_without_a_sentence_and_an_index_of_another_model(index: VectorIndex) -> None:
    with pytest.raises(DataError, match="no sentence"):
        attribute("?! \n --", index, WordEmbedder(), threshold=0.5)
    with pytest.raises(FingerprintError):
        attribute("A sentence.", index, HashEmbedder(), threshold=0.5)


def test_the_threshold_is_what_sentences_reach_in_others_documents(index: VectorIndex, tmp_path: Path) -> None:
    low = background_threshold(index, WordEmbedder(), level=0.0)
    high = background_threshold(index, WordEmbedder(), level=1.0)
    assert -0.5 < low < high < 0.9
    assert background_threshold(index, WordEmbedder()) == background_threshold(index, WordEmbedder())
    # Copies are sources, whichever document they stand in.
    twice = [*DOCUMENTS, *(Document(f"{d.id} again", d.text, d.title) for d in DOCUMENTS)]
    doubled = create_index(tmp_path / "index", twice, WordEmbedder())
    assert background_threshold(doubled, WordEmbedder(), level=1.0, k=6) < 0.9
    alone = create_index(tmp_path / "alone", DOCUMENTS[:1], WordEmbedder())
    assert background_threshold(alone, WordEmbedder()) == 0.0


@given(st.text(alphabet="ab. \n!?。A", max_size=60))
def test_spans_are_the_sentences_and_their_neighbours(text: str) -> None:
    found = statements(text)
    places = spans(text)
    assert [text[start:end] for start, end in places[: len(found)]] == found
    assert len(places) == max(0, 2 * len(found) - 1)
    assert all(0 <= start < end <= len(text) for start, end in places)


def test_a_sample_is_drawn_by_its_seed(index: VectorIndex) -> None:
    assert index.sample(2, seed=1) == index.sample(2, seed=1)
    assert {d.id for d in index.sample(9, seed=1)} == {d.id for d in DOCUMENTS}
    assert all(document in DOCUMENTS for document in index.sample(3, seed=5))
    assert len({tuple(d.id for d in index.sample(2, seed=seed)) for seed in range(20)}) > 1


def test_the_verb_prints_sources_or_that_there_are_none(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    create_index(tmp_path / "index", DOCUMENTS, open_encoder(model))
    text = tmp_path / "answer.txt"
    text.write_text("River ferries cross at noon. Violins.", encoding="utf-8")
    arguments = [str(tmp_path / "index"), "--model", str(model), "--text", str(text)]
    shown = CliRunner().invoke(command, [*arguments, "--threshold", "1"])
    assert shown.exit_code == 0, shown.exception
    first, source, second, none = shown.stdout.splitlines()
    assert (first, second) == ("River ferries cross at noon.", "Violins.")
    assert source == "  1.000  ferries:0-28  River ferries cross at noon."
    assert none.startswith("  no source found (best ")
    told = CliRunner().invoke(command, [*arguments, "--json"])
    assert told.stderr.startswith("threshold ")
    assert json.loads(told.stdout.splitlines()[0])["sources"][0]["document_id"] == "ferries"
    text.write_bytes(b"\xff")
    assert isinstance(CliRunner().invoke(command, arguments).exception, DataError)
