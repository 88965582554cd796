"""Merging through the command line: the new checkpoint passes `check`; what stands somewhere is not written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import call
from embedloom.model.inputs import contract_for
from embedloom.train.checkpoint import Origin, save_checkpoint
from tiny import model_of, tokenizer_of


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place, tokenizer = tmp_path_factory.mktemp("parents"), tokenizer_of("gemma3")
    for seed in (1, 2):
        origin = Origin("tiny", {"find": "Find it"}, {}, 5)
        save_checkpoint(
            place / str(seed), model_of("gemma3", seed=seed), tokenizer, contract_for(tokenizer, max_length=48), origin
        )
    return [place / "1", place / "2"]


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_check_passes_on_what_comes_out(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    out = tmp_path / "merged"
    answer = call(capsys, "merge", *folders, "--method", method, "--weight", "0.3", "--out", out)
    assert answer.status == 0, answer.error
    identity = answer.out.splitlines()[0].removeprefix("fingerprint: ")
    checked = call(capsys, "check", out)
    assert checked.status == 0, checked.error
    assert f"fingerprint: {identity}" in checked.out
    assert checked.out.count("largest difference") == 2


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("parent", "is one of the models to merge"),
        ("checkpoint", "add --overwrite"),
        ("other", "is there and no checkpoint"),
        ("weights", "3 weights for 2 models"),
        ("one", "expected two or more"),
        ("nowhere", "no embedloom.json here"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, message: str
) -> None:
    out, models, weights = tmp_path / "merged", [*folders], []
    if case == "parent":
        out = folders[0]
    elif case == "checkpoint":
        out.mkdir()
        (out / "embedloom.json").write_text("{}", encoding="utf-8")
    elif case == "other":
        out.mkdir()
    elif case == "weights":
        weights = ["--weight", "1"] * 3
    elif case == "one":
        models.pop()
    else:
        models[1] = tmp_path / "nowhere"
    before = sorted(path.name for path in out.iterdir()) if out.exists() else None
    answer = call(capsys, "merge", *models, *weights, "--out", out)
    assert (answer.status, answer.error.count("\n")) == (2, 1), answer
    assert message in answer.error
    assert (sorted(path.name for path in out.iterdir()) if out.exists() else None) == before
    if case == "checkpoint":
        assert call(capsys, "merge", *models, "--out", out, "--overwrite").status == 0
        assert (out / "model.safetensors").exists()
