"""What asking for 200,000 prompts costs on our side: time and peak memory beside a language model that answers at once.

The prompts are those of a recipe with all six families. A first process is answered for half of them and ends; a second
one finds these replies on disk and asks for the rest. The floor is a process that has loaded the same code and asks
for nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from embedloom.cli.asking import PromptFile, ask
from embedloom.cli.pipeline import Run
from embedloom.llm.names import StyledLLM
from embedloom.recipe import load_recipe
from embedloom.records import Generation, Prompt, Task
from embedloom.run import RunFolder, write_records
from embedloom.synth.compose import compose
from embedloom.synth.families import PAPER_SHARES

PROMPTS = int(os.environ.get("GENERATE_PROMPTS", 200_000))
"""Prompts; another number for a try."""
GROUP = 64
REPLY = json.dumps({"S1": "word " * 60, "S2": "word " * 60, "S3": "word " * 60})


class Instant:
    """Answers every prompt at once with the same text, and stops behind so many."""

    style = "chat"
    name = "instant"

    def __init__(self, most: int) -> None:
        self.most = most

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation]]:
        """Yields replies in groups."""
        waiting = islice(prompts, self.most)
        while group := list(islice(waiting, GROUP)):
            yield [Generation(one.id, REPLY, self.name, len(one.text) // 4, 200, "stop") for one in group]


def measure() -> dict[str, Any]:
    """Writes the prompts, and asks in processes of their own, since what counts is the memory of each."""
    folder = Path(tempfile.mkdtemp(prefix="generate-200k-"))
    try:
        wrote = _in_process(write_prompts, folder)
        size = (folder / "prompts.jsonl").stat().st_size
        return {
            "prompts": PROMPTS,
            "load_average_before": round(os.getloadavg()[0], 1),
            "prompts_mb": round(size / 1e6),
            "compose": wrote,
            "floor": _in_process(answer, folder, 0),
            "first_half": _in_process(answer, folder, PROMPTS // 2),
            "second_half": _in_process(answer, folder, PROMPTS),
            "replies": sum(1 for _ in open(folder / "generations.jsonl", encoding="utf-8")),
        }
    finally:
        shutil.rmtree(folder)


def write_prompts(folder: Path) -> None:
    """Composes the prompts of all six families in the paper's shares."""
    whole = sum(PAPER_SHARES.values())
    counts = {name: round(PROMPTS * share / whole) for name, share in PAPER_SHARES.items()}
    counts["short-long"] += PROMPTS - sum(counts.values())
    tasks = [Task(name, f"Given a text, retrieve its {name} partner.") for name in counts]
    write_records(folder / "prompts.jsonl", compose(seed=1, counts=counts, style="chat", tasks=tasks))


def answer(folder: Path, most: int) -> None:
    """Asks for what has no reply yet, of a model that answers so many."""
    if not most:
        return
    run = Run(load_recipe([]), RunFolder(folder))
    llm: StyledLLM = Instant(most)
    ask(run, lambda: llm, "generate", PromptFile(folder / "prompts.jsonl"), folder / "generations.jsonl", print)


def _in_process(work: Any, *arguments: Any) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=_measured, args=(queue, work, *arguments))
    process.start()
    process.join()
    assert process.exitcode == 0
    return dict(queue.get())


def _measured(queue: Any, work: Any, *arguments: Any) -> None:
    started = time.monotonic()
    work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    processor = sum(os.times()[:2])
    queue.put(
        {
            "seconds": round(time.monotonic() - started, 1),
            "processor_seconds": round(processor, 1),
            "peak_memory_mb": round(peak),
        }
    )
