"""Retrieval sets in the BEIR layout: corpus.jsonl, queries.jsonl (either may be gzipped) and qrels/SPLIT.tsv."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedloom.data.fields import identity_of, text_of
from embedloom.errors import DataError
from embedloom.records import Document
from embedloom.run import atomic_file, read_objects

HEADER = ("query-id", "corpus-id", "score")
"""First line of a qrels file."""


@dataclass(frozen=True)
class RetrievalSet:
    """A corpus, the queries judged in one split, and their qrels {query id: {document id: relevance}}.

    Every query has at least one document with relevance above 0, and that document is in the corpus. A document may be
    empty: published corpora hold such rows, and leaving them out would change the ids.
    """

    name: str
    split: str
    corpus: tuple[Document, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def read_beir(path: Path, split: str = "test") -> RetrievalSet:
    """Reads a BEIR folder. Queries without a relevant document in `split` are left out, as MTEB leaves them out.

    Args:
        path: the folder; its name becomes the set's name.
        split: names the file `qrels/SPLIT.tsv`.

    Raises:
        DataError: a file is missing, a line is malformed, an id occurs twice, the corpus is empty, or the qrels name a
            query or a relevant document that isn't there. Names file and line.
    """
    corpus = read_corpus_file(part_of(path, "corpus.jsonl"))
    queries_path = part_of(path, "queries.jsonl")
    texts: dict[str, tuple[int, str]] = {}
    for line, obj in read_objects(queries_path):
        identity = identity_of(obj, "_id", queries_path, line)
        if identity in texts:
            first = texts[identity][0]
            raise DataError(f"query id {identity!r} occurs twice (first in line {first})", queries_path, line)
        texts[identity] = (line, text_of(obj, "text", queries_path, line))
    qrels = _read_qrels(path, split, queries={*texts}, documents={document.id for document in corpus})
    queries = {identity: text for identity, (_, text) in texts.items() if identity in qrels}
    in_order = {identity: qrels[identity] for identity in queries}
    return RetrievalSet(path.resolve().name, split, corpus, queries, in_order)


def read_corpus_file(path: Path) -> tuple[Document, ...]:
    """Reads the documents of a JSONL file with the keys `_id`, `text` and, if it likes, `title`; `.gz` too.

    Raises:
        DataError: a malformed line, a missing key, an id that occurs twice, or no document at all.
    """
    seen: dict[str, int] = {}
    documents = []
    for line, document in stream_corpus_file(path):
        if document.id in seen:
            raise DataError(f"document id {document.id!r} occurs twice (first in line {seen[document.id]})", path, line)
        seen[document.id] = line
        documents.append(document)
    if not documents:
        raise DataError("the corpus is empty; expected one JSON object with '_id' and 'text' a line", path)
    return tuple(documents)


def stream_corpus_file(path: Path) -> Iterator[tuple[int, Document]]:
    """The documents of a corpus file one by one, with their lines, counted from 1; ids may occur twice.

    Raises:
        DataError: a malformed line or a missing key.
    """
    for line, obj in read_objects(path):
        identity = identity_of(obj, "_id", path, line)
        if "text" not in obj:
            raise DataError(f"key 'text' is missing; the line has {', '.join(map(repr, obj))}", path, line)
        title = obj.get("title") or ""
        for key, value in (("text", obj["text"]), ("title", title)):
            if not isinstance(value, str):
                raise DataError(f"key {key!r}: expected text, got {type(value).__name__}", path, line)
        yield line, Document(identity, obj["text"], title)


def read_answers(folder: Path) -> Iterator[tuple[str, str]]:
    """Each query's text with the id of each document that is relevant to it, of every split; the corpus is not read.

    Raises:
        DataError: queries.jsonl or every qrels file is missing, a line is malformed, a query has no text.
    """
    path = part_of(folder, "queries.jsonl")
    texts = {identity_of(obj, "_id", path, line): text_of(obj, "text", path, line) for line, obj in read_objects(path)}
    files = sorted((folder / "qrels").glob("*.tsv"))
    if not files:
        raise DataError("no qrels/SPLIT.tsv in this folder", folder)
    for source in files:
        for line, (query, document, score) in _cells(source):
            if _relevance(score, source, line) > 0:
                if query not in texts:
                    raise DataError(f"query id {query!r} is not in queries.jsonl", source, line)
                yield texts[query], document


def write_beir(retrieval: RetrievalSet, path: Path) -> None:
    """Writes a set as a BEIR folder that `read_beir` reads back equal (but for its name, which is the folder's).

    Raises:
        DataError: an id holds a tab or a line end, which a qrels file can't carry.
    """
    identities = [*(document.id for document in retrieval.corpus), *retrieval.queries]
    for identity in identities:
        if any(mark in identity for mark in "\t\r\n"):
            raise DataError(f"id {identity!r} holds a tab or a line end, which qrels can't carry")
    with atomic_file(path / "corpus.jsonl") as file:
        for document in retrieval.corpus:
            file.write(_line({"_id": document.id, "title": document.title, "text": document.text}))
    with atomic_file(path / "queries.jsonl") as file:
        for identity, text in retrieval.queries.items():
            file.write(_line({"_id": identity, "text": text}))
    with atomic_file(path / "qrels" / f"{retrieval.split}.tsv") as file:
        file.write("\t".join(HEADER) + "\n")
        for query, judged in retrieval.qrels.items():
            file.writelines(f"{query}\t{document}\t{score}\n" for document, score in judged.items())


def is_beir(folder: Path) -> bool:
    """Whether a folder holds a retrieval set or a corpus: corpus.jsonl, or corpus.jsonl.gz."""
    return any((folder / f"corpus.jsonl{end}").is_file() for end in ("", ".gz"))


def queries_are_documents(retrieval: RetrievalSet) -> bool:
    """Whether a query is a document of the corpus, by its id and its text, as in ArguAna and Quora."""
    same = (document for document in retrieval.corpus if document.id in retrieval.queries)
    return any(retrieval.queries[one.id].strip() in (one.text.strip(), one.content) for one in same)


def part_of(folder: Path, name: str) -> Path:
    """The file `name`, or `name.gz`, in a folder.

    Raises:
        DataError: neither is there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(f"no {name} (or {name}.gz) in this folder", folder)


def _read_qrels(path: Path, split: str, queries: set[str], documents: set[str]) -> dict[str, dict[str, int]]:
    source = path / "qrels" / f"{split}.tsv"
    if not source.is_file():
        there = sorted(p.stem for p in source.parent.glob("*.tsv"))
        raise DataError(f"no such file; splits with qrels: {', '.join(there) or 'none'}", source)
    qrels: dict[str, dict[str, int]] = {}
    for line, cells in _cells(source):
        _judge(qrels, cells, source, line, queries, documents)
    relevant = {query: judged for query, judged in qrels.items() if any(score > 0 for score in judged.values())}
    if not relevant:
        raise DataError("no query has a relevant document (a score above 0)", source)
    return relevant


def _cells(source: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """The three values of each line of a qrels file behind its header."""
    line = 0
    try:
        with open(source, encoding="utf-8-sig") as file:
            for line, row in enumerate(file, 1):
                if not row.strip():
                    continue
                cells = tuple(row.rstrip("\r\n").split("\t"))
                if len(cells) != 3:
                    raise DataError(f"expected 3 values with tabs between, got {len(cells)}", source, line)
                if line > 1:
                    yield line, (cells[0], cells[1], cells[2])
                elif cells != HEADER:
                    want = " ".join(HEADER)
                    raise DataError(f"expected the header {want!r}, got {' '.join(cells)!r}", source, line)
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason})", source, line + 1) from None


def _relevance(score: str, source: Path, line: int) -> int:
    try:
        return int(score)
    except ValueError:
        raise DataError(f"score {score!r} is no whole number", source, line) from None


def _judge(
    qrels: dict[str, dict[str, int]],
    cells: tuple[str, str, str],
    source: Path,
    line: int,
    queries: set[str],
    documents: set[str],
) -> None:
    query, document, score = cells
    relevance = _relevance(score, source, line)
    if query not in queries:
        raise DataError(f"query id {query!r} is not in queries.jsonl", source, line)
    if relevance > 0 and document not in documents:
        raise DataError(f"query id {query!r} has document {document!r}, which the corpus doesn't hold", source, line)
    judged = qrels.setdefault(query, {})
    if document in judged:
        raise DataError(f"query id {query!r} and document {document!r} are judged twice", source, line)
    judged[document] = relevance


def _line(obj: dict[str, str]) -> str:
    return json.dumps(obj, ensure_ascii=False) + "\n"
