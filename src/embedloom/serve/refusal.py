"""What a request is answered that can't be served, in the form that OpenAI's clients read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""HTTP status to `error.type`."""


class RefusedError(Exception):
    """A status with its error object: what was wrong, what was expected.

    Args:
        status: one of `KINDS`.
        message: for people; never a text of the request.
        code: for programs.
        param: the key of the body that is to blame.
        headers: more of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or KINDS[status]
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = KINDS[self.status]
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None) -> RefusedError:
    """400: the body is not what this endpoint takes."""
    return RefusedError(400, message, "invalid_value", param)


def beyond_limit(message: str, param: str | None = None) -> RefusedError:
    """422: understood, but more than this server takes."""
    return RefusedError(422, message, "limit_exceeded", param)


def busy(seconds: float) -> RefusedError:
    """429: come back in about so many seconds."""
    wait = str(min(max(math.ceil(seconds), 1), 60))
    return RefusedError(429, f"the queue is full; try again in {wait} s", "queue_full", headers={"retry-after": wait})


def silent() -> RefusedError:
    """502: the language model gave no answer; what it said instead is in no message, as it may hold the request."""
    return RefusedError(502, "the language model gave no answer; ask again, or later", "no_answer")


def closing() -> RefusedError:
    """503: the server goes."""
    return RefusedError(503, "the server is shutting down", "shutting_down", headers={"retry-after": "5"})
