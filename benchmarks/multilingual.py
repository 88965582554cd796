"""The data factory on the embedded default: six families, 12 languages, and what is left of what was asked.

No times and tokens: a run that was interrupted goes on, and its manifest knows the last sitting alone.
"""

import json

from recipe_run import ROOT, embedloom


def measure() -> dict[str, object]:
    """Yields of recipes/multilingual.toml up to its data card, by family, language and rule."""
    folder = ROOT / "runs" / "multilingual"
    embedloom("run", str(ROOT / "recipes" / "multilingual.toml"), "--out", str(folder), "--until", "card")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return dict(manifest["card"]["yields"])
