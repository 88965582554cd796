"""Source attribution on abstracts: sentences taken from them, claims about them, and sentences from elsewhere.

The corpus is 60 abstracts that the training claims of SciFact rest on. Taken: sentences of the abstracts, word for
word. Paraphrased: the claims, written by people from citing papers; their abstract supports or refutes them. Foreign:
sentences about other subjects (Wikipedia); near: about other matters of medicine (MedQuAD). A sentence is attributed
rightly if its best source stands in its own abstract, and a foreign one if it has none, at the threshold that was
measured on the index.
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

SHARED = Path(os.environ.get("EMBEDLOOM_SHARED") or Path(__file__).parents[2] / "shared")
MODEL = "registry:minilm"
ABSTRACTS, TAKEN, PARAPHRASED, FOREIGN, NEAR = 60, 30, 60, 30, 20


def measure() -> dict[str, Any]:
    """Recall by kind, precision, and the same at other thresholds."""
    from embedloom.cli.opening import open_embedder
    from embedloom.records import Document
    from embedloom.search.attribute import attribute, background_threshold, statements
    from embedloom.search.index import create_index

    draw = random.Random(1)
    claims: dict[str, list[str]] = {}
    for row in rows("scifact-train.jsonl"):
        claims.setdefault(row["positives"][0], []).append(row["query"])
    abstracts = draw.sample(sorted(claims), ABSTRACTS)
    documents = [Document(f"a{number}", text) for number, text in enumerate(abstracts)]
    by_claim = {claim: document.id for document in documents for claim in claims[document.text]}
    wanted = {
        "taken": {draw.choice(statements(document.text)): document.id for document in documents[:TAKEN]},
        "paraphrased": dict(draw.sample(sorted(by_claim.items()), min(PARAPHRASED, len(by_claim)))),
        "foreign": dict.fromkeys(foreign("qed-nq.jsonl", FOREIGN, draw), ""),
        "near": dict.fromkeys(foreign("medquad.jsonl.gz", NEAR, draw), ""),
    }
    embedder = open_embedder(MODEL)
    found: dict[str, list[tuple[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        index = create_index(Path(folder) / "index", documents, embedder)
        measured = background_threshold(index, embedder)
        text = "\n".join(one for sentences in wanted.values() for one in sentences)
        attributed = {one.sentence: one for one in attribute(text, index, embedder, threshold=-1)}
    for kind, sentences in wanted.items():
        # A claim that is two sentences is not looked for as one.
        found[kind] = [(own, attributed[one]) for one, own in sentences.items() if one in attributed]
    figures: dict[str, Any] = {"model": MODEL, "abstracts": ABSTRACTS, "threshold": round(measured, 3)}
    figures["sentences"] = {kind: len(rows_of) for kind, rows_of in found.items()}
    figures["at_the_measured_threshold"] = at(found, measured)
    figures["at_other_thresholds"] = {f"{step / 20:.2f}": at(found, step / 20) for step in range(8, 19)}
    return figures


def at(found: dict[str, list[tuple[str, Any]]], threshold: float) -> dict[str, float]:
    """Shares of sentences with their own abstract as a source, of foreign ones without any, and of right sources."""
    figures: dict[str, float] = {}
    right = given = 0
    for kind, pairs in found.items():
        good = 0
        for own, attribution in pairs:
            sources = [source.document_id for source in attribution.sources if source.score >= threshold][:1]
            given += len(sources)
            right += sources == [own]
            good += sources == [own] if own else not sources
        figures[f"{kind}_right"] = round(good / len(pairs), 3)
    figures["precision"] = round(right / given, 3) if given else 1.0
    sourced = sum(len(found[kind]) for kind in ("taken", "paraphrased"))
    figures["recall"] = round(right / sourced, 3)
    return figures


def rows(name: str) -> Iterator[Any]:
    """The rows of a file of labelled data."""
    path = SHARED / "data" / "labelled" / name
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def foreign(name: str, count: int, draw: random.Random) -> list[str]:
    """Sentences of ten words or more, each from a row of its own."""
    from embedloom.search.attribute import statements

    out = []
    for row in draw.sample(list(rows(name)), count * 3):
        long = [one for one in statements(row["positives"][0]) if len(one.split()) >= 10]
        if long and len(out) < count:
            out.append(draw.choice(long))
    return out
