"""Real OpenAI-compatible servers on loopback: llama.cpp's, and the one of transformers."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedloom.errors import EmbedloomError
from embedloom.llm.chat import ChatSettings
from embedloom.llm.openai import OpenAILLM
from embedloom.model.registry import REGISTRY
from embedloom.records import Generation, Prompt, Reject
from killing import kill, start
from tiny import save_tiny, tokenizer_of

pytestmark = pytest.mark.big

LLAMA = """
import sys, time
import xllamacpp as llama
params = llama.CommonParams()
params.model.path = sys.argv[1]
params.port = int(sys.argv[2])
params.hostnames = ["127.0.0.1"]
params.n_ctx, params.n_parallel, params.cache_ram_mib, params.warmup = 4096, 4, 0, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = llama.Server(params)
assert server.listening_address
print("ready", flush=True)
time.sleep(3600)
"""

LONG = 600.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def prompts(count: int, keys: tuple[str, ...] = ("query", "answer")) -> Iterator[Prompt]:
    for n in range(count):
        body = (
            f"Write a short question about the number {n} and its answer, as a JSON object with keys query and answer."
        )
        yield Prompt(f"p{n}", n, "sts", "t", "", body, keys=keys, max_new_tokens=48)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openai")
    pytest.importorskip("xllamacpp")
    try:
        return REGISTRY["smollm2-135m"].locate(tmp_path_factory.mktemp("model"))
    except (EmbedloomError, ModuleNotFoundError) as error:
        pytest.skip(f"no SmolLM2 here: {error}")


def test_llama_cpp_holds_replies_to_the_schema_counts_tokens_and_may_be_killed(gguf: Path) -> None:
    port = free_port()
    process = start(LLAMA, gguf, port)
    llm = OpenAILLM(
        ChatSettings("smollm2", 0.8, 0.95, {"top_k": 40}),
        urls=[f"http://127.0.0.1:{port}/v1"],
        api_key="none",
        concurrency=4,
        timeout=LONG,
    )
    replies: list[Generation] = []
    running = [process]

    def restart() -> None:
        time.sleep(0.3)
        kill(running.pop())
        running.append(start(LLAMA, gguf, port))

    restarter = threading.Thread(target=restart)
    try:
        for group in llm.generate(prompts(16), seed=1):
            assert not [row for row in group if isinstance(row, Reject)]
            replies += [row for row in group if isinstance(row, Generation)]
            if len(replies) >= 4 and restarter.ident is None:
                restarter.start()
    finally:
        if restarter.ident is not None:
            restarter.join()
        kill(running.pop())
    endpoint = llm.fleet.endpoints[0]
    assert endpoint.reply_format == "schema"
    assert endpoint.faults["unreachable"] > 0, endpoint
    assert sorted(reply.prompt_id for reply in replies) == sorted(f"p{n}" for n in range(16))
    whole = [reply for reply in replies if reply.finish == "stop"]
    assert len(whole) >= 4
    for reply in whole:
        assert set(json.loads(reply.text)) == {"query", "answer"}
    for reply in replies:
        assert 20 <= reply.input_tokens <= 80
        assert 0 < reply.output_tokens <= 48
    assert endpoint.uncounted == 0


@contextmanager
def transformers_server(model: Path, log: Path) -> Iterator[str]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        try:
            for _ in range(int(LONG * 2)):
                assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="transformers serve needs fastapi and uvicorn")
def test_transformers_serve_answers_without_schemas(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    model = tmp_path / "model"
    save_tiny(model, "llama")
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer_of("llama", template=template).save_pretrained(model)
    with transformers_server(model, tmp_path / "log") as url:
        llm = OpenAILLM(ChatSettings(str(model), 1.0, 1.0), urls=[url], api_key="none", concurrency=2, timeout=LONG)
        found = [row for group in llm.generate(prompts(6), seed=1) for row in group]
    assert sorted(row.prompt_id for row in found if isinstance(row, Generation)) == sorted(f"p{n}" for n in range(6)), (
        found
    )
    assert all(row.output_tokens <= 48 for row in found if isinstance(row, Generation))
