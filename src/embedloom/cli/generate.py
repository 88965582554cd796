"""`embedloom generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedloom.cli.factory import Factory
    from embedloom.records import Prompt, Task

STAGES = ("corpus", "tasks", "compose", "generate")


@click.command("generate")
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...", type=click.Path(path_type=Path))
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Changes one setting, as in llm.concurrency=256."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name> if left out.")
@click.option("--estimate", is_flag=True, help="Print prompts, tokens, cost and time; ask nothing.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Output tokens a second, for the time.")
@click.option("--tokenizer", metavar="MODEL", help="Count tokens as this model does, such as registry:gemma3-270m.")
@click.option("--dry-run", type=click.IntRange(min=1), metavar="N", help="Print N prompts; ask nothing.")
def command(
    recipes: tuple[Path, ...],
    settings: tuple[str, ...],
    out: Path | None,
    estimate: bool,
    rate: float | None,
    tokenizer: str | None,
    dry_run: int | None,
) -> None:
    """Asks the language model of a recipe for everything that has no reply on disk yet, and stops there.

    The run folder is the one of `embedloom run`, which goes on from it.
    """
    from embedloom.cli.factory import Factory
    from embedloom.cli.pipeline import Run
    from embedloom.cli.run import show_prompts
    from embedloom.recipe import load_recipe
    from embedloom.run import RunFolder

    if given := [name for name, value in (("--rate", rate), ("--tokenizer", tokenizer)) if value and not estimate]:
        raise click.UsageError(f"{given[0]} is for --estimate: without that, the language model would be asked")
    recipe = load_recipe(recipes, settings)
    run = Run(recipe, RunFolder(out or Path("runs") / recipe.name))
    with run.folder.locked():
        run.record()
        factory = Factory(run)
        if estimate:
            _tell(factory, rate, tokenizer)
        elif dry_run is not None:
            show_prompts(run, dry_run)
        else:
            for stage in STAGES:
                factory.do(stage)


def _tell(factory: Factory, rate: float | None, tokenizer: str | None) -> None:
    """Prints the estimate. Tasks that are not brainstormed yet are stood in for by those that the prompts show."""
    from embedloom.cli.asking import answers
    from embedloom.llm.budget import Prices
    from embedloom.llm.estimate import ASSUMED_SHARE, estimate, reply_shares

    factory.do("corpus")
    first = factory.task_prompts()
    if first:
        tasks: list[Task] | None = factory.stand_ins()
    else:
        factory.do("tasks")
        tasks = None
    written = {
        reply.prompt_id: reply.output_tokens for reply in answers(factory.run, factory.run.folder / "generations.jsonl")
    }
    shares = reply_shares(factory.composed(tasks), written) if written else {}
    count, how = _counter(factory, tokenizer)
    before = 0

    def left() -> Iterator[Prompt]:
        nonlocal before
        yield from first
        for prompt in factory.composed(tasks):
            if prompt.id in written:
                before += 1
            else:
                yield prompt

    found = estimate(left(), count, shares)
    llm = factory.recipe.llm
    prices = Prices(llm.price_input, llm.price_output)
    about, most = found.cost(prices)
    step = f", {len(first):,} of them to brainstorm tasks" if first else ""
    answered = f"; {before:,} are answered" if written else ""
    click.echo(f"prompts     {found.prompts:,}{step}{answered}")
    click.echo(f"tokens in   {found.input_tokens:,} ({how})")
    share = "by the replies so far" if shares else f"at {ASSUMED_SHARE:.0%} of what the requests allow"
    click.echo(f"tokens out  {found.output_tokens:,} ({share}), at most {found.most_output_tokens:,}")
    if prices.input or prices.output:
        priced = f"{prices.input:g} in and {prices.output:g} out a million"
        click.echo(f"cost        {about:,.2f}, at most {most:,.2f} ({priced})")
    else:
        click.echo("cost        set llm.price_input and llm.price_output (money for a million tokens) to see it")
    if rate:
        hours = found.output_tokens / rate / 3600
        click.echo(f"time        {hours:,.2f} hours at {rate:g} output tokens a second")
    else:
        click.echo("time        give --rate (output tokens a second of all servers together) to see it")


def _counter(factory: Factory, tokenizer: str | None) -> tuple[Callable[[str], int], str]:
    from embedloom.llm.chat import estimated_tokens

    name = tokenizer or factory.recipe.llm.model.partition("local:")[2]
    if not name:
        return estimated_tokens, "taken as a quarter of the bytes; --tokenizer counts them"
    from embedloom.model.backbone import load_tokenizer
    from embedloom.model.names import model_folder

    loaded = load_tokenizer(model_folder(name, weights=False))
    return lambda text: len(loaded(text, verbose=False)["input_ids"]), f"as {name} counts"
