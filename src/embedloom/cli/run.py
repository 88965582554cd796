"""`embedloom run`."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embedloom.cli.pipeline import Run
    from embedloom.records import Prompt

STAGES = (
    "corpus",
    "tasks",
    "compose",
    "generate",
    "parse",
    "curate",
    "mix",
    "mine",
    "card",
    "train",
    "eval",
    "index",
    "search",
    "report",
)

OWN_TEXTS = {
    "family": "grounded",
    "instruction": "Given the title or summary of a text, retrieve the text",
    "passage_name": "Text",
    "query_name": "What it is about, in a few words",
}
"""The task for a user's own texts: the one that known-item search is measured with."""


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

    Started by torchrun or accelerate launch, the processes share the training; the first one does the other stages.
    """
    from embedloom.cli.pipeline import Run
    from embedloom.cli.several import together, wanted
    from embedloom.cli.tuning import train_together
    from embedloom.recipe import load_recipe
    from embedloom.run import RunFolder

    if corpus is not None:
        own = {
            "name": Path(corpus).resolve().name,
            "corpus.source": corpus,
            "search.queries": [],
            "search.instruction": "",
        }
        task = ", ".join(f"{key} = {json.dumps(value)}" for key, value in OWN_TEXTS.items())
        changes = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in own.items()]
        settings = (*changes, f"tasks=[{{ {task} }}]", *settings)
    with together() as processes:
        follows = processes is not None and not processes.first
        if processes is not None and follows and not wanted(processes):
            return
        recipe = load_recipe(recipes, settings)
        run = Run(recipe, RunFolder(out or Path("runs") / recipe.name), processes)
        if follows:
            train_together(run)
            return
        with run.folder.locked():
            run.record()
            if dry_run is None:
                do_stages(run, until)
            else:
                show_prompts(run, dry_run)
        if processes is not None:
            processes.dismiss()


def do_stages(run: Run, until: str) -> None:
    """Every stage of a run that is missing, up to one and with it."""
    from embedloom.cli.describing import card
    from embedloom.cli.factory import Factory
    from embedloom.cli.measure import build_index, measure, search
    from embedloom.cli.mining import mine_negatives
    from embedloom.cli.mixing import mix
    from embedloom.cli.reporting import report
    from embedloom.cli.tuning import tune

    wanted = STAGES[: STAGES.index(until) + 1]
    factory = Factory(run)
    for stage in ("corpus", "tasks", "compose", "generate", "parse", "curate"):
        if stage in wanted:
            factory.do(stage)
    factory.close()
    later = {"mix": mix, "mine": mine_negatives, "card": card, "train": tune, "eval": measure}
    later |= {"index": build_index, "search": search, "report": report}
    for stage, work in later.items():
        if stage in wanted:
            work(run)


def show_prompts(run: Run, count: int) -> None:
    """Prints prompts without asking anything: those of step 1 as long as the pool of tasks is not there."""
    from embedloom.cli.factory import Factory

    factory = Factory(run)
    factory.do("corpus")
    if unknown := factory.task_prompts():
        prompts: Iterable[Prompt] = unknown
    else:
        factory.do("tasks")
        prompts = factory.composed()
    for prompt in islice(prompts, count):
        blanks = ", ".join(f"{key}: {value}" for key, value in prompt.blanks.items())
        click.echo(
            f"--- {prompt.id} {prompt.family}, {prompt.language}, template {prompt.template}; {blanks}\n{prompt.text}\n"
        )
