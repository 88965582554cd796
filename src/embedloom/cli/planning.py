"""What a recipe's training comes to on this machine: rows, model, settings of the loop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.developing import development
from embedloom.cli.pipeline import Run
from embedloom.errors import RecipeError
from embedloom.records import Example
from embedloom.run import read_records
from embedloom.workers import memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from embedloom.model.inputs import InputContract
    from embedloom.recipe_train import Train
    from embedloom.train.development import Development
    from embedloom.train.loop import Settings

MINED = "mined.jsonl"
"""The training rows with the hard negatives that were mined for them, where the recipe asks for that."""
STEPS_TO_COMPILE = 100
"""A shorter training is over before compiled layers have made up for the time that compiling them takes."""


@dataclass(frozen=True)
class Plan:
    """A training, but for the seed. `place` is where the weights are read to, `device` where the tokens go."""

    settings: Train
    base: Path
    tokenizer: PreTrainedTokenizerBase
    contract: InputContract
    examples: list[Example]
    loop: Settings
    development: Development | None
    device: torch.device
    place: torch.device
    dtype: torch.dtype
    several: bool
    """Whether other processes train with this one."""

    def model(self, seed: int) -> Any:
        """The base with what is to be trained; the first LoRA weights are a function of `seed`."""
        from embedloom.model.backbone import load_backbone
        from embedloom.model.compiled import compile_layers
        from embedloom.model.packed import use_packed_passes
        from embedloom.model.recompute import compute_layers_again

        quantized = self.settings.method == "qlora"
        backbone = load_backbone(self.base, device=self.place, dtype=self.dtype, four_bits=quantized)
        # Sharded weights are read on the CPU, wherever they are computed with.
        use_packed_passes(backbone, self.device)
        model = self._adapted(backbone, seed)
        if self.settings.checkpoint_layers:
            compute_layers_again(model)
        if self._compiles(model):
            compile_layers(model)
        return model

    def whole_model(self) -> Any:
        """The base whole and unquantized in the CPU's memory, to be given the weights that were trained."""
        import torch

        from embedloom.model.backbone import load_backbone

        return self._adapted(load_backbone(self.base, device=torch.device("cpu"), dtype=torch.float32), 0)

    @property
    def parted(self) -> bool:
        """Whether the model in training has not all weights as they are."""
        return self.settings.method == "qlora" or self.place != self.device

    def _compiles(self, model: Any) -> bool:
        from embedloom.model.compiled import pays_to_compile

        if self.settings.compile != "auto":
            return self.settings.compile == "always"
        simple = not (self.parted or self.several or self.settings.checkpoint_layers)
        return simple and self.loop.steps >= STEPS_TO_COMPILE and pays_to_compile(model)

    def _adapted(self, backbone: Any, seed: int) -> Any:
        from embedloom.train.lora import add_lora, train_all

        settings = self.settings
        if settings.method == "full":
            return train_all(backbone)
        return add_lora(
            backbone,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            seed=seed,
            targets=settings.lora_targets,
        )


def training_file(run: Run) -> str:
    """The file of the run that holds the rows to train on."""
    return "train.jsonl" if run.recipe.mine.retriever == "none" else MINED


def plan(run: Run, *, at_once: int = 1) -> Plan:
    """Reads rows, sets and tokenizer, and chooses what the recipe leaves to the machine.

    Args:
        run: with the rows.
        at_once: trainings that share this machine's memory.

    Raises:
        RecipeError: the recipe asks for what this machine or these processes can't do.
    """
    import torch

    from embedloom.model.backbone import best_device, load_tokenizer, named_dtype, pass_tokens
    from embedloom.model.names import model_folder
    from embedloom.model.packed import LONGEST
    from embedloom.model.shape import read_shape
    from embedloom.train.estimate import graph_bytes, graph_room, resident_bytes

    settings, processes = run.recipe.train, run.processes
    # Sharded weights go to the device part by part, and never lie there whole.
    parted = processes is not None and processes.weights != "replicated"
    if parted and settings.method == "qlora":
        raise RecipeError('train.method "qlora" needs whole weights in every process; use recipes/accelerate/ddp.yaml')
    if settings.compile == "always" and (parted or settings.checkpoint_layers or settings.method == "qlora"):
        raise RecipeError('train.compile "always" wants whole weights, computed once; use "auto" or "never"')
    if settings.checkpoint_layers and processes is not None and processes.weights == "zero":
        raise RecipeError("train.checkpoint_layers doesn't work with DeepSpeed; use recipes/accelerate/fsdp2.yaml")
    examples = list(read_records(run.folder / training_file(run), Example))
    steps = max(1, round(settings.epochs * len(examples) / settings.batch_size))
    if settings.max_steps:
        steps = min(steps, settings.max_steps)
    device = best_device() if processes is None else processes.device
    base = model_folder(settings.base)
    tokenizer = load_tokenizer(base)
    dtype = named_dtype(settings.dtype, device)
    # A pass whose graph does not fit would end the training, however small the batch.
    shape = read_shape(base)
    resident = resident_bytes(
        shape,
        rank=settings.lora_rank,
        item_bytes=dtype.itemsize,
        full=settings.method == "full",
        four_bits=settings.method == "qlora",
    )
    if (longest := max(settings.dimensions, default=0)) > shape.hidden:
        raise RecipeError(f"train.dimensions has {longest}, and vectors of {settings.base} have {shape.hidden} numbers")
    # Who cuts some vectors leaves others whole.
    lengths = tuple(dict.fromkeys([*settings.dimensions, shape.hidden])) if settings.dimensions else ()
    room = graph_room(_memory(device) / at_once, sum(resident), sharded=parted)
    attended = min(settings.max_length, LONGEST) if device.type == "cpu" else 0
    each = graph_bytes(shape, dtype.itemsize, again=settings.checkpoint_layers, attended=attended)
    fits = max(1, int(room / each))
    loop = _loop_settings(
        settings, steps, lengths=lengths, token_budget=min(pass_tokens(device, dtype), fits), graph_tokens=fits
    )
    return Plan(
        settings=settings,
        base=base,
        tokenizer=tokenizer,
        contract=training_contract(settings, tokenizer),
        examples=examples,
        loop=loop,
        development=development(run),
        device=device,
        place=torch.device("cpu") if parted else device,
        dtype=dtype,
        several=processes is not None,
    )


def training_contract(settings: Train, tokenizer: PreTrainedTokenizerBase) -> InputContract:
    """How the training reads texts."""
    from embedloom.model.inputs import contract_for

    return contract_for(tokenizer, max_length=settings.max_length, pooling=settings.pooling, prompt=settings.prompt)


def _loop_settings(
    settings: Train, steps: int, *, lengths: tuple[int, ...], token_budget: int, graph_tokens: int
) -> Settings:
    """What the loop is told; the figures of tokens hold where the recipe has none."""
    from embedloom.train.loop import Settings
    from embedloom.train.loss import Objective

    return Settings(
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup=min(settings.warmup, max(1, steps // 4)),
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        objective=Objective(
            temperature=settings.temperature,
            query_negatives=settings.query_negatives,
            document_negatives=settings.document_negatives,
            false_negative_margin=settings.false_negative_margin,
            dimensions=lengths,
            graded_temperature=settings.graded_temperature,
        ),
        graded=tuple(settings.graded),
        hard_negatives=settings.hard_negatives,
        one_kind=settings.batches == "one-kind",
        neighbourhood=settings.neighbourhood,
        save_every=settings.save_every,
        token_budget=settings.token_budget or token_budget,
        graph_tokens=settings.graph_tokens or graph_tokens,
    )


def _memory(device: torch.device) -> int:
    """Bytes of a device's memory; for a CPU, this process' share of the machine's."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory() // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
