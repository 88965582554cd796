"""Hard-negative mining for the recipe's stage and the verb: corpora, known answers, and what searches."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.corpus import is_text, read_documents, source_content
from embedloom.cli.describing import TRAIN
from embedloom.cli.pipeline import Run
from embedloom.cli.planning import MINED
from embedloom.cli.progress import bar, notice
from embedloom.data.sources import data_path
from embedloom.errors import DataError, RecipeError
from embedloom.recipe import Mine
from embedloom.records import Document, Example, content_id
from embedloom.run import file_hash, read_objects, read_records, write_records

if TYPE_CHECKING:
    from embedloom.data.document_file import DocumentFile
    from embedloom.search.known import Known
    from embedloom.search.mine import RowRetriever

PASSAGES = "passages.jsonl"
BM25_NAME = "bm25"
LOOKED_UP_AT_ONCE = 256
WORK = "mining"
"""Folder, below the run folder, of the corpus' vectors while the stage runs."""


@dataclass(frozen=True)
class Searched:
    """What searches a corpus, and its documents by their ids."""

    retriever: RowRetriever
    documents: Callable[[Sequence[str]], Sequence[Document]]


def mine_negatives(run: Run) -> None:
    """Gives the rows that a passage of the run answers hard negatives from the others."""
    settings = run.recipe.mine
    if settings.retriever == "none":
        return
    if not (run.folder / PASSAGES).exists():
        raise RecipeError("mine.retriever needs the run's passages: set corpus.source, or mine.retriever = 'none'")

    def work() -> dict[str, Any]:
        from embedloom.data.document_file import DocumentFile
        from embedloom.search.known import known_answers
        from embedloom.search.mine import mine

        rows = list(read_records(run.folder / TRAIN, Example))
        counts: Counter[str] = Counter()
        with DocumentFile(run.folder / PASSAGES) as corpus:
            chosen = answered_rows(settings, rows, corpus)
            asked = [row for row in rows if row.id in chosen]
            opened = searched(settings.retriever, corpus, run.folder / PASSAGES, run.folder / WORK)
            known = chain(known_answers(rows), answers_of_files(settings.known, opened.documents))
            with bar("mine", len(asked), unit="rows") as advance:
                mined = mine(
                    asked,
                    opened.retriever,
                    opened.documents,
                    negatives=settings.negatives,
                    first=settings.first,
                    last=settings.last,
                    below=settings.below or None,
                    drawn=settings.pick == "drawn",
                    seed=run.recipe.seed,
                    known=known,
                    counts=counts,
                    progress=advance,
                )
                done = iter(mined)
                write_records(run.folder / MINED, (next(done) if row.id in chosen else row for row in rows))
        shutil.rmtree(run.folder / WORK, ignore_errors=True)
        return {key.replace(" ", "_"): count for key, count in counts.items()}

    told = settings.model_dump() | {"seed": run.recipe.seed}
    named = [name for name in [*settings.known, settings.retriever] if Path(name.removeprefix("path:")).exists()]
    told |= {"contents": [source_content(name) for name in named]}
    run.stage("mine", settings=told, inputs=[TRAIN, PASSAGES], files=[MINED], work=work)


def answered_rows(settings: Mine, rows: Sequence[Example], passages: Iterable[Document]) -> set[str]:
    """The ids of the rows asked for whose positive is a passage of the run, so that others can be their negatives.

    Args:
        settings: the recipe's.
        rows: of the training.
        passages: read once, and only where labelled rows are asked for.
    """
    written = {row.id for row in rows if row.passage_id and row.family != "grounded-sts"}
    if settings.rows == "written":
        return written
    from embedloom.data.words import same

    answers: dict[str, list[str]] = {}
    for row in rows:
        if not row.passage_id:
            for positive in row.positives:
                answers.setdefault(same(positive), []).append(row.id)
    labelled = {identity for passage in passages for identity in answers.get(same(passage.content), ())}
    return labelled if settings.rows == "labelled" else written | labelled


def searched(name: str, corpus: DocumentFile, path: Path, work: Path) -> Searched:
    """BM25 or a model over a corpus; a model's vectors are kept in the folder `work`, where a stopped run goes on.

    Args:
        name: `bm25` or a model's name.
        corpus: the documents.
        path: the file that they are read from.
        work: a folder for the vectors.
    """
    if name == BM25_NAME:
        from embedloom.data.lexical import BM25
        from embedloom.search.row_retrievers import LexicalRows

        return Searched(LexicalRows(BM25(list(corpus))), corpus.documents)
    from embedloom.cli.opening import open_embedder
    from embedloom.search.corpus_vectors import encode_corpus
    from embedloom.search.row_retrievers import DenseRows

    embedder = open_embedder(name, notice=notice)
    work.mkdir(parents=True, exist_ok=True)
    with bar("corpus", len(corpus), unit="documents") as advance:
        vectors = encode_corpus(work / "vectors.f32", corpus, embedder, content=file_hash(path), progress=advance)
    return Searched(DenseRows(embedder, vectors.nearest), corpus.documents)


def searched_index(place: Path, model: str) -> Searched:
    """An index, searched with the model that made it: by the name that the index knows if `model` is empty."""
    from embedloom.cli.opening import open_embedder
    from embedloom.search.index import open_index
    from embedloom.search.row_retrievers import DenseRows

    index = open_index(place)
    embedder = open_embedder(model or index.model.name, notice=notice)
    index.check(embedder)
    return Searched(DenseRows(embedder, index.search_vectors), index.documents)


def stream_corpus(source: str) -> Iterator[Document]:
    """The documents of a corpus one by one, whatever it is.

    That is a retrieval set or a run by their folders, a folder of texts, or a file of documents or of training rows,
    whose positives and negatives are the corpus.
    """
    path = data_path(source)
    if (path / PASSAGES).is_file():
        path = path / PASSAGES
    elif is_text(source):
        yield from read_documents(source)
        return
    from embedloom.data.beir import part_of, stream_corpus_file

    path = path if path.is_file() else part_of(path, "corpus.jsonl")
    first = next((obj for _, obj in read_objects(path)), {})
    if "positives" in first:
        yield from _texts_of_rows(path)
    elif "_id" not in first and "id" in first:
        yield from read_records(path, Document)
    else:
        yield from (document for _, document in stream_corpus_file(path))


def answers_of_files(names: Sequence[str], documents: Callable[[Sequence[str]], Sequence[Document]]) -> Iterator[Known]:
    """The known answers of retrieval sets (by their qrels, all splits) and files of training rows.

    Args:
        names: folders and files.
        documents: the corpus, where the texts of judged documents are looked up: whatever has the same text is an
            answer too.

    Raises:
        DataError: there is no such set or file, or it can't be read.
    """
    from embedloom.data.beir import read_answers
    from embedloom.search.known import Known, known_answers

    for name in names:
        path = data_path(name)
        if path.is_dir():
            judged = read_answers(path)
            while block := list(islice(judged, LOOKED_UP_AT_ONCE)):
                contents = _contents(list({identity for _, identity in block}), documents)
                yield from (Known(query, contents.get(identity, ""), identity) for query, identity in block)
        else:
            yield from known_answers(_rows_without_instruction(path))


def told(counts: Counter[str]) -> str:
    """What mining did, in two sentences."""
    none = counts["none left"]
    return (
        f"{counts['rows']:,} rows: {counts['mined']:,} mined, {counts['short']:,} with fewer than asked for, "
        f"{none:,} with none left, {counts['full']:,} had enough; {counts['negatives']:,} negatives.\n"
        f"Hits left out: {counts['known positive']:,} known positives, {counts['too close']:,} too close to the "
        f"positive, {counts['repeated']:,} repeated."
    )


def _contents(ids: Sequence[str], documents: Callable[[Sequence[str]], Sequence[Document]]) -> dict[str, str]:
    """The contents of those of the ids that the corpus holds."""
    try:
        return {document.id: document.content for document in documents(ids)}
    except DataError:
        middle = len(ids) // 2
        return {} if not middle else _contents(ids[:middle], documents) | _contents(ids[middle:], documents)


def _texts_of_rows(path: Path) -> Iterator[Document]:
    seen: set[str] = set()
    for row in _rows_without_instruction(path):
        for text in (*row.positives, *row.negatives):
            identity = content_id("text", text)
            if identity not in seen:
                seen.add(identity)
                yield Document(identity, text)


def _rows_without_instruction(path: Path) -> Iterator[Example]:
    """Training rows of which the texts alone are wanted: an instruction may be missing."""
    from embedloom.data.training_rows import read_training_rows

    yield from read_training_rows(path, instruction="-")
