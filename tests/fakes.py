"""An embedder without a model: vectors from a hash of the text, and a count of what it was asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from embedloom.records import Progress, Vectors


class HashEmbedder:
    """Equal texts get equal vectors, others random ones. `encoded` lists every text that was encoded."""

    def __init__(self, name: str = "hash", fingerprint: str = "f0", dimension: int = 32) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.dimension = dimension
        self.encoded: list[str] = []

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        return self._encode([instruction + text for text in texts], progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        return self._encode(texts, progress)

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        self.encoded.extend(texts)
        if progress is not None:
            progress(len(texts))
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            seed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            out[row] = np.random.default_rng(int.from_bytes(seed, "little")).normal(size=self.dimension)
        return out / np.linalg.norm(out, axis=1, keepdims=True)
