"""Whether a text is in the language that was asked for, by CLD2: its tables lie in the package, nothing is loaded.

CLD2 tells all 93 languages of the factory apart, but for kinships that no detector of single sentences tells reliably
(`RELATED`). It is told what language to expect, and a text is dropped only if it is sure of another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from embedloom.data.languages import languages
from embedloom.data.words import unspaced_share
from embedloom.errors import MissingExtraError
from embedloom.records import CLASSIFICATION, Example

LEAST_LETTERS = 40
"""A shorter text is not judged; in scripts without spaces half as many suffice."""

SURE = 80
"""Per cent of a text that must be in the other language."""

_KIN = (
    ("Indonesian", "Malay", "Javanese", "Sundanese"),
    ("Bosnian", "Croatian", "Serbian", "Slovenian"),
    ("Norwegian", "Danish"),
    ("Portuguese", "Galician", "Spanish"),
    ("Czech", "Slovak"),
    ("Russian", "Ukrainian", "Belarusian"),
    ("Bulgarian", "Macedonian"),
    ("Hindi", "Marathi", "Nepali", "Sanskrit"),
    ("Afrikaans", "Dutch", "Western Frisian"),
    ("Irish", "Scottish Gaelic"),
    ("Azerbaijani", "Turkish"),
    ("Bengali", "Assamese"),
    ("Arabic", "Persian", "Urdu", "Pashto", "Sindhi", "Kurdish", "Uyghur"),
    ("Kazakh", "Kyrgyz"),
)
RELATED: Mapping[str, frozenset[str]] = {
    name: frozenset(other for kin in _KIN if name in kin for other in kin if other != name)
    for kin in _KIN
    for name in kin
}
"""By language name, the languages that a text of it may be taken for."""

_CODES = {"he": "iw", "jv": "jw"}
"""CLD2's codes where they are not ours."""

_EXTRA = {"nn": "Norwegian", "zh-Hant": "Chinese", "hmn": "", "sco": "English", "sr-ME": "Serbian"}
"""What CLD2 also knows, by the name that we give it; no name for what says nothing."""


def wrong_language(example: Example) -> str:
    """The detail if a text is surely in another language than the one asked for; else an empty string.

    The query is held to the example's language; documents too, or to the target language where there is one (bitext and
    other cross-lingual rows). Not judged are real passages, labels, texts that are too short, and languages not among
    the 93.

    Raises:
        MissingExtraError: pycld2 is not installed.
    """
    for side, language, text in _judged(example):
        found = language_of(text, language)
        if found and found != language and found not in RELATED.get(language, ()):
            return f"{side} is {found}, not {language}: {text[:80]}"
    return ""


def language_of(text: str, expected: str) -> str:
    """Name of the language that a text is surely in; "" if it is too short, mixed, or nothing that is known.

    Args:
        text: any text.
        expected: name of the language that it should be in, which gets the benefit of the doubt.
    """
    codes, names = _tables()
    if expected not in codes or too_short(text):
        return ""
    detector = _detector()
    try:
        reliable, _, found = detector.detect(_plain(text), hintLanguage=codes[expected])
    except detector.error:
        return ""
    _, code, share, _ = found[0]
    if not reliable or share < SURE:
        return ""
    return names.get(code, code if code != "un" else "")


def too_short(text: str) -> bool:
    """Whether a text has too few letters to be judged."""
    return len(text) < LEAST_LETTERS and not (len(text) >= LEAST_LETTERS // 2 and unspaced_share(text) > 0.5)


def unjudged(example: Example) -> Iterator[tuple[str, bool]]:
    """For each text that is held to a language: which one, and whether the text is too short for that.

    A text in a language that the detector is not asked about is judged as little as a short one.
    """
    codes, _ = _tables()
    for _, language, text in _judged(example):
        yield language, language not in codes or too_short(text)


@cache
def _tables() -> tuple[dict[str, str], dict[str, str]]:
    """Code of CLD2 by name, and name by code."""
    codes = {language.name: _CODES.get(language.code, language.code) for language in languages()}
    return codes, {**{code: name for name, code in codes.items()}, **_EXTRA}


@cache
def _detector() -> Any:
    try:
        import pycld2
    except ImportError:
        raise MissingExtraError("pycld2", "languages") from None
    return pycld2


def detector_installed() -> bool:
    """Whether texts can be judged: the extra `languages` is installed."""
    try:
        _detector()
    except MissingExtraError:
        return False
    return True


def covered_languages() -> frozenset[str]:
    """Names of our languages that the detector knows."""
    known = {code for _, code in _detector().LANGUAGES}
    return frozenset(name for name, code in _tables()[0].items() if code in known)


def _judged(example: Example) -> Iterator[tuple[str, str, str]]:
    if example.family != "grounded-sts":
        yield "query", example.language, example.query
    if example.family == CLASSIFICATION:
        return
    documents = example.target_language or example.language
    if example.family != "grounded":
        for text in example.positives:
            yield "positive", documents, text
    for text in example.negatives:
        yield "negative", documents, text


def _plain(text: str) -> bytes:
    """UTF-8 without control characters and halves of surrogate pairs, which CLD2 refuses."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.encode("utf-8", "replace")
