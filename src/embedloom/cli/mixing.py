"""The stage between curation and training: synthetic rows and the recipe's other sources in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedloom.cli.corpus import source_content, weighted
from embedloom.cli.curating import CURATED, contents, evaluation_sets
from embedloom.cli.pipeline import Run
from embedloom.cli.row_sources import PASSAGE_FILE, PASSAGES, new_rows, passages_of
from embedloom.errors import RecipeError
from embedloom.records import CLASSIFICATION, Example, Reject, content_id
from embedloom.run import file_hash, read_records, write_records

STAGE = "mix"
HELD_OUT = "dev.jsonl"
"""The rows that are not trained on but measured on, where the recipe asks for that."""


def mix(run: Run) -> None:
    """Each row as often as its source weighs; what repeats an evaluation set or a held-out row is a reject."""
    sources = run.recipe.train.sources
    seed = run.recipe.seed
    share = run.recipe.train.dev_share
    synthetic = any(run.recipe.generate.counts.values())
    # Synthetic rows were compared when they were curated.
    against = evaluation_sets(run) if sources else []

    def work() -> dict[str, Any]:
        from embedloom.curate.decontaminate import contaminated, contamination
        from embedloom.data.evaluation_texts import evaluation_texts

        index = contamination(text for path in against for text in evaluation_texts(path)) if against else None
        synthetic_rows = list(read_records(run.folder / CURATED, Example)) if synthetic else []
        taken = {example.id for example in synthetic_rows}
        parts = [(synthetic_rows, 1.0)]
        rejects: list[Reject] = []
        for source in sources:
            kept: list[Example] = []
            shared = ("query", "positive") if source.data == PASSAGES else ("positive",)
            for row in new_rows(run.recipe, source, lambda: passages_of(run), taken):
                if index is not None and (detail := contaminated(row, index, shares_corpus=shared)):
                    rejects.append(Reject(row.id, STAGE, "in-evaluation", detail))
                else:
                    kept.append(row)
            parts.append((kept, source.weight))
        if share:
            held, parts, repeats = hold_out(parts, share, seed)
            write_records(run.folder / HELD_OUT, held)
            rejects += repeats
        rows = [row for part, weight in parts for row in weighted(part, weight, seed)]
        if not rows:
            raise RecipeError("no training rows: set generate.counts for synthetic data, or name data in train.sources")
        write_records(run.folder / "rejects" / f"{STAGE}.jsonl", rejects)
        return {"rows": write_records(run.folder / "train.jsonl", rows), "rejects": len(rejects)}

    told = {"sources": [(source.model_dump(), _content(source.data)) for source in sources], "seed": seed}
    told |= {"evaluation": contents(run, against), "held_out": [share, "by passage"] if share else share}
    files = ["train.jsonl", f"rejects/{STAGE}.jsonl", *([HELD_OUT] if share else [])]
    inputs = [CURATED] if synthetic else []
    inputs += [PASSAGE_FILE] if any(source.data == PASSAGES for source in sources) else []
    run.stage(STAGE, settings=told, inputs=inputs, files=files, work=work)


def hold_out(
    parts: list[tuple[list[Example], float]], share: float, seed: int
) -> tuple[list[Example], list[tuple[list[Example], float]], list[Reject]]:
    """Takes a share of all rows away to measure on, and with them every row that repeats one of those.

    Rows that were written for one passage are held out together.

    Args:
        parts: rows with the weight of their source, no row twice.
        share: of all rows, at least one.
        seed: draws them.

    Returns:
        The rows that are held out, the parts without them, and the rows that repeat them.

    Raises:
        RecipeError: nothing would be left.
    """
    from embedloom.curate.decontaminate import contaminated, contamination
    from embedloom.data.evaluation_texts import EvaluationText

    every = [row for part, _ in parts for row in part]
    of_one_passage: dict[str, list[str]] = {}
    for row in every:
        of_one_passage.setdefault(row.passage_id or row.id, []).append(row.id)
    own: set[str] = set()
    for row in sorted(every, key=lambda row: content_id("held out", seed, row.id)):
        if own and len(own) >= round(share * len(every)):
            break
        own |= set(of_one_passage[row.passage_id or row.id])
    if own and len(own) == len(every):
        raise RecipeError("train.dev_share can't hold rows out: all of them are of one passage")
    held = [row for row in every if row.id in own]
    index = contamination(
        EvaluationText("the held-out rows", side, text)
        for row in held
        for side, texts in (("query", (row.query,)), ("document", row.positives))
        if side == "query" or row.family != CLASSIFICATION
        for text in texts
    )
    left: list[tuple[list[Example], float]] = []
    repeats: list[Reject] = []
    for part, weight in parts:
        kept: list[Example] = []
        for row in part:
            if row.id in own:
                continue
            if detail := contaminated(row, index):
                repeats.append(Reject(row.id, STAGE, "in-held-out", detail))
            else:
                kept.append(row)
        left.append((kept, weight))
    return held, left, repeats


def _content(data: str) -> str:
    path = Path(data.removeprefix("path:"))
    return file_hash(path) if path.is_file() else source_content(data) if path.is_dir() else ""
