"""Encoding beside sentence-transformers: the same checkpoint, texts, precision and length limit, in one run.

The checkpoint is the base model under our input contract, which both read. Two kinds of text: the first abstracts of
SciFact, and short questions (XQuAD en) under an instruction. Both engines take turns; the median of three rounds
counts. The share of the machine's peak counts the multiply-adds of the layers' matrices, without padding and repeated
instructions, against the rate of a matrix product of the model's own sizes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

ABSTRACTS = 96
QUESTIONS = 256
ROUNDS = 3
INSTRUCTION = "Given a question, retrieve the passage of an encyclopedia that answers the question"
DATA = Path("../shared/data/retrieval")


def measure() -> dict[str, object]:
    """Texts a second of both, ratios, the largest difference of a vector, and the share of the peak."""
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        folder = base_checkpoint(Path(scratch) / "model")
        ours, theirs = _engines(folder)
        texts = {
            "abstracts": [f"{row['title']} {row['text']}" for row in _rows("scifact/corpus", ABSTRACTS)],
            "instructed-questions": [row["text"] for row in _rows("xquad-en/queries", QUESTIONS)],
        }
        peak = matrix_peak(ours.device, next(ours.backbone.parameters()).dtype)
        figures: dict[str, object] = {"matrix_tflops": peak, "precision": str(next(ours.backbone.parameters()).dtype)}
        for kind, some in texts.items():
            if kind == "abstracts":
                engines: dict[str, Callable[[], Any]] = {
                    "ours": lambda some=some: ours.encode_documents(some),
                    "sentence-transformers": lambda some=some: theirs.encode(some, batch_size=32),
                }
            else:
                engines = {
                    "ours": lambda some=some: ours.encode_queries(some, INSTRUCTION),
                    "sentence-transformers": lambda some=some: theirs.encode(
                        some, batch_size=32, prompt=ours.contract.query_text("", INSTRUCTION)
                    ),
                }
            seconds, vectors = in_turns(engines)
            tokens = _own_tokens(ours, some, "" if kind == "abstracts" else INSTRUCTION)
            rates = {name: len(some) / median(times) for name, times in seconds.items()}
            figures[kind] = {
                "texts": len(some),
                "texts_per_second": rates,
                "ratio": rates["ours"] / rates["sentence-transformers"],
                "largest_difference": float(np.abs(vectors["ours"] - vectors["sentence-transformers"]).max()),
                "share_of_peak": layer_flops(ours.backbone) * tokens / median(seconds["ours"]) / (peak * 1e12),
            }
        return figures


def base_checkpoint(folder: Path) -> Path:
    """The base model as a checkpoint that both read, untrained."""
    import torch

    from embedloom.model.backbone import load_backbone, load_tokenizer
    from embedloom.model.inputs import contract_for
    from embedloom.model.names import model_folder
    from embedloom.train.checkpoint import Origin, save_checkpoint

    base = model_folder("registry:gemma3-270m")
    tokenizer = load_tokenizer(base)
    model = load_backbone(base, device=torch.device("cpu"), dtype=torch.float32)
    contract = contract_for(tokenizer, max_length=256)
    save_checkpoint(folder, model, tokenizer, contract, Origin("registry:gemma3-270m", {"query": INSTRUCTION}, {}, 0))
    return folder


def in_turns(engines: dict[str, Callable[[], Any]]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each round of each engine, and what each gave in the last one; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    given: dict[str, Any] = {}
    for number in range(ROUNDS + 1):
        for name, work in engines.items():
            started = time.perf_counter()
            given[name] = work()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds, given


def layer_flops(model: Any) -> int:
    """Multiplications and additions of a token in the layers' matrices; attention's own product left out.

    In the last layer of packed passes a token has a key and a value alone: what is left out there doesn't count.
    """
    import torch

    from embedloom.model.packed import NAME as PACKED

    named = [(name, module) for name, module in model.layers.named_modules() if isinstance(module, torch.nn.Linear)]
    if model.config._attn_implementation == PACKED:
        last = f"{len(model.layers) - 1}."
        named = [(n, m) for n, m in named if not n.startswith(last) or n.endswith(("k_proj", "v_proj"))]
    return sum(2 * module.weight.numel() for _, module in named)


def matrix_peak(device: Any, dtype: Any) -> float:
    """TFLOP/s of 1,024 x 640 by 640 x 2,048, the median of 20."""
    import torch

    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((1024, 640), (640, 2048)))
    times = []
    for _ in range(25):
        started = time.perf_counter()
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(2 * a.shape[0] * a.shape[1] * product.shape[1] / median(times[5:]) / 1e12)


def _own_tokens(encoder: Any, texts: list[str], instruction: str) -> int:
    from embedloom.model.inputs import token_ids
    from embedloom.model.passes import common_beginning

    asked = [encoder.contract.query_text(text, instruction) for text in texts] if instruction else texts
    rows = token_ids(asked, encoder.tokenizer, encoder.contract)
    return sum(map(len, rows)) - common_beginning(rows) * (len(rows) - 1)


def _engines(folder: Path) -> tuple[Any, Any]:
    from sentence_transformers import SentenceTransformer

    from embedloom.model.encoder import open_encoder

    ours = open_encoder(folder)
    dtype = next(ours.backbone.parameters()).dtype
    return ours, SentenceTransformer(str(folder), device=str(ours.device), model_kwargs={"dtype": dtype})


def _rows(name: str, count: int) -> list[dict[str, Any]]:
    from embedloom.run import read_objects

    path = next(path for path in (DATA / f"{name}.jsonl", DATA / f"{name}.jsonl.gz") if path.exists())
    return [row for _, row in islice(read_objects(path), count)]
