"""The application: which path leads to which endpoint, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from embedloom.serve.answers import Answers
from embedloom.serve.endpoints import Endpoints
from embedloom.serve.gate import Call, Gate
from embedloom.serve.refusal import RefusedError

if TYPE_CHECKING:
    from embedloom.records import LLM
    from embedloom.serve.service import Service


def make_app(
    service: Service,
    *,
    key: str = "",
    hosts: Collection[str] | None = None,
    chats: Sequence[LLM] = (),
    threshold: float | None = None,
) -> Starlette:
    """The application.

    Args:
        service: the model and the index; closed when the application's lifespan ends.
        key: the API key that clients must show; none if empty.
        hosts: names of which a request's host must be one; any if None.
        chats: language models for questions, each asked one at a time; without any, questions are refused.
        threshold: cosine of a source; measured on the index if None.
    """
    gate = Gate(service.limits, service.metrics, key=key, hosts=hosts)
    answers = Answers(service, chats, threshold=threshold)
    endpoints = Endpoints(service, answers)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        answers.close()
        service.close()

    def route(path: str, name: str, handler: Any, method: str = "GET", *, guarded: bool = True) -> Route:
        reads = method == "POST"
        return Route(path, gate.endpoint(name, handler, guarded=guarded, reads=reads), methods=[method])

    async def nowhere(request: Request, error: Exception) -> Response:
        async def refuse(call: Call) -> Response:
            if getattr(error, "status_code", 404) == 405:
                allowed = getattr(error, "headers", None)
                raise RefusedError(405, "another method is expected; /openapi.json lists them", headers=allowed)
            raise RefusedError(404, "no such endpoint; /openapi.json lists them")

        return await gate.endpoint("other", refuse, guarded=False)(request)

    return Starlette(
        routes=[
            route("/", "page", endpoints.page, guarded=False),
            route("/v1/embeddings", "embeddings", endpoints.embeddings, "POST"),
            route("/v1/search", "search", endpoints.search, "POST"),
            route("/v1/rerank", "rerank", endpoints.rerank, "POST"),
            route("/v1/ask", "ask", endpoints.ask, "POST"),
            route("/v1/attribute", "attribute", endpoints.attribute, "POST"),
            route("/v1/map", "map", endpoints.map, "POST"),
            route("/v1/models", "models", endpoints.models),
            route("/v1/models/{name:path}", "models", endpoints.model),
            route("/healthz", "health", endpoints.health, guarded=False),
            route("/metrics", "metrics", endpoints.metrics),
            route("/openapi.json", "openapi", endpoints.description, guarded=False),
        ],
        exception_handlers={404: nowhere, 405: nowhere},
        lifespan=lifespan,
    )
