"""LoRA layers as one operation against PEFT's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from embedloom.train.lora_linear import LoraLinear, as_one_operation


class TwoLayers(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.one = nn.Linear(12, 20, bias=bias)
        self.two = nn.Linear(20, 7, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))  # type: ignore[no-any-return]


def pair(*, bias: bool = True, **settings: object) -> tuple[nn.Module, nn.Module]:
    """The same adapted layers twice: PEFT's, and as one operation; weights B are not 0, as they are at first."""
    made: list[nn.Module] = []
    for _ in range(2):
        torch.manual_seed(3)
        config = LoraConfig(r=4, lora_alpha=10, target_modules=["one", "two"], init_lora_weights=False, **settings)
        made.append(get_peft_model(TwoLayers(bias=bias), config).double())
    as_one_operation(made[1])
    return made[0], made[1]


def gradients(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    torch.manual_seed(5)
    leaf = x.clone().requires_grad_()
    out = model(leaf)
    out.square().sum().backward()
    yield out.detach()
    assert leaf.grad is not None
    yield leaf.grad
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name
        if parameter.grad is not None:
            yield parameter.grad


@pytest.mark.parametrize("shape", [(12,), (5, 12), (3, 5, 12), (0, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_vectors_and_gradients_are_those_of_peft(shape: tuple[int, ...], bias: bool) -> None:
    theirs, ours = pair(bias=bias)
    x = torch.randn(shape, dtype=torch.float64)
    for expected, found in zip(gradients(theirs, x), gradients(ours, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_operation_is_ours_and_its_gradient_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = pair()
    x = torch.randn(2, 12, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(Linear, "forward", None)  # Calling it would fail.
    assert torch.autograd.gradcheck(lambda x: ours(x), (x,))


@pytest.mark.parametrize(
    "settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}, {"use_rslora": True}]
)
def test_what_is_not_plain_is_as_in_peft(settings: dict[str, object]) -> None:
    theirs, ours = pair(**settings)
    x = torch.randn(5, 12, dtype=torch.float64)
    for expected, found in zip(gradients(theirs, x), gradients(ours, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_merged_and_disabled_adapters_and_a_second_one_are_as_in_peft() -> None:
    theirs, ours = pair()
    x = torch.randn(5, 12, dtype=torch.float64)
    for model in (theirs, ours):
        torch.manual_seed(9)
        model.add_adapter("second", LoraConfig(r=2, target_modules=["one"], init_lora_weights=False))  # type: ignore[operator]
        model.double()
    for does in ("second", "both", "disabled", "merged"):
        outs = []
        for model in (theirs, ours):
            if does == "disabled":
                with model.disable_adapter():  # type: ignore[operator]
                    outs.append(model(x))
                continue
            if does == "merged":
                model.set_adapter("default")  # type: ignore[operator]
                model.merge_adapter()  # type: ignore[operator]
            else:
                model.base_model.set_adapter(["default", "second"] if does == "both" else "second")  # type: ignore[operator, union-attr]
            outs.append(model(x))
        torch.testing.assert_close(outs[1], outs[0], rtol=1e-12, atol=1e-12, msg=does)


def test_layers_that_are_not_peft_s_plain_ones_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Embedding(4, 3))
    as_one_operation(model)
    assert [type(part) for part in model] == [nn.Linear, nn.Embedding]
    assert all(type(part) is LoraLinear for part in pair()[1].modules() if isinstance(part, Linear))
