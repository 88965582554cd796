"""What there was before sentence encoders: a text's vector is an average of its tokens' own vectors.

Weighted by how rare a token is, without the direction that all texts have in common, such averages are a baseline that
is hard to beat (SIF: Arora, Liang and Ma 2017).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedloom.errors import MissingExtraError, ModelError
from embedloom.records import Progress, content_id

if TYPE_CHECKING:
    from embedloom.records import Vectors

RARITY = 1e-3
"""`a` of the weight a / (a + p) of a token with probability p."""
PACKAGES = ("wordllama",)
"""Packages whose static vectors lie in the package itself."""

Ids = Callable[[Sequence[str]], list[list[int]]]


class WordAverage:
    """An `Embedder` that averages a table's rows; query and document alike, and no instruction is read.

    Args:
        name: for people.
        table_VD: a vector for each token, shape (vocabulary, dimension).
        ids: from texts to token ids.
        fitted: texts that token frequencies and the common direction are taken from; without any, the average is
            plain. Give none that are evaluated on.
    """

    def __init__(self, name: str, table_VD: NDArray[np.float32], ids: Ids, fitted: Sequence[str] = ()) -> None:
        self.name = name
        self.dimension = int(table_VD.shape[1])
        self._table_VD, self._ids = table_VD, ids
        self._weight_V = np.ones(len(table_VD), dtype=np.float32)
        self._common_D = np.zeros(self.dimension, dtype=np.float32)
        if fitted:
            rows = ids(fitted)
            counts_V = np.bincount([one for row in rows for one in row], minlength=len(table_VD))
            self._weight_V = (RARITY / (RARITY + counts_V / max(1, counts_V.sum()))).astype(np.float32)
            means_ND = self._means(rows)
            self._common_D = np.linalg.svd(means_ND, full_matrices=False)[2][0].astype(np.float32)
        hashed = [round(float(x), 4) for x in (table_VD.sum(dtype=np.float64), *self._common_D[:8])]
        self.fingerprint = content_id("word-average", name, hashed, float(self._weight_V.sum()))

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, shape (len(texts), dimension)."""
        return self.encode_documents(texts, progress=progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, shape (len(texts), dimension)."""
        vectors_ND = self._means(self._ids(texts))
        vectors_ND = vectors_ND - np.outer(vectors_ND @ self._common_D, self._common_D)
        # A text without a known token is like no other, and must have a length all the same.
        vectors_ND[np.linalg.norm(vectors_ND, axis=1) < 1e-9, 0] = 1.0
        if progress is not None:
            progress(len(texts))
        lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        return np.asarray(vectors_ND / lengths_N1, dtype=np.float32)

    def _means(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        out_ND = np.zeros((len(rows), self.dimension), dtype=np.float32)
        for number, row in enumerate(rows):
            if row:
                out_ND[number] = self._weight_V[row] @ self._table_VD[row] / len(row)
        return out_ND


def sif(folder: Path, *, name: str, fitted: Sequence[str]) -> WordAverage:
    """SIF on the input embeddings of a language model: what its layers add is what they are worth.

    Args:
        folder: of the model.
        name: for people.
        fitted: texts for frequencies and the common direction, such as training rows.
    """
    import torch

    from embedloom.model.backbone import load_backbone, load_tokenizer
    from embedloom.model.inputs import text_ids

    tokenizer = load_tokenizer(folder)
    model: Any = load_backbone(folder, device=torch.device("cpu"), dtype=torch.float32)
    table_VD = model.get_input_embeddings().weight.detach().numpy().copy()
    return WordAverage(name, table_VD, lambda texts: text_ids(texts, tokenizer), fitted)


def static(package: str) -> WordAverage:
    """The plain average of the static vectors of a package.

    Raises:
        MissingExtraError: it is not installed.
        ModelError: nobody knows it here, or its files are not where they were.
    """
    if package not in PACKAGES:
        raise ModelError(f"no static vectors {package!r}; there are {', '.join(f'static:{one}' for one in PACKAGES)}")
    # Not imported: only the files that lie in it are needed.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(package, "static")
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    place = Path(spec.origin).parent
    files = place / "weights/l2_supercat_256.safetensors", place / "tokenizers/l2_supercat_tokenizer_config.json"
    if not all(file.is_file() for file in files):
        raise ModelError(f"{package}: {files[0].name} or its tokenizer is not in the package; expected version 0.4")
    table_VD = next(iter(load_file(files[0]).values())).astype(np.float32)
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(files[1].read_text(encoding="utf-8"))))
    tokenizer.no_padding()

    def ids(texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return WordAverage(f"static:{package}", table_VD, ids)
