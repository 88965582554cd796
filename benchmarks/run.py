"""Runs one benchmark by name and prints its figures as one JSON object on the last line.

    python benchmarks/run.py NAME [--save]

With --save the figures go to benchmarks/results/<machine>/NAME.json, with command, commit, machine and versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NO_BENCHMARK = {"run", "recipe_run", "pictures", "core_table", "similar_vectors"}
BENCHMARKS = {
    path.stem.replace("_", "-"): path.stem for path in sorted(HERE.glob("*.py")) if path.stem not in NO_BENCHMARK
}


def main() -> None:
    """Parses the arguments, runs, prints, saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE))
    started = time.time()
    figures = importlib.import_module(BENCHMARKS[arguments.name]).measure()
    result = {
        "benchmark": arguments.name,
        "command": f"python benchmarks/run.py {arguments.name}",
        "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        **figures,
    }
    if arguments.save:
        folder = HERE / "results" / machine_name()
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{arguments.name}.json").write_text(text, encoding="utf-8")
    print(json.dumps(result, ensure_ascii=False))


def commit() -> str:
    """The checkout's commit, with `+changes` if the tree differs from it."""
    return _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain", "-uno") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> dict[str, object]:
    """Processor, cores, memory and the instruction sets that decide speed."""
    words: set[str] = set()
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
            if line.startswith(("flags", "Features")):
                words.update(line.split())
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    fast = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in words]
    # Where a run may be kept to some cores, so that other work keeps the others.
    used = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = {"cores": os.cpu_count(), "cores_used": used}
    return {"processor": model, **cores, "memory_gib": round(memory), "instructions": fast}


def machine_name() -> str:
    """A folder name for the machine: processor, best instruction set, cores."""
    told = machine()
    instructions = told["instructions"]
    best = instructions[0] if isinstance(instructions, list) and instructions else "generic"
    words = "".join(char if char.isalnum() else " " for char in str(told["processor"]).lower()).split()
    return "-".join([*words[:3], best.replace("_", "-"), str(told["cores"]), "cores"])


def versions() -> dict[str, str]:
    """Versions of the packages behind the figures."""
    from embedloom.cli.pipeline import versions as package_versions

    return package_versions()


if __name__ == "__main__":
    main()
