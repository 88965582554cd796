"""`embedloom train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from embedloom.cli.pipeline import Run
    from embedloom.model.shape import Shape

NAMES = {"lora": "LoRA", "qlora": "QLoRA"}


@click.command("train")
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...", type=click.Path(path_type=Path))
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Changes one setting, as in train.epochs=2."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if left out.")
@click.option("--estimate", is_flag=True, help="Print parameters, memory, work and hours; train nothing.")
@click.option("--rows", type=click.IntRange(min=1), help="Estimate for so many rows, not those of the run.")
@click.option("--tokens", type=click.FloatRange(min=1), help="Estimate for so many tokens a row, negatives included.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="Estimate hours on so many.")
def command(
    recipes: tuple[Path, ...],
    settings: tuple[str, ...],
    out: Path | None,
    estimate: bool,
    rows: int | None,
    tokens: float | None,
    devices: int,
) -> None:
    """Does every stage of a recipe up to the training, and stops there; or tells what the training will cost.

    The run folder is the one of `embedloom run`, which goes on from it.
    """
    from embedloom.cli.pipeline import Run
    from embedloom.cli.run import command as whole
    from embedloom.recipe import load_recipe
    from embedloom.run import RunFolder

    if not estimate:
        asked = (("--rows", rows), ("--tokens", tokens), ("--devices", devices if devices > 1 else None))
        if given := [name for name, value in asked if value is not None]:
            raise click.UsageError(f"{given[0]} is for --estimate: without that, the training would begin")
        click.get_current_context().invoke(whole, recipes=recipes, settings=settings, out=out, until="train")
        return
    recipe = load_recipe(recipes, settings)
    run = Run(recipe, RunFolder(out or Path("runs") / recipe.name))
    for line in _told(run, rows, tokens, devices):
        click.echo(line)


def _told(run: Run, rows: int | None, tokens: float | None, devices: int) -> list[str]:
    from embedloom.cli.expecting import UNMADE_TEXTS, Expected, expected_rows
    from embedloom.train.estimate import (
        DEVICES,
        EFFICIENCY,
        GIB,
        GRAPH_SHARE,
        Cost,
        graph_bytes,
        graph_room,
        training_cost,
    )

    settings = run.recipe.train
    shape = _shape(settings.base)
    if rows and tokens:
        found = Expected(rows, tokens, UNMADE_TEXTS, "as given")
    else:
        found = expected_rows(run, count_tokens=tokens is None)
        if tokens:
            found = replace(found, tokens=tokens, told="as given")
    count, mean = rows or found.rows, found.tokens
    steps = max(1, round(settings.epochs * count / settings.batch_size))
    steps = min(steps, settings.max_steps or steps)

    def cost(graph_tokens: int) -> Cost:
        return training_cost(
            shape,
            rows=count,
            tokens_per_row=mean,
            steps=steps,
            batch_size=settings.batch_size,
            text_tokens=min(settings.max_length, mean / found.texts),
            rank=settings.lora_rank,
            item_bytes=2,
            pass_tokens=settings.token_budget or settings.max_length,
            graph_tokens=settings.graph_tokens or graph_tokens,
            full=settings.method == "full",
            again=settings.checkpoint_layers,
            four_bits=settings.method == "qlora",
            runs=settings.runs,
        )

    least = cost(0)
    averaged = f", in {settings.runs} trainings that are averaged" if settings.runs > 1 else ""
    how_trained = "all" if settings.method == "full" else f"{NAMES[settings.method]} rank {settings.lora_rank}"
    lines = [
        f"base      {settings.base}: {least.parameters / 1e6:,.0f}M parameters, {least.trained / 1e6:,.1f}M trained "
        f"({how_trained})",
        f"data      {count:,} rows, {mean:,.0f} tokens a row ({found.told})",
        f"steps     {least.steps:,} of {settings.batch_size:,} rows: {least.tokens / 1e6:,.1f}M tokens{averaged}",
        f"memory    from {least.memory_bytes / GIB:,.1f} GiB in 16 bits: weights {least.weight_bytes / GIB:,.1f}, "
        f"what is trained with its optimizer {least.training_bytes / GIB:,.2f}, the graph of one text "
        f"{least.pass_bytes / GIB:,.1f}",
        f"time      if {EFFICIENCY:.0%} of the peak is reached; graphs beyond {GRAPH_SHARE:.0%} of the memory "
        "beside the weights are computed twice",
    ]
    resident, each = least.weight_bytes + least.training_bytes, graph_bytes(shape, 2, again=settings.checkpoint_layers)
    for name, (tflops, memory) in DEVICES.items():
        alone = resident < 0.9 * memory * GIB
        room = devices * graph_room(memory * GIB, resident, sharded=not alone)
        here = cost(int(room / each))
        fits = "" if alone else ", sharded: it does not fit on one"
        hours = _duration(here.hours(tflops, devices=devices))
        lines.append(
            f"  {devices} x {name:<9}{hours:>10}  {here.flops / 1e15:,.1f} PFLOP at {tflops:,.0f} TFLOP/s{fits}"
        )
    return lines


def _shape(base: str) -> Shape:
    from embedloom.model.names import model_folder
    from embedloom.model.shape import known_shape, read_shape

    return known_shape(base) or read_shape(model_folder(base, weights=False))


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:,.1f} min" if hours * 60 >= 1 else f"{hours * 3600:,.0f} s"
