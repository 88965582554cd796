"""Personalized passkey retrieval: long documents that differ in one short passage, which names a person and a key.

A document is repeated filler with that passage at a random place; a query asks for a person's key, and the answer is
that person's document among all documents of its length (paper, section 6).
"""

from __future__ import annotations

import random
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from embedloom.data.dense import encode_documents, encode_queries, nearest
from embedloom.errors import DataError
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import Estimate, mean_estimate
from embedloom.records import Embedder, Progress, content_id

TEXTS = Path(__file__).parent / "passkey_texts.toml"
CountTokens = Callable[[Sequence[str]], list[int]]
"""How many tokens the model makes of each text, those that it puts at both ends included."""


@dataclass(frozen=True, slots=True)
class PasskeySet:
    """Documents of one length with their queries.

    Attributes:
        length: tokens that a document has at most; it has as many of them as whole sentences allow.
        language: of the texts.
        documents: texts.
        tokens: how many each document has.
        queries: questions.
        answers: the document's number for each query.
    """

    length: int
    language: str
    documents: tuple[str, ...]
    tokens: tuple[int, ...]
    queries: tuple[str, ...]
    answers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PasskeyResult:
    """Share of queries whose first document is the right one, with its interval over queries."""

    accuracy: Estimate
    instruction: str
    seconds: float


def languages() -> tuple[str, ...]:
    """Codes of the languages that there are texts for."""
    return tuple(_texts())


def make_passkey_set(
    length: int,
    count_tokens: CountTokens,
    *,
    documents: int = 100,
    queries: int = 50,
    language: str = "en",
    seed: int = 0,
) -> PasskeySet:
    """Documents of a length by the model's own tokenizer. The same arguments give the same texts.

    Args:
        length: tokens of a document at most.
        count_tokens: the model's.
        documents: how many, each of another person.
        queries: how many of them are asked for.
        language: one of `languages()`.
        seed: of persons, keys and places.

    Raises:
        DataError: no texts for the language, more documents than there are persons, more queries than documents, or a
            length that the passage alone exceeds.
    """
    if language not in _texts():
        raise DataError(f"no passkey texts for the language {language!r}; expected one of {', '.join(_texts())}")
    texts = _texts()[language]
    persons = _persons(texts)
    if not 2 <= documents <= len(persons) or not 1 <= queries <= documents:
        raise DataError(
            f"{documents} documents and {queries} queries: expected 2 to {len(persons)} documents, as there are persons"
            f", and 1 to {documents} queries"
        )
    draw = random.Random(content_id("passkey", seed, length, language, documents))
    chosen = draw.sample(persons, documents)
    keys = draw.sample(range(10_000, 100_000), documents)
    passages = [_filled(texts["passage"], person, str(key)) for person, key in zip(chosen, keys, strict=True)]
    made = [_document(texts, passage, length, count_tokens, draw.random()) for passage in passages]
    asked = sorted(draw.sample(range(documents), queries))
    return PasskeySet(
        length=length,
        language=language,
        documents=tuple(text for text, _ in made),
        tokens=tuple(count for _, count in made),
        queries=tuple(_filled(texts["query"], chosen[number], "") for number in asked),
        answers=tuple(asked),
    )


def evaluate_passkey(
    embedder: Embedder, asked: PasskeySet, *, instruction: str | None = None, progress: Progress | None = None
) -> PasskeyResult:
    """Top-1 accuracy of exact search among the documents of the set.

    Args:
        embedder: the model; a tokenizer that cuts documents at less than their length makes this pointless.
        asked: the set.
        instruction: put before each query instead of the table's.
        progress: told of encoded texts.
    """
    started = time.monotonic()
    sentence = instruction_for("passkey", "retrieval", instruction)
    queries_QD = encode_queries(embedder, asked.queries, sentence, progress=progress)
    documents_MD = encode_documents(embedder, asked.documents, progress=progress)
    first = nearest(queries_QD, documents_MD, 1)[1][:, 0]
    right = (first == np.array(asked.answers)).astype(np.float64)
    return PasskeyResult(mean_estimate(right), sentence, time.monotonic() - started)


def _document(
    texts: Mapping[str, Any], passage: str, length: int, count_tokens: CountTokens, place: float
) -> tuple[str, int]:
    """The longest document that stays within `length` tokens, and how many it has."""

    def written(sentences: int) -> str:
        filler = [texts["filler"][number % len(texts["filler"])] for number in range(sentences)]
        filler.insert(round(place * sentences), passage)
        return str(texts.get("joint", " ")).join(filler)

    (bare, many) = count_tokens([written(0), written(100)])
    if bare > length:
        raise DataError(f"a passage alone has {bare} tokens; expected a length of at least that, got {length}")
    sentences = int((length - bare) / max((many - bare) / 100, 1e-9))
    step = -1 if (count := count_tokens([written(sentences)])[0]) > length else 1
    while True:
        next_count = count_tokens([written(sentences + step)])[0]
        if step == 1 and next_count > length:
            return written(sentences), count
        sentences, count = sentences + step, next_count
        if step == -1 and count <= length:
            return written(sentences), count


def _persons(texts: Mapping[str, Any]) -> list[str]:
    pairs = product(texts["given"], texts["family"])
    joint = str(texts.get("joint", " "))
    return [joint.join(pair[::-1] if texts.get("family_first") else pair) for pair in pairs]


def _filled(template: str, person: str, key: str) -> str:
    return template.replace("{person}", person).replace("{key}", key)


@cache
def _texts() -> dict[str, dict[str, Any]]:
    return tomllib.loads(TEXTS.read_text(encoding="utf-8"))
