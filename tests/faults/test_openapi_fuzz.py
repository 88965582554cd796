"""Requests drawn from our own description: none is a server error, and every answer is of the form that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from embedloom.llm.scripted import ScriptedLLM
from embedloom.records import Document
from embedloom.search.index import create_index
from embedloom.serve.app import make_app
from embedloom.serve.limits import Limits
from embedloom.serve.service import Service
from live import live
from word_embedder import WordEmbedder

schemathesis = pytest.importorskip("schemathesis")

pytestmark = [
    pytest.mark.slow,
    # It warns of what it can't know of a server that runs in this process.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fuzz")
    script = folder / "script.jsonl"
    script.write_text('{"text": "At noon [1]."}\n', encoding="utf-8")
    documents = [Document("a", "Red foxes jump. Boats wait."), Document("b", "Bread and stone.", "Bread")]
    index = create_index(folder / "index", documents, WordEmbedder())
    service = Service(WordEmbedder(), index=index, limits=Limits(texts=16, characters=2000, hits=20))
    made = make_app(service, chats=[ScriptedLLM(script)], threshold=0.5)
    with live(made) as found:
        yield found


@pytest.fixture
def description(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


schema = schemathesis.pytest.from_fixture("description")


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_a_server_error(case: Any) -> None:
    answer = case.call()
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    case.validate_response(answer, checks=[schemathesis.checks.not_a_server_error, *_shape_checks()])


def _shape_checks() -> list[Any]:
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    return [content_type_conformance, response_schema_conformance]
