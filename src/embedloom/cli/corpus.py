"""Where a corpus comes from: Python's own documentation, a folder of texts, a corpus file or a retrieval set."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedloom.data.sources import data_path
from embedloom.errors import RecipeError
from embedloom.records import Document, content_id

if TYPE_CHECKING:
    from embedloom.data.known_item import Item

KNOWN_ITEM = "known-item"
"""Folder, below the run folder, of the retrieval set made from the user's own texts."""


def read_documents(source: str | list[str]) -> list[Document]:
    """The documents of a source to index: a retrieval set's corpus, a corpus file, or a folder's passages."""
    if is_text(source):
        return [Document(item.id, item.rest, item.summary) for item in text_items(source)]
    from embedloom.data.beir import read_corpus_file

    return list(read_corpus_file(_corpus_file(data_path(source))))


def is_text(source: str | list[str]) -> bool:
    """Whether the source is text to make a known-item test from, not a retrieval set or a corpus file."""
    if source == "python-docs":
        return True
    path = data_path(source)
    return not (path.is_file() or _is_beir(path))


def text_items(source: str | list[str]) -> list[Item]:
    """The texts of a source that is text, in order."""
    if source == "python-docs":
        from embedloom.data.python_docs import python_documentation

        return list(python_documentation())
    from embedloom.data.text_folder import folder_items

    return folder_items(data_path(source))


def source_content(source: str | list[str]) -> str:
    """What the source holds: a changed text is another corpus."""
    if source == "python-docs":
        return platform.python_version()
    path = data_path(source)
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    stamps = [(str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(repr(stamps).encode(), digest_size=16).hexdigest()


def drawn(documents: Sequence[Document], limit: int, seed: int) -> Sequence[Document]:
    """All documents, or `limit` of them drawn by the seed, in their order."""
    if not documents:
        raise RecipeError("corpus.source holds no passage that a query could be written for; give more or longer texts")
    if not limit or len(documents) <= limit:
        return documents
    order = sorted(range(len(documents)), key=lambda number: content_id("passage", seed, documents[number].id))
    return [documents[number] for number in sorted(order[:limit])]


def _is_beir(path: Path) -> bool:
    return any((path / f"corpus.jsonl{end}").exists() for end in ("", ".gz"))


def _corpus_file(path: Path) -> Path:
    if path.is_file():
        return path
    return next(file for end in ("", ".gz") if (file := path / f"corpus.jsonl{end}").exists())
