"""What a launcher asks for is understood; a heart that stops is noticed, one that takes leave is not missed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from embedloom.cli.several import together
from embedloom.errors import RunError
from embedloom.train.heartbeat import Heartbeat
from embedloom.train.processes import asked_weights, several

FILES = sorted((Path(__file__).parents[2] / "recipes" / "accelerate").glob("*.yaml"))


def asked_by(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets what `accelerate launch` would put into the environment of the processes, for two of them."""
    from accelerate.commands import launch
    from accelerate.utils import launch as environments

    arguments = ["--config_file", str(file), "--num_processes", "2", "-m", "embedloom", "run", "recipe.toml"]
    parsed = launch.launch_command_parser().parse_args(arguments)
    parsed, _, _ = launch._validate_launch_command(parsed)
    if parsed.use_deepspeed:
        parsed.deepspeed_fields_from_accelerate_config = ""
        _, environment = environments.prepare_deepspeed_cmd_env(parsed)
    else:
        environment = environments.prepare_multi_gpu_env(parsed)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_for_accelerate_ask_for_what_their_names_say(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_by(file, monkeypatch)
    assert asked_weights() == {"ddp": "replicated", "fsdp2": "sharded", "zero3": "zero"}[file.stem]


def test_there_is_a_file_for_each_kind() -> None:
    assert [file.stem for file in FILES] == ["ddp", "fsdp2", "zero3"]


def test_sharding_of_the_first_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(RunError, match="needs fsdp_version: 2; see recipes/accelerate/fsdp2.yaml"):
        asked_weights()


def test_one_process_is_alone_whoever_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # Set by a cluster's scheduler, not by a launcher.
    assert not several()
    monkeypatch.setenv("RANK", "0")
    assert several()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not several()
    with together() as processes:
        assert processes is None


def test_a_heart_that_stops_is_noticed_and_told_to_all() -> None:
    from torch.distributed import HashStore

    store, told, said = HashStore(), threading.Event(), []

    def end(what: str) -> None:
        said.append(what)
        if len(said) == 2:
            told.set()

    # Process 2 of 3 never comes.
    for rank in (0, 1):
        Heartbeat(store, rank, 3, silence=0.4, end=end)
    assert told.wait(20)
    assert said == ["process 2 of 3 has not been heard of for 0.4 s"] * 2


def test_who_takes_leave_is_not_missed() -> None:
    from torch.distributed import HashStore

    store, said = HashStore(), []
    hearts = [Heartbeat(store, rank, 3, silence=5.0, end=said.append) for rank in range(3)]
    for heart in reversed(hearts):
        heart.stop()
    assert said == []
    late = Heartbeat(store, 0, 3, silence=0.2, end=said.append)
    threading.Event().wait(1.0)
    late.stop()
    assert said == [], "the others had left"
