"""The stage from rows to model: the training."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.developing import contents, development
from embedloom.cli.mixing import HELD_OUT
from embedloom.cli.pipeline import Run
from embedloom.cli.progress import bar, notice
from embedloom.cli.several import TRAIN
from embedloom.records import Example, content_id
from embedloom.run import read_records

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from embedloom.train.development import Measurement
    from embedloom.train.loop import Settings

MODEL = "model"
MINED = "mined.jsonl"
"""The training rows with the hard negatives that were mined for them, where the recipe asks for that."""
TRAINING = "training"
"""Folder of the trainer's state and log, below the run folder."""


def training_file(run: Run) -> str:
    """The file of the run that holds the rows to train on."""
    return "train.jsonl" if run.recipe.mine.retriever == "none" else MINED


def tune(run: Run) -> None:
    """Trains LoRA weights on the training rows and saves the merged checkpoint."""
    rows = training_file(run)
    told = {**run.recipe.train.model_dump(), "seed": run.recipe.seed, "max_length": run.recipe.eval.max_length}
    told |= {"dev_contents": contents(run)}
    inputs = [rows, *([HELD_OUT] if run.recipe.train.dev_share else [])]

    def work() -> dict[str, Any]:
        from embedloom.model.names import model_folder

        # What is wrong with a set is said before the other processes start.
        development(run)
        _clear_other_training(run.folder / TRAINING, content_id("train", told, *map(run.folder.content, inputs)))
        # Made ready once, before the other processes look for it.
        model_folder(run.recipe.train.base, notice)
        if run.processes is not None:
            run.processes.say(TRAIN)
        return train_together(run)

    files = [MODEL, f"{TRAINING}/log.jsonl"]
    run.stage("train", settings=told, inputs=inputs, files=files, work=work)
    if run.processes is not None:
        run.processes.dismiss()


def train_together(run: Run) -> dict[str, Any]:
    """The training in each of its processes, which may be one. The first one saves the checkpoint, and has figures."""
    import torch

    from embedloom.model.backbone import best_device, load_backbone, load_tokenizer, named_dtype, pass_tokens
    from embedloom.model.inputs import contract_for
    from embedloom.model.names import model_folder
    from embedloom.model.registry import licence_of
    from embedloom.model.shape import read_shape
    from embedloom.train.checkpoint import Origin, save_checkpoint
    from embedloom.train.estimate import GRAPH_SHARE, graph_bytes
    from embedloom.train.loop import StepLog, train
    from embedloom.train.lora import add_lora, averaged, merged, train_all
    from embedloom.train.state import best_score, steps_done, trained

    settings = run.recipe.train
    rows = training_file(run)
    processes = run.processes
    first = processes is None or processes.first
    # Sharded weights go to the device part by part, and never lie there whole.
    parted = processes is not None and processes.weights != "replicated"
    examples = list(read_records(run.folder / rows, Example))
    steps = max(1, round(settings.epochs * len(examples) / settings.batch_size))
    if settings.max_steps:
        steps = min(steps, settings.max_steps)
    device = best_device() if processes is None else processes.device
    place = torch.device("cpu") if parted else device
    base = model_folder(settings.base)
    tokenizer = load_tokenizer(base)
    contract = contract_for(tokenizer, max_length=settings.max_length, pooling=settings.pooling)
    dtype = named_dtype(settings.dtype, device)
    # A pass whose graph does not fit would end the training, however small the batch.
    fits = max(1, int(GRAPH_SHARE * _memory(device) / graph_bytes(read_shape(base), dtype.itemsize)))
    measured = development(run)
    plan = _loop_settings(run, steps, token_budget=min(pass_tokens(device), fits), graph_tokens=fits)
    logs: list[StepLog] = []
    best: list[float] = []
    whole: PreTrainedModel | None = None
    for number in range(settings.runs):
        seed = run.recipe.seed + number
        backbone = load_backbone(base, device=place, dtype=dtype)
        adapter: Callable[[Any], Any] = train_all
        if settings.method == "lora":
            adapter = partial(
                add_lora,
                rank=settings.lora_rank,
                alpha=settings.lora_alpha,
                dropout=settings.lora_dropout,
                seed=seed,
                targets=settings.lora_targets,
            )
        model = adapter(backbone)
        folder = run.folder / TRAINING / (f"run-{number + 1}" if number else "")
        folder.mkdir(exist_ok=True)
        title = "train" if processes is None else f"train on {processes.count}"
        if settings.runs > 1:
            title = f"{title}, {number + 1} of {settings.runs}"
        done = min(steps, steps_done(folder))
        with bar(title, steps, done=done, unit="steps") if first else nullcontext() as advance:
            told = {"score": ""}

            def show(log: StepLog, advance: Any = advance, told: dict[str, str] = told) -> None:
                if advance is not None:
                    advance.note = f"loss {log.loss:.3f}, {log.tokens / log.seconds:.0f} tokens/s{told['score']}"
                    advance(1)

            def show_score(found: Measurement, told: dict[str, str] = told) -> None:
                told["score"] = f", dev {100 * found.score:.1f}"

            logs += train(
                model, tokenizer, contract, examples, dataclasses.replace(plan, seed=seed), folder,
                development=measured, on_step=show, on_measurement=show_score, processes=processes,
            )  # fmt: skip
        if first:
            if parted:
                model = adapter(load_backbone(base, device=place, dtype=dtype))
            if parted or measured is not None:
                model = trained(model, folder)
            if (score := best_score(folder)) is not None:
                best.append(score)
            one = merged(model, torch.float32)
            whole = one if whole is None else averaged(whole, one, number + 1)
    if processes is not None:
        processes.leave()
    if whole is None:
        return {}
    identity = save_checkpoint(
        run.folder / MODEL,
        whole,
        tokenizer,
        dataclasses.replace(contract, max_length=run.recipe.eval.max_length),
        Origin(
            base=settings.base,
            instructions=_instructions(examples),
            settings=settings.model_dump(mode="json"),
            rows=len(examples),
            licence=licence_of(settings.base),
        ),
    )
    figures = {"steps": len(logs), "tokens": sum(log.tokens for log in logs), "fingerprint": identity}
    return figures | ({"dev": [round(score, 4) for score in best]} if best else {})


def _loop_settings(run: Run, steps: int, *, token_budget: int, graph_tokens: int) -> Settings:
    """What the loop is told, the same for every run but for the seed; the figures hold where the recipe has none."""
    from embedloom.train.loop import Settings
    from embedloom.train.loss import Objective

    settings = run.recipe.train
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
            dimensions=tuple(settings.dimensions),
        ),
        hard_negatives=settings.hard_negatives,
        one_kind=settings.batches == "one-kind",
        neighbourhood=settings.neighbourhood,
        save_every=settings.save_every,
        token_budget=settings.token_budget or token_budget,
        graph_tokens=settings.graph_tokens or graph_tokens,
    )


def _clear_other_training(folder: Path, key: str) -> None:
    """Removes state and log of a training with other settings or rows; a training with the same key goes on."""
    mark = folder / "key"
    if mark.exists() and mark.read_text(encoding="utf-8") != key:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(key, encoding="utf-8")


def _instructions(examples: Sequence[Example]) -> dict[str, str]:
    """The instructions that most rows carry, by a name made of their family, for the checkpoint's prompts."""
    counts: dict[tuple[str, str], int] = {}
    for example in examples:
        place = (example.family or "query", example.instruction)
        counts[place] = counts.get(place, 0) + 1
    named: dict[str, str] = {}
    for (family, instruction), _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:64]:
        name = family if family not in named else f"{family}-{sum(key.startswith(family) for key in named) + 1}"
        named[name] = instruction
        if len(named) == 12:
            break
    return named


def _memory(device: Any) -> int:
    """Bytes of a device's memory; for a CPU, this process' share of the machine's."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // processes
