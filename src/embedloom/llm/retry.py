"""What went wrong with a request, and how long to wait. Nothing here sends or sleeps: time and chance are arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

LONGEST_WAIT = 600.0
"""Seconds. A server that asks for more is asked again after this time."""

Scope = Literal["endpoint", "limit", "denied", "prompt"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request brought no reply.

    Attributes:
        rule: a short name: `rate-limit`, `server-error`, `unreachable`, `timeout`, `garbled`, `denied`, `refused`.
        detail: the server's words.
        scope: whose fault it is: `endpoint` (ask again, perhaps elsewhere), `limit` (ask this endpoint later),
            `denied` (this endpoint won't answer anything), `prompt` (no endpoint will answer this one).
        wait: seconds that the server asked for; None if it did not say.
    """

    rule: str
    detail: str
    scope: Scope
    wait: float | None = None


def fault_of_status(status: int, headers: Mapping[str, str], body: Any, *, now: float) -> Fault:
    """The fault that a response with an error status tells of.

    Args:
        status: of HTTP, 400 or more.
        headers: of the response, by lower-case name.
        body: of the response: parsed JSON, or text.
        now: seconds since the epoch, for dates in `Retry-After`.
    """
    message = error_message(body)
    detail = f"HTTP {status}: {message}"[:300]
    wait = retry_after(headers, now=now)
    if status == 429 and "insufficient_quota" in _code(body):
        return Fault("denied", detail, "denied")
    if status == 429 or (status == 503 and wait is not None):
        return Fault("rate-limit", detail, "limit", wait)
    if status in (408, 409, 425) or status >= 500:
        return Fault("server-error", detail, "endpoint", wait)
    if status in (401, 402, 403, 404, 405, 407):
        return Fault("denied", detail, "denied")
    return Fault("refused", detail, "prompt")


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date; else None."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return min(float(value) / unit, LONGEST_WAIT)
    if value := headers.get("retry-after", "").strip():
        try:
            return min(max(parsedate_to_datetime(value).timestamp() - now, 0.0), LONGEST_WAIT)
        except (ValueError, OverflowError):
            return None
    return None


def backoff(attempt: int, chance: float, *, first: float = 0.5, longest: float = 30.0) -> float:
    """Seconds to wait before another attempt: doubled each time, half of it left to chance, so that few come at once.

    Args:
        attempt: how many were made, from 1.
        chance: a number in [0, 1).
        first: seconds behind the first attempt.
        longest: seconds that the wait never exceeds.
    """
    return min(longest, first * 2.0 ** min(attempt - 1, 30)) * (0.5 + chance / 2)


def error_message(body: Any) -> str:
    """The sentence in an error's body, wherever the server puts it."""
    found = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(found, Mapping):
        found = found.get("message") or found.get("detail") or found
    text = " ".join(str(found).split())
    return text[:250] or "no message"


def unknown_parameter(body: Any, parameters: Mapping[str, Any]) -> str:
    """The parameter of a request that a 400 response objects to; "" if it names none, or one that was not sent."""
    found = body.get("error", body) if isinstance(body, Mapping) else {}
    named = found.get("param") if isinstance(found, Mapping) else None
    if isinstance(named, str) and (top := re.split(r"[.\[]", named)[0]) in parameters:
        return top
    message = error_message(body).lower()
    for parameter in ("max_tokens", "temperature", "top_p", "seed", "stop", "response_format"):
        if parameter in parameters and re.search(rf"\b{parameter}\b", message):
            return parameter
    return ""


def _code(body: Any) -> str:
    found = body.get("error", body) if isinstance(body, Mapping) else None
    return f"{found.get('code')} {found.get('type')}" if isinstance(found, Mapping) else ""
