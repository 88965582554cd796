"""THE contract from text to tokens: used by training, evaluation, mining, search and serving alike.

A query is `Instruct: {instruction}\\nQuery: {query}`, a document is bare (paper section 3). Token ids are
`[BOS] text [EOS]`: BOS where the model has one, EOS always, also after truncation. EOS is where the vector is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedloom.errors import ContractError, DataError, ModelError
from embedloom.records import from_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBES = (
    "What is the boiling point of water?",
    "Instruct: Given a question, retrieve passages that answer it.\nQuery: who wrote Don Quijote?",
    "  spaces \t and\n\nline ends ",
    "Ünïcödé ß ﬁ 東京タワー Москва مرحبا नमस्ते ไทย 🙂",
    "<eos> </s> <|endoftext|> [SEP] <bos>",
    "",
)
"""Texts whose token ids are recorded in a checkpoint: another tokenizer gives others for at least one of them."""


@dataclass(frozen=True, slots=True)
class InputContract:
    """How text becomes token ids and a vector.

    Attributes:
        bos: id put before the text, or None.
        eos: id put behind the text; the vector is the last layer's state there.
        max_length: tokens, BOS and EOS included.
        pooling: `last`, `mean` or `weighted-mean`.
        instructed: whether queries carry their instruction (False is an ablation of the paper).
    """

    bos: int | None
    eos: int
    max_length: int = 512
    pooling: str = "last"
    instructed: bool = True

    def query_text(self, query: str, instruction: str) -> str:
        """The query as the model sees it; an empty instruction leaves the query bare."""
        return query_prefix(instruction) + query if self.instructed and instruction else query


def query_prefix(instruction: str) -> str:
    """What stands before a query under an instruction."""
    return f"Instruct: {instruction}\nQuery: "


def contract_for(tokenizer: PreTrainedTokenizerBase, *, max_length: int = 512, pooling: str = "last") -> InputContract:
    """The contract that fits a tokenizer: its EOS, and its BOS if it puts one before texts or says that it does.

    Raises:
        ModelError: the tokenizer has no EOS token.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no EOS token; an embedding is read at EOS, so choose a model that has one")
    bos = tokenizer.bos_token_id
    if bos is not None:
        usual = tokenizer("a")["input_ids"]
        declared = bool(getattr(tokenizer, "add_bos_token", False))
        if not declared and (not usual or usual[0] != bos):
            bos = None
    return InputContract(bos=bos, eos=int(tokenizer.eos_token_id), max_length=max_length, pooling=pooling)


def token_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, contract: InputContract) -> list[list[int]]:
    """Token ids of texts, each `[BOS] text [EOS]` and at most `max_length` long.

    A text that spells a special token (`<eos>`) is split as ordinary text: a document can't end itself.

    Returns:
        One list a text; lengths differ, nothing is padded.
    """
    return [framed(ids, contract) for ids in text_ids(texts, tokenizer)]


def text_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of the texts alone, whole and without BOS and EOS."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return [list(ids) for ids in encoded]


def framed(ids: Sequence[int], contract: InputContract) -> list[int]:
    """The ids of a text between BOS and EOS, cut to what fits between them."""
    head = [] if contract.bos is None else [contract.bos]
    return [*head, *ids[: contract.max_length - 1 - len(head)], contract.eos]


def record_contract(tokenizer: PreTrainedTokenizerBase, contract: InputContract) -> dict[str, Any]:
    """The contract with the token ids of the probe texts, as a checkpoint stores it."""
    return {
        **dataclasses.asdict(contract),
        "probes": dict(zip(PROBES, token_ids(PROBES, tokenizer, contract), strict=True)),
    }


def read_contract(stored: object, tokenizer: PreTrainedTokenizerBase) -> InputContract:
    """The contract of a checkpoint, checked against the tokenizer that lies beside it.

    Raises:
        ContractError: a key is missing or unknown, a special token has another id, or a probe text has other token ids.
    """
    fields = {f.name for f in dataclasses.fields(InputContract)}
    if not isinstance(stored, dict) or set(stored) != fields | {"probes"}:
        odd = sorted(set(stored) ^ (fields | {"probes"})) if isinstance(stored, dict) else [type(stored).__name__]
        raise ContractError(f"the stored input contract has other keys than this version reads: {', '.join(odd)}")
    try:
        contract = from_json(InputContract, {key: stored[key] for key in fields})
    except DataError as error:
        raise ContractError(f"the stored input contract is damaged: {error}") from None
    probes = stored["probes"]
    if not isinstance(probes, dict) or not probes or not all(isinstance(ids, list) for ids in probes.values()):
        raise ContractError("the stored input contract is damaged: key 'probes': expected texts with their token ids")
    for part, now, then in (
        ("EOS", tokenizer.eos_token_id, contract.eos),
        ("BOS", tokenizer.bos_token_id, contract.bos),
    ):
        if then is not None and now != then:
            raise ContractError(
                f"the tokenizer's {part} id is {now}, but the checkpoint was trained with {then}; restore its tokenizer"
            )
    ids = token_ids(list(probes), tokenizer, contract)
    for text, found, recorded in zip(probes, ids, probes.values(), strict=True):
        if found != recorded:
            raise ContractError(
                "the tokenizer gives other token ids than the checkpoint was trained with, "
                f"for the probe text {text!r}: {_first_difference(found, recorded)}; "
                "restore the checkpoint's tokenizer files"
            )
    return contract


def length_sorted(lengths: Iterable[int], *, token_budget: int, max_rows: int) -> list[list[int]]:
    """Row numbers in groups of like length, longest first.

    Rows x longest row of a group stays within `token_budget`, but for a group of one row, which is never refused.
    """
    order = sorted(enumerate(lengths), key=lambda pair: (-pair[1], pair[0]))
    groups: list[list[int]] = []
    longest = 0
    for row, length in order:
        if groups and len(groups[-1]) < max_rows and (len(groups[-1]) + 1) * longest <= token_budget:
            groups[-1].append(row)
        else:
            groups.append([row])
            longest = max(length, 1)
    return groups


def _first_difference(now: list[int], then: list[int]) -> str:
    for place, (a, b) in enumerate(zip(now, then, strict=False)):
        if a != b:
            return f"token {place} is {a}, was {b}"
    return f"{len(now)} tokens, were {len(then)}"
