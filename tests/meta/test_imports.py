"""What importing costs, and who imports whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from embedloom.cli.main import cli

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "embedloom"
HEAVY = ("torch", "transformers", "peft", "lancedb", "pyarrow", "bm25s", "rensa", "sklearn", "scipy", "llguidance")

LOADED = """
import sys
{statement}
print(*sorted(set(sys.argv[1:]) & set(sys.modules)))
"""


def loaded_by(statement: str) -> list[str]:
    """The heavy packages that a statement loads in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(statement=statement), *HEAVY], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


def test_importing_the_package_loads_nothing_heavy_and_no_array_package() -> None:
    assert loaded_by("import embedloom") == []
    assert loaded_by("import embedloom.records, embedloom.run; sys.argv += ['numpy']") == []


def test_help_of_the_command_and_of_every_verb_loads_nothing_heavy() -> None:
    verbs = click.Context(cli).command.list_commands(click.Context(cli))
    for arguments in ([], ["--help"], ["--version"], *([verb, "--help"] for verb in verbs)):
        statement = f"""
sys.argv[1:], names = {arguments!r}, sys.argv[1:]
from embedloom.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None, 2), end.code
sys.argv[1:] = names
"""
        assert loaded_by(statement) == [], arguments


def test_every_module_can_be_imported_alone_and_changes_nothing() -> None:
    modules = sorted(
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCE.rglob("*.py")
        if "templates" not in path.parts and "sample" not in path.parts
    )
    script = """
import importlib, logging, os, sys, warnings
environment = dict(os.environ)
root = list(logging.getLogger().handlers)
for name in sys.argv[1:]:
    importlib.import_module(name)
ours = {key: value for key, value in os.environ.items() if environment.get(key) != value}
print(ours if any("embedloom" in value.lower() for value in ours) else "", logging.getLogger().handlers == root)
torch = sys.modules.get("torch")
print(torch is None or not torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", script, *modules], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", "True"]


def test_rooms_import_only_what_is_below_them() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-logo"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout
