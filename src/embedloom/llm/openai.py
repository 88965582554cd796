"""An LLM behind one or several OpenAI-compatible servers, asked through the official asynchronous client."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from embedloom.errors import MissingExtraError, ModelError
from embedloom.llm.budget import Budget, BudgetError
from embedloom.llm.chat import FORMATS, ChatSettings, GarbledError, encoded, estimated_tokens, read_bytes, request_body
from embedloom.llm.crew import Crew, StopAsking, Work
from embedloom.llm.endpoints import Endpoint, Fleet
from embedloom.llm.ledger import Usage
from embedloom.llm.retry import Fault, backoff, fault_of_status, unknown_parameter
from embedloom.llm.transport import Post, clients, lost_request
from embedloom.records import Generation, Prompt, Reject

OPENAI_URL = "https://api.openai.com/v1"

REFUSALS = 16
"""Prompts refused before any is answered, from which the request itself must be wrong."""

LOOK = 1.0
"""Seconds after which whoever waits for an endpoint or for the budget looks again at the latest."""


class OpenAILLM:
    """Generates with OpenAI-compatible servers.

    Args:
        settings: what every request has.
        urls: base addresses of the servers, each ending in `/v1` or what stands in its place.
        api_key: sent to each of them.
        concurrency: requests in flight at each.
        timeout: seconds that one request may take in all.
        retries: further attempts at a prompt whose request failed while the server answers others.
        json_schema: `auto` falls back to less where a server refuses a schema, `on` does not, `off` never asks for one.
        budget: what may be spent.
        patience: seconds without any reply from any server after which to stop.
    """

    style = "chat"

    def __init__(
        self,
        settings: ChatSettings,
        *,
        urls: Sequence[str],
        api_key: str,
        concurrency: int = 64,
        timeout: float = 120.0,
        retries: int = 8,
        json_schema: str = "auto",
        budget: Budget | None = None,
        patience: float = 600.0,
    ) -> None:
        self.name = f"openai:{settings.model}"
        self.settings = settings
        self.timeout = timeout
        self.retries = retries
        self.json_schema = json_schema
        self.budget = budget or Budget()
        self.patience = patience
        self._api_key = api_key
        first = "plain" if json_schema == "off" else FORMATS[0]
        self.fleet = Fleet(urls, concurrency=concurrency, reply_format=first, chance=random.random)

    @property
    def places(self) -> int:
        """Prompts that may be asked and not yet on disk: what a kill can lose."""
        return self.fleet.concurrency * len(self.fleet.endpoints)

    def usage(self) -> list[Usage]:
        """What the last `generate` asked of each server."""
        return self.fleet.usage()

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation | Reject]]:
        """Yields replies as they come, and a `Reject` (stage `generate`) for each prompt that no server answers.

        Raises:
            BudgetError: the budget is spent, behind the last reply.
            MissingExtraError: the client is not installed.
            ModelError: no server answers any more, or every request is refused.
        """
        try:
            import openai  # noqa: F401 - the thread needs it; a missing one is told here
        except ImportError:
            raise MissingExtraError("openai", "openai") from None
        requests = _Requests(self, seed)
        crew: Crew[Prompt, Generation | Reject] = Crew(iter(prompts), self.places, requests.open)
        yield from crew.groups()
        if requests.over_budget:
            raise BudgetError(
                f"the budget is spent: {self.budget.told()}; what was answered is on disk. Raise llm.budget_tokens or "
                "llm.budget_money and run the same command again"
            )


def open_openai(
    settings: ChatSettings, *, base_url: str | Sequence[str] = (), api_key_env: str = "", **options: Any
) -> OpenAILLM:
    """The LLM of one or several servers.

    Args:
        settings: what every request has.
        base_url: addresses; none for OpenAI's own, or the one in the environment's OPENAI_BASE_URL.
        api_key_env: the environment variable that holds the key. OPENAI_API_KEY where no address is given; a server
            with an address is sent a key only if its variable is named.
        options: further arguments of `OpenAILLM`.

    Raises:
        ModelError: an address that is none or holds a password, or no key where one is needed.
    """
    urls = [base_url] if isinstance(base_url, str) else list(base_url)
    urls = [url for url in urls if url]
    if not urls:
        urls, api_key_env = [os.environ.get("OPENAI_BASE_URL") or OPENAI_URL], api_key_env or "OPENAI_API_KEY"
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"llm.base_url: {url!r} is no address; expected one such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise ModelError(
                f"llm.base_url: the address of {parts.hostname} holds a password, which would be written into the run "
                "folder; put it into an environment variable and name that in llm.api_key_env"
            )
    key = os.environ.get(api_key_env, "").strip() if api_key_env else "none"
    if not key:
        raise ModelError(f"environment variable {api_key_env} is not set; it must hold the key for {urls[0]}")
    return OpenAILLM(settings, urls=[url.rstrip("/") for url in urls], api_key=key, **options)


class _Requests:
    """What the requests of one `generate` share, inside the event loop."""

    def __init__(self, llm: OpenAILLM, seed: int) -> None:
        self.llm, self.fleet, self.budget = llm, llm.fleet, llm.budget
        self.over_budget = False
        self._seed = seed
        self._posts: dict[str, Post] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._working = self._replies = self._refused = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work[Prompt, Generation | Reject]]:
        """Opens the connections and gives the work to be done for a prompt."""
        self.fleet.start(time.monotonic())
        urls = [endpoint.url for endpoint in self.fleet.endpoints]
        async with clients(
            urls, api_key=self.llm._api_key, timeout=self.llm.timeout, connections=self.llm.places
        ) as posts:
            self._posts = dict(zip(urls, posts, strict=True))
            yield self._within_budget

    async def _within_budget(self, prompt: Prompt) -> Generation | Reject:
        if not self.budget.limited:
            return await self._answer(prompt)
        # A token for two bytes is more than nearly every tokenizer makes of nearly every script.
        most = len(prompt.text.encode("utf-8", "replace")) // 2 + 32, prompt.max_new_tokens
        while self.over_budget or not self.budget.hold(*most):
            if self.over_budget or not self._working:
                self.over_budget = True
                raise StopAsking
            await self._change(None)
        self._working += 1
        try:
            return await self._answer(prompt)
        finally:
            self._working -= 1
            self.budget.release(*most)
            self._wake()

    async def _answer(self, prompt: Prompt) -> Generation | Reject:
        attempt = steps = 0
        failing: Endpoint | None = None
        while True:
            endpoint = await self._endpoint(failing)
            before = endpoint.aside
            found = await self._ask(endpoint, prompt, steps)
            self._wake()
            if isinstance(found, Generation):
                return found
            if isinstance(found, int):
                steps = found
                continue
            if found.scope == "prompt":
                self._refused += 1
                if self._refused >= REFUSALS and not self._replies:
                    raise ModelError(f"{endpoint.url} refuses every request: {found.detail}")
                return Reject(prompt.id, "generate", found.rule, found.detail)
            self._check_fleet()
            failing = endpoint
            # A server that is down or limits its rate says nothing about the prompt.
            if found.scope == "endpoint" and not (before or endpoint.aside):
                attempt += 1
                if attempt > self.llm.retries:
                    return Reject(prompt.id, "generate", found.rule, found.detail)
                await asyncio.sleep(backoff(attempt, random.random()))

    async def _endpoint(self, avoid: Endpoint | None) -> Endpoint:
        while True:
            now = time.monotonic()
            endpoint = self.fleet.choose(now, avoid=avoid)
            if endpoint is not None:
                return endpoint
            self._check_fleet()
            await self._change(self.fleet.wait(now))

    def _check_fleet(self) -> None:
        if self.fleet.all_denied():
            raise ModelError(f"no server can be used; {self.fleet.told()}")
        if (silence := self.fleet.silence(time.monotonic())) > self.llm.patience:
            raise ModelError(
                f"no server has answered for {silence:.0f} seconds; {self.fleet.told()}. The same command goes on "
                "where this one stopped"
            )

    async def _ask(self, endpoint: Endpoint, prompt: Prompt, steps: int) -> Generation | Fault | int:
        """One request: its reply, its fault, or with how many formats left out it should be asked again at once."""
        import openai

        level = max(FORMATS.index(endpoint.reply_format), steps) if prompt.keys else steps
        without = frozenset(endpoint.without)
        settings, asked = self.llm.settings, FORMATS[level]
        body = request_body(prompt, settings, seed=self._seed, reply_format=asked, without=without)
        try:
            async with asyncio.timeout(self.llm.timeout):
                content = await self._posts[endpoint.url](encoded(body))
            reply = read_bytes(prompt.id, content, self.llm.name)
        except openai.APIStatusError as error:
            told: Any = error.body if error.body is not None else error.response.text
            headers = {key.lower(): value for key, value in error.response.headers.items()}
            fault = fault_of_status(error.status_code, headers, told, now=time.time())
            if fault.scope == "prompt" or error.status_code == 501:
                again = self._other_way(endpoint, body, told, level, without)
                if again is not None:
                    self.fleet.given_back(endpoint)
                    return again
        except (TimeoutError, openai.APIConnectionError) as error:
            fault = lost_request(error, self.llm.timeout)
        except GarbledError as error:
            fault = Fault("garbled", str(error), "endpoint")
        except BaseException:
            self.fleet.given_back(endpoint)
            raise
        else:
            return self._counted(endpoint, prompt, reply, level)
        self.fleet.failed(endpoint, fault, time.monotonic())
        return fault

    def _other_way(
        self, endpoint: Endpoint, body: dict[str, Any], refusal: Any, level: int, without: frozenset[str]
    ) -> int | None:
        """The level of `FORMATS` to ask at, without what the server does not know; None if it refuses the prompt."""
        named = unknown_parameter(refusal, body)
        learnt = FORMATS.index(endpoint.reply_format)
        if named in endpoint.without - without or ("response_format" in body and learnt > level):
            return max(level, learnt)  # Another request has found it out meanwhile.
        if named and named != "response_format" and named not in self.llm.settings.extra:
            endpoint.without.add(named)
            return level
        may_step = "response_format" in body and self.llm.json_schema == "auto" and not endpoint.format_proven
        return level + 1 if may_step else None

    def _counted(self, endpoint: Endpoint, prompt: Prompt, reply: Generation, level: int) -> Generation:
        if prompt.keys and not endpoint.format_proven:
            # Remembered only now: a prompt that is refused in every form says nothing about forms.
            endpoint.reply_format, endpoint.format_proven = FORMATS[level], True
        if not reply.input_tokens:
            endpoint.uncounted += 1
            output = reply.output_tokens or estimated_tokens(reply.text)
            reply = replace(reply, input_tokens=estimated_tokens(prompt.text), output_tokens=output)
        was_aside = endpoint.aside
        self.fleet.answered(endpoint, reply, time.monotonic())
        self.budget.spend(reply.input_tokens, reply.output_tokens)
        self._replies += 1
        if was_aside:
            self._wake(len(self._waiters))
        return reply

    async def _change(self, seconds: float | None) -> None:
        """Waits until a request has ended, or so many seconds have passed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK if seconds is None else min(max(seconds, 0.001), LOOK)):
                await waiter

    def _wake(self, count: int = 1) -> None:
        while self._waiters and count:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1
