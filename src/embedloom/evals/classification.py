"""Classification: a small linear classifier on frozen vectors (MTEB's Classification)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedloom.data.dense import encode_queries
from embedloom.data.labels import LabelledText
from embedloom.errors import DataError, MissingExtraError
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import Counts, estimate, mean_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.records import Embedder, Progress


def evaluate_classification(
    embedder: Embedder,
    train: Sequence[LabelledText],
    test: Sequence[LabelledText],
    *,
    task: str,
    split: str = "test",
    instruction: str | None = None,
    texts_per_label: int = 8,
    draws: int = 10,
    seed: int = 42,
    progress: Progress | None = None,
) -> SetResult:
    """Logistic regression on a few texts a label, tested on all of `test`, averaged over several draws of those few.

    The defaults are MTEB's, its draws included. The interval is over test texts, not over draws.

    Args:
        embedder: the model; all texts are encoded as queries, which is where an instruction can stand.
        train: texts to draw from.
        test: texts to classify.
        task: the set's name.
        split: recorded with the result.
        instruction: put before each text instead of the table's.
        texts_per_label: texts of each label in a draw.
        draws: how many classifiers are trained.
        seed: of the draws.
        progress: told of encoded texts, and of the training texts that no draw took.

    Raises:
        DataError: fewer than two labels to learn, or a test label that isn't among them.
        MissingExtraError: scikit-learn is absent.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError("scikit-learn", "evals") from None
    started = time.monotonic()
    names = sorted({row.label for row in train})
    unknown = sorted({row.label for row in test} - set(names))
    if len(names) < 2 or unknown:
        what = f"label {unknown[0]!r} of the test texts" if unknown else "a second label"
        raise DataError(f"{task}: {what} does not occur among the training texts; there is nothing to learn it from")
    sentence = instruction_for(task, "classification", instruction)
    chosen = draw_texts([row.label for row in train], texts_per_label, draws, seed)
    used = sorted({index for draw in chosen for index in draw})
    place = {index: position for position, index in enumerate(used)}
    train_UD = encode_queries(embedder, [train[index].text for index in used], sentence, progress=progress)
    if progress is not None:
        progress(len(train) - len(used))
    test_ND = encode_queries(embedder, [row.text for row in test], sentence, progress=progress)
    train_labels = np.array([names.index(row.label) for row in train])
    gold_N = np.array([names.index(row.label) for row in test])
    predicted_EN = np.empty((draws, len(test)), dtype=np.int64)
    for e, draw in enumerate(chosen):
        classifier = LogisticRegression(max_iter=100, random_state=seed)
        classifier.fit(train_UD[[place[index] for index in draw]], train_labels[draw])
        predicted_EN[e] = classifier.predict(test_ND)
    right_N = (predicted_EN == gold_N).mean(axis=0)
    everyone = np.ones((1, len(test)))
    macro = MacroF1(gold_N, predicted_EN)
    return SetResult(
        task=task,
        family="classification",
        split=split,
        measures=(
            Measure("accuracy", mean_estimate(right_N)),
            Measure("macro_f1", estimate(float(macro(everyone)[0]), len(test), macro)),
        ),
        items=right_N,
        gold=np.empty(0),
        instruction=sentence,
        count=len(test),
        seconds=time.monotonic() - started,
    )


def draw_texts(labels: Sequence[str], texts_per_label: int, draws: int, seed: int) -> list[list[int]]:
    """Indices of the training texts of each draw, as MTEB draws them: each shuffles the last one's order again."""
    order = list(range(len(labels)))
    out = []
    for _ in range(draws):
        np.random.RandomState(seed).shuffle(order)
        taken: Counter[str] = Counter()
        draw = []
        for index in order:
            if taken[labels[index]] < texts_per_label:
                taken[labels[index]] += 1
                draw.append(index)
        out.append(draw)
    return out


class MacroF1:
    """Mean over draws of the mean F1 over labels, for each row of draw counts of the test texts.

    A label that is neither there nor predicted is left out of the mean, as scikit-learn leaves it out.
    """

    def __init__(self, gold_N: NDArray[np.int64], predicted_EN: NDArray[np.int64]) -> None:
        labels_L = np.arange(max(gold_N.max(), predicted_EN.max()) + 1)
        self._gold_NL = (gold_N[:, None] == labels_L).astype(np.float64)
        self._predicted_ENL = (predicted_EN[:, :, None] == labels_L).astype(np.float64)

    def __call__(self, counts: Counts) -> NDArray[np.float64]:
        gold_BL = counts @ self._gold_NL
        total = np.zeros(len(counts))
        for predicted_NL in self._predicted_ENL:
            right_BL = counts @ (predicted_NL * self._gold_NL)
            size_BL = gold_BL + counts @ predicted_NL
            f1_BL = np.divide(2 * right_BL, size_BL, out=np.zeros_like(size_BL), where=size_BL > 0)
            total += f1_BL.sum(axis=1) / (size_BL > 0).sum(axis=1)
        return total / len(self._predicted_ENL)
