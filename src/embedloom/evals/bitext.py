"""Bitext mining: is a sentence's nearest neighbour in the other language its translation (MTEB's Tatoeba, BUCC)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from embedloom.data.dense import encode_documents, encode_queries, nearest
from embedloom.data.pairs import TranslationPair
from embedloom.evals import metrics
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import mean_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.records import Embedder, Progress


def evaluate_bitext(
    embedder: Embedder,
    pairs: Sequence[TranslationPair],
    *,
    task: str,
    split: str = "test",
    instruction: str | None = None,
    instruct_both: bool = True,
    progress: Progress | None = None,
) -> SetResult:
    """Matches the lines of both sides by cosine.

    F1 and accuracy are MTEB's: each first sentence looks for its translation among all second sentences. The `reversed`
    figures look the other way with the same vectors.

    Args:
        embedder: the model.
        pairs: line n of one side translates line n of the other.
        task: the set's name.
        split: recorded with the result.
        instruction: put before the first sentences instead of the table's.
        instruct_both: whether the second sentences carry the instruction too, as MTEB has it: neither language is the
            query. Otherwise only the first do, as in training (paper, section 3).
        progress: told of encoded sentences.
    """
    started = time.monotonic()
    sentence = instruction_for(task, "bitext", instruction)
    left_ND = encode_queries(embedder, [pair.sentence1 for pair in pairs], sentence, progress=progress)
    right = [pair.sentence2 for pair in pairs]
    if instruct_both:
        right_ND = encode_queries(embedder, right, sentence, progress=progress)
    else:
        right_ND = encode_documents(embedder, right, progress=progress)
    forth = nearest(left_ND, right_ND, 1)[1][:, 0]
    back = nearest(right_ND, left_ND, 1)[1][:, 0]
    lines = np.arange(len(pairs))
    values = {
        "f1": metrics.bitext_f1(forth),
        "accuracy": metrics.accuracy(forth, lines),
        "f1_reversed": metrics.bitext_f1(back),
        "accuracy_reversed": metrics.accuracy(back, lines),
    }
    return SetResult(
        task=task,
        family="bitext",
        split=split,
        measures=tuple(Measure(name, mean_estimate(per_line)) for name, per_line in values.items()),
        items=values["f1"],
        gold=np.empty(0),
        instruction=sentence,
        count=len(pairs),
        seconds=time.monotonic() - started,
    )
