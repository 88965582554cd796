"""Our embedder as a model of the `mteb` library: `mteb.evaluate(mteb_model(embedder), tasks)` runs it.

The instruction of each task comes from the table that our own evaluation uses, and stands where mteb's tasks ask for a
query: before the queries of retrieval and reranking, and before every text of the other families. Documents are bare.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.data.dense import encode_documents, encode_queries
from embedloom.errors import MissingExtraError
from embedloom.evals.instructions import instruction_for
from embedloom.records import Embedder

if TYPE_CHECKING:
    from types import ModuleType

    from embedloom.records import Vectors

FAMILIES = {
    "Retrieval": "retrieval",
    "InstructionRetrieval": "retrieval",
    "Reranking": "reranking",
    "InstructionReranking": "reranking",
    "STS": "sts",
    "Summarization": "sts",
    "PairClassification": "pair-classification",
    "BitextMining": "bitext",
    "Classification": "classification",
    "MultilabelClassification": "classification",
    "Clustering": "clustering",
}
"""mteb's types of text tasks and the family whose instruction they get."""


def import_mteb() -> ModuleType:
    """The module `mteb`. Its import takes seconds, and seeds the global random generators.

    Raises:
        MissingExtraError: it is absent.
    """
    try:
        return importlib.import_module("mteb")
    except ImportError:
        raise MissingExtraError("mteb", "mteb") from None


class MtebModel:
    """An `Embedder` behind mteb's `EncoderProtocol`; made by `mteb_model`.

    Args:
        embedder: the model.
        meta: mteb's `ModelMeta`.
        instruction: for all tasks, instead of the table's; "" for none.
    """

    def __init__(self, embedder: Embedder, meta: Any, *, instruction: str | None = None) -> None:
        self.embedder = embedder
        self.mteb_model_meta = meta
        self._instruction = instruction

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Vectors:
        """Unit vectors of the batches' texts, shape (texts, dimension); batch size and bars are the embedder's own.

        Args:
            inputs: batches with a list of texts at `text`.
            task_metadata: the task's name and type choose the instruction.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: mteb's `PromptType`: only `document` leaves the texts bare.
            kwargs: mteb's settings of an encoding; not used.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type is not None and prompt_type.value == "document":
            return encode_documents(self.embedder, texts)
        family = FAMILIES.get(task_metadata.type, "sts")
        return encode_queries(self.embedder, texts, instruction_for(task_metadata.name, family, self._instruction))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Vectors:
        """Cosines of all pairs, shape (first, second)."""
        cosines: Vectors = np.atleast_2d(embeddings1) @ np.atleast_2d(embeddings2).T
        return cosines

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Vectors:
        """Cosines of corresponding rows, shape (rows,)."""
        return np.asarray(np.einsum("nd,nd->n", np.atleast_2d(embeddings1), np.atleast_2d(embeddings2)))


def mteb_model(embedder: Embedder, *, instruction: str | None = None) -> MtebModel:
    """An embedder as mteb takes it. Results are kept under its name, with its fingerprint as revision.

    Args:
        embedder: the model.
        instruction: for all tasks, instead of the table's; "" for none.

    Raises:
        MissingExtraError: mteb is absent.
    """
    import_mteb()
    metas = importlib.import_module("mteb.models.model_meta")
    name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in embedder.name).strip("-.")
    told = {
        "name": f"embedloom/{name or 'model'}",
        "revision": embedder.fingerprint,
        "embed_dim": embedder.dimension,
        "similarity_fn_name": metas.ScoringFunction.COSINE,
        "use_instructions": True,
    }
    return MtebModel(embedder, metas.ModelMeta.create_empty(told), instruction=instruction)
