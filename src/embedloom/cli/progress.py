"""Progress bars with the time left, and notices, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import click

LINE_EVERY = 30.0
"""Seconds between lines where standard error is no terminal."""


def notice(text: str) -> None:
    """A line for the user on standard error."""
    click.echo(text, err=True)


class Bar:
    """Counts finished items; call it with how many, and give `note` what should stand beside the time."""

    def __init__(self, title: str, total: int, done: int, unit: str, bars: Any, task: Any) -> None:
        self.title, self.total, self.done, self.unit = title, total, done, unit
        self.note = ""
        self._bars, self._task = bars, task
        self._said, self._started, self._before = monotonic(), monotonic(), done

    def __call__(self, count: int) -> None:
        self.done += count
        self._bars.update(self._task, completed=self.done, note=self.note)
        now = monotonic()
        if self._bars.disable and (now - self._said > LINE_EVERY or self.done == self.total):
            self._said = now
            rate = (self.done - self._before) / max(now - self._started, 1e-9)
            left = f", {(self.total - self.done) / rate / 60:.1f} min left" if rate and self.done < self.total else ""
            notice(f"{self.title}: {self.done} of {self.total} {self.unit}{left} {self.note}".rstrip())


@contextmanager
def bar(title: str, total: int, *, done: int = 0, unit: str = "") -> Iterator[Bar]:
    """A bar on standard error; where that is no terminal, a line now and then."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield Bar(title, total, done, unit, bars, bars.add_task(title, total=total, completed=done, note=""))
