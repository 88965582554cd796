"""Encoding beside sentence-transformers: the same checkpoint, texts, precision and length limit, in one run.

The checkpoint is the base model under our input contract, which both read. Two kinds of text: the first abstracts of
SciFact, and short questions (XQuAD en) under an instruction. Both engines take turns; the median of three rounds
counts. The share of the machine's peak counts the multiply-adds of the layers' matrices, without padding and repeated
instructions, against the rate of a matrix product of the model's own sizes.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

ABSTRACTS = 96
QUESTIONS = 256
ROUNDS = 3
OURS, THEIRS = "ours", "sentence-transformers"
INSTRUCTION = "Given a question, retrieve the passage of an encyclopedia that answers the question"
DATA = Path("../shared/data/retrieval")
_engine: list[Any] = []
"""The one of this process, where it is one of the two."""


def measure() -> dict[str, object]:
    """Texts a second of both, ratios, the largest difference of a vector, and the share of the peak."""
    import numpy as np

    texts = {
        "abstracts": ([f"{row['title']} {row['text']}" for row in _rows("scifact/corpus", ABSTRACTS)], ""),
        "instructed-questions": ([row["text"] for row in _rows("xquad-en/queries", QUESTIONS)], INSTRUCTION),
    }
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        folder = base_checkpoint(Path(scratch) / "model")
        # In a process of its own each: what one asks of the C library must not help the other.
        engines = {name: opened.enter_context(_alone(name, folder)) for name in (OURS, THEIRS)}
        precision, flops, peak = engines[OURS].submit(_about).result()
        figures: dict[str, object] = {"matrix_tflops": peak, "precision": precision}
        for kind, (some, instruction) in texts.items():
            seconds, vectors = _in_turns(engines, some, instruction)
            tokens = engines[OURS].submit(_own_tokens, some, instruction).result()
            rates = {name: len(some) / median(times) for name, times in seconds.items()}
            figures[kind] = {
                "texts": len(some),
                "texts_per_second": rates,
                "ratio": rates[OURS] / rates[THEIRS],
                "largest_difference": float(np.abs(vectors[OURS] - vectors[THEIRS]).max()),
                "share_of_peak": flops * tokens / median(seconds[OURS]) / (peak * 1e12),
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


def _in_turns(
    engines: dict[str, ProcessPoolExecutor], texts: list[str], instruction: str
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each round of each engine, and what each gave in the last one; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    given: dict[str, Any] = {}
    for number in range(ROUNDS + 1):
        for name, engine in engines.items():
            took, given[name] = engine.submit(_encoded, texts, instruction).result()
            if number:
                seconds[name].append(took)
    return seconds, given


def _alone(name: str, folder: Path) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_open, initargs=(name, folder))


def _open(name: str, folder: Path) -> None:
    """Opens the engine of this process."""
    from embedloom.model.backbone import best_device, best_dtype

    if name == OURS:
        from embedloom.model.encoder import open_encoder

        _engine.append(open_encoder(folder))
    else:
        from sentence_transformers import SentenceTransformer

        device = best_device()
        told: Any = {"device": str(device), "model_kwargs": {"dtype": best_dtype(device)}}
        _engine.append(SentenceTransformer(str(folder), **told))


def _encoded(texts: list[str], instruction: str) -> tuple[float, Any]:
    """Seconds and vectors of this process' engine."""
    [engine] = _engine
    started = time.perf_counter()
    if hasattr(engine, "contract"):
        given = engine.encode_queries(texts, instruction) if instruction else engine.encode_documents(texts)
    else:
        # The checkpoint's own prompt, which is the contract's text before a query.
        given = engine.encode(texts, batch_size=32, prompt_name="query" if instruction else "document")
    return time.perf_counter() - started, given


def _about() -> tuple[str, int, float]:
    """Precision, work of a token and the machine's peak, where ours is."""
    [ours] = _engine
    weights = next(ours.backbone.parameters())
    return str(weights.dtype), layer_flops(ours.backbone), matrix_peak(ours.device, weights.dtype)


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


def _own_tokens(texts: list[str], instruction: str) -> int:
    """Tokens of the texts, what they begin with counted once, where ours is."""
    from embedloom.model.inputs import token_ids
    from embedloom.model.passes import common_beginning

    [encoder] = _engine
    asked = [encoder.contract.query_text(text, instruction) for text in texts] if instruction else texts
    rows = token_ids(asked, encoder.tokenizer, encoder.contract)
    return sum(map(len, rows)) - common_beginning(rows) * (len(rows) - 1)


def _rows(name: str, count: int) -> list[dict[str, Any]]:
    from embedloom.run import read_objects

    path = next(path for path in (DATA / f"{name}.jsonl", DATA / f"{name}.jsonl.gz") if path.exists())
    return [row for _, row in islice(read_objects(path), count)]
