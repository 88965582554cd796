import json
from collections import Counter

import pytest

from embedloom.errors import RecipeError
from embedloom.records import Document, Generation, Reject, Task
from embedloom.synth.brainstorm import brainstorm_prompts, parse_tasks, seed_tasks

PASSAGES = [Document(str(n), f"Passage {n} is about subject {n}.") for n in range(30)]


def ask(style: str = "chat", families=("short-long",), calls: int = 1, seed: int = 1):
    return list(brainstorm_prompts(seed=seed, families=families, calls=calls, style=style, passages=PASSAGES))


def pool(texts: list[str], *, style: str = "chat", finish: str = "stop", families=("short-long",)):
    prompts = ask(style, families, calls=len(texts) // len(families))
    replies = [Generation(prompt.id, text, "m", 1, 1, finish) for prompt, text in zip(prompts, texts, strict=True)]
    found = list(parse_tasks(prompts, replies))
    return (
        [row.instruction for row in found if isinstance(row, Task)],
        Counter(row.rule for row in found if isinstance(row, Reject)),
    )


def test_calls_differ_and_more_calls_leave_the_first_alone() -> None:
    few, many = ask(calls=3), ask(calls=8)
    assert many[:3] == few
    assert len({prompt.text for prompt in many}) == 8
    assert all(prompt.keys == () and prompt.instruction == "" for prompt in many)


def test_grounded_calls_show_the_corpus() -> None:
    (prompt,) = ask(families=["grounded"])
    assert prompt.text.count("- Passage ") in range(2, 5)


@pytest.mark.parametrize("style", ["chat", "base"])
def test_numbered_and_dotted_lines(style: str) -> None:
    reply = (
        "Here they are:\n1. Given a bird's call, retrieve the species.\n2) **Given a map, retrieve a travel report**\n"
        "- Find the statute that a fine rests on."
    )
    if style == "base":
        reply = reply.removeprefix("Here they are:\n1.")
    tasks, rejects = pool([reply], style=style)
    assert tasks == [
        "Given a bird's call, retrieve the species.",
        "Given a map, retrieve a travel report.",
        "Find the statute that a fine rests on.",
    ]
    assert not rejects


@pytest.mark.parametrize("end", ["]\n```", "", ',\n"Given a half'])
def test_json_list_whole_or_cut_off(end: str) -> None:
    listed = ["Given a bird's call, retrieve the species.", 'Given a "map", retrieve a travel report.']
    body = ",\n".join(json.dumps(text) for text in listed)
    tasks, _ = pool([f"```json\n[\n{body}\n{end}"])
    assert tasks == listed


def test_last_line_of_a_cut_off_list_is_left_out() -> None:
    tasks, _ = pool(["1. Given a map, retrieve a report on travel.\n2. Given a song, retrieve the"], finish="length")
    assert tasks == ["Given a map, retrieve a report on travel."]


def test_junk_is_rejected_by_name() -> None:
    lines = [
        "Given a map, retrieve a report on travel.",
        "given a map retrieve a report on travel",
        seed_tasks("short-long")[0],
        "Short one.",
        "Given " + "word " * 60,
        "Given a {{thing}}, retrieve its name.",
        "The weather is nice in the south today.",
        "Given a\x07 map, retrieve a report on ships.",
    ]
    tasks, rejects = pool(["\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1))])
    assert tasks == lines[:1]
    assert rejects == {
        "exact-duplicate": 2,
        "length": 2,
        "placeholder": 1,
        "not-a-task": 1,
        "control-characters": 1,
    }


def test_near_duplicates_are_dropped_within_a_family_alone() -> None:
    one = "1. Given the plot of an old silent film, retrieve a review written when it was first shown in cinemas."
    other = one.replace("in cinemas", "in theatres")
    tasks, rejects = pool([one, other])
    assert len(tasks) == 1
    assert rejects == {"near-duplicate": 1}
    tasks, rejects = pool([one, one], families=("short-long", "long-long"))
    assert len(tasks) == 2
    assert not rejects


def test_calls_without_a_list_are_rejects_of_the_call() -> None:
    prompts = ask(calls=3)
    replies = [
        Generation(prompts[0].id, "No.", "m", 1, 1, "stop"),
        Generation(prompts[1].id, "x" * 99_999, "m", 1, 1, ""),
    ]
    found = list(parse_tasks(prompts, replies))
    assert [(row.id, row.rule) for row in found if isinstance(row, Reject)] == [
        (prompts[0].id, "no-task"),
        (prompts[1].id, "oversized"),
        (prompts[2].id, "unanswered"),
    ]


def test_families_without_tasks_and_corpora_without_passages() -> None:
    with pytest.raises(RecipeError, match="one fixed instruction"):
        list(brainstorm_prompts(seed=1, families=["sts"], calls=1, style="chat"))
    with pytest.raises(RecipeError, match="no passages"):
        list(brainstorm_prompts(seed=1, families=["grounded"], calls=1, style="chat"))
    with pytest.raises(RecipeError, match="unknown prompt style"):
        list(brainstorm_prompts(seed=1, families=["short-long"], calls=1, style="odd"))
