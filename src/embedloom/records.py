"""The nouns that walk through the rooms: frozen records with content ids, JSON both ways, and the protocols.

A record is written as one JSON object a line. Its id is a hash of what it says, so that the same content has the same
id in every run, and "resume" means "skip the ids that are already on disk".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from embedloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    """Unit vectors, shape (texts, dimension)."""

CLASSIFICATION = "long-short"
"""The family whose positives are labels."""

FAMILIES = ("short-long", CLASSIFICATION, "short-short", "long-long", "sts", "bitext", "grounded", "grounded-sts")
"""The paper's six (section 2); `grounded` with a real passage as positive, `grounded-sts` a real sentence as query."""


def content_id(*parts: object) -> str:
    """Hash of JSON-able parts: 16 hexadecimal digits, equal for equal content on every machine."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A passage and a query for it that show the generator what the task's queries look like."""

    passage: str
    query: str


@dataclass(frozen=True, slots=True)
class Task:
    """One retrieval or matching task: the sentence in the instruction, and how to ask an LLM for examples."""

    family: str
    instruction: str
    origin: str = "recipe"
    query_name: str = "Query"
    passage_name: str = "Passage"
    demonstrations: tuple[Demonstration, ...] = ()
    weight: float = 1.0

    @property
    def id(self) -> str:
        """Content id of family and instruction."""
        return content_id("task", self.family, self.instruction)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to an LLM for example `index`.

    `prefix` is the part that many prompts share (few-shot demonstrations, the rules): an LLM may compute it once.
    Its text is `prefix + body`. With `keys` the reply is one JSON object with those string values; without, it is plain
    text that ends at the first of `stop`.
    """

    id: str
    index: int
    family: str
    template: str
    prefix: str
    body: str
    instruction: str = ""
    task_id: str = ""
    language: str = "English"
    blanks: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 256
    passage: str = ""
    passage_id: str = ""

    @property
    def text(self) -> str:
        """The whole prompt."""
        return self.prefix + self.body


@dataclass(frozen=True, slots=True)
class Generation:
    """The raw reply to one prompt, as it came. `finish` is `stop`, `length` or the server's word."""

    prompt_id: str
    text: str
    model: str
    input_tokens: int
    output_tokens: int
    finish: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training row: a query under an instruction, its positives and hard negatives, and where it came from.

    `high_score` says how similar query and positive are, `low_score` query and negative, on any scale of their family.
    """

    instruction: str
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    id: str = ""
    family: str = ""
    language: str = ""
    source: str = ""
    prompt_id: str = ""
    passage_id: str = ""
    target_language: str = ""
    high_score: float | None = None
    low_score: float | None = None

    def __post_init__(self) -> None:
        if not self.id:
            identity = content_id("example", self.instruction, self.query, list(self.positives), list(self.negatives))
            object.__setattr__(self, "id", identity)


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that was dropped: which, by what stage and rule, and the detail that shows the rule was right."""

    id: str
    stage: str
    rule: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A text of a corpus. What is embedded is `content`: title and text, as BEIR joins them."""

    id: str
    text: str
    title: str = ""

    @property
    def content(self) -> str:
        """Title and text with one space between, or the text alone, without blanks at the ends."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found for a query; `score` is higher for better."""

    document_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Score:
    """One figure of one model on one task, or on the part that `limit` names, with its 95 % bootstrap interval."""

    task: str
    metric: str
    value: float
    interval: tuple[float, float]
    count: int
    seconds: float
    model: str = ""
    fingerprint: str = ""
    instruction: str = ""
    split: str = "test"
    baseline: str = ""
    limit: str = ""


@runtime_checkable
class LLM(Protocol):
    """Text from a language model. Replies may come in any order; each prompt is answered once."""

    @property
    def name(self) -> str:
        """The model's name, recorded with each generation."""

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation | Reject]]:
        """Yields finished generations in groups that the caller writes to disk before it asks for more.

        A prompt that can't be answered is a `Reject`, and may be asked again another time.
        """


@runtime_checkable
class Embedder(Protocol):
    """Text to unit vectors. Role and instruction are arguments: nobody has to remember a prefix."""

    @property
    def name(self) -> str:
        """The model's name for people."""

    @property
    def fingerprint(self) -> str:
        """Hash of what determines the vectors: weights, tokenizer, input contract."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of queries under an instruction, shape (len(texts), dimension), float32."""

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of documents, shape (len(texts), dimension), float32."""


@runtime_checkable
class Retriever(Protocol):
    """Queries to ranked documents of one corpus: BM25, or an embedder with its document vectors."""

    def search(self, queries: Sequence[str], k: int, *, progress: Progress | None = None) -> list[list[Hit]]:
        """For each query its `k` best documents, or fewer where fewer match; equal scores by id, last first."""


Progress = Callable[[int], None]
"""Called with the number of items (rows, prompts, texts) finished since the last call."""

R = TypeVar("R")

_SURROGATE = re.compile("[\ud800-\udfff]")


def to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON object, fields in their order; fields that hold their default value are left out."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(record):
        value = getattr(record, f.name)
        if f.default is not dataclasses.MISSING and value == f.default and f.name != "id":
            continue
        if f.default_factory is not dataclasses.MISSING and value == f.default_factory():
            continue
        out[f.name] = _plain(value)
    return out


def dumps(record: Any) -> str:
    """A record as one JSON line without its line end, which can be written as UTF-8 whatever the text holds."""
    line = json.dumps(to_json(record), ensure_ascii=False)
    # Half a surrogate pair, as cut replies of an LLM hold it, is no UTF-8; its JSON escape is.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def from_json(kind: type[R], obj: object) -> R:
    """The record of `kind` that a JSON object describes.

    Raises:
        DataError: not an object, a key missing or unknown, or a value of the wrong type.
    """
    if not isinstance(obj, dict):
        raise DataError(f"expected a JSON object for {kind.__name__}, got {type(obj).__name__}")
    hints = _hints(typing.cast("Any", kind))
    unknown = sorted(set(obj) - set(hints))
    if unknown:
        raise DataError(f"unknown key {unknown[0]!r}; {kind.__name__} has {', '.join(hints)}")
    values = {key: _typed(value, hints[key], key) for key, value in obj.items()}
    required = {
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(values))
    if missing:
        raise DataError(f"key {missing[0]!r} is missing from a {kind.__name__}")
    return kind(**values)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return to_json(value) if dataclasses.is_dataclass(value) else value


def _typed(value: Any, hint: Any, key: str) -> Any:
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(_typed(item, kind, key) for item, kind in zip(value, kinds, strict=True))
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {str(k): _typed(v, args[1], key) for k, v in value.items()}
    elif origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _typed(value, next(a for a in args if a is not type(None)), key)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    want = getattr(hint, "__name__", str(hint))
    raise DataError(f"key {key!r}: expected {want}, got {type(value).__name__}")
