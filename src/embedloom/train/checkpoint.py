"""The checkpoint: a folder that sentence-transformers opens with equal vectors, our contract and fingerprint in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedloom.model.encoder import CHECKPOINT_FILE
from embedloom.model.fingerprint import fingerprint
from embedloom.model.inputs import InputContract, record_contract
from embedloom.run import atomic_folder
from embedloom.train.adapter import ADAPTER, Adapter, save_adapter
from embedloom.train.card import model_card

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_POOLING_NAMES = {"last": "lasttoken", "mean": "mean", "weighted-mean": "weightedmean", "cls": "cls"}
# Readers older than sentence-transformers 5.4 know only these switches, newer ones only the name.
_POOLING_SWITCHES = {
    "last": "pooling_mode_lasttoken",
    "mean": "pooling_mode_mean_tokens",
    "weighted-mean": "pooling_mode_weightedmean_tokens",
    "cls": "pooling_mode_cls_token",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a checkpoint comes from: the base model's name, the instructions by prompt name, and the settings used."""

    base: str
    instructions: Mapping[str, str]
    settings: Mapping[str, Any]
    rows: int
    licence: str = ""


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contract: InputContract,
    origin: Origin,
    *,
    adapter: Adapter | None = None,
) -> str:
    """Writes a merged model with everything that a reader needs, and returns its fingerprint. The folder appears whole.

    Args:
        folder: replaced if it exists.
        model: the backbone with the LoRA weights merged.
        tokenizer: the base's tokenizer; what is written appends EOS by itself.
        contract: the input contract, recorded with the token ids of the probe texts.
        origin: for the model card and `embedloom.json`.
        adapter: the LoRA weights by themselves, for a folder of their own in it.
    """
    with atomic_folder(folder) as scratch:
        model.save_pretrained(scratch)
        _save_tokenizer(scratch, tokenizer, contract)
        _save_sentence_transformers(scratch, model, contract, origin)
        if adapter is not None:
            save_adapter(scratch / ADAPTER, adapter, origin.base)
        identity = fingerprint(scratch, contract)
        stored = {
            "fingerprint": identity,
            "base": origin.base,
            "licence": origin.licence,
            "rows": origin.rows,
            "instructions": dict(origin.instructions),
            "settings": dict(origin.settings),
            "contract": record_contract(tokenizer, contract),
        }
        write_description(scratch, stored)
    return identity


def write_description(folder: Path, stored: Mapping[str, Any]) -> None:
    """Writes `embedloom.json` and the model card that says the same to people."""
    write_json(folder / CHECKPOINT_FILE, dict(stored))
    (folder / "README.md").write_text(model_card(stored), encoding="utf-8")


def prompt_names(instructions: Mapping[str, str], contract: InputContract) -> dict[str, str]:
    """Prompts as sentence-transformers stores them: `query` (the first instruction), each by its name, `document`."""
    prompts = {name: contract.query_text("", instruction) for name, instruction in instructions.items()}
    first = next(iter(prompts.values()), contract.query_text("", ""))
    return {"query": first, **prompts, "document": contract.document_text("")}


def _save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, contract: InputContract) -> None:
    """Writes a tokenizer whose own template puts BOS and EOS: a reader that knows nothing of us gets our ids."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer.save_pretrained(folder)
    ids = [contract.eos] if contract.bos is None else [contract.bos, contract.eos]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    head = [] if contract.bos is None else [f"{tokens[0]}:0"]
    path = folder / "tokenizer.json"
    backend = Tokenizer.from_file(str(path))
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = TemplateProcessing(
        single=[*head, "$A:0", f"{tokens[-1]}:0"],
        pair=[*head, "$A:0", "$B:1", f"{tokens[-1]}:1"],
        special_tokens=list(dict.fromkeys(zip(tokens, ids, strict=True))),
    )
    backend.save(str(path))
    settings_path = folder / "tokenizer_config.json"
    settings = json.loads(settings_path.read_text(encoding="utf-8"))
    # A model's own tokenizer class would put its own template in the place of ours when it is read.
    for key in ("add_bos_token", "add_eos_token", "backend", "is_local", "local_files_only"):
        settings.pop(key, None)
    settings.update(
        tokenizer_class="PreTrainedTokenizerFast",
        model_max_length=contract.max_length,
        padding_side="right",
        truncation_side="right",
        split_special_tokens=True,
        pad_token=tokenizer.pad_token or tokenizer.eos_token,
    )
    write_json(settings_path, settings)


def _save_sentence_transformers(folder: Path, model: PreTrainedModel, contract: InputContract, origin: Origin) -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": contract.max_length, "do_lower_case": False})
    prompts = prompt_names(origin.instructions, contract)
    settings = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", settings)
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    pooling = {
        "word_embedding_dimension": int(model.config.hidden_size),
        "embedding_dimension": int(model.config.hidden_size),
        "pooling_mode": _POOLING_NAMES[contract.pooling],
        **{switch: name == contract.pooling for name, switch in _POOLING_SWITCHES.items()},
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "include_prompt": True,
    }
    write_json(folder / "1_Pooling" / "config.json", pooling)


def write_json(path: Path, value: object) -> None:
    """Writes a value as one of a checkpoint's JSON files."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
