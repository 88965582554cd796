"""The script that makes environments, with a Python that pretends: order, interruptions, what is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

PRETENDER = """#!/usr/bin/env bash
# Writes down what it is asked to install, in the file `asked`.
case "$*" in
    "-m venv "*)
        mkdir -p "$3/bin" "$3/lib/python3.11/site-packages"
        [ ! -e fail-venv ] || exit 9
        cp "$0" "$3/bin/python" ;;
    "-m pip --version") ;;
    "-m pip install "*)
        [ ! -e fail-pip ] || exit 9
        echo "${@: -1}" >>asked ;;
    "-c import sys"*) [ ! -e old ] ;;
    "-c import ensurepip"*) [ ! -e no-venv ] ;;
    --version) echo "Python 3.11.0" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "environment", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (tmp_path / "pins.txt").write_text("numpy==2.0\ntorch==2.13.0\n", encoding="utf-8")
    pretender = tmp_path / "python"
    pretender.write_text(PRETENDER, encoding="utf-8")
    pretender.chmod(0o755)
    return tmp_path


def make(clone: Path, extras: str = "dev") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": str(clone / "python")}
    command = [clone / ".ci" / "environment", ".venv", "pins.txt", extras]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def asked(clone: Path) -> list[str]:
    """What was installed since the last look."""
    path = clone / "asked"
    lines = path.read_text(encoding="utf-8").split() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_pytorch_comes_first_and_alone_and_nothing_comes_twice(clone: Path) -> None:
    assert make(clone).returncode == 0
    assert asked(clone) == ["torch==2.13.0", ".[dev]"]
    assert make(clone).returncode == 0
    assert asked(clone) == []


def test_sets_of_extras_live_beside_each_other_until_the_pins_change(clone: Path) -> None:
    for extras in ("dev", "gemma3", ""):
        make(clone, extras)
    asked(clone)
    for extras in ("dev", "gemma3", ""):
        make(clone, extras)
    assert asked(clone) == []
    for file in ("pins.txt", "pyproject.toml"):
        with (clone / file).open("a", encoding="utf-8") as opened:
            opened.write("\n")
        for extras in ("dev", "gemma3"):
            make(clone, extras)
        assert asked(clone) == ["torch==2.13.0", ".[dev]", "torch==2.13.0", ".[gemma3]"]


def test_a_half_made_environment_is_made_again(clone: Path) -> None:
    (clone / "fail-venv").touch()
    assert make(clone).returncode != 0
    assert (clone / ".venv" / "bin").is_dir()
    (clone / "fail-venv").unlink()
    assert make(clone).returncode == 0
    assert asked(clone) == ["torch==2.13.0", ".[dev]"]


def test_an_interrupted_installation_goes_on_and_trusts_no_half_copied_package(clone: Path) -> None:
    assert make(clone, "gemma3").returncode == 0
    (clone / "fail-pip").touch()
    assert make(clone).returncode != 0
    packages = clone / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("whole-1.dist-info", "half-1.dist-info", "~old"):
        (packages / name).mkdir()
    (packages / "whole-1.dist-info" / "INSTALLER").touch()
    (clone / "fail-pip").unlink()
    asked(clone)
    assert make(clone).returncode == 0
    assert asked(clone) == ["torch==2.13.0", ".[dev]"]
    assert [p.name for p in packages.iterdir()] == ["whole-1.dist-info"]


def test_an_environment_that_the_user_made_is_completed_and_not_removed(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(clone / "python", clone / ".venv" / "bin" / "python")
    (clone / ".venv" / "mine").touch()
    assert make(clone).returncode == 0
    assert asked(clone) == ["torch==2.13.0", ".[dev]"]
    assert (clone / ".venv" / "mine").exists()


@pytest.mark.parametrize(
    ("fault", "sentence"), [("old", "needs Python 3.11 or newer"), ("no-venv", "has no venv module")]
)
def test_a_python_that_will_not_do_is_named_in_one_sentence(clone: Path, fault: str, sentence: str) -> None:
    (clone / fault).touch()
    done = make(clone)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (clone / ".venv").exists()
