"""Training beside the sentence-transformers trainer in batches of 512: GradCache on both sides.

As `train-speed`, with their cached loss; texts are cut at 32 tokens, so that two steps take minutes on a CPU.
"""

from train_speed import Plan, beside


def measure() -> dict[str, object]:
    """Batches of 512 in parts; the second of two steps counts."""
    return beside(Plan(batch=512, steps=2, max_length=32, cached=True))
