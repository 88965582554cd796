"""Names of models: `registry:gemma3-270m`, `hub:organisation/model`, `path:folder`, or a folder's plain path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embedloom.errors import ModelError
from embedloom.model.registry import REGISTRY, registry_folder


def model_folder(name: str, notice: Callable[[str], None] | None = None) -> Path:
    """The local folder of a model by its name; a `hub:` model is fetched, or taken from the hub's cache.

    Args:
        name: the model's name with its scheme, or a path.
        notice: called with a line that the user should see (a licence).

    Raises:
        ModelError: there is no such model; names what can be written instead.
    """
    scheme, colon, rest = name.partition(":")
    if not colon:
        scheme, rest = "path", name
    if scheme == "registry":
        return registry_folder(rest, notice)
    if scheme == "hub":
        return _hub_folder(rest)
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


def _hub_folder(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(repository, ignore_patterns=["*.bin", "*.pt", "*.gguf", "*.onnx", "*.h5", "*.msgpack"])
        )
    except HFValidationError:
        raise ModelError(f"hub:{repository} is not a repository name; expected hub:organisation/model") from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"hub:{repository} is not in the local cache and the hub can't be reached; "
            f"run `hf download {repository}` where there is a network, or use path:FOLDER"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"hub:{repository} can't be fetched: {str(error).splitlines()[0]}") from None
