"""A base of four bits a weight: refused with a sentence where it can't be, and trained where there is a GPU for it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from embedloom.errors import MissingExtraError, ModelError
from embedloom.model.backbone import load_backbone
from embedloom.model.inputs import contract_for
from embedloom.train.loop import train
from embedloom.train.lora import add_lora, merged
from embedloom.train.state import trained
from tiny import save_tiny, tokenizer_of
from toy_training import EXAMPLES, SETTINGS

CUDA = torch.device("cuda")


def test_without_cuda_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'"qlora" needs a CUDA GPU, and this training would run on cpu; use "lora"'):
        load_backbone(save_tiny(tmp_path), device=torch.device("cpu"), dtype=torch.float32, four_bits=True)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_without_its_package_it_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'embedloom\[qlora\]'"):
        load_backbone(save_tiny(tmp_path), device=CUDA, dtype=torch.float32, four_bits=True)


@pytest.mark.skipif(not torch.cuda.is_available() or find_spec("bitsandbytes") is None, reason="needs a GPU and qlora")
def test_it_learns_and_its_adapter_goes_on_the_whole_base(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "base", hidden_size=64, intermediate_size=128)
    tokenizer = tokenizer_of("llama")
    backbone = load_backbone(folder, device=CUDA, dtype=torch.bfloat16, four_bits=True)
    model = add_lora(backbone, rank=4, alpha=8, dropout=0.0, seed=0)
    logs = train(model, tokenizer, contract_for(tokenizer), EXAMPLES, SETTINGS, tmp_path)
    assert logs[-1].loss < logs[0].loss
    whole = load_backbone(folder, device=torch.device("cpu"), dtype=torch.float32)
    opened = trained(add_lora(whole, rank=4, alpha=8, dropout=0.0, seed=0), tmp_path)
    assert any(bool(p.any()) for name, p in opened.named_parameters() if "lora_B" in name)
    assert next(merged(opened, torch.float32).parameters()).dtype == torch.float32
