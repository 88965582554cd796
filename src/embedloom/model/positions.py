"""Other positions at inference: the rotary base, its scaling and the attention window of a loaded model, untrained.

Decoders with local and global layers, such as Gemma 3, have a rotary base for each; the others have one (paper,
section 6: a larger base lets a model read inputs longer than those that it was trained on).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedloom.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

SCALINGS = ("linear", "dynamic", "yarn")
"""Kinds of rotary scaling, by transformers' names; each takes a factor."""
GLOBAL, LOCAL = "full_attention", "sliding_attention"


@dataclass(frozen=True, slots=True)
class Positions:
    """A change of a model's positions; what is None stays as the model has it.

    Attributes:
        base: rotary base of the layers that see everything; of all layers in a model with one base.
        local_base: rotary base of the layers with a sliding window, in a model with two bases.
        scaling: one of `SCALINGS`, of the layers that `base` is for.
        factor: how many times longer than in training inputs may be, for `scaling`.
        window: tokens that a layer with a sliding window sees.
    """

    base: float | None = None
    local_base: float | None = None
    scaling: str | None = None
    factor: float | None = None
    window: int | None = None

    @property
    def label(self) -> str:
        """The change in a few words, for tables and pictures."""
        parts = [f"base {self.base:,.0f}"] if self.base is not None else []
        parts += [f"local base {self.local_base:,.0f}"] if self.local_base is not None else []
        parts += [f"{self.scaling} x {self.factor:g}"] if self.scaling is not None else []
        parts += [f"window {self.window:,}"] if self.window is not None else []
        return ", ".join(parts) or "as trained"


@contextmanager
def changed_positions(backbone: nn.Module, change: Positions) -> Iterator[Positions]:
    """The loaded model under other positions; afterwards it is as it was.

    Yields:
        The positions that hold inside: those of the change, and the model's own where it says nothing.

    Raises:
        ModelError: the model has no such part, or a value is out of range.
    """
    config: Any = backbone.config
    before = copy.deepcopy(_parameters(config)), getattr(config, "sliding_window", None)
    _check(config, change)
    try:
        config.rope_parameters = _changed(copy.deepcopy(before[0]), config, change)
        if change.window is not None:
            _set_window(backbone, change.window)
        _rebuild(backbone)
        yield positions_of(backbone)
    finally:
        config.rope_parameters = before[0]
        if change.window is not None and before[1] is not None:
            _set_window(backbone, before[1])
        _rebuild(backbone)


def positions_of(backbone: nn.Module) -> Positions:
    """The positions that a model has now."""
    config: Any = backbone.config
    parameters = _parameters(config)
    local = parameters.get(LOCAL) if isinstance(parameters.get(LOCAL), dict) else None
    main = parameters[GLOBAL] if isinstance(parameters.get(GLOBAL), dict) else parameters
    kind = main.get("rope_type", "default")
    return Positions(
        base=float(main["rope_theta"]),
        local_base=float(local["rope_theta"]) if local else None,
        scaling=None if kind == "default" else kind,
        factor=None if kind == "default" else float(main.get("factor", 1.0)),
        window=_window(config),
    )


def _check(config: Any, change: Positions) -> None:
    kind = config.model_type
    if change.local_base is not None and not isinstance(_parameters(config).get(LOCAL), dict):
        raise ModelError(f"a model of the type {kind} has one rotary base for all layers; leave the local base out")
    if change.window is not None and _window(config) is None:
        raise ModelError(f"no layer of this {kind} model has a sliding window; leave the window out")
    for name in ("base", "local_base", "factor", "window"):
        value = getattr(change, name)
        if value is not None and not value >= 1:
            raise ModelError(f"{name.replace('_', ' ')} {value}: expected a number of at least 1")
    if (change.scaling is None) != (change.factor is None) or change.scaling not in (None, *SCALINGS):
        raise ModelError(f"rotary scaling {change.scaling!r}: expected one of {', '.join(SCALINGS)} and a factor")


def _changed(parameters: dict[str, Any], config: Any, change: Positions) -> dict[str, Any]:
    main = parameters[GLOBAL] if isinstance(parameters.get(GLOBAL), dict) else parameters
    if change.base is not None:
        main["rope_theta"] = float(change.base)
    if change.local_base is not None:
        parameters[LOCAL]["rope_theta"] = float(change.local_base)
    if change.scaling is not None:
        main |= {"rope_type": change.scaling, "factor": float(change.factor or 1.0)}
        if change.scaling == "yarn":
            main["original_max_position_embeddings"] = config.max_position_embeddings
    return parameters


def _parameters(config: Any) -> dict[str, Any]:
    found = getattr(config, "rope_parameters", None)
    if not isinstance(found, dict):
        raise ModelError(f"a model of the type {config.model_type} has no rotary positions that could be changed")
    return found


def _window(config: Any) -> int | None:
    """The window of the layers that have one: of all of them, or of those that `layer_types` names."""
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    return None if window is None or (layers is not None and LOCAL not in layers) else int(window)


def _set_window(backbone: nn.Module, window: int) -> None:
    config: Any = backbone.config
    config.sliding_window = int(window)
    for module in backbone.modules():
        # Layers of some models keep the number, and those that see everything keep None.
        if isinstance(getattr(module, "sliding_window", None), int):
            module.sliding_window = int(window)  # type: ignore[assignment]


def _rebuild(backbone: nn.Module) -> None:
    """The rotary frequencies anew, as the configuration now says."""
    old: Any = getattr(backbone, "rotary_emb", None)
    if old is None:
        raise ModelError(f"{type(backbone).__name__} has no rotary positions that could be changed")
    device = next(backbone.parameters()).device
    backbone.rotary_emb = type(old)(config=backbone.config).to(device)
