"""Long inputs: attention in blocks gives the same states, and positions are changed and put back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedloom.errors import ModelError
from embedloom.model import packed
from embedloom.model.attention import BLOCK, NAME, use_windowed_attention, windowed_attention
from embedloom.model.backbone import hidden_states, pad_batch
from embedloom.model.encoder import open_encoder
from embedloom.model.positions import Positions, changed_positions, positions_of
from tiny import KINDS, WINDOW, model_of, save_tiny

CPU = torch.device("cpu")


def states(model: torch.nn.Module, lengths: tuple[int, ...] = (90, 37)) -> list[np.ndarray]:
    """The states of each row's own tokens."""
    rows = [[5 + (7 * place) % 400 for place in range(length)] for length in lengths]
    ids, mask = pad_batch(rows, 0, CPU)
    with torch.inference_mode():
        found = hidden_states(model, ids, mask)
    return [found[row, :length].numpy() for row, length in enumerate(lengths)]


@pytest.mark.parametrize("kind", KINDS)
def test_attention_in_blocks_gives_the_same_states(kind: str) -> None:
    model = model_of(kind)
    plain = states(model)
    use_windowed_attention(model)
    for ours, theirs in zip(states(model), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("length", [WINDOW - 1, WINDOW, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
def test_blocks_meet_without_a_seam(length: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, 8) for heads in (4, 2, 2))
    found, weights = windowed_attention(torch.nn.Identity(), query, key, value, None, sliding_window=WINDOW)
    behind = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    key, value = key.repeat_interleave(2, dim=1), value.repeat_interleave(2, dim=1)
    scores = (query @ key.transpose(2, 3) / 8**0.5).masked_fill((behind < 0) | (behind >= WINDOW), -torch.inf)
    np.testing.assert_allclose(found, (scores.softmax(-1) @ value).transpose(1, 2), atol=1e-5)
    assert weights is None


@pytest.mark.parametrize("window", [None, 5, 64])
def test_queries_may_stand_behind_keys_of_an_earlier_pass(window: int | None) -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 2, 40, 8) for _ in range(3))
    whole, _ = windowed_attention(torch.nn.Identity(), query, key, value, None, sliding_window=window)
    later, _ = windowed_attention(torch.nn.Identity(), query[:, :, 29:], key, value, None, sliding_window=window)
    np.testing.assert_allclose(later, whole[:, 29:], atol=1e-6)


def test_no_mask_of_length_times_length_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def watched(*arguments: torch.Tensor, attn_mask: torch.Tensor | None = None, **more: object) -> torch.Tensor:
        sizes.append(0 if attn_mask is None else attn_mask.numel())
        return plain(*arguments, attn_mask=attn_mask, **more)

    model = model_of("gemma3")
    use_windowed_attention(model)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    states(model, (4000,))
    assert 0 < max(sizes) <= BLOCK * (BLOCK + WINDOW)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_of_long_inputs_gives_the_same_vectors(kind: str, tmp_path: Path) -> None:
    """Queries of one instruction share the pass of their beginning, whose keys then stand before theirs."""
    folder = save_tiny(tmp_path / kind, kind)
    short, long = (open_encoder(folder, dtype="float32", max_length=length) for length in (400, 3000))
    assert [one.backbone.config._attn_implementation for one in (short, long)] == [packed.NAME, NAME]
    texts = ["red fox " * count for count in (1, 4, 25, 60)]
    instruction = "Given a long question, retrieve the passages that answer it, whatever their length may be"
    for one, other in (
        (short.encode_queries(texts, instruction), long.encode_queries(texts, instruction)),
        (short.encode_documents(texts), long.encode_documents(texts)),
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_model_that_looks_ahead_is_refused() -> None:
    model = model_of("gemma3", use_bidirectional_attention=True)
    with pytest.raises(ModelError, match="both directions"):
        use_windowed_attention(model)


CHANGES = {
    "gemma3": Positions(base=2e4, local_base=500.0, window=8),
    "llama": Positions(base=5e5, scaling="linear", factor=4.0),
    "qwen3": Positions(scaling="yarn", factor=2.0),
    "mistral": Positions(base=1e3, window=5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_that_of_the_configuration_and_is_put_back(kind: str) -> None:
    change = CHANGES[kind]
    model = model_of(kind)
    own, before = positions_of(model), states(model)
    with changed_positions(model, change) as inside:
        changed = states(model)
    assert np.abs(changed[0] - before[0]).max() > 1e-3
    np.testing.assert_array_equal(states(model)[0], before[0])
    assert positions_of(model) == own
    for name in ("base", "local_base", "scaling", "factor", "window"):
        wanted = getattr(change, name)
        assert getattr(inside, name) == (wanted if wanted is not None else getattr(own, name))
    # The same model made with that configuration has the same states.
    made = model_of(kind, **settings_of(kind, change))
    np.testing.assert_allclose(states(made)[0], changed[0], atol=1e-5)


def settings_of(kind: str, change: Positions) -> dict[str, object]:
    main: dict[str, object] = {"rope_type": "default", "rope_theta": change.base or 10_000.0}
    if change.scaling:
        main |= {"rope_type": change.scaling, "factor": change.factor}
    if change.scaling == "yarn":
        main["original_max_position_embeddings"] = 512
    window = {"sliding_window": change.window} if change.window else {}
    if kind == "gemma3":
        local = {"rope_type": "default", "rope_theta": change.local_base}
        return {"rope_parameters": {"full_attention": main, "sliding_attention": local}, **window}
    return {"rope_parameters": main, **window}


def test_the_bases_of_local_and_global_layers_are_apart() -> None:
    model = model_of("gemma3", layer_types=["sliding_attention", "sliding_attention"])
    before = states(model)
    with changed_positions(model, Positions(base=77.0)):
        np.testing.assert_array_equal(states(model)[0], before[0])
    with changed_positions(model, Positions(local_base=77.0)):
        assert np.abs(states(model)[0] - before[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("llama", Positions(local_base=1e4), "one rotary base for all layers"),
        ("llama", Positions(window=8), "no layer of this llama model has a sliding window"),
        ("qwen3", Positions(window=8), "no layer of this qwen3 model has a sliding window"),
        ("mistral", Positions(window=0), "window 0: expected a number of at least 1"),
        ("llama", Positions(base=float("nan")), "base nan: expected a number of at least 1"),
        ("llama", Positions(scaling="linear"), "expected one of linear, dynamic, yarn and a factor"),
        ("llama", Positions(scaling="odd", factor=2.0), "expected one of linear, dynamic, yarn and a factor"),
    ],
)
def test_a_change_that_the_model_has_no_place_for_is_refused(kind: str, change: Positions, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence), changed_positions(model_of(kind), change):
        pass


def test_labels_say_what_was_changed() -> None:
    assert Positions().label == "as trained"
    assert CHANGES["gemma3"].label == "base 20,000, local base 500, window 8"
    assert CHANGES["llama"].label == "base 500,000, linear x 4"
