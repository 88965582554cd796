"""Pages as a browser would take them, and text that wants to be markup."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}\u202e"


class Page(HTMLParser):
    """Tags with their attributes, open tags that were never closed, and the text."""

    VOID = frozenset({"meta", "br", "img", "link", "circle", "line", "path", "polyline"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + " "


def hostile(value: object) -> object:
    """The same record with every text in it replaced by something that wants to be markup."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(hostile(one) for one in value)
    if isinstance(value, dict):
        return {HOSTILE: HOSTILE}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{field.name: hostile(getattr(value, field.name)) for field in dataclasses.fields(value)})
    return value
