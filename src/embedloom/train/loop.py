"""The training loop: each step a function of (seed, step), and a state on disk from which a killed run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from embedloom.data.batches import batches, batches_of_one_kind
from embedloom.errors import RunError
from embedloom.records import Example, content_id, to_json
from embedloom.run import RecordLog, read_records, write_records
from embedloom.train.development import (
    DEVELOPMENT_FILE,
    Development,
    Measurement,
    ModelInTraining,
    better,
    measurement,
)
from embedloom.train.engine import Engine, engine_for
from embedloom.train.gradcache import loss_and_gradients
from embedloom.train.loss import Objective, batch_loss
from embedloom.train.optimizer import learning_rate
from embedloom.train.rows import token_batch
from embedloom.train.state import DIVERGED, Best, best_of, forget_other_bests, load_state, save_best, save_state

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from embedloom.model.inputs import InputContract
    from embedloom.train.processes import Processes

LOG_FILE = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the loop needs to know. `steps` optimizer steps, learning rate up over `warmup` and down to 0."""

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: int = 4
    weight_decay: float = 0.1
    clip: float = 1.0
    objective: Objective = field(default_factory=Objective)
    hard_negatives: int = 1
    graded: tuple[str, ...] = ()
    one_kind: bool = False
    neighbourhood: int = 1
    seed: int = 0
    save_every: int = 10
    token_budget: int = 1024
    graph_tokens: int = 6144


WITHOUT_EFFECT = frozenset({"graph_tokens", "token_budget", "save_every"})
"""Settings that differ between machines and can be changed in the middle of a training: the model that comes of it is
the same, but for the units that dropout leaves out, which are drawn by pass."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """What one step did. `tokens` counts no padding."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    seconds: float


def train(
    backbone: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    contract: InputContract,
    examples: Sequence[Example],
    settings: Settings,
    folder: Path,
    *,
    development: Development | None = None,
    on_step: Callable[[StepLog], None] | None = None,
    on_measurement: Callable[[Measurement], None] | None = None,
    processes: Processes | None = None,
) -> list[StepLog]:
    """Trains the weights of `backbone` that require gradients, and returns the log of all steps.

    State and log are kept in `folder`; called again with the same examples and settings it goes on behind the last
    state, on any number of processes. With a `development` the best weights are kept there too, for `trained`; those of
    the model are the last ones.

    Several `processes` call it with the same arguments and do each step together; the first one writes.

    Raises:
        RunError: the folder holds the state of another training, or another process is gone.
    """
    shapes = [(name, list(p.shape), p.requires_grad) for name, p in backbone.named_parameters()]
    told = {key: value for key, value in to_json(settings).items() if key not in WITHOUT_EFFECT}
    measured = [] if development is None else [development.identity, development.every]
    identity = content_id("training", told, to_json(contract), shapes, [example.id for example in examples], *measured)
    dimension = int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    if processes is not None:
        dtype = str(next(backbone.parameters()).dtype).removeprefix("torch.")
        processes.agree("weights in", dtype, 'choose one that all machines have: train.dtype = "float32" is such')
    engine = engine_for(backbone, processes, weight_decay=settings.weight_decay)
    # What the least of the machines has memory for: all processes do the same passes, in the same order.
    settings = replace(
        settings,
        token_budget=engine.least(settings.token_budget),
        graph_tokens=engine.least(settings.graph_tokens),
    )
    done, best = _resume(folder, identity, engine)
    logs = [log for log in read_records(folder / LOG_FILE, StepLog) if log.step < done] if done else []
    if processes is not None:
        processes.agree("the training", f"{identity} at step {done}")
    writes = engine.rank == 0
    if writes:
        _cut(folder, done, best, logs)
    order_of = batches_of_one_kind if settings.one_kind else batches
    order = order_of(examples, batch_size=settings.batch_size, seed=settings.seed, neighbourhood=settings.neighbourhood)
    with ExitStack() as opened:
        opened.enter_context(processes.explained() if processes is not None else nullcontext())
        log = opened.enter_context(RecordLog(folder / LOG_FILE)) if writes else None
        model = ModelInTraining(engine, tokenizer, contract, dimension=dimension, token_budget=settings.token_budget)

        def measure(step: int) -> Measurement:
            assert development is not None
            found = measurement(engine, model, development, step)
            if writes:
                with RecordLog(folder / DEVELOPMENT_FILE) as file:
                    file.append([found])
            if on_measurement is not None:
                on_measurement(found)
            return found

        if development is not None and done == 0:
            # Shows what the training adds, and at once if the sets can't be measured.
            measure(0)
        engine.model.train()
        for step, rows in enumerate(islice(order, done, settings.steps), done):
            entry = _step(engine, tokenizer, contract, [examples[row] for row in rows], settings, step)
            if log is not None:
                log.append([entry])
            logs.append(entry)
            last = step + 1 == settings.steps
            if (
                development is not None
                and (last or (step + 1) % development.every == 0)
                and better(found := measure(step + 1), best)
            ):
                save_best(folder, step + 1, engine)
                best = Best(step + 1, found.score)
            if (step + 1) % settings.save_every == 0 and not last:
                save_state(folder, identity, step + 1, engine, best)
            if on_step is not None:
                on_step(entry)
        save_state(folder, identity, settings.steps, engine, best)
    engine.model.eval()
    return logs


def _cut(folder: Path, done: int, best: Best | None, logs: Sequence[StepLog]) -> None:
    """Takes what lies behind the last state off the files: it is done again."""
    write_records(folder / LOG_FILE, logs)
    forget_other_bests(folder, best)
    path = folder / DEVELOPMENT_FILE
    if path.exists():
        kept = [found for found in read_records(path, Measurement) if done and found.step <= done]
        write_records(path, kept)


def _step(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    contract: InputContract,
    examples: Sequence[Example],
    settings: Settings,
    step: int,
) -> StepLog:
    started = time.perf_counter()
    device = engine.device
    # Dropout of step n is a function of (seed, n), so that a resumed run draws what an undisturbed one would.
    torch.manual_seed(int(content_id("step", settings.seed, step), 16) % 2**63)
    batch = token_batch(
        examples,
        tokenizer,
        contract,
        hard_negatives=settings.hard_negatives,
        seed=settings.seed,
        step=step,
        graded=settings.graded,
    )
    masks = batch.positive_B.to(device), batch.blocked_BM.to(device), batch.alike_BB.to(device)
    graded = None if batch.graded is None else batch.graded.to(device)

    def loss_of(vectors_ND: torch.Tensor) -> torch.Tensor:
        queries_BD, documents_MD = vectors_ND[: batch.query_count], vectors_ND[batch.query_count :]
        return batch_loss(queries_BD, documents_MD, *masks, settings.objective, graded)

    loss = loss_and_gradients(
        engine.model,
        batch.rows,
        loss_of,
        pooling=contract.pooling,
        pad=tokenizer.pad_token_id or 0,
        device=device,
        token_budget=settings.token_budget,
        graph_tokens=settings.graph_tokens,
        ranks=engine,
    )
    if not math.isfinite(loss):
        raise RunError(f"the loss of step {step + 1} is {loss}; {DIVERGED}")
    rate = learning_rate(step, peak=settings.learning_rate, warmup=settings.warmup, steps=settings.steps)
    norm = engine.step(rate, settings.clip)
    if not math.isfinite(norm):
        raise RunError(f"the gradient of step {step + 1} has the norm {norm}; {DIVERGED}")
    return StepLog(step, loss, norm, rate, batch.tokens, time.perf_counter() - started)


def _resume(folder: Path, identity: str, engine: Engine) -> tuple[int, Best | None]:
    state = load_state(folder)
    if state is None:
        return 0, None
    if state["identity"] != identity:
        raise RunError(
            f"{folder} holds the state of a training with other data or settings; delete it, or choose another run name"
        )
    engine.restore(state)
    return int(state["step"]), best_of(state)
