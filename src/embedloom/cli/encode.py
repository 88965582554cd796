"""`embedloom encode`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("encode")
@click.argument("model")
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="The Parquet file to write.")
@click.option("--role", type=click.Choice(["document", "query"]), default="document", show_default=True)
@click.option("--instruction", default="", help="What queries are for.")
@click.option("--field", default="text", show_default=True, help="Key or column of the text.")
@click.option("--dimensions", type=click.IntRange(min=1), help="Keep the first so many, renormalised (Matryoshka).")
@click.option("--precision", type=click.Choice(["float32", "float16", "int8"]), default="float32", show_default=True)
@click.option("--with-text", is_flag=True, help="Write the texts, too.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Who encodes.")
@click.option("--address", default="", help="Of a Ray cluster; without, one is started on this machine.")
@click.option("--workers", type=click.IntRange(min=1), help="Ray actors; one a GPU, or a processor, if left out.")
@click.option("--block", type=click.IntRange(min=1), default=1024, show_default=True, help="Texts written together.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens read of a text, instead of the model's own.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, and what a command with other settings left for it.")
def command(
    model: str,
    source: Path,
    out: Path,
    role: str,
    instruction: str,
    field: str,
    dimensions: int | None,
    precision: str,
    with_text: bool,
    engine: str,
    address: str,
    workers: int | None,
    block: int,
    dtype: str,
    max_length: int | None,
    overwrite: bool,
) -> None:
    """Encodes the texts of INPUT into a Parquet file: id, vector, and in its metadata which model made them.

    INPUT is JSON lines, Parquet or one text a line. A command that was cut off goes on where it stopped. With
    --engine ray the texts are encoded by a cluster, whose machines must all find INPUT and MODEL.
    """
    from functools import partial

    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import bar, notice
    from embedloom.scale.encode import encode_file, encode_here, vectors_of
    from embedloom.scale.texts import text_places

    total = sum(place.rows for place in text_places(source, block))
    embedder = open_embedder(model, dtype=dtype, max_length=max_length, notice=notice)
    told = vectors_of(
        embedder, role=role, instruction=instruction, dimension=dimensions, precision=precision, texts=with_text
    )
    if engine == "ray":
        from embedloom.scale.ray_engine import encode_on_ray

        del embedder
        opened = partial(open_embedder, _findable(model), dtype=dtype, max_length=max_length)
        chosen = encode_on_ray(opened, address=address, workers=workers)
    else:
        chosen = encode_here(embedder)
    with bar("encode", total, unit="texts") as advance:
        done = encode_file(
            source, out, told, chosen, field=field, block_size=block, overwrite=overwrite, progress=advance
        )
    before = done.rows - done.encoded
    click.echo(f"{done.rows} vectors in {out}" + (f"; {before} of them were there already" if before else ""))


def _findable(model: str) -> str:
    """The name of a model as a process that runs in another folder reads it."""
    scheme, colon, rest = model.partition(":")
    if colon and scheme != "path":
        return model
    return str(Path(rest if colon else model).expanduser().resolve())
