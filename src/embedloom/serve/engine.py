"""From a request's texts to rows that the batcher can mix, and from rows to vectors, for whatever embedder there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from embedloom.errors import ModelError
from embedloom.records import Embedder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from embedloom.model.inputs import InputContract
    from embedloom.records import Vectors

Input = str | Sequence[int]
"""A text, or the token ids of one."""


class InputError(ValueError):
    """An input that this model can't take; the message is for whoever sent it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text as the model reads it.

    Attributes:
        length: tokens.
        ids: all token ids; empty for a model that makes its own.
        text: for a model that makes its own token ids.
        instruction: for such a model: of a query; None for a document.
        cut: whether the text was longer than the model reads.
    """

    length: int
    ids: Sequence[int] = ()
    text: str = ""
    instruction: str | None = None
    cut: bool = False


class Engine(Protocol):
    """What the server asks of a model. `rows` and `encode` are called by one thread each."""

    @property
    def embedder(self) -> Embedder:
        """The model."""

    @property
    def token_budget(self) -> int:
        """Rows x longest row of one pass."""

    def rows(self, inputs: Sequence[Input], instruction: str | None) -> list[Row]:
        """Rows of queries under an instruction (which may be empty), or of documents where it is None.

        Raises:
            InputError: an input that the model can't take.
        """

    def encode(self, rows: Sequence[Row]) -> Vectors:
        """Unit vectors, shape (len(rows), dimension).

        Raises:
            ModelError: what the model gave are no unit vectors.
        """


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder whose token ids are made by the input contract, outside of it."""

    contract: InputContract
    tokenizer: PreTrainedTokenizerBase
    token_budget: int

    def encode_tokens(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Unit vectors of token ids."""


def engine_for(embedder: Embedder) -> Engine:
    """The engine that fits an embedder."""
    return TokenEngine(embedder) if isinstance(embedder, TokenEmbedder) else TextEngine(embedder)


class TokenEngine:
    """Rows of token ids: queries of any instruction and documents share a pass."""

    def __init__(self, embedder: TokenEmbedder) -> None:
        self.embedder = embedder
        self.token_budget = embedder.token_budget

    def rows(self, inputs: Sequence[Input], instruction: str | None) -> list[Row]:
        """As `Engine.rows`. Token ids are those of the bare text; BOS and EOS around them are not counted twice."""
        from embedloom.model.inputs import framed, text_ids

        contract, tokenizer = self.embedder.contract, self.embedder.tokenizer
        prompted = bool(contract.document_text("") if instruction is None else contract.query_text("", instruction))
        bare: list[Sequence[int]] = [()] * len(inputs)
        texts: dict[int, str] = {}
        for number, given in enumerate(inputs):
            if isinstance(given, str):
                texts[number] = given
                continue
            bare[number] = self._bare(given)
            if prompted:
                # Tokens change at the seam between prompt and text, so the text is split anew.
                decoded = tokenizer.decode(list(bare[number]), clean_up_tokenization_spaces=False)
                texts[number] = str(decoded)
        if prompted:
            texts = {
                number: contract.document_text(text) if instruction is None else contract.query_text(text, instruction)
                for number, text in texts.items()
            }
        for number, split in zip(texts, text_ids(list(texts.values()), tokenizer), strict=True):
            bare[number] = split
        out = []
        for ids in bare:
            whole = framed(ids, contract)
            out.append(Row(len(whole), whole, cut=len(whole) < len(ids) + 1 + (contract.bos is not None)))
        return out

    def encode(self, rows: Sequence[Row]) -> Vectors:
        """As `Engine.encode`."""
        return _checked(self.embedder.encode_tokens([row.ids for row in rows]))

    def _bare(self, ids: Sequence[int]) -> Sequence[int]:
        contract, size = self.embedder.contract, len(self.embedder.tokenizer)
        wrong = next((i for i in ids if i >= size), None)
        if wrong is not None:
            raise InputError(
                f"token id {wrong} is beyond the {size} tokens of this model; send text, or the ids that this model's "
                "own tokenizer gives (LangChain: check_embedding_ctx_length=False)"
            )
        start = 1 if ids and ids[0] == contract.bos else 0
        end = len(ids) - 1 if len(ids) > start and ids[-1] == contract.eos else len(ids)
        return ids[start:end]


class TextEngine:
    """Rows of text, for an embedder that does everything itself; what shares a role shares a call."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.token_budget = 4096

    def rows(self, inputs: Sequence[Input], instruction: str | None) -> list[Row]:
        """As `Engine.rows`."""
        texts = []
        for given in inputs:
            if not isinstance(given, str):
                raise InputError("this model takes text, not token ids")
            texts.append(given)
        # An estimate: its tokenizer belongs to the model's thread.
        return [Row(len(text.encode()) // 4 + 1, text=text, instruction=instruction) for text in texts]

    def encode(self, rows: Sequence[Row]) -> Vectors:
        """As `Engine.encode`."""
        roles: dict[str | None, list[int]] = {}
        for number, row in enumerate(rows):
            roles.setdefault(row.instruction, []).append(number)
        out = np.empty((len(rows), self.embedder.dimension), dtype=np.float32)
        for instruction, numbers in roles.items():
            texts = [rows[number].text for number in numbers]
            if instruction is None:
                out[numbers] = self.embedder.encode_documents(texts)
            else:
                out[numbers] = self.embedder.encode_queries(texts, instruction)
        return _checked(out)


def _checked(vectors: Vectors) -> Vectors:
    wrong = ~(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3)  # written so that NaN is wrong too
    if wrong.any():
        raise ModelError("the model gave a vector that is no unit vector")
    return vectors
