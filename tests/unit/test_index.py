"""The vector index: exact order, the model it belongs to, untrusted ids, and what it refuses."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from embedloom.errors import DataError, FingerprintError, ModelError
from embedloom.records import Document, Hit
from embedloom.search.index import create_index, open_index
from embedloom.search.kinds import IndexKind
from fakes import HashEmbedder

HOSTILE = ["a'b", "a\\b", "\\'", 'a"b', "a\nb", "", "x\x00y", "' OR 1=1 --", "%", "id", "日本", "😀", "a`b", "NULL"]


def corpus(count: int) -> list[Document]:
    return [Document(f"d{i}", f"text {i}", "title" if i % 3 == 0 else "") for i in range(count)]


def brute_force(documents: list[Document], queries: list[str], instruction: str, k: int) -> list[list[Hit]]:
    model = HashEmbedder()
    d_ND = model.encode_documents([d.content for d in documents]).astype(np.float64)
    q_QD = model.encode_queries(queries, instruction)
    out = []
    for q_D in q_QD:
        score_N = (d_ND * q_D).sum(axis=1)
        order = sorted(range(len(documents)), key=lambda n: (score_N[n], documents[n].id), reverse=True)
        out.append([Hit(documents[n].id, float(score_N[n])) for n in order[:k]])
    return out


@pytest.mark.parametrize("k", [1, 10, 700, 5000])
def test_order_and_scores_are_those_of_brute_force(tmp_path: Path, k: int) -> None:
    documents = corpus(700)
    index = create_index(tmp_path / "index", documents, HashEmbedder(), instruction="Find it", batch_size=64)
    queries = [f"query {i}" for i in range(70)]
    found = index.search(queries, HashEmbedder(), k=k)
    expected = brute_force(documents, queries, "Find it", k)
    assert [[h.document_id for h in hits] for hits in found] == [[h.document_id for h in hits] for hits in expected]
    np.testing.assert_allclose([h.score for h in found[3]], [h.score for h in expected[3]], atol=1e-6)


def test_equal_vectors_are_ranked_by_id_last_first_also_at_the_cut(tmp_path: Path) -> None:
    documents = [Document(f"{i:03}", "the same text") for i in np.random.default_rng(0).permutation(300)]
    documents += corpus(200)
    index = create_index(tmp_path / "index", documents, HashEmbedder(), batch_size=37)
    for k in (1, 5, 150):
        [hits] = index.search(["the same text"], HashEmbedder(), "", k=k)
        assert [h.document_id for h in hits] == [f"{i:03}" for i in range(299, 299 - k, -1)]


def test_an_index_is_the_same_when_opened_again(tmp_path: Path) -> None:
    made = create_index(tmp_path / "index", corpus(50), HashEmbedder("a name"), instruction="Find it")
    opened = open_index(tmp_path / "index")
    assert opened.model == made.model
    assert (opened.model.name, opened.model.fingerprint, opened.model.dimension) == ("a name", "f0", 32)
    assert opened.model.instruction == "Find it"
    assert opened.search(["q"], HashEmbedder()) == made.search(["q"], HashEmbedder())
    assert len(opened) == 50


def test_the_instruction_given_wins_over_the_stored_one(tmp_path: Path) -> None:
    index = create_index(tmp_path / "index", corpus(50), HashEmbedder(), instruction="Find it")
    assert index.search(["q"], HashEmbedder(), "Other") == brute_force(corpus(50), ["q"], "Other", 10)


@pytest.mark.parametrize("stranger", [HashEmbedder("other", "f1"), HashEmbedder("other", "f0", dimension=16)])
def test_another_model_is_refused_by_name_and_with_the_command(tmp_path: Path, stranger: HashEmbedder) -> None:
    index = create_index(tmp_path / "index", corpus(5), HashEmbedder("first"))
    for action in (lambda: index.search(["q"], stranger), lambda: index.add([Document("new", "x")], stranger)):
        with pytest.raises(FingerprintError, match=r"vectors of first .*given is other .*embedloom index other"):
            action()
    assert stranger.encoded == []
    assert len(open_index(tmp_path / "index")) == 5


def test_the_same_model_under_another_name_is_accepted(tmp_path: Path) -> None:
    index = create_index(tmp_path / "index", corpus(5), HashEmbedder("first"))
    assert len(index.search(["q"], HashEmbedder("renamed"), k=3)[0]) == 3


def test_hostile_ids_are_found_and_change_nothing(tmp_path: Path) -> None:
    documents = [Document(identity, f"text of {n}") for n, identity in enumerate(HOSTILE)]
    index = create_index(tmp_path / "index", documents, HashEmbedder())
    for document in documents:
        assert index.documents([document.id]) == [document]
        with pytest.raises(DataError, match="twice"):
            index.add([document], HashEmbedder())
    assert index.documents(HOSTILE[::-1]) == documents[::-1]
    assert len(index) == len(HOSTILE)
    with pytest.raises(DataError, match="no document with id"):
        index.documents(["x' OR '1'='1"])


def test_documents_come_back_in_the_order_asked_with_repeats(tmp_path: Path) -> None:
    documents = corpus(20)
    index = create_index(tmp_path / "index", documents, HashEmbedder())
    assert index.documents(["d3", "d7", "d3"]) == [documents[3], documents[7], documents[3]]
    assert index.documents([]) == []


def test_appending(tmp_path: Path) -> None:
    documents = corpus(100)
    create_index(tmp_path / "index", documents[:60], HashEmbedder())
    index = open_index(tmp_path / "index")
    assert index.add(documents[60:80], HashEmbedder()) == 20
    model = HashEmbedder()
    assert index.add(documents[50:], model, skip_known=True, batch_size=7) == 20
    assert len(model.encoded) == 20
    assert open_index(tmp_path / "index").search(["q"], HashEmbedder(), k=100) == brute_force(documents, ["q"], "", 100)


def test_given_vectors_are_used_and_nothing_is_encoded(tmp_path: Path) -> None:
    documents = corpus(90)
    vectors = HashEmbedder().encode_documents([d.content for d in documents])
    model = HashEmbedder()
    index = create_index(tmp_path / "index", iter(documents), model, vectors=vectors, batch_size=40)
    assert model.encoded == []
    assert index.search(["q"], HashEmbedder(), k=9) == brute_force(documents, ["q"], "", 9)


@pytest.mark.parametrize("count", [0, 89, 91])
def test_vectors_of_another_number_are_refused(tmp_path: Path, count: int) -> None:
    vectors = HashEmbedder().encode_documents([str(i) for i in range(count)])
    with pytest.raises(DataError, match=f"{count} vectors for"):
        create_index(tmp_path / "index", corpus(90), HashEmbedder(), vectors=vectors, batch_size=40)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [np.zeros((3, 32)), np.full((3, 32), np.nan), np.ones((3, 32)), np.ones((3, 8))])
def test_what_is_no_unit_vector_of_the_dimension_is_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ModelError, match="unit vector|shape"):
        create_index(tmp_path / "index", corpus(3), HashEmbedder(), vectors=wrong)


def test_an_empty_corpus_makes_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        create_index(tmp_path / "index", [], HashEmbedder())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="no index here.*embedloom index"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize("second", [1, 30])
def test_an_id_twice_makes_no_index(tmp_path: Path, second: int) -> None:
    documents = corpus(40)
    documents.insert(second, Document("d0", "another text"))
    with pytest.raises(DataError, match="'d0' is there twice"):
        create_index(tmp_path / "index", documents, HashEmbedder(), batch_size=8)
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_not_unicode_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not Unicode"):
        create_index(tmp_path / "index", [Document("a", "half a pair \ud83d")], HashEmbedder())


def test_an_index_is_replaced_only_when_asked_and_only_by_a_whole_one(tmp_path: Path) -> None:
    place = tmp_path / "index"
    create_index(place, corpus(5), HashEmbedder("first"))
    with pytest.raises(DataError, match="overwrite"):
        create_index(place, corpus(6), HashEmbedder("second"))
    with pytest.raises(DataError, match="twice"):
        create_index(place, corpus(6) + corpus(1), HashEmbedder("second"), overwrite=True)
    assert (open_index(place).model.name, len(open_index(place))) == ("first", 5)
    create_index(place, corpus(6), HashEmbedder("second", "f2", 8), overwrite=True)
    assert (open_index(place).model.name, len(open_index(place))) == ("second", 6)
    assert [p.name for p in tmp_path.iterdir()] == ["index"]


def test_a_folder_that_is_no_index_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(DataError, match="no index"):
        create_index(tmp_path / "letters", corpus(5), HashEmbedder(), overwrite=True)
    assert (tmp_path / "letters" / "a.txt").read_text(encoding="utf-8") == "dear"


def test_a_foreign_table_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(tmp_path / "foreign").create_table("documents", [{"id": "a", "vector": [1.0, 0.0]}])
    with pytest.raises(DataError, match="not a table that embedloom made"):
        open_index(tmp_path / "foreign")
    create_index(tmp_path / "index", corpus(5), HashEmbedder())
    for file in (tmp_path / "index" / "documents.lance" / "_versions").iterdir():
        file.write_bytes(b"garbage")
    with pytest.raises(DataError, match="build it again"):
        open_index(tmp_path / "index")


def test_the_corpus_is_never_held_whole(tmp_path: Path) -> None:
    handed_out = 0
    ahead = 0

    class Watching(HashEmbedder):
        def encode_documents(self, texts, *, progress=None):  # type: ignore[no-untyped-def]
            nonlocal ahead
            ahead = max(ahead, handed_out - len(self.encoded))
            return super().encode_documents(texts, progress=progress)

    def stream():  # type: ignore[no-untyped-def]
        nonlocal handed_out
        for document in corpus(500):
            handed_out += 1
            yield document

    counted: list[int] = []
    create_index(tmp_path / "index", stream(), Watching(), batch_size=50, progress=counted.append)
    assert ahead == 50
    assert sum(counted) == 500


def test_a_search_for_nothing_and_for_too_few_hits(tmp_path: Path) -> None:
    index = create_index(tmp_path / "index", islice(corpus(5), 5), HashEmbedder())
    assert index.search([], HashEmbedder()) == []
    with pytest.raises(DataError, match="k is 0"):
        index.search(["q"], HashEmbedder(), k=0)


def test_compressed_vectors_keep_the_nearest_among_the_candidates(tmp_path: Path) -> None:
    """Random vectors have no cells and no structure, so all depends on the codes: half as many bytes find 0.78."""
    model = HashEmbedder(dimension=64)
    index = create_index(tmp_path / "index", corpus(2000), model, kind=IndexKind("ivf-pq"))
    q_QD = model.encode_queries([f"query {i}" for i in range(50)], "")
    pairs = zip(index.search_vectors(q_QD, probes=2000), index.search_vectors(q_QD, exact=True), strict=True)
    found = [{hit.document_id for hit in some} & {hit.document_id for hit in best} for some, best in pairs]
    assert np.mean([len(one) / 10 for one in found]) > 0.83
