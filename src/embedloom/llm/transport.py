"""The official asynchronous client, set up for many small requests: one connection pool, no retries of its own.

Its typed methods cost about 2 ms of processor time a request, most of it in reading parameters and responses into
models and in httpx's transport. Here the body goes out as bytes and comes back as bytes, over aiohttp where it is
installed, which more than doubles the requests a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from embedloom.llm.retry import Fault

PATH = "/chat/completions"

TOLD = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
"""What the client's headers tell a server about this machine; making them takes a tenth of a request's time."""

Post = Callable[[bytes], Awaitable[bytes]]
"""Sends a request's body and returns the response's."""


@asynccontextmanager
async def clients(urls: Sequence[str], *, api_key: str, timeout: float, connections: int) -> AsyncIterator[list[Post]]:
    """A function for each server that posts to its chat completions; they share a pool.

    Args:
        urls: base addresses.
        api_key: sent to each.
        timeout: seconds for connecting, at most 30; a whole request is limited by whoever posts it.
        connections: at most so many at once.

    Raises:
        openai.APIError: from the functions; a subclass says what went wrong.
    """
    import openai

    # Only connecting has a limit here: whoever posts limits the whole request, and a timer for each read costs time.
    limits = openai.Timeout(None, connect=min(timeout, 30.0))
    # The pool must never be what a request waits for: places are counted where the prompts are.
    http: Any = _http_client(limits, connections)
    async with http:
        settings: dict[str, Any] = {"api_key": api_key, "max_retries": 0, "timeout": limits, "http_client": http}
        found = [openai.AsyncOpenAI(base_url=url, default_headers=_omitted(*TOLD), **settings) for url in urls]
        yield [_post(client, url) for client, url in zip(found, urls, strict=True)]


def lost_request(error: Exception, timeout: float) -> Fault:
    """A request without a response. The client calls some lost connections time-outs; the first cause knows better."""
    cause: BaseException = error
    while not isinstance(cause, TimeoutError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__:
        return Fault("timeout", f"no reply in {timeout:g} seconds", "endpoint")
    return Fault("unreachable", str(cause)[:200] or type(cause).__name__, "endpoint")


def _http_client(timeout: Any, connections: int) -> Any:
    import openai

    make = openai.DefaultAsyncHttpxClient
    try:
        import aiohttp  # noqa: F401 - only whether it is there
    except ImportError:
        pass
    else:
        make = openai.DefaultAioHttpClient
    limits = _of_httpx("Limits")(max_connections=connections, max_keepalive_connections=connections)
    return make(timeout=timeout, limits=limits)


def _of_httpx(name: str) -> Any:
    """A class of the httpx generation that the installed client is built on."""
    import importlib

    import openai

    module = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.split(".")[0]
    return getattr(importlib.import_module(module), name)


def _omitted(*names: str) -> dict[str, Any]:
    import openai

    return {f"X-Stainless-{name}": openai.Omit() for name in names}


def _post(client: Any, url: str) -> Post:
    kind = _of_httpx("Response")
    # A path alone would be parsed, joined to the base address and parsed again for every request.
    place = url.rstrip("/") + PATH
    options = {"headers": {"Content-Type": "application/json", **_omitted("Retry-Count", "Read-Timeout")}}

    async def post(body: bytes) -> bytes:
        response = await client.post(place, cast_to=kind, content=body, options=options)
        return cast("bytes", response.content)

    return post
