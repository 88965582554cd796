"""A model behind an embeddings endpoint: our own server on a real port, and servers that fail, limit or babble."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from embedloom.cli.opening import open_embedder
from embedloom.errors import ModelError
from embedloom.evals.endpoint import PROBES, EndpointEmbedder, open_endpoint
from embedloom.records import Embedder
from fakes import HashEmbedder
from word_embedder import WordEmbedder

openai = pytest.importorskip("openai", reason="the client is not installed (embedloom[openai])")


@contextmanager
def our_server(embedder: Embedder) -> Iterator[str]:
    """`embedloom serve`'s application on a port of its own."""
    uvicorn = pytest.importorskip("uvicorn", reason="the server is not installed (embedloom[serve])")
    from embedloom.serve.app import make_app
    from embedloom.serve.service import Service

    server = uvicorn.Server(uvicorn.Config(make_app(Service(embedder)), port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()


class Other:
    """Another server, without roles: `answers` are tried first, one a request, as (status, headers, body)."""

    def __init__(self, answers: list[tuple[int, dict[str, str], Any]] | None = None) -> None:
        self.answers = answers or []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.embedder = HashEmbedder()


@contextmanager
def served(other: Other) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            other.bodies.append(body)
            other.keys.append(self.headers["authorization"])
            status, headers, content = other.answers.pop(0) if other.answers else (200, {}, None)
            if content is None:
                vectors = 3 * other.embedder.encode_documents(body["input"])
                rows = [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
                usage = {"prompt_tokens": 1, "total_tokens": 1}
                content = {"object": "list", "data": rows[::-1], "model": body["model"], "usage": usage}
            told = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json", "content-length": len(told)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def closing(embedder: EndpointEmbedder) -> Iterator[EndpointEmbedder]:
    try:
        yield embedder
    finally:
        embedder.close()


def test_our_own_server_gives_the_vectors_that_it_has_with_role_and_instruction() -> None:
    inner = WordEmbedder()
    texts = [f"red fox {n}" for n in range(150)]
    with our_server(inner) as url:
        opened = open_embedder(f"openai-embeddings:{url}#words")
        assert isinstance(opened, EndpointEmbedder)
        with closing(opened) as model:
            assert (model.fingerprint, model.dimension) == ("w0", 64)
            inner.asked.clear()
            told: list[int] = []
            queries = model.encode_queries(texts, "Find foxes", progress=told.append)
            documents = model.encode_documents(texts)
    assert {(role, instruction) for role, instruction, _ in inner.asked} == {("query", "Find foxes"), ("document", "")}
    assert sum(told) == len(texts)
    np.testing.assert_allclose(queries, WordEmbedder().encode_queries(texts, "Find foxes"), atol=1e-6)
    np.testing.assert_allclose(documents, WordEmbedder().encode_documents(texts), atol=1e-6)


def test_another_server_is_sent_bare_texts_and_its_vectors_become_unit_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Other()
    monkeypatch.setenv("EMBEDDINGS_API_KEY", "a key")
    monkeypatch.setenv("OPENAI_API_KEY", "not for you")
    with served(other) as url, closing(open_endpoint(f"openai-embeddings:{url}#some")) as model:
        texts = [f"text {n}" for n in range(70)]
        vectors = model.encode_queries(texts, "Find it")
        again = EndpointEmbedder("some", url=url)
        assert again.fingerprint == model.fingerprint
        again.close()
        other.embedder = HashEmbedder(dimension=16)
        changed = EndpointEmbedder("some", url=url)
        assert changed.fingerprint != model.fingerprint
        changed.close()
        with pytest.raises(ModelError, match="gave 16 dimensions after 32"):
            model.encode_documents(["a"])
    np.testing.assert_allclose(vectors, HashEmbedder().encode_documents(texts), atol=1e-6)
    assert other.bodies[0] == {"model": "some", "input": list(PROBES), "encoding_format": "float"}
    assert {len(body["input"]) for body in other.bodies[1:3]} == {64, 6}
    assert set(other.keys[:3]) == {"Bearer a key"}


def test_a_server_that_is_busy_is_asked_again() -> None:
    wait = {"retry-after-ms": "1"}
    other = Other([(429, wait, {"error": {"message": "slow down"}}), (503, wait, {"error": "starting"})])
    with served(other) as url, closing(EndpointEmbedder("some", url=url)) as model:
        assert model.dimension == 32
        assert len(other.bodies) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}, {"error": {"message": "bad key"}}), "refuses the key (bad key); set the environment variable EMB"),
        ((404, {}, {"error": {"message": "no such model"}}), "answered 404: no such model"),
        ((400, {}, {"error": {"message": "too long"}}), "answered 400: too long"),
        ((200, {}, {"data": []}), "holds no vector for each of 4 texts"),
        ((200, {}, {"data": [{"index": 0, "embedding": [1.0]}]}), "holds no vector for each of 4 texts"),
        ((200, {}, [1, 2]), "holds no vector for each of 4 texts"),
        ((200, {}, {"data": [{"index": i, "embedding": [0.0, 0.0]} for i in range(4)]}), "a vector of zeros"),
    ],
)
def test_each_fault_of_a_server_is_one_sentence(answer: tuple[int, dict[str, str], Any], words: str) -> None:
    with served(Other([answer])) as url, pytest.raises(ModelError) as caught:
        EndpointEmbedder("some", url=url, retries=0)
    assert words in str(caught.value)


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="no answer from http://127.0.0.1:9/v1"):
        EndpointEmbedder("some", url="http://127.0.0.1:9/v1", retries=0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openai-embeddings:", "expected openai-embeddings:URL#MODEL"),
        ("openai-embeddings:http://localhost:8000/v1", "expected openai-embeddings:URL#MODEL"),
        ("openai-embeddings:ftp://localhost/v1#m", "expected openai-embeddings:URL#MODEL"),
        ("openai-embeddings:http://a:b@localhost/v1#m", "holds a password"),
        ("openai-embeddings:text-embedding-3-small", "OPENAI_API_KEY is not set"),
    ],
)
def test_names_that_say_no_endpoint(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match=words):
        open_endpoint(name)
