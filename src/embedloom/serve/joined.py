"""The model for work that is written for an embedder: its texts join the passes of all other requests.

Attribution reads hits and spans, computes, and encodes again: such work runs in a thread of its own, and asks the
server's one model through the event loop, a part at a time, so that nobody else waits behind all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from embedloom.serve.refusal import RefusedError, closing

if TYPE_CHECKING:
    from embedloom.records import Embedder, Progress, Vectors
    from embedloom.serve.gate import Call
    from embedloom.serve.service import Service

AT_ONCE = 128
"""Texts that are asked for together."""

R = TypeVar("R")


class JoinedEmbedder:
    """An `Embedder` for one thread of the server, other than the event loop's.

    Args:
        service: with the model.
        loop: the server's event loop.
        call: the request that is told what was encoded; without one it is the server's own work, which waits for room
            where a request would be refused.
        key: of the request's body, for refusals.
    """

    def __init__(
        self, service: Service, loop: asyncio.AbstractEventLoop, call: Call | None = None, *, key: str = "text"
    ) -> None:
        self.name = service.embedder.name
        self.fingerprint = service.embedder.fingerprint
        self.dimension = service.embedder.dimension
        self._service, self._loop, self._call, self._key = service, loop, call, key
        self._stopped = False
        self._asked: Future[Vectors] | None = None

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """As `Embedder.encode_queries`."""
        return self._encoded(texts, instruction, progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """As `Embedder.encode_documents`."""
        return self._encoded(texts, None, progress)

    def stop(self) -> None:
        """Ends the work at its next text, and drops what waits of it. Called by the event loop."""
        self._stopped = True
        if self._asked is not None:
            self._asked.cancel()

    def _encoded(self, texts: Sequence[str], instruction: str | None, progress: Progress | None) -> Vectors:
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), AT_ONCE):
            part = list(texts[start : start + AT_ONCE])
            out[start : start + len(part)] = self._part(part, instruction)
            if progress is not None:
                progress(len(part))
        return out

    def _part(self, texts: list[str], instruction: str | None) -> Vectors:
        while True:
            if self._stopped or self._loop.is_closed():
                raise closing()
            asked = self._asked = asyncio.run_coroutine_threadsafe(self._vectors(texts, instruction), self._loop)
            try:
                # Looks up now and then: a loop that ends answers nobody.
                while not wait([asked], timeout=1).done and not self._stopped:
                    pass
                return asked.result(timeout=0)
            except RefusedError as refusal:
                if refusal.status != 429 or self._call is not None:
                    raise
                time.sleep(1)
            except (CancelledError, TimeoutError):
                if not self._stopped:
                    raise
                raise closing() from None

    async def _vectors(self, texts: list[str], instruction: str | None) -> Vectors:
        if self._stopped:
            raise closing()
        rows = await self._service.split(texts, instruction, key=self._key)
        if self._call is not None:
            self._call.texts += len(rows)
            self._call.tokens += sum(row.length for row in rows)
        return await self._service.vectors(rows)


async def joined(
    service: Service, threads: ThreadPoolExecutor, work: Callable[[Embedder], R], call: Call, *, key: str
) -> R:
    """What `work` returns, given the model, in one of the threads. Cancelled, it ends the work.

    Raises:
        RefusedError: as `Service.rows` and `Service.vectors`, whatever the work raises besides.
    """
    embedder = JoinedEmbedder(service, asyncio.get_running_loop(), call, key=key)
    try:
        return await asyncio.wrap_future(threads.submit(work, embedder))
    finally:
        embedder.stop()
