"""Encoding a file in this process and on a Ray cluster of this machine: texts a second, a killed worker, equal bytes.

The texts are sentences of STSBenchmark, the model is all-MiniLM-L6-v2 in float32. Each actor has one processor; so has
this process. What Ray needs to start and each actor to open the model is told apart from the encoding: from the first
block that comes back to the last. In one more run a worker gets SIGKILL once the first block is there; its cost is how
much longer the rest took than with as many workers that lived. TEXTS sets another number of texts (4,096).
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from similar_vectors import sentences

TEXTS = int(os.environ.get("TEXTS") or 4096)
BLOCK = 128
MODEL = "registry:minilm"


def measure() -> dict[str, object]:
    """Texts a second by engine, what a killed worker cost, and whether the files are equal to the byte."""
    import torch

    from embedloom.cli.opening import open_embedder
    from embedloom.scale.encode import encode_here, vectors_of
    from embedloom.scale.ray_engine import encode_on_ray

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    embedder = open_embedder(MODEL)
    told = vectors_of(embedder)
    most = os.cpu_count() or 1
    on_ray = {workers: encode_on_ray(partial(open_embedder, MODEL), workers=workers) for workers in (1, most)}
    engines: dict[str, Any] = {"here": encode_here(embedder)}
    engines |= {f"ray, {workers} workers": engine for workers, engine in on_ray.items()}
    killed = f"ray, {most} workers, one killed"
    engines[killed] = partial(with_a_worker_killed, on_ray[most])
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "texts.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(TEXTS)))
        figures: dict[str, Any] = {"texts": TEXTS, "block": BLOCK}
        files = {}
        for name, engine in engines.items():
            files[name] = Path(scratch) / f"{len(files)}.parquet"
            figures[name] = _timed(source, files[name], told, engine)
            print(name, figures[name], flush=True)
        here = files["here"].read_bytes()
        figures["equal_bytes"] = {name: path.read_bytes() == here for name, path in files.items()}
    rest, longer = (
        figures[name]["seconds"] - figures[name]["seconds_to_first_block"] for name in (f"ray, {most} workers", killed)
    )
    figures["killed_worker_cost_seconds"] = longer - rest
    return figures


def with_a_worker_killed(engine: Any, work: Any, places: Any) -> Iterator[Any]:
    """An engine of Ray's, one of whose workers is killed when its first block has come back."""
    import psutil

    for number, made in enumerate(engine(work, places)):
        if number == 0:
            below = psutil.Process().children(recursive=True)
            workers = [process.pid for process in below if "MapWorker" in " ".join(process.cmdline())]
            assert workers, "no worker of Ray's is a process below this one"
            os.kill(workers[0], signal.SIGKILL)
        yield made


def _timed(source: Path, out: Path, told: Any, engine: Any) -> dict[str, float]:
    from embedloom.scale.encode import encode_file

    moments: list[tuple[float, int]] = []
    started = time.perf_counter()
    encode_file(
        source, out, told, engine, block_size=BLOCK, progress=lambda n: moments.append((time.perf_counter(), n))
    )
    ended = time.perf_counter()
    blocks = [moment for moment in moments if moment[1]]
    rest = sum(count for _, count in blocks[1:])
    return {
        "seconds_to_first_block": blocks[0][0] - started,
        "texts_per_second": rest / (blocks[-1][0] - blocks[0][0]),
        "seconds": ended - started,
    }
