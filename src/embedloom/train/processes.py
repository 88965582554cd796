"""The processes of one training: how they meet, what they tell each other, and what one says when another is gone.

A launcher (`torchrun`, `accelerate launch`) starts them and tells each its number by environment variables; Accelerate
chooses the device. The weights are replicated, or sharded, as the launcher's configuration says.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from embedloom.errors import RunError

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store  # type: ignore[attr-defined]

    from embedloom.train.heartbeat import Heartbeat

Weights = Literal["replicated", "sharded", "zero"]
"""Each process has all of them (DDP), a part of them (FSDP2), or DeepSpeed deals them out (ZeRO)."""

GONE_STATUS = 2
"""Exit status of a process that ends because another is gone."""

SAME_FILES = "every machine must see the same run folder, the same recipe and the same model"
_ANSWER = 4.0
"""Seconds in which the processes that are left tell each other so."""


def several() -> bool:
    """Whether a launcher started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE") or 1) > 1


class Processes:
    """One process among several. `count` of them; `rank` 0 writes the files."""

    def __init__(
        self, rank: int, count: int, device: torch.device, weights: Weights, store: Store, heartbeat: Heartbeat
    ) -> None:
        self.rank, self.count, self.device, self.weights = rank, count, device, weights
        self._store, self._heartbeat = store, heartbeat
        self._words = 0
        self._failures = 0
        self._left = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def say(self, word: str) -> None:
        """Tells all others a word; the first process does."""
        self._words += 1
        self._store.set(f"word/{self._words}", word)

    def hear(self) -> str:
        """Waits for the next word of the first process, as long as that one is alive."""
        self._words += 1
        key = f"word/{self._words}"
        while not self._store.check([key]):
            time.sleep(0.1)
        return self._store.get(key).decode()

    def agree(self, what: str, value: str, mend: str = SAME_FILES) -> None:
        """Makes sure that all processes have the same value. Every one of them calls it, and ends where they differ.

        Args:
            what: the value is.
            value: this process'.
            mend: what the user can do where they differ.

        Raises:
            RunError: another process has another one.
        """
        self._words += 1
        keys = [f"word/{self._words}/{rank}" for rank in range(self.count)]
        self._store.set(keys[self.rank], value)
        for rank, key in enumerate(keys):
            if (theirs := self._store.get(key).decode()) != value:
                raise RunError(f"process {self.rank} has {what} {value}, process {rank} has {theirs}; {mend}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Around operations of all processes: says which one is gone where one fails for that reason.

        Raises:
            RunError: another process is gone.
        """
        try:
            yield
        except RuntimeError as error:
            if not _of_communication(error) or (lost := self._lost()) is None:
                raise
            raise lost from None

    def _lost(self) -> RunError | None:
        """Who is gone; takes some seconds, in which those that are left tell each other that they are."""
        self._failures += 1
        keys = [f"alive/{self._failures}/{rank}" for rank in range(self.count)]
        until = time.monotonic() + _ANSWER
        try:
            self._store.set(keys[self.rank], "1")
            while time.monotonic() < until:
                missing = [rank for rank, key in enumerate(keys) if not self._store.check([key])]
                if not missing:
                    return None
                time.sleep(0.1)
        except RuntimeError:
            missing = [0]
        named = ", ".join(map(str, missing))
        many = "processes" if len(missing) > 1 else "process"
        return RunError(gone(f"{many} {named} of {self.count} ended, killed or with an error of its own"))

    def dismiss(self) -> None:
        """Tells the others, if they still wait for a word, that there is nothing to do for them."""
        if not self._left:
            self.say("end")
            self.leave()

    def leave(self) -> None:
        """Ends what the processes had in common; each goes on alone. The first one waits for the others' leave."""
        import torch.distributed

        if self._left:
            return
        self._left = True
        self._heartbeat.stop()
        torch.distributed.destroy_process_group()


def join(*, silence: float = 120.0, collective: float = 1800.0) -> Processes:
    """Meets the other processes that the launcher started. Every one of them calls it.

    Args:
        silence: seconds after which a process that isn't heard of counts as gone, and ends the others.
        collective: seconds that an operation of all processes may take.

    Raises:
        RunError: the launcher's settings don't fit this machine.
    """
    import torch
    import torch.distributed
    from accelerate import PartialState
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    from embedloom.train.heartbeat import Heartbeat

    weights = asked_weights()
    # Else transformers would read the weights in the first process alone, before they are sharded.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    local = int(os.environ.get("LOCAL_RANK") or 0)
    cuda = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true"
    if cuda and local >= torch.cuda.device_count():
        raise RunError(
            f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; "
            "start as many processes a machine as it has GPUs"
        )
    limit = timedelta(seconds=collective)
    store, rank, count = next(iter(rendezvous("env://", timeout=limit)))
    own_store, _, _ = next(iter(rendezvous("env://", timeout=limit)))
    if cuda:
        torch.cuda.set_device(local)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=PrefixStore("collectives", store),
        rank=rank,
        world_size=count,
        timeout=limit,
    )
    with warnings.catch_warnings():
        # It would like to be told how many threads to use; PyTorch's own choice is the user's too.
        warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
        device = torch.device(PartialState(cpu=not cuda).device)
    heartbeat = Heartbeat(PrefixStore("embedloom", own_store), rank, count, silence=silence, end=_end)
    return Processes(rank, count, device, weights, PrefixStore("embedloom", store), heartbeat)


def gone(what: str) -> str:
    """The sentence for a training that another process' end has ended."""
    return f"{what}; the same command goes on behind the last saved step, on any number of processes"


def _end(what: str) -> None:
    """Ends this process, whose main thread may be waiting in an operation that never ends."""
    print(f"error: {gone(what)}", file=sys.stderr, flush=True)
    os._exit(GONE_STATUS)


def _of_communication(error: RuntimeError) -> bool:
    import torch.distributed

    known = any(word in str(error) for word in ("gloo", "NCCL", "Connection closed"))
    return known or isinstance(error, torch.distributed.DistError)


def asked_weights() -> Weights:
    """Where the launcher's configuration wants the weights.

    Raises:
        RunError: it asks for the first version of FSDP.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return "zero"
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise RunError("accelerate's configuration needs fsdp_version: 2; see recipes/accelerate/fsdp2.yaml")
        return "sharded"
    return "replicated"
