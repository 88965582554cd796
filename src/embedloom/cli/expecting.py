"""The rows that a recipe's training will have and how long they are, as far as that is known before they are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from embedloom.cli.corpus import passages_and_test, weighted
from embedloom.cli.curating import CURATED
from embedloom.cli.describing import TRAIN
from embedloom.cli.pipeline import Run
from embedloom.cli.planning import training_contract, training_file
from embedloom.cli.row_sources import NO_PASSAGES, new_rows
from embedloom.errors import DataError, RecipeError
from embedloom.recipe import Recipe, resolved
from embedloom.records import Document, Example
from embedloom.run import read_records

SAMPLE = 512
"""Rows whose tokens are counted for the mean."""

UNMADE_TOKENS = 360
"""Tokens of a row with its negative that nobody has written yet: 180M tokens in 500k examples (paper section 2)."""

UNMADE_TEXTS = 3
"""Texts of such a row."""

DECIDING = ("seed", "corpus", "brainstorm", "tasks", "generate", "curate", "mine")
"""Sections of a recipe that decide on its training rows, and on how many there are."""

DECIDING_OF_TRAINING = ("sources", "dev", "dev_share")


@dataclass(frozen=True, slots=True)
class Expected:
    """Rows of an epoch, and the means of a row's tokens and texts, negatives included; `told` says how one knows."""

    rows: int
    tokens: float
    texts: float
    told: str


def expected_rows(run: Run, *, count_tokens: bool) -> Expected:
    """The rows on disk, if the run's folder has those of its recipe, else those that the recipe asks for.

    Of these, what is written already is read: sources, curated rows. Nothing is fetched, asked or compared with
    evaluation sets.

    Args:
        run: need not have started.
        count_tokens: whether anybody wants to know; without, tokens are 0.

    Raises:
        RecipeError: there will be no rows, or how many is not known yet.
        DataError: a source can't be read.
    """
    same = _same_data(run)
    written = [name for name in (training_file(run), TRAIN) if same and (run.folder / name).exists()]
    if written:
        known, unmade = list(read_records(run.folder / written[0], Example)), 0
    else:
        known, unmade = _asked_for(run, same)
    found = len(known) + unmade
    rows = found if written else round(found * (1 - run.recipe.train.dev_share))
    if not rows:
        raise RecipeError("no training rows: set generate.counts, name data in train.sources, or give --rows")
    if not count_tokens:
        return Expected(rows, 0.0, UNMADE_TEXTS, "")
    if not known:
        return Expected(rows, UNMADE_TOKENS, UNMADE_TEXTS, "as in the paper's data: no rows are there yet")
    some = known[:: max(1, len(known) // SAMPLE)]
    mines = training_file(run) not in written and run.recipe.mine.retriever != "none"
    tokens, texts = _lengths(run.recipe, some, mined=_mined(run.recipe, some) if mines else set())
    told = f"of {len(some)} counted" + (f"; {unmade:,} not made yet taken as in the paper's data" if unmade else "")
    share = unmade / found
    return Expected(
        rows,
        (1 - share) * tokens + share * UNMADE_TOKENS,
        (1 - share) * texts + share * UNMADE_TEXTS,
        told,
    )


def _asked_for(run: Run, same: bool) -> tuple[list[Example], int]:
    """The rows that are there, each as often as it weighs, and how many come to them; `same`: the folder's count."""
    from embedloom.data.paper_mix import paper_set

    recipe = run.recipe

    @cache
    def passages() -> Sequence[Document]:
        return _passages(recipe)

    seed = recipe.seed
    unmade = sum(recipe.generate.counts.values())
    known: list[Example] = []
    if unmade and same and (run.folder / CURATED).exists():
        known, unmade = list(read_records(run.folder / CURATED, Example)), 0
    taken = {row.id for row in known}
    for source in recipe.train.sources:
        own = paper_set(source.data)
        if own is not None:
            # Nothing is fetched to be counted.
            unmade += round(min(source.limit or own.rows, own.rows) * source.weight)
        else:
            known += weighted(new_rows(recipe, source, passages, taken), source.weight, seed)
    return known, unmade


def _passages(recipe: Recipe) -> Sequence[Document]:
    """The passages that the run's first stage will write. Of several corpora the first one that is there counts."""
    names = recipe.corpus.source
    if not names:
        raise RecipeError(NO_PASSAGES)
    # Nobody knows how many there are on the hub without fetching them.
    local = [name for name in ([names] if isinstance(names, str) else names) if not name.startswith("hub:")]
    here = recipe.corpus.model_copy(update={"source": local[0] if len(local) == 1 else local})
    try:
        return passages_and_test(recipe.model_copy(update={"corpus": here}))[0]
    except DataError:
        if local and isinstance(names, str):
            raise
        raise RecipeError(
            "train.sources takes the run's passages, and how many there are is not known before the corpus is there: "
            "embedloom run RECIPE --until corpus, or give --rows and --tokens"
        ) from None


def _mined(recipe: Recipe, rows: Sequence[Example]) -> set[str]:
    """The ids of the rows that hard negatives will be mined for, as far as the corpus is there."""
    from embedloom.cli.mining import answered_rows

    try:
        passages = _passages(recipe) if recipe.mine.rows != "written" else ()
    except (DataError, RecipeError):
        passages = ()
    return answered_rows(recipe.mine, rows, passages)


def _lengths(recipe: Recipe, rows: Sequence[Example], *, mined: set[str]) -> tuple[float, float]:
    """Mean tokens and texts of rows as training takes them.

    Args:
        recipe: of the training.
        rows: some of its rows.
        mined: ids of rows that will be filled up with hard negatives; they are taken to be as long as the positive.
    """
    from embedloom.model.backbone import load_tokenizer
    from embedloom.model.inputs import token_ids
    from embedloom.model.names import model_folder

    settings = recipe.train
    tokenizer = load_tokenizer(model_folder(settings.base, weights=False))
    contract = training_contract(settings, tokenizer)
    texts: list[str] = []
    for row in rows:
        negatives = list(row.negatives)
        if row.id in mined:
            negatives += row.positives[:1] * (recipe.mine.negatives - len(negatives))
        texts.append(contract.query_text(row.query, row.instruction))
        texts += map(contract.document_text, (row.positives[0], *negatives[: settings.hard_negatives]))
    return sum(map(len, token_ids(texts, tokenizer, contract))) / len(rows), len(texts) / len(rows)


def _same_data(run: Run) -> bool:
    """Whether the folder's rows are those of this recipe, as far as its record says."""
    path = run.folder / "recipe.json"
    if not path.exists():
        return True
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        return _data_of(recorded) == _data_of(resolved(run.recipe))
    except (ValueError, KeyError, TypeError):
        return False


def _data_of(settings: dict[str, Any]) -> list[Any]:
    training = [settings["train"][key] for key in DECIDING_OF_TRAINING]
    return [*(settings[key] for key in DECIDING), settings["eval"]["sets"], *training]
