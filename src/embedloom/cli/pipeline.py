"""The stages of a run: each has a key from its settings and inputs, and is done when the key is on record."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom import __version__
from embedloom.cli.progress import notice
from embedloom.cli.sharing import leave, take
from embedloom.recipe import Recipe, resolved
from embedloom.records import content_id
from embedloom.run import RunFolder, atomic_file

if TYPE_CHECKING:
    from embedloom.train.processes import Processes

FORMAT = 1
"""Goes up when a stage would write something else from the same settings and inputs."""


@dataclass(frozen=True)
class Run:
    """A recipe, the folder that its stages write to, and the processes that share the training, where several do.

    With `shared`, what other runs left there is not done again (`cli/sharing.py`).
    """

    recipe: Recipe
    folder: RunFolder
    processes: Processes | None = None
    shared: Path | None = None

    def stage(
        self,
        name: str,
        *,
        settings: Any,
        inputs: Iterable[str],
        files: Iterable[str],
        work: Callable[[], dict[str, Any]],
    ) -> None:
        """Runs a stage unless it is on record with the same settings and the same contents of its input files.

        Args:
            name: the stage, as it stands in the manifest.
            settings: what determines its output besides the inputs, JSON-able.
            inputs: files of the run folder that it reads.
            files: files of the run folder that it writes.
            work: does it, and returns figures for the manifest.
        """
        key = content_id(FORMAT, name, settings, [(file, self.folder.content(file)) for file in inputs])
        place = None if self.shared is None else self.shared / f"{name}-{key}"

        def take_or_work() -> dict[str, Any]:
            entry = None if place is None else take(place, self.folder)
            return work() if entry is None else {**entry, "taken": True}

        if self.folder.stage(name, key, files, take_or_work):
            entry = self.folder.manifest()[name]
            if entry.get("taken"):
                notice(f"{name:<10} taken from another cell")
                return
            if place is not None:
                leave(place, self.folder, entry)
            notice(f"{name:<10} {_told(entry)}")
        else:
            notice(f"{name:<10} done before")

    def record(self) -> None:
        """Writes `recipe.json`: the resolved recipe with the versions that ran it."""
        told = {"recipe": resolved(self.recipe), "versions": versions(), "commit": source_commit()}
        with atomic_file(self.folder / "recipe.json") as file:
            json.dump(told, file, indent=1, ensure_ascii=False)


def versions() -> dict[str, str]:
    """Versions of Python, the project and the packages that decide its figures."""
    found = {"python": platform.python_version(), "embedloom": __version__}
    for package in ("torch", "transformers", "peft", "numpy", "bm25s", "lancedb", "sentence-transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def source_commit() -> str:
    """The commit of the checkout that the package runs from, read from `.git` without git; "" if there is none."""
    root = Path(__file__).resolve().parents[3] / ".git"
    try:
        head = (root / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        return (root / head.removeprefix("ref: ")).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _told(entry: dict[str, Any]) -> str:
    figures = [
        f"{value} {key}" for key, value in entry.items() if isinstance(value, int) and not isinstance(value, bool)
    ]
    return f"{entry['seconds']:.0f} s" + (": " + ", ".join(figures) if figures else "")
