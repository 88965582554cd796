"""The command line called in this process, and a small world for it: texts, a model, a script of replies, a recipe."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedloom.cli.main import main
from tiny import save_tiny

TOPICS = (
    "bread ovens", "river ferries", "paper lanterns", "stone bridges", "wool carpets", "copper kettles", "glass beads",
    "garden hedges", "winter markets", "harbour cranes", "violin strings", "mountain huts",
)  # fmt: skip

RECIPE = """
name = "small"
seed = 3
[corpus]
source = "path:{texts}"
[llm]
model = "scripted:{script}"
[[tasks]]
instruction = "Given what a text is about, retrieve the text"
[generate]
counts = {{ grounded = 20 }}
[train]
base = "path:{base}"
sources = [{{ data = "path:{rows}" }}]
batch_size = 4
max_steps = 4
max_length = 48
save_every = 2
lora_dropout = 0.1
dtype = "float32"
[eval]
max_length = 48
[search]
queries = ["where bread is baked"]
hits = 2
"""


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    status: int
    out: str
    error: str


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Runs `embedloom ARGUMENTS` in this process, its exit status and all."""
    before, sys.argv = sys.argv, ["embedloom", *map(str, arguments)]
    environment = dict(os.environ)
    capsys.readouterr()
    status = 0
    try:
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)
    out, error = capsys.readouterr()
    return Answer(status, out, error)


@dataclass(frozen=True)
class World:
    """Paths of a small world."""

    texts: Path
    base: Path
    script: Path
    rows: Path
    recipe: Path


def small_world(folder: Path) -> World:
    """Twelve short texts, a tiny random model, a scripted language model, ten labelled rows, and a recipe over them."""
    world = World(*(folder / name for name in ("texts", "base", "script.jsonl", "rows.jsonl", "small.toml")))
    world.texts.mkdir(parents=True)
    for number, topic in enumerate(TOPICS):
        first, second = topic.split()
        text = (
            f"# About {topic} of the town\n\n"
            f"People who work with {second} made of {first} meet every {number + 2} days. "
            f"They trade {first} for flour, talk over the price, and mend old {second} before the night comes. Nobody "
            f"remembers who brought the first {second} here, though letter {number * 7 + 11} in the archive names a "
            f"captain who carried {first} across the sea in a boat with {number + 3} sails.\n"
        )
        (world.texts / f"{number:02}-{first}.md").write_text(text, encoding="utf-8")
    save_tiny(world.base, "gemma3")
    replies = [{"user_query": f"where {t.split()[0]} {verb}"} for verb in ("comes from", "is traded") for t in TOPICS]
    said = [json.dumps(reply) for reply in replies]
    said[5:5] = ["I can not do that.", '{"user_query": ""}']
    lines = [json.dumps({"text": text}) for text in said]
    world.script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [
        {"instruction": "Match the words", "query": f"{topic} please", "positives": [f"all about {topic}"]}
        for topic in TOPICS[:10]
    ]
    world.rows.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    world.recipe.write_text(
        RECIPE.format(texts=world.texts, script=world.script, base=world.base, rows=world.rows), encoding="utf-8"
    )
    return world
