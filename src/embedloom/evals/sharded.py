"""One model in several processes: an `Embedder` that shares its texts out, with the vectors of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from embedloom.errors import EmbedloomError, ModelError
from embedloom.records import Embedder, Progress
from embedloom.workers import Processes, end_with_starter, threads_of_each

if TYPE_CHECKING:
    from embedloom.records import Vectors

SHARE = 32
"""Texts that a process is handed at a time."""

_opened: list[Embedder] = []
"""The model of this process, where it is one of the several."""


class ShardedEmbedder:
    """An `Embedder` that has its texts encoded by several processes, each with the model of its own.

    Use it as a context: at its end the processes end. Each takes its share of the cores, or a GPU in turn.

    Args:
        opener: opens the model in a process; a function of a module, or a `functools.partial` of one.
        processes: how many.

    Raises:
        ModelError: from any call, when a process died.
    """

    def __init__(self, opener: Callable[[], Embedder], processes: int) -> None:
        if processes < 1:
            raise ValueError(f"expected at least one process, got {processes}")
        self._processes = processes
        numbers = get_context("spawn").Value("i", 0)
        self._pool = Processes(processes, initializer=_open, initargs=(opener, numbers, processes))
        try:
            told = self._all(_about, [()], None)[0]
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            raise
        self.name: str = told[0]
        self.fingerprint: str = told[1]
        self.dimension: int = told[2]

    def __enter__(self) -> ShardedEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of queries under an instruction, shape (len(texts), dimension), float32."""
        return self._encode(texts, instruction, progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors of documents, shape (len(texts), dimension), float32."""
        return self._encode(texts, None, progress)

    def _encode(self, texts: Sequence[str], instruction: str | None, progress: Progress | None) -> Vectors:
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        # Like lengths together, as one process would have them, and the longest first: none is waited for at the end.
        order = np.argsort([-len(text) for text in texts], kind="stable")
        share = max(1, min(SHARE, -(-len(texts) // self._processes)))
        groups = [order[start : start + share] for start in range(0, len(order), share)]
        work = [([texts[row] for row in group], instruction) for group in groups]
        for group, vectors in zip(groups, self._all(_vectors, work, progress), strict=True):
            out[group] = vectors
        return out

    def _all(
        self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]], progress: Progress | None
    ) -> list[Any]:
        calls: list[Future[Any]] = []
        try:
            for arguments in work:
                calls.append(self._pool.submit(function, *arguments))
            left = set(calls)
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for one in done:
                    result = one.result()
                    if progress is not None:
                        progress(len(result))
        except BrokenProcessPool:
            raise ModelError(
                "a process with the model ended before its work was done, perhaps for want of memory; give fewer "
                "--processes"
            ) from None
        finally:
            for one in calls:
                one.cancel()
        return [one.result() for one in calls]


def _open(opener: Callable[[], Embedder], numbers: Any, processes: int) -> None:
    """Opens the model in this process, which ends with the one that started it."""
    end_with_starter()
    with numbers.get_lock():
        number, numbers.value = numbers.value, numbers.value + 1
    _take_place(number, processes)
    try:
        _opened.append(opener())
    except EmbedloomError as error:
        # Told by the first call: an initializer's own error would only break the pool.
        _opened.append(_Fault(error))


class _Fault:
    """Stands where a model should: whatever is asked of it, it says why there is none."""

    def __init__(self, error: EmbedloomError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise ModelError(str(self._error))

    encode_queries: Any
    encode_documents: Any
    name: Any
    fingerprint: Any
    dimension: Any


def _take_place(number: int, processes: int) -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
        return
    torch.set_num_threads(min(torch.get_num_threads(), threads_of_each(processes)))


def _about() -> tuple[str, str, int]:
    model = _opened[0]
    return model.name, model.fingerprint, model.dimension


def _vectors(texts: list[str], instruction: str | None) -> Vectors:
    model = _opened[0]
    return model.encode_documents(texts) if instruction is None else model.encode_queries(texts, instruction)
