"""A server that speaks chat completions on loopback: instant replies, every fault of a real one, and exact counts.

python tests/fake_openai.py PORT     # for a process of its own; prints the port that it listens on
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

Fault = Callable[[int, dict[str, Any]], str]
"""Number of the request and its body to a fault: one of `FAULTS`, or "" for a reply."""

FAULTS = ("429", "429-now", "500", "503", "hang", "reset", "truncated", "malformed", "empty", "slow")
SLOW = 0.05
"""Seconds that a slow reply takes."""

HEAD = "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}\r\n"


def reply_of(body: dict[str, Any]) -> str:
    """The text that answers a request: what was asked, so that a test can tell whose reply it is."""
    return json.dumps({"echo": str(body["messages"][0]["content"])[-40:]})


class FakeOpenAI:
    """Runs in a thread; use it with `with`. `stop` and `start` again on the same port are a crash and a restart."""

    def __init__(
        self,
        fault: Fault | None = None,
        *,
        reply: Callable[[dict[str, Any]], str] = reply_of,
        check: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
        usage: bool = True,
        retry_after: str = "0.05",
    ) -> None:
        self.fault, self.reply, self.check, self.usage = fault or (lambda number, body: ""), reply, check, usage
        self.retry_after = retry_after
        self.port = 0
        self.requests = self.delivered = self.input_tokens = self.output_tokens = 0
        self.in_flight = self.most_in_flight = 0
        self.asked: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> FakeOpenAI:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def stop(self) -> None:
        """All connections are reset, nothing listens any more."""
        self._loop.call_soon_threadsafe(self._shut)
        self._thread.join()

    def __enter__(self) -> FakeOpenAI:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        made = self._loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, reuse_address=True, backlog=512
        )
        self._server = self._loop.run_until_complete(made)
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _shut(self) -> None:
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        self._loop.call_soon(self._loop.stop)


class _Connection(asyncio.Protocol):
    def __init__(self, server: FakeOpenAI) -> None:
        self.server = server
        self.buffer = b""
        self.open = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        self.server.in_flight -= self.open
        self.open = 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode("latin-1").lower()
            length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0]) if "content-length:" in head else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self._request(head, json.loads(body))

    def _request(self, head: str, body: dict[str, Any]) -> None:
        server = self.server
        number = server.requests
        server.requests += 1
        server.in_flight += 1
        self.open += 1
        server.most_in_flight = max(server.most_in_flight, server.in_flight)
        server.asked[body["messages"][0]["content"]] += 1
        if len(server.bodies) < 5000:
            server.bodies.append(body)
            server.headers.append(head)
        if server.check is not None and (refusal := server.check(body)) is not None:
            server.faults["refused"] += 1
            self._send(json.dumps({"error": refusal}), status=int(refusal.get("status", 400)))
            return
        fault = server.fault(number, body)
        if fault:
            server.faults[fault] += 1
            self._fail(fault, body)
        else:
            self._answer(body)

    def _fail(self, fault: str, body: dict[str, Any]) -> None:
        error = json.dumps({"error": {"message": f"fault {fault}", "type": "fault"}})
        if fault in ("429", "429-now", "503"):
            header = f"retry-after: {self.server.retry_after}\r\n" if fault != "429-now" else "retry-after: 0\r\n"
            self._send(error, status=int(fault[:3]), headers=header)
        elif fault == "500":
            self._send(error, status=500)
        elif fault == "reset":
            self.transport.abort()
        elif fault == "truncated":
            content = self._content(body)[0]
            self.transport.write((HEAD.format(200, len(content), "") + content[: len(content) // 2]).encode())
            self.transport.close()
        elif fault == "malformed":
            self._send('{"choices": [{"message"')
        elif fault == "empty":
            self._send('{"choices": []}')
        elif fault == "slow":
            asyncio.get_running_loop().call_later(SLOW, self._answer, body)
        else:
            assert fault == "hang", fault

    def _content(self, body: dict[str, Any]) -> tuple[str, int, int]:
        text = self.server.reply(body)
        read, written = len(body["messages"][0]["content"].split()), len(text.split())
        content: dict[str, Any] = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        }
        if self.server.usage:
            usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
            content["usage"] = usage
        return json.dumps(content), read, written

    def _answer(self, body: dict[str, Any]) -> None:
        if self.transport.is_closing():
            return
        content, read, written = self._content(body)
        self.server.delivered += 1
        self.server.input_tokens += read
        self.server.output_tokens += written
        self._send(content)

    def _send(self, content: str, *, status: int = 200, headers: str = "") -> None:
        self.server.in_flight -= 1
        self.open -= 1
        encoded = content.encode()
        self.transport.write(HEAD.format(status, len(encoded), headers).encode() + encoded)


if __name__ == "__main__":
    served = FakeOpenAI()
    served.port = int(sys.argv[1])
    with served:
        print(served.port, flush=True)
        sys.stdin.read()
