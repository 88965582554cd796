"""Each request's way in and out: who may come, how much it may bring, how long it may take, what is counted of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from embedloom.serve.limits import Limits
from embedloom.serve.metrics import Metrics
from embedloom.serve.refusal import RefusedError, busy

log = logging.getLogger("embedloom.serve")

GONE = 499
"""Status, in the log alone, of a request whose client left before the answer."""
DRAINED = 8
"""How many times the limit of a body is read and thrown away, so that the client gets to read why it was refused."""


@dataclass(slots=True)
class Call:
    """One request on its way: its body, and what it turned out to hold."""

    request: Request
    body: bytes = b""
    held: int = 0
    texts: int = 0
    tokens: int = 0
    cut: int = 0
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Coroutine[Any, Any, Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Gate:
    """Wraps handlers into endpoints that never raise.

    Args:
        limits: of a request and of all.
        metrics: what is counted.
        key: the key that clients must show; none if empty.
        hosts: names of this machine of which a request must use one, or any if None. Without a key and without this, a
            web page that the user visits could have its own name point here, and read the index.
    """

    def __init__(
        self, limits: Limits, metrics: Metrics, *, key: str = "", hosts: Collection[str] | None = None
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self.open = 0
        self.held = 0
        self._digest = _digest(key.encode()) if key else None
        self._hosts = hosts

    def endpoint(self, name: str, handler: Handler, *, guarded: bool = True, reads: bool = False) -> Endpoint:
        """A Starlette endpoint around a handler.

        Args:
            name: of the endpoint, in log and metrics.
            handler: from a call to its response; may raise `RefusedError`.
            guarded: whether the key is asked for.
            reads: whether the handler wants the body.
        """

        async def answer(request: Request) -> Response:
            started = time.perf_counter()
            call = Call(request)
            self.open += 1
            self.metrics.open.set(self.open)
            try:
                response = await self._answer(call, handler, guarded, reads)
            finally:
                self.open -= 1
                self.held -= call.held
                self.metrics.open.set(self.open)
            self._count(name, call, response.status_code, time.perf_counter() - started)
            return response

        return answer

    async def _answer(self, call: Call, handler: Handler, guarded: bool, reads: bool) -> Response:
        try:
            self._admit(call.request, guarded)
            async with asyncio.timeout(self.limits.seconds):
                if reads:
                    await self._read(call)
                    response = await _unless_gone(call.request, handler(call))
                else:
                    response = await handler(call)
        except RefusedError as refusal:
            response = refused(refusal)
        except TimeoutError:
            response = refused(self._late(call))
        except ClientDisconnect:
            response = Response(status_code=GONE)
        except Exception as error:
            # Of an error only its kind and place are told: its message may hold the request's text.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s in\n%s", type(error).__name__, place)
            response = refused(RefusedError(500, f"the server failed ({type(error).__name__}); its log says where"))
        response.headers.update(call.headers)
        return response

    def _admit(self, request: Request, guarded: bool) -> None:
        if self._hosts is not None and _host(request) not in self._hosts:
            raise RefusedError(403, "this server answers to its local name only; give it an API key to use another")
        if guarded and self._digest is not None:
            kind, _, given = request.headers.get("authorization", "").partition(" ")
            shown = kind.lower() == "bearer" and hmac.compare_digest(
                _digest(given.strip().encode("latin-1", "replace")), self._digest
            )
            if not shown:
                message = "a valid API key is needed, in the header: Authorization: Bearer KEY"
                raise RefusedError(401, message, "invalid_api_key", headers={"www-authenticate": "Bearer"})
        if guarded and self.open > self.limits.open_requests:
            raise busy(1)

    async def _read(self, call: Call) -> None:
        kind = call.request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            # A form that another web page sends has another type, and comes without asking.
            raise RefusedError(415, "expected the header: Content-Type: application/json", "unsupported_media_type")
        limit, size, parts = self.limits.body_bytes, 0, []
        declared = call.request.headers.get("content-length", "0")
        if len(declared) > 15 or (declared.isascii() and declared.isdigit() and int(declared) > DRAINED * limit):
            raise self._too_large()
        async for chunk in call.request.stream():
            size += len(chunk)
            if size <= limit:
                parts.append(chunk)
                call.held += len(chunk)
                self.held += len(chunk)
                if self.held > self.limits.held_bytes:
                    raise busy(1)
            elif size > DRAINED * limit:
                raise self._too_large()
        if size > limit:
            raise self._too_large()
        call.body = b"".join(parts)

    def _too_large(self) -> RefusedError:
        most = self.limits.body_bytes
        return RefusedError(413, f"the body has more than {most:,} bytes; send fewer texts", "body_too_large")

    def _late(self, call: Call) -> RefusedError:
        if call.request.method == "POST" and not call.body:
            return RefusedError(408, f"the body did not come within {self.limits.seconds:g} s")
        return RefusedError(504, f"no answer within {self.limits.seconds:g} s; send fewer texts, or later", "timeout")

    def _count(self, name: str, call: Call, status: int, seconds: float) -> None:
        metrics = self.metrics
        metrics.requests.labels(name, str(status)).inc()
        metrics.seconds.labels(name).observe(seconds)
        if status == 200:
            metrics.texts.labels(name).inc(call.texts)
            metrics.tokens.labels(name).inc(call.tokens)
            metrics.cut.inc(call.cut)
        log.info("%s %d %.1f ms, %d texts, %d tokens", name, status, seconds * 1000, call.texts, call.tokens)


def refused(refusal: RefusedError) -> Response:
    """The response of a refusal."""
    content = json.dumps(refusal.body())
    return Response(content, refusal.status, headers=refusal.headers, media_type="application/json")


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """What `work` returns, unless the client leaves: then the work is cancelled.

    Raises:
        ClientDisconnect: it left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def _digest(text: bytes) -> bytes:
    # Of digests, all as long as each other, the comparison doesn't even tell the key's length.
    return hashlib.sha256(text).digest()


def _host(request: Request) -> str:
    host = request.headers.get("host", "").lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host
