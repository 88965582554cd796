"""The size of a decoder: read from its configuration, or known by name, without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedloom.errors import ModelError


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths and counts of a decoder with gated feed-forward layers and grouped-query attention."""

    layers: int
    hidden: int
    inner: int
    heads: int
    key_value_heads: int
    head_dimension: int
    vocabulary: int

    @property
    def linear_layers(self) -> list[tuple[int, int]]:
        """(in, out) of the matrices of one layer: query, key, value, output, gate, up, down."""
        queries, keys = self.heads * self.head_dimension, self.key_value_heads * self.head_dimension
        return [
            (self.hidden, queries),
            (self.hidden, keys),
            (self.hidden, keys),
            (queries, self.hidden),
            (self.hidden, self.inner),
            (self.hidden, self.inner),
            (self.inner, self.hidden),
        ]

    @property
    def matrix_weights(self) -> int:
        """Weights of all layers' matrices: what a token is multiplied with."""
        return self.layers * sum(rows * columns for rows, columns in self.linear_layers)

    @property
    def parameters(self) -> int:
        """With the embedding table, without a language model's head; norms are not counted."""
        return self.matrix_weights + self.vocabulary * self.hidden

    def adapter_weights(self, rank: int) -> int:
        """Weights of LoRA of this rank on every matrix."""
        return self.layers * sum(rank * (rows + columns) for rows, columns in self.linear_layers)


KNOWN = {
    "mistralai/Mistral-7B-v0.1": Shape(32, 4096, 14336, 32, 8, 128, 32_000),
    "Qwen/Qwen3-0.6B-Base": Shape(28, 1024, 3072, 16, 8, 128, 151_936),
    "Qwen/Qwen3-4B-Base": Shape(36, 2560, 9728, 32, 8, 128, 151_936),
    "Qwen/Qwen3-8B-Base": Shape(36, 4096, 12288, 32, 8, 128, 151_936),
    "meta-llama/Llama-3.2-1B": Shape(16, 2048, 8192, 32, 8, 64, 128_256),
    "registry:gemma3-270m": Shape(18, 640, 2048, 4, 1, 256, 262_144),
    "registry:smollm2-135m": Shape(30, 576, 1536, 9, 3, 64, 49_152),
}
"""By their names on the hub, or in the registry: what can be estimated before anything is fetched."""


def known_shape(name: str) -> Shape | None:
    """The shape of a model by its name as a recipe has it, where no file need be read."""
    return KNOWN.get(name.removeprefix("hub:"))


def read_shape(folder: Path) -> Shape:
    """The shape that a model folder's configuration says.

    Raises:
        ModelError: the configuration is missing, damaged, or not that of such a decoder.
    """
    path = folder / "config.json"
    try:
        config: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        heads = int(config["num_attention_heads"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            inner=int(config["intermediate_size"]),
            heads=heads,
            key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_dimension=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
            vocabulary=int(config["vocab_size"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not the configuration of a decoder ({type(error).__name__}: {error})") from None
