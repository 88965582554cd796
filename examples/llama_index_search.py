"""LlamaIndex: an index over documents and its retriever, with the model behind `embedloom serve`.

python examples/llama_index_search.py http://127.0.0.1:8000/v1 "your query"
"""

from __future__ import annotations

import os
import sys
from typing import Any

import openai
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding

TEXTS = ["boats wait for wind", "red foxes jump over fences", "bread and stone and fire"]


class ServedEmbedding(BaseEmbedding):
    """The server's embeddings, with queries encoded as queries. `instruction` says what they are for.

    `llama-index-embeddings-openai-like` works, too, but encodes queries as documents.
    """

    address: str
    instruction: str = ""

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._asked(texts, {"input_type": "document"})

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        role = {"input_type": "query", **({"instruction": self.instruction} if self.instruction else {})}
        return self._asked([query], role)[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _asked(self, texts: list[str], role: dict[str, Any]) -> list[list[float]]:
        client = openai.OpenAI(base_url=self.address, api_key=os.environ.get("EMBEDLOOM_API_KEY") or "none")
        model = client.models.list().data[0].id
        answer = client.embeddings.create(model=model, input=texts, extra_body=role)
        return [row.embedding for row in answer.data]


def search(address: str, query: str, *, instruction: str = "") -> list[tuple[str, float]]:
    """The two nearest of the texts, with their cosines."""
    embedding = ServedEmbedding(address=address, instruction=instruction)
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=embedding)
    found = index.as_retriever(similarity_top_k=2).retrieve(query)
    return [(hit.node.get_content(), float(hit.score or 0.0)) for hit in found]


if __name__ == "__main__":
    for text, score in search(sys.argv[1], sys.argv[2]):
        print(f"{score:.3f}  {text}")
