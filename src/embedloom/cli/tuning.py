"""The stage from rows to model: the training."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.developing import contents, development
from embedloom.cli.mixing import HELD_OUT
from embedloom.cli.pipeline import Run
from embedloom.cli.planning import Plan, plan, training_file
from embedloom.cli.progress import bar, notice
from embedloom.cli.run_history import STEP_LOG
from embedloom.cli.several import TRAIN
from embedloom.cli.side_by_side import side_by_side
from embedloom.records import Example, content_id
from embedloom.workers import cores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from embedloom.recipe import Recipe
    from embedloom.train.development import Measurement
    from embedloom.train.loop import StepLog

MODEL = "model"
TRAINING = "training"
"""Folder of the trainer's state and log, below the run folder."""
KEY = "key"
"""File in it that tells one training from another."""


def tune(run: Run) -> None:
    """Trains LoRA weights on the training rows and saves the merged checkpoint."""
    rows = training_file(run)
    told = {**identity(run.recipe), "dev_contents": contents(run)}
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
        if len(several := _at_once(run)) > 1:
            side_by_side(partial(train_one_seed, run), several)
        return train_together(run)

    files = [MODEL, STEP_LOG]
    # The model that comes of a training says how much of a text it reads, too.
    told_model = {**told, "reads": run.recipe.eval.max_length}
    run.stage("train", settings=told_model, inputs=inputs, files=files, work=work)
    if run.processes is not None:
        run.processes.dismiss()


def identity(recipe: Recipe) -> dict[str, Any]:
    """What makes a recipe's training another one, but for its rows: not who watches it, nor how the work is cut."""
    from embedloom.train.loop import WITHOUT_EFFECT

    settings = recipe.train.model_dump(exclude={*WITHOUT_EFFECT, "tracker"})
    return {**settings, "seed": recipe.seed + recipe.train.seed, "base_content": checkpoint_content(recipe.train.base)}


def train_together(run: Run) -> dict[str, Any]:
    """The training in each of its processes, which may be one. The first one saves the checkpoint, and has figures."""
    import torch

    from embedloom.model.registry import licence_of
    from embedloom.train.adapter import Adapter, adapter_of, averaged_adapter
    from embedloom.train.checkpoint import Origin, save_checkpoint
    from embedloom.train.lora import averaged, merged
    from embedloom.train.state import best_score, trained

    planned, settings = plan(run), run.recipe.train
    logs: list[StepLog] = []
    best: list[float] = []
    adapters: list[Adapter] = []
    whole: PreTrainedModel | None = None
    for number in range(settings.runs):
        folder = _folder(run, number)
        model = planned.model(run.recipe.seed + settings.seed + number)
        logs += _train_one(run, planned, model, number)
        if run.processes is None or run.processes.first:
            if planned.parted:
                model = planned.whole_model()
            if planned.parted or planned.development is not None:
                model = trained(model, folder)
            if (score := best_score(folder)) is not None:
                best.append(score)
            if settings.method != "full":
                adapters.append(adapter_of(model))
            one = merged(model, torch.float32)
            whole = one if whole is None else averaged(whole, one, number + 1)
    if run.processes is not None:
        run.processes.leave()
    if whole is None:
        return {}
    identity = save_checkpoint(
        run.folder / MODEL,
        whole,
        planned.tokenizer,
        dataclasses.replace(planned.contract, max_length=run.recipe.eval.max_length),
        Origin(
            base=settings.base,
            instructions=_instructions(planned.examples),
            settings=settings.model_dump(mode="json"),
            rows=len(planned.examples),
            licence=licence_of(settings.base),
        ),
        adapter=averaged_adapter(adapters) if adapters else None,
    )
    figures = {"steps": len(logs), "tokens": sum(log.tokens for log in logs), "fingerprint": identity}
    return figures | ({"dev": [round(score, 4) for score in best]} if best else {})


def train_one_seed(run: Run, number: int) -> None:
    """One of several trainings side by side, to be gone on with from its state. The first one shows how it goes."""
    planned = plan(run, at_once=run.recipe.train.runs)
    model = planned.model(run.recipe.seed + run.recipe.train.seed + number)
    _train_one(run, planned, model, number, shown=number == 0)


def _at_once(run: Run) -> list[int]:
    """The trainings that have steps to do, if this machine has several cores, and the memory to do them side by side.

    More of them than there are cores take turns: with three on two, none of the cores waits for the last.
    """
    from embedloom.train.state import steps_done

    runs = run.recipe.train.runs
    if runs == 1 or run.processes is not None or cores() == 1:
        return []
    planned = plan(run)
    if planned.device.type != "cpu" or plan(run, at_once=runs).loop.token_budget < planned.loop.token_budget:
        return []
    return [number for number in range(runs) if steps_done(_folder(run, number)) < planned.loop.steps]


def _folder(run: Run, number: int) -> Path:
    """Where a training keeps its state and log."""
    folder = run.folder / TRAINING / (f"run-{number + 1}" if number else "")
    folder.mkdir(exist_ok=True)
    return folder


def _train_one(run: Run, planned: Plan, model: Any, number: int, *, shown: bool = True) -> list[StepLog]:
    """Trains the model of one seed, and shows how it goes."""
    from embedloom.train.loop import train
    from embedloom.train.state import steps_done
    from embedloom.train.tracker import track_measurement, track_step, tracker

    settings, processes, folder = run.recipe.train, run.processes, _folder(run, number)
    first = processes is None or processes.first
    title = "train" if processes is None else f"train on {processes.count}"
    if settings.runs > 1:
        title = f"{title}, {number + 1} of {settings.runs}"
    steps = planned.loop.steps
    done = min(steps, steps_done(folder))
    with ExitStack() as opened:
        advance = opened.enter_context(bar(title, steps, done=done, unit="steps")) if first and shown else None
        tracked = opened.enter_context(
            tracker(
                settings.tracker if first else "none",
                folder,
                project=run.recipe.name,
                name=_run_name(run, number),
                done=done,
                settings=settings.model_dump(mode="json"),
            )
        )
        score = ""

        def on_step(log: StepLog) -> None:
            track_step(tracked, log)
            if advance is not None:
                advance.note = f"loss {log.loss:.3f}, {log.tokens / log.seconds:.0f} tokens/s{score}"
                advance(1)

        def on_measurement(found: Measurement) -> None:
            nonlocal score
            track_measurement(tracked, found)
            score = f", dev {100 * found.score:.1f}"

        return train(
            model,
            planned.tokenizer,
            planned.contract,
            planned.examples,
            dataclasses.replace(planned.loop, seed=run.recipe.seed + run.recipe.train.seed + number),
            folder,
            development=planned.development,
            on_step=on_step,
            on_measurement=on_measurement,
            processes=processes,
        )


def _run_name(run: Run, number: int) -> str:
    """Tells trainings of one recipe apart: one that goes on has the name that it had."""
    mark = run.folder / TRAINING / KEY
    key = mark.read_text(encoding="utf-8")[:6] if mark.exists() else ""
    return "-".join(filter(None, [run.recipe.name, key, str(number + 1) if number else ""]))


def checkpoint_content(base: str) -> str:
    """What a base is beside its name, where it is a checkpoint of ours: trained anew it has another fingerprint."""
    from embedloom.model.encoder import CHECKPOINT_FILE, read_checkpoint_file

    folder = Path(base.removeprefix("path:")).expanduser()
    stored = read_checkpoint_file(folder) if (folder / CHECKPOINT_FILE).is_file() else None
    return "" if stored is None else str(stored["fingerprint"])


def _clear_other_training(folder: Path, key: str) -> None:
    """Removes state and log of a training with other settings or rows; a training with the same key goes on."""
    mark = folder / KEY
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
