"""`make quickstart` without the installation: does tuning help on Python's documentation, and how long does it take?"""

from recipe_run import timed_run


def measure() -> dict[str, object]:
    """Figures of one run of recipes/quickstart.toml."""
    return timed_run("quickstart.toml")
