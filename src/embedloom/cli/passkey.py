"""`embedloom passkey`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from embedloom.evals.passkey_curve import PasskeyScore
    from embedloom.model.encoder import Encoder
    from embedloom.model.positions import Positions


class Listed(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Values with commas between."""

    def __init__(self, kind: Callable[[str], Any], name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The values of a text; what was converted already stays."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part.strip()) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: expected {self.name} with commas between", param, ctx)


def _scaling(text: str) -> tuple[str, float]:
    kind, _, factor = text.partition(":")
    return kind, float(factor)


@click.command("passkey")
@click.argument("model")
@click.option(
    "--lengths",
    type=Listed(int, "lengths"),
    default="256,512,1024,2048,4096",
    show_default=True,
    help="Tokens of a document.",
)
@click.option("--languages", type=Listed(str, "codes"), default="en", show_default=True, help="Of the texts.")
@click.option("--documents", type=int, default=100, show_default=True, help="Documents a length.")
@click.option("--queries", type=int, default=50, show_default=True, help="Queries a length.")
@click.option("--rotary-base", type=Listed(float, "numbers"), help="Of the global layers, or of all.")
@click.option("--local-rotary-base", type=Listed(float, "numbers"), help="Of the layers with a sliding window.")
@click.option("--rotary-scaling", type=Listed(_scaling, "KIND:FACTOR"), help="linear, dynamic or yarn, as in linear:4.")
@click.option("--window", type=Listed(int, "numbers"), help="Tokens that a layer with a sliding window sees.")
@click.option("--instruction", help="Instead of the table's; '' for none.")
@click.option("--seed", default=0, show_default=True, help="Of persons, keys and places.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="passkey.jsonl",
    show_default=True,
    help="Scores; beside them a page and a picture of the curve.",
)
def command(
    model: str,
    lengths: tuple[int, ...],
    languages: tuple[str, ...],
    documents: int,
    queries: int,
    rotary_base: tuple[float, ...] | None,
    local_rotary_base: tuple[float, ...] | None,
    rotary_scaling: tuple[tuple[str, float], ...] | None,
    window: tuple[int, ...] | None,
    instruction: str | None,
    seed: int,
    dtype: str,
    out: Path,
) -> None:
    """Measures how long a text MODEL can tell apart: whose document names the person that a query asks for.

    Positions are changed in the loaded model, without training: every combination of the values given, after the model
    as it was trained. What is in the file already isn't measured again, so that an interrupted sweep goes on.
    """
    from embedloom.cli.progress import notice
    from embedloom.evals.passkey_curve import PasskeyScore, passkey_page, passkey_picture
    from embedloom.model.attention import use_windowed_attention
    from embedloom.model.encoder import open_encoder
    from embedloom.model.names import model_folder
    from embedloom.run import RecordLog, atomic_file, read_records

    changes = _changes(rotary_base, local_rotary_base, rotary_scaling, window)
    encoder = open_encoder(model_folder(model, notice), name=model, dtype=dtype, max_length=max(lengths))
    use_windowed_attention(encoder.backbone)
    with RecordLog(out) as log:
        known = {score.id: score for score in read_records(out, PasskeyScore)}
        for score in _sweep(encoder, changes, lengths, languages, documents, queries, seed, instruction, set(known)):
            log.append([score])
            known[score.id] = score
            low, high = score.interval
            click.echo(
                f"{score.setting:<32} {score.language} {score.length:>7,}  {score.value:.2f}  [{low:.2f}, {high:.2f}]  "
                f"{score.seconds:,.0f} s"
            )
    for end, text in ((".html", passkey_page), (".svg", passkey_picture)):
        with atomic_file(out.with_suffix(end)) as file:
            file.write(text(list(known.values())))


def _sweep(
    encoder: Encoder,
    changes: list[Positions],
    lengths: tuple[int, ...],
    languages: tuple[str, ...],
    documents: int,
    queries: int,
    seed: int,
    instruction: str | None,
    known: set[str],
) -> Iterator[PasskeyScore]:
    """Scores that are not known yet: short lengths first, so that all settings can soon be compared."""
    import dataclasses
    import resource
    import sys

    from embedloom.cli.progress import bar
    from embedloom.evals.instructions import instruction_for
    from embedloom.evals.passkey import evaluate_passkey, make_passkey_set
    from embedloom.evals.passkey_curve import PasskeyScore
    from embedloom.model.inputs import token_ids
    from embedloom.model.positions import changed_positions

    whole = dataclasses.replace(encoder.contract, max_length=1 << 30)
    # What the system counts memory in.
    unit = 1 if sys.platform == "darwin" else 1024
    sentence = instruction_for("passkey", "retrieval", instruction)
    total = len(changes) * len(lengths) * len(languages) * (documents + queries)
    with bar("passkey", total, unit="texts") as advance:
        for length, language in product(sorted(lengths), languages):
            made = make_passkey_set(
                length,
                lambda texts: [len(ids) for ids in token_ids(texts, encoder.tokenizer, whole)],
                documents=documents,
                queries=queries,
                language=language,
                seed=seed,
            )
            for change in changes:
                with changed_positions(encoder.backbone, change) as held:
                    asked = PasskeyScore(
                        model=encoder.name,
                        length=length,
                        language=language,
                        value=0.0,
                        interval=(0.0, 0.0),
                        documents=documents,
                        queries=queries,
                        setting=change.label,
                        **dataclasses.asdict(held),
                        tokens=sum(made.tokens) / len(made.tokens),
                        fingerprint=encoder.fingerprint,
                        instruction=sentence,
                        seed=seed,
                    )
                    if asked.id in known:
                        advance(documents + queries)
                        continue
                    advance.note = f"{change.label}, {length:,} tokens"
                    found = evaluate_passkey(encoder, made, instruction=instruction, progress=advance)
                yield dataclasses.replace(
                    asked,
                    value=found.accuracy.value,
                    interval=found.accuracy.interval,
                    seconds=round(found.seconds, 2),
                    peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
                )


def _changes(
    bases: tuple[float, ...] | None,
    local_bases: tuple[float, ...] | None,
    scalings: tuple[tuple[str, float], ...] | None,
    windows: tuple[int, ...] | None,
) -> list[Positions]:
    """The model as it was trained, then every combination of the values given."""
    from embedloom.model.positions import Positions

    nothing: tuple[None] = (None,)
    combined = product(bases or nothing, local_bases or nothing, scalings or nothing, windows or nothing)
    asked = [
        Positions(base, local, scaling[0] if scaling else None, scaling[1] if scaling else None, window)
        for base, local, scaling, window in combined
    ]
    return list(dict.fromkeys([Positions(), *asked]))
