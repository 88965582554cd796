"""A decoder's layers as compiled code: what stands between the matrix products becomes a few loops over memory.

In bfloat16 the products are fast, and norms, rotary positions and gates take half of the time as operations of their
own. Lengths stay variables of the code. It is made in the first passes with a graph, and in the first without one, for
what they bring; a later pass of a kind that was not among them is computed as if nothing were compiled, since making
code takes longer than it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

from embedloom.model.packed import NAME as PACKED
from embedloom.model.recompute import decoder_layers

if TYPE_CHECKING:
    from torch import nn

FIRST_PASSES = 24
"""Passes of each kind that may make code: with a graph, without one, and on a development set."""
COMPILERS = ("g++", "clang++", "c++")


def pays_to_compile(model: nn.Module) -> bool:
    """Whether the layers of a model are faster compiled: packed passes in bfloat16 on a CPU, and a C++ compiler."""
    config: Any = model.config
    packed = getattr(config, "_attn_implementation", None) == PACKED
    short = next(model.parameters()).dtype == torch.bfloat16
    return packed and short and any(map(shutil.which, COMPILERS))


def compile_layers(model: nn.Module) -> None:
    """Compiles every layer but the first, whose input needs no gradient, and the last, which computes few tokens.

    Either would be another code for one layer.

    Where a layer can't be compiled it is computed as it is, with torch's warning.

    Raises:
        ModelError: the model doesn't say which of its modules are its layers.
    """
    torch._dynamo.config.suppress_errors = True
    for layer in decoder_layers(model, 'train.compile to "never"')[1:-1]:
        layer.compile(dynamic=True)
    first = _FirstPasses()
    model.register_forward_pre_hook(first.begin)
    model.register_forward_hook(first.end, always_call=True)


class _FirstPasses:
    """Lets passes make code until there were enough of their kind: each has code of its own."""

    def __init__(self) -> None:
        self._passes: Counter[tuple[bool, bool]] = Counter()
        self._stance: Any = None

    def begin(self, model: nn.Module, *_: Any) -> None:
        kind = torch.is_grad_enabled(), model.training
        self._passes[kind] += 1
        if self._passes[kind] > FIRST_PASSES:
            self._stance = torch.compiler.set_stance("eager_on_recompile")
            self._stance.__enter__()

    def end(self, *_: Any) -> None:
        if self._stance is not None:
            stance, self._stance = self._stance, None
            stance.__exit__(None, None, None)
