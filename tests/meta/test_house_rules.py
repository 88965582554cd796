"""Rules that every file keeps: size, docstrings, public names, and words that have no place here."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "embedloom"
MODULES = sorted(SOURCE.rglob("*.py"))
LINES = 320
VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "base", "misc"}

# Written so that this file doesn't hold them: where the project was made is nobody's business, a registry's address has
# no place in a project that is told which one to use, and an intention belongs in the tracker.
FORBIDDEN = (
    r"(?i)sub-?agen[t]", r"/roo[t]/", r"/wor[k]/", r"/tm[p]/[a-z]", r"(?i)workplac[e]", r"(?i)\bissu[e] #?\d",
    r"(?i)\bpyp[i]\.org", r"(?i)pythonhoste[d]", r"\bTOD[O]\b", r"\bFIXM[E]\b", r"\bXX[X]\b",
)  # fmt: skip


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def texts() -> dict[str, str]:
    """Every text file of the repository, but for data."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    kinds = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".html", ".js", ".css", ""}
    out = {}
    for name in listed.stdout.splitlines():
        path = REPOSITORY / name
        if path.suffix in kinds and path.is_file() and "sample" not in path.parts and "results" not in path.parts:
            out[name] = path.read_text(encoding="utf-8")
    return out


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_one_idea_and_says_which(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    assert ast.get_docstring(ast.parse(text)), "has no docstring"
    assert not VAGUE & set(path.stem.split("_")), "the name says nothing"


def test_public_functions_and_classes_have_docstrings() -> None:
    bare = [
        f"{relative(path)}: {node.name}"
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not (node.name.startswith("_") or ast.get_docstring(node))
    ]
    assert bare == []


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_words_that_have_no_place_here(pattern: str) -> None:
    found = [
        f"{name}:{number}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []


def test_the_public_names_are_there_and_are_all_of_them() -> None:
    import embedloom

    assert sorted(embedloom.__all__) == list(embedloom.__all__)
    for name in embedloom.__all__:
        assert getattr(embedloom, name) is not None
    assert set(embedloom.__all__) <= set(dir(embedloom))


def test_each_all_names_what_the_module_has() -> None:
    for path in MODULES:
        if "__all__ = " in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
            module = importlib.import_module(name)
            missing = [name for name in module.__all__ if not hasattr(module, name)]
            assert missing == [], relative(path)


def test_untrusted_text_is_never_evaluated() -> None:
    """No `eval`, `exec`, `pickle`, `shell=True` or `torch.load` without `weights_only`."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "os.system"}, relative(path)
                words = {word.arg: word.value for word in node.keywords}
                safe = "weights_only" in words and ast.unparse(words["weights_only"]) == "True"
                assert called != "torch.load" or safe, relative(path)
                assert "shell" not in words, relative(path)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not names & {"pickle", "cloudpickle", "dill", "joblib"}, relative(path)
