"""LangChain: texts in a vector store, searched under an instruction, with the model behind `embedloom serve`.

python examples/langchain_search.py http://127.0.0.1:8000/v1 "your query"
"""

from __future__ import annotations

import os
import sys
from typing import Any

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

TEXTS = ["boats wait for wind", "red foxes jump over fences", "bread and stone and fire"]


class ServedEmbeddings(OpenAIEmbeddings):
    """OpenAI's embeddings, with queries encoded as queries. `instruction` says what they are for."""

    instruction: str = ""

    def embed_query(self, text: str, **settings: Any) -> list[float]:
        """The vector of a query under the instruction."""
        body = {"input_type": "query", **({"instruction": self.instruction} if self.instruction else {})}
        asked = self.client.create(model=self.model, input=[text], extra_body=body)
        return list(asked.data[0].embedding)


def search(address: str, query: str, *, instruction: str = "", model: str = "") -> list[tuple[str, float]]:
    """The two nearest of the texts, with their cosines."""
    embeddings = ServedEmbeddings(
        base_url=address,
        api_key=os.environ.get("EMBEDLOOM_API_KEY") or "none",
        model=model or served_model(address),
        instruction=instruction,
        # Otherwise it sends the token ids of OpenAI's own tokenizer.
        check_embedding_ctx_length=False,
    )
    store = InMemoryVectorStore.from_texts(TEXTS, embeddings)
    return [(document.page_content, score) for document, score in store.similarity_search_with_score(query, k=2)]


def served_model(address: str) -> str:
    """What the server calls its model."""
    import openai

    return (
        openai.OpenAI(base_url=address, api_key=os.environ.get("EMBEDLOOM_API_KEY") or "none").models.list().data[0].id
    )


if __name__ == "__main__":
    for text, score in search(sys.argv[1], sys.argv[2]):
        print(f"{score:.3f}  {text}")
