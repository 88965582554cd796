"""Words of a text in any script: what counts as one word, and when two texts say the same thing.

Scripts without spaces between words (Han, Kana, Thai, Khmer ...) count each letter as a word, so that one limit in
words serves all languages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff"
)
"""Character ranges of the scripts written without spaces, for the inside of a regular expression's brackets."""
LONGEST_ABBREVIATION = 12
"""Letters that tell whether a sentence ends with an abbreviation."""
REMEMBERED = 1024
"""Texts whose words are remembered: what is near one query is near the next."""
_LAST_SPACED = "\u0dff"
_LETTER = re.compile(f"[{UNSPACED}]")
# Vowel signs and tone marks belong to the letter before them; \w leaves them out, and would cut Hindi or Thai in
# pieces.
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`]?[^\Wa-z_])|(?<=[。！？])|(?<=[।؟۔])\s+")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|St|No|Fig|al|approx)\.|\b[A-Z]\.)$")
_ASCII_WORD = re.compile(r"\w+")
_MARKS = {"Mn", "Mc", "Cf"}


class _WithoutMarks(dict[int, int | None]):
    """For `str.translate`: what becomes of a character, looked up in the Unicode tables once."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code)) in _MARKS else code
        self[code] = kept
        return kept


_WITHOUT_MARKS = _WithoutMarks()


def collapse(text: str) -> str:
    """The text with each run of white space as one space, none at the ends."""
    return " ".join(text.split())


def words(text: str) -> list[str]:
    """Lower-case words in their order, without punctuation and marks; one letter each in scripts without spaces.

    Compatibility forms (full-width letters, ligatures) are folded, so that the same word is the same string.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_WITHOUT_MARKS)
    return _ASCII_WORD.findall(folded) if folded.isascii() else _WORD.findall(folded)


def normalised(text: str) -> str:
    """Words joined by one space: equal for texts that differ in case, marks, punctuation or white space alone."""
    return " ".join(words(text))


@lru_cache(maxsize=REMEMBERED)
def same(text: str) -> str:
    """What two texts have in common that count as the same; a text without words is itself."""
    return normalised(text) or collapse(text)


def unspaced_share(text: str) -> float:
    """Share of the text's words that are single letters of a script without spaces, 0 to 1."""
    return unspaced_share_of(words(text))


def unspaced_share_of(found: Sequence[str]) -> float:
    """Share of words, as `words` splits them, that are single letters of a script without spaces, 0 to 1."""
    return sum(1 for word in found if word > _LAST_SPACED and _LETTER.match(word)) / len(found) if found else 0.0


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, by their end marks; an abbreviation or a version number doesn't end one."""
    pieces: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[max(start, match.start() - LONGEST_ABBREVIATION) : match.start()]):
            continue
        pieces.append(text[start : match.end()].strip())
        start = match.end()
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]
