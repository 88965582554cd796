"""What asking a server costs on our side: requests a second at 64 in flight against a server that replies at once.

The server is a process of its own and takes part of the machine. `ours_saved` writes and syncs every
reply, as `generate` does;
`client_typed` is the official client's own method with the same requests, by the transport that it brings.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REQUESTS = 4000
IN_FLIGHT = 64


def measure() -> dict[str, Any]:
    """Requests a second and processor time of this process a request."""
    figures: dict[str, Any] = {
        "requests": REQUESTS,
        "in_flight": IN_FLIGHT,
        "load_before": round(os.getloadavg()[0], 2),
    }
    for name, work in (
        ("ours", unsaved),
        ("ours_saved", saved),
        ("client_typed", typed),
        ("client_typed_aiohttp", typed_aiohttp),
    ):
        with server() as url:
            work(url, 300)
            started, processor = time.perf_counter(), time.process_time()
            work(url, REQUESTS)
            seconds = time.perf_counter() - started
            figures[name] = {
                "requests_per_second": round(REQUESTS / seconds),
                "processor_ms_per_request": round((time.process_time() - processor) / REQUESTS * 1000, 3),
            }
    return figures


@contextmanager
def server() -> Iterator[str]:
    """The address of an instant server."""
    command = [sys.executable, str(ROOT / "tests" / "fake_openai.py"), "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.terminate()


def prompts(count: int) -> Iterator[Any]:
    """Prompts of about 1,500 characters with two keys."""
    from embedloom.records import Prompt

    rules = "Write one example for the task below as a JSON object. " * 25
    for number in range(count):
        yield Prompt(f"p{number}", number, "short-long", "bench", rules, f"Task {number}.", keys=("query", "document"))


def unsaved(url: str, count: int) -> None:
    """Our client, replies dropped."""
    asked(url, count, lambda group: None)


def saved(url: str, count: int) -> None:
    """Our client, replies on disk."""
    from embedloom.run import RecordLog

    with tempfile.TemporaryDirectory() as folder, RecordLog(Path(folder) / "generations.jsonl") as log:
        asked(url, count, log.append)


def asked(url: str, count: int, save: Callable[[Any], None]) -> None:
    """Asks our client."""
    from embedloom.llm.chat import ChatSettings
    from embedloom.llm.openai import OpenAILLM

    llm = OpenAILLM(ChatSettings("fake", 0.7, 0.95), urls=[url], api_key="none", concurrency=IN_FLIGHT)
    answered = 0
    for group in llm.generate(prompts(count), seed=1):
        save(group)
        answered += len(group)
    assert answered == count


def typed(url: str, count: int) -> None:
    """The official client's `chat.completions.create`."""
    asyncio.run(typed_requests(url, count))


def typed_aiohttp(url: str, count: int) -> None:
    """The same over aiohttp."""
    import openai

    asyncio.run(typed_requests(url, count, openai.DefaultAioHttpClient))


async def typed_requests(url: str, count: int, make: Callable[[], Any] | None = None) -> None:
    """As many coroutines as requests in flight, one shared client."""
    import openai

    from embedloom.llm.chat import ChatSettings, request_body

    bodies = (request_body(prompt, ChatSettings("fake", 0.7, 0.95), seed=1) for prompt in prompts(count))
    http_client = make() if make else None
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http_client) as client:

        async def work() -> None:
            for body in bodies:
                reply = await client.chat.completions.create(**body)
                assert reply.choices[0].message.content

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
