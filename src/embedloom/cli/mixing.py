"""The stage between curation and training: synthetic rows and the recipe's other sources in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedloom.cli.corpus import drawn, weighted
from embedloom.cli.curating import CURATED, contents, evaluation_sets
from embedloom.cli.pipeline import Run
from embedloom.errors import RecipeError
from embedloom.records import Example, Reject
from embedloom.run import file_hash, read_records, write_records

STAGE = "mix"


def mix(run: Run) -> None:
    """Each row as often as its source weighs; what repeats an evaluation set goes to the rejects."""
    sources = run.recipe.train.sources
    seed = run.recipe.seed
    synthetic = any(run.recipe.generate.counts.values())
    # Synthetic rows were compared when they were curated.
    against = evaluation_sets(run) if sources else []

    def work() -> dict[str, Any]:
        from embedloom.curate.decontaminate import contaminated, contamination
        from embedloom.data.evaluation_texts import evaluation_texts
        from embedloom.data.training_rows import read_source

        index = contamination(text for path in against for text in evaluation_texts(path)) if against else None
        rows = list(read_records(run.folder / CURATED, Example)) if synthetic else []
        taken = {example.id for example in rows}
        rejects: list[Reject] = []
        for source in sources:
            found = {row.id: row for row in read_source(source.data, instruction=source.instruction)}
            new = [row for row in drawn(list(found.values()), source.limit, seed, "row") if row.id not in taken]
            taken.update(row.id for row in new)
            kept: list[Example] = []
            for row in new:
                if index is not None and (detail := contaminated(row, index, shares_corpus=True)):
                    rejects.append(Reject(row.id, STAGE, "in-evaluation", detail))
                else:
                    kept.append(row)
            rows += weighted(kept, source.weight, seed)
        if not rows:
            raise RecipeError("no training rows: set generate.counts for synthetic data, or name data in train.sources")
        write_records(run.folder / "rejects" / f"{STAGE}.jsonl", rejects)
        return {"rows": write_records(run.folder / "train.jsonl", rows), "rejects": len(rejects)}

    told = {"sources": [(source.model_dump(), _content(source.data)) for source in sources], "seed": seed}
    told |= {"evaluation": contents(run, against)}
    files = ["train.jsonl", f"rejects/{STAGE}.jsonl"]
    run.stage(STAGE, settings=told, inputs=[CURATED] if synthetic else [], files=files, work=work)


def _content(data: str) -> str:
    path = Path(data.removeprefix("path:"))
    return file_hash(path) if path.is_file() else ""
