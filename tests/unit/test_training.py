"""The loop learns, resumes to the last digit, refuses another training's state; merged weights are the adapter's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from embedloom.errors import ModelError, RunError
from embedloom.model.encoder import Encoder, open_encoder
from embedloom.model.inputs import contract_for
from embedloom.train.checkpoint import Origin, save_checkpoint
from embedloom.train.engine import Engine
from embedloom.train.loop import Settings, StepLog, train
from embedloom.train.lora import add_lora, averaged, merged, train_all
from embedloom.train.state import STATE_FILE, load_state, save_best, save_state, steps_done
from tiny import model_of, tokenizer_of
from toy_training import EXAMPLES, SETTINGS, figures, toy_training, weights


class Stop(Exception):  # noqa: N818 - what a user does
    """Raised in the middle of a training."""


def test_it_learns_what_can_be_learnt(tmp_path: Path) -> None:
    _, logs = toy_training(tmp_path, dataclasses.replace(SETTINGS, steps=40))
    first, last = (np.mean([log.loss for log in part]) for part in (logs[:4], logs[-4:]))
    assert last < 0.5 * first
    assert [log.step for log in logs] == list(range(40))
    assert all(log.tokens > 0 and log.gradient_norm > 0 for log in logs)


@pytest.mark.parametrize("at", [1, 6, 7, 9])
def test_a_stopped_training_goes_on_to_the_same_digits(tmp_path: Path, at: int) -> None:
    """The state is saved every three steps; what was done behind it is done again."""
    whole, logs = toy_training(tmp_path / "whole")

    def stop(log: StepLog) -> None:
        if log.step == at:
            raise Stop

    with pytest.raises(Stop):
        toy_training(tmp_path / "parts", on_step=stop)
    assert steps_done(tmp_path / "parts") == (at + 1) // 3 * 3
    resumed, again = toy_training(tmp_path / "parts")
    assert figures(again) == figures(logs)
    assert weights(resumed) == weights(whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    model, logs = toy_training(tmp_path)

    def never(log: StepLog) -> None:
        raise AssertionError(log)

    again, same = toy_training(tmp_path, on_step=never)
    assert same == logs
    assert weights(again) == weights(model)


def test_another_trainings_state_is_refused(tmp_path: Path) -> None:
    toy_training(tmp_path)
    with pytest.raises(RunError, match="other data or settings; delete it"):
        toy_training(tmp_path, dataclasses.replace(SETTINGS, learning_rate=0.5))
    with pytest.raises(RunError, match="other data or settings"):
        toy_training(tmp_path, examples=EXAMPLES[1:])


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"PK\x03\x04 a zip file that ends here"])
def test_a_damaged_state_is_refused_with_a_sentence(tmp_path: Path, damage: bytes) -> None:
    toy_training(tmp_path)
    (tmp_path / "state.pt").write_bytes(damage)
    with pytest.raises(RunError, match=r"state\.pt can't be read; delete"):
        toy_training(tmp_path)


def test_the_seed_and_nothing_else_decides(tmp_path: Path) -> None:
    torch.manual_seed(99)
    first, logs = toy_training(tmp_path / "a")
    torch.manual_seed(1)
    second, same = toy_training(tmp_path / "b")
    assert figures(logs) == figures(same)
    assert weights(first) == weights(second)
    other, different = toy_training(tmp_path / "c", dataclasses.replace(SETTINGS, seed=5))
    assert figures(different) != figures(logs)
    assert weights(other) != weights(first)


def test_only_the_adapter_is_trained(tmp_path: Path) -> None:
    before = model_of("llama").state_dict()
    model, _ = toy_training(tmp_path)
    for name, tensor in model.state_dict().items():
        if "lora_" not in name:
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            assert torch.equal(tensor, before[plain]), name
    # Every linear layer of both blocks: four of attention, three of the feed-forward part.
    assert sum("lora_B" in name and bool(tensor.any()) for name, tensor in model.state_dict().items()) == 2 * 7


@pytest.mark.parametrize("kind", ["gemma3", "mistral", "bert", "modernbert"])
def test_merged_weights_give_the_adapters_vectors(tmp_path: Path, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer)
    model = add_lora(model_of(kind), rank=4, alpha=8, dropout=0.1, seed=0)
    train(model, tokenizer, contract, EXAMPLES, SETTINGS, tmp_path / "training")
    texts = [example.query for example in EXAMPLES]
    adapted = Encoder(model, tokenizer, contract, name="a", fingerprint="").encode_queries(texts, "Find it")
    base = Encoder(model_of(kind), tokenizer, contract, name="b", fingerprint="").encode_queries(texts, "Find it")
    assert np.abs(adapted - base).max() > 1e-2
    save_checkpoint(
        tmp_path / "model", merged(model, torch.float32), tokenizer, contract, Origin("tiny", {"q": "Find it"}, {}, 1)
    )
    found = open_encoder(tmp_path / "model", dtype="float32").encode_queries(texts, "Find it")
    np.testing.assert_allclose(found, adapted, atol=1e-5)


def test_settings_are_plain_figures() -> None:
    settings = dataclasses.asdict(Settings(steps=1))
    assert {type(value) for value in [*settings.pop("objective").values(), *settings.values()]} <= {
        int, float, bool, tuple, type(None),
    }  # fmt: skip


def test_averaged_weights_are_the_mean_of_all() -> None:
    models = [model_of("llama", seed=seed) for seed in range(3)]
    expected = [sum(weights) / 3 for weights in zip(*(list(model.parameters()) for model in models), strict=True)]
    mean = models[0]
    for count, model in enumerate(models[1:], 2):
        mean = averaged(mean, model, count)
    for found, right in zip(mean.parameters(), expected, strict=True):
        torch.testing.assert_close(found, right, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "modernbert"])
def test_an_encoder_is_trained_but_for_its_pooler(tmp_path: Path, kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-3)
    contract = contract_for(tokenizer, pooling="mean", prompt="none")
    adapted = add_lora(model_of(kind), rank=4, alpha=8, dropout=0.0, seed=0)
    assert not [name for name, p in adapted.named_parameters() if p.requires_grad and "pooler" in name]
    model = train_all(model_of(kind))
    before = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    logs = train(model, tokenizer, contract, EXAMPLES, settings, tmp_path)
    assert logs[-1].loss < logs[0].loss
    assert not [name for name in before if "pooler" in name]
    changed = [name for name, p in model.named_parameters() if name in before and not torch.equal(p, before[name])]
    assert len(changed) == len(before)


def test_all_weights_can_be_trained(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("qwen3")
    model = train_all(model_of("qwen3"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = dataclasses.replace(SETTINGS, learning_rate=1e-3)
    logs = train(model, tokenizer, contract_for(tokenizer), EXAMPLES, settings, tmp_path)
    assert logs[-1].loss < logs[0].loss
    assert all(
        not torch.equal(tensor, before[name]) for name, tensor in merged(model, torch.float32).state_dict().items()
    )


def test_adapters_go_where_they_are_asked_for() -> None:
    model = add_lora(model_of("llama"), rank=4, alpha=8, dropout=0.0, seed=0, targets=["q_proj", "v_proj"])
    trained = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"q_proj", "v_proj"}
    with pytest.raises(ModelError, match=r"no layer is named .*'query'.*; linear layers are down_proj, gate_proj"):
        add_lora(model_of("llama"), rank=4, alpha=8, dropout=0.0, seed=0, targets=["query"])


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_no_numbers_end_the_training_with_a_sentence(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30, clip=1e30, save_every=1)
    with pytest.raises(RunError, match=r"of step \d+ .*lower train\.learning_rate"):
        toy_training(tmp_path, settings)
    state = load_state(tmp_path)
    if state is not None:
        assert all(bool(copy.isfinite().all()) for copy in state["copies"])


def test_how_the_work_is_cut_can_be_changed_in_the_middle(tmp_path: Path) -> None:
    _, logs = toy_training(tmp_path / "whole", dropout=0.0)

    def stop(log: StepLog) -> None:
        if log.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_training(tmp_path / "parts", dropout=0.0, on_step=stop)
    assert steps_done(tmp_path / "parts") == 3
    other = dataclasses.replace(SETTINGS, save_every=4, token_budget=48, graph_tokens=60)
    _, again = toy_training(tmp_path / "parts", other, dropout=0.0)
    np.testing.assert_allclose([log.loss for log in again], [log.loss for log in logs], atol=1e-5)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    toy_training(tmp_path)
    before = (tmp_path / STATE_FILE).read_bytes()
    engine = Engine(torch.nn.Linear(2, 2), weight_decay=0.0)
    with torch.no_grad():
        engine.master.copies[0][0, 0] = torch.nan
    for save in (lambda: save_state(tmp_path, "", 12, engine), lambda: save_best(tmp_path, 12, engine)):
        with pytest.raises(RunError, match=r"the weights behind step 12 are no numbers; lower train\.learning_rate"):
            save()
    assert (tmp_path / STATE_FILE).read_bytes() == before
    assert not list(tmp_path.glob("best*"))
