"""Every template has the blanks of its family, and prompts read as they read when they were last looked at."""

import os
from importlib.resources import files
from pathlib import Path

import pytest

from embedloom.errors import RecipeError
from embedloom.records import Document, Task
from embedloom.synth.brainstorm import brainstorm_prompts
from embedloom.synth.compose import compose
from embedloom.synth.families import FAMILY
from embedloom.synth.template import BRAINSTORM_BLANKS, fill, read_template, template, templates

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(
    entry.name.removesuffix(".txt")
    for entry in files("embedloom.synth").joinpath("templates").iterdir()
    if entry.name.endswith(".txt")
)
PASSAGES = [Document(f"p{n}", f"The {name} opens at nine.") for n, name in enumerate(("library", "pool", "town hall"))]
TASKS = [Task(name, f"Given a text, retrieve its {name} partner.") for name in FAMILY]


def test_every_family_has_several_chat_templates() -> None:
    assert {name: len(templates(name, "chat")) >= 2 for name in FAMILY} == dict.fromkeys(FAMILY, True)
    assert all(templates(name, "base") for name in FAMILY)


@pytest.mark.parametrize("name", NAMES)
def test_blanks_are_those_of_the_family(name: str) -> None:
    kind, style, _ = name.rsplit("-", 2)
    found = template(name)
    if kind == "brainstorm":
        assert {"kind", "examples"} <= found.blanks <= BRAINSTORM_BLANKS
        return
    if style == "chat":
        needed = FAMILY[kind].blank_names - {"query_name", "passage_name"}
        assert needed <= found.blanks
        for key in FAMILY[kind].keys:
            assert f'"{key}"' in found.prefix
        assert not found.reply
    else:
        assert {field.key for field in found.reply} == set(FAMILY[kind].keys)
        if found.reply[0].label:
            assert found.body.endswith(f"{found.reply[0].label}:")
        assert "{{passage}}" not in found.prefix


@pytest.mark.parametrize("name", NAMES)
def test_prompt_is_the_golden_one(name: str) -> None:
    """To accept new wording: EMBEDLOOM_WRITE_GOLDEN=1 pytest tests/meta/test_templates.py, and read the difference."""
    kind, style, _ = name.rsplit("-", 2)
    if kind == "brainstorm":
        made = brainstorm_prompts(seed=1, families=["grounded"], calls=9, style=style, passages=PASSAGES)
    else:
        made = compose(seed=1, counts={kind: 9}, style=style, tasks=TASKS, passages=PASSAGES)
    text = next(prompt.text for prompt in made if prompt.template == name)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("EMBEDLOOM_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    assert "{{" not in text


def test_missing_value_is_an_error() -> None:
    with pytest.raises(RecipeError, match="no value for blank {{b}}"):
        fill("{{a}} {{b}}", {"a": "1"})


def test_filling_is_one_pass() -> None:
    assert fill("{{a}}{{b}}", {"a": "{{b}}", "b": "\\1"}) == "{{b}}\\1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=== prefix ===\nx", "expected sections prefix and body"),
        ("=== prefix ===\n=== body ===\n=== body ===\n", "each once"),
        ("=== prefix ===\n=== body ===\n=== tail ===\n", "got prefix, body, tail"),
        ("=== prefix ===\n{{colour}}\n=== body ===\nx", "unknown blank {{colour}}"),
    ],
)
def test_bad_template_is_an_error(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_template(text, "odd", known={"task"})
