"""Clustering: do k-means clusters of the vectors agree with the labels (MTEB's Clustering)."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import numpy as np

from embedloom.data.dense import encode_queries
from embedloom.data.labels import LabelledText
from embedloom.errors import DataError, MissingExtraError
from embedloom.evals.instructions import instruction_for
from embedloom.evals.intervals import mean_estimate
from embedloom.evals.result import Measure, SetResult
from embedloom.records import Embedder, Progress


def evaluate_clustering(
    embedder: Embedder,
    rows: Sequence[LabelledText],
    *,
    task: str,
    split: str = "test",
    instruction: str | None = None,
    experiments: int = 10,
    sample: int = 16_384,
    texts: int | None = None,
    seed: int = 42,
    progress: Progress | None = None,
) -> SetResult:
    """V-measure of mini-batch k-means with as many clusters as labels, averaged over samples drawn with replacement.

    The defaults are MTEB's. The interval is over the experiments: with few texts the figure moves by some points with
    the order of the rows, which k-means starts from.

    Args:
        embedder: the model; texts are encoded as queries, which is where an instruction can stand.
        rows: texts with labels.
        task: the set's name.
        split: recorded with the result.
        instruction: put before each text instead of the table's.
        experiments: how many samples are clustered.
        sample: texts in a sample.
        texts: how many of the rows, drawn at random, take part; all if left out.
        seed: of the samples and of k-means.
        progress: told of encoded texts.

    Raises:
        DataError: fewer than two labels.
        MissingExtraError: scikit-learn is absent.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.metrics import v_measure_score
    except ImportError:
        raise MissingExtraError("scikit-learn", "evals") from None
    started = time.monotonic()
    if len({row.label for row in rows}) < 2:
        raise DataError(f"{task}: all texts have one label; clustering needs at least two")
    sentence = instruction_for(task, "clustering", instruction)
    draw = random.Random(seed)
    # MTEB shuffles a set before it samples from it; the same order gives its samples.
    shuffled = [rows[index] for index in draw.sample(range(len(rows)), k=min(len(rows), texts or len(rows)))]
    vectors_ND = encode_queries(embedder, [row.text for row in shuffled], sentence, progress=progress)
    names, labels_N = np.unique([row.label for row in shuffled], return_inverse=True)
    values = np.empty(experiments)
    for e in range(experiments):
        chosen = draw.choices(range(len(shuffled)), k=sample)
        kmeans = MiniBatchKMeans(n_clusters=len(names), batch_size=512, init="k-means++", n_init=1, random_state=seed)
        values[e] = v_measure_score(labels_N[chosen], kmeans.fit_predict(vectors_ND[chosen]))
    return SetResult(
        task=task,
        family="clustering",
        split=split,
        measures=(Measure("v_measure", mean_estimate(values)),),
        items=values,
        gold=np.empty(0),
        instruction=sentence,
        count=len(shuffled),
        seconds=time.monotonic() - started,
    )
