"""The data card of a run or of any training rows, and the rows as a data set for others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.curating import CURATED, EXAMPLES, checks_language, evaluation_sets
from embedloom.cli.pipeline import Run
from embedloom.cli.progress import notice
from embedloom.errors import DataError
from embedloom.records import Example, Prompt, Reject
from embedloom.run import atomic_file, atomic_folder, read_records

if TYPE_CHECKING:
    from embedloom.curate.card import Card
    from embedloom.curate.yields import Yields

PAGE, TEXT = "data.html", "data.md"
TRAIN = "train.jsonl"
SHOWN_CONTAMINATED = 10
DATA_SET_CARD = "README.md"
_SHARD = re.compile(r"data/train-\d+-of-\d+\.parquet")


def card(run: Run) -> None:
    """Writes `data.html` and `data.md`: of the curated rows, or of the training rows where nothing was generated."""

    def work() -> dict[str, Any]:
        made = _card(run)
        write_card(made, run.folder.path)
        _tell(made)
        return {"rows": made.description.all.rows} | ({"yields": made.yields.to_json()} if made.yields else {})

    rejects = ["rejects/parse.jsonl", "rejects/curate.jsonl"]
    told = {"generate": run.recipe.generate.model_dump(), "curate": run.recipe.curate.model_dump(exclude={"processes"})}
    inputs = ["prompts.jsonl", EXAMPLES, CURATED, TRAIN, *rejects]
    run.stage("card", settings=told, inputs=inputs, files=[PAGE, TEXT], work=work)


def write_card(made: Card, folder: Path) -> None:
    """Writes the page and the text to a folder."""
    from embedloom.curate.card import card_html, card_markdown

    for name, text in ((PAGE, card_html(made)), (TEXT, card_markdown(made))):
        with atomic_file(folder / name) as file:
            file.write(text)


def rows_of(name: str) -> Iterator[Example]:
    """Training rows by name: a run folder (its curated rows, else its training rows), a JSONL file, or a sample.

    Raises:
        DataError: there is no such thing, or a row is malformed.
    """
    from embedloom.data.training_rows import read_source

    folder = Path(name)
    if not folder.is_dir():
        yield from read_source(name)
        return
    for file in (CURATED, TRAIN):
        if (folder / file).exists():
            yield from read_records(folder / file, Example)
            return
    raise DataError(f"neither {CURATED} nor {TRAIN} here; expected the folder of a run", folder)


def export(name: str, out: Path) -> int:
    """Writes rows as a folder that `datasets.load_dataset` reads: Parquet files, and a card with its head in YAML.

    Args:
        name: as for `rows_of`.
        out: the folder; an earlier export is replaced.

    Returns:
        How many rows were written.

    Raises:
        DataError: there are no such rows, or `out` holds what no export wrote.
    """
    if (foreign := _foreign(out)) is not None:
        raise DataError(f"holds {foreign!r}, which no export wrote; choose another --out, or empty that folder", out)
    from embedloom.curate.card import Card, card_html, card_markdown
    from embedloom.curate.description import describe
    from embedloom.data.parquet import write_parquet

    title = Path(name).resolve().name if Path(name).exists() else name
    described = Card(title, describe(rows_of(name)))
    with atomic_folder(out) as folder:
        count = write_parquet(rows_of(name), folder / "data")
        (folder / DATA_SET_CARD).write_text(_head(described) + card_markdown(described), encoding="utf-8")
        (folder / PAGE).write_text(card_html(described), encoding="utf-8")
    return count


def _foreign(out: Path) -> str | None:
    """Something in a folder that no export wrote; None if it may be replaced."""
    if not out.is_dir():
        return out.name if out.exists() else None
    there = [path.relative_to(out).as_posix() for path in (*out.iterdir(), *(out / "data").glob("*"))]
    own = {DATA_SET_CARD, PAGE, "data", *(name for name in there if _SHARD.fullmatch(name))}
    # Anybody's folder may have a README.md and a folder of data: an export has its page, too.
    return next((name for name in sorted(there) if name not in own or PAGE not in there), None)


def _card(run: Run) -> Card:
    from embedloom.curate.card import Card, parameters_of
    from embedloom.curate.description import describe

    counts = {name: count for name, count in run.recipe.generate.counts.items() if count}
    if not counts:
        return Card(run.recipe.name, describe(_read(run, TRAIN, Example)))
    model = run.recipe.llm.model
    repeated = (one for one in _read(run, "rejects/curate.jsonl", Reject) if one.rule == "in-evaluation")
    return Card(
        title=run.recipe.name,
        description=describe(_read(run, CURATED, Example)),
        yields=_yields(run),
        plan=counts,
        shares=_shares(run, counts),
        contaminated=[one for one, _ in zip(repeated, range(SHOWN_CONTAMINATED), strict=False)],
        generator=model,
        parameters=parameters_of(model),
        language_checked=checks_language(run.recipe.curate.language),
        compared=[path.name for path in evaluation_sets(run)],
    )


def _yields(run: Run) -> Yields:
    from embedloom.curate.yields import count_yields

    def rejects() -> Iterator[Reject]:
        for stage in ("parse", "curate"):
            yield from _read(run, f"rejects/{stage}.jsonl", Reject)

    prompts, examples = _read(run, "prompts.jsonl", Prompt), _read(run, EXAMPLES, Example)
    return count_yields(prompts, examples, _read(run, CURATED, Example), rejects())


def _shares(run: Run, counts: dict[str, int]) -> dict[str, float]:
    """The share of the rows that each language was planned to have."""
    from embedloom.data.languages import language_name, language_weights

    settings = run.recipe.generate
    weights = language_weights(settings.languages or None)
    whole = sum(weights.values())
    total = sum(counts.values())
    shares: dict[str, float] = {}
    for family, count in counts.items():
        drawn = {language_name(settings.grounded_language): 1.0} if family.startswith("grounded") else weights
        for name, weight in drawn.items():
            shares[name] = shares.get(name, 0.0) + count / total * weight / (1.0 if drawn is not weights else whole)
    return shares


def _tell(made: Card) -> None:
    if made.yields is None:
        return
    for name, row in made.yields.table("family").items():
        planned = row["asked"]
        notice(f"  {name:<13} {row['kept']:>7,} of {planned:,} kept ({100 * row['kept'] / max(planned, 1):.0f} %)")
    if made.small_generator:
        notice("  a small model writes poor examples from nothing: see the data card for what to use instead")


def _head(made: Card) -> str:
    """The YAML head of a data set's card; what comes from data is JSON, which YAML reads."""
    from embedloom.data.languages import languages

    codes = {language.name: language.code for language in languages()}
    spoken = sorted({codes[name] for name in made.description.languages if name in codes})
    lines = [
        "---",
        f"pretty_name: {json.dumps(made.title, ensure_ascii=False)}",
        *(["language:", *(f"- {json.dumps(code)}" for code in spoken)] if spoken else []),
        "task_categories:",
        "- sentence-similarity",
        "- feature-extraction",
        "tags:",
        "- synthetic",
        "- embedloom",
        "size_categories:",
        f"- {_size(made.description.all.rows)}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "---",
        "",
    ]
    return "\n".join(lines) + "\n"


def _size(rows: int) -> str:
    """The hub's class of size."""
    steps = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for limit, name in steps if rows < limit), "1M<n<10M")


def _read(run: Run, name: str, kind: Any) -> Iterable[Any]:
    path = run.folder / name
    return read_records(path, kind) if path.exists() else ()
