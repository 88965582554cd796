"""`kill -9` while a server is asked: no reply on disk is lost, and only what was in flight is asked again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from embedloom.records import Generation
from embedloom.run import RecordLog, read_records
from fake_openai import FakeOpenAI
from killing import kill, start

pytest.importorskip("openai")

PROMPTS = 20_000
PLACES = 16
KILLS = 20

ASK = f"""
import os, sys
from pathlib import Path
import openai
from embedloom.cli.asking import ask, open_model
from embedloom.cli.pipeline import Run
from embedloom.recipe import load_recipe
from embedloom.records import Prompt
from embedloom.run import RunFolder
settings = ["llm.model=openai:fake", f"llm.base_url={{sys.argv[2]}}", "llm.concurrency={PLACES}"]
run = Run(load_recipe([], settings), RunFolder(Path(sys.argv[1])))
prompts = [Prompt(f"p{{n}}", n, "sts", "t", "Do ", f"task {{n}}", keys=("query",)) for n in range({PROMPTS})]
print("ready", flush=True)
# Packages are read once: each kill meets a fork of this process, which has no thread yet.
for _ in sys.stdin:
    asking = os.fork()
    if not asking:
        with run.folder.locked():
            ask(run, lambda: open_model(run), "generate", prompts, run.folder / "generations.jsonl", [].append)
        os._exit(0)
    print(asking, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(asking, 0)[1]), flush=True)
"""


def test_twenty_kills_lose_no_reply_and_ask_again_only_what_was_in_flight(tmp_path: Path) -> None:
    chance = random.Random(11)
    path = tmp_path / "generations.jsonl"
    with FakeOpenAI(lambda number, body: "slow" if number % 50 == 0 else "") as server:
        before: list[Generation] = []
        process = start(ASK, tmp_path, server.url, stdin=subprocess.PIPE)
        for _ in range(KILLS):
            moment = server.requests + chance.randint(1, 300)
            print(file=process.stdin, flush=True)
            asking = int(process.stdout.readline())
            while server.requests < moment:
                time.sleep(chance.uniform(0.0, 0.005))
            os.kill(asking, signal.SIGKILL)
            assert int(process.stdout.readline()) == -signal.SIGKILL, "it ended before it was killed"
            RecordLog(path).close()
            now = list(read_records(path, Generation))
            assert now[: len(before)] == before, "what was on disk stays as it was"
            before = now
        kill(process)
        assert len({reply.prompt_id for reply in before}) == len(before)
        assert len(before) > PLACES
        twice = sum(count - 1 for count in server.asked.values())
        assert twice <= KILLS * PLACES
        asked_once = {text for text, count in server.asked.items() if count}
        assert {f"Do task {reply.prompt_id[1:]}" for reply in before} <= asked_once
        assert 0 <= server.delivered - len(before) <= KILLS * PLACES
        assert all(reply.text == f'{{"echo": "Do task {reply.prompt_id[1:]}"}}' for reply in before)
