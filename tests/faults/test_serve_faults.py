"""What a server must survive: bodies of nonsense, too much of everything, clients that leave, models that fail."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from embedloom.llm.scripted import ScriptedLLM
from embedloom.model.encoder import open_encoder
from embedloom.records import Document
from embedloom.search.index import create_index
from embedloom.serve.app import make_app
from embedloom.serve.limits import Limits
from embedloom.serve.service import Service
from fakes import HashEmbedder
from tiny import save_tiny

POSTS = ("/v1/embeddings", "/v1/search", "/v1/rerank", "/v1/ask", "/v1/attribute", "/v1/map")
SECRET = "Zanzibar"


class Slow(HashEmbedder):
    """Waits in each pass until it is let go; fails for texts that say so."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.let = threading.Event()

    def encode_documents(self, texts: Any, **settings: Any) -> Any:
        self.entered.release()
        assert self.let.wait(60)
        if any("fail" in text for text in texts):
            raise RuntimeError(f"can't encode {texts}")
        return super().encode_documents(texts, **settings)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("faults")
    encoder = open_encoder(save_tiny(folder / "model"), max_length=32)
    index = create_index(folder / "index", [Document("a", "red fox"), Document("b", "boats")], encoder)
    limits = Limits(body_bytes=20_000, texts=8, characters=500)
    script = folder / "script.jsonl"
    script.write_text('{"text": "At noon [1]."}\n', encoding="utf-8")
    app = make_app(Service(encoder, index=index, limits=limits), chats=[ScriptedLLM(script)])
    with TestClient(app) as client:
        yield client


def post(http: TestClient, path: str, content: bytes) -> Any:
    return http.post(path, content=content, headers={"content-type": "application/json"})


def error_of(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"NaN", "JSON"),
        (b'{"input": "\\ud800"}', "not valid JSON"),
        (b'{"input": "\xff"}', "not valid JSON"),
        (b'{"input": ' + b"[" * 9000 + b"]" * 9000 + b"}", "not valid JSON"),
        (b"{}", "'input' is missing"),
        (b'{"input": null}', "expected a text"),
        (b'{"input": []}', "expected a text"),
        (b'{"input": [[]]}', ""),
        (b'{"input": ["a", 1]}', "expected a text"),
        (b'{"input": [1, true]}', "expected a text"),
        (b'{"input": [1.5]}', "expected a text"),
        (b'{"input": [-1]}', "expected a text"),
        (b'{"input": [1e400]}', "expected a text"),
        (b'{"input": [NaN]}', "expected a text"),
        (b'{"input": [' + b"9" * 3000 + b"]}", "expected a text"),
        (b'{"input": [' + b"9" * 6000 + b"]}", ""),
        (b'{"input": [4000]}', "beyond the"),
        (b'{"input": "a", "dimensions": 0}', "'dimensions'"),
        (b'{"input": "a", "dimensions": ' + b"9" * 3000 + b"}", "dimensions"),
        (b'{"input": "a", "dimensions": 2.5}', "'dimensions'"),
        (b'{"input": "a", "dimensions": "8"}', "'dimensions'"),
        (b'{"input": "a", "dimensions": NaN}', "'dimensions'"),
        (b'{"input": "a", "encoding_format": "hex"}', "'encoding_format'"),
        (b'{"input": "a", "input_type": "passage"}', "'query' or 'document'"),
        (b'{"input": "a", "input_type": "document", "instruction": "x"}', "documents take no instruction"),
        (b'{"input": "a", "instrction": "x"}', "unknown key 'instrction'"),
        (b'{"input": "a", "model": 3}', "'model'"),
    ],
)
def test_a_body_of_nonsense_is_told_what_is_wrong(http: TestClient, content: bytes, message: str) -> None:
    answer = post(http, "/v1/embeddings", content)
    if content == b'{"input": [[]]}':
        assert answer.status_code == 200
        return
    assert message in error_of(answer, 400)["message"]


@pytest.mark.parametrize("text", [b"a\\u0000b", b"\\ud83d\\ude42 \\uffff", b""])
def test_odd_text_is_text(http: TestClient, text: bytes) -> None:
    assert post(http, "/v1/embeddings", b'{"input": "' + text + b'"}').status_code == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("9" * 30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "input", "query", "documents", "k", "top_n", "dimensions", "model", "instruction", "input_type", "truncate",
        "text", "question", "threshold", "points", "seed", "highlight",
    ]
)  # fmt: skip
GOOD = st.sampled_from(
    [
        {"input": "red fox"}, {"query": "fox"}, {"query": "fox", "documents": ["a", {"text": "b"}]}, {},
        {"query": "fox", "highlight": True}, {"text": "A red fox. Boats."}, {"question": "where?"}, {"points": 3},
    ]
)  # fmt: skip
CHANGES = st.dictionaries(KEYS, VALUES, max_size=3)


@given(path=st.sampled_from(POSTS), good=GOOD, changes=CHANGES, cut=st.integers(0, 200))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_is_a_server_error(http: TestClient, path: str, good: Any, changes: Any, cut: int) -> None:
    content = json.dumps(good | changes).encode()
    for sent in (content, content[: cut % (len(content) + 1)], content.replace(b'"', b"\xf0", cut % 7)):
        answer = post(http, path, sent)
        assert answer.status_code in (200, 400, 404, 413, 422), answer.text
        if answer.status_code != 200:
            error_of(answer, answer.status_code)


def test_limits(http: TestClient) -> None:
    many = http.post("/v1/embeddings", json={"input": ["a"] * 9})
    assert "9 texts; this server takes 8" in error_of(many, 422)["message"]
    long = http.post("/v1/embeddings", json={"input": ["a", "b" * 501]})
    assert "text 1 has 501 characters; this server takes 500" in error_of(long, 422)["message"]
    ids = http.post("/v1/embeddings", json={"input": [3] * 501})
    assert "501 token ids" in error_of(ids, 422)["message"]
    for path, body, status, key in (
        ("/v1/search", {"query": "b" * 501}, 422, "query"),
        ("/v1/search", {"query": "b", "instruction": "b" * 501}, 422, "instruction"),
        ("/v1/rerank", {"query": "b", "documents": ["a"] * 9}, 422, "documents"),
        ("/v1/rerank", {"query": "b", "documents": []}, 400, "documents"),
    ):
        assert error_of(http.post(path, json=body), status)["param"] == key


@pytest.mark.parametrize("size", [20_001, 100_000, 1_000_000])
def test_a_body_beyond_the_limit_is_refused_declared_or_not(http: TestClient, size: int) -> None:
    content = b'{"input": "' + b"a" * (size - 13) + b'"}'
    assert "20,000 bytes" in error_of(post(http, "/v1/embeddings", content), 413)["message"]

    def parts() -> Iterator[bytes]:
        for start in range(0, size, 1000):
            yield content[start : start + 1000]

    answer = http.post("/v1/embeddings", content=parts(), headers={"content-type": "application/json"})
    error_of(answer, 413)


def test_other_types_paths_and_methods_are_refused_in_the_same_form(http: TestClient) -> None:
    error_of(http.post("/v1/embeddings", data={"input": "a"}), 415)
    error_of(http.post("/v1/embeddings", content=b"{}", headers={"content-type": "text/plain"}), 415)
    error_of(http.get("/v1/nothing"), 404)
    error_of(http.post("/v1/nothing", data={"input": "a"}), 404)
    wrong = http.get("/v1/embeddings")
    assert (error_of(wrong, 405)["type"], wrong.headers["allow"]) == ("invalid_request_error", "POST")
    error_of(http.post("/v1/models", json={}), 405)


def test_a_key_is_asked_for_everywhere_but_for_health_and_the_page() -> None:
    with TestClient(make_app(Service(HashEmbedder()), key="opén sesame")) as http:
        for path in ("/v1/models", "/v1/models/hash", "/metrics"):
            error_of(http.get(path), 401)
        for path in POSTS:
            for shown in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic opn"}):
                answer = http.post(path, json={"input": "x"}, headers=shown)
                assert error_of(answer, 401)["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
        assert [http.get(path).status_code for path in ("/", "/healthz", "/openapi.json")] == [200, 200, 200]
        good = {"authorization": "bearer opén sesame".encode()}
        assert http.post("/v1/embeddings", json={"input": "x"}, headers=good).status_code == 200


def test_another_name_for_this_machine_is_refused_where_only_the_local_one_counts() -> None:
    with TestClient(make_app(Service(HashEmbedder()), hosts={"localhost", "[::1]"})) as http:
        for host, status in (
            ("localhost", 200), ("LOCALHOST:8000", 200), ("[::1]:8000", 200), ("[::1]", 200), ("evil.example", 403),
            ("evil.example:8000", 403), ("localhost.evil.example", 403), ("", 403),
        ):  # fmt: skip
            assert http.get("/v1/models", headers={"host": host}).status_code == status, host


def test_a_full_queue_says_when_to_come_back_and_loses_nothing() -> None:
    model = Slow()
    service = Service(model, limits=Limits(waiting_texts=3))
    with TestClient(make_app(service)) as http, ThreadPoolExecutor(3) as pool:
        first = pool.submit(http.post, "/v1/embeddings", json={"input": "first"})
        assert model.entered.acquire(timeout=60)
        second = pool.submit(http.post, "/v1/embeddings", json={"input": ["a", "b", "c"]})
        while service._batcher.waiting_rows < 3:
            pass
        refused = http.post("/v1/embeddings", json={"input": "d"})
        assert error_of(refused, 429)["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        model.let.set()
        assert [answer.result(60).status_code for answer in (first, second)] == [200, 200]
        assert http.post("/v1/embeddings", json={"input": "d"}).status_code == 200
    assert sorted(model.encoded) == ["a", "b", "c", "d", "first"]


def test_too_many_open_requests_are_refused_but_health_answers() -> None:
    model = Slow()
    with TestClient(make_app(Service(model, limits=Limits(open_requests=1)))) as http, ThreadPoolExecutor(1) as pool:
        first = pool.submit(http.post, "/v1/embeddings", json={"input": "first"})
        assert model.entered.acquire(timeout=60)
        error_of(http.post("/v1/embeddings", json={"input": "d"}), 429)
        assert http.get("/healthz").status_code == 200
        model.let.set()
        assert first.result(60).status_code == 200


def test_a_request_that_takes_too_long_is_ended_and_its_work_dropped() -> None:
    model = Slow()
    service = Service(model, limits=Limits(seconds=0.3))
    with TestClient(make_app(service)) as http, ThreadPoolExecutor(2) as pool:
        first = pool.submit(http.post, "/v1/embeddings", json={"input": "first"})
        assert model.entered.acquire(timeout=60)
        late = http.post("/v1/embeddings", json={"input": ["late", "later"]})
        assert error_of(late, 504)["type"] == "timeout_error"
        error_of(first.result(60), 504)
        assert service._batcher.waiting_rows == 0
        model.let.set()
    assert model.encoded == ["first"]


async def asgi(app: Any, content: bytes, leave: asyncio.Event, *, whole: bool = True) -> list[Any]:
    """One POST to embeddings by a client that leaves when it is told to; returns what the server sent."""
    messages = iter([{"type": "http.request", "body": content, "more_body": not whole}])
    sent: list[Any] = []

    async def receive() -> Any:
        message = next(messages, None)
        if message is None:
            await leave.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/embeddings", "raw_path": b"/v1/embeddings", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def test_the_work_of_a_client_that_leaves_is_dropped() -> None:
    model = Slow()
    service = Service(model)
    app = make_app(service)

    async def scene() -> None:
        stay, leave = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(asgi(app, b'{"input": "first"}', stay))
        while not model.entered.acquire(blocking=False):
            await asyncio.sleep(0)
        gone = asyncio.create_task(asgi(app, b'{"input": ["gone", "too"]}', leave))
        while service._batcher.waiting_rows < 2:
            await asyncio.sleep(0)
        leave.set()
        await gone
        assert service._batcher.waiting_rows == 0
        model.let.set()
        assert (await first)[0]["status"] == 200

    asyncio.run(scene())
    service.close()
    assert model.encoded == ["first"]
    counted = service.metrics.text().decode()
    assert 'embedloom_requests_total{endpoint="embeddings",status="499"} 1.0' in counted


def test_a_body_that_does_not_come_is_given_up_and_one_that_breaks_off_holds_nothing() -> None:
    service = Service(HashEmbedder(), limits=Limits(seconds=0.2))
    app = make_app(service)

    async def scene() -> None:
        stay, leave = asyncio.Event(), asyncio.Event()
        sent = await asgi(app, b'{"input": ', stay, whole=False)
        assert sent[0]["status"] == 408
        leave.set()
        await asgi(app, b'{"input": ', leave, whole=False)

    asyncio.run(scene())
    service.close()
    counted = service.metrics.text().decode()
    assert 'embedloom_requests_total{endpoint="embeddings",status="499"} 1.0' in counted
    assert "embedloom_open_requests 0.0" in counted


def test_a_model_that_fails_is_a_500_without_its_text_and_the_next_request_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Slow()
    model.let.set()
    with caplog.at_level(logging.DEBUG), TestClient(make_app(Service(model))) as http:
        answer = http.post("/v1/embeddings", json={"input": f"fail {SECRET}"})
        assert "RuntimeError" in error_of(answer, 500)["message"]
        assert SECRET not in answer.text
        assert http.post("/v1/embeddings", json={"input": "fine"}).status_code == 200
    assert "RuntimeError" in caplog.text
    assert "encode_documents" in caplog.text
    assert SECRET not in caplog.text


def test_a_vector_that_is_none_is_never_sent() -> None:
    class Broken(HashEmbedder):
        def encode_documents(self, texts: Any, **settings: Any) -> Any:
            return np.full((len(texts), self.dimension), np.nan, dtype=np.float32)

    with TestClient(make_app(Service(Broken()))) as http:
        assert "ModelError" in error_of(http.post("/v1/embeddings", json={"input": "x"}), 500)["message"]


def test_no_text_of_a_request_is_logged(http: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    bodies = (
        f'{{"input": "{SECRET}"}}', f'{{"input": "{SECRET}", ', f'{{"input": "a", "instruction": "{SECRET}"}}',
        f'{{"query": "{SECRET}", "documents": ["{SECRET}"]}}', f'{{"query": "{SECRET}"}}', f'{{"{SECRET}": 1}}',
        f'{{"text": "{SECRET}", "threshold": 1}}', f'{{"question": "{SECRET}"}}',
        f'{{"input": "{SECRET}", "dimensions": "{SECRET}"}}', f'{{"input": "a", "model": "{SECRET}"}}',
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG, "embedloom"):
        for path in POSTS:
            for body in bodies:
                post(http, path, body.encode())
        http.get(f"/v1/models/{SECRET}")
        http.get(f"/{SECRET}?q={SECRET}")
    assert len(caplog.records) >= len(POSTS) * len(bodies) + 2
    assert SECRET not in caplog.text


def test_without_its_packages_the_verb_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from click.testing import CliRunner

    from embedloom.cli.serve import command
    from embedloom.errors import MissingExtraError

    for name in [name for name in sys.modules if name.startswith("embedloom.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    answer = CliRunner().invoke(command, [str(tmp_path)])
    assert isinstance(answer.exception, MissingExtraError)
    assert "embedloom[serve]" in str(answer.exception)
