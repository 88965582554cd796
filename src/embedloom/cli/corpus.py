"""Where a corpus comes from: Python's own documentation, a folder of texts, a corpus file or a retrieval set."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from embedloom.cli.progress import notice
from embedloom.data.sources import data_path
from embedloom.errors import DataError
from embedloom.records import Document, Example, content_id

if TYPE_CHECKING:
    from pathlib import Path

    from embedloom.data.beir import RetrievalSet
    from embedloom.data.known_item import Item
    from embedloom.recipe import Recipe

R = TypeVar("R", Document, Example)

CORPUS_FILES = (".jsonl", ".jsonl.gz")
TEXTS = "texts.jsonl"
"""File, below the run folder, of all passages of a folder of the user's own texts."""
KNOWN_ITEM = "known-item"
"""Folder, below the run folder, of the retrieval set made from the user's own texts."""


def read_documents(source: str | list[str]) -> list[Document]:
    """The documents of a source to index: a retrieval set's corpus, a corpus file, or a folder's passages.

    Raises:
        DataError: there is no such source, a line is malformed, or it is a file of another kind.
    """
    if is_text(source):
        return [Document(item.id, item.rest, item.summary) for item in text_items(source)]
    from embedloom.data.beir import part_of, read_corpus_file

    path = data_path(source)
    if path.is_file() and not path.name.endswith(CORPUS_FILES):
        kinds = "a folder of txt, md, rst or JSONL files, a BEIR folder, or a corpus.jsonl"
        raise DataError(f"is a file{f' ({path.suffix})' if path.suffix else ''}; expected {kinds}", path)
    return list(read_corpus_file(path if path.is_file() else part_of(path, "corpus.jsonl")))


def searched_documents(source: str | list[str]) -> list[Document]:
    """The documents of a source as they are searched: of a folder of texts every passage, with the heading above it."""
    if not is_folder_of_texts(source):
        return read_documents(source)
    from embedloom.data.text_folder import folder_documents

    path = data_path(source)
    documents = folder_documents(path)
    _tell_left_out(path)
    return documents


def is_folder_of_texts(source: str | list[str]) -> bool:
    """Whether the source is a folder of the user's own texts."""
    return source != "python-docs" and is_text(source)


def is_text(source: str | list[str]) -> bool:
    """Whether the source is text to make a known-item test from, not a retrieval set or a corpus file."""
    if source == "python-docs":
        return True
    from embedloom.data.beir import is_beir

    path = data_path(source)
    return not (path.is_file() or is_beir(path))


def text_items(source: str | list[str]) -> list[Item]:
    """The texts of a source that is text, in order."""
    if source == "python-docs":
        from embedloom.data.python_docs import python_documentation

        return list(python_documentation())
    from embedloom.data.text_folder import folder_items

    path = data_path(source)
    items = folder_items(path)
    _tell_left_out(path)
    return items


def _tell_left_out(path: Path) -> None:
    from embedloom.data.text_folder import SUFFIXES, left_out

    if others := left_out(path):
        notice(f"left out of {path}: {others}; {', '.join(SUFFIXES)} are read")


def passages_and_test(recipe: Recipe) -> tuple[Sequence[Document], RetrievalSet | None]:
    """The passages of a recipe's corpus that queries may be written for, and a retrieval test.

    Returns:
        As many passages as the recipe allows; of texts the known-item test of those that are kept apart, else None.
    """
    settings = recipe.corpus
    test: RetrievalSet | None = None
    if is_text(settings.source):
        from embedloom.data.known_item import known_item_set, passages, split_groups

        items = text_items(settings.source)
        train, kept_apart = split_groups(items, settings.evaluation_share, recipe.seed)
        test = known_item_set(items, kept_apart)
        documents: Sequence[Document] = passages(train)
    else:
        documents = read_documents(settings.source)
    return drawn(documents, settings.limit, recipe.seed, "passage"), test


def source_content(source: str | list[str]) -> str:
    """What the source holds: a changed text is another corpus."""
    if source == "python-docs":
        return platform.python_version()
    from embedloom.data.text_folder import visible_files

    path = data_path(source)
    files = [path] if path.is_file() else list(visible_files(path))
    stamps = [(str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(repr(stamps).encode(), digest_size=16).hexdigest()


def drawn(rows: Sequence[R], limit: int, seed: int, what: str) -> Sequence[R]:
    """All rows, or `limit` of them drawn by (seed, what they are, their id), in their order; a limit of 0 is none."""
    if not limit or len(rows) <= limit:
        return rows
    order = sorted(range(len(rows)), key=lambda number: content_id(what, seed, rows[number].id))
    return [rows[number] for number in sorted(order[:limit])]


def weighted(rows: Sequence[R], weight: float, seed: int) -> list[R]:
    """All rows as often as the whole part of `weight` says, and once more a share of them: its fraction."""
    times = int(weight)
    count = round((weight - times) * len(rows))
    more = drawn(rows, count, seed, "weight") if count else []
    return [row for row in rows for _ in range(times)] + list(more)
