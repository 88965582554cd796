import json

import pytest

from embedloom.data.training_rows import read_source
from embedloom.data.words import collapse
from embedloom.records import Document, Example, Generation, Reject, Task
from embedloom.synth.compose import compose
from embedloom.synth.families import FAMILY
from embedloom.synth.parse import parse

TASKS = [Task(name, f"Given a text, retrieve its {name} partner.") for name in FAMILY]
PASSAGES = [Document(f"p{n}", f"The door number {n} opens at nine every morning.") for n in range(5)]


def prompt_of(family: str, style: str = "chat"):
    (found,) = compose(seed=2, counts={family: 1}, style=style, tasks=TASKS, passages=PASSAGES)
    return found


def result(family: str, text: str, *, style: str = "chat", finish: str = "stop"):
    prompt = prompt_of(family, style)
    (found,) = parse([prompt], [Generation(prompt.id, text, "model-x", 10, 5, finish)])
    if isinstance(found, Reject):
        assert found.id == prompt.id
        assert found.stage == "parse"
    return found


def rule(family: str, text: str, **more: str) -> str:
    found = result(family, text, **more)
    assert isinstance(found, Reject), found
    return found.rule


GOOD = {
    "user_query": "when does the door open",
    "positive_document": "It opens at nine.",
    "hard_negative_document": "It closes at ten.",
}


@pytest.mark.parametrize("family", FAMILY)
def test_reply_becomes_an_example_of_its_family(family: str) -> None:
    kind = FAMILY[family]
    prompt = prompt_of(family)
    found = result(family, json.dumps({key: f"text of {key}" for key in kind.keys}))
    assert isinstance(found, Example)
    assert found.query == (f"text of {kind.query}" if kind.query else prompt.passage)
    assert found.positives == ((f"text of {kind.positive}",) if kind.positive else (prompt.passage,))
    assert found.negatives == ((f"text of {kind.negative}",) if kind.negative else ())
    assert found.instruction == (kind.instruction or f"Given a text, retrieve its {family} partner.")
    assert (found.family, found.language, found.source) == (family, prompt.language, "model-x")
    assert (found.prompt_id, found.passage_id) == (prompt.id, prompt.passage_id)
    assert (found.high_score is not None) == (family in ("sts", "bitext", "grounded-sts"))
    assert (found.target_language != "") == (family == "bitext")


OBJECT = json.dumps(GOOD)


WRITTEN = [row for row in read_source("sample:llm-written") if row.family in FAMILY]


@pytest.mark.parametrize("family", sorted({row.family for row in WRITTEN}))
def test_what_a_strong_llm_writes_comes_back_as_it_was_written(family: str) -> None:
    """Rows of all 93 languages, in the forms in which such a model sends them."""
    kind = FAMILY[family]
    for number, row in enumerate(row for row in WRITTEN if row.family == family):
        texts = (row.query, row.positives[0], *row.negatives[:1])
        reply = dict(zip((kind.query, kind.positive, kind.negative), texts, strict=False))
        forms = (
            json.dumps(reply, ensure_ascii=False),
            json.dumps(reply, ensure_ascii=True),
            "```json\n" + json.dumps(reply, ensure_ascii=False, indent=2) + "\n```",
            f"Here is one in {row.language}:\n\n{json.dumps(reply, ensure_ascii=False, indent=4)}\n\nAnything else?",
            f"<think>\nPerhaps {{}} or {OBJECT}?\n</think>\n\n" + json.dumps(reply, ensure_ascii=False),
        )
        found = result(family, forms[number % len(forms)])
        assert isinstance(found, Example), (found, row.id)
        assert (found.query, *found.positives, *found.negatives) == tuple(map(collapse, texts))


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        ("sts", " The cat is sleeping.\n\nThe same\n\nKind: sentence", "missing-label"),
        ("sts", " The cat sleeps.\nThe same: A cat is asleep.\nKind: sentence\nText: next", "missing-label"),
        ("sts", " The ferry was cancelled because the wind had risen overnight.\nThe same: a\nSomething else: b\n\n",
         "echoed-prompt"),
        ("bitext", " Good day\nTranslation: Guten Tag\nFaulty translation:\n\n", ""),
        ("long-long", " " + "a long text " * 40, "missing-label"),
        ("long-short", " A text\nLabel:\nWrong label: x\n\n", "empty"),
        ("short-long", " what\nDocument: it\x00is\n\n", "control-characters"),
        ("grounded-sts", " Doors open at nine.\nSomething else: The door is red.\n\nSentence: more", ""),
        ("grounded-sts", " Doors open at nine", "missing-label"),
        ("grounded", "\n\n\n", "empty"),
    ],
)  # fmt: skip
def test_what_a_weak_language_model_goes_on_with(family: str, text: str, expected: str) -> None:
    found = result(family, text, style="base")
    assert (found.rule if isinstance(found, Reject) else "") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'user_query': 'single', 'positive_document': 'quotes', 'hard_negative_document': 'here'}", "no-json"),
        ("**User query:** what\n**Positive document:** it", "no-json"),
        ('{"user_query": "q", "positive_document": "d", "hard_negative_document": {"text": "n"}}', "wrong-type"),
        ('{"User_Query": "q", "Positive_Document": "d"}', "missing-key"),
        ('{"user_query": "q", "positive_document": "' + "word " * 300, "truncated"),
        ("<think>\n" + OBJECT + "\nno, that is poor", ""),
        ("<think>\n" + OBJECT + "\nno, that is poor</think>", "empty"),
        ("I cannot create content of that kind.", "no-json"),
        ("user_query: q, positive_document: d, hard_negative_document: n", "no-json"),
    ],
)
def test_what_a_weak_chat_model_replies(text: str, expected: str) -> None:
    found = result("short-long", text)
    assert (found.rule if isinstance(found, Reject) else "") == expected


@pytest.mark.parametrize(
    "text",
    [
        OBJECT,
        f"```json\n{OBJECT}\n```",
        f"Sure! Here is {{an}} example:\n\n{OBJECT}\n\nI hope {{this}} helps.",
        f"[{OBJECT}]",
        json.dumps({"example": GOOD}),
        json.dumps({**GOOD, "extra": 1}),
        OBJECT[:-1],  # cut off behind the last value
        OBJECT[:-1] + ",",
        OBJECT[:-1] + ', "note": "cut off in the mid',
        OBJECT.replace("nine.", "nine.\n\t"),  # a raw line end inside a string
        '{"user_query": oops}\n' + OBJECT,
    ],
)
def test_json_anywhere(text: str) -> None:
    found = result("short-long", text)
    assert isinstance(found, Example)
    assert (found.query, found.positives, found.negatives) == (
        GOOD["user_query"],
        (GOOD["positive_document"],),
        (GOOD["hard_negative_document"],),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("I can't do that.", "no-json"),
        ("{" * 3000, "no-json"),
        ('{"a":' * 5000, "no-json"),
        ("[" * 60_000, "no-json"),
        (json.dumps({"user_query": "x"}), "missing-key"),
        (json.dumps({**GOOD, "user_query": 7}), "wrong-type"),
        (json.dumps({**GOOD, "positive_document": ["x"]}), "wrong-type"),
        (json.dumps({**GOOD, "positive_document": None}), "wrong-type"),
        (json.dumps({**GOOD, "positive_document": " "}), "empty"),
        ('{"\\u0000cut": "boom"}', "missing-key"),
        (OBJECT[:-20], "truncated"),
        (OBJECT[:30], "truncated"),
        (json.dumps({**GOOD, "user_query": "a\u0000b"}), "control-characters"),
        (json.dumps({**GOOD, "user_query": "a\ud83d b"}), "control-characters"),
        (json.dumps({**GOOD, "user_query": "a\x1b[31m b"}), "control-characters"),
        ("x" * 1_000_000, "oversized"),
        ('{"user_query": "...", "positive_document": "...", "hard_negative_document": "..."}', "echoed-prompt"),
        ("__import__('os').system('true')", "no-json"),
    ],
)
def test_each_fault_has_its_name(text: str, expected: str) -> None:
    assert rule("short-long", text) == expected


def test_echoed_prompt_is_no_reply_but_what_follows_it_is() -> None:
    prompt = prompt_of("short-long")
    assert rule("short-long", prompt.text) == "echoed-prompt"
    assert rule("short-long", prompt.prefix) == "echoed-prompt"
    assert isinstance(result("short-long", prompt.text + "\n" + OBJECT), Example)


def test_order_is_that_of_the_prompts_and_nothing_is_lost() -> None:
    prompts = list(compose(seed=2, counts={"short-short": 5}, style="chat", tasks=TASKS))
    text = json.dumps({"input": "a text", "positive_document": "b text"})
    replies = [Generation(prompt.id, text, "m", 1, 1, "stop") for prompt in prompts if prompt.index != 3]
    replies += [
        Generation("of-no-prompt", text, "m", 1, 1, "stop"),
        Generation(prompts[0].id, "late", "m", 1, 1, "stop"),
    ]
    found = list(parse(prompts, reversed(replies[:-1] + replies[-1:][::-1])))
    assert len(found) == 5
    assert found[3] == Reject(prompts[3].id, "parse", "unanswered")
    assert [row.prompt_id for row in found if isinstance(row, Example)] == [prompts[n].id for n in (1, 2, 4)]


def test_grounded_text_ends_at_the_line() -> None:
    found = result("grounded", ' "When does the door open?"\n\nPassage: another\nQuery: more', style="base")
    assert isinstance(found, Example)
    assert found.query == "When does the door open?"
    assert found.positives[0].startswith("The door number")


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        (" cut off in the", "length", "truncated"),
        ("\n\n", "stop", "empty"),
        ("\x07bell\n", "stop", "control-characters"),
    ],
)
def test_grounded_text_faults(text: str, finish: str, expected: str) -> None:
    assert rule("grounded", text, style="base", finish=finish) == expected


def test_copying_a_demonstration_is_an_echo() -> None:
    assert rule("grounded", " why does bread dough take longer to rise in the cold\n", style="base") == "echoed-prompt"
    assert rule("short-long", " 衣服上的油渍怎么洗掉\nDocument: x\n\n", style="base") == "echoed-prompt"
    assert isinstance(result("short-long", " 衣服\nDocument: x\n\n", style="base"), Example)


def test_labelled_text() -> None:
    text = " when is it open\nDocument: It opens\nat nine.\nWrong document: It is red.\n\nTask: next"
    found = result("short-long", text, style="base")
    assert isinstance(found, Example)
    assert (found.query, found.positives, found.negatives) == (
        "when is it open",
        ("It opens at nine.",),
        ("It is red.",),
    )


def test_what_a_plain_model_goes_on_with_is_no_part_of_the_last_value() -> None:
    text = " a query\nDocument: It opens.\nWrong document:\nIt is red.\nWrong document: No.\nRight document: It"
    for finish in ("stop", "length"):
        found = result("short-long", text, style="base", finish=finish)
        assert isinstance(found, Example)
        assert (found.positives, found.negatives) == (("It opens.",), ("It is red.",))


def test_optional_label_may_be_absent_or_cut_off() -> None:
    whole = result("short-long", " a query\nDocument: It opens.\nTask: next", style="base")
    cut = result("short-long", " a query\nDocument: It opens.\nWrong document: It", style="base", finish="length")
    for found in (whole, cut):
        assert isinstance(found, Example)
        assert (found.positives, found.negatives) == (("It opens.",), ())


def test_needed_label_is_missing_or_cut_off() -> None:
    assert rule("short-long", " a query and no more\n\n", style="base") == "missing-label"
    assert rule("short-long", " a query\nDocument: It op", style="base", finish="length") == "truncated"
