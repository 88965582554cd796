"""Training beside the sentence-transformers trainer: the same model, LoRA, rows, batches, precision, in one run.

Rows are of mixed length, each with a hard negative: SNLI's dev pairs, which bring one, and questions of Natural
Questions and MedQuAD, whose negative is the best wrong passage of BM25 that stands nowhere else. Both engines take the
same batches in the same order, with the paper's loss (their MultipleNegativesRankingLoss at scale 50) and the same
learning rates, and log the loss each step: before the first update it is the same to what float32 rounds. Texts are cut
at 96 tokens: the graph of their whole batch takes 13 GB at 192.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from encode_speed import layer_flops, matrix_peak

HERE = str(Path(__file__).parent)
RATE = 5e-4
DATA = Path("../shared/data/labelled")
SOURCES = {
    "snli-dev.jsonl": "Given a sentence that describes a scene, find a sentence that must be true if it is.",
    "qed-nq.jsonl": "Given a question typed into a search engine, find the Wikipedia paragraph that answers it.",
    "medquad.jsonl.gz": "Given a question about health, find the passage that answers it.",
}


@dataclass(frozen=True)
class Plan:
    """What both trainers do: steps of so many rows, texts cut at so many tokens.

    Attributes:
        cached: the batch goes through in parts, by gradients of vectors (GradCache, their
            CachedMultipleNegativesRankingLoss with parts of 32 rows); else as one graph.
    """

    batch: int
    steps: int
    max_length: int
    cached: bool = False


def measure() -> dict[str, object]:
    """Batches of 32, each as one graph."""
    return beside(Plan(batch=32, steps=6, max_length=96))


def beside(plan: Plan) -> dict[str, object]:
    """Pairs a second of both (median step, the first left out), their ratio, their losses, the share of the peak."""
    rows = _rows(plan)
    ours, ours_loss, tokens, flops, peak = _alone(_ours, rows, plan)
    theirs, theirs_loss = _alone(_theirs, rows, plan)
    rates = {"ours": plan.batch / median(ours[1:]), "sentence-transformers": plan.batch / median(theirs[1:])}
    return {
        "rows": len(rows),
        "batch": plan.batch,
        "max_length": plan.max_length,
        "pairs_per_second": rates,
        "ratio": rates["ours"] / rates["sentence-transformers"],
        "loss": {"ours": ours_loss, "sentence-transformers": theirs_loss},
        "matrix_tflops": peak,
        # A frozen matrix costs its product forward, and one backward for what is below it.
        "share_of_peak": median(2 * flops * n / s for n, s in zip(tokens[1:], ours[1:], strict=True)) / (peak * 1e12),
    }


def _alone(trainer: Callable[[list[Any], Plan], Any], rows: list[Any], plan: Plan) -> Any:
    """What a trainer returns, in a process of its own: each starts with the whole memory."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=sys.path.insert, initargs=(0, HERE)
    ) as one:
        return one.submit(trainer, rows, plan).result()


def _rows(plan: Plan) -> list[Any]:
    """The rows of all steps, in their order; no text stands in two of them."""
    from dataclasses import replace

    from embedloom.data.batches import batches
    from embedloom.data.lexical import BM25
    from embedloom.data.training_rows import read_training_rows
    from embedloom.records import Document

    count = -(-plan.batch * plan.steps // len(SOURCES))
    rows: list[Any] = []
    taken: set[str] = set()
    for name, instruction in SOURCES.items():
        own: list[Any] = []
        for row in read_training_rows(DATA / name, instruction=instruction):
            texts = {*row.positives[:1], *row.negatives[:1]}
            if taken.isdisjoint(texts):
                taken |= texts
                own.append(replace(row, positives=row.positives[:1], negatives=row.negatives[:1], id=""))
        spare = [Document(str(number), row.positives[0]) for number, row in enumerate(own[count:])]
        free = {document.id: document.text for document in spare}
        hits = BM25(spare).search([row.query for row in own[:count]], 100)
        for row, found in zip(own[:count], hits, strict=True):
            if not row.negatives:
                best = next((hit.document_id for hit in found if hit.document_id in free), next(iter(free)))
                row = replace(row, negatives=(free.pop(best),), id="")
            rows.append(row)
    numbers = batches(rows, batch_size=plan.batch, seed=1)
    return [rows[number] for batch, _ in zip(numbers, range(plan.steps), strict=False) for number in batch]


def _ours(rows: list[Any], plan: Plan) -> tuple[list[float], list[float], list[int], int, float]:
    from embedloom.model.backbone import best_device, best_dtype, load_backbone, load_tokenizer, pass_tokens
    from embedloom.model.compiled import compile_layers, pays_to_compile
    from embedloom.model.inputs import contract_for
    from embedloom.model.names import model_folder
    from embedloom.model.packed import use_packed_passes
    from embedloom.train import loop
    from embedloom.train.lora import add_lora

    device = best_device()
    base = model_folder("registry:gemma3-270m")
    tokenizer = load_tokenizer(base)
    backbone = load_backbone(base, device=device, dtype=best_dtype(device))
    use_packed_passes(backbone, device)
    flops, peak = layer_flops(backbone), matrix_peak(device, backbone.dtype)
    model = add_lora(backbone, rank=16, alpha=32, dropout=0.0, seed=1)
    if pays_to_compile(model):
        compile_layers(model)
    settings = loop.Settings(
        steps=plan.steps, batch_size=plan.batch, learning_rate=RATE, warmup=0, weight_decay=0.0,
        token_budget=pass_tokens(device, backbone.dtype), graph_tokens=6_144 if plan.cached else 10_000,
    )  # fmt: skip
    # Both trainers get the batches in this order.
    order = [list(range(step * plan.batch, (step + 1) * plan.batch)) for step in range(plan.steps)]
    loop.batches = lambda examples, **_: iter(order)
    with tempfile.TemporaryDirectory() as scratch:
        contract = contract_for(tokenizer, max_length=plan.max_length)
        logs = loop.train(model, tokenizer, contract, rows, settings, Path(scratch))
    return [log.seconds for log in logs], [log.loss for log in logs], [log.tokens for log in logs], flops, peak


def _theirs(rows: list[Any], plan: Plan) -> tuple[list[float], list[float]]:
    from datasets import Dataset
    from encode_speed import base_checkpoint
    from peft import LoraConfig
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import TrainerCallback

    from embedloom.model.backbone import best_device, best_dtype
    from embedloom.model.inputs import query_prefix

    device = best_device()
    seconds: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.started)

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    class InOrder(SentenceTransformerTrainer):  # type: ignore[misc]
        def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
            return BatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)

    with tempfile.TemporaryDirectory() as scratch:
        folder = base_checkpoint(Path(scratch) / "model")
        dtype = best_dtype(device)
        model = SentenceTransformer(str(folder), device=str(device), model_kwargs={"dtype": dtype})
        model.max_seq_length = plan.max_length
        model.add_adapter(LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", bias="none"))
        table = {
            "anchor": [query_prefix(row.instruction) + row.query for row in rows],
            "positive": [row.positives[0] for row in rows],
            "negative": [row.negatives[0] for row in rows],
        }
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch, max_steps=plan.steps, per_device_train_batch_size=plan.batch, learning_rate=RATE,
            warmup_steps=0, weight_decay=0.0, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True,
            use_cpu=device.type == "cpu", bf16=dtype.itemsize == 2,
        )  # fmt: skip
        loss = (
            CachedMultipleNegativesRankingLoss(model, scale=50.0, mini_batch_size=32)
            if plan.cached
            else MultipleNegativesRankingLoss(model, scale=50.0)
        )
        InOrder(
            model=model, args=arguments, train_dataset=Dataset.from_dict(table), loss=loss, callbacks=[Clock()]
        ).train()
    return seconds, losses
