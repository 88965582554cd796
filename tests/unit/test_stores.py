"""What every store of an index must do: the same tests in LanceDB and in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from embedloom.errors import DataError, FingerprintError
from embedloom.records import Document, Hit
from embedloom.search.calibration import measured_threshold, stored_threshold
from embedloom.search.index import VectorIndex, create_index, open_index
from embedloom.search.kinds import IndexKind
from embedloom.search.lance_store import ALLOWED as LANCE
from embedloom.search.map import map_of
from embedloom.search.postgres_store import ALLOWED as POSTGRES
from embedloom.search.tags import Condition, TaggedDocument, read_columns, read_conditions
from fakes import HashEmbedder
from postgres import server

HOSTILE = ["a'b", "a\\b", "\\'", 'a"b', "a\nb", "", "' OR 1=1 --", "%", "%s", "{table}", "$1", "id", "日本", "NULL"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("psycopg")
    with server() as started:
        yield started


@pytest.fixture(params=["lance", "lance-uri", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return f"{request.getfixturevalue('address')}&index=i{uuid4().hex}"
    return str(tmp_path / "index") if request.param == "lance" else f"file://{tmp_path}/index"


def corpus(count: int) -> list[Document]:
    return [Document(f"d{i}", f"text {i}", "title" if i % 3 == 0 else "") for i in range(count)]


def tagged(count: int) -> list[Document]:
    values = [{"year": 2000 + i % 10, "lang": "en" if i % 2 else "d'e"} if i else {} for i in range(count)]
    return [TaggedDocument(f"d{i}", f"text {i}", tags=tags) for i, tags in enumerate(values)]


TAGS = IndexKind(columns={"year": "integer", "lang": "text"})


def ranked(documents: list[Document], query: str, k: int) -> list[Hit]:
    model = HashEmbedder()
    d_ND = model.encode_documents([d.content for d in documents]).astype(np.float64)
    score_N = (d_ND * model.encode_queries([query], "")[0]).sum(axis=1)
    order = sorted(range(len(documents)), key=lambda n: (score_N[n], documents[n].id), reverse=True)
    return [Hit(documents[n].id, float(score_N[n])) for n in order[:k]]


def ids(hits: list[Hit]) -> list[str]:
    return [hit.document_id for hit in hits]


def test_an_exact_index_ranks_as_brute_force_and_opens_again(place: str) -> None:
    documents = corpus(300)
    create_index(place, documents, HashEmbedder("a name"), instruction="Find it", batch_size=64)
    index = open_index(place)
    assert (index.model.name, index.model.fingerprint, index.model.instruction) == ("a name", "f0", "Find it")
    for k in (1, 10, 400):
        [hits] = index.search(["q"], HashEmbedder(), "", k=k)
        expected = ranked(documents, "q", k)
        assert ids(hits) == ids(expected)
        np.testing.assert_allclose([h.score for h in hits], [h.score for h in expected], atol=1e-6)
    assert (len(index), index.search([], HashEmbedder())) == (300, [])


def test_equal_vectors_are_ranked_by_id_last_first(place: str) -> None:
    documents = [Document(f"{i:03}", "the same text") for i in np.random.default_rng(0).permutation(100)]
    index = create_index(place, documents + corpus(50), HashEmbedder(), batch_size=37)
    [hits] = index.search(["the same text"], HashEmbedder(), "", k=5)
    assert ids(hits) == ["099", "098", "097", "096", "095"]


def test_another_model_is_refused_on_every_way_in(place: str) -> None:
    index, stranger = create_index(place, corpus(5), HashEmbedder("first")), HashEmbedder("other", "f1")
    for action in (
        lambda: index.search(["q"], stranger),
        lambda: index.search(["q"], stranger, mode="words"),
        lambda: index.add([Document("new", "x")], stranger),
        lambda: index.update([Document("d1", "x")], stranger),
        lambda: index.delete(["d1"], stranger),
    ):
        with pytest.raises(FingerprintError, match="vectors of first .*given is other .*embedloom index other"):
            action()
    assert (stranger.encoded, len(open_index(place))) == ([], 5)


def test_hostile_ids_and_texts_are_found_and_change_nothing(place: str) -> None:
    kind = IndexKind(words="simple", columns={"tag": "text"})
    documents = [TaggedDocument(text, f"text {text}", text, tags={"tag": text}) for text in HOSTILE]
    index = create_index(place, documents, HashEmbedder(), kind=kind)
    plain = [Document(text, f"text {text}", text) for text in HOSTILE]
    assert index.documents(HOSTILE[::-1]) == plain[::-1]
    for text in HOSTILE:
        [hits] = index.search(["q"], HashEmbedder(), where=[Condition("tag", "=", text)])
        assert ids(hits) == [text]
        assert index.search([text], HashEmbedder(), mode="words", where=[Condition("tag", "in", (text, "other"))])
        with pytest.raises(DataError, match="twice"):
            index.add([Document(text, "x")], HashEmbedder())
    assert len(index) == len(HOSTILE)
    with pytest.raises(DataError, match="no document with id"):
        index.documents(["x' OR '1'='1"])
    assert index.delete(["' OR 1=1 --", "x\x00y", "none"]) == 1
    assert len(index) == len(HOSTILE) - 1


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["year >= 2008"], lambda i: i % 10 >= 8), (["year!=2001"], lambda i: i % 10 != 1),
        (["lang = d'e"], lambda i: i % 2 == 0), (["year < 2003", "lang = en"], lambda i: i % 10 < 3 and i % 2),
        (['lang in ["en", "d\'e"]'], lambda i: True), (["year in [2004, 2005]"], lambda i: i % 10 in (4, 5)),
        (["year > 3000"], lambda i: False),
    ],
)  # fmt: skip
def test_conditions_on_tags(place: str, given: list[str], found: object) -> None:
    documents = tagged(60)
    index = create_index(place, documents, HashEmbedder(), kind=TAGS)
    [hits] = open_index(place).search(["q"], HashEmbedder(), k=25, where=read_conditions(given))
    # The first document has no tags, and no condition holds for it.
    expected = [document for number, document in enumerate(documents) if number and found(number)]  # type: ignore[operator]
    assert ids(hits) == ids(ranked(expected, "q", 25) if expected else [])
    assert len(index) == 60


def test_conditions_that_can_not_be_asked_for(place: str) -> None:
    index = create_index(place, tagged(5), HashEmbedder(), kind=TAGS)
    for given, message in (
        ("month = 3", "no column 'month'.*year, lang"), ("year = soon", "column 'year' holds integer, got 'soon'"),
        ("year", "can't be read"), ("year in 3", "expected a list"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            index.search(["q"], HashEmbedder(), where=read_conditions([given]))
    with pytest.raises(DataError, match="document 'x': column 'year' holds integer, got 'soon'"):
        index.add([TaggedDocument("x", "x", tags={"year": "soon"})], HashEmbedder())
    for column, message in (("Year", "names no column"), ("a:date", "unknown type"), ("text", "index's own")):
        with pytest.raises(DataError, match=message):
            read_columns([column])


def test_adding_updating_and_deleting(place: str) -> None:
    create_index(place, tagged(40), HashEmbedder(), kind=TAGS)
    index, model = open_index(place), HashEmbedder()
    assert index.add(tagged(50), model, skip_known=True, batch_size=7) == 10
    changed = [TaggedDocument("d3", "another text", tags={"year": 1}), TaggedDocument("d4", "text 4", tags={"year": 2})]
    model = HashEmbedder()
    done = index.update([*changed, Document("new", "new text")], model)
    assert (done.added, done.changed, done.unchanged) == (1, 1, 1)
    assert sorted(model.encoded) == ["another text", "new text"]
    assert index.documents(["d3", "new"]) == [Document("d3", "another text"), Document("new", "new text")]
    [hits] = index.search(["another text"], HashEmbedder(), "", k=1)
    assert hits[0].document_id == "d3"
    [hits] = index.search(["q"], HashEmbedder(), where=[Condition("year", "<", 100)])
    assert sorted(ids(hits)) == ["d3", "d4"]
    assert index.delete(["d3", "d49", "d999"], HashEmbedder()) == 2
    assert len(open_index(place)) == 49
    with pytest.raises(DataError, match="no document with id 'd3'"):
        index.documents(["d3"])
    with pytest.raises(DataError, match="twice"):
        index.update([Document("a", "1"), Document("a", "2")], HashEmbedder())


def test_words_and_their_fusion_with_vectors(place: str) -> None:
    documents = [
        Document("ferry", "Ferries cross at noon.", "Boats"), Document("bread", "Bread is baked at night."),
        Document("wind", "The boats are waiting for wind, boats and boats."), *corpus(30),
    ]  # fmt: skip
    index = create_index(place, documents, HashEmbedder(), kind=IndexKind(words="english"))
    [hits] = index.search(["a boat that waits"], HashEmbedder(), mode="words")
    assert ids(hits) == ["wind", "ferry"]
    assert hits[0].score > hits[1].score > 0
    assert index.search(["zebra", ""], HashEmbedder(), mode="words") == [[], []]
    # By vectors the very text of d7 is first, by words there is only `bread`: both come first.
    [hits] = index.search(["Bread is baked at night."], HashEmbedder(), "", 3, mode="hybrid")
    assert hits[0] == Hit("bread", pytest.approx(2 / 61))
    with pytest.raises(DataError, match="unknown search 'both'"):
        index.search(["q"], HashEmbedder(), mode="both")


def test_words_want_an_index_that_has_them(place: str) -> None:
    index = create_index(place, corpus(3), HashEmbedder())
    with pytest.raises(DataError, match="without full-text search.*--words"):
        index.search(["q"], HashEmbedder(), mode="hybrid")


KINDS = [
    IndexKind("exact", "binary"), IndexKind("exact", "int8"), IndexKind("exact", "float16"),
    IndexKind("exact", dimensions=64),
    IndexKind("hnsw"), IndexKind("hnsw", "int8"), IndexKind("hnsw", "float16"), IndexKind("hnsw", "binary"),
    IndexKind("hnsw", "float32", 64), IndexKind("ivf-pq"), IndexKind("ivf-pq", dimensions=64),
]  # fmt: skip


class Clustered(HashEmbedder):
    """Vectors with neighbours: a text is near those that share its first word."""

    def _encode(self, texts, progress):  # type: ignore[no-untyped-def]
        own = super()._encode(texts, progress)
        shared = super()._encode([text.split()[0] for text in texts], None)
        mixed = 0.8 * shared + 0.6 * own
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.kind}-{kind.precision}-{kind.dimensions or 'all'}")
def test_other_kinds_find_what_exact_search_finds_and_score_by_the_full_vectors(place: str, kind: IndexKind) -> None:
    allowed = POSTGRES if place.startswith("postgresql") else LANCE
    if kind.precision not in allowed.get(kind.kind, ()):
        pytest.skip("this store has no such kind")
    model = Clustered(dimension=128)
    documents = [Document(f"d{i}", f"w{i % 40} text {i}") for i in range(600)]
    create_index(place, documents, model, kind=kind)
    index: VectorIndex = open_index(place)
    assert index.kind == kind
    index.add([Document(f"d{i}", f"w{i % 40} text {i}") for i in range(600, 640)], model)
    queries = [f"w{i} query" for i in range(20)]
    q_QD = model.encode_queries(queries, "")
    found, exact = index.search_vectors(q_QD), index.search_vectors(q_QD, exact=True)
    recall = np.mean([len({*ids(a)} & {*ids(b)}) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall > 0.75
    scores = {hit.document_id: hit.score for hit in exact[0]}
    same = [(hit.score, scores[hit.document_id]) for hit in found[0] if hit.document_id in scores]
    np.testing.assert_allclose(*zip(*same, strict=True), atol=1e-6)
    # What was added behind the index is found before and after it is taken up.
    for _ in range(2):
        [hits] = index.search_vectors(model.encode_documents(["w1 text 601"]), 1)
        assert ids(hits) == ["d601"]
        index.compact()


def test_kinds_that_there_are_not(place: str) -> None:
    for kind, message in (
        (IndexKind("tree"), "no index of kind 'tree'; expected exact"),
        (IndexKind("exact", "int4"), "no exact index of int4 vectors; expected float32"),
        (IndexKind(dimensions=32), "32 dimensions of a model that has 32; expected 8 to 31"),
        (IndexKind(words="klingon"), "unknown language 'klingon'"),
    ):
        with pytest.raises(DataError, match=message):
            create_index(place, corpus(3), HashEmbedder(), kind=kind)
        with pytest.raises(DataError, match="no index here"):
            open_index(place)


def test_building_is_all_or_nothing_and_replaces_only_when_asked(place: str) -> None:
    with pytest.raises(DataError, match="empty"):
        create_index(place, [], HashEmbedder())
    create_index(place, corpus(5), HashEmbedder("first"), overwrite="://" in place)
    with pytest.raises(DataError, match="overwrite"):
        create_index(place, corpus(6), HashEmbedder("second"))
    create_index(place, corpus(6), HashEmbedder("second", "f2", 16), overwrite=True)
    index = open_index(place)
    assert (index.model.name, index.model.dimension, len(index)) == ("second", 16, 6)


def test_text_that_the_store_can_not_hold_is_a_sentence(place: str) -> None:
    index = create_index(place, corpus(3), HashEmbedder())
    for text in ("half a pair \ud83d", *(["nul \x00"] if place.startswith("postgresql") else [])):
        with pytest.raises(DataError, match=r"not Unicode|0x00"):
            index.add([Document("a", text)], HashEmbedder())
    assert len(index) == 3


def test_a_sample_is_the_same_for_the_same_seed(place: str) -> None:
    index = create_index(place, corpus(50), HashEmbedder(), batch_size=7)
    drawn = index.sample(10, seed=3)
    assert (drawn, len({document.id for document in drawn})) == (open_index(place).sample(10, seed=3), 10)
    assert drawn != index.sample(10, seed=4)
    assert len(index.sample(99, seed=0)) == 50


def test_a_sample_has_its_vectors(place: str) -> None:
    index = create_index(place, corpus(50), HashEmbedder(), batch_size=7)
    documents, d_ND = index.sample_with_vectors(20, seed=3)
    assert documents == sorted(documents, key=lambda document: document.id) == index.sample(20, seed=3)
    expected = HashEmbedder().encode_documents([document.content for document in documents])
    np.testing.assert_allclose(d_ND, expected, atol=1e-6)
    assert map_of(index, points=20, seed=3) == map_of(open_index(place), points=20, seed=3)
    index.delete([f"d{i}" for i in range(50)])
    assert index.sample(20, seed=3) == []


def test_a_note_stays_with_the_index_until_it_is_made_again(place: str) -> None:
    index = create_index(place, corpus(20), HashEmbedder(), kind=IndexKind(words="english"))
    assert index.store.note() == ""
    for note in ("first", json.dumps({text: {} for text in HOSTILE})):
        index.store.keep_note(note)
        assert (index.store.note(), open_index(place).store.note()) == (note, note)
    index.add(corpus(30), HashEmbedder(), skip_known=True)
    index.update([Document("d3", "another text")], HashEmbedder())
    index.delete(["d4"])
    index.compact()
    index = open_index(place)
    assert (index.store.note(), len(index), index.kind.words) == (note, 29, "english")
    assert create_index(place, corpus(5), HashEmbedder(), overwrite=True).store.note() == ""


def test_the_threshold_of_attribution_is_kept_where_the_index_is(place: str) -> None:
    index = create_index(place, corpus(20), HashEmbedder())
    instruction = "Find\x00 the source '%s' \ud83d"
    threshold = measured_threshold(index, HashEmbedder(), instruction=instruction)
    measured_threshold(index, HashEmbedder())
    opened = open_index(place)
    assert stored_threshold(opened, instruction=instruction) == pytest.approx(threshold, abs=1e-6)
    assert stored_threshold(opened) is not None
    opened.add(corpus(60), HashEmbedder(), skip_known=True)
    assert stored_threshold(opened, instruction=instruction) is None


def test_what_is_no_index_of_ours_is_refused(address: str) -> None:
    import psycopg

    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS embedloom_letters (id text)")
    with pytest.raises(DataError, match="not made by embedloom"):
        open_index(f"{address}&index=letters")
    with pytest.raises(DataError, match="index name 'a;b'"):
        open_index(f"{address}&index=a;b")
    with pytest.raises(DataError, match="can't be reached") as error:
        open_index("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)
