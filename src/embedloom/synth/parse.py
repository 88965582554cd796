"""Replies to examples: one `Example` or one `Reject` for each prompt, in the order of the prompts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from embedloom.data.words import collapse, unspaced_share
from embedloom.records import Example, Generation, Prompt, Reject
from embedloom.synth.families import family
from embedloom.synth.json_reply import ReplyError, read_object
from embedloom.synth.template import ReplyField, template

REPLY_CHARACTERS = 65_536
"""A longer reply is dropped unread; the longest example that is asked for has about 8,000 characters."""

THOUGHT_END = "</think>"

_QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»", "「": "」"}
_STAGE = "parse"


def parse(
    prompts: Iterable[Prompt], generations: Iterable[Generation] | Mapping[str, Generation]
) -> Iterator[Example | Reject]:
    """Parses the reply to each prompt. Of two replies to one prompt the first counts; replies to no prompt are ignored.

    Args:
        prompts: in the order in which examples are wanted.
        generations: replies in any order, which are held in memory, or by prompt id, as a `RecordIndex` finds them.

    Yields:
        An `Example`, or a `Reject` whose id is the prompt's and whose rule is one of `unanswered`, `empty`,
        `oversized`, `truncated`, `no-json`, `missing-key`, `wrong-type`, `missing-label`, `control-characters`,
        `echoed-prompt`.
    """
    replies = generations if isinstance(generations, Mapping) else first_replies(generations)
    for prompt in prompts:
        reply = replies.get(prompt.id)
        if reply is None:
            yield Reject(prompt.id, _STAGE, "unanswered")
            continue
        try:
            yield parse_reply(prompt, reply)
        except ReplyError as fault:
            yield Reject(prompt.id, _STAGE, fault.rule, fault.detail.encode("utf-8", "replace").decode())


def first_replies(generations: Iterable[Generation]) -> dict[str, Generation]:
    """The first reply to each prompt, by prompt id."""
    replies: dict[str, Generation] = {}
    for generation in generations:
        replies.setdefault(generation.prompt_id, generation)
    return replies


def parse_reply(prompt: Prompt, reply: Generation) -> Example:
    """The example that one reply holds.

    Raises:
        ReplyError: the reply holds none.
    """
    kind = family(prompt.family)
    values = {key: clean(value, key) for key, value in reply_values(prompt, reply).items()}
    for key in (kind.query, kind.positive):
        if key and not values[key]:
            raise ReplyError("empty", key)
    query = values[kind.query] if kind.query else prompt.passage
    if kind.query and query in prompt.prefix and len(query) > (6 if unspaced_share(query) > 0.5 else 20):
        raise ReplyError("echoed-prompt", query[:80])
    negative = values.get(kind.negative, "")
    return Example(
        instruction=prompt.instruction,
        query=query,
        positives=(values[kind.positive] if kind.positive else prompt.passage,),
        negatives=(negative,) if negative else (),
        family=prompt.family,
        language=prompt.language,
        source=reply.model,
        prompt_id=prompt.id,
        passage_id=prompt.passage_id,
        target_language=prompt.blanks.get("target_language", ""),
        high_score=_number(prompt.blanks.get("high_score")),
        low_score=_number(prompt.blanks.get("low_score")),
    )


def _number(blank: str | None) -> float | None:
    return None if blank is None else float(blank)


def reply_values(prompt: Prompt, reply: Generation) -> dict[str, str]:
    """The texts of a reply by key, as they came.

    Raises:
        ReplyError: too long, empty, cut off, or not in the form that the prompt asks for.
    """
    text = reply.text
    if len(text) > REPLY_CHARACTERS:
        raise ReplyError("oversized", f"{len(text)} characters")
    # What a reasoning model thinks aloud may hold drafts of the object, which must not be taken for the reply.
    text = text.rpartition(THOUGHT_END)[2]
    if not text.strip():
        raise ReplyError("empty", "reply")
    if prompt.keys:
        # A model that repeats the prompt repeats the sample object in it, which must not be taken for the reply.
        for part in (prompt.text, prompt.body, prompt.prefix):
            text = text.replace(part.strip(), "", 1) if part.strip() else text
        if not text.strip():
            raise ReplyError("echoed-prompt", "nothing but the prompt")
        values = read_object(text, prompt.keys)
        if all(set(value.strip()) <= set(".… ") for value in values.values()):
            raise ReplyError("echoed-prompt", "the sample object of the prompt")
        return values
    return labelled(text, template(prompt.template).reply, prompt.stop, cut_off=reply.finish == "length")


def labelled(text: str, fields: tuple[ReplyField, ...], stop: Iterable[str], *, cut_off: bool) -> dict[str, str]:
    """Values of a text reply `first value\\nLabel: value ...`, up to the first of `stop`.

    The last of several values ends with its line.

    Raises:
        ReplyError: `missing-label`, or `truncated` if the last needed value was cut off.
    """
    text = text.lstrip("\n" if len(fields) > 1 else "\n ")
    ends = [at for mark in stop if (at := text.find(mark)) >= 0]
    if ends:
        text, cut_off = text[: min(ends)], False
    values: dict[str, str] = {}
    rest = text
    for place, field in enumerate(fields):
        following = fields[place + 1] if place + 1 < len(fields) else None
        match = re.search(rf"^\s*{re.escape(following.label)}\s*:", rest, re.MULTILINE) if following else None
        if match is None:
            # A plain model goes on with labels that nobody asked for; a value has one line, as in the demonstrations.
            value, whole, _ = rest.lstrip().partition("\n")
            if cut_off and not whole:
                if field.optional:
                    break
                raise ReplyError("truncated", field.key)
            values[field.key] = value if len(fields) > 1 else rest
            needed = [later.key for later in fields[place + 1 :] if not later.optional]
            if needed:
                raise ReplyError("missing-label", needed[0])
            break
        values[field.key] = rest[: match.start()]
        rest = rest[match.end() :]
    return values


def clean(value: str, key: str = "") -> str:
    """The text on one line, without the quotation marks that a model puts around it.

    Raises:
        ReplyError: `control-characters`, if it holds any besides white space, or half of a surrogate pair.
    """
    text = collapse(value)
    for char in text:
        if char < " " or char == "\ufffd" or (char >= "\x7f" and unicodedata.category(char) in ("Cc", "Cs", "Cn")):
            raise ReplyError("control-characters", f"{key}: U+{ord(char):04X}")
    if len(text) > 2 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1] and text[-1] not in text[1:-1]:
        text = text[1:-1].strip()
    return text
