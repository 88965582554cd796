"""Starts a function in several processes that are the ranks of one training, at the price of one import.

A server process imports the packages once and forks the ranks: four imports of PyTorch would cost more than all that
is tested with them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
ASKED = {
    "replicated": {},
    "sharded": {
        "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
    },
    "zero": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"},
}  # fmt: skip
"""What `accelerate launch` puts into the environment."""

SERVER = '''
"""Reads a line for each run, forks its ranks, and says how each ended."""
import faulthandler, importlib, json, os, signal, sys, time, traceback
import torch, transformers, peft, accelerate
import torch.distributed
from transformers.models.llama import modeling_llama
from transformers.models.gemma3 import modeling_gemma3
import toy_training
from embedloom.cli import tuning
from embedloom.train import heartbeat, loop, processes, sharded
from torch.distributed import fsdp, tensor
torch.set_num_threads(1)

def child(run, rank):
    folder = run["folder"]
    os.dup2(os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    count = str(run["count"])
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(run["port"]), **run["environment"]})
    module, name = run["function"].split(":")
    # A rank that hangs says where.
    faulthandler.dump_traceback_later(0.8 * run["limit"])
    try:
        found = getattr(importlib.import_module(module), name)(*run["arguments"])
        torch.save(found, f"{folder}/{rank}.pt")
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)
    os._exit(0)

print("ready", flush=True)
for line in sys.stdin:
    run = json.loads(line)
    ranks = {}
    for rank in range(run["count"]):
        process = os.fork()
        if process == 0:
            child(run, rank)
        ranks[process] = rank
    statuses = {}
    until = time.monotonic() + run["limit"]
    while len(statuses) < run["count"] and time.monotonic() < until:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            statuses[ranks[process]] = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.02)
        if len(statuses) >= run["ends"]:
            break
    for process, rank in ranks.items():
        if rank not in statuses:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    print(json.dumps([statuses.get(rank) for rank in range(run["count"])]), flush=True)
'''


@dataclass(frozen=True)
class Ended:
    """How the ranks ended: exit statuses (None: still there when the time was up), what they returned and printed."""

    statuses: list[int | None]
    results: list[Any]
    printed: list[str]


class Ranks:
    """The server. Use it as a context."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> Ranks:
        assert self._read() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def start(
        self,
        function: str,
        count: int,
        folder: Path,
        *arguments: Any,
        weights: str = "replicated",
        gpus: bool = False,
        survivors: int = 0,
        limit: float = 600,
    ) -> Ended:
        """Runs `module:function(*arguments)` in `count` ranks, with arguments that are JSON, and waits for their end.

        Args:
            function: by name.
            count: processes.
            folder: for what they return and print.
            arguments: the same for each.
            weights: `replicated`, `sharded` (FSDP2) or `zero` (DeepSpeed), as `accelerate launch` would ask for it.
            gpus: on NCCL, a GPU each; else on gloo and the CPU, whatever the machine has.
            survivors: ranks that can't end, being stopped for example; they are killed when the others ended.
            limit: seconds after which all are killed.
        """
        import torch

        assert self._process.stdin is not None
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**ASKED[weights], "ACCELERATE_USE_CPU": "false" if gpus else "true"}
        run = {
            "function": function, "count": count, "folder": str(folder), "arguments": arguments, "port": _free_port(),
            "environment": environment, "ends": count - survivors, "limit": limit,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(run) + "\n")
        self._process.stdin.flush()
        statuses = json.loads(self._read())
        printed = [(folder / f"{rank}.log").read_text(encoding="utf-8") for rank in range(count)]
        paths = [folder / f"{rank}.pt" for rank in range(count)]
        results = [torch.load(path, weights_only=True) if path.exists() else None for path in paths]
        return Ended(statuses, results, printed)

    def results(
        self, function: str, count: int, folder: Path, *arguments: Any, weights: str = "replicated", gpus: bool = False
    ) -> Sequence[Any]:
        """What each rank returned; all must have ended well."""
        ended = self.start(function, count, folder, *arguments, weights=weights, gpus=gpus)
        assert ended.statuses == [0] * count, "\n".join(ended.printed)
        return ended.results

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
