"""Asking a run's language model for what has no answer on disk yet, and the ledger of what that cost.

Neither prompts nor replies are held: prompts are read from their file as they are asked for, and of the replies on disk
only the ids are known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.cli.pipeline import Run
from embedloom.cli.progress import bar, notice
from embedloom.errors import ModelError
from embedloom.recipe import Recipe
from embedloom.records import Generation, Prompt, Reject, content_id
from embedloom.run import RecordLog, RunFolder, atomic_file, read_records

if TYPE_CHECKING:
    from embedloom.llm.budget import Budget
    from embedloom.llm.names import StyledLLM

LEDGER = "ledger.jsonl"
"""A row for each server of each sitting: requests, faults, tokens. A killed sitting has none, but its replies count."""

EMPTY_REPLIES = 16
"""Replies without a word at the beginning, behind which nothing more is asked."""
_VOICE = ("model", "temperature", "top_p", "top_k", "dtype")


def voice(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what the language model says, of those that also say how fast or how dearly."""
    told = {key: getattr(recipe.llm, key) for key in _VOICE}
    # The same model answers, whether it is asked directly or through files.
    if told["model"].startswith("batch:"):
        told["model"] = f"openai:{told['model'].removeprefix('batch:')}"
    return told | ({"extra": recipe.llm.extra} if recipe.llm.extra else {})


def open_model(run: Run) -> StyledLLM:
    """The recipe's language model; what the run spent before counts against its budget."""
    from embedloom.llm.names import open_llm

    settings = run.recipe.llm
    server: dict[str, Any] = {}
    if settings.model.startswith("openai:"):
        names = ("base_url", "api_key_env", "concurrency", "timeout", "retries", "json_schema")
        server = {name: getattr(settings, name) for name in names} | {"budget": _budget(run)}
    return open_llm(
        settings.model,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        batch_size=settings.batch_size,
        dtype=settings.dtype,
        notice=notice,
        extra=settings.extra,
        **server,
    )


def style(recipe: Recipe) -> str | None:
    """Which prompts suit the model, where that is known without opening it."""
    return "chat" if recipe.llm.model.startswith(("openai:", "batch:", "scripted:")) else None


class PromptFile(Iterable[Prompt]):
    """The prompts of a file, read anew at each pass."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Prompt]:
        return read_records(self.path, Prompt)


def answers(run: Run, path: Path) -> Iterator[Generation]:
    """What this language model has answered in a log."""
    mark, asker = path.with_suffix(".asker"), _asker(run.recipe)
    if not path.exists() or (mark.exists() and mark.read_text(encoding="utf-8") != asker):
        path = _put_aside(path, asker)
    if not path.exists():
        return
    RecordLog(path).close()  # cuts off the line that a kill left unfinished
    yield from read_records(path, Generation)


@contextmanager
def own_log(run: Run, path: Path) -> Iterator[RecordLog]:
    """The log at `path`, opened for this language model's replies.

    A log that another model or other settings wrote is put aside under its own name, and taken up again with them.
    """
    asker = _asker(run.recipe)
    mark = path.with_suffix(".asker")
    if path.exists() and mark.exists() and (before := mark.read_text(encoding="utf-8")) != asker:
        path.rename(_put_aside(path, before))
    # Before the own log is there: a kill between the two would have the next asker take it for the other's.
    with atomic_file(mark) as file:
        file.write(asker)
    own = _put_aside(path, asker)
    if own.exists() and not path.exists():
        own.rename(path)
    with RecordLog(path) as log:
        yield log


def _put_aside(path: Path, asker: str) -> Path:
    """Where an asker's log stands while another's is in its place."""
    return path.with_name(f"{path.stem}-{asker}.jsonl")


def ask(
    run: Run,
    model: Callable[[], StyledLLM],
    title: str,
    prompts: Iterable[Prompt],
    path: Path,
    reject: Callable[[Reject], object],
) -> None:
    """Asks for what has no answer in the log. Replies are on disk before more is asked.

    Memory: the ids of the replies on disk, about 0.13 kB each, and the prompts that are being answered.

    Args:
        run: whose language model is asked.
        model: opens it, if anything is left to ask.
        title: of the progress bar and in the ledger.
        prompts: gone through twice: to count, and to ask.
        path: the log of replies.
        reject: called for each prompt that could not be answered.

    Raises:
        IncompleteError: the budget is spent or replies must come from files, unless the recipe says to go on.
    """
    from embedloom.llm.budget import IncompleteError

    with own_log(run, path) as log:
        answered = {generation.prompt_id for generation in read_records(path, Generation)}
        count = done = 0
        for prompt in prompts:
            count += 1
            done += prompt.id in answered
        with bar(title, count, done=done, unit="prompts") as advance:
            if done == count:
                return
            llm = model()
            missing = (prompt for prompt in prompts if prompt.id not in answered)
            with _metered(run.folder, llm, title):
                try:
                    cut = 0
                    for group in llm.generate(missing, seed=run.recipe.seed):
                        log.append(row for row in group if isinstance(row, Generation))
                        cut = _empty_so_far(cut, group)
                        for row in group:
                            if isinstance(row, Reject):
                                reject(row)
                        advance(len(group))
                except IncompleteError as error:
                    if run.recipe.llm.incomplete == "stop":
                        raise
                    notice(f"{title}: going on with what there is: {error}")


def _empty_so_far(count: int, group: Iterable[Generation | Reject]) -> int:
    """How many replies, from the first one on, used up all their tokens without a word; -1 once another came.

    Raises:
        ModelError: so many that the others will be no better.
    """
    for reply in (row for row in group if isinstance(row, Generation)):
        if count >= 0:
            count = -1 if reply.text.strip() or reply.finish != "length" else count + 1
    if count >= EMPTY_REPLIES:
        raise ModelError(
            f"the first {count} replies have used up their tokens without a word, as a model does that thinks first; "
            "give it room, for example --set llm.extra={max_tokens=4000}, or switch its thinking off"
        )
    return count


@contextmanager
def _metered(folder: RunFolder, llm: object, title: str) -> Iterator[None]:
    from embedloom.llm.ledger import Metered

    started, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    try:
        yield
    finally:
        if isinstance(llm, Metered):
            seconds = round(time.monotonic() - clock, 2)
            with RecordLog(folder / LEDGER) as ledger:
                ledger.append(replace(row, title=title, started=started, seconds=seconds) for row in llm.usage())


def _budget(run: Run) -> Budget:
    from embedloom.llm.budget import Budget, Prices

    settings = run.recipe.llm
    spent = [0, 0]
    if settings.budget_tokens or settings.budget_money:
        name = voice(run.recipe)["model"]
        for path in run.folder.path.glob("*generations*.jsonl"):
            RecordLog(path).close()
            for reply in read_records(path, Generation):
                if reply.model == name:
                    spent[0] += reply.input_tokens
                    spent[1] += reply.output_tokens
    return Budget(
        tokens=settings.budget_tokens,
        money=settings.budget_money,
        prices=Prices(settings.price_input, settings.price_output),
        spent_input=spent[0],
        spent_output=spent[1],
    )


def _asker(recipe: Recipe) -> str:
    """Whoever answers: the same model with the same settings and seed."""
    return content_id("asker", voice(recipe), recipe.seed)
