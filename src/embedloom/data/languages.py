"""The languages that synthetic examples are asked for: names, codes, scripts, and the paper's weights."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from embedloom.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Language:
    """A language: ISO 639-1 code, English name, ISO 15924 scripts, resource class, per cent of the paper's examples."""

    code: str
    name: str
    scripts: tuple[str, ...]
    resources: str
    weight: float


@cache
def languages() -> tuple[Language, ...]:
    """The 93 languages of the paper (section 2), by code; sources stand in `languages.tsv`."""
    text = files("embedloom.data").joinpath("languages.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader((line for line in text.splitlines() if not line.startswith("#")), delimiter="\t")
    return tuple(
        Language(row["code"], row["name"], tuple(row["script"].split(",")), row["class"], float(row["weight"]))
        for row in rows
    )


def language_name(key: str) -> str:
    """The name of a language by its name or code, in whatever case; what is none of the 93 as it is."""
    return _names().get(key.casefold(), key)


def language_weights(shares: Mapping[str, float] | None = None) -> dict[str, float]:
    """Weight by language name: the paper's, or the given shares, whose keys are names or codes.

    Raises:
        RecipeError: an unknown language, a share that is not positive, or no language at all.
    """
    if shares is None:
        return {language.name: language.weight for language in languages()}
    known = _names()
    weights: dict[str, float] = {}
    for key, share in shares.items():
        name = known.get(key.casefold())
        if name is None:
            near = difflib.get_close_matches(key, [language.name for language in languages()], n=1)
            raise RecipeError(f"unknown language {key!r}{f'; did you mean {near[0]!r}?' if near else ''}")
        if not share > 0:
            raise RecipeError(f"share of {name} must be above 0, got {share}")
        weights[name] = weights.get(name, 0.0) + share
    if not weights:
        raise RecipeError("no language is given; leave the setting out for the paper's 93")
    return weights


@cache
def _names() -> dict[str, str]:
    return {key.casefold(): language.name for language in languages() for key in (language.name, language.code)}
