"""Names of models and of language models: what they lead to, and the sentence where they lead nowhere."""

from __future__ import annotations

import importlib.metadata
from fnmatch import fnmatch
from pathlib import Path

import pytest

from embedloom.errors import DataError, MissingExtraError, ModelError
from embedloom.llm.names import open_llm
from embedloom.model import registry
from embedloom.model.names import model_folder
from embedloom.model.registry import REGISTRY, RegistryModel, licence_of, registry_folder
from embedloom.run import file_hash

SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "batch_size": 4}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry model `tiny` whose package is a folder with a weights file; the cache is a folder of the test."""
    source = tmp_path / "package" / "model"
    source.mkdir(parents=True)
    (source / "model.safetensors").write_bytes(b"weights")
    (source / "config.json").write_text("{}", encoding="utf-8")
    model = RegistryModel(
        name="tiny",
        package="tiny-package",
        version="1.0",
        sha256=file_hash(source / "model.safetensors", "sha256"),
        extra="tinyextra",
        licence="Tiny: CC0",
        locate=lambda _: source,
        weights="model.safetensors",
    )
    monkeypatch.setitem(REGISTRY, "tiny", model)
    monkeypatch.setenv("EMBEDLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.0")
    return source


def test_a_registry_model_is_made_ready_once(package: Path) -> None:
    said: list[str] = []
    folder = model_folder("registry:tiny", said.append)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    before = (folder / "config.json").stat().st_ino
    assert model_folder("registry:tiny", said.append) == folder
    assert (folder / "config.json").stat().st_ino == before
    assert len(said) == 1
    assert said[0].endswith("Tiny: CC0")
    assert licence_of("registry:tiny") == "Tiny: CC0"
    assert licence_of("tiny") == licence_of("hub:tiny/tiny") == ""
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted([folder.name, f"{folder.name}.lock"])


def test_what_a_killed_process_left_in_the_cache_goes(package: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".tiny-abc123" / "ready"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"weig")
    folder = registry_folder("tiny")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert not left.exists()


def test_a_missing_package_names_the_extra(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(
        MissingExtraError, match=r"tiny-package is not installed; run: pip install 'embedloom\[tinyextra\]'"
    ):
        registry_folder("tiny")


def test_another_version_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.1")
    with pytest.raises(ModelError, match=r"tiny-package 1\.1 is installed, .* pinned to 1\.0; .*tiny-package==1\.0"):
        registry_folder("tiny")


def test_another_file_is_refused_and_nothing_is_left(package: Path, tmp_path: Path) -> None:
    (package / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"model\.safetensors of tiny-package has SHA-256 .*--force-reinstall"):
        registry_folder("tiny")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_package_whose_files_are_gone_says_so(package: Path) -> None:
    with pytest.raises(ModelError, match="files are gone; install it again"):
        registry._package_folder("no_such_module_here")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("registry:nothing", "no registry model 'nothing'; there are gemma3-270m, minilm"),
        ("ftp:model", "unknown scheme 'ftp'; expected registry:, hub: or path:"),
        ("no-such-folder", "no model folder 'no-such-folder'"),
        ("path:no-such-folder", "no model folder"),
        ("gemma3-270m", "such as registry:gemma3-270m or hub:"),
        ("hub:not/a/name", "not a repository name"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model_folder(name)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json in this folder"):
        model_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert model_folder(f"path:{tmp_path}") == model_folder(str(tmp_path)) == tmp_path


def test_a_hub_model_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match="hub:a/b is not in the local cache .*hf download a/b"):
        model_folder("hub:a/b")


@pytest.mark.parametrize("name", ["", "gpt", "scripted:", "local:", "openai:"])
def test_language_models_that_are_unknown(name: str) -> None:
    with pytest.raises(ModelError, match="no language model .*; expected local:"):
        open_llm(name, **SAMPLING)


def test_a_scripted_language_model(tmp_path: Path) -> None:
    from embedloom.records import Prompt

    path = tmp_path / "replies.jsonl"
    path.write_text(
        '{"text": "one"}\n{"text": "two", "finish": "length"}\n{"prompt_id": "c", "text": "three"}\n', "utf-8"
    )
    llm = open_llm(f"scripted:{path}", **SAMPLING)
    asked = [Prompt(name, n, "f", "t", "a b", " c") for n, name in enumerate("abcd")]
    replies = [reply for group in llm.generate(asked, seed=0) for reply in group]
    assert [(r.prompt_id, r.text, r.finish) for r in replies] == [
        ("a", "one", "stop"),
        ("b", "two", "length"),
        ("c", "three", "stop"),
        ("d", "two", "length"),
    ]
    assert (llm.style, llm.name, replies[0].input_tokens) == ("chat", "scripted:replies.jsonl", 3)
    path.write_text('{"text": "one"}\n{"reply": "two"}\n', "utf-8")
    with pytest.raises(DataError, match=r"replies\.jsonl:2: key 'text' is missing"):
        open_llm(f"scripted:{path}", **SAMPLING)
    path.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="no replies"):
        open_llm(f"scripted:{path}", **SAMPLING)


def test_a_local_language_model_by_its_folder(tmp_path: Path) -> None:
    from embedloom.records import Prompt
    from tiny import save_tiny

    llm = open_llm(f"local:path:{save_tiny(tmp_path / 'm', 'qwen3')}", dtype="float32", **SAMPLING)
    asked = [Prompt("a", 0, "f", "t", "", "the sea", max_new_tokens=3)]
    ((reply,),) = llm.generate(asked, seed=0)
    assert reply.output_tokens <= 3
    assert llm.style == "base"
    (tmp_path / "m" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no causal language model that can be read"):
        open_llm(f"local:path:{tmp_path / 'm'}", **SAMPLING)


def test_a_hub_models_weights_are_not_fetched_where_nobody_wants_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: list[object] = []

    def fetched(*_: object, allow_patterns: object, **__: object) -> str:
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    assert model_folder("hub:a/b") == model_folder("hub:a/b", weights=False) == tmp_path
    assert asked[0] is None
    patterns = asked[1]
    assert isinstance(patterns, list)
    wanted = ["config.json", "tokenizer.json", "tokenizer.model", "vocab.txt", "model.safetensors"]
    assert [any(fnmatch(name, pattern) for pattern in patterns) for name in wanted] == [True] * 4 + [False]
