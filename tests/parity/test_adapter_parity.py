"""The adapter beside the merged weights: PEFT opens it on the base, and the vectors are the checkpoint's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from embedloom.model.backbone import load_backbone
from embedloom.model.encoder import Encoder, open_encoder
from embedloom.model.inputs import contract_for
from embedloom.train.adapter import ADAPTER, adapter_of, averaged_adapter
from embedloom.train.checkpoint import Origin, save_checkpoint
from embedloom.train.lora import add_lora, averaged, merged
from tiny import model_of, save_tiny, tokenizer_of
from toy_training import EXAMPLES

TEXTS = [example.positives[0] for example in EXAMPLES]


def tuned(kind: str, seed: int, targets: str | list[str] = "all-linear") -> object:
    """A model whose LoRA weights are none of them zero."""
    model = add_lora(model_of(kind), rank=4, alpha=8, dropout=0.1, seed=seed, targets=targets)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2, generator=generator)
    return model


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize(("kind", "targets"), [("gemma3", "all-linear"), ("qwen3", ["q_proj", "v_proj"])])
@pytest.mark.parametrize("runs", [1, 3])
def test_peft_on_the_base_has_the_checkpoints_vectors(
    tmp_path: Path, kind: str, targets: str | list[str], runs: int
) -> None:
    from peft import PeftModel

    tokenizer = tokenizer_of(kind)
    contract = contract_for(tokenizer)
    adapters, whole = [], None
    for seed in range(runs):
        model = tuned(kind, seed, targets)
        adapters.append(adapter_of(model))
        one = merged(model, torch.float32)
        whole = one if whole is None else averaged(whole, one, seed + 1)
    origin = Origin("hub:organisation/base", {"query": "Find it"}, {}, 1)
    folder = tmp_path / "model"
    save_checkpoint(folder, whole, tokenizer, contract, origin, adapter=averaged_adapter(adapters))
    expected = open_encoder(folder, dtype="float32").encode_documents(TEXTS)

    base = load_backbone(save_tiny(tmp_path / "base", kind), device=torch.device("cpu"), dtype=torch.float32)
    untuned = Encoder(base, tokenizer, contract, name="", fingerprint="").encode_documents(TEXTS)
    opened = PeftModel.from_pretrained(base, str(folder / ADAPTER)).eval()
    found = Encoder(opened, tokenizer, contract, name="", fingerprint="").encode_documents(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(untuned - expected).max() > 1e-2

    config = json.loads((folder / ADAPTER / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == ("organisation/base", 4 * runs, 8)
    assert config["inference_mode"] is True


def test_readers_of_the_checkpoint_see_the_merged_model(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    tokenizer = tokenizer_of("llama")
    model = tuned("llama", 0)
    adapter = adapter_of(model)
    folder = tmp_path / "model"
    origin = Origin("tiny", {"query": "Find it"}, {}, 1)
    save_checkpoint(folder, merged(model, torch.float32), tokenizer, contract_for(tokenizer), origin, adapter=adapter)
    ours = open_encoder(folder, dtype="float32").encode_documents(TEXTS)
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(TEXTS)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
