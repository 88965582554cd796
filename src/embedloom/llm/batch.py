"""Batch-API files: requests out in files of bounded size, results back in any order."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from embedloom.errors import DataError, ModelError
from embedloom.llm.budget import IncompleteError
from embedloom.llm.chat import ChatSettings, GarbledError, encoded, read_response, request_body
from embedloom.llm.retry import error_message
from embedloom.records import Generation, Prompt, Reject
from embedloom.run import atomic_file

REQUESTS = 50_000
"""Requests a file, as the Batch API allows."""

BYTES = 200_000_000
"""Bytes a file, as the Batch API allows."""

_NAME = re.compile(r"requests-(\d+)\.jsonl")


class BatchLLM:
    """A model whose replies come from files; it can be asked for nothing."""

    style = "chat"

    def __init__(self, model: str) -> None:
        self.name = f"batch:{model}"

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation]]:
        """Raises `IncompleteError` if anything is left to ask."""
        missing = sum(1 for _ in prompts)
        if missing:
            raise IncompleteError(
                f"{missing:,} prompts have no reply yet; run: embedloom batch export RECIPE --out FOLDER, "
                "have the files answered, then: embedloom batch import RECIPE RESULT..."
            )
        yield from ()


def write_requests(
    prompts: Iterable[Prompt],
    folder: Path,
    *,
    settings: ChatSettings,
    seed: int,
    reply_format: str = "schema",
    most_requests: int = REQUESTS,
    most_bytes: int = BYTES,
) -> list[Path]:
    """Writes request files `requests-001.jsonl` and so on, numbered behind those that are there; each appears whole.

    Args:
        prompts: what is asked; a prompt's id is its `custom_id`.
        folder: where the files go.
        settings: what every request has.
        seed: as for `request_body`.
        reply_format: one of `chat.FORMATS`.
        most_requests: requests a file.
        most_bytes: bytes a file.

    Raises:
        ModelError: one request alone is larger than a file may be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(found[1]) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
    number = max(numbers, default=0)
    lines = _lines(prompts, settings, seed, reply_format)
    written: list[Path] = []
    line = next(lines, None)
    while line is not None:
        number += 1
        path = folder / f"requests-{number:03d}.jsonl"
        count = size = 0
        with atomic_file(path) as file:
            while line is not None and count < most_requests and size + len(line) <= most_bytes:
                file.write(line.decode("utf-8"))
                count, size = count + 1, size + len(line)
                line = next(lines, None)
            if not count:
                raise ModelError(f"a request has {len(line or b''):,} bytes, a file may have {most_bytes:,}")
        written.append(path)
    return written


def read_results(
    paths: Iterable[Path], prompt_ids: Collection[str], name: str, *, answered: Collection[str] = ()
) -> Iterator[Generation | Reject]:
    """Reads result and error files, in whatever order they and their rows come.

    Args:
        paths: the files.
        prompt_ids: the prompts that were asked.
        name: the model's name, recorded with each generation.
        answered: prompts with a reply on disk.

    Yields:
        A `Generation` for the first whole reply to each prompt; a `Reject` of stage `batch` for each row that can't
        be used (`corrupt`, `unknown-id`, `repeated`, `answered-before`), then for each prompt that is left without
        a reply: `error` with the server's words, `garbled`, or `missing`.

    Raises:
        DataError: a file can't be read.
    """
    done = set(answered)
    found: set[str] = set()
    failed: dict[str, Reject] = {}
    for path in paths:
        for place, row in _rows(path):
            identity = row.get("custom_id") if isinstance(row, dict) else None
            if not isinstance(identity, str):
                yield Reject(place, "batch", "corrupt", _shown(row))
            elif identity not in prompt_ids:
                yield Reject(identity[:80], "batch", "unknown-id", place)
            elif identity in found or identity in done:
                yield Reject(identity, "batch", "repeated" if identity in found else "answered-before", place)
            else:
                reply = _reply(identity, row, name)
                if isinstance(reply, Generation):
                    found.add(identity)
                    yield reply
                else:
                    failed[identity] = reply
    for identity in prompt_ids:
        if identity not in found and identity not in done:
            yield failed.get(identity) or Reject(identity, "batch", "missing")


def _lines(prompts: Iterable[Prompt], settings: ChatSettings, seed: int, reply_format: str) -> Iterator[bytes]:
    for prompt in prompts:
        body = request_body(prompt, settings, seed=seed, reply_format=reply_format)
        row = {"custom_id": prompt.id, "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield encoded(row) + b"\n"


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of each line: parsed, or the text of a line that is no JSON."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        row: Any = json.loads(line)
                    except (ValueError, RecursionError):
                        row = line[:80].decode("utf-8", "replace")
                    yield f"{path.name}:{number}", row
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", path) from None


def _reply(identity: str, row: dict[str, Any], name: str) -> Generation | Reject:
    response = row.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    status = response.get("status_code", 200) if isinstance(response, dict) else None
    if row.get("error") or status != 200:
        told = row.get("error") or body
        return Reject(
            identity, "batch", "error", f"{'' if status is None else f'HTTP {status}: '}{error_message(told)}"
        )
    try:
        return read_response(identity, body, name)
    except GarbledError as error:
        return Reject(identity, "batch", "garbled", str(error))


def _shown(row: Any) -> str:
    return json.dumps(row, ensure_ascii=True)[:80]
