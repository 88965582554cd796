"""Step 1 of the asymmetric families: a pool of tasks, asked for in many calls, its repetitions and junk dropped.

One call gives a list that circles around its first lines, so that many calls are made, each with other tasks shown
and other fields named (paper section 2).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from embedloom.data.near_duplicates import near_duplicates
from embedloom.data.words import collapse, normalised, words
from embedloom.errors import RecipeError
from embedloom.records import Document, Generation, Prompt, Reject, Task, content_id
from embedloom.synth.compose import cut
from embedloom.synth.draw import choose, shuffled
from embedloom.synth.families import family
from embedloom.synth.json_reply import ReplyError
from embedloom.synth.parse import REPLY_CHARACTERS, clean, first_replies
from embedloom.synth.template import STYLES, fill, templates

TASKS_A_CALL = 20
EXAMPLES_SHOWN = 4
SAMPLES_SHOWN = 4
SAMPLE_WORDS = 60
TASK_WORDS = (4, 45)
THRESHOLD = 0.6
"""Jaccard similarity of words and word pairs from which two tasks are near duplicates: half a sentence in common."""

_STAGE = "brainstorm"
_ITEM = re.compile(r"^\s*(?:\(?\d{1,3}[.):]|[-*•])\s*(.+?)\s*$")
_VERB = re.compile(
    r"\b(?:given|retrieve|find|match|identify|classify|search|determine|categori[sz]e|detect|select|recogni[sz]e|decide"
    r"|assign|label|name|predict|sort|link|look up|tell|locate)\b",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\{\{|\}\}|<[a-z]|\[[a-z]|\.\.\.|…|\b(?:task|example) \d", re.IGNORECASE)


def brainstorm_prompts(
    *, seed: int, families: Sequence[str], calls: int, style: str, passages: Sequence[Document] = ()
) -> Iterator[Prompt]:
    """Prompts that ask for tasks, `calls` a family; call i draws what it shows from (seed, family, i) alone.

    Args:
        seed: determines every draw.
        families: families whose tasks are wanted; STS and bitext have none.
        calls: calls for each family, about 20 tasks each.
        style: `chat` or `base`.
        passages: the collection of `grounded`, of which each call shows a sample.

    Raises:
        RecipeError: a family without tasks, an unknown style, `grounded` without passages.
    """
    if style not in STYLES:
        raise RecipeError(f"unknown prompt style {style!r}; there are {', '.join(STYLES)}")
    index = 0
    for name in families:
        if not family(name).has_tasks:
            raise RecipeError(f"family {name!r} has one fixed instruction and no tasks to brainstorm")
        if family(name).grounded and not passages:
            raise RecipeError(f"tasks of family {name!r} are made for a corpus, and there are no passages")
        for call in range(calls):
            yield _prompt(seed, name, call, index, style, passages if family(name).grounded else ())
            index += 1


def parse_tasks(
    prompts: Iterable[Prompt], generations: Iterable[Generation], *, threshold: float = THRESHOLD
) -> Iterator[Task | Reject]:
    """The pool: new tasks in the order of the prompts, and a `Reject` for every line that is none.

    Yields:
        A `Task`, or a `Reject` by `unanswered`, `oversized`, `no-task` (a reply without one), `length`, `not-a-task`,
        `placeholder`, `control-characters`, `exact-duplicate` (of a task that was shown, too) or `near-duplicate`.
    """
    replies = first_replies(generations)
    found: list[tuple[str, str]] = []
    seen: dict[tuple[str, str], str] = {}
    for prompt in prompts:
        for shown in seed_tasks(prompt.family):
            seen.setdefault((prompt.family, normalised(shown)), "a task that was shown")
        try:
            listed = list_items(prompt, replies.get(prompt.id))
        except ReplyError as fault:
            yield Reject(prompt.id, _STAGE, fault.rule, fault.detail)
            continue
        for text in listed:
            identity = content_id("task", prompt.family, text)
            try:
                instruction = _instruction(text)
            except ReplyError as fault:
                yield Reject(identity, _STAGE, fault.rule, fault.detail)
                continue
            key = (prompt.family, normalised(instruction))
            if key in seen:
                yield Reject(identity, _STAGE, "exact-duplicate", seen[key])
            else:
                seen[key] = instruction
                found.append((prompt.family, instruction))
    tasks = [Task(name, instruction, origin="brainstorm") for name, instruction in found]
    repeated: dict[int, int] = {}
    for name in dict.fromkeys(task.family for task in tasks):
        own = [at for at, task in enumerate(tasks) if task.family == name]
        pairs = near_duplicates([tasks[at].instruction for at in own], threshold=threshold)
        repeated |= {own[later]: own[earlier] for later, earlier in pairs}
    for at, task in enumerate(tasks):
        if at in repeated:
            yield Reject(task.id, _STAGE, "near-duplicate", f"{task.instruction} ~ {tasks[repeated[at]].instruction}")
        else:
            yield task


def list_items(prompt: Prompt, reply: Generation | None) -> list[str]:
    """The lines of a reply that hold a list: a JSON list of strings, or numbered or dotted lines.

    Raises:
        ReplyError: `unanswered`, `oversized` or `no-task`.
    """
    if reply is None:
        raise ReplyError("unanswered")
    if len(reply.text) > REPLY_CHARACTERS:
        raise ReplyError("oversized", f"{len(reply.text)} characters")
    strings = _json_list(reply.text)
    if strings:
        return strings
    lines = reply.text.split("\n")
    if reply.finish == "length" and len(lines) > 1:
        lines.pop()
    items = [match.group(1) for line in lines if (match := _ITEM.match(line))]
    # A base model goes on in the line that the prompt began.
    if prompt.stop and lines[0].strip() and not _ITEM.match(lines[0]):
        items.insert(0, lines[0].strip())
    if not items:
        raise ReplyError("no-task", reply.text[:80].encode("utf-8", "replace").decode())
    return items


def _json_list(text: str) -> list[str]:
    start = text.find("[")
    if start < 0:
        return []
    try:
        value: Any = json.JSONDecoder(strict=False).raw_decode(text, start)[0]
    except (json.JSONDecodeError, RecursionError, ValueError):
        # Cut off: the strings that were complete, if it was a list of strings.
        pieces = re.findall(r'^\s*("(?:[^"\\]|\\.)*")\s*,?\s*$', text[start + 1 :], re.MULTILINE)
        value = [json.loads(piece, strict=False) for piece in pieces if _decodes(piece)]
    return [item for item in value if isinstance(item, str)]


def _decodes(piece: str) -> bool:
    try:
        json.loads(piece, strict=False)
    except ValueError:
        return False
    return True


def _instruction(text: str) -> str:
    instruction = clean(collapse(text).strip("*_ "), "task")
    count = len(words(instruction))
    if not TASK_WORDS[0] <= count <= TASK_WORDS[1]:
        raise ReplyError("length", f"{count} words: {instruction[:80]}")
    if match := _PLACEHOLDER.search(instruction):
        raise ReplyError("placeholder", match.group())
    if not _VERB.search(instruction):
        raise ReplyError("not-a-task", instruction[:80])
    return instruction if instruction[-1] in ".?!" else f"{instruction}."


@cache
def _seeds() -> dict[str, Any]:
    return tomllib.loads(files("embedloom.synth").joinpath("task_seeds.toml").read_text(encoding="utf-8"))


def seed_tasks(name: str) -> tuple[str, ...]:
    """The tasks of a family that brainstorm prompts show."""
    return tuple(_seeds()[name]["tasks"])


def _prompt(seed: int, name: str, call: int, index: int, style: str, passages: Sequence[Document]) -> Prompt:
    address = ("brainstorm", name, call)
    chosen = choose(templates("brainstorm", style), seed, *address, "template")
    tasks = seed_tasks(name)
    shown = [tasks[at] for at in shuffled(tasks, seed, *address, "examples")[:EXAMPLES_SHOWN]]
    fields = _seeds()["fields"]
    first, second = (fields[at] for at in shuffled(fields, seed, *address, "fields")[:2])
    values = {
        "kind": _seeds()[name]["kind"],
        "field": first,
        "other_field": second,
        "number": str(TASKS_A_CALL),
        "examples": "\n".join(f"{place}. {task}" for place, task in enumerate(shown, 1)),
        "next": str(len(shown) + 1),
        "samples": _samples(passages, seed, *address),
    }
    prefix = fill(chosen.prefix, values, name=chosen.name) + "\n\n"
    body = fill(chosen.body, values, name=chosen.name)
    return Prompt(
        id=content_id("brainstorm", seed, name, call, chosen.name, prefix, body),
        index=index,
        family=name,
        template=chosen.name,
        prefix=prefix,
        body=body,
        stop=("\n\n",) if chosen.reply else (),
        max_new_tokens=TASKS_A_CALL * (20 if chosen.reply else 40),
    )


def _samples(passages: Sequence[Document], seed: int, *address: str | int) -> str:
    """A few passages of the corpus; drawn by index, since sorting a large corpus for each call would take long."""
    if not passages:
        return ""
    drawn = dict.fromkeys(choose(range(len(passages)), seed, *address, "sample", at) for at in range(SAMPLES_SHOWN))
    texts = "\n".join(f"- {cut(passages[at].content, SAMPLE_WORDS)}" for at in drawn)
    return f"Passages from the collection:\n{texts}\n\n"
