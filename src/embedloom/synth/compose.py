"""Composing prompts: example i of a family draws its template, task, language and blanks from (seed, family, i) alone.

Nothing is sent here. Asking for more examples, or for another family besides, leaves the prompts that were there as
they were, with the same ids, so that what an LLM has answered is never asked again.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embedloom.data.languages import language_name, language_weights
from embedloom.data.words import collapse, sentences, unspaced_share, words
from embedloom.errors import RecipeError
from embedloom.records import Document, Prompt, Task, content_id
from embedloom.synth.draw import Weighted, choose, shuffled
from embedloom.synth.families import Family, family
from embedloom.synth.template import STYLES, Template, fill, generic_demonstrations, templates

PASSAGE_WORDS = 160
"""Words of a grounded passage that the prompt shows; the example keeps all of it."""

SENTENCE_WORDS = (6, 40)
"""Words of the sentence out of a passage that a grounded STS example starts from."""

TEXT_REPLY, LONG_TEXT_REPLY = 160, 400
"""Words that a few-shot reply has room for: a plain language model goes on and on."""


def compose(
    *,
    seed: int,
    counts: Mapping[str, int],
    style: str,
    tasks: Sequence[Task] = (),
    languages: Mapping[str, float] | None = None,
    passages: Sequence[Document] = (),
    grounded_language: str = "English",
    passage_words: int = PASSAGE_WORDS,
) -> Iterator[Prompt]:
    """Prompts for `counts[family]` examples of each family, spread so that any first part holds the families' shares.

    Args:
        seed: with the family and the example's number it determines every draw.
        counts: examples to ask for, by family.
        style: `chat` for instruction-tuned models (JSON replies), `base` for plain language models (few-shot text).
        tasks: tasks of all families; a family that has tasks draws among its own by weight.
        languages: weights by language name or code; the paper's 93 by default. Bitext draws ordered pairs.
        passages: what grounded queries are written for; drawn without replacement until all are used.
        grounded_language: the language of grounded queries.
        passage_words: words of a passage that are shown.

    Raises:
        RecipeError: unknown family or style, no task for a family, no passages, one language for bitext.
    """
    if style not in STYLES:
        raise RecipeError(f"unknown prompt style {style!r}; there are {', '.join(STYLES)}")
    grounded_language = language_name(grounded_language)
    drawn_languages = Weighted(language_weights(languages))
    plans: dict[str, _Plan] = {}
    for name, count in counts.items():
        if count < 0:
            raise RecipeError(f"number of {name} examples must not be negative, got {count}")
        if count:
            plans[name] = _Plan(seed, family(name), templates(name, style), _pool(name, tasks), drawn_languages)
    _check(plans, passages)
    # One for each family: each holds the order of one lap, and families need not be in the same.
    orders = {name: _PassageOrder(seed, passages) for name, plan in plans.items() if plan.family.grounded}
    for index, (name, number) in enumerate(_interleaved(counts)):
        plan = plans[name]
        if not plan.family.grounded:
            yield _prompt(plan, number, index)
        else:
            yield _prompt(plan, number, index, orders[name][number], grounded_language, passage_words)


@dataclass(frozen=True, slots=True)
class _Plan:
    seed: int
    family: Family
    templates: tuple[Template, ...]
    tasks: Weighted[Task]
    languages: Weighted[str]


def _pool(name: str, tasks: Sequence[Task]) -> Weighted[Task]:
    """The tasks of a family with their weights; the fixed instruction is the one task of a family without step 1."""
    kind = family(name)
    if not kind.has_tasks:
        return Weighted({Task(name, kind.instruction): 1.0})
    weights = {task: task.weight for task in tasks if task.family == name and task.weight > 0}
    if not weights:
        raise RecipeError(f"no task for family {name!r}; give one in the recipe, or brainstorm some")
    return Weighted(weights)


def _check(plans: Mapping[str, _Plan], passages: Sequence[Document]) -> None:
    for name, plan in plans.items():
        if plan.family.grounded and not passages:
            raise RecipeError(f"family {name!r} needs passages to write for, and there are none")
        if plan.family.bilingual and len(plan.languages) < 2:
            raise RecipeError(f"family {name!r} needs at least 2 languages, got {len(plan.languages)}")


def _interleaved(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """(family, number) with each family spread evenly. All counts doubled, the first half stays as it was."""

    def places(rank: int, name: str, count: int) -> Iterator[tuple[float, int, str, int]]:
        return (((number + 0.5) / count, rank, name, number) for number in range(count))

    for _, _, name, number in heapq.merge(*(places(rank, name, n) for rank, (name, n) in enumerate(counts.items()))):
        yield name, number


class _PassageOrder:
    """Passage `number`: all of them in a seeded order, then all of them in another."""

    def __init__(self, seed: int, passages: Sequence[Document]) -> None:
        self._seed = seed
        self._passages = passages
        self._ids = [passage.id for passage in passages]
        self._round = -1
        self._order: list[int] = []

    def __getitem__(self, number: int) -> Document:
        lap, place = divmod(number, len(self._ids))
        if lap != self._round:
            self._round, self._order = lap, shuffled(self._ids, self._seed, "passage", lap)
        return self._passages[self._order[place]]


def _prompt(
    plan: _Plan,
    number: int,
    index: int,
    passage: Document | None = None,
    passage_language: str = "",
    passage_words: int = PASSAGE_WORDS,
) -> Prompt:
    kind, seed = plan.family, plan.seed
    address = (kind.name, number)
    chosen = choose(plan.templates, seed, *address, "template")
    task = plan.tasks.choose(seed, *address, "task")
    drawn = {name: choose(values, seed, *address, name) for name, values in kind.blanks}
    if passage is not None:
        drawn["language"] = passage_language
    elif kind.bilingual:
        drawn["source_language"], drawn["target_language"] = _language_pair(plan, number)
    else:
        drawn["language"] = plan.languages.choose(seed, *address, "language")
    language = drawn.get("language") or drawn["source_language"]
    values = {**drawn, "task": task.instruction}
    shown = ""
    if passage is not None:
        shown = passage.content if kind.query else _sentence(passage.content, seed, *address)
        values["passage"] = cut(shown, passage_words)
        values["passage_name"], values["query_name"] = task.passage_name, task.query_name
    values["demonstrations"] = demonstrations(chosen, task, passage_words)
    prefix = fill(chosen.prefix, values, name=chosen.name) + "\n\n"
    body = fill(chosen.body, values, name=chosen.name)
    used = {name: value for name, value in drawn.items() if name in chosen.blanks}
    return Prompt(
        id=content_id("prompt", seed, kind.name, number, chosen.name, prefix, body),
        index=index,
        family=kind.name,
        template=chosen.name,
        prefix=prefix,
        body=body,
        instruction=task.instruction,
        task_id=task.id,
        language=language,
        blanks=used,
        keys=() if chosen.reply else kind.keys,
        stop=chosen.stop,
        max_new_tokens=_token_limit(kind, used, text=bool(chosen.reply)),
        passage=shown,
        passage_id=passage.id if passage is not None else "",
    )


def _language_pair(plan: _Plan, number: int) -> tuple[str, str]:
    address = (plan.family.name, number)
    source = plan.languages.choose(plan.seed, *address, "source_language")
    attempt = 0
    while (target := plan.languages.choose(plan.seed, *address, "target_language", attempt)) == source:
        attempt += 1
    return source, target


def demonstrations(chosen: Template, task: Task, passage_words: int = PASSAGE_WORDS) -> str:
    """The task's demonstrations, or generic ones where it has none, as the template shows them (perhaps not at all)."""
    if not chosen.demonstration:
        return ""
    shown = task.demonstrations or generic_demonstrations()
    return "\n\n".join(
        fill(
            chosen.demonstration,
            {
                "passage_name": task.passage_name,
                "query_name": task.query_name,
                "passage": cut(shot.passage, passage_words),
                "query": collapse(shot.query),
                "task": task.instruction,
            },
            name=chosen.name,
        )
        for shot in shown
    )


def _sentence(text: str, seed: int, *address: str | int) -> str:
    """A sentence of the text of `SENTENCE_WORDS`, drawn; the first of them if none has that length."""
    found = sentences(collapse(text)) or [text]
    fitting = [one for one in found if SENTENCE_WORDS[0] <= len(words(one)) <= SENTENCE_WORDS[1]]
    return choose(fitting, seed, *address, "sentence") if fitting else cut(found[0], SENTENCE_WORDS[1])


def cut(text: str, limit: int) -> str:
    """The first `limit` words on one line, of 16 letters on average at most; two letters count as a word in scripts
    without spaces."""
    shown = " ".join(collapse(text).split(" ")[:limit])[: 16 * limit]
    return shown[: 2 * limit] if len(shown) > 2 * limit and unspaced_share(shown[: 4 * limit]) > 0.5 else shown


def _token_limit(kind: Family, blanks: Mapping[str, str], *, text: bool) -> int:
    """Room for the reply: 3 tokens a word (more than English takes, less than some scripts), and JSON's frame."""
    digits = re.search(r"\d+", blanks.get("num_words", ""))
    length = int(digits.group()) * (2 if kind.negative and not kind.label else 1) + 60 if digits else kind.reply_words
    if text and kind.positive:
        length = min(length, LONG_TEXT_REPLY if kind.name == "long-long" else TEXT_REPLY)
    return length * 3 + (0 if text else 64)
