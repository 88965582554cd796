"""The command `embedloom`: its verbs, loaded when they are called, and the one place where errors become sentences."""

from __future__ import annotations

import difflib
import importlib
import os
import sys

import click

from embedloom import __version__
from embedloom.cli.ending import ending_of

VERBS = {
    "run": ("embedloom.cli.run", "Does every stage of a recipe that is missing, from corpus to report."),
    "study": ("embedloom.cli.study", "Runs a grid of recipes and compares them: one table, one picture."),
    "card": ("embedloom.cli.card", "Describes training rows on a page: languages, lengths, repetition, samples."),
    "export": ("embedloom.cli.export", "Writes a run's rows as Parquet files with a card, for the datasets library."),
    "mine": ("embedloom.cli.mine", "Gives training rows hard negatives from a corpus."),
    "generate": ("embedloom.cli.generate", "Asks the language model, or tells what that would cost."),
    "batch": ("embedloom.cli.batch", "Generates through Batch-API files: export, import."),
    "train": ("embedloom.cli.train", "Does a recipe's stages up to the training, or tells what that will cost."),
    "eval": ("embedloom.cli.eval", "Measures models on evaluation sets, side by side."),
    "leaderboard": ("embedloom.cli.leaderboard", "Puts results of several evaluations into one report."),
    "passkey": ("embedloom.cli.passkey", "Measures how long a text a model can tell apart, under other positions too."),
    "encode": ("embedloom.cli.encode", "Encodes a file of texts into a file of vectors, here or on a Ray cluster."),
    "index": ("embedloom.cli.index", "Encodes a corpus into a vector index."),
    "search": ("embedloom.cli.search", "Searches an index."),
    "ask": ("embedloom.cli.ask", "Answers a question from an index, citing its passages."),
    "attribute": ("embedloom.cli.attribute", "Finds the sources of a text's sentences in an index."),
    "serve": ("embedloom.cli.serve", "Serves a model over HTTP, with search in an index."),
    "check": ("embedloom.cli.check", "Proves a checkpoint's input contract and parity with sentence-transformers."),
    "merge": ("embedloom.cli.merge", "Merges checkpoints into a new one."),
    "models": ("embedloom.cli.models", "Lists the models that install from the package registry."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are used, so that `--help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; a verb that is none is told with the nearest one."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "see --help for those there are."
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="embedloom")
def cli() -> None:
    """Turn a language model into a text-embedding model, and prove that it got better."""


def main() -> None:
    """Runs the command line. An error that the user can mend is one sentence on standard error and exit status 2."""
    _quiet()
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (Exception, KeyboardInterrupt) as error:
        ending = ending_of(KeyboardInterrupt() if isinstance(error, click.Abort) else error)
        if ending is None:
            raise
        click.echo(ending.sentence, err=True)
        sys.exit(ending.status)


def _quiet() -> None:
    """Libraries' own bars and notices would stand between ours; the user's settings win."""
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }.items():
        os.environ.setdefault(name, value)
