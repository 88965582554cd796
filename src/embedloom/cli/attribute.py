"""`embedloom attribute`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from embedloom.search.attribute import Attribution


@click.command("attribute")
@click.argument("index")
@click.option("--model", required=True, help="The model that made the index; another one is refused.")
@click.option("--text", required=True, type=click.File(encoding="utf-8"), help="The text; - reads it.")
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Cosine of a source; if left out, the index's own.")
@click.option("--instruction", help="What a sentence of the text is to the model.")
@click.option("-k", "--documents", type=click.IntRange(min=1), default=5, show_default=True, help="For a sentence.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a sentence.")
def command(
    index: str,
    model: str,
    text: TextIO,
    threshold: float | None,
    instruction: str | None,
    documents: int,
    as_json: bool,
) -> None:
    """Prints for each sentence of a text the spans of INDEX's documents that support it, or that there are none."""
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.errors import DataError
    from embedloom.records import dumps
    from embedloom.search.attribute import INSTRUCTION, attribute
    from embedloom.search.calibration import measured_threshold, stored_threshold
    from embedloom.search.index import open_index

    try:
        content = text.read()
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", text.name) from None
    opened = open_index(index)
    embedder = open_embedder(model, notice=notice)
    used = INSTRUCTION if instruction is None else instruction
    if threshold is None:
        opened.check(embedder)
        threshold = stored_threshold(opened, instruction=used)
    if threshold is None:
        threshold = measured_threshold(opened, embedder, instruction=used)
        notice(f"threshold {threshold:.3f}, measured on the index and kept with it; --threshold takes another")
    for found in attribute(content, opened, embedder, threshold=threshold, k=documents, instruction=used):
        if as_json:
            click.echo(dumps(found))
        else:
            _show(found)


def _show(found: Attribution) -> None:
    click.echo(" ".join(found.sentence.split()))
    for source in found.sources:
        place = f"{source.document_id}:{source.start}-{source.end}"
        click.echo(f"  {source.score:.3f}  {place}  {' '.join(source.text.split())}")
    if not found.sources:
        click.echo(f"  no source found (best {found.best:.3f})")
