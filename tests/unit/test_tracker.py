"""What viewers are told of a training, with TensorBoard's own reader and a stand-in for trackio."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedloom.errors import MissingExtraError
from embedloom.train.development import Measurement
from embedloom.train.loop import StepLog
from embedloom.train.tracker import track_measurement, track_step, tracker

WORDS: dict[str, Any] = {"project": "lakes", "name": "lakes-1", "settings": {"epochs": 1.0}}
LOGS = [StepLog(step, 1.0 / (step + 1), 2.0, 1e-3, tokens=100 * (step + 1), seconds=2.0) for step in range(4)]


def tracked(kind: str, folder: Path, *, done: int = 0, until: int = 4) -> None:
    with tracker(kind, folder, done=done, **WORDS) as to:
        for log in LOGS[done:until]:
            track_step(to, log)
        track_measurement(to, Measurement(until, 0.5, {"lakes": 0.4, "seas": 0.6}))


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: [(event.step, round(event.value, 6)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tensorboard_has_every_figure_of_every_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracked("tensorboard", tmp_path)
    found = read(tmp_path)
    assert found["train/loss"] == [(1, 1.0), (2, 0.5), (3, 0.333333), (4, 0.25)]
    assert found["train/tokens_per_second"] == [(1, 50.0), (2, 100.0), (3, 150.0), (4, 200.0)]
    assert found["train/gradient_norm"][0] == (1, 2.0)
    assert found["train/learning_rate"][0] == (1, 0.001)
    assert {name: found[name] for name in found if name.startswith("dev/")} == {
        "dev/mean": [(4, 0.5)], "dev/lakes": [(4, 0.4)], "dev/seas": [(4, 0.6)],
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_steps_that_are_done_again_stand_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracked("tensorboard", tmp_path, until=3)
    tracked("tensorboard", tmp_path, done=2)
    assert [step for step, _ in read(tmp_path)["train/loss"]] == [1, 2, 3, 4]


def test_trackio_goes_on_with_the_run_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[Any] = []

    def init(**words: Any) -> Any:
        print("* Trackio project initialized")
        said.append(words)
        return SimpleNamespace(log=lambda figures, step: said.append((step, figures)))

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=init, finish=lambda: said.append("finished")))
    tracked("trackio", tmp_path, done=3)
    words, step, measured, last = said
    assert (words["project"], words["name"], words["resume"], words["embed"]) == ("lakes", "lakes-1", "allow", False)
    assert words["config"] == {"epochs": 1.0}
    assert step[0] == 4
    assert step[1]["train/loss"] == 0.25
    assert measured == (4, {"dev/mean": 0.5, "dev/lakes": 0.4, "dev/seas": 0.6})
    assert last == "finished"
    out, error = capsys.readouterr()
    assert out == ""
    assert "initialized" in error


@pytest.mark.parametrize(("kind", "package"), [("tensorboard", "torch.utils.tensorboard"), ("trackio", "trackio")])
def test_a_missing_viewer_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{kind} is not installed; run: pip install 'embedloom\[{kind}\]'"):
        tracked(kind, tmp_path)


def test_nothing_is_kept_where_nobody_watches(tmp_path: Path) -> None:
    tracked("none", tmp_path)
    assert list(tmp_path.iterdir()) == []
