"""Every example runs: those of other frameworks against a real server, the others on a tiny model."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embedloom.serve.app import make_app
from embedloom.serve.service import Service
from live import live
from tiny import save_tiny
from word_embedder import WordEmbedder

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVED = {
    "langchain_search": ("langchain_openai", "langchain_core"),
    "llama_index_search": ("llama_index.core",),
    "haystack_search": ("haystack",),
}
LOCAL = {"bitext_mining", "near_duplicates"}


def example(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def server() -> Iterator[tuple[str, WordEmbedder]]:
    embedder = WordEmbedder()
    with live(make_app(Service(embedder))) as address:
        yield f"{address}/v1", embedder


def test_every_example_is_listed_and_run() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(SERVED) | LOCAL
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"[{name}.py]({name}.py)" in listed for name in names)


# Deprecations of the frameworks among each other are theirs.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(SERVED))
def test_frameworks_search_with_the_served_model(
    name: str, server: tuple[str, WordEmbedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    for package in SERVED[name]:
        pytest.importorskip(package)
    address, embedder = server
    module = example(name)
    first, second = module.search(address, "red foxes", instruction="Find the animal")
    assert first[0] == "red foxes jump over fences"
    cosine = embedder.encode_documents(module.TEXTS) @ embedder.encode_queries(["red foxes"], "")[0]
    assert [first[1], second[1]] == pytest.approx(sorted(cosine, reverse=True)[:2], abs=1e-4)
    asked = {(role, instruction) for role, instruction, _ in embedder.asked}
    assert ("query", "Find the animal") in asked
    assert ("document", "") in asked


def test_translations_are_found_among_others() -> None:
    first = ["boote warten auf wind", "rote füchse springen", "niemand übersetzt dies"]
    second = ["red foxes jump", "boats wait for wind", "stone and bread"]
    known = {"boote warten auf wind": "boats wait for wind", "rote füchse springen": "red foxes jump"}

    class Bilingual(WordEmbedder):
        def encode_queries(self, texts: Any, instruction: str, **settings: Any) -> Any:
            return super().encode_queries([known.get(text, text) for text in texts], instruction, **settings)

    found = list(example("bitext_mining").mined(Bilingual(), first, second, margin=1.3))
    assert {(one, other) for _, one, other in found} == set(known.items())


def test_texts_that_say_the_same_are_grouped() -> None:
    texts = ["red fox jumps", "boats wait", "jumps red fox", "stone", "wait boats", "fox jumps red high"]
    groups = example("near_duplicates").duplicates(WordEmbedder(), texts, threshold=0.8)
    assert groups == [[0, 2, 5], [1, 4]]


def test_a_model_folder_does_too(tmp_path: Path) -> None:
    from embedloom.cli.opening import open_embedder

    embedder = open_embedder(str(save_tiny(tmp_path / "model")))
    assert example("near_duplicates").duplicates(embedder, ["red fox", "boats", "red fox"], threshold=0.9999) == [
        [0, 2]
    ]
    found = list(example("bitext_mining").mined(embedder, ["red fox", "boats"], ["boats", "red fox"], margin=0.0))
    assert {(one, other) for _, one, other in found} == {("red fox", "red fox"), ("boats", "boats")}
