"""Documents that must agree with the code: the command line's page, the README's tree, the settings of the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).parents[2]


def project() -> dict[str, object]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(name: str) -> dict[str, Version]:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(package) for package, _ in pairs}) == len(pairs)
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def requirements(*extras: str) -> list[Requirement]:
    content = project()
    lines = [*content["dependencies"], *(line for extra in extras for line in content["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines if not line.startswith("embedloom[")]


def test_the_page_of_the_command_line_is_what_the_commands_say() -> None:
    command = [sys.executable, str(REPOSITORY / "docs" / "generate_cli.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tree_in_the_readme_is_the_real_one() -> None:
    """Each room stands in the tree, and each name in the tree is there; a folder's line may name its modules."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```(?:text)?\nsrc/embedloom/\n(.*?)```", readme, re.DOTALL)
    assert found is not None, "the README has no block that starts with src/embedloom/"
    named = set()
    for line in found[1].splitlines():
        if line.startswith("  ") and line[2:3].strip():
            name = line.split()[0]
            named.add(name.rstrip("/"))
            place = REPOSITORY / "src" / "embedloom" / name
            there = place.is_dir() if name.endswith("/") else place.is_file()
            assert there, f"{name} is in the README, not in the tree"
        elif line.strip() and not line.startswith("  "):
            assert (REPOSITORY / line.split()[0]).exists(), f"{line.split()[0]} is in the README, not in the repository"
    rooms = [path for path in (REPOSITORY / "src" / "embedloom").iterdir() if not path.name.startswith(("_", "."))]
    real = {path.name for path in rooms if path.suffix == ".py" or any(path.glob("*.py"))}
    assert named == real


def test_the_lowest_versions_are_the_declared_bounds() -> None:
    lowest = pins("constraints-lowest.txt")
    declared = {
        canonicalize_name(r.name): Version(next(iter(r.specifier)).version)
        for r in requirements("baselines", "evals", "languages", "openai", "serve")
    }
    assert lowest == declared


def test_every_requirement_admits_the_tested_version() -> None:
    tested = pins("constraints.txt")
    for requirement in requirements(*project()["optional-dependencies"]):
        version = tested[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} excludes the tested {version}"
        assert version.local is None


def test_the_version_stands_in_one_more_place_and_is_the_same() -> None:
    import embedloom

    assert project()["version"] == embedloom.__version__
    assert f"## {embedloom.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md"])
def test_every_make_target_that_a_document_names_is_there(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", (REPOSITORY / name).read_text(encoding="utf-8")))
    assert named <= targets


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"])
def test_links_between_documents_lead_somewhere(document: str) -> None:
    place = REPOSITORY / document
    for page in sorted(place.glob("*.md")) if place.is_dir() else [place]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
