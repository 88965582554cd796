"""The recipe's training: its rows, its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from embedloom.recipe_section import Section
from embedloom.records import FAMILIES


class Source(Section):
    """Training rows besides the synthetic ones."""

    data: str
    """`sample:llm-written`, `path:FILE.jsonl`, `paper:SET`, a labelled set of the paper's mix from the hub, or
    `passages`: the run's own, from which `pairs` makes rows."""
    pairs: Literal["as-written", "same-text", "title-body", "neighbours"] = "as-written"
    """What makes a row: the file, or, without any label, a text and itself (told apart by dropout alone, SimCSE), a
    title and its text, a passage and the next one (E5)."""
    leave_out: list[str] = []
    """Families whose rows are not taken."""
    instruction: str = ""
    """For rows that have none."""
    limit: int = Field(default=0, ge=0)
    """Rows taken, drawn by the seed; 0 for all, or for the paper's share of its sets."""
    weight: float = Field(default=1.0, gt=0)
    """How often a row stands in an epoch: 0.5 keeps half of the rows, 2.0 takes each twice."""


class Train(Section):
    """The tuning of the base model (paper section 4)."""

    base: str = "registry:gemma3-270m"
    """A decoder or an encoder such as BERT, or the checkpoint of an earlier training (`path:runs/NAME/model`)."""
    sources: list[Source] = []
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=0, ge=0)
    """At most so many steps; 0 for no limit."""
    dev: list[str | list[str]] = []
    """Sets that the training is measured on as it goes, named as in `eval.sets`; of a folder its part `dev`, else
    `validation`, else `test`. No training row may repeat them."""
    dev_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training rows that is held out to measure on: each query is to find its own positives among the
    texts of all of them, and where rows have scores, cosines are to follow them."""
    dev_steps: int = Field(default=50, gt=0)
    """Steps from one measurement to the next; the weights with the best mean figure become the model."""
    batch_size: int = Field(default=32, gt=1)
    batches: Literal["mixed", "one-kind"] = "mixed"
    """Rows of all sources and families together, or each batch from one."""
    neighbourhood: int = Field(default=1, gt=0)
    """Rows about like things (BM25 between their positives) that stand in a batch together: harder negatives."""
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=4, ge=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=0.02, gt=0)
    query_negatives: bool = False
    """Other queries of the batch count as negatives too."""
    document_negatives: bool = False
    """Other documents of the batch count as negatives of a row's positive too."""
    false_negative_margin: float | None = Field(default=None, ge=0)
    """Negatives whose cosine is above the positive's plus this are left out; all stay if it is not given."""
    graded: list[str] = []
    """Families, such as "sts", whose rows with scores are ranked by them (CoSENT) in place of InfoNCE."""
    graded_temperature: float = Field(default=0.05, gt=0)
    dimensions: list[Annotated[int, Field(gt=0)]] = []
    """Lengths to which vectors may be cut later (Matryoshka), beside the whole; empty for the whole length alone."""
    hard_negatives: int = Field(default=1, ge=0)
    max_length: int = Field(default=512, ge=8)
    """Tokens of a text in training."""
    pooling: Literal["last", "mean", "weighted-mean", "cls"] = "last"
    prompt: Literal["instruction", "prefix", "none", "both"] = "instruction"
    """Before texts: the instruction before queries; `query: ` and `passage: `; nothing; instructions on both sides."""
    method: Literal["lora", "qlora", "full"] = "lora"
    """What is trained: LoRA weights, those on a base of 4 bits a weight (CUDA alone), or all weights."""
    checkpoint_layers: bool = False
    """Layers keep their inputs alone and are computed again on the way back: less memory, a third more time."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Layers as compiled code: `auto` where it pays, in bfloat16 on a CPU with a C++ compiler, from 100 steps on."""
    lora_targets: str | list[str] = "all-linear"
    """Layers that get LoRA weights, by name, such as ["q_proj", "v_proj"]."""
    lora_rank: int = Field(default=16, gt=0)
    lora_alpha: float = Field(default=32.0, gt=0)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = Field(default=0, ge=0)
    """Added to the recipe's: another training on the same data."""
    runs: int = Field(default=1, gt=0)
    """Trainings from as many seeds, whose weights are averaged: near the best or better, at their cost. On a CPU they
    go side by side, each on its share of the cores; else one after the other."""
    tracker: Literal["none", "tensorboard", "trackio"] = "none"
    """Where loss, gradient norm, learning rate, tokens/s and development figures are shown while the training runs."""
    save_every: int = Field(default=10, gt=0)
    token_budget: int = Field(default=0, ge=0)
    """Padded tokens of one forward pass; 0 for what suits the device."""
    graph_tokens: int = Field(default=0, ge=0)
    """Tokens whose graphs fit in memory; a larger batch goes through GradCache. 0 for what suits the device."""

    @field_validator("graded")
    @classmethod
    def _families(cls, graded: list[str]) -> list[str]:
        if unknown := [family for family in graded if family not in FAMILIES]:
            raise ValueError(f"unknown family {unknown[0]!r}, expected some of {', '.join(FAMILIES)}")
        return graded
