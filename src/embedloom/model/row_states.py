"""Keys and values of rows that begin alike: the beginning's stand once for all, each row's own in a place made for it.

A cache that repeats the beginning for every row, and grows by copying, costs more than the model itself when short
replies follow long prompts. Here a row has a slot; what it says next is written into it, and another row may take the
slot when it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from embedloom.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

NAME = "embedloom_rows"
GRAIN = 64
"""Room for tokens is made in steps of so many."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What rows begin with: its token ids, and its keys and values by layer, of shape (key heads, length, width)."""

    ids: tuple[int, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]


@dataclass(slots=True)
class RowStates:
    """Slots of rows behind one beginning. The tokens of slot b stand at places `first[b]` to `last[b]`, both included.

    Passed to a model as its cache and, by name, to `row_attention`; between `begin` or `go_on` and the next call, one
    forward pass.

    Args:
        beginning: what every row begins with.
        slots: rows at once.
        device: where all of it lies.
    """

    beginning: Beginning
    slots: int
    device: torch.device
    first: Tensor = field(init=False)
    last: Tensor = field(init=False)
    _layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _new: Tensor | None = None
    _at: Tensor = field(init=False)
    _capacity: int = 0
    _longest: int = 0
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first = torch.zeros(self.slots, dtype=torch.long, device=self.device)
        self.last = torch.zeros(self.slots, dtype=torch.long, device=self.device)

    def begin(self, slots: Sequence[int], lengths: Sequence[int], more: int) -> Tensor:
        """Says that the next pass is over the first tokens of new rows, padded on the left.

        Args:
            slots: their slots; what stood there is forgotten.
            lengths: tokens of each.
            more: tokens that each may add.

        Returns:
            Their positions, shape (rows, longest).
        """
        longest = max(lengths)
        self._grow(longest + more)
        self._new = torch.tensor(slots, device=self.device)
        self.first[self._new] = longest - torch.tensor(lengths, device=self.device)
        self.last[self._new] = longest - 1
        self._at = torch.arange(longest, device=self.device).expand(len(slots), -1)
        self._longest = longest
        self._masks = {}
        return (self._at - self.first[self._new, None]).clamp(min=0) + len(self.beginning.ids)

    def go_on(self) -> Tensor:
        """Says that the next pass is over one more token of every slot; positions, shape (slots, 1)."""
        self._new = None
        self.last += 1
        self._at = self.last[:, None]
        self._longest = int(self.last.max()) + 1
        self._masks = {}
        return self._at - self.first[:, None] + len(self.beginning.ids)

    def keep(self, slots: Sequence[int]) -> None:
        """Gives up all slots but these, which are numbered anew in this order."""
        chosen = torch.tensor(slots, device=self.device)
        self._layers = [(keys[chosen], values[chosen]) for keys, values in self._layers]
        self.first, self.last, self.slots = self.first[chosen], self.last[chosen], len(slots)

    def rest(self, slot: int) -> None:
        """Lets a slot that nobody uses stay short, so that it makes no other's pass longer."""
        self.first[slot] = self.last[slot] = 0

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes what a pass computed, shape (rows, key heads, new, width), and returns what its rows may look at."""
        if layer == len(self._layers):
            shape = (self.slots, keys.shape[1], self._capacity, keys.shape[3])
            self._layers.append((keys.new_zeros(shape), values.new_zeros(shape)))
        held_keys, held_values = self._layers[layer]
        if self._new is not None:
            held_keys[self._new, :, : keys.shape[2]] = keys
            held_values[self._new, :, : keys.shape[2]] = values
            return keys, values
        rows = torch.arange(self.slots, device=self.device)
        held_keys[rows, :, self.last] = keys[:, :, 0]
        held_values[rows, :, self.last] = values[:, :, 0]
        return held_keys[:, :, : self._longest], held_values[:, :, : self._longest]

    def _grow(self, capacity: int) -> None:
        if capacity > self._capacity:
            self._capacity = -(-capacity // GRAIN) * GRAIN
            self._layers = [(self._wider(keys), self._wider(values)) for keys, values in self._layers]

    def _wider(self, states: Tensor) -> Tensor:
        out = states.new_zeros((*states.shape[:2], self._capacity, states.shape[3]))
        out[:, :, : states.shape[2]] = states
        return out

    def get_seq_length(self, *_: Any) -> int:
        """Tokens before the pass; a model asks for it, though it is told every position."""
        return len(self.beginning.ids)

    def hidden(self, window: int | None) -> Tensor:
        """What a pass's queries may not look at: shape (rows, 1, queries, beginning + own keys); True hides.

        Args:
            window: the last tokens that a layer looks at, a query's own included; all if None.
        """
        if window not in self._masks:
            self._masks[window] = self._hidden(window)
        return self._masks[window]

    def _hidden(self, window: int | None) -> Tensor:
        first = self.first if self._new is None else self.first[self._new]
        keys = torch.arange(-len(self.beginning.ids), self._longest, device=self.device)
        # Places of the beginning's tokens as each row sees them: they end where its own begin.
        places = torch.where(keys < 0, keys + first[:, None], keys)
        behind = self._at[:, :, None] - places[:, None, :]
        out = (behind < 0) | ((keys >= 0) & (keys < first[:, None]))[:, None, :]
        if window is not None:
            out |= behind >= window
        # A padding token looks at itself alone: a softmax over nothing would be no number.
        own = keys[None, None, :] == self._at[:, :, None]
        return (out & ~own).unsqueeze(1)


def use_row_states(model: nn.Module) -> None:
    """Lets a causal language model's layers attend through `row_attention`; nothing else about it changes.

    Raises:
        ModelError: the model's layers can't be given another attention, or it looks at later tokens too.
    """
    config: Any = model.config
    if getattr(config, "use_bidirectional_attention", False):
        raise ModelError(f"{type(model).__name__} attends in both directions; text is written by a causal decoder")
    ALL_ATTENTION_FUNCTIONS.register(NAME, row_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(NAME)  # type: ignore[operator]
    if config._attn_implementation != NAME:
        raise ModelError(f"{type(model).__name__} has an attention of its own, which can't share a beginning")


def compute_beginning(model: PreTrainedModel, ids: Sequence[int]) -> Beginning:
    """The keys and values of a beginning; none for an empty one."""
    if not ids:
        return Beginning((), ())
    # No configuration given: layers with a sliding window keep the whole beginning too, for rows to read at an offset.
    cache = DynamicCache()
    ids_1L = torch.tensor([list(ids)], device=model.device)
    model(input_ids=ids_1L, past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers: Sequence[Any] = cache.layers
    return Beginning(tuple(ids), tuple((layer.keys[0], layer.values[0]) for layer in layers))


def row_pass(model: nn.Module, ids_BL: Tensor, positions_BL: Tensor, rows: RowStates) -> Tensor:
    """Logits of the last token of each row of a pass, shape (rows, vocabulary)."""
    # A mask of four dimensions is taken as it is, so that none is made; what may be seen is known to `rows`.
    none = torch.zeros((1, 1, 1, 1), dtype=torch.bool, device=ids_BL.device)
    output = model(
        input_ids=ids_BL,
        attention_mask=none,
        position_ids=positions_BL,
        past_key_values=rows,
        use_cache=True,
        logits_to_keep=1,
        rows=rows,
    )
    logits: Tensor = output.logits[:, -1]
    return logits


def row_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    rows: RowStates | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of rows over their common beginning and their own tokens; torch's own where there are no such rows and
    no bound of the products, which it does not know.

    Args:
        module: the layer's attention; tells its number.
        query: shape (rows, heads, queries, width).
        key: shape (rows, key heads, own keys, width).
        value: as `key`.
        attention_mask: True where a query may look, or none for causal attention; unused with rows.
        scaling: of the products; 1 / sqrt(width) if left out.
        sliding_window: tokens that a query reaches; all before it if left out.
        softcap: a bound of the products, reached smoothly.
        rows: the slots.
        **others: for torch's own.

    Returns:
        Shape (rows, queries, heads, width), and no weights.
    """
    if rows is None and softcap is None:
        plain: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]
        found: tuple[Tensor, None] = plain(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **others
        )
        return found
    batch, heads, queries, width = query.shape
    key_heads = key.shape[1]
    scale = scaling if scaling is not None else width**-0.5
    # The heads that share a key head are more queries of it: no key is repeated.
    query = (query * scale).reshape(batch, key_heads, heads // key_heads * queries, width)
    scores = query @ key.transpose(2, 3)
    length = len(rows.beginning.ids) if rows is not None else 0
    if rows is not None and length:
        begun_keys, begun_values = rows.beginning.layers[cast("int", module.layer_idx)]
        together = query.transpose(0, 1).reshape(key_heads, -1, width)
        first = (together @ begun_keys.transpose(1, 2)).reshape(key_heads, batch, query.shape[2], length)
        scores = torch.cat([first.transpose(0, 1), scores], dim=-1)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if rows is not None:
        hidden = rows.hidden(sliding_window)
    elif attention_mask is not None:
        hidden = ~attention_mask
    else:
        hidden = scores.new_ones((queries, key.shape[2]), dtype=torch.bool).triu(key.shape[2] - queries + 1)
    scores = scores.reshape(batch, heads, queries, -1).masked_fill_(hidden, float("-inf"))
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype).reshape(batch, key_heads, query.shape[2], -1)
    out = weights[..., length:] @ value
    if length:
        first = weights[..., :length].transpose(0, 1).reshape(key_heads, -1, length) @ begun_values
        out = out + first.reshape(key_heads, batch, query.shape[2], width).transpose(0, 1)
    return out.reshape(batch, heads, queries, width).transpose(1, 2).contiguous(), None
