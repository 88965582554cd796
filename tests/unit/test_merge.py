"""Merged checkpoints: the arithmetic, tensor by tensor, and what keeps two of them apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from embedloom.errors import ModelError
from embedloom.model.encoder import open_encoder
from embedloom.model.inputs import contract_for
from embedloom.train import merge as merging
from embedloom.train.checkpoint import Origin, save_checkpoint
from embedloom.train.merge import linear, merge, open_parents, shares, slerp
from embedloom.train.weights import Weights, open_weights, write_weights
from tiny import model_of, texts_that_are_hard, tokenizer_of

TEXTS = list(texts_that_are_hard())


def checkpoint(
    folder: Path, seed: int, *, kind: str = "llama", max_length: int = 48, pooling: str = "last", **changes: int
) -> Path:
    tokenizer = tokenizer_of(kind)
    origin = Origin("tiny", {"find": f"Find {seed % 2}", "same": "Match"}, {}, 10 * seed, "Some licence")
    contract = contract_for(tokenizer, max_length=max_length, pooling=pooling)
    save_checkpoint(folder, model_of(kind, seed=seed, **changes), tokenizer, contract, origin)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("parents")
    return [checkpoint(place / name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 3))]


def merged(folders: list[Path], out: Path, *weights: float, method: str = "linear") -> dict[str, torch.Tensor]:
    merge(open_parents(folders, weights), out, method=method)
    return load_file(out / "model.safetensors")


def test_linear_is_the_mean_that_numpy_gives(folders: list[Path], tmp_path: Path) -> None:
    found = merged(folders, tmp_path / "out", 1, 1, 2)
    parents = [load_file(folder / "model.safetensors") for folder in folders]
    assert set(found) == set(parents[0])
    for name, tensor in found.items():
        expected = np.average([parent[name].double().numpy() for parent in parents], axis=0, weights=[1, 1, 2])
        np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6, err_msg=name)
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize("method", ["linear", "slerp"])
@pytest.mark.parametrize("weight", [0, 1])
def test_at_the_ends_stand_the_parents(folders: list[Path], tmp_path: Path, method: str, weight: float) -> None:
    found = merged(folders[:2], tmp_path / "out", weight, method=method)
    parent = folders[0] if weight else folders[1]
    for name, tensor in load_file(parent / "model.safetensors").items():
        assert torch.equal(found[name], tensor)
    ours, theirs = open_encoder(tmp_path / "out", dtype="float32"), open_encoder(parent, dtype="float32")
    np.testing.assert_array_equal(ours.encode_documents(TEXTS), theirs.encode_documents(TEXTS))


TENSORS = st.integers(0, 2**32 - 1).map(lambda seed: torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)))


@settings(deadline=None)
@given(TENSORS, TENSORS, st.floats(0, 1))
def test_slerp_stays_on_the_arc(a: torch.Tensor, b: torch.Tensor, share: float) -> None:
    """Between unit tensors: unit length, and the angles to both ends in proportion."""
    a, b = a / a.norm(), b / b.norm()
    found = slerp(a, b, share).double()
    whole = torch.acos((a.double() * b.double()).sum().clamp(-1, 1))
    if torch.cos(whole).abs() < merging.NEAR_PARALLEL:
        assert float(found.norm()) == pytest.approx(1, abs=1e-5)
        assert float((found * a).sum()) == pytest.approx(float(torch.cos(share * whole)), abs=1e-5)
        assert float((found * b).sum()) == pytest.approx(float(torch.cos((1 - share) * whole)), abs=1e-5)


@settings(deadline=None)
@given(TENSORS, st.floats(0, 1))
def test_slerp_of_a_tensor_and_itself_is_the_tensor(a: torch.Tensor, share: float) -> None:
    assert torch.equal(slerp(a, a, share), a)


def test_nearly_parallel_opposite_and_zero_tensors_go_the_straight_way() -> None:
    a = torch.tensor([1.0, 0.0])
    for b in (torch.tensor([1.0, 0.01]), torch.tensor([-1.0, 0.0]), torch.zeros(2), 3 * a):
        torch.testing.assert_close(slerp(a, b, 0.25), linear([a, b], [0.75, 0.25]))
        assert torch.isfinite(slerp(b, a, 0.5)).all()
    b = torch.tensor([0.0, 2.0])
    torch.testing.assert_close(slerp(a, b, 0.5), torch.tensor([0.5, 1.0]) * 2**0.5)


def test_slerp_of_three_goes_from_the_left(folders: list[Path], tmp_path: Path) -> None:
    found = merged(folders, tmp_path / "out", 0.2, 0.3, 0.5, method="slerp")
    a, b, c = (load_file(folder / "model.safetensors") for folder in folders)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, slerp(slerp(a[name], b[name], 0.6), c[name], 0.5))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((), [1 / 3] * 3), ((0.5, 0.25), [0.5, 0.25, 0.25]), ((2, 1, 1), [0.5, 0.25, 0.25]), ((1, 0), [1, 0, 0])],
)
def test_shares(weights: tuple[float, ...], expected: list[float]) -> None:
    assert shares(weights, 3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((-1, 1, 1), "0 or more"),
        ((float("nan"), 1, 1), "0 or more"),
        ((0, 0, 0), "all weights are 0"),
        ((1,), "1 weights for 3 models"),
        ((1, 1, 1, 1), "4 weights for 3 models"),
        ((0.8, 0.4), "leave -0.2 for the last"),
    ],
)
def test_weights_that_make_no_sense(weights: tuple[float, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        shares(weights, 3)


def test_one_tensor_of_each_parent_at_a_time(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tensor is written before the next one is read."""
    events: list[str] = []
    read, write = Weights.tensor, merging.write_weights

    def reading(self: Weights, name: str) -> torch.Tensor:
        events.append(f"read {name}")
        return read(self, name)

    def writing(path: Path, shapes: dict[str, tuple[int, ...]], tensors: Iterator[tuple[str, torch.Tensor]]) -> None:
        def noted() -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in tensors:
                events.append(f"write {name}")
                yield name, tensor

        write(path, shapes, noted())

    monkeypatch.setattr(Weights, "tensor", reading)
    monkeypatch.setattr(merging, "write_weights", writing)
    told: list[int] = []
    merge(open_parents(folders, ()), tmp_path / "out", method="slerp", progress=told.append)
    names = sorted(load_file(folders[0] / "model.safetensors"))
    assert events == [event for name in names for event in (*[f"read {name}"] * 3, f"write {name}")]
    assert told == [1] * len(names)


def test_weights_in_several_files_and_in_half_precision(tmp_path: Path) -> None:
    parts = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(2.5), "c": torch.empty(0, 4)}
    for name, tensor in parts.items():
        save_file({name: tensor.to(torch.bfloat16)}, tmp_path / f"{name}.safetensors")
    with open_weights(tmp_path) as weights:
        assert weights.shapes == {"a": (), "b": (2, 3), "c": (0, 4)}
        tensors = [(name, weights.tensor(name).float()) for name in weights.shapes]
        write_weights(tmp_path / "whole", weights.shapes, iter(tensors))
    found = load_file(tmp_path / "whole")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {n: t.tolist() for n, t in parts.items()}
    with pytest.raises(AssertionError, match="a tensor is missing"):
        write_weights(tmp_path / "whole", {"a": (), "b": (2, 3)}, iter([("a", parts["a"])]))
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"a\.safetensors can't be read"), open_weights(tmp_path):
        pass


def test_the_new_folder_says_where_it_comes_from(folders: list[Path], tmp_path: Path) -> None:
    parents = open_parents(folders, (0.5, 0.3, 0.2))
    identity = merge(parents, tmp_path / "out", method="linear")
    stored = json.loads((tmp_path / "out" / "embedloom.json").read_text(encoding="utf-8"))
    assert stored["fingerprint"] == identity == open_encoder(tmp_path / "out").fingerprint
    assert identity not in {parent.stored["fingerprint"] for parent in parents}
    assert [parent["weight"] for parent in stored["parents"]] == pytest.approx([0.5, 0.3, 0.2])
    assert (stored["rows"], stored["base"], stored["licence"]) == (60, "tiny", "Some licence")
    assert stored["instructions"] == {"find": "Find 1", "same": "Match", "find-2": "Find 0"}
    prompts = json.loads((tmp_path / "out" / "config_sentence_transformers.json").read_text(encoding="utf-8"))[
        "prompts"
    ]
    assert prompts["find-2"] == "Instruct: Find 0\nQuery: "
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for parent in parents:
        assert f"| {parent.folder} | {parent.weight:.4g} | `{parent.stored['fingerprint']}` |" in card
    assert "Merged by embedloom (linear)" in card
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in folders[0].iterdir()}


def test_half_precision_parents_give_a_float32_model(folders: list[Path], tmp_path: Path) -> None:
    half = tmp_path / "half"
    tokenizer = tokenizer_of("llama")
    model = model_of("llama", seed=5).to(torch.bfloat16)
    save_checkpoint(half, model, tokenizer, contract_for(tokenizer, max_length=48), Origin("tiny", {}, {}, 1))
    found = merged([half, folders[0]], tmp_path / "out", 0.5)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "mistral"}, "their architecture differs in 'architectures'"),
        ({"num_hidden_layers": 1}, "their architecture differs in 'num_hidden_layers'"),
        ({"pooling": "mean"}, "their input contracts differ in 'pooling': last and mean"),
    ],
)
def test_what_differs_is_named(folders: list[Path], tmp_path: Path, change: dict[str, Any], words: str) -> None:
    other = checkpoint(tmp_path / "other", 9, **change)
    with pytest.raises(ModelError, match=words) as raised:
        open_parents([folders[0], other], ())
    assert f"{folders[0]} and {other} can't be merged" in str(raised.value)


def test_of_parents_that_read_to_different_lengths_comes_one_that_reads_the_longest(
    folders: list[Path], tmp_path: Path
) -> None:
    longer = checkpoint(tmp_path / "longer", 9, max_length=64)
    merge(open_parents([folders[0], longer], ()), tmp_path / "out", method="linear")
    encoder = open_encoder(tmp_path / "out")
    assert encoder.contract.max_length == 64
    for name, key in (("tokenizer_config.json", "model_max_length"), ("sentence_bert_config.json", "max_seq_length")):
        assert json.loads((tmp_path / "out" / name).read_text(encoding="utf-8"))[key] == 64
    assert json.loads((tmp_path / "out" / "embedloom.json").read_text(encoding="utf-8"))["rows"] == 10 + 90


def test_another_tokenizer_and_other_tensors_are_named(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedloom.model.fingerprint import fingerprint

    other = Path(shutil.copytree(folders[1], tmp_path / "other"))

    def stamp() -> None:
        stored = json.loads((other / "embedloom.json").read_text(encoding="utf-8"))
        stored["fingerprint"] = fingerprint(other, open_parents(folders[:2], ())[0].contract)
        (other / "embedloom.json").write_text(json.dumps(stored), encoding="utf-8")

    described = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    described["added_tokens"].append({**described["added_tokens"][0], "id": 500, "content": "<extra>"})
    (other / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    stamp()
    with pytest.raises(ModelError, match="their tokenizers differ"):
        open_parents([folders[0], other], ())
    shutil.copyfile(folders[0] / "tokenizer.json", other / "tokenizer.json")
    tensors = load_file(other / "model.safetensors")
    name = sorted(tensors)[0]
    del tensors[name]
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    stamp()
    with pytest.raises(ModelError, match=f"their weights differ in the shape of '{name}'"):
        open_parents([folders[0], other], ())


def test_what_is_no_checkpoint_or_was_changed_is_refused(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected two or more"):
        open_parents(folders[:1], ())
    with pytest.raises(ModelError, match=r"nowhere: no embedloom\.json here"):
        open_parents([folders[0], tmp_path / "nowhere"], ())
    other = Path(shutil.copytree(folders[1], tmp_path / "other"))
    config = (other / "config.json").read_text(encoding="utf-8")
    (other / "config.json").write_text(config + "\n", encoding="utf-8")
    with pytest.raises(ModelError, match="a file was changed after training"):
        open_parents([folders[0], other], ())


def test_sentence_transformers_loads_it_with_our_vectors(folders: list[Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    merged(folders[:2], tmp_path / "out", 0.4, method="slerp")
    ours = open_encoder(tmp_path / "out", dtype="float32")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(theirs.encode(TEXTS), ours.encode_documents(TEXTS), atol=1e-5)
    queries = ours.encode_queries(TEXTS, "Find 0")
    np.testing.assert_allclose(theirs.encode(TEXTS, prompt_name="find-2"), queries, atol=1e-5)
    parent = open_encoder(folders[0], dtype="float32").encode_documents(TEXTS)
    assert np.abs(ours.encode_documents(TEXTS) - parent).max() > 1e-2
