"""Writes docs/cli.md: the help of every verb, as the command line itself prints it.

Run by `make docs`; a test runs it with `--check`, so that no option stays undocumented. In a process of its own: a
command that ran without its group keeps the help option that it had there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

PAGE = Path(__file__).parent / "cli.md"
WIDTH = 100


def page() -> str:
    """The whole page."""
    from embedloom.cli.main import cli

    parts = [
        "# The command line",
        "Written by `make docs` from the commands' own help. Exit status: 0 done; 2 for input that can't be used,\n"
        "with one sentence that says what is wrong and what mends it; 130 when interrupted.",
    ]
    parts += [f"## `{name}`\n\n```text\n{text}\n```" for name, text in helps(cli, "embedloom")]
    return "\n\n".join(parts) + "\n"


def helps(command: click.Command, name: str, parent: click.Context | None = None) -> list[tuple[str, str]]:
    """Name and help text of a command and of all below it, in the order in which `--help` lists them."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent=parent, info_name=name.split()[-1], **settings)
    out = [(name, command.get_help(context))]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                out += helps(found, f"{name} {child}", context)
    return out


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote {PAGE}")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/cli.md is not what the commands say: make docs")
