"""What several runs share: what one did with the same settings and inputs, the others take from there.

A stage's key is made of its settings and the contents of its inputs, so that equal keys mean equal files.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from embedloom.run import RunFolder, atomic_folder

ENTRY, FILES = "entry.json", "files"


def leave(place: Path, folder: RunFolder, entry: dict[str, Any]) -> None:
    """Puts what a stage wrote where other runs find it."""
    with atomic_folder(place) as made:
        for name in entry["wrote"]:
            _bring(folder / name, made / FILES / name)
        (made / ENTRY).write_text(json.dumps(entry, ensure_ascii=False), encoding="utf-8")


def take(place: Path, folder: RunFolder) -> dict[str, Any] | None:
    """Puts what another run's stage wrote in its place in `folder`, and returns the entry; None if nobody did it."""
    path = place / ENTRY
    if not path.exists():
        return None
    entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in entry["wrote"]:
        source, target = place / FILES / name, folder / name
        if source.is_dir():
            with atomic_folder(target) as made:
                _bring(source, made)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.taken.partial")
            _bring(source, temporary)
            os.replace(temporary, target)
    return entry


def _bring(source: Path, target: Path) -> None:
    """A folder's files are linked where the disk can do that, since nobody writes into a model; others are copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_linked, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
