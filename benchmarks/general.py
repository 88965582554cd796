"""A general multilingual model from the packaged examples: similarity, retrieval, translations."""

from recipe_run import DATA, timed_run

SETS = ["sts/stsbenchmark", "retrieval/xquad-en", "bitext/tatoeba/deu-eng.jsonl"]


def measure() -> dict[str, object]:
    """Figures of one run of recipes/general.toml."""
    return timed_run("general.toml", [str(DATA / name) for name in SETS])
