"""Names of data sets: paths, hub names, and lists of which the first that is there counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedloom.data.sources import data_path
from embedloom.errors import DataError


def test_paths_with_and_without_scheme(tmp_path: Path) -> None:
    assert data_path(str(tmp_path)) == data_path(f"path:{tmp_path}") == tmp_path
    assert data_path(["path:nowhere", str(tmp_path), "hub:not/asked"]) == tmp_path


def test_of_several_that_are_not_there_each_is_named() -> None:
    with pytest.raises(DataError, match=r"none of the data sets is there: a: no such file or folder; b: no such"):
        data_path(["a", "path:b"])
    with pytest.raises(DataError, match="hub:a/b/c is not a repository name"):
        data_path("hub:a/b/c")


def test_a_hub_data_set_is_taken_from_the_cache_or_the_sentence_says_what_else_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[tuple[str, str]] = []

    def there(name: str, *, repo_type: str, **_: object) -> str:
        asked.append((name, repo_type))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", there)
    assert data_path("hub:a/b") == tmp_path
    assert asked == [("a/b", "dataset")]

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(DataError, match=r"hub:a/b is not in the local cache .*--repo-type dataset a/b.* path:FOLDER"):
        data_path("hub:a/b")

    def full(*_: object, **__: object) -> str:
        raise OSError("no space left\non the disk")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(DataError, match=r"hub:a/b can't be fetched: no space left$"):
        data_path("hub:a/b")
