"""Personal data and secrets by their form: addresses of e-mail, telephone and card numbers, keys of services.

A pattern finds what has the form, not what is real: invented data of the same form is dropped too, and a name or a
street is not found. Off by default.
"""

from __future__ import annotations

import re

from embedloom.records import Example

LEAST_DIGITS = 10
"""A text with fewer digits holds no card number and no bank account."""

_PATTERNS = {
    "e-mail address": ("@", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}\b")),
    "telephone number": ("+", re.compile(r"(?<![\w+])\+(?=(?:[ ./()-]{0,3}\d){9})\d[\d ./()-]{7,24}(?!\w)")),
    "private key": ("-----BEGIN ", re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----")),
    "web token": ("eyJ", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
}
"""By kind: a piece of text without which the pattern needs no look, and the pattern."""

_KEY = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|AIza[0-9A-Za-z_-]{35}|sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|glpat-[A-Za-z0-9_-]{20,})"
)
_PASSWORD = re.compile(r"(?i)\b(?:password|passwd|api[_ -]?key|secret)\s*[:=]\s*['\"]?(?=\S*\d)[^\s'\"]{8,}")
_CARD = re.compile(r"(?<![\d.])(?:\d[ -]?){13,18}\d(?![\d.])")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")


def personal_data(example: Example) -> str:
    """What kind of personal data or secret stands in which text; the detail doesn't repeat it."""
    sides = [("query", example.query)]
    sides += [("positive", text) for text in example.positives] + [("negative", text) for text in example.negatives]
    for side, text in sides:
        if kind := kind_of(text):
            return f"{kind} in the {side}"
    return ""


def kind_of(text: str) -> str:
    """Name of the first kind of personal data or secret that the text holds, or an empty string."""
    for kind, (mark, pattern) in _PATTERNS.items():
        if mark in text and pattern.search(text):
            return kind
    if _KEY.search(text):
        return "service key"
    if _PASSWORD.search(text):
        return "password"
    if sum(map(text.count, "0123456789")) < LEAST_DIGITS:
        return ""
    if any(_is_card(found.group()) for found in _CARD.finditer(text)):
        return "card number"
    if any(_is_account(found.group()) for found in _ACCOUNT.finditer(text)):
        return "bank account"
    return ""


def _is_card(text: str) -> bool:
    """The check digit of card numbers (Luhn, ISO/IEC 7812-1)."""
    digits = [int(char) for char in text if char.isdigit()]
    if len(set(digits)) < 2:
        return False
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_account(text: str) -> bool:
    """The check digits of an IBAN (ISO 13616)."""
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
