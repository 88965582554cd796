"""Whatever an LLM sends, each prompt gives one example or one reject, and what is kept survives being written."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.records import Document, Example, Generation, Reject, Task, dumps, from_json
from embedloom.synth.brainstorm import brainstorm_prompts, parse_tasks
from embedloom.synth.compose import compose
from embedloom.synth.families import FAMILY
from embedloom.synth.parse import parse

TASKS = [Task(name, "Given a text, retrieve another.") for name in FAMILY]
PASSAGES = [Document("p", "The door opens at nine.")]
CHAT = list(compose(seed=1, counts=dict.fromkeys(FAMILY, 1), style="chat", tasks=TASKS, passages=PASSAGES))
BASE = list(compose(seed=1, counts=dict.fromkeys(FAMILY, 1), style="base", tasks=TASKS, passages=PASSAGES))
ASKED = list(brainstorm_prompts(seed=1, families=["short-long"], calls=2, style="chat")) + list(
    brainstorm_prompts(seed=1, families=["short-long"], calls=1, style="base")
)

anything = st.text(st.characters(codec=None), max_size=200)
values = st.recursive(st.none() | st.booleans() | st.floats() | anything, lambda inner: st.lists(inner, max_size=3))
objects = st.dictionaries(st.sampled_from(sorted({key for kind in FAMILY.values() for key in kind.keys})), values)
pieces = st.sampled_from(
    ['{"', '"}', '": "', "```json", "\\u", "\\ud800", "\n", "Document:", "\nThe same:", "1. ", "[", "]", "\x00"]
)
replies = st.one_of(
    anything,
    objects.map(json.dumps),
    st.tuples(anything, objects.map(json.dumps), anything).map("".join),
    st.lists(pieces | anything, max_size=30).map("".join),
    st.tuples(objects.map(json.dumps), st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]]),
)


@settings(max_examples=300, deadline=None)
@given(replies, st.sampled_from(["stop", "length", "content_filter"]))
def test_any_reply_is_an_example_or_a_reject(text: str, finish: str) -> None:
    prompts = CHAT + BASE
    found = list(parse(prompts, [Generation(prompt.id, text, "m", 1, 1, finish) for prompt in prompts]))
    assert len(found) == len(prompts)
    for row in found:
        line = dumps(row).encode("utf-8")
        assert from_json(type(row), json.loads(line)) == row
        if isinstance(row, Example):
            assert row.query.strip()
            assert all(text.strip() for text in (*row.positives, *row.negatives))
            assert not any(char < " " for char in row.query)


@settings(max_examples=200, deadline=None)
@given(replies, st.sampled_from(["stop", "length"]))
def test_any_list_is_tasks_or_rejects(text: str, finish: str) -> None:
    for row in parse_tasks(ASKED, [Generation(prompt.id, text, "m", 1, 1, finish) for prompt in ASKED]):
        dumps(row).encode("utf-8")
        assert isinstance(row, Task | Reject)
