"""`embedloom batch`: a recipe's prompts as Batch-API files, and the results back into its run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from embedloom.cli.factory import Factory
    from embedloom.records import Prompt, Reject

_GROUP = 1000


def _options(function: Any) -> Any:
    shared = (
        click.option(
            "--with",
            "more",
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="RECIPE",
            help="A further recipe on top of it; may be repeated.",
        ),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Changes one setting."),
        click.option("--run", "place", type=click.Path(path_type=Path), help="Run folder; runs/<name> if left out."),
    )
    for option in shared:
        function = option(function)
    return function


@click.group("batch")
def command() -> None:
    """Generates through Batch-API files in place of requests: export, have them answered, import."""


@command.command("export")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the request files.")
@click.option("--max-requests", default=50_000, type=click.IntRange(min=1), help="Requests a file.", show_default=True)
@click.option("--max-bytes", default=200_000_000, type=click.IntRange(min=1), help="Bytes a file.", show_default=True)
@_options
def export(
    recipe: Path,
    out: Path,
    max_requests: int,
    max_bytes: int,
    more: tuple[Path, ...],
    settings: tuple[str, ...],
    place: Path | None,
) -> None:
    """Writes request files for every prompt of RECIPE that has no reply in its run folder.

    A recipe that brainstorms tasks takes two rounds: the first asks for the tasks. Import the results of one export
    before the next, or their prompts are written again.
    """
    from embedloom.cli.asking import answers
    from embedloom.llm.batch import write_requests
    from embedloom.llm.chat import ChatSettings

    factory = _factory([recipe, *more], settings, place)
    llm = factory.recipe.llm
    with factory.run.folder.locked():
        factory.run.record()
        prompts, log, what = _round(factory)
        done = {reply.prompt_id for reply in answers(factory.run, log)}
        count = 0

        def missing() -> Iterator[Prompt]:
            nonlocal count
            for prompt in prompts:
                if prompt.id not in done:
                    count += 1
                    yield prompt

        chat = ChatSettings(llm.model.partition(":")[2], llm.temperature, llm.top_p, llm.extra)
        paths = write_requests(
            missing(),
            out,
            settings=chat,
            seed=factory.recipe.seed,
            reply_format="plain" if llm.json_schema == "off" else "schema",
            most_requests=max_requests,
            most_bytes=max_bytes,
        )
    for path in paths:
        click.echo(f"{path}")
    click.echo(f"{count:,} {what} in {len(paths)} files", err=True)


@command.command("import")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("results", nargs=-1, required=True, metavar="RESULT...", type=click.Path(path_type=Path))
@_options
def import_results(
    recipe: Path, results: tuple[Path, ...], more: tuple[Path, ...], settings: tuple[str, ...], place: Path | None
) -> None:
    """Reads result and error files into the run folder of RECIPE, in whatever order they come.

    Rows that can't be used and prompts without a reply go to rejects/batch.jsonl, counted by reason; exporting again
    writes just those prompts.
    """
    from embedloom.cli.asking import answers, own_log
    from embedloom.llm.batch import read_results
    from embedloom.records import Generation
    from embedloom.run import write_records

    factory = _factory([recipe, *more], settings, place)
    run = factory.run
    with run.folder.locked():
        prompts, log_path, what = _round(factory)
        done = {reply.prompt_id for reply in answers(run, log_path)}
        ids = {prompt.id: None for prompt in prompts}
        rejects: list[Reject] = []
        group: list[Generation] = []
        imported = 0
        with own_log(run, log_path) as log:
            name = f"openai:{factory.recipe.llm.model.partition(':')[2]}"
            for row in read_results(results, ids.keys(), name, answered=done):
                if isinstance(row, Generation):
                    group.append(row)
                    if len(group) == _GROUP:
                        log.append(group)
                        imported, group = imported + len(group), []
                else:
                    rejects.append(row)
            log.append(group)
            imported += len(group)
        write_records(run.folder / "rejects/batch.jsonl", rejects)
    click.echo(f"{imported:,} replies imported; {len(ids) - len(done) - imported:,} of {len(ids):,} {what} have none")
    for rule, count in Counter(reject.rule for reject in rejects).most_common():
        click.echo(f"  {count:,} {rule}")


def _factory(paths: Sequence[Path], settings: Sequence[str], place: Path | None) -> Factory:
    from embedloom.cli.factory import Factory
    from embedloom.cli.pipeline import Run
    from embedloom.errors import RecipeError
    from embedloom.recipe import load_recipe
    from embedloom.run import RunFolder

    recipe = load_recipe(paths, settings)
    if not recipe.llm.model.startswith(("openai:", "batch:")):
        raise RecipeError(f"llm.model is {recipe.llm.model!r}; batch files are for batch:MODEL or openai:MODEL")
    return Factory(Run(recipe, RunFolder(place or Path("runs") / recipe.name)))


def _round(factory: Factory) -> tuple[Iterable[Prompt], Path, str]:
    """The prompts of this round (those of step 1 while tasks are missing), the log of their replies, and their name."""
    from embedloom.cli.asking import PromptFile
    from embedloom.cli.factory import TASK_LOG

    factory.do("corpus")
    folder = factory.run.folder
    first, every = factory.task_prompts(), factory.all_task_prompts()
    if first and (len(first) == len(every) or factory.recipe.llm.incomplete == "stop"):
        return every, folder / TASK_LOG, "task prompts"
    for stage in ("tasks", "compose"):
        factory.do(stage)
    return PromptFile(folder / "prompts.jsonl"), folder / "generations.jsonl", "prompts"
