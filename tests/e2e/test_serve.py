"""`embedloom serve` as a process: OpenAI's client against a real port, and SIGTERM while it works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from command import call
from embedloom.model.encoder import open_encoder
from embedloom.records import Document
from embedloom.search.index import create_index
from tiny import save_tiny

KEY = "a key"
SECONDS = 120


@dataclass
class Served:
    """A server's process, its address, and the lines that it wrote."""

    process: subprocess.Popen[str]
    address: str
    lines: list[str] = field(default_factory=list)

    def get(self, path: str) -> str:
        request = urllib.request.Request(self.address + path, headers={"authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return str(answer.read().decode())

    def waiting_texts(self) -> float:
        found = re.search(r"^embedloom_queue_texts ([\d.]+)$", self.get("/metrics"), re.MULTILINE)
        assert found is not None
        return float(found[1])


@contextmanager
def served(*arguments: object) -> Iterator[Served]:
    command = [sys.executable, "-m", "embedloom", "serve", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "EMBEDLOOM_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r" at (http://127\.0\.0\.1:\d+);", line):
                break
        else:
            pytest.fail(f"the server ended: {lines}")
        found_server = Served(process, found[1], lines)
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()))
        reader.start()
        try:
            yield found_server
        finally:
            process.kill()
            reader.join()


def test_a_server_from_start_to_sigterm_in_flight(tmp_path: Path) -> None:
    # In bfloat16 a product may be rounded otherwise beside other rows than by itself.
    encoder = open_encoder(save_tiny(tmp_path / "model"), dtype="float32")
    documents = [Document("d1", "the red fox jumps"), Document("d2", "boats wait for wind")]
    create_index(tmp_path / "index", documents, encoder, instruction="Find it")
    bulk = [f"boats wait for wind from the north as night falls {number} " * 8 for number in range(1500)]
    answers: list[Any] = []
    with served(tmp_path / "model", "--index", tmp_path / "index", "--name", "tiny", "--dtype", "float32") as server:
        client = openai.OpenAI(base_url=f"{server.address}/v1", api_key=KEY, max_retries=0, timeout=SECONDS)
        one = client.embeddings.create(model="tiny", input="the red fox jumps")
        expected = encoder.encode_documents(["the red fox jumps"])
        np.testing.assert_allclose(np.array([one.data[0].embedding]), expected, atol=1e-5)
        found: Any = client.post("/search", body={"query": "boats", "k": 1}, cast_to=object)
        assert found["data"][0]["id"] in {"d1", "d2"}
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").embeddings.create(model="tiny", input="x")
        assert "<title>" in server.get("/")

        def ask() -> None:
            answers.append(client.embeddings.create(model="tiny", input=bulk))

        asking = threading.Thread(target=ask)
        asking.start()
        started = time.monotonic()
        while not server.waiting_texts():
            assert asking.is_alive(), "the bulk was answered before anybody looked"
            assert time.monotonic() - started < SECONDS
        server.process.send_signal(signal.SIGTERM)
        asking.join(SECONDS)
        assert server.process.wait(SECONDS) == 0
        with pytest.raises(openai.APIConnectionError):
            client.embeddings.create(model="tiny", input="late")
    found_vectors = np.array([row.embedding for row in answers[0].data])
    np.testing.assert_allclose(found_vectors, encoder.encode_documents(bulk), atol=1e-5)
    written = "".join(server.lines)
    assert "embeddings 200" in written
    assert "ended" in written
    assert "boats" not in written
    assert KEY not in written


def test_an_address_that_is_taken_and_one_that_is_open_to_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.delenv("EMBEDLOOM_API_KEY", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = call(capsys, "serve", tmp_path, "--port", taken.getsockname()[1])
    assert answer.status == 2
    assert re.search(r"^error: can't listen at 127.0.0.1, port \d+ \(.*\); choose another with --port$", answer.error)
    opened = call(capsys, "serve", tmp_path / "nothing", "--host", "0.0.0.0", "--port", "0")
    assert opened.status == 2
    assert opened.error.startswith("warning: whoever reaches 0.0.0.0 can use this server; set EMBEDLOOM_API_KEY")
    assert "no model folder" in opened.error
