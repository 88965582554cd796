"""`embedloom mine`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedloom.records import Example


@click.command("mine")
@click.argument("rows", metavar="ROWS")
@click.option("--with", "retriever", required=True, metavar="WHAT", help="bm25, a model's name, or an index.")
@click.option("--corpus", metavar="CORPUS", help="Where negatives come from; an index brings its own documents.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSONL file to write.")
@click.option("--negatives", type=click.IntRange(min=1), default=1, show_default=True, help="So many a row.")
@click.option("--first", type=click.IntRange(min=1), default=1, show_default=True, help="Best rank that is taken.")
@click.option("--last", type=click.IntRange(min=1), default=30, show_default=True, help="Worst rank that is taken.")
@click.option(
    "--below",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Largest share of the positive's score that a negative may have; 0 for no limit.",
)
@click.option("--drawn", is_flag=True, help="Draw from the ranks by the seed instead of taking the best.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--known", multiple=True, metavar="SET", help="More known answers: a BEIR folder's qrels, or rows.")
@click.option("--instruction", default="", help="For rows that have none.")
@click.option("--model", default="", help="The model of an index, if it lies elsewhere than when the index was made.")
def command(
    rows: str,
    retriever: str,
    corpus: str | None,
    out: Path,
    negatives: int,
    first: int,
    last: int,
    below: float,
    drawn: bool,
    seed: int,
    known: tuple[str, ...],
    instruction: str,
    model: str,
) -> None:
    """Gives training rows hard negatives: texts of a corpus that rank high for the query and answer nothing.

    ROWS is a file of training rows, or sample:llm-written. CORPUS is a BEIR folder, a file of documents, a run, a
    folder of texts, or a file of training rows, whose positives and negatives are taken. A row keeps the negatives it
    has and is filled up. Left out are the positives of every row with the same query, the answers in the corpus' own
    qrels and in --known, and what scores too close to the positive. The corpus' vectors are kept until the end, so
    that an interrupted call goes on behind them.
    """
    import shutil
    from collections import Counter
    from contextlib import ExitStack

    from embedloom.cli.mining import answers_of_files, searched, searched_index, stream_corpus, told
    from embedloom.cli.progress import bar
    from embedloom.data.document_file import DocumentFile
    from embedloom.data.sources import data_path
    from embedloom.errors import DataError
    from embedloom.run import RunFolder, write_records
    from embedloom.search.mine import mine

    if first > last:
        raise click.UsageError(f"--first {first} is behind --last {last}")
    examples = _Rows(rows, instruction)
    count = sum(1 for _ in examples)
    if not count:
        raise DataError(f"{rows}: no training rows")
    index = _is_index(retriever)
    if index and corpus is not None:
        raise click.UsageError("an index brings its own documents; leave out --corpus")
    if not index and corpus is None:
        raise click.UsageError("Missing option '--corpus'; rows can be their own corpus: --corpus ROWS")
    if corpus is not None:
        data_path(corpus)  # a name that leads nowhere leaves no folder behind
    work = RunFolder(out.with_name(f".{out.name}.mining"))
    counts: Counter[str] = Counter()
    with work.locked(), ExitStack() as stack:
        if corpus is None:
            opened = searched_index(Path(retriever), model)
        else:
            write_records(work / "corpus.jsonl", stream_corpus(corpus))
            file = stack.enter_context(DocumentFile(work / "corpus.jsonl"))
            opened = searched(retriever, file, work / "corpus.jsonl", work.path)
        with bar("mine", count, unit="rows") as advance:
            mined = mine(
                examples,
                opened.retriever,
                opened.documents,
                negatives=negatives,
                first=first,
                last=last,
                below=below or None,
                drawn=drawn,
                seed=seed,
                known=answers_of_files([*_judged(corpus), *known], opened.documents),
                counts=counts,
                progress=advance,
            )
            write_records(out, mined)
        shutil.rmtree(work.path)
    click.echo(told(counts))
    click.echo(out)


class _Rows:
    """Training rows that are read anew each time, so that they need no memory."""

    def __init__(self, name: str, instruction: str) -> None:
        self.name, self.instruction = name, instruction

    def __iter__(self) -> Iterator[Example]:
        from embedloom.data.training_rows import read_source

        return read_source(self.name, instruction=self.instruction)


def _is_index(name: str) -> bool:
    from embedloom.search.table import TABLE

    return (Path(name) / f"{TABLE}.lance").is_dir()


def _judged(corpus: str | None) -> list[str]:
    """The corpus' own folder, if it has queries and qrels."""
    from embedloom.data.beir import is_beir
    from embedloom.data.sources import data_path

    if corpus is None:
        return []
    folder = data_path(corpus)
    judged = is_beir(folder) and any((folder / "qrels").glob("*.tsv"))
    return [corpus] if judged and any(folder.glob("queries.jsonl*")) else []
