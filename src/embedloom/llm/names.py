"""Names of language models: `local:registry:gemma3-270m`, `openai:MODEL`, `batch:MODEL`, `scripted:file.jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from embedloom.errors import ModelError
from embedloom.model.names import model_folder
from embedloom.records import LLM


class StyledLLM(LLM, Protocol):
    """An LLM that says which prompts suit it."""

    @property
    def style(self) -> str:
        """`chat` for instruction-tuned models, `base` for plain language models."""


def open_llm(
    name: str,
    *,
    temperature: float,
    top_p: float,
    top_k: int,
    batch_size: int,
    dtype: str = "auto",
    notice: Callable[[str], None] | None = None,
    extra: Mapping[str, Any] | None = None,
    **server: Any,
) -> StyledLLM:
    """The language model of a name.

    Args:
        name: its scheme and what that scheme calls it.
        temperature: of sampling.
        top_p: of sampling.
        top_k: of sampling, in this process; a server gets it through `extra`.
        batch_size: prompts decoded together in this process.
        dtype: of the weights in this process.
        notice: called with a line that the user should see.
        extra: further keys of a request to a server.
        server: further arguments of `open_openai`.

    Raises:
        ModelError: an unknown scheme, or a model that can't be opened.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "scripted" and rest:
        from embedloom.llm.scripted import ScriptedLLM

        return ScriptedLLM(Path(rest))
    if scheme == "local" and rest:
        from embedloom.llm.local import open_local
        from embedloom.llm.sampling import Sampling

        sampling = Sampling(temperature, top_p, top_k)
        folder = model_folder(rest, notice)
        return open_local(folder, name=name, sampling=sampling, batch_size=batch_size, dtype=dtype)
    if scheme == "openai" and rest:
        from embedloom.llm.chat import ChatSettings
        from embedloom.llm.openai import open_openai

        return open_openai(ChatSettings(rest, temperature, top_p, dict(extra or {})), **server)
    if scheme == "batch" and rest:
        from embedloom.llm.batch import BatchLLM

        return BatchLLM(rest)
    raise ModelError(
        f"no language model {name!r}; expected local:registry:gemma3-270m, local:path:FOLDER, openai:MODEL, "
        "batch:MODEL or scripted:FILE"
    )
