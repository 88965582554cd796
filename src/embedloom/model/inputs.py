"""THE contract from text to tokens: used by training, evaluation, mining, search and serving alike.

A query is `Instruct: {instruction}\\nQuery: {query}`, a document is bare (paper section 3); a contract may say
otherwise (`PROMPTS`). Token ids are `[BOS] text [EOS]`: BOS where the model has one, EOS always, also after truncation.
EOS is where the vector is read. In an encoder such as BERT they are [CLS] and [SEP].
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


PROMPTS = ("instruction", "prefix", "none", "both")
"""What stands before texts: the instruction before queries alone (the paper); `query: ` and `passage: ` (E5, the
paper's ablation); nothing; the instruction before queries and a fixed one before documents (Instructor)."""

QUERY_PREFIX, DOCUMENT_PREFIX = "query: ", "passage: "
DOCUMENT_INSTRUCTION = "Instruct: Represent the document for retrieval.\nDocument: "
"""Before every document under the prompt `both`."""


@dataclass(frozen=True, slots=True)
class InputContract:
    """How text becomes token ids and a vector.

    Attributes:
        bos: id put before the text, or None.
        eos: id put behind the text; the vector is the last layer's state there.
        max_length: tokens, BOS and EOS included.
        pooling: one of `pooling.POOLINGS`.
        prompt: one of `PROMPTS`.
    """

    bos: int | None
    eos: int
    max_length: int = 512
    pooling: str = "last"
    prompt: str = "instruction"

    @property
    def instructed(self) -> bool:
        """Whether queries carry their instruction."""
        return self.prompt in ("instruction", "both")

    def query_text(self, query: str, instruction: str) -> str:
        """The query as the model sees it; an empty instruction leaves an instructed model's query bare."""
        if self.prompt == "prefix":
            return QUERY_PREFIX + query
        return query_prefix(instruction) + query if self.instructed and instruction else query

    def document_text(self, document: str) -> str:
        """The document as the model sees it."""
        return {"prefix": DOCUMENT_PREFIX, "both": DOCUMENT_INSTRUCTION}.get(self.prompt, "") + document


def query_prefix(instruction: str) -> str:
    """What stands before a query under an instruction."""
    return f"Instruct: {instruction}\nQuery: "


def contract_for(
    tokenizer: PreTrainedTokenizerBase, *, max_length: int = 512, pooling: str = "last", prompt: str = "instruction"
) -> InputContract:
    """The contract that fits a tokenizer: its EOS, and its BOS if it puts one before texts or says that it does.

    The [SEP] and [CLS] of an encoder's tokenizer are its EOS and BOS.

    Raises:
        ModelError: the tokenizer has no EOS token.
    """
    eos, bos = _end(tokenizer), _beginning(tokenizer)
    if eos is None:
        raise ModelError("the tokenizer has no EOS token; an embedding is read at EOS, so choose a model that has one")
    if bos is not None:
        usual = tokenizer("a")["input_ids"]
        declared = bool(getattr(tokenizer, "add_bos_token", False))
        if not declared and (not usual or usual[0] != bos):
            bos = None
    if pooling == "cls" and bos is None:
        raise ModelError("the tokenizer puts no token before a text; pooling `cls` needs one: choose last or mean")
    return InputContract(bos=bos, eos=eos, max_length=max_length, pooling=pooling, prompt=prompt)


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
    if isinstance(stored, dict) and isinstance(stored.get("instructed"), bool):
        # What contracts said before there were other prompts.
        stored = {key: value for key, value in stored.items() if key != "instructed"} | {
            "prompt": "instruction" if stored["instructed"] else "none"
        }
    if not isinstance(stored, dict) or set(stored) != fields | {"probes"}:
        odd = sorted(set(stored) ^ (fields | {"probes"})) if isinstance(stored, dict) else [type(stored).__name__]
        raise ContractError(f"the stored input contract has other keys than this version reads: {', '.join(odd)}")
    try:
        contract = from_json(InputContract, {key: stored[key] for key in fields})
    except DataError as error:
        raise ContractError(f"the stored input contract is damaged: {error}") from None
    if contract.prompt not in PROMPTS:
        raise ContractError(f"the stored input contract has the prompt {contract.prompt!r}, which is unknown here")
    probes = stored["probes"]
    if not isinstance(probes, dict) or not probes or not all(isinstance(ids, list) for ids in probes.values()):
        raise ContractError("the stored input contract is damaged: key 'probes': expected texts with their token ids")
    for part, now, then in (
        ("EOS", _end(tokenizer), contract.eos),
        ("BOS", _beginning(tokenizer), contract.bos),
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


def _end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    return _first_id(tokenizer.eos_token_id, tokenizer.sep_token_id)


def _beginning(tokenizer: PreTrainedTokenizerBase) -> int | None:
    return _first_id(tokenizer.bos_token_id, tokenizer.cls_token_id)


def _first_id(*candidates: Any) -> int | None:
    return next((int(one) for one in candidates if one is not None), None)


def _first_difference(now: list[int], then: list[int]) -> str:
    for place, (a, b) in enumerate(zip(now, then, strict=False)):
        if a != b:
            return f"token {place} is {a}, was {b}"
    return f"{len(now)} tokens, were {len(then)}"
