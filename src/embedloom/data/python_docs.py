"""The documentation that every Python interpreter carries, as known-item search.

Docstrings are read from the standard library's source without running it. Modules without source (built into the
interpreter or compiled) are imported, which is harmless for those: they hold functions alone.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

from embedloom.data.known_item import Item, clean_items
from embedloom.data.words import collapse, sentences, words
from embedloom.errors import DataError

SKIPPED = frozenset(
    {"antigravity", "idlelib", "lib2to3", "pydoc_data", "test", "this", "tkinter", "turtle", "turtledemo"}
)
"""Modules that open windows or browsers, print, or hold tests and tables."""

SUMMARY_WORDS = (3, 40)
REST_WORDS = (12, 400)
_SIGNATURE = re.compile(r"^[\w.]+\(.*?\)(?:\s*(?:->|=|--)\s*|\s*$|\s*:\s*)", re.DOTALL)
_LISTING = re.compile(r"^\s*(?:>>>|[-=*+|]{2,})")


@cache
def python_documentation() -> tuple[Item, ...]:
    """Items of this interpreter's standard library in a fixed order; the group is the top-level module.

    The summary is the docstring's first sentence; the rest is what follows it, cut at 400 words. White space is
    collapsed.

    Raises:
        DataError: the interpreter carries too little documentation (a stripped installation).
    """
    texts: dict[str, str] = {}
    for name, text in docstrings():
        texts.setdefault(name, text)  # a name defined twice, once for each operating system
    items = clean_items(item for name in sorted(texts) if (item := _item(name, texts[name])) is not None)
    if len(items) < 100:
        raise DataError(
            f"this Python ({sys.executable}) carries only {len(items)} usable docstrings; "
            "use an interpreter with its standard library's source, or give a folder of your own text"
        )
    return tuple(items)


def docstrings() -> Iterator[tuple[str, str]]:
    """Qualified names and docstrings of the public modules, classes, functions and methods of the standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    for module in sorted(sys.stdlib_module_names - SKIPPED):
        if module.startswith("_"):
            continue
        if (library / f"{module}.py").is_file():
            yield from _source_docstrings(module, library / f"{module}.py")
        elif (library / module).is_dir():
            for path in sorted((library / module).rglob("*.py")):
                parts = [*path.relative_to(library).parent.parts, *([] if path.stem == "__init__" else [path.stem])]
                if not any(part.startswith("_") or part in ("test", "tests", "__pycache__") for part in parts):
                    yield from _source_docstrings(".".join(parts), path)
        else:
            yield from _compiled_docstrings(module)


def _source_docstrings(module: str, path: Path) -> Iterator[tuple[str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    yield from _node_docstrings(module, tree)


def _node_docstrings(name: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield name, text
    # A function's inner functions are private to it; a module's or class's `if` and `try` blocks are public ground.
    if isinstance(node, ast.Module | ast.ClassDef | ast.If | ast.Try):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if not child.name.startswith("_"):
                    yield from _node_docstrings(f"{name}.{child.name}", child)
            elif isinstance(child, ast.If | ast.Try):
                yield from _node_docstrings(name, child)


def _compiled_docstrings(module: str) -> Iterator[tuple[str, str]]:
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            loaded = importlib.import_module(module)
    except ImportError:  # a module of another operating system
        return
    yield from _object_docstrings(module, loaded, module)


def _object_docstrings(name: str, value: object, module: str) -> Iterator[tuple[str, str]]:
    text = inspect.getdoc(value)
    if text:
        yield name, text
    if not isinstance(value, types.ModuleType | type):
        return
    for key, child in sorted(vars(value).items()):
        if key.startswith("_") or not (inspect.isroutine(child) or isinstance(child, type)):
            continue
        if isinstance(child, type) and (isinstance(value, type) or child.__module__ != module):
            continue
        yield from _object_docstrings(f"{name}.{key}", child, module)


def _item(name: str, text: str) -> Item | None:
    paragraphs = [part for part in re.split(r"\n\s*\n", inspect.cleandoc(text)) if part.strip()]
    paragraphs[0] = _SIGNATURE.sub("", paragraphs[0], count=1)
    paragraphs = [part for part in paragraphs if part.strip()]
    if not paragraphs or _LISTING.match(paragraphs[0]):
        return None
    summary, *more = sentences(collapse(paragraphs[0])) or [""]
    rest = collapse(" ".join([*more, *paragraphs[1:]]))
    rest = " ".join(rest.split(" ")[: REST_WORDS[1]])
    if not SUMMARY_WORDS[0] <= len(words(summary)) <= SUMMARY_WORDS[1] or len(words(rest)) < REST_WORDS[0]:
        return None
    return Item(id=name, group=name.partition(".")[0], summary=summary, rest=rest)
