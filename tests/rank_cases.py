"""What the ranks of a test do: gradients of one batch, and whole trainings, each step checked against one process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.records import Example
from tiny import WORDS, model_of, tokenizer_of
from toy_training import SETTINGS, finds_its_own, toy_training

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from embedloom.train.loop import StepLog
    from embedloom.train.rows import TokenBatch

SEED = 4
BUDGET = 48
"""Padded tokens of a pass: several passes even with four ranks."""


def a_batch(kind: str, rows: int) -> TokenBatch:
    """Rows of one to twenty words, each with a hard negative."""
    from embedloom.model.inputs import contract_for
    from embedloom.train.rows import token_batch

    words = WORDS.split()
    examples = [
        Example("Find the words", " ".join(words[n : n + 3]), (" ".join(words[n : 2 * n + 9]),), (words[-n],))
        for n in range(1, rows + 1)
    ]
    tokenizer = tokenizer_of(kind)
    return token_batch(examples, tokenizer, contract_for(tokenizer), hard_negatives=1, seed=0, step=0)


def a_model(kind: str, dropout: float) -> Any:
    """A model whose LoRA weights are none of them zero, in training mode."""
    return with_lora(model_of(kind), dropout=dropout)


def with_lora(backbone: Any, *, dropout: float = 0.0) -> Any:
    """LoRA weights none of which is zero, in training mode: a B of zeros would hide the gradient of A."""
    import torch

    from embedloom.train.lora import add_lora

    model = add_lora(backbone, rank=4, alpha=8, dropout=dropout, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


def loss_of(batch: TokenBatch) -> Callable[[Tensor], Tensor]:
    """The loss of a batch, from its vectors."""
    from embedloom.train.loss import Objective, info_nce

    def loss(vectors_ND: Tensor) -> Tensor:
        q_BD, d_MD = vectors_ND[: batch.query_count], vectors_ND[batch.query_count :]
        masks = (mask.to(vectors_ND.device) for mask in (batch.positive_B, batch.blocked_BM, batch.alike_BB))
        return info_nce(q_BD, d_MD, *masks, Objective(temperature=0.1))

    return loss


def graded_batch() -> TokenBatch:
    """Nine rows, of which every second has scores."""
    from embedloom.model.inputs import contract_for
    from embedloom.train.rows import token_batch

    words = WORDS.split()
    examples = []
    for n in range(1, 10):
        told = {"family": "sts", "high_score": 5 - n / 4, "low_score": n / 4} if n % 2 else {}
        texts = " ".join(words[n : n + 3]), (" ".join(words[n : 2 * n + 9]),), (words[-n],)
        examples.append(Example("Find the words", *texts, **told))
    tokenizer = tokenizer_of("llama")
    return token_batch(examples, tokenizer, contract_for(tokenizer), hard_negatives=1, seed=0, step=0, graded=("sts",))


def graded_loss_of(batch: TokenBatch) -> Callable[[Tensor], Tensor]:
    """The loss of a batch with graded rows, from its vectors."""
    from embedloom.train.loss import Objective, batch_loss

    def loss(vectors_ND: Tensor) -> Tensor:
        q_BD, d_MD = vectors_ND[: batch.query_count], vectors_ND[batch.query_count :]
        masks = batch.positive_B, batch.blocked_BM, batch.alike_BB
        return batch_loss(q_BD, d_MD, *masks, Objective(temperature=0.1), batch.graded)

    return loss


def graded_gradients() -> dict[str, Any]:
    """Loss and gradients of the batch with graded rows, by this rank and all others."""
    from embedloom.train.engine import engine_for
    from embedloom.train.gradcache import loss_and_gradients
    from embedloom.train.processes import join

    processes = join()
    batch = graded_batch()
    engine = engine_for(a_model("llama", 0.0), processes, weight_decay=0.1)
    loss = loss_and_gradients(
        engine.model, batch.rows, graded_loss_of(batch), pooling="last", pad=0, device=engine.device,
        token_budget=BUDGET, graph_tokens=200, ranks=engine,
    )  # fmt: skip
    engine.synchronise()
    found = {name: p.grad.clone() for name, p in engine.model.named_parameters() if p.requires_grad}
    processes.leave()
    return {"loss": loss, "gradients": found}


def gradients(kind: str, dropout: float, graph_tokens: int, rows: int, again: bool = False) -> dict[str, Any]:
    """Loss and gradients of one batch, by this rank and all others, and a vector of the model."""
    import torch

    from embedloom.model.recompute import compute_layers_again
    from embedloom.train.engine import engine_for
    from embedloom.train.gradcache import loss_and_gradients
    from embedloom.train.processes import join

    processes = join()
    batch, model = a_batch(kind, rows), a_model(kind, dropout)
    if again:
        compute_layers_again(model)
    if processes.weights == "replicated":
        model.to(processes.device)
    engine = engine_for(model, processes, weight_decay=0.1)
    local = sum(parameter.numel() for parameter in _locals(engine.model))
    torch.manual_seed(SEED)
    calls = _count_exchanges()
    loss = loss_and_gradients(
        engine.model, batch.rows, loss_of(batch), pooling="last", pad=0, device=engine.device,
        token_budget=BUDGET, graph_tokens=graph_tokens, ranks=engine,
    )  # fmt: skip
    engine.synchronise()
    found = {n: _whole(p.grad).cpu() for n, p in engine.model.named_parameters() if p.requires_grad}
    processes.leave()
    return {"loss": loss, "gradients": found, "local": local, "exchanges": len(calls)}


def training(
    folder: str, steps: int, stop: int, dropout: float, harm: str = "", victim: int = -1, silence: float = 60.0
) -> dict[str, Any]:
    """A toy training; every rank stops behind step `stop`, or the rank `victim` comes to `harm` there."""
    from embedloom.train.processes import join

    processes = join(silence=silence)

    def on_step(log: StepLog) -> None:
        if log.step == stop and harm and processes.rank == victim:
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}[harm])
        if log.step == stop and not harm:
            raise Stop

    # Machines with unlike memory: all do what the least can.
    settings = replace(
        SETTINGS,
        steps=steps,
        token_budget=SETTINGS.token_budget + 64 * processes.rank,
        graph_tokens=SETTINGS.graph_tokens + 100 * processes.rank,
    )
    model = None
    logs: list[StepLog] = []
    with contextlib.suppress(Stop):
        model, logs = toy_training(Path(folder), settings, on_step=on_step, dropout=dropout, processes=processes)
    trained = [] if model is None else [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    # DeepSpeed puts weights together for the state alone.
    weights = {} if processes.weights == "zero" else {name: _whole(p.detach()).cpu() for name, p in trained}
    processes.leave()
    return {"losses": [log.loss for log in logs], "norms": [log.gradient_norm for log in logs], "weights": weights}


def measured_training(folder: str, stop: int) -> dict[str, Any]:
    """A toy training without dropout, measured every two steps; every rank stops behind step `stop`."""
    from embedloom.train.processes import join

    processes = join(silence=60.0)
    scores: list[float] = []

    def on_step(log: StepLog) -> None:
        if log.step == stop:
            raise Stop

    with contextlib.suppress(Stop):
        toy_training(
            Path(folder), dropout=0.0, development=finds_its_own(), on_step=on_step,
            on_measurement=lambda found: scores.append(found.score), processes=processes,
        )  # fmt: skip
    processes.leave()
    return {"scores": scores}


def unlike_precision(folder: str) -> dict[str, Any]:
    """A training whose second rank has its weights in bfloat16."""
    import torch

    from embedloom.errors import RunError
    from embedloom.model.inputs import contract_for
    from embedloom.train.loop import train
    from embedloom.train.processes import join
    from toy_training import EXAMPLES

    processes = join(silence=60.0)
    model, tokenizer = a_model("llama", 0.0), tokenizer_of("llama")
    if processes.rank == 1:
        model.to(torch.bfloat16)
    said = ""
    try:
        train(model, tokenizer, contract_for(tokenizer), EXAMPLES, SETTINGS, Path(folder), processes=processes)
    except RunError as error:
        said = str(error)
    processes.leave()
    return {"said": said}


class Stop(Exception):  # noqa: N818 - what a user does
    """Raised in the middle of a training."""


def _count_exchanges() -> list[str]:
    """A list to which, from now on, each exchange of gradients with the other ranks adds its name."""
    import torch.distributed

    calls: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **words: Any) -> Any:
            calls.append(name)
            return real(*arguments, **words)

        return call

    for name in ("all_reduce", "reduce_scatter_tensor", "reduce_scatter_single"):
        setattr(torch.distributed, name, counted(name, getattr(torch.distributed, name)))
    return calls


def _locals(model: torch.nn.Module) -> list[Tensor]:
    return [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]


def _whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def dealt_out_training(*arguments: Any) -> dict[str, Any]:
    """The same by DeepSpeed."""
    _without_compiling()
    return training(*arguments)


def dealt_out_measured_training(*arguments: Any) -> dict[str, Any]:
    """The measured training by DeepSpeed."""
    _without_compiling()
    return measured_training(*arguments)


def _without_compiling() -> None:
    """DeepSpeed compiles a faster operation for the CPU first where nobody stops it."""
    import deepspeed.comm.torch  # noqa: F401 - found by its full name, since the package hides it behind PyTorch

    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
