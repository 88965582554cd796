"""The endpoints: bodies in, answers out. What may come in at all is the gate's business."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic_core import to_json
from starlette.responses import Response

from embedloom.serve.answers import Answers, answer_body
from embedloom.serve.body import AskBody, AttributeBody, EmbeddingsBody, MapBody, RerankBody, SearchBody, read_body
from embedloom.serve.front import front_page
from embedloom.serve.openapi import openapi
from embedloom.serve.refusal import beyond_limit, invalid

if TYPE_CHECKING:
    from embedloom.records import Vectors
    from embedloom.serve.engine import Input
    from embedloom.serve.gate import Call
    from embedloom.serve.service import Service

FINGERPRINT_HEADER = "x-embedloom-fingerprint"
DIGITS = 9
"""Decimals of a vector's numbers as text: all that float32 holds of numbers near 0.01, at half the length."""


class Endpoints:
    """Handlers from a call to its response."""

    def __init__(self, service: Service, answers: Answers) -> None:
        self.service = service
        self.answers = answers

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
        if not body.query.strip():
            raise invalid("key 'query': expected some words", "query")
        service.searched(body.k, most=service.limits.read_hits if body.highlight else 0)
        rows = await service.rows([body.query], self._instruction(body.instruction), call, key="query")
        vectors_1D = await service.vectors(rows)
        found = await service.hits(vectors_1D, body.k)
        data = []
        for number, (hit, document) in enumerate(found):
            row: dict[str, Any] = {"index": number, "id": hit.document_id, "score": round(hit.score, 6)}
            data.append(row | ({"title": document.title, "text": document.text} if body.include_text else {}))
        if body.highlight:
            spans = await self.answers.highlight(vectors_1D[0], found, call)
            data = [row | {"span": span} for row, span in zip(data, spans, strict=True)]
        return self._answer(call, {"object": "list", "data": data})

    async def ask(self, call: Call) -> Response:
        """An answer that cites the index's passages."""
        body = read_body(AskBody, call.body)
        self.service.check_model(body.model)
        answer = await self.answers.ask(body, call)
        return self._answer(call, {"object": "answer", "chat": self.answers.chat} | answer_body(answer))

    async def attribute(self, call: Call) -> Response:
        """The sources of a text's sentences."""
        body = read_body(AttributeBody, call.body)
        self.service.check_model(body.model)
        threshold, data = await self.answers.attribute(body, call)
        return self._answer(call, {"object": "list", "threshold": round(threshold, 6), "data": data})

    async def map(self, call: Call) -> Response:
        """Documents in the plane."""
        body = read_body(MapBody, call.body)
        self.service.check_model(body.model)
        found = await self.answers.map(body)
        return self._answer(call, {"object": "map"} | asdict(found))

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
        """The front page."""
        content, headers = front_page()
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
            "chat": self.answers.chat,
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


def _json(content: Any, *, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")
