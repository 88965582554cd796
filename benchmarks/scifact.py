"""SciFact from its abstracts alone, and what carries over to questions on Wikipedia (XQuAD en)."""

from recipe_run import DATA, timed_run


def measure() -> dict[str, object]:
    """Figures of one run of recipes/scifact.toml."""
    return timed_run("scifact.toml", [str(DATA / "retrieval" / "xquad-en")])
