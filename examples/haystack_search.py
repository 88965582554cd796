"""Haystack: a document store and a retrieval pipeline, with the model behind `embedloom serve`.

python examples/haystack_search.py http://127.0.0.1:8000/v1 "your query"
"""

from __future__ import annotations

import os
import sys

import openai
from haystack import Document, Pipeline, component
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

TEXTS = ["boats wait for wind", "red foxes jump over fences", "bread and stone and fire"]


@component
class ServedQueryEmbedder:
    """A query's vector under an instruction; Haystack's own `OpenAITextEmbedder` encodes it as a document."""

    def __init__(self, address: str, instruction: str = "") -> None:
        self.address = address
        self.instruction = instruction

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """The vector."""
        role = {"input_type": "query", **({"instruction": self.instruction} if self.instruction else {})}
        return {"embedding": encoded(self.address, [text], role)[0]}


def encoded(address: str, texts: list[str], role: dict[str, str]) -> list[list[float]]:
    """Vectors of the server's model."""
    client = openai.OpenAI(base_url=address, api_key=os.environ.get("EMBEDLOOM_API_KEY") or "none")
    model = client.models.list().data[0].id
    return [row.embedding for row in client.embeddings.create(model=model, input=texts, extra_body=role).data]


def search(address: str, query: str, *, instruction: str = "") -> list[tuple[str, float]]:
    """The two nearest of the texts, with their cosines."""
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    vectors = encoded(address, TEXTS, {"input_type": "document"})
    store.write_documents([Document(content=t, embedding=v) for t, v in zip(TEXTS, vectors, strict=True)])
    pipeline = Pipeline()
    pipeline.add_component("query", ServedQueryEmbedder(address, instruction))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=2, scale_score=False))
    pipeline.connect("query.embedding", "retriever.query_embedding")
    found = pipeline.run({"query": {"text": query}})["retriever"]["documents"]
    return [(document.content or "", float(document.score or 0.0)) for document in found]


if __name__ == "__main__":
    for text, score in search(sys.argv[1], sys.argv[2]):
        print(f"{score:.3f}  {text}")
