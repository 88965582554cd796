"""Peak memory of one training step against the batch size: GradCache, and one plain graph over the whole batch.

Each figure is the peak of a process of its own, model included: Gemma 3 270M with LoRA of rank 16, one step with its
update. Rows are real: questions, claims and sentences with their answers in ../shared/data/labelled, or the examples in
the package where that folder is not there; queries have no instruction and texts are cut at EMBEDLOOM_GRADCACHE_TOKENS,
since memory depends on the tokens of a pass, not on the texts. EMBEDLOOM_GRADCACHE_MODEL, ..._SIZES and ..._PLAIN ask
for another model and other sizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

MODEL = os.environ.get("EMBEDLOOM_GRADCACHE_MODEL") or "registry:gemma3-270m"
SIZES = [int(size) for size in (os.environ.get("EMBEDLOOM_GRADCACHE_SIZES") or "16,64,256,1024,2048").split(",")]
PLAIN = [int(size) for size in (os.environ.get("EMBEDLOOM_GRADCACHE_PLAIN") or "16,64,128").split(",")]
MAX_LENGTH = int(os.environ.get("EMBEDLOOM_GRADCACHE_TOKENS") or 32)
SMALL, LARGE = 64, 2048
DATA = Path(os.environ.get("EMBEDLOOM_SHARED") or Path(__file__).parents[2] / "shared") / "data" / "labelled"
FILES = ("qed-nq.jsonl", "snli-dev.jsonl", "nl2bash.jsonl")


def measure() -> dict[str, Any]:
    """Peaks in MiB by batch size, of GradCache and of the plain graph; `ratio` is GradCache's at 2,048 over 64 rows."""
    cached = {size: _in_a_process(size, "gradcache") for size in SIZES}
    plain = {size: _in_a_process(size, "plain") for size in PLAIN}
    peaks = {size: found["peak_mib"] for size, found in cached.items()}
    return {
        "model": MODEL,
        "max_length": MAX_LENGTH,
        "gradcache": cached,
        "plain": plain,
        "ratio": round(peaks[LARGE] / peaks[SMALL], 3) if {SMALL, LARGE} <= set(peaks) else None,
        "plain_ratio": {
            size: round(found["peak_mib"] / peaks[size], 3) for size, found in plain.items() if size in peaks
        },
    }


def _in_a_process(size: int, how: str) -> dict[str, Any]:
    command = [sys.executable, __file__, str(size), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{how} {size}: {found}", file=sys.stderr, flush=True)
    return found


def step(size: int, how: str) -> dict[str, Any]:
    """One step of `size` rows in this process: its peak, what it had once the model was there, its time and loss."""
    import torch

    from embedloom.model.backbone import best_device, best_dtype, load_backbone, load_tokenizer, pass_tokens
    from embedloom.model.inputs import contract_for
    from embedloom.model.names import model_folder
    from embedloom.model.packed import use_packed_passes
    from embedloom.train.engine import Engine
    from embedloom.train.gradcache import loss_and_gradients
    from embedloom.train.lora import add_lora
    from embedloom.train.loss import Objective, info_nce
    from embedloom.train.rows import token_batch

    device = best_device()
    dtype = best_dtype(device)
    base = model_folder(MODEL)
    tokenizer = load_tokenizer(base)
    contract = contract_for(tokenizer, max_length=MAX_LENGTH)
    backbone = load_backbone(base, device=device, dtype=dtype)
    use_packed_passes(backbone, device)
    engine = Engine(add_lora(backbone, rank=16, alpha=32, dropout=0.0, seed=1).train(), weight_decay=0.1)
    loaded = _peak(device)
    batch = token_batch(_rows(size), tokenizer, contract, hard_negatives=0, seed=1, step=0)
    masks = batch.positive_B.to(device), batch.blocked_BM.to(device), batch.alike_BB.to(device)

    def loss_of(vectors_ND: torch.Tensor) -> torch.Tensor:
        return info_nce(vectors_ND[: batch.query_count], vectors_ND[batch.query_count :], *masks, Objective())

    # One pass and the graph of one; or the graph of all.
    most = pass_tokens(device, dtype) if how == "gradcache" else 10**9
    started = time.perf_counter()
    loss = loss_and_gradients(
        engine.model, batch.rows, loss_of, pooling="last", pad=tokenizer.pad_token_id or 0, device=device,
        token_budget=most, graph_tokens=most, ranks=engine,
    )  # fmt: skip
    engine.step(1e-3, 1.0)
    return {
        "peak_mib": _peak(device),
        "loaded_mib": loaded,
        "pass_tokens": most,
        "texts": len(batch.rows),
        "tokens": batch.tokens,
        "seconds": round(time.perf_counter() - started, 1),
        "loss": round(loss, 5),
    }


def _rows(count: int) -> list[Any]:
    """The first rows whose queries and positives are all different."""
    from embedloom.data.training_rows import read_source, read_training_rows

    paths = [path for name in FILES if (path := DATA / name).is_file()]
    found = (row for path in paths for row in read_training_rows(path, instruction="Retrieve what belongs to it"))
    rows: list[Any] = []
    seen: set[str] = set()
    for row in found if paths else read_source("sample:llm-written"):
        texts = {row.query, row.positives[0]}
        if seen.isdisjoint(texts):
            seen |= texts
            rows.append(replace(row, instruction="", positives=row.positives[:1], id=""))
        if len(rows) == count:
            return rows
    raise SystemExit(f"{count} rows are asked for, and {len(rows)} are there; EMBEDLOOM_GRADCACHE_SIZES asks for fewer")


def _peak(device: Any) -> int:
    """MiB: of the process, or of what a GPU held for it."""
    import resource

    import torch

    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


if __name__ == "__main__":
    print(json.dumps(step(int(sys.argv[1]), sys.argv[2])))
