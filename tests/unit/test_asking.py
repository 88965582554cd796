"""Whose replies stand in a run's log, and when asking ends early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from embedloom.cli import asking
from embedloom.cli.asking import EMPTY_REPLIES, answers, ask, own_log
from embedloom.cli.pipeline import Run
from embedloom.errors import ModelError
from embedloom.recipe import load_recipe
from embedloom.records import Generation, Prompt
from embedloom.run import RunFolder, read_records


def run_of(folder: Path, model: str) -> Run:
    return Run(load_recipe([], [f"llm.model=openai:{model}"]), RunFolder(folder))


def reply(number: int, text: str = "yes", finish: str = "stop") -> Generation:
    return Generation(f"p{number}", text, "m", 1, 1, finish)


def test_replies_that_were_put_aside_still_count_as_their_askers(tmp_path: Path) -> None:
    first, second = run_of(tmp_path, "a"), run_of(tmp_path, "b")
    path = tmp_path / "generations.jsonl"
    with own_log(first, path) as log:
        log.append([reply(1)])
    assert list(answers(second, path)) == []
    with own_log(second, path) as log:
        log.append([reply(2)])
    assert [one.prompt_id for one in answers(first, path)] == ["p1"]
    assert [one.prompt_id for one in answers(second, path)] == ["p2"]


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_kill_while_logs_change_places_loses_no_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    first, second = run_of(tmp_path, "a"), run_of(tmp_path, "b")
    path = tmp_path / "generations.jsonl"
    for number, run in ((1, first), (2, second), (3, first)):
        with own_log(run, path) as log:
            log.append([reply(number)])
    moves = 0
    rename, mark = Path.rename, asking.atomic_file

    def counted(*_: object) -> None:
        nonlocal moves
        moves += 1
        if moves == kill_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *given: (counted(), rename(*given))[1])
        patched.setattr(asking, "atomic_file", lambda *given: (counted(), mark(*given))[1])
        with pytest.raises(KeyboardInterrupt), own_log(second, path):
            pass
    for run, expected in ((second, ["p2"]), (first, ["p1", "p3"]), (second, ["p2"])):
        assert [one.prompt_id for one in answers(run, path)] == expected
        with own_log(run, path):
            assert [one.prompt_id for one in read_records(path, Generation)] == expected


class Thinking:
    """Answers some prompts, and of the others has used up its tokens before the first word."""

    name, style = "m", "chat"

    def __init__(self, answered: set[int]) -> None:
        self.answered, self.asked = answered, 0

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[list[Generation]]:
        for number, prompt in enumerate(prompts):
            self.asked += 1
            some = number in self.answered
            yield [Generation(prompt.id, "yes" if some else " ", "m", 1, 1, "length")]


@pytest.mark.parametrize(("answered", "ends"), [(set(), True), ({0}, False), ({15}, False), ({16}, True)])
def test_a_model_that_only_thinks_is_not_asked_for_everything(tmp_path: Path, answered: set[int], ends: bool) -> None:
    run, model = run_of(tmp_path, "a"), Thinking(answered)
    prompts = [Prompt(f"p{n}", n, "grounded", "", "", "?") for n in range(40)]

    def everything() -> None:
        ask(run, lambda: model, "asking", prompts, tmp_path / "generations.jsonl", lambda _: None)

    if not ends:
        everything()
        assert model.asked == 40
        return
    with pytest.raises(
        ModelError, match=r"first 16 replies have used up their tokens .*llm\.extra=\{max_tokens=4000\}"
    ):
        everything()
    assert model.asked == EMPTY_REPLIES
