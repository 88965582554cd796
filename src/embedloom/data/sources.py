"""Names of data: `path:FOLDER`, a plain path, or `hub:DATASET`; of several, the first that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embedloom.errors import DataError
from embedloom.hub import hub_folder


def data_path(name: str | Sequence[str]) -> Path:
    """The local file or folder of a data set.

    Args:
        name: a name, or several of which the first that is there counts.

    Raises:
        DataError: none is there; the sentence says why for each.
    """
    if isinstance(name, str):
        return _one(name)
    reasons = []
    for candidate in name:
        try:
            return _one(candidate)
        except DataError as error:
            reasons.append(str(error))
    raise DataError("none of the data sets is there: " + "; ".join(reasons))


def _one(name: str) -> Path:
    if name.startswith("hub:"):
        return hub_folder(name.removeprefix("hub:"), "dataset", DataError)
    path = Path(name.removeprefix("path:")).expanduser()
    if not path.exists():
        raise DataError("no such file or folder", path)
    return path
