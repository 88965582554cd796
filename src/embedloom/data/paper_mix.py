"""The labelled half of the paper's training data (section 4), by name: `paper:nli`, `paper:msmarco-passage` and so on.

The sets come from one repository of the hub that has a file for each, `query, positive, negative` a line with mined
hard negatives. Each takes the share of it that the paper took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedloom.errors import DataError
from embedloom.hub import hub_folder
from embedloom.records import Example, content_id
from embedloom.run import read_objects

REPOSITORY = "liuqi6777/echo-data"
"""A public copy of the mix, collected for Echo embeddings (Springer et al. 2024)."""

SCHEME = "paper"
_QUESTION = "Given a question, find the Wikipedia passages that answer it"
_CHINESE = "Given a Chinese search query, find the web passages that answer it"
_WEB = "Given a query typed into a web search engine, find the {} that answer it"


@dataclass(frozen=True, slots=True)
class PaperSet:
    """One set of the mix.

    Attributes:
        file: its name in the repository, without `.jsonl`.
        instructions: what its rows are asked under; of several, a row has one by its content.
        size: training queries of the whole set, as its makers publish it, rounded.
        share: of these the mix has, drawn at random.
    """

    file: str
    instructions: tuple[str, ...]
    size: int
    share: float = 1.0

    @property
    def rows(self) -> int:
        """Rows of the mix."""
        return round(self.size * self.share)


SETS = {
    "eli5": PaperSet("eli5_question_answer", ("Given a question, find the best liked answers",), 325_000, 0.1),
    "hotpotqa": PaperSet("hotpot_qa", ("Given a question of several steps, find documents that help",), 84_500),
    "fever": PaperSet("fever", ("Given a claim, find documents that support or refute it",), 110_000),
    "miracl": PaperSet("miracl", (_QUESTION,), 40_200),
    "msmarco-passage": PaperSet("msmarco_passage", (_WEB.format("passages"),), 503_000, 0.5),
    "msmarco-document": PaperSet("msmarco_document", (_WEB.format("documents"),), 367_000, 0.2),
    "nq": PaperSet("nq", (_QUESTION,), 100_000),
    "nli": PaperSet(
        "allnli", ("Given a premise, find a hypothesis that follows from it", "Find text that means the same"), 277_000
    ),
    "squad": PaperSet("squad", (_QUESTION,), 87_600),
    "triviaqa": PaperSet("trivia_qa", (_QUESTION,), 73_300),
    "quora": PaperSet(
        "quora_duplicates",
        ("Given a question, find questions that ask the same", "Find questions with the meaning of this one"),
        102_000,
        0.1,
    ),
    "mr-tydi": PaperSet("mrtydi", (_QUESTION,), 48_700),
    "dureader": PaperSet("dureader", (_CHINESE,), 86_400),
    "t2ranking": PaperSet("t2ranking", (_CHINESE,), 258_000, 0.5),
}


def paper_set(name: str) -> PaperSet | None:
    """The set that a source's name means, or None where it names no set of the paper.

    Raises:
        DataError: `paper:` and then none of its sets.
    """
    scheme, _, short = name.partition(":")
    if scheme != SCHEME:
        return None
    if short not in SETS:
        raise DataError(f"unknown set {name!r}; there is {', '.join(f'{SCHEME}:{known}' for known in SETS)}")
    return SETS[short]


def read_paper_set(name: str, *, instruction: str = "") -> Iterator[Example]:
    """All rows of a set of the paper's mix, fetched from the hub or taken from its cache.

    Args:
        name: as in `paper:nli`.
        instruction: in place of the set's own.

    Raises:
        DataError: an unknown set, one that can't be fetched, or a malformed line.
    """
    wanted = paper_set(name)
    assert wanted is not None
    file = f"{wanted.file}.jsonl"
    path = hub_folder(REPOSITORY, "dataset", DataError, files=[file]) / file
    if not path.is_file():
        raise DataError(
            f"{name} is not in the cached copy of hub:{REPOSITORY}; run "
            f"`hf download --repo-type dataset {REPOSITORY} {file}` where there is a network"
        )
    return read_triplets(path, instructions=(instruction,) if instruction else wanted.instructions, source=name)


def read_triplets(path: Path, *, instructions: tuple[str, ...], source: str) -> Iterator[Example]:
    """Rows of `query, positive, negative`, each a text, the last two also lists; other keys are passed over.

    Args:
        path: JSONL.
        instructions: of which a row has the one that its query decides.
        source: recorded with the rows.

    Raises:
        DataError: a malformed line, or a row without query or positive; names file and line.
    """
    for line, row in read_objects(path):
        query = row.get("query")
        if not isinstance(query, str) or not query.strip():
            raise DataError("key 'query': expected text", path, line)
        positives = _texts(row, "positive", path, line)
        if not positives:
            raise DataError("key 'positive': expected a text, or a list of texts", path, line)
        number = int(content_id("instruction", query), 16) % len(instructions)
        negatives = _texts(row, "negative", path, line)
        yield Example(instructions[number], query, positives, negatives, source=source)


def _texts(row: Mapping[str, Any], key: str, path: Path, line: int) -> tuple[str, ...]:
    value = row.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise DataError(f"key {key!r}: expected a text, or a list of texts", path, line)
    return tuple(text for text in values if text.strip())
