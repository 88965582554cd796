"""Training beside the sentence-transformers trainer: the same model, LoRA, rows, batches, precision, in one run.

Rows are of mixed length, each with a hard negative: SNLI's dev pairs, which bring one, and questions of Natural
Questions and MedQuAD, whose negative is the best wrong passage of BM25. Both engines take the same batches in the same
order, with the paper's loss (their MultipleNegativesRankingLoss at scale 50), and log it each step. Texts are cut at
128 tokens: the graph of their whole batch takes 13 GB at 192.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from encode_speed import layer_flops, matrix_peak

HERE = str(Path(__file__).parent)
BATCH = 32
STEPS = 5
MAX_LENGTH = 96
DATA = Path("../shared/data/labelled")
SOURCES = {
    "snli-dev.jsonl": "Given a sentence that describes a scene, find a sentence that must be true if it is.",
    "qed-nq.jsonl": "Given a question typed into a search engine, find the Wikipedia paragraph that answers it.",
    "medquad.jsonl.gz": "Given a question about health, find the passage that answers it.",
}


def measure() -> dict[str, object]:
    """Pairs a second of both (median step, the first left out), their ratio, their losses, the share of the peak."""
    rows = _rows()
    ours, ours_loss, tokens, flops, peak = _alone(_ours, rows)
    theirs, theirs_loss = _alone(_theirs, rows)
    rates = {"ours": BATCH / median(ours[1:]), "sentence-transformers": BATCH / median(theirs[1:])}
    return {
        "rows": len(rows),
        "batch": BATCH,
        "pairs_per_second": rates,
        "ratio": rates["ours"] / rates["sentence-transformers"],
        "loss": {"ours": ours_loss, "sentence-transformers": theirs_loss},
        "matrix_tflops": peak,
        # A frozen matrix costs its product forward, and one backward for what is below it.
        "share_of_peak": median(2 * flops * n / s for n, s in zip(tokens[1:], ours[1:], strict=True)) / (peak * 1e12),
    }


def _alone(trainer: Callable[[list[Any]], Any], rows: list[Any]) -> Any:
    """What a trainer returns, in a process of its own: each starts with the whole memory."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=sys.path.insert, initargs=(0, HERE)
    ) as one:
        return one.submit(trainer, rows).result()


def _rows() -> list[Any]:
    from dataclasses import replace

    from embedloom.data.batches import batches
    from embedloom.data.lexical import BM25
    from embedloom.data.training_rows import read_training_rows
    from embedloom.records import Document

    count = BATCH * STEPS // len(SOURCES)
    rows: list[Any] = []
    for name, instruction in SOURCES.items():
        own = []
        for row in read_training_rows(DATA / name, instruction=instruction):
            own.append(replace(row, positives=row.positives[:1], negatives=row.negatives[:1], id=""))
            if len(own) == 4 * count:
                break
        passages = [Document(str(number), row.positives[0]) for number, row in enumerate(own)]
        hits = BM25(passages).search([row.query for row in own], 2)
        for number, row in enumerate(own[:count]):
            wrong = next((hit.document_id for hit in hits[number] if hit.document_id != str(number)), "0")
            rows.append(row if row.negatives else replace(row, negatives=(passages[int(wrong)].text,), id=""))
    order = [
        row for batch, _ in zip(batches(rows, batch_size=BATCH, seed=1), range(STEPS), strict=False) for row in batch
    ]
    return [rows[number] for number in order]


def _ours(rows: list[Any]) -> tuple[list[float], list[float], list[int], int, float]:
    from embedloom.model.backbone import best_device, best_dtype, load_backbone, load_tokenizer, pass_tokens
    from embedloom.model.inputs import contract_for
    from embedloom.model.names import model_folder
    from embedloom.train import loop
    from embedloom.train.lora import add_lora

    device = best_device()
    base = model_folder("registry:gemma3-270m")
    tokenizer = load_tokenizer(base)
    backbone = load_backbone(base, device=device, dtype=best_dtype(device))
    flops, peak = layer_flops(backbone), matrix_peak(device, backbone.dtype)
    model = add_lora(backbone, rank=16, alpha=32, dropout=0.0, seed=1)
    settings = loop.Settings(
        steps=STEPS, batch_size=BATCH, learning_rate=1e-3, warmup=2, weight_decay=0.0, token_budget=pass_tokens(device),
        graph_tokens=10_000,
    )  # fmt: skip
    # Both trainers get the batches in this order.
    loop.batches = lambda examples, **_: iter([list(range(s * BATCH, (s + 1) * BATCH)) for s in range(STEPS)])
    with tempfile.TemporaryDirectory() as scratch:
        contract = contract_for(tokenizer, max_length=MAX_LENGTH)
        logs = loop.train(model, tokenizer, contract, rows, settings, Path(scratch))
    return [log.seconds for log in logs], [log.loss for log in logs], [log.tokens for log in logs], flops, peak


def _theirs(rows: list[Any]) -> tuple[list[float], list[float]]:
    from datasets import Dataset
    from encode_speed import base_checkpoint
    from peft import LoraConfig
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
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
        model.max_seq_length = MAX_LENGTH
        model.add_adapter(LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", bias="none"))
        table = {
            "anchor": [query_prefix(row.instruction) + row.query for row in rows],
            "positive": [row.positives[0] for row in rows],
            "negative": [row.negatives[0] for row in rows],
        }
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=1e-3, warmup_steps=2,
            weight_decay=0.0, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True,
            use_cpu=device.type == "cpu", bf16=dtype.itemsize == 2,
        )  # fmt: skip
        InOrder(
            model=model, args=arguments, train_dataset=Dataset.from_dict(table),
            loss=MultipleNegativesRankingLoss(model, scale=50.0), callbacks=[Clock()],
        ).train()  # fmt: skip
    return seconds, losses
