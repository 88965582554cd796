"""Repositories of the hub: fetched once, then taken from its cache, also where there is no network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from embedloom.errors import EmbedloomError

READ = {"model": None, "dataset": ["*.jsonl", "*.jsonl.gz", "*.tsv"]}
"""Files of a repository that are fetched; None for all."""

LEFT = {"model": ["*.bin", "*.pt", "*.gguf", "*.onnx", "*.h5", "*.msgpack"], "dataset": None}
"""Files that are not: weights for other readers."""


def hub_folder(
    repository: str, kind: Literal["model", "dataset"], error: type[EmbedloomError], *, files: list[str] | None = None
) -> Path:
    """The local folder of a repository.

    Args:
        repository: its name, as in `organisation/model`.
        kind: what it holds.
        files: the only ones that are wanted; what is read of such a repository if left out.
        error: raised if there is no such folder; says what to do instead.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repository, repo_type=kind, allow_patterns=files or READ[kind], ignore_patterns=LEFT[kind]
        )
        return Path(found)
    except HFValidationError:
        raise error(f"hub:{repository} is not a repository name; expected hub:organisation/{kind}") from None
    except LocalEntryNotFoundError:
        option = "" if kind == "model" else f" --repo-type {kind}"
        raise error(
            f"hub:{repository} is not in the local cache and the hub can't be reached; "
            f"run `hf download{option} {repository}` where there is a network, or use path:FOLDER"
        ) from None
    except (HfHubHTTPError, OSError) as fault:
        reason = (str(fault) or type(fault).__name__).splitlines()[0]
        raise error(f"hub:{repository} can't be fetched: {reason}") from None
