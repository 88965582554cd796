"""The endpoints' description in OpenAPI's form, from the very models that validate the bodies."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from embedloom import __version__
from embedloom.serve.body import AskBody, AttributeBody, EmbeddingsBody, MapBody, RerankBody, SearchBody

POSTED = {
    "/v1/embeddings": (EmbeddingsBody, "Vectors of texts, in OpenAI's form"),
    "/v1/search": (SearchBody, "The nearest documents of the index"),
    "/v1/rerank": (RerankBody, "Documents by their cosine to a query"),
    "/v1/ask": (AskBody, "An answer from the index's passages, by a language model that cites them"),
    "/v1/attribute": (AttributeBody, "For each sentence of a text the spans of documents that support it, or none"),
    "/v1/map": (MapBody, "Documents of the index in the plane, in groups"),
}
READ = {
    "/v1/models": "The model served",
    "/healthz": "Whether it lives and takes requests",
    "/metrics": "Counters in Prometheus' form",
}
REFUSALS = {
    "400": "Not what this endpoint takes",
    "401": "No valid API key",
    "403": "Not this server's local name",
    "404": "No such model, or no index or language model here",
    "405": "Another method",
    "408": "The body did not come in time",
    "413": "Body too large",
    "415": "Not application/json",
    "422": "Beyond a limit of this server",
    "429": "Queue full; Retry-After says when to come back",
    "500": "The model failed",
    "502": "The language model gave no answer",
    "503": "Shutting down",
    "504": "No answer in time",
}


@cache
def openapi() -> dict[str, Any]:
    """The document. The result is shared: don't change it."""
    reference = "#/components/schemas/{model}"
    models: Any = [(body, "validation") for body, _ in POSTED.values()]
    named: Any
    named, found = models_json_schema(models, ref_template=reference)
    schemas = found["$defs"]
    schemas["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": "string"},
                },
            }
        },
    }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {status: {"description": text, "content": error} for status, text in REFUSALS.items()}
    answer = {"200": {"description": "The answer", "content": {"application/json": {"schema": {"type": "object"}}}}}
    paths: dict[str, Any] = {}
    for path, (body, summary) in POSTED.items():
        content = {"application/json": {"schema": named[body, "validation"]}}
        request = {"required": True, "content": content}
        paths[path] = {"post": {"summary": summary, "requestBody": request, "responses": answer | refusals}}
    for path, summary in READ.items():
        plain = {"200": {"description": "The answer"}, "503": {"description": "Not ready"}}
        paths[path] = {"get": {"summary": summary, "responses": plain}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "embedloom", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
