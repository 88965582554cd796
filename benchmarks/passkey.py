"""Personalized passkey retrieval by length, as trained and under other rotary bases (paper, section 6).

EMBEDLOOM_PASSKEY_MODEL names another model than that of `recipes/general.toml`; EMBEDLOOM_PASSKEY_LENGTHS, ..._BASES,
..._DOCUMENTS and ..._QUERIES ask for others. Scores stay below runs/, so that a sweep that was cut off goes on.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from recipe_run import ROOT, embedloom

MODEL = os.environ.get("EMBEDLOOM_PASSKEY_MODEL") or str(ROOT / "runs" / "general" / "model")
LENGTHS = os.environ.get("EMBEDLOOM_PASSKEY_LENGTHS") or "256,512,1024,2048,4096,8192"
BASES = os.environ.get("EMBEDLOOM_PASSKEY_BASES") or "10000,100000,10000000"
"""Of the global layers: the paper's two, and ten times what Gemma 3 is trained with."""
DOCUMENTS = int(os.environ.get("EMBEDLOOM_PASSKEY_DOCUMENTS") or 100)
QUERIES = int(os.environ.get("EMBEDLOOM_PASSKEY_QUERIES") or DOCUMENTS // 2)
"""As many as half of the documents in the paper; more cost nothing and make the intervals smaller."""


def measure() -> dict[str, Any]:
    """Figures by length and setting. The picture is put beside the results of this machine."""
    from run import machine_name

    out = ROOT / "runs" / "passkey" / "scores.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    counts = ["--documents", str(DOCUMENTS), "--queries", str(QUERIES)]
    embedloom("passkey", MODEL, "--lengths", LENGTHS, "--rotary-base", BASES, *counts, "--out", str(out))
    results = ROOT / "benchmarks" / "results" / machine_name()
    if results.is_dir():
        shutil.copyfile(out.with_suffix(".svg"), results / "passkey.svg")
    rows = [json.loads(line) for line in Path(out).read_text(encoding="utf-8").splitlines()]
    keep = ("model", "fingerprint", "setting", "base", "local_base", "window", "length", "value", "interval", "seconds")
    return {
        "documents": DOCUMENTS,
        "queries": QUERIES,
        "peak_gib": round(max(row.get("peak_bytes", 0) for row in rows) / 2**30, 2),
        "scores": [{key: row[key] for key in keep if key in row} for row in rows],
    }
