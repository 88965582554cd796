"""The endpoints: bodies in, answers out. What may come in at all is the gate's business."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from embedloom.serve.body import EmbeddingsBody, RerankBody, SearchBody, read_body
from embedloom.serve.gate import Call, Gate
from embedloom.serve.openapi import openapi
from embedloom.serve.refusal import RefusedError, beyond_limit, invalid

if TYPE_CHECKING:
    from embedloom.records import Vectors
    from embedloom.serve.engine import Input
    from embedloom.serve.service import Service

PAGE = Path(__file__).parent / "page" / "index.html"
FINGERPRINT_HEADER = "x-embedloom-fingerprint"
DIGITS = 9
"""Decimals of a vector's numbers as text: all that float32 holds of numbers near 0.01, at half the length."""


def make_app(service: Service, *, key: str = "", hosts: Collection[str] | None = None) -> Starlette:
    """The application.

    Args:
        service: the model and the index; closed when the application's lifespan ends.
        key: the API key that clients must show; none if empty.
        hosts: names of which a request's host must be one; any if None.
    """
    gate = Gate(service.limits, service.metrics, key=key, hosts=hosts)
    endpoints = Endpoints(service)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
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
            route("/v1/models", "models", endpoints.models),
            route("/v1/models/{name:path}", "models", endpoints.model),
            route("/healthz", "health", endpoints.health, guarded=False),
            route("/metrics", "metrics", endpoints.metrics),
            route("/openapi.json", "openapi", endpoints.description, guarded=False),
        ],
        exception_handlers={404: nowhere, 405: nowhere},
        lifespan=lifespan,
    )


class Endpoints:
    """Handlers from a call to its response."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def embeddings(self, call: Call) -> Response:
        """OpenAI's embeddings, with roles."""
        service, body = self.service, read_body(EmbeddingsBody, call.body)
        service.check_model(body.model)
        dimension = service.embedder.dimension
        if body.dimensions is not None and body.dimensions > dimension:
            raise invalid(f"dimensions is {body.dimensions}; this model has {dimension}", "dimensions")
        if body.input_type == "document" and body.instruction:
            raise invalid("documents take no instruction; expected input_type 'query' with it", "instruction")
        asked = body.input_type == "query" or bool(body.instruction)
        rows = await service.rows(_inputs(body.input), self._instruction(body.instruction, asked), call, key="input")
        if call.cut and not body.truncate:
            number = next(number for number, row in enumerate(rows) if row.cut)
            most = rows[number].length
            raise beyond_limit(f"text {number} is longer than the {most} tokens that the model reads", "input")
        vectors_ND = _shortened(await service.vectors(rows), body.dimensions)
        if body.encoding_format == "base64":
            shown: list[Any] = [base64.b64encode(v.astype("<f4").tobytes()).decode("ascii") for v in vectors_ND]
        else:
            shown = np.round(vectors_ND.astype(np.float64), DIGITS).tolist()
        data = [{"object": "embedding", "index": number, "embedding": vector} for number, vector in enumerate(shown)]
        return self._answer(call, {"object": "list", "data": data})

    async def search(self, call: Call) -> Response:
        """The nearest documents."""
        service, body = self.service, read_body(SearchBody, call.body)
        service.check_model(body.model)
        service.check_search(body.k)
        rows = await service.rows([body.query], self._instruction(body.instruction), call, key="query")
        found = await service.hits(await service.vectors(rows), body.k)
        data = []
        for number, (hit, document) in enumerate(found):
            row: dict[str, Any] = {"index": number, "id": hit.document_id, "score": round(hit.score, 6)}
            data.append(row | ({"title": document.title, "text": document.text} if body.include_text else {}))
        return self._answer(call, {"object": "list", "data": data})

    async def rerank(self, call: Call) -> Response:
        """Documents by their cosine to a query, best first; equal ones in the order given."""
        service, body = self.service, read_body(RerankBody, call.body)
        service.check_model(body.model)
        texts = [document if isinstance(document, str) else document.text for document in body.documents]
        rows = await service.rows(texts, None, call, key="documents")
        query = await service.rows([body.query], self._instruction(body.instruction), call, key="query")
        vectors_ND = await service.vectors([*query, *rows])
        score_N = (vectors_ND[1:].astype(np.float64) * vectors_ND[0]).sum(axis=1)
        results = []
        for number in np.argsort(-score_N, kind="stable")[: body.top_n].tolist():
            result: dict[str, Any] = {"index": number, "relevance_score": round(float(score_N[number]), 6)}
            results.append(result | ({"document": {"text": texts[number]}} if body.return_documents else {}))
        return self._answer(call, {"object": "list", "results": results})

    async def models(self, call: Call) -> Response:
        """The one model."""
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, call: Call) -> Response:
        """The one model, by its name."""
        self.service.check_model(call.request.path_params["name"])
        return _json(self._model())

    async def health(self, call: Call) -> Response:
        """200 when it takes requests, 503 when it lives but does not."""
        ready = self.service.ready
        return _json({"alive": True, "ready": ready}, status=200 if ready else 503)

    async def metrics(self, call: Call) -> Response:
        """Prometheus text."""
        return Response(self.service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(self, call: Call) -> Response:
        """The search page."""
        content = PAGE.read_text(encoding="utf-8")
        headers = {"content-security-policy": _policy(content), "x-content-type-options": "nosniff"}
        return Response(content, media_type="text/html; charset=utf-8", headers=headers)

    async def description(self, call: Call) -> Response:
        """The OpenAPI document."""
        return _json(openapi())

    def _instruction(self, given: str | None, asked: bool = True) -> str | None:
        if not asked:
            return None
        return self.service.instruction if given is None else given

    def _answer(self, call: Call, content: dict[str, Any]) -> Response:
        fingerprint = self.service.embedder.fingerprint
        call.headers[FINGERPRINT_HEADER] = fingerprint
        content |= {
            "model": self.service.name,
            "usage": {"prompt_tokens": call.tokens, "total_tokens": call.tokens},
            "system_fingerprint": fingerprint,
        }
        return _json(content)

    def _model(self) -> dict[str, Any]:
        service = self.service
        contract = getattr(service.embedder, "contract", None)
        return {
            "id": service.name,
            "object": "model",
            "created": 0,
            "owned_by": "embedloom",
            "system_fingerprint": service.embedder.fingerprint,
            "dimension": service.embedder.dimension,
            "max_tokens": None if contract is None else contract.max_length,
            "instruction": service.instruction,
            "index": None if service.index is None else {"documents": len(service.index)},
        }


def _inputs(given: str | list[str] | list[int] | list[list[int]]) -> list[Input]:
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [given]
    return list(cast("list[Input]", given))


def _shortened(vectors_ND: Vectors, dimensions: int | None) -> Vectors:
    """The first dimensions of unit vectors, as unit vectors."""
    if dimensions is None or dimensions == vectors_ND.shape[1]:
        return vectors_ND
    cut_ND = vectors_ND[:, :dimensions]
    shortened: Vectors = cut_ND / np.maximum(np.linalg.norm(cut_ND, axis=1, keepdims=True), 1e-12)
    return shortened


def _policy(page: str) -> str:
    """Nothing from elsewhere, and no script but the page's own, whatever a document may hold."""
    script = page.partition("<script>")[2].partition("</script>")[0]
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{own}'; connect-src 'self'"


def _json(content: Any, *, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")
