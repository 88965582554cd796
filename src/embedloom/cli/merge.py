"""`embedloom merge`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("merge")
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(["linear", "slerp"]), default="linear", show_default=True)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=float,
    help="A model's share, in their order; the last may be left out: it gets the rest to 1. Equal if none is given.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the new model.")
@click.option("--overwrite", is_flag=True, help="Replace a checkpoint that stands there.")
def command(models: tuple[Path, ...], method: str, weights: tuple[float, ...], out: Path, overwrite: bool) -> None:
    """Merges checkpoints of one architecture, tokenizer and input contract into a new one.

    Each MODEL is the model folder of a run. linear is the mean of their weights, slerp goes along the arc between
    them. The new folder has its own fingerprint, names its parents, and reads texts as long as the longest of theirs.
    """
    from embedloom.cli.progress import bar
    from embedloom.errors import ModelError
    from embedloom.model.encoder import CHECKPOINT_FILE
    from embedloom.train.merge import merge, open_parents

    if out.resolve() in {model.resolve() for model in models}:
        raise ModelError(f"{out} is one of the models to merge; choose another --out")
    if out.exists() and not (out / CHECKPOINT_FILE).exists():
        raise ModelError(f"{out} is there and no checkpoint; choose another --out")
    if out.exists() and not overwrite:
        raise ModelError(f"a checkpoint stands at {out}; add --overwrite, or choose another --out")
    parents = open_parents(models, weights)
    with bar("merge", len(parents[0].shapes), unit="tensors") as advance:
        identity = merge(parents, out, method=method, progress=advance)
    click.echo(f"fingerprint: {identity}")
    click.echo(f"{out}; prove it with: embedloom check {out}")
