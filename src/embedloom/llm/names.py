"""Names of language models: `local:registry:gemma3-270m`, `local:path:folder`, `scripted:file.jsonl`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

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
) -> StyledLLM:
    """The language model of a name.

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
    raise ModelError(
        f"no language model {name!r}; expected local:registry:gemma3-270m, local:path:FOLDER or scripted:FILE"
    )
