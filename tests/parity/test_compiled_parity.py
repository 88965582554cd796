"""Compiled layers give the vectors and gradients of layers that are not compiled."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from embedloom.model import compiled
from embedloom.model.compiled import COMPILERS, compile_layers, pays_to_compile
from embedloom.model.heap import giving_back_freed_memory
from embedloom.model.packed import use_packed_passes
from embedloom.model.passes import row_vectors
from rank_cases import with_lora
from tiny import model_of

pytestmark = [
    pytest.mark.slow,
    # torch's compiler warns of what it reads itself, and takes a warning that is an error for a layer that won't do.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="needs a C++ compiler"),
]
CPU = torch.device("cpu")
START = list(range(40, 59))
QUERIES = [[*START, *range(5, 5 + length)] for length in (3, 40, 1, 17)]
DOCUMENTS = [[7, 8], [60, *range(30)], [9], list(range(50, 25, -1))]


def gradients(model: torch.nn.Module, rows: list[list[int]]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    vectors = row_vectors(model, rows, pooling="last", pad=0, device=CPU)
    (vectors * torch.arange(vectors.numel()).reshape(vectors.shape).sin()).sum().backward()
    return vectors.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def trained(kind: str) -> torch.nn.Module:
    base = model_of(kind, num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2)
    use_packed_passes(base, CPU)
    return with_lora(base)


def test_compiled_layers_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FIRST_PASSES", 2)
    torch._dynamo.reset()
    plain, fast = trained("gemma3"), trained("gemma3")
    compile_layers(fast)
    counters.clear()
    for rows in (QUERIES, DOCUMENTS):
        (expected, wanted), (found, got) = gradients(plain, rows), gradients(fast, rows)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert got.keys() == wanted.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(
                got[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
            )
    made = counters["stats"]["unique_graphs"]
    assert made > 0
    # One row alone comes too late for code of its own. Passes without a gradient have their own, and come in time.
    for graph, count in ((True, 1), (False, 6)):
        for rows in [[DOCUMENTS[1]], QUERIES, DOCUMENTS][:count] * 2:
            with torch.set_grad_enabled(graph):
                found = row_vectors(fast, rows, pooling="last", pad=0, device=CPU)
                expected = row_vectors(plain, rows, pooling="last", pad=0, device=CPU)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        now = counters["stats"]["unique_graphs"]
        assert now == made if graph else now > made


def test_giving_memory_back_makes_no_code_anew() -> None:
    torch._dynamo.reset()
    model = trained("gemma3")
    compile_layers(model)
    counters.clear()
    expected = [gradients(model, rows) for rows in (QUERIES, DOCUMENTS)]
    made = counters["stats"]["unique_graphs"]
    assert made > 0
    for rows, (vectors, wanted) in zip((QUERIES, DOCUMENTS), expected, strict=True):
        with giving_back_freed_memory():
            found, got = gradients(model, rows)
        assert torch.equal(found, vectors)
        assert all(torch.equal(got[name], gradient) for name, gradient in wanted.items())
    assert counters["stats"]["unique_graphs"] == made


def test_it_pays_in_bfloat16_alone() -> None:
    model = model_of("gemma3")
    assert not pays_to_compile(model.bfloat16())
    use_packed_passes(model, CPU)
    assert pays_to_compile(model)
    assert not pays_to_compile(model.float())
