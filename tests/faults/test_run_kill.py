"""A run killed without warning, again and again at any moment, ends with what an undisturbed run ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import World, small_world
from embedloom.run import read_objects
from killing import start

SCRIPT = '''
"""Forks a run of the command line again and again, and kills it, until one comes to its end."""
import json, os, random, signal, sys, time
from pathlib import Path

import torch, transformers, peft, bm25s
from transformers import AutoModel, AutoTokenizer
from transformers.models.gemma3 import modeling_gemma3
from embedloom.cli import factory, measure, reporting, tuning
from embedloom.cli.main import main
from embedloom.llm.scripted import ScriptedLLM

torch.set_num_threads(1)
recipe, out, asked, seed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])

def on_disk():
    path = out / "generations.jsonl"
    lines = path.read_bytes().split(b"\\\\n")[:-1] if path.exists() else []
    return [json.loads(line)["prompt_id"] for line in lines]

answer = ScriptedLLM._answer

def slow(self, prompt):
    with open(asked, "a") as file:
        file.write(json.dumps({"child": os.getpid(), "id": prompt.id}) + "\\\\n")
    time.sleep(0.02)
    return answer(self, prompt)

ScriptedLLM._answer = slow

def child():
    quiet = os.open(str(out) + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.argv = ["embedloom", "run", recipe, "--out", str(out)]
    try:
        main()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(70)
    os._exit(0)

print("ready", flush=True)
moments = random.Random(seed)
kills = 0
while True:
    before = on_disk()
    process = os.fork()
    if process == 0:
        child()
    # Longer and longer, so that every stage comes to its end at last.
    until = time.monotonic() + (moments.uniform(0.02, 0.3 + 0.4 * kills) if seed else 1e9)
    status = None
    while status is None and time.monotonic() < until:
        found, code = os.waitpid(process, os.WNOHANG)
        status = code if found else None
        time.sleep(0.005)
    if status is None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        kills += 1
    print(json.dumps({"child": process, "before": before, "status": status, "kills": kills}), flush=True)
    if status is not None:
        break
'''.replace("\\\\n", "\\n")


def result(folder: Path) -> dict[str, object]:
    """What a run made, but for times, caches, and the index, whose files carry random names."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name.startswith(("index/", "vectors.sqlite", ".lock", "training/state.pt")):
            continue
        if name in ("manifest.json", "report.html"):
            continue
        if name in ("scores.jsonl", "training/log.jsonl"):
            found[name] = [
                {key: value for key, value in obj.items() if key != "seconds"} for _, obj in read_objects(path)
            ]
        elif name == "recipe.json":
            # The commit is that of a checkout in which somebody may be working.
            found[name] = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        else:
            found[name] = path.read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    found["manifest.json"] = {
        stage: {key: value for key, value in entry.items() if key not in ("seconds", "wrote")}
        for stage, entry in manifest.items()
        # Their keys hash files that say how long something took.
        if stage not in ("index", "search", "eval")
    }
    return found


def story(world: World, out: Path, seed: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Runs to the end, killed at moments drawn from a seed (0: undisturbed): the children, and what each asked."""
    asked = out.with_suffix(".asked")
    process = start(SCRIPT, world.recipe, out, asked, seed)
    printed, _ = process.communicate(timeout=240)
    children = [json.loads(line) for line in printed.splitlines()]
    assert children[-1]["status"] == 0, Path(f"{out}.log").read_text(encoding="utf-8")[-3000:]
    return children, [obj for _, obj in read_objects(asked)]


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_if_undisturbed(tmp_path: Path) -> None:
    world = small_world(tmp_path / "world")
    (_,), asked = story(world, tmp_path / "whole", seed=0)
    assert len({row["id"] for row in asked}) == len(asked) == 20
    whole = result(tmp_path / "whole")
    out = tmp_path / "killed"
    children, asked = story(world, out, seed=1)
    assert children[-1]["kills"] >= 4
    again = result(out)
    assert set(again) == set(whole), "leftovers, or something is missing"
    for name, content in whole.items():
        assert again[name] == content, name
    on_disk = {child["child"]: set(child["before"]) for child in children}
    wasted = [row for row in asked if row["id"] in on_disk[row["child"]]]
    assert wasted == [], "a prompt was asked whose reply was on disk"
    # Only what was in flight at a kill, at most one group of eight, is asked again.
    assert len(asked) - 20 <= 8 * children[-1]["kills"]
