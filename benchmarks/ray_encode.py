"""Encoding a file in this process and on a Ray cluster of this machine: texts a second, start apart, and equal bytes.

The texts are sentences of similarity sets, the model is all-MiniLM-L6-v2 in float32. Each actor has one processor; so
has this process. What Ray needs to start and each actor to open the model is told apart from the encoding: from the
first block that comes back to the last.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

TEXTS = 4096
BLOCK = 128
MODEL = "registry:minilm"


def measure() -> dict[str, object]:
    """Texts a second by engine, and whether the files are equal to the byte."""
    import torch
    from ann import _texts

    from embedloom.cli.opening import open_embedder
    from embedloom.scale.encode import encode_here, vectors_of
    from embedloom.scale.ray_engine import encode_on_ray

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    embedder = open_embedder(MODEL)
    opened = partial(open_embedder, MODEL)
    told = vectors_of(embedder)
    engines: dict[str, Any] = {"here": encode_here(embedder)}
    for workers in range(1, (os.cpu_count() or 1) + 1):
        engines[f"ray, {workers} workers"] = encode_on_ray(opened, workers=workers)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "texts.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in islice(_texts(), TEXTS)))
        figures: dict[str, object] = {"texts": TEXTS, "block": BLOCK}
        files = {}
        for name, engine in engines.items():
            files[name] = Path(scratch) / f"{len(files)}.parquet"
            figures[name] = _timed(source, files[name], told, engine)
        here = files["here"].read_bytes()
        figures["equal_bytes"] = all(path.read_bytes() == here for path in files.values())
    return figures


def _timed(source: Path, out: Path, told: Any, engine: Any) -> dict[str, float]:
    from embedloom.scale.encode import encode_file

    moments: list[tuple[float, int]] = []
    started = time.perf_counter()
    encode_file(
        source, out, told, engine, block_size=BLOCK, progress=lambda n: moments.append((time.perf_counter(), n))
    )
    blocks = [moment for moment in moments if moment[1]]
    rest = sum(count for _, count in blocks[1:])
    return {
        "seconds_to_first_block": blocks[0][0] - started,
        "texts_per_second": rest / (blocks[-1][0] - blocks[0][0]),
        "seconds": time.perf_counter() - started,
    }
