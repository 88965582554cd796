"""One JSON object with string values out of whatever a language model sent.

The reply is untrusted: nothing is evaluated, its size is bounded before anything reads it, and each fault has a name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]

STARTS = 64
"""Opening braces that are tried; text with more of them and no object behind any is no reply to us."""

_DECODER = json.JSONDecoder(strict=False)
_SPACE = " \t\r\n"


class ReplyError(Exception):
    """Why a reply is no example: a rule and the detail that shows it."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(rule, detail)
        self.rule = rule
        self.detail = detail


def read_object(text: str, keys: Sequence[str]) -> dict[str, str]:
    """The values of `keys` in the first JSON object of the text that has them all as strings.

    The object may stand anywhere: in a code fence, after talk, inside a list or another object. An object that was
    cut off is used if every key was complete before the cut.

    Raises:
        ReplyError: `no-json`, `missing-key`, `wrong-type` or `truncated`, the nearest miss of those that were found.
    """
    faults: list[ReplyError] = []
    start = text.find("{")
    for _ in range(STARTS):
        if start < 0:
            break
        try:
            return _values(*_object(text, start), keys)
        except ReplyError as fault:
            faults.append(fault)
        start = text.find("{", start + 1)
    order = ("wrong-type", "truncated", "missing-key", "no-json")
    raise min(faults, key=lambda fault: order.index(fault.rule), default=ReplyError("no-json", text[:80]))


def _values(found: dict[str, object], fault: str, keys: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    missing = [key for key in keys if key not in found]
    if missing:
        raise ReplyError(fault, missing[0])
    for key in keys:
        value = found[key]
        if not isinstance(value, str):
            raise ReplyError("wrong-type", f"{key} is {type(value).__name__}")
        values[key] = value
    return values


def _object(text: str, start: int) -> tuple[dict[str, object], str]:
    """The object, and the fault that it is if a key is missing from it."""
    try:
        found, _ = _DECODER.raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError, ValueError):
        return _complete_pairs(text, start)
    return dict(found), "missing-key"


def _complete_pairs(text: str, start: int) -> tuple[dict[str, object], str]:
    """String pairs from the head of a broken object. It counts as cut off if it runs to the end of the text."""
    found: dict[str, object] = {}
    at = start + 1
    while True:
        at = _skip(text, at)
        if at >= len(text):
            return found, "truncated"
        if text[at] != '"':
            break
        try:
            key, at = scanstring(text, at + 1, False)
            at = _skip(text, at)
            if at >= len(text):
                return found, "truncated"
            if text[at] != ":":
                break
            at = _skip(text, at + 1)
            if at >= len(text):
                return found, "truncated"
            if text[at] != '"':
                break
            value, at = scanstring(text, at + 1, False)
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated"):
                return found, "truncated"
            break
        found[key] = value
        at = _skip(text, at)
        if at < len(text) and text[at] == ",":
            at += 1
        elif at < len(text):
            break
    return found, "no-json"


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
