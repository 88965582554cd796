"""`make quickstart` without the installation: does the tuned model beat its base on Python's documentation, and how fast?"""

from recipe_run import timed_run


def measure() -> dict[str, object]:
    """Figures of one run of recipes/quickstart.toml."""
    return timed_run("quickstart.toml")
