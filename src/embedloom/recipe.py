"""The recipe: TOML files merged left to right, then `--set`, validated once. Below, settings are plain arguments.

Only the command line sees a `Recipe`. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from embedloom.errors import RecipeError
from embedloom.recipe_errors import explain
from embedloom.recipe_section import Section
from embedloom.recipe_train import Train
from embedloom.records import FAMILIES


class Corpus(Section):
    """The user's texts."""

    source: str | list[str] = ""
    """`python-docs`, `path:FOLDER` (txt, md, rst, JSONL, BEIR), `hub:DATASET`; of a list, the first that is there."""
    evaluation_share: float = Field(default=0.4, gt=0, lt=1)
    """Share of the texts, by whole files, that known-item search is evaluated on and nothing is written for."""
    limit: int = Field(default=0, ge=0)
    """Passages that queries may be written for; 0 for all."""


class GivenTask(Section):
    """A task that the user states, instead of or beside brainstormed ones."""

    family: str = "grounded"
    """One of the task families, as in `generate.counts`."""
    instruction: str
    query_name: str = "Query"
    passage_name: str = "Passage"
    weight: float = Field(default=1.0, gt=0)
    demonstrations: list[Demonstration] = []

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"expected one of {', '.join(FAMILIES)}")
        return family


class Demonstration(Section):
    """A passage and a query for it."""

    passage: str
    query: str


class Llm(Section):
    """The language model that writes the data."""

    model: str = "local:registry:gemma3-270m"
    """`local:MODEL` (in this process), `openai:MODEL` (servers), `batch:MODEL` (files), `scripted:FILE`."""
    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    top_k: int = Field(default=64, ge=0)
    batch_size: int = Field(default=32, gt=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    base_url: str | list[str] = ""
    """Addresses of OpenAI-compatible servers, such as `http://localhost:8000/v1`; OpenAI's own if empty."""
    api_key_env: str = ""
    """Environment variable that holds the servers' key."""
    concurrency: int = Field(default=64, gt=0, le=4096)
    """Requests in flight at each server."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one request."""
    retries: int = Field(default=8, ge=0)
    """Further attempts at a prompt that a server fails on while it answers others."""
    json_schema: Literal["auto", "on", "off"] = "auto"
    """Whether replies are held to a JSON schema; `auto` falls back where a server knows none."""
    extra: dict[str, Any] = {}
    """Further keys of the request body, as in `{ top_k = 64 }`."""
    price_input: float = Field(default=0.0, ge=0)
    """Money for a million input tokens."""
    price_output: float = Field(default=0.0, ge=0)
    budget_tokens: int = Field(default=0, ge=0)
    """Tokens, in and out together, that the run may spend; 0 for no limit."""
    budget_money: float = Field(default=0.0, ge=0)
    """Money that the run may spend at these prices; 0 for no limit."""
    incomplete: Literal["stop", "go-on"] = "stop"
    """What to do when the budget is spent or batch results are missing: stop, or go on with what there is."""

    @model_validator(mode="after")
    def _priced(self) -> Llm:
        if self.budget_money and not (self.price_input or self.price_output):
            raise ValueError("budget_money needs price_input and price_output (money for a million tokens)")
        return self


class Brainstorm(Section):
    """Step 1: the pool of tasks."""

    families: list[str] = []
    """Families whose tasks the LLM is asked for; those with a given task need none."""
    calls: int = Field(default=4, gt=0)
    """Calls a family, about 20 tasks each."""


class Generate(Section):
    """Step 2: how many examples of each family, in which languages."""

    counts: dict[str, int] = {}
    languages: dict[str, float] = {}
    """Weights by name or code; the paper's 93 if empty."""
    grounded_language: str = "English"
    passage_words: int = Field(default=120, gt=0)
    """Words of a passage that the LLM is shown."""


class Curate(Section):
    """What is kept."""

    near_duplicate: float = Field(default=0.8, gt=0)
    """Jaccard similarity from which two texts are near duplicates."""
    round_trip: str = "bm25"
    """What must find a passage by its query again: `bm25`, a model's name, or `none`."""
    round_trip_depth: int = Field(default=20, gt=0)
    language: Literal["auto", "on", "off"] = "auto"
    """Drop texts in another language than the one asked for; `auto`: if the extra `languages` is installed."""
    personal_data: bool = False
    """Drop texts with e-mail addresses, telephone, card and account numbers, passwords or keys of services."""
    decontaminate: list[str | list[str]] = ["eval"]
    """Evaluation sets that no row may repeat: paths, `hub:DATASET`, or `eval` for those of this recipe."""
    processes: int = Field(default=0, ge=0)
    """Processes that check large sets; 0 for one a core, at most 8."""


class Mine(Section):
    """Hard negatives from the run's passages, for the rows that one of them answers."""

    retriever: str = "none"
    """What searches: `bm25`, a model's name, or `none`, which leaves the rows as they are."""
    rows: Literal["written", "labelled", "all"] = "written"
    """Those written for a passage, those of other sources whose answer is a passage word for word, or both."""
    negatives: int = Field(default=1, gt=0)
    """So many a row; rows that have some are filled up."""
    first: int = Field(default=1, gt=0)
    """Ranks from `first` to `last` are taken."""
    last: int = Field(default=30, gt=0)
    below: float = Field(default=0.95, ge=0, le=1)
    """Largest share of the positive's score that a negative may have; 0 for no limit."""
    pick: Literal["best", "drawn"] = "best"
    """The best of these ranks, or some drawn by the seed."""
    known: list[str] = []
    """BEIR folders and files of rows whose answers are no negatives either."""

    @model_validator(mode="after")
    def _window(self) -> Mine:
        if self.first > self.last:
            raise ValueError(f"first is {self.first}, behind last, {self.last}")
        return self


class Evaluate(Section):
    """The measurement, beside base model and baselines."""

    sets: list[str | list[str]] = []
    """Paths of evaluation sets, or `hub:DATASET`; of an inner list, the first that is there."""
    baselines: list[str] = ["base", "bm25"]
    """`base`, `bm25`, or a model's name."""
    max_length: int = Field(default=512, ge=8)
    """Tokens of a text in evaluation and use: the checkpoint's limit."""


class Search(Section):
    """Searches shown at the end."""

    queries: list[str] = []
    """Three of the known-item queries if there are none."""
    instruction: str = ""
    """What the queries are for; known-item search is measured with it too. The table's own if empty."""
    hits: int = Field(default=3, gt=0)


class Recipe(Section):
    """Everything that one run needs to know."""

    name: str = "run"
    seed: int = 1
    corpus: Corpus = Corpus()
    llm: Llm = Llm()
    brainstorm: Brainstorm = Brainstorm()
    tasks: list[GivenTask] = []
    generate: Generate = Generate()
    curate: Curate = Curate()
    mine: Mine = Mine()
    train: Train = Train()
    eval: Evaluate = Evaluate()
    search: Search = Search()


GivenTask.model_rebuild()


def load_recipe(paths: Sequence[Path], settings: Iterable[str] = ()) -> Recipe:
    """The recipe of TOML files merged left to right, then `section.key=value` settings.

    Raises:
        RecipeError: a file is missing or not TOML, a key is unknown (the nearest known one is named), a value is wrong.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        merge(merged, read_toml(path))
    for setting in settings:
        merge(merged, read_setting(setting))
    return recipe_of(merged, ", ".join(map(str, paths)) or "the recipe")


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        RecipeError: it is missing, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(
            f"no recipe {str(path)!r}; recipes lie in recipes/, for example recipes/quickstart.toml"
        ) from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a folder; expected a recipe, a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not a TOML file ({error})") from None


def recipe_of(settings: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that settings make; `where` says where they come from.

    Raises:
        RecipeError: a key is unknown, a value is wrong.
    """
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, Recipe)}") from None


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default written out, as JSON."""
    return recipe.model_dump(mode="json")


def read_setting(text: str) -> dict[str, Any]:
    """A setting as it stands behind `--set`, such as `train.epochs=2`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text!r}: expected section.key=value, for example train.batch_size=16")
    try:
        parsed: Any = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Puts settings over others, section by section; a list replaces a list."""
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = json.loads(json.dumps(value)) if isinstance(value, dict | list) else value
