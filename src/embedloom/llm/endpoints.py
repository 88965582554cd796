"""Several servers of one model: which to ask next, which to leave alone for a while, which to give up.

The time is an argument everywhere, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from embedloom.llm.chat import FORMATS
from embedloom.llm.ledger import Usage
from embedloom.llm.retry import Fault, backoff
from embedloom.records import Generation

STRIKES = 5
"""Faults in a row from which an endpoint is set aside."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server: its state, what it was found not to know, and what it was asked so far.

    Attributes:
        url: its address, which ends where `/chat/completions` begins.
        in_flight: requests that have no response yet.
        strikes: faults since its last reply.
        limits: rate limits met since its last reply.
        resume_at: it is not asked before this time.
        denied: why it will never answer; "" if it may.
        reply_format: the best of `FORMATS` that it may take; `format_proven` says that it does.
        without: parameters that it does not know.
        uncounted: replies whose tokens the server did not count.
    """

    url: str
    reply_format: str = FORMATS[0]
    in_flight: int = 0
    strikes: int = 0
    limits: int = 0
    resume_at: float = 0.0
    denied: str = ""
    last_fault: str = ""
    format_proven: bool = False
    without: set[str] = field(default_factory=set)
    requests: int = 0
    answered: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def aside(self) -> bool:
        """Whether it failed so often in a row that one request at a time probes it."""
        return self.strikes >= STRIKES


class Fleet:
    """The endpoints of one model.

    Args:
        urls: their addresses.
        concurrency: requests in flight at each.
        chance: gives a number in [0, 1), for the waits.
        reply_format: how JSON replies are asked for at first.
    """

    def __init__(
        self, urls: Sequence[str], *, concurrency: int, chance: Callable[[], float], reply_format: str
    ) -> None:
        self.endpoints = [Endpoint(url, reply_format) for url in dict.fromkeys(urls)]
        self.concurrency = concurrency
        self._chance = chance
        self._last_answer = 0.0

    def start(self, now: float) -> None:
        """Begins a sitting: nothing is in flight, `silence` and the counts start here; what was learnt stays."""
        self._last_answer = now
        for endpoint in self.endpoints:
            endpoint.in_flight = endpoint.requests = endpoint.answered = 0
            endpoint.input_tokens = endpoint.output_tokens = endpoint.uncounted = 0
            endpoint.faults = Counter()

    def usage(self) -> list[Usage]:
        """What was asked of each endpoint since `start`."""
        return [
            Usage(e.url, e.requests, e.answered, e.input_tokens, e.output_tokens, e.uncounted, dict(e.faults))
            for e in self.endpoints
        ]

    def choose(self, now: float, *, avoid: Endpoint | None = None) -> Endpoint | None:
        """The endpoint to ask now, its `in_flight` counted up; None if none may be asked.

        Args:
            now: the time.
            avoid: asked only if there is no other: it just failed.
        """
        found = [endpoint for endpoint in self.endpoints if self._open(endpoint, now)]
        if not found:
            return None
        best = min(found, key=lambda endpoint: (endpoint is avoid, endpoint.aside, endpoint.in_flight))
        best.in_flight += 1
        best.requests += 1
        return best

    def wait(self, now: float) -> float | None:
        """Seconds until an endpoint may be asked again, None if only a response in flight can change that."""
        times = [
            endpoint.resume_at - now
            for endpoint in self.endpoints
            if not endpoint.denied and endpoint.resume_at > now and self._has_room(endpoint)
        ]
        return min(times, default=None)

    def answered(self, endpoint: Endpoint, reply: Generation, now: float) -> None:
        """An endpoint replied."""
        endpoint.in_flight -= 1
        endpoint.answered += 1
        endpoint.input_tokens += reply.input_tokens
        endpoint.output_tokens += reply.output_tokens
        endpoint.strikes = endpoint.limits = 0
        self._last_answer = now

    def failed(self, endpoint: Endpoint, fault: Fault, now: float) -> None:
        """An endpoint did not reply; it may now be left alone for a while, or for good."""
        endpoint.in_flight -= 1
        endpoint.faults[fault.rule] += 1
        if fault.scope == "prompt":
            # It answers, if only with a refusal.
            endpoint.strikes = endpoint.limits = 0
            return
        endpoint.last_fault = fault.detail
        if fault.scope == "denied":
            endpoint.denied = fault.detail
        elif fault.scope == "limit":
            # Requests that were in flight together are all turned away: the pause grows once, not once for each.
            if now >= endpoint.resume_at:
                endpoint.limits += 1
            pause = backoff(endpoint.limits, self._chance(), first=1.0) if fault.wait is None else fault.wait
            endpoint.resume_at = max(endpoint.resume_at, now + pause)
        else:
            endpoint.strikes += 1
            pause = fault.wait or 0.0
            if endpoint.aside and now >= endpoint.resume_at:
                pause = max(pause, backoff(endpoint.strikes - STRIKES + 1, self._chance(), first=1.0))
            endpoint.resume_at = max(endpoint.resume_at, now + pause)

    def given_back(self, endpoint: Endpoint) -> None:
        """A request was refused for how it asked; it is asked in another way at once, and counts as no fault."""
        endpoint.in_flight -= 1

    def silence(self, now: float) -> float:
        """Seconds since any endpoint last answered."""
        return now - self._last_answer

    def all_denied(self) -> bool:
        """Whether no endpoint will ever answer."""
        return all(endpoint.denied for endpoint in self.endpoints)

    def told(self) -> str:
        """Each endpoint with its last fault, for people."""
        return "; ".join(
            f"{endpoint.url}: {endpoint.denied or endpoint.last_fault or 'no fault'}" for endpoint in self.endpoints
        )

    def _open(self, endpoint: Endpoint, now: float) -> bool:
        return not endpoint.denied and now >= endpoint.resume_at and self._has_room(endpoint)

    def _has_room(self, endpoint: Endpoint) -> bool:
        return endpoint.in_flight < (1 if endpoint.aside else self.concurrency)
