"""The fingerprint of a model: a hash of what determines its vectors, whatever the folder is called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from embedloom.errors import ModelError
from embedloom.records import content_id
from embedloom.run import file_hash

if TYPE_CHECKING:
    from embedloom.model.inputs import InputContract

_DECIDING = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer.model", "vocab.txt", "modules.json")


def fingerprint(folder: Path, contract: InputContract | None) -> str:
    """Hash of weights, configuration, tokenizer and contract: 16 hexadecimal digits. A copied folder has the same.

    Raises:
        ModelError: there are no safetensors weights in the folder.
    """
    files = sorted({file for pattern in _DECIDING for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        raise ModelError(f"{folder}: no *.safetensors weights in this folder; save the model with save_pretrained")
    parts = [(file.name, file_hash(file)) for file in files]
    return content_id("fingerprint", parts, None if contract is None else _deciding(contract))


def _deciding(contract: InputContract) -> dict[str, object]:
    """The contract as it was first written down, when instructions were there or not, and what it says beyond that:
    vectors that do not change must keep their fingerprint, or every index of them would be refused."""
    fields = dataclasses.asdict(contract)
    prompt = fields.pop("prompt")
    fields["instructed"] = contract.instructed
    return fields if prompt in ("instruction", "none") else {**fields, "prompt": prompt}
