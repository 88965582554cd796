"""What a training will cost, before it starts: parameters, memory by part, floating-point work, hours by device."""

from __future__ import annotations

from dataclasses import dataclass

from embedloom.model.shape import Shape

DEVICES = {
    "V100": (112.0, 32),
    "L4": (121.0, 24),
    "RTX 4090": (165.0, 24),
    "A100": (312.0, 80),
    "H100": (989.0, 80),
    "H200": (989.0, 141),
}
"""Peak TFLOP/s of dense products in 16 bits with sums in 32, and GiB of memory, from the makers' data sheets."""

EFFICIENCY = 0.4
"""Share of the peak that a training is taken to reach."""

GRAPH_SHARE, SHARDED_SHARE, LEAST_SHARE = 0.6, 0.4, 0.1
"""What graphs may take; what a batch needs beyond it is computed twice (GradCache). A share of what a device's memory
has beside the weights, or of the whole where these are sharded, and never less than the last of the whole."""

FOUR_BITS = 0.516
"""Bytes of a weight of 4 bits with its share of the scales, which are quantized too (QLoRA)."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Cost:
    """Work and memory. Bytes are of one device that holds everything; `flops` of the whole training."""

    rows: int
    steps: int
    tokens: int
    flops: float
    parameters: int
    trained: int
    weight_bytes: int
    training_bytes: int
    pass_bytes: int

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return self.weight_bytes + self.training_bytes + self.pass_bytes

    def hours(self, tflops: float, *, devices: int = 1, efficiency: float = EFFICIENCY) -> float:
        """Hours on so many devices of a peak rate."""
        return self.flops / (tflops * 1e12 * efficiency * devices) / 3600


def training_cost(
    shape: Shape,
    *,
    rows: int,
    tokens_per_row: float,
    steps: int,
    batch_size: int,
    text_tokens: float,
    rank: int,
    item_bytes: int,
    pass_tokens: int,
    graph_tokens: int,
    full: bool = False,
    runs: int = 1,
    again: bool = False,
    four_bits: bool = False,
) -> Cost:
    """Adds up what a training costs: of LoRA weights, or of all.

    A token costs twice the matrices' weights forward and, since those are frozen, once more the same on the way back.
    What of a batch goes beyond `graph_tokens` is computed forward twice (GradCache).

    Args:
        shape: of the base model.
        rows: training rows.
        tokens_per_row: mean tokens of a query with its positive and negatives.
        steps: optimizer steps.
        batch_size: rows of a step.
        text_tokens: mean tokens of a text, for attention.
        rank: of the adapters.
        item_bytes: of a frozen weight.
        pass_tokens: of one forward pass.
        graph_tokens: whose graph is kept.
        full: all weights are trained, not adapters; their gradients cost as much again.
        runs: trainings that are averaged.
        again: layers keep their inputs alone, and are computed again on the way back.
        four_bits: the frozen matrices have 4 bits a weight.
    """
    step_tokens = batch_size * tokens_per_row
    trained = shape.parameters if full else shape.adapter_weights(rank)
    beside = 0 if full else trained
    # Scores and their weighted sum: two products over half the text on average, in every layer.
    attention = shape.layers * 2 * text_tokens * shape.heads * shape.head_dimension
    forward = 2 * shape.matrix_weights + 2 * beside + attention
    twice = max(0.0, 1 - graph_tokens / step_tokens) if step_tokens else 0.0
    backward = (4 if full else 2) * shape.matrix_weights + 4 * beside + 2 * attention + (forward if again else 0)
    tokens = steps * step_tokens
    weights, training = resident_bytes(shape, rank=rank, item_bytes=item_bytes, full=full, four_bits=four_bits)
    kept = min(step_tokens, max(graph_tokens, pass_tokens))
    return Cost(
        rows=rows,
        steps=steps * runs,
        tokens=round(tokens * runs),
        flops=runs * tokens * (forward * (1 + twice) + backward),
        parameters=shape.parameters,
        trained=trained,
        weight_bytes=weights,
        training_bytes=training,
        # On the way back one layer of a pass at a time has its graph whole.
        pass_bytes=round(
            kept * graph_bytes(shape, item_bytes, again=again)
            + (pass_tokens * graph_bytes(shape, item_bytes) / shape.layers if again else 0)
        ),
    )


def resident_bytes(
    shape: Shape, *, rank: int, item_bytes: int, full: bool = False, four_bits: bool = False
) -> tuple[int, int]:
    """Bytes of the weights, and of what is trained with its gradient and the optimizer's state.

    Arguments are those of `training_cost`.
    """
    trained = shape.parameters if full else shape.adapter_weights(rank)
    embeddings = shape.parameters - shape.matrix_weights
    weights = shape.matrix_weights * (FOUR_BITS if four_bits else item_bytes) + embeddings * item_bytes
    # The adapter and its gradient in the base's precision; master, and two moments of AdamW, in float32.
    return round(weights), trained * (12 + (1 if full else 2) * item_bytes)


def graph_room(memory: float, resident: float, *, sharded: bool = False) -> float:
    """Bytes that graphs may take of a device's memory.

    Args:
        memory: of the device, or of this training's part in it.
        resident: what the weights, the gradients and the optimizer have there.
        sharded: whether that is spread over more or fewer devices; how many they are must not change the passes.
    """
    return SHARDED_SHARE * memory if sharded else max(GRAPH_SHARE * (memory - resident), LEAST_SHARE * memory)


def graph_bytes(shape: Shape, item_bytes: int, *, again: bool = False, attended: int = 0) -> int:
    """Bytes of a token's graph: about 14 states of the width, 5 of the inner width and 4 of the heads a layer.

    Args:
        shape: of the model.
        item_bytes: of a state.
        again: layers are computed again on the way back, and keep one state of the width.
        attended: tokens whose weights in attention are kept for each token, as packed passes do; 0 where none are.
    """
    if again:
        return shape.layers * shape.hidden * item_bytes
    heads = shape.heads * (4 * shape.head_dimension + attended)
    return shape.layers * (14 * shape.hidden + 5 * shape.inner + heads) * item_bytes
