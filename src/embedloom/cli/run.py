"""`embedloom run`."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from embedloom.cli.pipeline import Run

STAGES = (
    "corpus",
    "tasks",
    "compose",
    "generate",
    "parse",
    "curate",
    "mix",
    "train",
    "eval",
    "index",
    "search",
    "report",
)


@click.command("run")
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...", type=click.Path(path_type=Path))
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Changes one setting, as in train.epochs=2."
)
@click.option(
    "--corpus", metavar="FOLDER", help="Your own texts (txt, md, rst, JSONL) in place of the recipe's corpus."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if left out.")
@click.option("--until", type=click.Choice(STAGES), default="report", help="Stop behind this stage.")
@click.option("--dry-run", type=click.IntRange(min=1), metavar="N", help="Print N prompts; ask and train nothing.")
def command(
    recipes: tuple[Path, ...],
    settings: tuple[str, ...],
    corpus: str | None,
    out: Path | None,
    until: str,
    dry_run: int | None,
) -> None:
    """Does every stage of a recipe that is missing: corpus, tasks, generation, curation, training, evaluation, report.

    Several RECIPE files are merged left to right. Interrupted and started again, it goes on where it stopped: what is
    on record with the same settings and inputs is not done again.
    """
    from embedloom.cli.pipeline import Run
    from embedloom.recipe import load_recipe
    from embedloom.run import RunFolder

    if corpus is not None:
        name = Path(corpus).resolve().name
        settings = (f"name={json.dumps(name)}", f"corpus.source={json.dumps(corpus)}", "search.queries=[]", *settings)
    recipe = load_recipe(recipes, settings)
    run = Run(recipe, RunFolder(out or Path("runs") / recipe.name))
    with run.folder.locked():
        run.record()
        if dry_run is None:
            _do(run, until)
        else:
            _show_prompts(run, dry_run)


def _do(run: Run, until: str) -> None:
    from embedloom.cli.factory import Factory
    from embedloom.cli.measure import build_index, measure, search
    from embedloom.cli.reporting import report
    from embedloom.cli.tuning import mix, tune

    wanted = STAGES[: STAGES.index(until) + 1]
    factory = Factory(run)
    for stage in ("corpus", "tasks", "compose", "generate", "parse", "curate"):
        if stage in wanted:
            factory.do(stage)
    factory.close()
    later = {"mix": mix, "train": tune, "eval": measure, "index": build_index, "search": search, "report": report}
    for stage, work in later.items():
        if stage in wanted:
            work(run)


def _show_prompts(run: Run, count: int) -> None:
    from embedloom.cli.factory import Factory

    factory = Factory(run)
    for stage in ("corpus", "tasks"):
        factory.do(stage)
    for prompt in islice(factory.composed(), count):
        blanks = ", ".join(f"{key}: {value}" for key, value in prompt.blanks.items())
        click.echo(
            f"--- {prompt.id} {prompt.family}, {prompt.language}, template {prompt.template}; {blanks}\n{prompt.text}\n"
        )
