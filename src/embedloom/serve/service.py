"""The model and the index as the endpoints use them: texts to rows, rows to vectors in shared passes, to hits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from embedloom.serve.batcher import Batcher, ClosedError, QueueFullError
from embedloom.serve.engine import Input, InputError, Row, engine_for
from embedloom.serve.limits import Limits
from embedloom.serve.metrics import Metrics
from embedloom.serve.refusal import RefusedError, beyond_limit, busy, closing, invalid

if TYPE_CHECKING:
    from embedloom.records import Document, Embedder, Hit, Vectors
    from embedloom.search.index import VectorIndex
    from embedloom.serve.gate import Call


class Service:
    """One model, with an index that it made or none.

    Args:
        embedder: the model; from here on used by the service's threads alone.
        name: what clients call it; the embedder's own name if empty.
        index: documents to search.
        instruction: of queries that bring none; the index's own if None.
        limits: of a request and of all.
        metrics: what is counted.
        wait: seconds that a text may wait for company when the model is free.

    Raises:
        FingerprintError: another model made the index.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        name: str = "",
        index: VectorIndex | None = None,
        instruction: str | None = None,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        wait: float = 0.002,
    ) -> None:
        if index is not None:
            index.check(embedder)
        self.name = name or embedder.name
        self.embedder = embedder
        self.index = index
        stored = index.model.instruction if index is not None else ""
        self.instruction = stored if instruction is None else instruction
        self.limits = limits or Limits()
        self.metrics = metrics or Metrics()
        self._closed = False
        self._engine = engine_for(embedder)
        self._batcher: Batcher[Row] = Batcher(
            self._engine.encode,
            token_budget=self._engine.token_budget,
            wait=wait,
            capacity=self.limits.waiting_texts,
            observe=self.metrics.observe,
        )
        # A tokenizer is not for several threads at once, and one that splits must not hold up one that encodes.
        self._splitting = ThreadPoolExecutor(1, "tokens")
        self._searching = ThreadPoolExecutor(2, "search")
        self.metrics.watch(self._batcher, embedder, self.name)

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._batcher.alive and not self._closed

    def close(self) -> None:
        """Takes no more requests, and returns when all that were taken are done."""
        self._closed = True
        self._splitting.shutdown()
        self._batcher.close()
        self._searching.shutdown()

    def check_model(self, name: str | None) -> None:
        """Raises `RefusedError` (404) if a request wants another model than the one that is served."""
        if name is not None and name != self.name:
            raise RefusedError(404, f"no such model here; this server has {self.name!r}", "model_not_found", "model")

    def searched(self, k: int = 1, *, most: int = 0) -> VectorIndex:
        """The index.

        Args:
            k: hits that are asked for.
            most: that are allowed; by default as many as a search may give.

        Raises:
            RefusedError: there is no index, or `k` is beyond the limit.
        """
        if self.index is None:
            raise RefusedError(404, "this server has no index; start it with --index DIR", "no_index")
        most = most or self.limits.hits
        if k > most:
            raise beyond_limit(f"k is {k}; this server looks at {most:,} documents at most here", "k")
        return self.index

    async def rows(self, inputs: Sequence[Input], instruction: str | None, call: Call, *, key: str) -> list[Row]:
        """Rows of queries under an instruction, or of documents where it is None.

        Args:
            inputs: texts or token ids.
            instruction: of queries.
            call: the request, which is told what it holds.
            key: where in the body the inputs are.

        Raises:
            RefusedError: beyond the limits, a full queue, a closing server, or an input that the model can't take.
        """
        limits = self.limits
        if not self.ready:
            raise closing()
        if not inputs:
            raise invalid(f"key {key!r}: expected at least one text", key)
        if len(inputs) > limits.texts:
            raise beyond_limit(f"{len(inputs):,} texts; this server takes {limits.texts:,} a request", key)
        for number, given in enumerate(inputs):
            if len(given) > limits.characters:
                unit = "characters" if isinstance(given, str) else "token ids"
                what = f"text {number} has {len(given):,} {unit}; this server takes {limits.characters:,}"
                raise beyond_limit(what, key)
        self.check_instruction(instruction)
        rows = await self.split(inputs, instruction, key=key)
        call.texts += len(rows)
        call.tokens += sum(row.length for row in rows)
        call.cut += sum(row.cut for row in rows)
        return rows

    def check_instruction(self, instruction: str | None) -> None:
        """Raises `RefusedError` if an instruction is too long."""
        if instruction is not None and len(instruction) > self.limits.characters:
            raise beyond_limit(f"the instruction is longer than {self.limits.characters:,} characters", "instruction")

    async def split(self, inputs: Sequence[Input], instruction: str | None, *, key: str) -> list[Row]:
        """As `rows`, of inputs that need no look: the server's own texts, or those of a request that was looked at."""
        try:
            self._batcher.check_room(len(inputs))
            splitting = self._splitting.submit(self._engine.rows, inputs, instruction)
            rows = await asyncio.wrap_future(splitting)
        except QueueFullError as error:
            raise busy(error.seconds) from None
        except InputError as error:
            raise invalid(str(error), key) from None
        except RuntimeError:
            # The thread that splits takes no more.
            if self.ready:
                raise
            raise closing() from None
        return rows

    async def vectors(self, rows: Sequence[Row]) -> Vectors:
        """Unit vectors of rows, shape (len(rows), dimension). Cancelled, it drops the rows that still wait.

        Raises:
            RefusedError: a full queue, or a server that goes.
        """
        try:
            answer = self._batcher.submit(rows, [row.length for row in rows])
        except QueueFullError as error:
            raise busy(error.seconds) from None
        except ClosedError:
            raise closing() from None
        return await asyncio.wrap_future(answer)

    async def hits(self, query_vectors: Vectors, k: int) -> list[tuple[Hit, Document]]:
        """The `k` nearest documents of one query, shape (1, dimension), best first."""
        index = self.searched(k)

        def found() -> list[tuple[Hit, Document]]:
            [hits] = index.search_vectors(query_vectors, k)
            return list(zip(hits, index.documents([hit.document_id for hit in hits]), strict=True))

        return await asyncio.wrap_future(self._searching.submit(found))
