"""Prompt templates: text files with named blanks, filled in one pass.

A file of `templates/` is named `<family>-<style>-<number>.txt`; the style is `chat` (a reply in JSON) or `base`
(few-shot text that the model continues). Its sections, each under a line `=== name ===`:

- `prefix`: the part that prompts of one task share, so that a language model may compute it once.
- `body`: the part of one example. `{{name}}` is a blank.
- `demonstration` (base, optional): how one demonstration of a task is shown; all of them are `{{demonstrations}}`.
- `reply` (base): the labels of the reply in their order, one `Label: key` a line; the body ends with the first label.
  A key that ends in `?` may be absent. One key without a label is the whole reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from embedloom.errors import RecipeError
from embedloom.records import Demonstration, from_json

STYLES = ("chat", "base")
BRAINSTORM_BLANKS = frozenset({"kind", "field", "other_field", "number", "examples", "next", "samples"})
"""Blanks of the templates that ask for tasks."""

_SECTION = re.compile(r"^=== (\w+) ===$", re.MULTILINE)
_BLANK = re.compile(r"\{\{(\w+)\}\}")
_SECTIONS = {"prefix", "body", "demonstration", "reply"}


@dataclass(frozen=True, slots=True)
class ReplyField:
    """A labelled part of a text reply."""

    label: str
    key: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with blanks. Empty `reply` means JSON."""

    name: str
    prefix: str
    body: str
    demonstration: str = ""
    reply: tuple[ReplyField, ...] = ()

    @property
    def blanks(self) -> frozenset[str]:
        """Names of the blanks of prefix and body."""
        return blank_names(self.prefix + self.body)

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a text reply ends: a line end if it is one field; an empty line or the next task if it is several."""
        return () if not self.reply else ("\n",) if len(self.reply) == 1 else ("\n\n", "\nTask:")


def blank_names(text: str) -> frozenset[str]:
    """Names of the blanks in a text."""
    return frozenset(_BLANK.findall(text))


def fill(text: str, values: Mapping[str, str], *, name: str = "template") -> str:
    """The text with its blanks filled, in one pass: what looks like a blank inside a value stays as it is.

    Raises:
        RecipeError: a blank without a value.
    """
    missing = sorted(blank_names(text) - set(values))
    if missing:
        raise RecipeError(f"{name}: no value for blank {{{{{missing[0]}}}}}; there are {', '.join(sorted(values))}")
    return _BLANK.sub(lambda match: values[match.group(1)], text)


def read_template(text: str, name: str, known: Iterable[str] | None = None) -> Template:
    """A template from its text.

    Raises:
        RecipeError: a section missing, unknown or doubled; a blank that is not among `known`.
    """
    pieces = _SECTION.split(text)
    sections = dict(zip(pieces[1::2], (piece.strip("\n") for piece in pieces[2::2]), strict=True))
    if len(pieces) // 2 != len(sections) or not {"prefix", "body"} <= set(sections) <= _SECTIONS:
        raise RecipeError(
            f"{name}: expected sections prefix and body, and perhaps demonstration and reply, "
            f"each once under a line '=== name ==='; got {', '.join(pieces[1::2]) or 'none'}"
        )
    reply = tuple(map(_reply_field, filter(None, sections.get("reply", "").splitlines())))
    template = Template(name, sections["prefix"], sections["body"], sections.get("demonstration", ""), reply)
    if known is not None:
        unknown = sorted(template.blanks - set(known))
        if unknown:
            raise RecipeError(f"{name}: unknown blank {{{{{unknown[0]}}}}}; this family has {', '.join(sorted(known))}")
    return template


def _reply_field(line: str) -> ReplyField:
    label, _, key = line.rpartition(":")
    return ReplyField(label.strip(), key.strip().removesuffix("?"), key.strip().endswith("?"))


@cache
def templates(family: str, style: str) -> tuple[Template, ...]:
    """The built-in templates of a family (or of `brainstorm`) and a style, in the order of their names.

    Raises:
        RecipeError: there is none.
    """
    from embedloom.synth.families import FAMILY

    known = FAMILY[family].blank_names | {"demonstrations"} if family in FAMILY else BRAINSTORM_BLANKS
    start = f"{family}-{style}-"
    folder = files("embedloom.synth").joinpath("templates")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(start))
    if not names:
        other = "; it needs an instruction-tuned LLM" if style == "base" and family in FAMILY else ""
        raise RecipeError(f"there is no {style} template for family {family!r}{other}")
    return tuple(
        read_template(folder.joinpath(name).read_text(encoding="utf-8"), name.removesuffix(".txt"), known)
        for name in names
    )


@cache
def template(name: str) -> Template:
    """The built-in template of that name, as recorded with a prompt.

    Raises:
        RecipeError: there is none.
    """
    family, _, style = name.rpartition("-")[0].rpartition("-")
    for candidate in templates(family, style):
        if candidate.name == name:
            return candidate
    raise RecipeError(f"unknown template {name!r}")


@cache
def generic_demonstrations() -> tuple[Demonstration, ...]:
    """Demonstrations for grounded tasks that bring none of their own: questions that short passages answer."""
    import json

    text = files("embedloom.synth").joinpath("templates", "demonstrations.jsonl").read_text(encoding="utf-8")
    return tuple(from_json(Demonstration, json.loads(line)) for line in text.splitlines())
