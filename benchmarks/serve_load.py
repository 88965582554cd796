"""A loaded server: requests a second and latency at 1, 8 and 64 clients, beside one request at a time.

All servers are processes of their own with the same random model, and share the machine with the clients; started with
`taskset -c 1`, they share one core. Two others are what people write in an hour: the same framework and the same
encoder behind a lock, without batching; and FastAPI over sentence-transformers, as its documentation has it.
Each client sends its next request when the last is answered: half are queries of a dozen tokens, half documents of a
hundred or so.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = {1: 4.0, 8: 4.0, 64: 15.0}
"""By the number of clients."""
WARM = 2.0
SIZES = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 8}
INSTRUCTION = "Given a question, retrieve passages that answer it"


def measure() -> dict[str, Any]:
    """Requests a second, latencies in milliseconds, statuses, and the server's memory before and after."""
    figures: dict[str, Any] = {"seconds": SECONDS, "load_before": round(os.getloadavg()[0], 2), "model": SIZES}
    figures["cores"] = len(os.sched_getaffinity(0))
    most = max(SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        model = checkpoint(Path(folder))
        commands = {
            "one_at_a_time": [sys.executable, __file__, "one_at_a_time", str(model)],
            "sentence_transformers": [sys.executable, __file__, "sentence_transformers", str(model)],
            "embedloom": [sys.executable, "-m", "embedloom", "serve", str(model), "--port", "0"],
        }
        for name, command in commands.items():
            with server(command) as url:
                asyncio.run(load(url, most, WARM))
                before = of_process(url, "resident_memory_bytes")
                figures[name] = {f"clients_{count}": timed(url, count, seconds) for count, seconds in SECONDS.items()}
                after = of_process(url, "resident_memory_bytes")
                figures[name]["memory_mib"] = [round(before / 2**20), round(after / 2**20)]
    for key, sign in (("requests_per_second", 1), ("cpu_ms_per_request", -1)):
        figure = {name: figures[name][f"clients_{most}"][key] ** sign for name in commands}
        for name in ("one_at_a_time", "sentence_transformers"):
            figures[f"times_{name}_by_{key}"] = round(figure["embedloom"] / figure[name], 2)
    return figures


def timed(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """One load, with the processor's time that the server took for it: the same on a machine that has other work."""
    before = of_process(url, "cpu_seconds_total")
    figures = asyncio.run(load(url, clients, seconds))
    taken = of_process(url, "cpu_seconds_total") - before
    return figures | {"cpu_ms_per_request": round(1000 * taken / sum(figures["statuses"].values()), 2)}


def checkpoint(folder: Path) -> Path:
    """The model as a folder that all servers open."""
    sys.path.insert(0, str(ROOT / "tests"))
    from embedloom.model.encoder import open_encoder
    from embedloom.train.checkpoint import Origin, save_checkpoint
    from tiny import save_tiny

    encoder = open_encoder(save_tiny(folder / "base", "qwen3", **SIZES))
    origin = Origin("random", {"query": INSTRUCTION}, {}, 0)
    save_checkpoint(folder / "model", encoder.backbone, encoder.tokenizer, encoder.contract, origin)
    return folder / "model"


@contextmanager
def server(command: list[str]) -> Iterator[str]:
    """The address of a server that says where it is on standard error."""
    # One thread for the model: the clients, and whatever else the machine does, take the other core.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if " at http://" in line)
        address = line.split(" at ", 1)[1].split(";")[0].strip()
        # Its log must not fill the pipe.
        draining = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        try:
            yield address
        finally:
            process.terminate()
            process.wait()
            draining.wait()


def of_process(url: str, name: str) -> float:
    """One of the server's `process_` metrics."""
    import urllib.request

    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"process_{name} ")).split()[1])


def bodies(client: int) -> Iterator[bytes]:
    """A client's requests."""
    number = client
    while True:
        if number % 2:
            body = {"input": f"where do boats wait for wind {number}", "instruction": INSTRUCTION}
        else:
            body = {"input": f"{number}: " + "boats wait for wind from the north as night falls " * (2 + number % 3)}
        yield json.dumps(body | {"encoding_format": "base64"}).encode()
        number += 1


async def load(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """As many clients as asked for, each with one request in flight."""
    import aiohttp

    taken: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        for body in bodies(number):
            started = time.perf_counter()
            if started >= end:
                return
            headers = {"content-type": "application/json"}
            async with session.post(f"{url}/v1/embeddings", data=body, headers=headers) as answer:
                await answer.read()
                statuses[answer.status] += 1
            taken.append(time.perf_counter() - started)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(number) for number in range(clients)))
        elapsed = time.perf_counter() - began
    taken.sort()
    return {
        "requests_per_second": round(len(taken) / elapsed, 1),
        "p50_ms": round(taken[len(taken) // 2] * 1000, 1),
        "p99_ms": round(taken[int(len(taken) * 0.99)] * 1000, 1),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }


def one_at_a_time(folder: Path) -> None:
    """The other server."""
    import base64
    import threading

    from prometheus_client import REGISTRY, generate_latest
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from embedloom.model.encoder import open_encoder
    from embedloom.serve.server import address_of, bind, serve

    encoder, lock = open_encoder(folder), threading.Lock()

    def encoded(body: dict[str, Any]) -> Any:
        with lock:
            if "instruction" in body:
                return encoder.encode_queries([body["input"]], body["instruction"])
            return encoder.encode_documents([body["input"]])

    async def embeddings(request: Request) -> Response:
        [vector] = await run_in_threadpool(encoded, await request.json())
        shown = base64.b64encode(vector.tobytes()).decode()
        return JSONResponse({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": shown}]})

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(REGISTRY))

    routes = [Route("/v1/embeddings", embeddings, methods=["POST"]), Route("/metrics", metrics)]
    bound = bind("127.0.0.1", 0)
    told = f"serving at {address_of(bound)};"
    serve(Starlette(routes=routes), bound, started=lambda: print(told, file=sys.stderr, flush=True))


def sentence_transformers(folder: Path) -> None:
    """The server over sentence-transformers: its endpoint is a plain function, which FastAPI runs in a thread."""
    import base64

    from fastapi import FastAPI, Response
    from prometheus_client import REGISTRY, generate_latest
    from sentence_transformers import SentenceTransformer

    from embedloom.serve.server import address_of, bind, serve

    app, model = FastAPI(), SentenceTransformer(str(folder), device="cpu")

    @app.post("/v1/embeddings")
    def embeddings(body: dict[str, Any]) -> dict[str, Any]:
        prompt = f"Instruct: {body['instruction']}\nQuery: " if "instruction" in body else ""
        [vector] = model.encode([body["input"]], prompt=prompt, show_progress_bar=False)
        shown = base64.b64encode(vector.tobytes()).decode()
        return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": shown}]}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(REGISTRY))

    bound = bind("127.0.0.1", 0)
    told = f"serving at {address_of(bound)};"
    serve(app, bound, started=lambda: print(told, file=sys.stderr, flush=True))


if __name__ == "__main__":
    {"one_at_a_time": one_at_a_time, "sentence_transformers": sentence_transformers}[sys.argv[1]](Path(sys.argv[2]))
