"""How commands end that did not get through."""

from __future__ import annotations

import errno

import click
import pytest

from command import call
from embedloom.cli import main as command_line
from embedloom.cli.ending import ending_of
from embedloom.errors import DataError


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every call of the command line end with an error."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "cli", fail)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DataError("no such file", "a.jsonl", 3), 2, "error: a.jsonl:3: no such file"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (click.Abort(), 130, "the same command goes on"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "a.txt"), 2, "error: a.txt: Permission denied"),
        (MemoryError(), 2, "error: out of memory; in training lower train.token_budget"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"), 2, "can't allocate"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value)[:12],
)
def test_what_a_user_can_mend_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    words: str,
) -> None:
    raising(error, monkeypatch)
    answer = call(capsys)
    assert answer.status == status
    assert words in answer.error
    assert len(answer.error.splitlines()) == 1


def test_a_device_without_memory_is_told_by_what_mends_it() -> None:
    torch = pytest.importorskip("torch")
    said = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which ..."
    ending = ending_of(torch.OutOfMemoryError(said))
    assert ending is not None
    assert ending.status == 2
    assert ending.sentence.startswith("error: out of memory (CUDA out of memory); in training lower")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("x"), OSError("no number")])
def test_a_fault_of_the_program_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert ending_of(error) is None
    raising(error, monkeypatch)
    with pytest.raises(type(error)):
        call(capsys)


@pytest.mark.parametrize(
    ("verb", "words"),
    [("evel", "did you mean 'eval'?"), ("trian", "did you mean 'train'?"), ("xyzzy", "see --help for those there are")],
)
def test_a_verb_that_is_none_is_told_with_the_nearest(
    capsys: pytest.CaptureFixture[str], verb: str, words: str
) -> None:
    answer = call(capsys, verb)
    assert answer.status == 2
    assert f"No such command {verb!r}; {words}" in answer.error
