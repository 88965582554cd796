"""Names of models: `registry:gemma3-270m`, `hub:organisation/model`, `path:folder`, or a folder's plain path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embedloom.errors import ModelError
from embedloom.hub import hub_folder
from embedloom.model.registry import REGISTRY, registry_folder

WITHOUT_WEIGHTS = ["*.json", "*.model", "*.txt", "*.jinja"]
"""Files of a hub's model that tell its shape and how it reads texts."""


def model_folder(name: str, notice: Callable[[str], None] | None = None, *, weights: bool = True) -> Path:
    """The local folder of a model by its name; a `hub:` model is fetched, or taken from the hub's cache.

    Args:
        name: the model's name with its scheme, or a path.
        notice: called with a line that the user should see (a licence).
        weights: whether they are wanted; else configuration and tokenizer alone are fetched.

    Raises:
        ModelError: there is no such model; names what can be written instead.
    """
    scheme, colon, rest = name.partition(":")
    if not colon:
        scheme, rest = "path", name
    if scheme == "registry":
        return registry_folder(rest, notice)
    if scheme == "hub":
        return hub_folder(rest, "model", ModelError, files=None if weights else WITHOUT_WEIGHTS)
    if scheme != "path":
        raise ModelError(f"model {name!r}: unknown scheme {scheme!r}; expected registry:, hub: or path:")
    folder = Path(rest).expanduser()
    if not folder.is_dir():
        known = f"registry:{rest}" if rest in REGISTRY else "registry:gemma3-270m"
        raise ModelError(
            f"no model folder {rest!r}; expected a folder, or a name such as {known} or hub:organisation/model"
        )
    if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        raise ModelError(
            f"{rest}: no config.json in this folder; expected a model that transformers or sentence-transformers saved"
        )
    return folder
