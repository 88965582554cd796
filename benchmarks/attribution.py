"""Source attribution on abstracts: sentences taken from them, claims about them, and sentences from elsewhere.

The corpora are two halves of 60 abstracts that the training claims of SciFact rest on. Taken: sentences of the
abstracts, word for word. Paraphrased: the claims, written by people from citing papers; their abstract supports or
refutes them. Foreign: sentences about other subjects (Wikipedia); near: about other matters of medicine (MedQuAD). A
sentence is attributed rightly if its best source stands in its own abstract, and a foreign one if it has none.

The threshold is a quantile of what chance reaches on the index, so what is chosen is the quantile's level: on the
first half, by the highest F1 of all models together. The second half has an index and a threshold of its own, and is
what is stated. EMBEDLOOM_MODELS names the models, with commas between.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(os.environ.get("EMBEDLOOM_SHARED") or Path(__file__).parents[2] / "shared")
MODELS = os.environ.get("EMBEDLOOM_MODELS", "registry:minilm").split(",")
ABSTRACTS, FOREIGN = 60, 30
LEVELS = (0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

Found = dict[str, list[tuple[str, Any]]]
"""By kind: the id of a sentence's own document, or "", and what was found for it."""


def measure() -> dict[str, Any]:
    """The level that the first half chooses, and for each model precision and recall on the second."""
    first, second = halves(random.Random(1))
    tried: dict[str, dict[float, dict[str, float]]] = {}
    stated: dict[str, Any] = {}
    for model in MODELS:
        name = Path(model).parent.name + "/" + Path(model).name if model.startswith("/") else model
        found, background = attributed(model, first)
        tried[name] = {level: at(found, float(np.quantile(background, level))) for level in LEVELS}
        stated[name] = attributed(model, second)
    # Of equals the higher: a source that is none is worse than one that is not told.
    chosen = max(LEVELS, key=lambda level: (sum(figures[level]["f1"] for figures in tried.values()), level))
    figures: dict[str, Any] = {"abstracts_a_half": ABSTRACTS, "level": chosen}
    figures["sentences"] = {kind: len(sentences) for kind, sentences in second[1].items()}
    for name, (found, background) in stated.items():
        threshold = float(np.quantile(background, chosen))
        figures[name] = {
            "threshold": round(threshold, 3),
            "second_half": at(found, threshold),
            "second_half_at_fixed_thresholds": {f"{step / 20:.2f}": at(found, step / 20) for step in range(6, 18)},
            "first_half_by_level": {str(level): row for level, row in tried[name].items()},
        }
    return figures


def halves(draw: random.Random) -> list[tuple[list[Any], dict[str, dict[str, str]]]]:
    """Two corpora with their sentences: by kind, each with the id of its own document, or ""."""
    from embedloom.records import Document
    from embedloom.search.spans import statements

    claims: dict[str, list[str]] = {}
    for row in rows("scifact-train.jsonl"):
        claims.setdefault(row["positives"][0], []).append(row["query"])
    abstracts = draw.sample(sorted(claims), 2 * ABSTRACTS)
    elsewhere = {
        kind: foreign(name, 2 * FOREIGN, draw)
        for kind, name in (("foreign", "qed-nq.jsonl"), ("near", "medquad.jsonl.gz"))
    }
    out = []
    for half in range(2):
        documents = [Document(f"a{n}", text) for n, text in enumerate(abstracts[half::2])]
        # A claim that is two sentences is not looked for as one.
        said = {d.id: [c for c in claims[d.text] if len(statements(c)) == 1] for d in documents}
        wanted = {
            "taken": {draw.choice(statements(d.text)): d.id for d in documents},
            "paraphrased": {draw.choice(said[d.id]): d.id for d in documents if said[d.id]},
            **{kind: dict.fromkeys(sentences[half::2], "") for kind, sentences in elsewhere.items()},
        }
        out.append((documents, wanted))
    return out


def attributed(model: str, half: tuple[list[Any], dict[str, dict[str, str]]]) -> tuple[Found, list[float]]:
    """What is found for each sentence, whatever its score, and what chance reaches."""
    from embedloom.cli.opening import open_embedder
    from embedloom.search.attribute import attribute, background_scores
    from embedloom.search.index import create_index

    documents, wanted = half
    embedder = Remembering(open_embedder(model, max_length=256))
    with tempfile.TemporaryDirectory() as folder:
        index = create_index(Path(folder) / "index", documents, embedder)
        background = background_scores(index, embedder)
        text = "\n".join(one for sentences in wanted.values() for one in sentences)
        found = {one.sentence: one for one in attribute(text, index, embedder, threshold=-1)}
    return {
        kind: [(own, found[one]) for one, own in wanted[kind].items() if one in found] for kind in wanted
    }, background


class Remembering:
    """An embedder that encodes no document twice: chance and sources are looked for in the same spans."""

    def __init__(self, embedder: Any) -> None:
        self.name, self.fingerprint, self.dimension = embedder.name, embedder.fingerprint, embedder.dimension
        self.encode_queries = embedder.encode_queries
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def encode_documents(self, texts: Any, *, progress: Any = None) -> Any:
        """As `Embedder.encode_documents`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._embedder.encode_documents(new, progress=progress), strict=True))
        return np.stack([self._known[text] for text in texts])


def at(found: Found, threshold: float) -> dict[str, float]:
    """Shares of sentences with their own abstract as a source, of foreign ones without any, and of right sources."""
    figures: dict[str, float] = {"threshold": round(threshold, 3)}
    right = given = 0
    for kind, pairs in found.items():
        good = 0
        for own, attribution in pairs:
            sources = [source.document_id for source in attribution.sources if source.score >= threshold][:1]
            given += len(sources)
            right += sources == [own]
            good += sources == [own] if own else not sources
        figures[f"{kind}_right"] = round(good / len(pairs), 3)
    precision = right / given if given else 1.0
    recall = right / sum(len(found[kind]) for kind in ("taken", "paraphrased"))
    both = precision + recall
    figures |= {"precision": round(precision, 3), "recall": round(recall, 3)}
    return figures | {"f1": round(2 * precision * recall / both, 3) if both else 0.0}


def rows(name: str) -> Iterator[Any]:
    """The rows of a file of labelled data."""
    path = SHARED / "data" / "labelled" / name
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def foreign(name: str, count: int, draw: random.Random) -> list[str]:
    """Sentences of ten words or more, each from a row of its own."""
    from embedloom.search.spans import statements

    out: list[str] = []
    for row in draw.sample(list(rows(name)), count * 3):
        long = [one for one in statements(row["positives"][0]) if len(one.split()) >= 10]
        if long and len(out) < count:
            out.append(draw.choice(long))
    return out
