"""Models to measure against: any sentence-transformers folder, whoever trained it, as an `Embedder`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import MissingExtraError, ModelError
from embedloom.records import Progress
from embedloom.run import file_hash

if TYPE_CHECKING:
    from embedloom.records import Vectors

PROSE = {".md", ".pyc", ".lock"}
"""Ends of files that can't change a vector."""


class SentenceTransformerEmbedder:
    """A sentence-transformers model in float32, used as its makers set it up.

    Prompts come from the model's own configuration ("query" and "document", if it has them): it was not trained on
    anybody else's, so the instruction is not used.

    Args:
        path: the model's folder.
        name: what people call it; the folder's name if left out.
        device: where to run.
        batch_size: texts at a time; texts of similar length go together.

    Raises:
        ModelError: there is no such folder, or sentence-transformers can't load it.
        MissingExtraError: sentence-transformers is absent.
    """

    def __init__(self, path: Path, *, name: str = "", device: str = "cpu", batch_size: int = 32) -> None:
        if not (path / "modules.json").is_file():
            raise ModelError(f"{path}: no modules.json in it; expected the folder of a sentence-transformers model")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError("sentence-transformers", "baselines") from None
        from transformers.utils import logging

        bars: Any = logging
        shown = bars.is_progress_bar_enabled()
        bars.disable_progress_bar()
        try:
            # A folder alone: no name that would be looked up on a hub, and no code from inside it is run.
            self._model = SentenceTransformer(
                str(path), device=device, local_files_only=True, model_kwargs={"dtype": "float32"}
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{path}: sentence-transformers can't load it ({error})") from None
        finally:
            if shown:
                bars.enable_progress_bar()
        self._batch_size = batch_size
        self._name = name or path.resolve().name
        self._fingerprint = folder_hash(path)
        # Releases differ in what they call the method that tells it.
        self._dimension = len(self._model.encode("a", show_progress_bar=False, convert_to_numpy=True))

    @property
    def name(self) -> str:
        """What people call the model."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hash of the contents of the model's files."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors under the model's own query prompt, shape (len(texts), dimension)."""
        return self._encode(texts, "query", progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors under the model's own document prompt, shape (len(texts), dimension)."""
        return self._encode(texts, "document", progress)

    def _encode(self, texts: Sequence[str], role: str, progress: Progress | None) -> Vectors:
        prompt = self._model.prompts.get(role) or ""
        order = np.argsort([-len(text) for text in texts], kind="stable")
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            out[rows] = self._model.encode(
                [texts[row] for row in rows],
                prompt=prompt,
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
            if progress is not None:
                progress(len(rows))
        return out


def folder_hash(path: Path) -> str:
    """Hash of the names and contents of a model's files, 32 hexadecimal digits; prose and hidden files don't count."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path).as_posix()
        if file.suffix in PROSE or any(part.startswith((".", "__")) for part in Path(name).parts):
            continue
        digest.update(f"{name}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()
