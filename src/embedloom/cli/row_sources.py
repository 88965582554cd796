"""The rows of one of a recipe's sources: as a file has them, or made of raw text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from embedloom.cli.corpus import is_text, read_documents, text_items
from embedloom.cli.pipeline import Run
from embedloom.data.known_item import Item
from embedloom.errors import RecipeError
from embedloom.recipe_train import Source
from embedloom.records import Document, Example
from embedloom.run import read_records

PASSAGES = "passages"
"""The name of a source that is the run's own passages: none of those that are evaluated on."""
PASSAGE_FILE = "passages.jsonl"


def source_rows(run: Run, source: Source) -> Iterator[Example]:
    """The rows of a source, but for those of families that it leaves out.

    Raises:
        RecipeError: the source has no texts of the kind that its pairs are made of.
        DataError: a file can't be read.
    """
    from embedloom.data import weak_pairs

    left_out = set(source.leave_out)
    if source.pairs == "as-written":
        yield from (row for row in _written(source) if row.family not in left_out)
    elif source.pairs == "same-text":
        yield from weak_pairs.same_text(_texts(run, source, left_out), instruction=source.instruction)
    else:
        make = {"title-body": weak_pairs.title_body, "neighbours": weak_pairs.neighbours}[source.pairs]
        yield from make(_items(run, source), instruction=source.instruction)


def _written(source: Source) -> Iterator[Example]:
    from embedloom.data.training_rows import read_source

    if source.data == PASSAGES:
        raise RecipeError("train.sources: passages are no rows yet; set pairs to same-text, title-body or neighbours")
    yield from read_source(source.data, instruction=source.instruction)


def _texts(run: Run, source: Source, left_out: set[str]) -> Iterator[str]:
    if source.data == PASSAGES:
        yield from (document.content for document in _passages(run))
        return
    from embedloom.data.training_rows import read_source

    # The rows' labels are not used: a missing instruction is no fault here.
    for row in read_source(source.data, instruction=source.instruction or "-"):
        if row.family not in left_out:
            yield from (row.query, *row.positives)


def _items(run: Run, source: Source) -> Iterable[Item]:
    if source.data != PASSAGES:
        return text_items(source.data)
    passages = _passages(run)
    taken = {document.id for document in passages}
    origin = run.recipe.corpus.source
    if is_text(origin):
        return [item for item in text_items(origin) if item.id in taken]
    if source.pairs == "neighbours":
        raise RecipeError("train.sources: the corpus does not say which passages are neighbours; use title-body")
    return [Item(one.id, one.id, one.title, one.text) for one in read_documents(origin) if one.id in taken]


def _passages(run: Run) -> list[Document]:
    path = run.folder / PASSAGE_FILE
    if not path.exists():
        raise RecipeError("train.sources takes the run's passages, but there are none; set corpus.source")
    return list(read_records(path, Document))
