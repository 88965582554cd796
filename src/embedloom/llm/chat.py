"""The chat-completions wire format: a prompt as a request body, a response body as a generation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from embedloom.llm.schema import string_object_schema
from embedloom.records import Generation, Prompt, content_id

REPLY_CHARACTERS = 100_000
"""A longer reply is cut here: no example is nearly as long, and a server is not trusted for size."""

FORMATS = ("schema", "object", "plain")
"""How a JSON reply is asked for, best first: a JSON schema, `json_object`, or by the words of the prompt alone."""


class GarbledError(Exception):
    """A response that is no chat completion: cut off, not JSON, or without a choice."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What is the same in every request.

    Attributes:
        model: the server's name of the model.
        temperature: of sampling.
        top_p: of sampling.
        extra: further keys of the request body, such as `top_k` where the server knows it.
    """

    model: str
    temperature: float = 1.0
    top_p: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)


def request_body(
    prompt: Prompt, settings: ChatSettings, *, seed: int, reply_format: str = "schema", without: Set[str] = frozenset()
) -> dict[str, Any]:
    """The body of a request.

    Args:
        prompt: what is asked.
        settings: what every request has.
        seed: with the prompt's id it gives the request's own seed, for servers that know one.
        reply_format: one of `FORMATS`; means something only for a prompt with keys.
        without: parameters that the server does not know. `max_tokens` stands for its newer name instead.
    """
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [{"role": "user", "content": prompt.text}],
        "max_tokens": prompt.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": int(content_id("sample", seed, prompt.id)[:7], 16),
    }
    if prompt.stop:
        body["stop"] = list(prompt.stop[:4])
    if prompt.keys and reply_format == "schema":
        schema = string_object_schema(prompt.keys, filled=False)
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": schema},
        }
    elif prompt.keys and reply_format == "object":
        body["response_format"] = {"type": "json_object"}
    if "max_tokens" in without:
        body["max_completion_tokens"] = prompt.max_new_tokens
    return {key: value for key, value in body.items() if key not in without} | dict(settings.extra)


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as UTF-8 JSON; halves of surrogate pairs, which servers refuse, become question marks."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def read_response(prompt_id: str, body: Any, name: str) -> Generation:
    """The generation of a response body that is JSON already. Token counts that the server left out are 0.

    Raises:
        GarbledError: it is no chat completion.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content")
        finish = choice.get("finish_reason")
        if text is None and message.get("refusal"):
            text, finish = message["refusal"], "refusal"
    except (KeyError, IndexError, TypeError, AttributeError):
        raise GarbledError(f"no chat completion: {_shown(body)}") from None
    if text is not None and not isinstance(text, str):
        raise GarbledError(f"content is no text: {_shown(text)}")
    usage = body.get("usage")
    return Generation(
        prompt_id=prompt_id,
        text=(text or "")[:REPLY_CHARACTERS],
        model=name,
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        finish=finish[:40] if isinstance(finish, str) else "",
    )


def read_bytes(prompt_id: str, content: bytes, name: str) -> Generation:
    """The generation of a response's bytes.

    Raises:
        GarbledError: they are no chat completion.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise GarbledError(f"not JSON: {content[:80]!r}") from None
    return read_response(prompt_id, body, name)


def estimated_tokens(text: str) -> int:
    """Tokens of a text at four bytes of UTF-8 each, for servers that do not count."""
    return -(-len(text.encode("utf-8", "replace")) // 4)


def _count(usage: Any, key: str) -> int:
    value = usage.get(key) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, default=str)[:80]
