"""Curation of 500,000 synthetic rows, among them planted duplicates and rows that break a rule, each known.

The words of a row are drawn from what `sample:llm-written` says in its language, so that letters, scripts and lengths
are those of real data; what they say is nothing. Ids are such that the planted copy is the one that must go.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROWS = int(os.environ.get("CURATE_ROWS", 500_000))
"""Rows; another number for a try."""
LANGUAGES = ("English", "German", "Spanish", "Russian", "Arabic", "Hindi", "Chinese", "Japanese", "Finnish", "Swahili")
PLANTED = {
    "exact-duplicate": 0.02,
    "near-duplicate": 0.02,
    "near-miss": 0.02,
    "length": 0.005,
    "placeholder": 0.005,
    "degenerate": 0.005,
    "label-in-text": 0.005,
    "negative-is-positive": 0.005,
    "bitext-copied": 0.005,
    "wrong-language": 0.005,
    "in-evaluation": 0.005,
    "personal-data": 0.005,
}
"""Share of rows by what is wrong with them; a near miss has a Jaccard similarity of 0.5 to 0.6 and must stay."""


def measure() -> dict[str, Any]:
    """Writes the rows, curates them in a process of its own, and counts what was found of what was planted."""
    folder = Path(tempfile.mkdtemp(prefix="curate-500k-"))
    try:
        load = os.getloadavg()[0]
        started = time.time()
        truth = write_rows(folder)
        wrote = time.time() - started
        process = multiprocessing.get_context("spawn").Process(target=curate_rows, args=(folder,))
        process.start()
        process.join()
        figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        size = (folder / "examples.jsonl").stat().st_size
        return {
            "rows": ROWS,
            "load_average_before": round(load, 1),
            "file_mb": round(size / 1e6),
            "seconds_to_write_rows": round(wrote, 1),
            **figures,
            **compare(truth, folder / "verdicts.jsonl"),
        }
    finally:
        shutil.rmtree(folder)


def curate_rows(folder: Path) -> None:
    """Curates with every check that needs no model, in as many processes as there are cores."""
    from embedloom.curate.checks import Checks
    from embedloom.curate.curate import curate_file
    from embedloom.curate.decontaminate import contamination
    from embedloom.data.evaluation_texts import evaluation_texts
    from embedloom.records import Reject, dumps

    processes = os.cpu_count() or 1
    started = time.time()
    index = folder / "index"
    index.mkdir()
    contamination(evaluation_texts(folder / "evaluation")).save(index)
    checks = Checks(language=True, personal=True, contamination=index)
    kept = 0
    with open(folder / "curated.jsonl", "w", encoding="utf-8") as good, open(folder / "verdicts.jsonl", "w") as bad:
        for verdict in curate_file(folder / "examples.jsonl", checks=checks, processes=processes):
            if isinstance(verdict, Reject):
                bad.write(dumps(verdict) + "\n")
            else:
                good.write(verdict + "\n")
                kept += 1
    seconds = time.time() - started
    figures = {
        "curate_seconds": round(seconds, 1),
        "cpu_seconds": round(sum(os.times()[:4])),
        "rows_per_second": round(ROWS / seconds),
        "processes": processes,
        "kept": kept,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "peak_memory_of_a_worker_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }
    (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


def compare(truth: dict[str, str], verdicts: Path) -> dict[str, Any]:
    """Planted, found by the right rule, and dropped by another or without reason, by rule."""
    planted, found, other = Counter(truth.values()), Counter(), Counter()
    with open(verdicts, encoding="utf-8") as file:
        for line in file:
            reject = json.loads(line)
            want = truth.get(reject["id"])
            (found if want == reject["rule"] else other)[want or f"sound, dropped by {reject['rule']}"] += 1
    rules = {name: {"planted": planted[name], "found": found[name]} for name in PLANTED if name != "near-miss"}
    return {"by_rule": rules, "near_misses": planted["near-miss"], "dropped_wrongly": dict(other)}


def write_rows(folder: Path) -> dict[str, str]:
    """Writes rows and an evaluation set; returns {id: what is wrong with the row}."""
    from embedloom.data.training_rows import read_source

    drawn = random.Random(1)
    words: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    for example in read_source("sample:llm-written"):
        if example.language in words and example.family in ("short-long", "long-long", "sts"):
            text = " ".join((example.query, *example.positives, *example.negatives))
            words[example.language] += text.split() if example.language not in ("Chinese", "Japanese") else text

    def text(language: str, count: int) -> str:
        joint = "" if language in ("Chinese", "Japanese") else " "
        # Over what a prompt asks for, so that rows differ in length as real ones do.
        return joint.join(drawn.choices(words[language], k=max(2, round(count * drawn.lognormvariate(0, 0.25)))))

    evaluation = [text("English", 60) for _ in range(5000)]
    (folder / "evaluation").mkdir()
    with open(folder / "evaluation" / "test.jsonl", "w", encoding="utf-8") as file:
        for sentence in evaluation:
            file.write(json.dumps({"text": sentence, "label": "a"}, ensure_ascii=False) + "\n")

    families = ("short-long", "long-short", "sts", "bitext", "short-short", "long-long")
    shares = (167, 122, 99, 89, 13, 17)
    truth: dict[str, str] = {}
    earlier: list[dict[str, Any]] = []
    with open(folder / "examples.jsonl", "w", encoding="utf-8") as file:
        for number in range(ROWS):
            kind = drawn.choices([*PLANTED, ""], [*PLANTED.values(), 1 - sum(PLANTED.values())])[0]
            language = drawn.choices(LANGUAGES, [43, *[6] * (len(LANGUAGES) - 1)])[0]
            row = _row(drawn.choices(families, shares)[0], language, text, drawn)
            if not earlier:
                kind = ""
            row = _plant(kind, row, text, drawn, evaluation, earlier) if kind else row
            row["id"] = f"{number:016x}"
            if kind:
                truth[row["id"]] = kind
            elif len(earlier) < 20_000 and _may_be_planted(row):
                earlier.append(row)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return truth


def _row(family: str, language: str, text: Any, drawn: random.Random) -> dict[str, Any]:
    row = {"instruction": f"Given a text, retrieve one that matches it ({family}).", "family": family}
    row |= {"language": language, "source": "synthetic"}
    if family == "bitext":
        # Random words of Hindi are short: their letters without vowel signs make no sentence of a usual length.
        language = "English" if language == "Hindi" else language
        row["language"] = language
        other = drawn.choice([one for one in LANGUAGES if one not in (language, "Chinese", "Japanese", "Hindi")])
        source = text(language, 24) if language not in ("Chinese", "Japanese") else text(language, 50)
        return (
            row
            | {"query": source, "positives": [text(other, 20)], "negatives": [text(other, 20)]}
            | {"target_language": other}
        )
    query, positive, negative = {
        "short-long": (8, 70, 60),
        "long-short": (50, 2, 2),
        "sts": (16, 16, 16),
        "short-short": (8, 9, 0),
        "long-long": (300, 300, 0),
    }[family]
    scale = 2 if language in ("Chinese", "Japanese") else 1
    row |= {"query": text(language, query * scale), "positives": [text(language, positive * scale)]}
    if family == "long-short":
        row |= {"positives": [f"label {drawn.randrange(10**6)}"], "negatives": [f"label {drawn.randrange(10**6)}"]}
    elif negative:
        row["negatives"] = [text(language, negative * scale)]
    return row


def _plant(
    kind: str,
    row: dict[str, Any],
    text: Any,
    drawn: random.Random,
    evaluation: list[str],
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    if kind in ("exact-duplicate", "near-duplicate", "near-miss"):
        row = dict(drawn.choice(earlier))
        if kind == "exact-duplicate":
            return row | {"query": f"{row['query'].upper()} !", "positives": [text(row["language"], 80)]}
        pieces = row["positives"][0].split(" ")
        for _ in range(max(1, len(pieces) // (25 if kind == "near-duplicate" else 5))):
            pieces[drawn.randrange(len(pieces))] = f"novum{drawn.randrange(10**6)}"
        return row | {
            "positives": [" ".join(pieces)],
            "instruction": f"{row['instruction']} Copy {drawn.randrange(10**9)}.",
        }
    base = _row("short-long", "English", text, drawn)
    if kind == "length":
        return base | {"positives": ["too short"]}
    if kind == "placeholder":
        return base | {"query": "{{query}} " + base["query"]}
    if kind == "degenerate":
        return base | {"positives": ["and so it went on " * 20]}
    if kind == "label-in-text":
        made = _row("long-short", "English", text, drawn)
        return made | {"query": f"{made['query']} {made['positives'][0]} at last"}
    if kind == "negative-is-positive":
        return base | {"negatives": [base["positives"][0].upper()]}
    if kind == "bitext-copied":
        made = _row("bitext", "English", text, drawn)
        source = text("English", 30)
        return made | {"query": source, "positives": [f"{source} hm"]}
    if kind == "wrong-language":
        return base | {"language": drawn.choice([one for one in LANGUAGES if one != "English"])}
    if kind == "in-evaluation":
        return base | {"positives": [f"{text('English', 20)} {drawn.choice(evaluation)} {text('English', 20)}"]}
    assert kind == "personal-data"
    return base | {"query": f"{base['query']} write to name{drawn.randrange(10**6)}@example.com"}


def _may_be_planted(row: dict[str, Any]) -> bool:
    """Whether near copies of a row can be made: words with spaces between, and enough of them."""
    return row["family"] == "short-long" and " " in row["query"] and len(row["positives"][0].split(" ")) >= 40
