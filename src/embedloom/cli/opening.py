"""Opening an embedder by its name, whatever kind of model lies in the folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from embedloom.model.names import model_folder

if TYPE_CHECKING:
    from embedloom.records import Embedder


def open_embedder(
    name: str, *, dtype: str = "auto", max_length: int | None = None, notice: Callable[[str], None] | None = None
) -> Embedder:
    """The embedder of a name: our checkpoint, a sentence-transformers folder, or a bare model under our contract.

    `sif:NAME` is the weighted average of a model's own token embeddings, `static:wordllama` that of a package's.

    Args:
        name: `registry:`, `hub:` or `path:` name, a path, or `openai-embeddings:URL#MODEL`.
        dtype: `auto`, `float32` or `bfloat16`.
        max_length: another limit in tokens than the model's; a sentence-transformers model keeps its own.
        notice: called with a line that the user should see.

    Raises:
        ModelError: there is no such model, or it can't be read.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "static":
        from embedloom.evals.word_averages import static

        return static(rest)
    if scheme == "sif":
        from embedloom.data.training_rows import read_source
        from embedloom.evals.word_averages import sif

        rows = read_source("sample:llm-written")
        return sif(
            model_folder(rest, notice), name=name, fitted=[t for row in rows for t in (row.query, *row.positives)]
        )
    from embedloom.evals.endpoint import SCHEME, open_endpoint
    from embedloom.model.encoder import CHECKPOINT_FILE, open_encoder

    if name.startswith(SCHEME):
        return open_endpoint(name)
    folder = model_folder(name, notice)
    if (folder / "modules.json").exists() and not (folder / CHECKPOINT_FILE).exists():
        from embedloom.evals.baselines import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(folder, name=name)
    return open_encoder(folder, name=name, dtype=dtype, max_length=max_length)
