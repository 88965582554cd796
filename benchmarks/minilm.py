"""all-MiniLM-L6-v2 through our evaluation, beside its published scores (SciFact 64.5, STSBenchmark 82.0)."""

import json
import tempfile
from pathlib import Path

from recipe_run import embedloom

PUBLISHED = {"scifact": 0.645, "stsbenchmark": 0.820}


def measure() -> dict[str, object]:
    """Our main figures and the published ones."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "scores.jsonl"
        folder = "../shared/data"
        sets = [f"{folder}/retrieval/scifact", f"{folder}/sts/stsbenchmark"]
        embedloom("eval", "registry:minilm", *sets, "--out", str(out))
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    main = {row["task"]: row["value"] for row in reversed(rows)}
    gap = {task: main[task] - PUBLISHED[task] for task in PUBLISHED}
    return {"ours": main, "published": PUBLISHED, "difference": gap}
