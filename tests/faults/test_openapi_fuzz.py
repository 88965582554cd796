"""Requests drawn from our own description: none is a server error, and every answer is of the form that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from embedloom.llm.scripted import ScriptedLLM
from embedloom.model.encoder import open_encoder
from embedloom.records import Document
from embedloom.search.index import create_index
from embedloom.serve.app import make_app
from embedloom.serve.limits import Limits
from embedloom.serve.openapi import POSTED, READ
from embedloom.serve.service import Service
from live import live
from tiny import save_tiny

schemathesis = pytest.importorskip("schemathesis")

OPERATIONS = [*((path, "POST") for path in POSTED), *((path, "GET") for path in READ)]


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("fuzz")
    script = folder / "script.jsonl"
    script.write_text('{"text": "At noon [1]."}\n', encoding="utf-8")
    documents = [Document("a", "Red foxes jump. Boats wait."), Document("b", "Bread and stone.", "Bread")]
    encoder = open_encoder(save_tiny(folder / "model"), max_length=32)
    index = create_index(folder / "index", documents, encoder)
    service = Service(encoder, index=index, limits=Limits(texts=16, characters=2000, hits=20))
    with live(make_app(service, chats=[ScriptedLLM(script)], threshold=0.5)) as address:
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.slow
# It warns of formats and of connections that it leaves open.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_request_is_a_server_error(description: Any, path: str, method: str) -> None:
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    checks = [schemathesis.checks.not_a_server_error, content_type_conformance, response_schema_conformance]
    seen: set[int] = set()

    @given(case=description[path][method].as_strategy())
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def drawn(case: Any) -> None:
        answer = case.call()
        seen.add(answer.status_code)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        case.validate_response(answer, checks=checks)

    drawn()
    assert max(seen) < 500
    assert 200 in seen
