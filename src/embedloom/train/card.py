"""The model card that lies in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_INSTRUCTED = "Instruct: {instruction}\\nQuery: {query}"
_PROMPTS = {
    "instruction": (_INSTRUCTED, "the bare text"),
    "both": (_INSTRUCTED, "`Instruct: Represent the document for retrieval.\\nDocument: {document}`"),
    "prefix": ("query: {query}", "`passage: {document}`"),
    "none": ("{query}", "the bare text"),
}
"""Query and document by the contract's prompt."""


def model_card(stored: Mapping[str, Any]) -> str:
    """README.md of a checkpoint from what its `embedloom.json` says.

    The contract's table shows how text becomes a vector, since a reader that forgets a part gets other vectors.
    """
    contract = stored["contract"]
    instructions: Mapping[str, str] = stored["instructions"]
    first = next(iter(instructions), "query")
    listed = "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in instructions.items())
    instructed = "instruction" if contract.get("instructed", True) else "none"
    query, document = _PROMPTS[contract.get("prompt", instructed)]
    pooled = {"last": "the last token's state", "cls": "the first token's state", "mean": "mean of the states"}
    vector = pooled.get(contract["pooling"], "mean of the states, each weighed by its place")
    licence = f"\nThe base model's licence goes with it: {stored['licence']}\n" if stored["licence"] else ""
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [embedloom, feature-extraction]
---

# A text-embedding model from {stored["base"]}

{_origin(stored)} Fingerprint `{stored["fingerprint"]}`.
{licence}
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode(["what to look for"], prompt_name="{first}")
documents = model.encode(["a text that answers"])
scores = model.similarity(queries, documents)
```

| prompt | instruction on the query |
|---|---|
{listed}

## From text to vector

| | |
|---|---|
| query | `{query}` |
| document | {document} |
| tokens | {"" if contract["bos"] is None else "BOS, "}text, EOS; at most {contract["max_length"]}, EOS kept |
| vector | {vector} in the last layer, unit length |
"""


def _origin(stored: Mapping[str, Any]) -> str:
    """How the weights were made: by training, or from other checkpoints."""
    tuned = f"with a contrastive loss on {stored['rows']:,} examples"
    if not stored.get("parents"):
        return f"Tuned by embedloom {tuned}."
    rows = "\n".join(
        f"| {_cell(parent['name'])} | {parent['weight']:.4g} | `{parent['fingerprint']}` |"
        for parent in stored["parents"]
    )
    return (
        f"Merged by embedloom ({stored['settings']['method']}) from checkpoints that were tuned {tuned} in all:\n\n"
        f"| checkpoint | weight | fingerprint |\n|---|---|---|\n{rows}\n\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
