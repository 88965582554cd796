"""Hard-negative mining: texts of a corpus that rank high for a query and are none of its answers.

The threshold is the positive-aware one of NV-Retriever (arXiv 2407.15831, "TopK-PercPos"): a text that scores nearly as
well as the positive is more likely an answer that nobody marked than a negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Protocol, runtime_checkable

from embedloom.data.words import same
from embedloom.records import Document, Example, Hit, Progress, content_id
from embedloom.search.known import Known, KnownPositives, known_answers

ROWS_AT_ONCE = 1024
"""Rows that are searched for together: a pass over the corpus each, and their hits' texts in memory."""


@runtime_checkable
class RowRetriever(Protocol):
    """A search over one corpus by training rows: each row's query under its own instruction, where it has a use."""

    def search(self, rows: Sequence[Example], k: int, *, progress: Progress | None = None) -> list[list[Hit]]:
        """For each row the `k` best documents for its query, best first; `progress` is told of rows."""

    def scores(self, pairs: Sequence[tuple[Example, str]]) -> list[float]:
        """The score of each text for its row's query, on the scale of `search`, whether the corpus holds it or not."""


def mine(
    examples: Iterable[Example],
    retriever: RowRetriever,
    documents: Callable[[Sequence[str]], Sequence[Document]],
    *,
    negatives: int = 1,
    first: int = 1,
    last: int = 30,
    below: float | None = 0.95,
    drawn: bool = False,
    seed: int = 0,
    known: Iterable[Known] = (),
    rows_at_once: int = ROWS_AT_ONCE,
    counts: Counter[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Example]:
    """Every row in its order, its negatives filled up to `negatives` with what ranks high and answers nothing.

    A document is left out if it is a known positive of the query (by id or normalised text; the positives of every row
    with the same query count), the query itself, a text the row has already, or too close to one of its positives.

    Args:
        examples: training rows; read twice, so a list, or something that opens its file anew, not a generator.
        retriever: what searches.
        documents: the documents with the given ids, in their order.
        negatives: how many a row should have. A row that has as many passes unchanged.
        first: rank of the best hit that may be taken, counted from 1, the positive's own place included.
        last: rank of the last hit that may be taken.
        below: largest share of its worst positive's score that a negative may have; None for no limit.
        drawn: take from the window by chance, a function of (seed, row id, document id), instead of best first.
        seed: for `drawn`.
        known: further answers, of other files.
        rows_at_once: rows searched for together.
        counts: counts `rows`, `full` (had enough), `mined` (got as many as were missing), `short` (fewer) and `none
            left` (rows that stay as they were); `negatives` taken; and of the hits looked at: `known positive`,
            `repeated`, `too close`.
        progress: called with the number of rows done.
    """
    assert negatives > 0, "a row should have at least one negative"
    assert 1 <= first <= last, "ranks count from 1"
    assert below is None or 0 < below <= 1, "a share"
    assert iter(examples) is not examples, "read twice: first for the positives of all rows"
    answers = KnownPositives(chain(known, known_answers(examples)))
    tally = Counter() if counts is None else counts
    stream = iter(examples)
    while block := list(islice(stream, rows_at_once)):
        short = [row for row in block if len(row.negatives) < negatives]
        found = retriever.search(short, last, progress=progress) if short else []
        texts = _texts((hit.document_id for hits in found for hit in hits), documents)
        limits = _limits(short, found, texts, retriever, below)
        filled = iter(
            _filled(row, hits[first - 1 : last], texts, limit, answers, negatives, seed if drawn else None, tally)
            for row, hits, limit in zip(short, found, limits, strict=True)
        )
        for row in block:
            tally["rows"] += 1
            if len(row.negatives) < negatives:
                yield next(filled)
            else:
                tally["full"] += 1
                yield row
        if progress is not None and len(short) < len(block):
            progress(len(block) - len(short))


def _texts(ids: Iterable[str], documents: Callable[[Sequence[str]], Sequence[Document]]) -> Mapping[str, Document]:
    wanted = list(dict.fromkeys(ids))
    return dict(zip(wanted, documents(wanted), strict=True)) if wanted else {}


def _limits(
    rows: Sequence[Example],
    found: Sequence[Sequence[Hit]],
    texts: Mapping[str, Document],
    retriever: RowRetriever,
    below: float | None,
) -> list[float]:
    """The score that no negative of a row may exceed. A positive that is no hit is scored by itself."""
    if below is None:
        return [float("inf")] * len(rows)
    worst = [float("inf")] * len(rows)
    asked: list[tuple[int, str]] = []
    for place, (row, hits) in enumerate(zip(rows, found, strict=True)):
        by_text = {texts[hit.document_id].content: hit.score for hit in hits}
        for positive in row.positives:
            if positive in by_text:
                worst[place] = min(worst[place], by_text[positive])
            else:
                asked.append((place, positive))
    scores = retriever.scores([(rows[place], text) for place, text in asked]) if asked else []
    for (place, _), score in zip(asked, scores, strict=True):
        worst[place] = min(worst[place], score)
    # Of a negative cosine 95 % would be more than all of it: the distance is what has to stay.
    return [score - (1 - below) * abs(score) for score in worst]


def _filled(
    row: Example,
    window: Sequence[Hit],
    texts: Mapping[str, Document],
    limit: float,
    answers: KnownPositives,
    wanted: int,
    seed: int | None,
    tally: Counter[str],
) -> Example:
    if seed is not None:
        window = sorted(window, key=lambda hit: content_id("mine", seed, row.id, hit.document_id))
    own = {same(row.query), *map(same, row.positives)}
    taken = list(row.negatives)
    there = set(map(same, taken))
    for hit in window:
        if len(taken) == wanted:
            break
        document = texts[hit.document_id]
        text = document.content
        if same(text) in own or answers.answers(row.query, document):
            tally["known positive"] += 1
        elif not text.strip() or same(text) in there:
            tally["repeated"] += 1
        elif hit.score > limit:
            tally["too close"] += 1
        else:
            taken.append(text)
            there.add(same(text))
    gained = len(taken) - len(row.negatives)
    tally["negatives"] += gained
    tally["mined" if len(taken) == wanted else "short" if gained else "none left"] += 1
    if not gained:
        return row
    # An id of the file stays; one that says what the row holds has to be made anew.
    by_content = replace(row, id="").id == row.id
    return replace(row, negatives=tuple(taken), id="" if by_content else row.id)
