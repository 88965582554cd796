"""The encoder: a transformer, causal or not, under the input contract, as an `Embedder`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embedloom.errors import ContractError, ModelError
from embedloom.model.attention import use_windowed_attention
from embedloom.model.backbone import best_device, load_backbone, load_tokenizer, named_dtype, pass_tokens
from embedloom.model.fingerprint import fingerprint
from embedloom.model.heap import keep_freed_memory
from embedloom.model.inputs import InputContract, contract_for, read_contract, token_ids
from embedloom.model.packed import use_packed_passes
from embedloom.model.passes import plan_passes, row_vectors

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from embedloom.records import Progress, Vectors

CHECKPOINT_FILE = "embedloom.json"
LONG_INPUT = 2048
"""Tokens beyond which attention is done in blocks: a mask of length x length would take most of the memory."""


class Encoder:
    """Text to unit vectors under a contract, by default: `Instruct: ...` on queries, bare documents, the state at EOS.

    Args:
        backbone: the transformer without head.
        tokenizer: its tokenizer.
        contract: text to tokens to vector.
        name: for people.
        fingerprint: the content hash of folder and contract.
        token_budget: rows x longest row of one forward pass; what suits the device if left out.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        contract: InputContract,
        *,
        name: str,
        fingerprint: str,
        token_budget: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.contract = contract
        self.name = name
        self.fingerprint = fingerprint
        self.dimension = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
        weights = next(backbone.parameters())
        self.device = weights.device
        self.token_budget = token_budget or pass_tokens(weights.device, weights.dtype)

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of queries under an instruction, shape (len(texts), dimension), float32."""
        return self._encode([self.contract.query_text(text, instruction) for text in texts], progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of documents, shape (len(texts), dimension), float32."""
        return self._encode([self.contract.document_text(text) for text in texts], progress)

    def encode_tokens(self, rows: Sequence[Sequence[int]], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of token ids as the input contract made them, shape (len(rows), dimension), float32."""
        vectors_ND = np.empty((len(rows), self.dimension), dtype=np.float32)
        pad = self.tokenizer.pad_token_id or 0
        with torch.inference_mode():
            for group in plan_passes(rows, token_budget=self.token_budget):
                some = [rows[row] for row in group]
                vectors_BD = row_vectors(
                    self.backbone, some, pooling=self.contract.pooling, pad=pad, device=self.device
                )
                vectors_ND[group] = vectors_BD.cpu().numpy()
                if progress is not None:
                    progress(len(group))
        return vectors_ND

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        return self.encode_tokens(token_ids(texts, self.tokenizer, self.contract), progress=progress)


def open_encoder(folder: Path, *, name: str = "", dtype: str = "auto", max_length: int | None = None) -> Encoder:
    """The encoder of a folder: our checkpoint, checked against its contract, or a bare model under the default one.

    Args:
        folder: a folder with weights and tokenizer.
        name: for people; the folder's name if empty.
        dtype: `auto`, `float32` or `bfloat16`.
        max_length: another limit in tokens than the contract's.

    Raises:
        ModelError: the folder can't be read.
        ContractError: the tokenizer is not the one that the checkpoint was trained with.
    """
    device = best_device()
    tokenizer = load_tokenizer(folder)
    stored = read_checkpoint_file(folder)
    if stored is None:
        contract = contract_for(tokenizer)
    else:
        try:
            contract = read_contract(stored["contract"], tokenizer)
        except ContractError as error:
            raise ContractError(f"{folder}: {error}") from None
    if max_length is not None:
        contract = dataclasses.replace(contract, max_length=max_length)
    backbone = load_backbone(folder, device=device, dtype=named_dtype(dtype, device))
    use_packed_passes(backbone, device)
    if device.type == "cpu":
        keep_freed_memory()
    if contract.max_length > LONG_INPUT:
        # A model whose attention can't be done in blocks is used as it is.
        with contextlib.suppress(ModelError):
            use_windowed_attention(backbone)
    return Encoder(backbone, tokenizer, contract, name=name or folder.name, fingerprint=fingerprint(folder, contract))


def read_checkpoint_file(folder: Path) -> dict[str, Any] | None:
    """What `embedloom.json` of a checkpoint says, or None where there is none.

    Raises:
        ModelError: it is not JSON with a fingerprint, instructions and a contract.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is not valid JSON; restore it from the checkpoint") from None
    for key, kind in (("fingerprint", str), ("instructions", dict), ("contract", dict)):
        if not isinstance(stored, dict) or not isinstance(stored.get(key), kind):
            raise ModelError(f"{path}: key {key!r} is missing or damaged; restore it from the checkpoint")
    return dict(stored)
