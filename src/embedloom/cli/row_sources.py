"""The rows of one of a recipe's sources: as a file has them, or made of raw text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from embedloom.cli.corpus import drawn, is_text, read_documents, text_items
from embedloom.cli.pipeline import Run
from embedloom.data.known_item import Item
from embedloom.errors import RecipeError
from embedloom.recipe import Recipe
from embedloom.recipe_train import Source
from embedloom.records import Document, Example
from embedloom.run import read_records

PASSAGES = "passages"
"""The name of a source that is the run's own passages: none of those that are evaluated on."""
PASSAGE_FILE = "passages.jsonl"
NO_PASSAGES = "train.sources takes the run's passages, but there are none; set corpus.source"


Passages = Callable[[], Sequence[Document]]
"""Reads the passages of a run, which few sources want."""


def new_rows(recipe: Recipe, source: Source, passages: Passages, taken: set[str]) -> list[Example]:
    """The rows that a source adds to those whose ids are `taken`, as many as it may; then these are taken too."""
    from embedloom.data.paper_mix import paper_set

    found = {row.id: row for row in source_rows(recipe, source, passages)}
    own = paper_set(source.data)
    limit = source.limit or (own.rows if own is not None else 0)
    rows = [row for row in drawn(list(found.values()), limit, recipe.seed, "row") if row.id not in taken]
    taken.update(row.id for row in rows)
    return rows


def source_rows(recipe: Recipe, source: Source, passages: Passages) -> Iterator[Example]:
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
        yield from weak_pairs.same_text(_texts(source, passages, left_out), instruction=source.instruction)
    else:
        make = {"title-body": weak_pairs.title_body, "neighbours": weak_pairs.neighbours}[source.pairs]
        yield from make(_items(recipe, source, passages), instruction=source.instruction)


def _written(source: Source) -> Iterator[Example]:
    from embedloom.data.training_rows import read_source

    if source.data == PASSAGES:
        raise RecipeError("train.sources: passages are no rows yet; set pairs to same-text, title-body or neighbours")
    yield from read_source(source.data, instruction=source.instruction)


def _texts(source: Source, passages: Passages, left_out: set[str]) -> Iterator[str]:
    if source.data == PASSAGES:
        yield from (document.content for document in passages())
        return
    from embedloom.data.training_rows import read_source

    # The rows' labels are not used: a missing instruction is no fault here.
    for row in read_source(source.data, instruction=source.instruction or "-"):
        if row.family not in left_out:
            yield from (row.query, *row.positives)


def _items(recipe: Recipe, source: Source, passages: Passages) -> Iterable[Item]:
    if source.data != PASSAGES:
        return text_items(source.data)
    taken = {document.id for document in passages()}
    origin = recipe.corpus.source
    if is_text(origin):
        return [item for item in text_items(origin) if item.id in taken]
    if source.pairs == "neighbours":
        raise RecipeError("train.sources: the corpus does not say which passages are neighbours; use title-body")
    return [Item(one.id, one.id, one.title, one.text) for one in read_documents(origin) if one.id in taken]


def passages_of(run: Run) -> list[Document]:
    """The passages that the run's first stage wrote.

    Raises:
        RecipeError: it has none.
    """
    path = run.folder / PASSAGE_FILE
    if not path.exists():
        raise RecipeError(NO_PASSAGES)
    return list(read_records(path, Document))
