"""The order of training: which rows stand in which batch, a function of (seed, step) alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from embedloom.data.neighbours import nearest_rows, side_by_side
from embedloom.data.words import same
from embedloom.errors import DataError
from embedloom.records import CLASSIFICATION, Example, content_id


def batches(examples: Sequence[Example], *, batch_size: int, seed: int, neighbourhood: int = 1) -> Iterator[list[int]]:
    """Row numbers of batch after batch, epoch after epoch without end; every epoch is shuffled anew.

    With a `neighbourhood` above 1, a batch is made of blocks of so many rows about like things.

    No two rows of a batch share a query or a positive: one row's positive would be the other's negative. A row that
    does not fit is put off to a later batch. Rows left at the end of an epoch open the next one, so that every batch
    is full. Rows of a classification may share their label: there are few, and the loss never takes one that a row
    has for its negative.

    Raises:
        DataError: there are fewer rows than a batch holds, or so many equal ones that no batch can be filled.
    """
    if len(examples) < batch_size:
        raise DataError(
            f"{len(examples)} training rows are fewer than one batch of {batch_size}; "
            "lower train.batch_size or add data"
        )
    texts = [_identities(example) for example in examples]
    nearest = nearest_rows(examples) if neighbourhood > 1 else []
    waiting: deque[int] = deque()
    epoch = 0
    while True:
        batch: list[int] = []
        taken: set[str] = set()
        put_off: list[int] = []
        refills = 0
        while len(batch) < batch_size:
            if not waiting:
                if refills == 2:
                    raise DataError(
                        f"no batch of {batch_size} rows without a common query or positive; lower train.batch_size"
                    )
                order = _shuffled(len(examples), seed, epoch)
                waiting.extend(side_by_side(order, nearest, neighbourhood) if nearest else order)
                epoch += 1
                refills += 1
            row = waiting.popleft()
            if taken.isdisjoint(texts[row]):
                taken.update(texts[row])
                batch.append(row)
            else:
                put_off.append(row)
        waiting.extendleft(reversed(put_off))
        yield batch


def batches_of_one_kind(
    examples: Sequence[Example], *, batch_size: int, seed: int, neighbourhood: int = 1
) -> Iterator[list[int]]:
    """Like `batches`, but each batch is of one source and family: negatives are then of the query's own kind.

    Kinds take turns in an order drawn anew every epoch, by their rows. Those too small for a batch stand
    together, or with the last large one.

    Raises:
        DataError: as `batches`.
    """
    kinds: dict[tuple[str, str], list[int]] = {}
    for row, example in enumerate(examples):
        kinds.setdefault((example.source, example.family), []).append(row)
    large = [rows for _, rows in sorted(kinds.items()) if len(rows) >= batch_size]
    small = [row for _, rows in sorted(kinds.items()) if len(rows) < batch_size for row in rows]
    if len(small) < batch_size and large:
        large[-1] = large[-1] + small
        small = []
    groups = [*large, small] if small else large
    streams = [
        batches([examples[row] for row in rows], batch_size=batch_size, seed=seed, neighbourhood=neighbourhood)
        for rows in groups
    ]
    turns = [number for number, rows in enumerate(groups) for _ in range(max(1, round(len(rows) / batch_size)))]
    epoch = 0
    while True:
        for turn in _shuffled(len(turns), seed, epoch):
            number = turns[turn]
            yield [groups[number][row] for row in next(streams[number])]
        epoch += 1


def own_texts(example: Example) -> set[str]:
    """What no query of the row may have for its negative, normalised: its positives, and each with the query before it.

    A row of a title and what stands below it means the text that has both.
    """
    return {same(text) for one in example.positives for text in (one, f"{example.query} {one}")}


def choice(count: int, *, seed: int, step: int, row: int, what: str) -> int:
    """Which of `count` positives or negatives a row uses at a step: a function of its arguments."""
    return 0 if count == 1 else int(content_id("choice", seed, step, row, what), 16) % count


def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    generator = np.random.Generator(np.random.Philox(key=int(content_id("epoch", seed, epoch), 16)))
    return [int(row) for row in generator.permutation(count)]


def _identities(example: Example) -> frozenset[str]:
    query = "q" + content_id(example.instruction, same(example.query))
    if example.family == CLASSIFICATION:
        return frozenset([query])
    return frozenset([query, *("p" + content_id(text) for text in own_texts(example))])
