"""Highlights, cited answers, sources and the map over HTTP: what they hold, what they refuse, whom they hold up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from embedloom.llm.scripted import ScriptedLLM
from embedloom.records import Document, Generation, Reject
from embedloom.search.attribute import attribute
from embedloom.search.calibration import measured_threshold, stored_threshold
from embedloom.search.index import VectorIndex, create_index
from embedloom.serve.app import make_app
from embedloom.serve.limits import Limits
from embedloom.serve.service import Service
from word_embedder import WordEmbedder

DOCUMENTS = [
    Document("ovens", "Bakers heat stone ovens before dawn. The bread rests an hour.", "Bread ovens"),
    Document("ferries", "  River ferries cross at noon. Each carries nine carts.\nNobody pays on Sundays."),
    Document("kettles", "🫖 Copper kettles boil slowly. A lid keeps the heat in."),
    Document("marks", "", "Marks"),
]


class Chat:
    """A language model that waits until it is let go."""

    name = "chat"
    style = "chat"

    def __init__(self, text: str | None = "At noon [1].") -> None:
        self.text = text
        self.let = threading.Event()
        self.entered = threading.Semaphore(0)

    def generate(self, prompts: Any, *, seed: int) -> Iterator[Any]:
        for prompt in prompts:
            self.entered.release()
            assert self.let.wait(60)
            if self.text is None:
                yield [Reject(prompt.id, "generate", "refused", "a secret of the other server")]
            else:
                yield [Generation(prompt.id, self.text, self.name, 1, 1, "stop")]


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    return create_index(tmp_path / "index", DOCUMENTS, WordEmbedder(), instruction="Find it")


@pytest.fixture
def http(index: VectorIndex) -> Iterator[TestClient]:
    with TestClient(make_app(Service(WordEmbedder(), index=index), threshold=0.5)) as client:
        yield client


def posted(http: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


def test_a_highlight_is_the_sentence_of_the_text_that_the_query_is_nearest_to(http: TestClient) -> None:
    found = posted(http, "/v1/search", query="nine carts each carries", highlight=True, k=4)["data"]
    marked = {row["id"]: row["text"][row["span"]["start"] : row["span"]["end"]] for row in found if row["span"]}
    assert marked["ferries"] == "Each carries nine carts."
    # What lies in the title alone is no part of the text.
    assert next(row["span"] for row in found if row["id"] == "marks") is None
    assert posted(http, "/v1/search", query="lid heat", highlight=True, k=1)["data"][0]["id"] == "kettles"
    bare = posted(http, "/v1/search", query="a lid keeps", highlight=True, include_text=False, k=1)["data"][0]
    assert set(bare) == {"index", "id", "score", "span"}
    assert DOCUMENTS[2].text[bare["span"]["start"] : bare["span"]["end"]] == "A lid keeps the heat in."
    assert posted(http, "/v1/search", 422, query="x", highlight=True, k=51)["param"] == "k"
    assert len(posted(http, "/v1/search", query="x", k=51)["data"]) == 4


def test_sources_are_those_of_the_function(http: TestClient, index: VectorIndex) -> None:
    text = "Each carries nine carts! Violins have four strings."
    answer = posted(http, "/v1/attribute", text=text)
    expected = attribute(text, index, WordEmbedder(), threshold=0.5)
    assert answer["threshold"] == 0.5
    assert [row["sentence"] for row in answer["data"]] == [one.sentence for one in expected]
    assert [row["best"] for row in answer["data"]] == [pytest.approx(one.best, abs=1e-5) for one in expected]
    [source] = answer["data"][0]["sources"]
    assert (source["id"], source["score"], source["text"]) == ("ferries", 1, "Each carries nine carts.")
    content = DOCUMENTS[1].content
    assert source["before"] + source["text"] + source["after"] == content
    assert content[source["start"] : source["end"]] == source["text"]
    assert answer["data"][1]["sources"] == []
    assert answer["usage"]["total_tokens"] > 0
    assert answer["system_fingerprint"] == "w0"
    every = posted(http, "/v1/attribute", text=text, threshold=-1, k=1)
    assert [len(row["sources"]) for row in every["data"]] == [1, 1]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"text": "?! \n"}, 400, "text"),
        ({"text": "One. " * 101}, 422, "text"),
        ({"text": "a" * 100_001}, 422, "text"),
        ({"text": "a", "k": 51}, 422, "k"),
        ({"text": "a", "threshold": 2}, 400, "threshold"),
        ({"text": "a", "instruction": "i" * 100_001}, 422, "instruction"),
    ],
)
def test_what_sources_are_not_looked_for(http: TestClient, body: Any, status: int, param: str) -> None:
    assert posted(http, "/v1/attribute", status, **body)["param"] == param


def test_the_threshold_is_measured_once_and_kept_with_the_index(index: VectorIndex) -> None:
    assert stored_threshold(index) is None
    with TestClient(make_app(Service(WordEmbedder(), index=index))) as http:
        first = posted(http, "/v1/attribute", text="River ferries.")["threshold"]
        assert posted(http, "/v1/attribute", 400, text="a", instruction="Mine")["param"] == "threshold"
    assert first == pytest.approx(stored_threshold(index), abs=1e-6)
    assert first == pytest.approx(measured_threshold(index, WordEmbedder()), abs=1e-6)
    kept = json.loads(index.store.note())
    [entry] = kept.values()
    entry["threshold"] = 0.25
    index.store.keep_note(json.dumps(kept))
    with TestClient(make_app(Service(WordEmbedder(), index=index))) as http:
        assert posted(http, "/v1/attribute", text="River ferries.")["threshold"] == 0.25


@pytest.mark.parametrize(
    "change", [{"documents": 90}, {"fingerprint": "other"}, {"level": 2}, {"threshold": "x"}, None]
)
def test_a_threshold_of_another_model_or_corpus_does_not_hold(index: VectorIndex, change: Any) -> None:
    threshold = measured_threshold(index, WordEmbedder())
    assert stored_threshold(index) == pytest.approx(threshold, abs=1e-6)
    assert stored_threshold(index, instruction="Another") is None
    kept = json.loads(index.store.note())
    [key] = kept
    kept[key] = None if change is None else kept[key] | change
    index.store.keep_note(json.dumps(kept))
    assert stored_threshold(index) is None
    index.store.keep_note("torn")
    assert stored_threshold(index) is None


def test_an_answer_cites_the_passages_that_it_was_shown(index: VectorIndex, tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"text": "At noon [1], not [9]."}\n', encoding="utf-8")
    embedder = WordEmbedder()
    app = make_app(Service(embedder, index=index), chats=[ScriptedLLM(script)])
    with TestClient(app) as http:
        answer = posted(http, "/v1/ask", question="when do river ferries cross", k=2)
        assert http.get("/v1/models").json()["data"][0]["chat"] == "scripted:script.jsonl"
        assert posted(http, "/v1/ask", 422, question="x", k=51)["param"] == "k"
        assert posted(http, "/v1/ask", 400, question=" ")["param"] == "question"
    assert (answer["answer"], answer["cited"], answer["unknown"]) == ("At noon [1], not [9].", [1], [9])
    assert (answer["complete"], answer["chat"]) == (True, "scripted:script.jsonl")
    assert [row["number"] for row in answer["passages"]] == [1, 2]
    assert answer["passages"][0]["id"] == "ferries"
    assert embedder.asked[0] == ("query", "Find it", 1)


def test_without_a_language_model_or_an_index_there_are_no_answers(http: TestClient) -> None:
    assert posted(http, "/v1/ask", 404, question="x")["code"] == "no_chat"
    with TestClient(make_app(Service(WordEmbedder()), chats=[Chat()])) as bare:
        for path, body in (("/v1/ask", {"question": "x"}), ("/v1/attribute", {"text": "x"}), ("/v1/map", {})):
            assert posted(bare, path, 404, **body)["code"] == "no_index"


def test_a_language_model_that_gives_no_answer_is_a_502_without_its_words(
    index: VectorIndex, caplog: pytest.LogCaptureFixture
) -> None:
    chat = Chat(None)
    chat.let.set()
    with TestClient(make_app(Service(WordEmbedder(), index=index), chats=[chat])) as http:
        assert "secret" not in posted(http, "/v1/ask", 502, question="x")["message"]
        chat.text = "Now [1]."
        assert posted(http, "/v1/ask", question="x")["answer"] == "Now [1]."
    assert "secret" not in caplog.text


def test_questions_wait_for_the_language_model_and_too_many_are_told_to_come_back(index: VectorIndex) -> None:
    chat = Chat()
    app = make_app(Service(WordEmbedder(), index=index, limits=Limits(seconds=60)), chats=[chat])
    with TestClient(app) as http, ThreadPoolExecutor(12) as pool:
        first = pool.submit(posted, http, "/v1/ask", question="first")
        assert chat.entered.acquire(timeout=60)
        others = [pool.submit(http.post, "/v1/ask", json={"question": f"q{n}"}) for n in range(10)]
        # Of eleven questions one is asked and eight wait.
        refused = [one.result() for one in islice(as_completed(others, timeout=60), 2)]
        assert [one.status_code for one in refused] == [429, 429]
        assert "retry-after" in refused[0].headers
        # Search goes on meanwhile.
        assert posted(http, "/v1/search", query="river")["data"]
        chat.let.set()
        assert first.result(60)["answer"] == "At noon [1]."
        assert sorted(one.result(60).status_code for one in others) == [200] * 8 + [429] * 2
        assert posted(http, "/v1/ask", question="again")["cited"] == [1]


def test_the_map_holds_every_document_until_the_index_grows(http: TestClient, index: VectorIndex) -> None:
    first = posted(http, "/v1/map")
    assert (first["object"], first["documents"]) == ("map", 4)
    assert {point["document_id"] for point in first["points"]} == {document.id for document in DOCUMENTS}
    assert posted(http, "/v1/map") == first
    assert len(posted(http, "/v1/map", points=2)["points"]) == 2
    assert posted(http, "/v1/map", 422, points=5001)["param"] == "points"
    index.add([Document("new", "Violins have four strings.")], WordEmbedder())
    assert posted(http, "/v1/map")["documents"] == 5
