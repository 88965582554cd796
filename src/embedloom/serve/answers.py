"""What the server makes of its index beyond hits: highlighted spans, cited answers, sources of a text, a map."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from embedloom.errors import ModelError
from embedloom.search.attribute import INSTRUCTION, Attribution, attribute
from embedloom.search.calibration import measured_threshold, stored_threshold
from embedloom.search.map import IndexMap, map_of
from embedloom.search.rag import Answer, Passage, ask, numbered
from embedloom.search.spans import EncodedSpans, Source, statements
from embedloom.serve.joined import JoinedEmbedder, joined
from embedloom.serve.refusal import RefusedError, beyond_limit, busy, closing, invalid, silent

if TYPE_CHECKING:
    from embedloom.records import LLM, Document, Embedder, Hit, Vectors
    from embedloom.search.index import VectorIndex
    from embedloom.serve.body import AskBody, AttributeBody, MapBody
    from embedloom.serve.gate import Call
    from embedloom.serve.service import Service

log = logging.getLogger("embedloom.serve")

R = TypeVar("R")

AROUND = 160
"""Characters shown before and behind a source."""
WAITING = 8
"""Questions that may wait for each language model."""


class Answers:
    """Work on a service's index.

    Args:
        service: with the model and the index.
        chats: language models for questions, each asked one question at a time; none refuses questions.
        threshold: cosine of a source; measured on the index if None.
    """

    def __init__(self, service: Service, chats: Sequence[LLM] = (), *, threshold: float | None = None) -> None:
        self.service = service
        self.chat = chats[0].name if chats else None
        self._free: SimpleQueue[LLM] = SimpleQueue()
        for llm in chats:
            self._free.put(llm)
        self._places = len(chats) * (1 + WAITING)
        self._threshold = threshold
        self._measuring: Future[float] | None = None
        self._measurer: JoinedEmbedder | None = None
        self._maps: dict[tuple[int, int, int], IndexMap] = {}
        self._chatting = ThreadPoolExecutor(max(len(chats), 1), "chat")
        self._working = ThreadPoolExecutor(4, "answers")
        self._measure = ThreadPoolExecutor(1, "threshold")

    def close(self) -> None:
        """Takes no more work. Whatever still runs is of requests that nobody waits for."""
        if self._measurer is not None:
            self._measurer.stop()
        for threads in (self._chatting, self._working, self._measure):
            threads.shutdown(wait=False, cancel_futures=True)

    async def highlight(
        self, query_vector: Vectors, found: Sequence[tuple[Hit, Document]], call: Call
    ) -> list[dict[str, Any] | None]:
        """For each hit the span of its text that is nearest to the query, shape (dimension,); None if it has none."""

        def work(embedder: Embedder) -> list[dict[str, Any] | None]:
            encoded = EncodedSpans([document for _, document in found], embedder)
            return [_in_text(encoded.best(query_vector, document.id), document) for _, document in found]

        return await joined(self.service, self._working, work, call, key="query")

    async def ask(self, body: AskBody, call: Call) -> Answer:
        """An answer with the passages that it cites.

        Raises:
            RefusedError: no index or language model, beyond the limits, a full queue, or no answer.
        """
        service = self.service
        service.searched(body.k, most=service.limits.read_hits)
        if self.chat is None:
            raise RefusedError(404, "this server has no language model; start it with --chat NAME", "no_chat")
        if not body.question.strip():
            raise invalid("key 'question': expected a question", "question")
        if self._places <= 0:
            raise busy(5)
        self._places -= 1
        try:
            instruction = service.instruction if body.instruction is None else body.instruction
            rows = await service.rows([body.question], instruction, call, key="question")
            passages = numbered(await service.hits(await service.vectors(rows), body.k))
            asking = _submitted(self._chatting, partial(self._asked, body.question, passages))
        except BaseException:
            self._places += 1
            raise
        loop = asyncio.get_running_loop()
        # A question whose client left holds its place until the language model is done with it.
        asking.add_done_callback(lambda _: _soon(loop, self._give_place))
        return await asyncio.wrap_future(asking)

    async def attribute(self, body: AttributeBody, call: Call) -> tuple[float, list[dict[str, Any]]]:
        """The threshold, and for each sentence of a text its sources.

        Raises:
            RefusedError: no index, beyond the limits, no sentence, or a full queue.
        """
        service, limits = self.service, self.service.limits
        index = service.searched(body.k, most=limits.read_hits)
        if len(body.text) > limits.characters:
            what = f"the text has {len(body.text):,} characters; this server takes {limits.characters:,}"
            raise beyond_limit(what, "text")
        service.check_instruction(body.instruction)
        count = len(statements(body.text))
        if not count:
            raise invalid("key 'text': expected at least one sentence", "text")
        if count > limits.sentences:
            raise beyond_limit(f"{count:,} sentences; this server takes {limits.sentences:,} a request", "text")
        if not service.ready:
            raise closing()
        instruction = INSTRUCTION if body.instruction is None else body.instruction
        threshold = self._threshold if body.threshold is None else body.threshold
        if threshold is None:
            # Measured for what clients write, thresholds would be without end.
            if instruction != INSTRUCTION:
                raise invalid("an instruction of your own needs a threshold, too", "threshold")
            threshold = await self._measured(index)

        def work(embedder: Embedder) -> list[dict[str, Any]]:
            found = attribute(body.text, index, embedder, threshold=threshold, k=body.k, instruction=instruction)
            return _attributed(found, index)

        return threshold, await joined(service, self._working, work, call, key="text")

    async def map(self, body: MapBody) -> IndexMap:
        """Documents of the index in the plane; the same answer until the index has more or fewer documents.

        Raises:
            RefusedError: no index, or beyond the limits.
        """
        index, most = self.service.searched(), self.service.limits.points
        if body.points > most:
            raise beyond_limit(f"points is {body.points}; this server shows {most:,} at most", "points")
        key = (body.points, body.seed, len(index))
        if key not in self._maps:
            made = partial(map_of, index, points=body.points, seed=body.seed)
            found = await asyncio.wrap_future(_submitted(self._working, made))
            while len(self._maps) >= 4:
                self._maps.pop(next(iter(self._maps)), None)
            self._maps[key] = found
            return found
        return self._maps[key]

    async def _measured(self, index: VectorIndex) -> float:
        """The threshold of the index, measured once, whatever becomes of the requests that wait for it."""
        stored = stored_threshold(index)
        if stored is not None:
            return stored
        running = self._measuring
        if running is None or (running.done() and running.exception() is not None):
            self._measurer = JoinedEmbedder(self.service, asyncio.get_running_loop())
            running = _submitted(self._measure, partial(measured_threshold, index, self._measurer))
            self._measuring = running
        return await asyncio.shield(asyncio.wrap_future(running))

    def _asked(self, question: str, passages: Sequence[Passage]) -> Answer:
        llm = self._free.get()
        try:
            return ask(question, passages, llm)
        except ModelError as error:
            log.warning("%s gave no answer (%s)", llm.name, type(error).__name__)
            raise silent() from None
        finally:
            self._free.put(llm)

    def _give_place(self) -> None:
        self._places += 1


def _in_text(source: Source | None, document: Document) -> dict[str, Any] | None:
    """A span of a document's content as characters of its text; None where it lies in the title alone."""
    if source is None:
        return None
    start = document.content.rindex(document.text.strip()) - (len(document.text) - len(document.text.lstrip()))
    first, last = max(source.start - start, 0), source.end - start
    if last <= first:
        return None
    return {"start": first, "end": last, "score": round(source.score, 6)}


def _attributed(found: Sequence[Attribution], index: VectorIndex) -> list[dict[str, Any]]:
    ids = sorted({source.document_id for one in found for source in one.sources})
    documents = {document.id: document for document in index.documents(ids)}

    def shown(source: Source) -> dict[str, Any]:
        document = documents[source.document_id]
        content = document.content
        return {
            "id": source.document_id,
            "title": document.title,
            "score": round(source.score, 6),
            "start": source.start,
            "end": source.end,
            "text": source.text,
            "before": content[max(source.start - AROUND, 0) : source.start],
            "after": content[source.end : source.end + AROUND],
        }

    return [
        {
            "index": number,
            "sentence": one.sentence,
            "best": round(one.best, 6),
            "sources": [shown(source) for source in one.sources],
        }
        for number, one in enumerate(found)
    ]


def _submitted(threads: ThreadPoolExecutor, work: Callable[[], R]) -> Future[R]:
    try:
        return threads.submit(work)
    except RuntimeError:
        raise closing() from None


def _soon(loop: asyncio.AbstractEventLoop, call: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


def answer_body(answer: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    found = asdict(answer)
    passages = [
        {"number": passage.number, "id": passage.document_id, "score": round(passage.score, 6), "text": passage.text}
        for passage in answer.passages
    ]
    return {"answer": found["text"], "cited": answer.cited, "unknown": answer.unknown, "complete": answer.complete} | {
        "passages": passages
    }
