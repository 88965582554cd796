"""Merging checkpoints: the weighted mean of their weights, or the point between them on the sphere, tensor by tensor.

`linear` is model soup (arXiv 2203.05482); `slerp` is Shoemake's spherical interpolation of each tensor as one vector.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedloom.errors import ContractError, ModelError
from embedloom.model.backbone import load_tokenizer
from embedloom.model.encoder import CHECKPOINT_FILE, read_checkpoint_file
from embedloom.model.fingerprint import fingerprint
from embedloom.model.inputs import InputContract, read_contract
from embedloom.run import atomic_folder
from embedloom.train.checkpoint import prompt_names, write_description, write_json
from embedloom.train.weights import Weights, open_weights, write_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from embedloom.records import Progress

METHODS = ("linear", "slerp")
NEAR_PARALLEL = 0.9995
"""Cosine of two tensors from which slerp is a straight line: the angle is too small to divide by its sine."""
_FREE = ("dtype", "torch_dtype", "transformers_version", "_name_or_path", "use_cache")
"""Keys of config.json that say nothing about the architecture."""


@dataclass(frozen=True)
class Parent:
    """A checkpoint to merge: its folder, what `embedloom.json` says, and its share."""

    folder: Path
    stored: dict[str, Any]
    tokenizer: PreTrainedTokenizerBase
    contract: InputContract
    weight: float
    shapes: dict[str, tuple[int, ...]]


def open_parents(folders: Sequence[Path], weights: Sequence[float]) -> list[Parent]:
    """The checkpoints to merge, each found whole, and all of one architecture, tokenizer and input contract.

    How long a text they read may differ: it says where the text is cut and not how the rest is read.

    Args:
        folders: two or more.
        weights: as for `shares`.

    Raises:
        ModelError: a folder is no checkpoint or was changed after training, two differ (the part is named), or the
            weights make no sense.
    """
    if len(folders) < 2:
        raise ModelError(f"{len(folders)} model to merge; expected two or more")
    parents = [_open(folder, share) for folder, share in zip(folders, shares(weights, len(folders)), strict=True)]
    for other in parents[1:]:
        if (part := _difference(parents[0], other)) is not None:
            raise ModelError(f"{parents[0].folder} and {other.folder} can't be merged: {part}")
    return parents


def merge(parents: Sequence[Parent], out: Path, *, method: str, progress: Progress | None = None) -> str:
    """Merges checkpoints into a new one, which appears whole, and returns its fingerprint.

    Arithmetic is in float32, and so is what is written. One tensor of each parent is in memory at a time. What is not
    weights comes from the first parent of those that read the longest texts, the instructions from all.

    Args:
        parents: as `open_parents` found them.
        out: replaced if it exists.
        method: `linear`, or `slerp`; slerp of more than two goes pair by pair from the left.
        progress: told of tensors.
    """
    assert method in METHODS, method
    first = max(parents, key=lambda parent: parent.contract.max_length)
    instructions = _instructions(parents)
    with ExitStack() as stack, atomic_folder(out) as scratch:
        opened = [stack.enter_context(open_weights(parent.folder)) for parent in parents]
        _copy_description(first.folder, scratch)
        merged = _merged(opened, [parent.weight for parent in parents], method, progress)
        write_weights(scratch / "model.safetensors", first.shapes, merged)
        _set_prompts(scratch, instructions, first.contract)
        identity = fingerprint(scratch, first.contract)
        write_description(scratch, _description(parents, first.stored["contract"], method, instructions, identity))
    return identity


def shares(weights: Sequence[float], count: int) -> list[float]:
    """The share of each of `count` models: as given, in proportion; none are equal shares; one fewer leaves the rest.

    Raises:
        ModelError: a wrong number of weights, a negative one, or nothing to share.
    """
    given = list(weights)
    if any(not math.isfinite(weight) or weight < 0 for weight in given):
        raise ModelError(f"weights are {given}; expected numbers of 0 or more")
    if not given:
        given = [1.0] * count
    elif len(given) == count - 1:
        if sum(given) > 1:
            raise ModelError(f"{len(given)} weights for {count} models leave {1 - sum(given):g} for the last; give all")
        given.append(1 - sum(given))
    if len(given) != count:
        raise ModelError(f"{len(given)} weights for {count} models; give one each, or leave out the last")
    whole = sum(given)
    if not whole:
        raise ModelError("all weights are 0; expected one above 0")
    return [weight / whole for weight in given]


def linear(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of float32 tensors; weights add up to 1."""
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor, alpha=weight)
    return total


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The point at `share` of the way from `a` to `b` on the arc between their directions; float32, any shape.

    Where they are nearly parallel, or one is 0, the straight line is taken.
    """
    lengths = [float(torch.linalg.vector_norm(x, dtype=torch.float64)) for x in (a, b)]
    product = lengths[0] * lengths[1]
    cosine = float(torch.sum(a * b, dtype=torch.float64)) / product if product else 1.0
    if abs(cosine) > NEAR_PARALLEL:
        return torch.lerp(a, b, share)
    angle = math.acos(cosine)
    return linear([a, b], [math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)])


def _merged(
    opened: Sequence[Weights], weights: Sequence[float], method: str, progress: Progress | None
) -> Iterator[tuple[str, Tensor]]:
    # A share of 0 adds nothing, not even the NaN that 0 x infinity would be.
    parts = [(reader, weight) for reader, weight in zip(opened, weights, strict=True) if weight]
    for name in opened[0].shapes:
        if method == "linear" or len(parts) == 1:
            tensors = [reader.tensor(name).float() for reader, _ in parts]
            yield name, linear(tensors, [weight for _, weight in parts]) if len(parts) > 1 else tensors[0]
        else:
            reader, whole = parts[0]
            tensor = reader.tensor(name).float()
            for reader, weight in parts[1:]:
                whole += weight
                tensor = slerp(tensor, reader.tensor(name).float(), weight / whole)
            yield name, tensor
        if progress is not None:
            progress(1)


def _open(folder: Path, weight: float) -> Parent:
    stored = read_checkpoint_file(folder) if folder.is_dir() else None
    if stored is None:
        expected = "expected the model folder of a run, such as runs/quickstart/model"
        raise ModelError(f"{folder}: no {CHECKPOINT_FILE} here; {expected}")
    tokenizer = load_tokenizer(folder)
    try:
        contract = read_contract(stored["contract"], tokenizer)
    except ContractError as error:
        raise ContractError(f"{folder}: {error}") from None
    if fingerprint(folder, contract) != stored["fingerprint"]:
        raise ModelError(f"{folder}: a file was changed after training; see: embedloom check {folder}")
    with open_weights(folder) as weights:
        return Parent(folder, stored, tokenizer, contract, weight, weights.shapes)


def _difference(one: Parent, other: Parent) -> str | None:
    """What keeps two checkpoints from being merged."""
    if (key := _unlike(_architecture(one), _architecture(other))) is not None:
        return f"their architecture differs in {key}"
    if (key := _unlike(one.shapes, other.shapes)) is not None:
        return f"their weights differ in the shape of {key}"
    backends = [parent.tokenizer.backend_tokenizer.to_str() for parent in (one, other)]
    if backends[0] != backends[1]:
        return "their tokenizers differ"
    if (key := _unlike(*({**asdict(parent.contract), "max_length": 0} for parent in (one, other)))) is not None:
        return f"their input contracts differ in {key}"
    return None


def _architecture(parent: Parent) -> dict[str, Any]:
    config = json.loads((parent.folder / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in config.items() if key not in _FREE}


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first key at which two objects differ, with both values."""
    for key in sorted({*one, *other}):
        values = [found.get(key) for found in (one, other)]
        if values[0] != values[1]:
            return f"{key!r}: {str(values[0])[:60]} and {str(values[1])[:60]}"
    return None


def _copy_description(folder: Path, scratch: Path) -> None:
    """Everything but the weights and what is written anew; of the folders, those that sentence-transformers reads."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for path in folder.iterdir():
        if path.is_dir():
            if any(path.name == module["path"] for module in modules):
                shutil.copytree(path, scratch / path.name)
        elif ".safetensors" not in path.name and path.name not in (CHECKPOINT_FILE, "README.md"):
            shutil.copyfile(path, scratch / path.name)
    config = json.loads((scratch / "config.json").read_text(encoding="utf-8"))
    written = {key: "float32" if key in ("dtype", "torch_dtype") else value for key, value in config.items()}
    write_json(scratch / "config.json", written)


def _instructions(parents: Sequence[Parent]) -> dict[str, str]:
    """The instructions of all parents, each once, by their names; a name that is taken gets a number."""
    named: dict[str, str] = {}
    for parent in parents:
        for name, instruction in parent.stored["instructions"].items():
            if instruction in named.values():
                continue
            free, number = name, 2
            while free in named:
                free, number = f"{name}-{number}", number + 1
            named[free] = instruction
    return named


def _set_prompts(folder: Path, instructions: dict[str, str], contract: InputContract) -> None:
    path = folder / "config_sentence_transformers.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, settings | {"prompts": prompt_names(instructions, contract)})


def _description(
    parents: Sequence[Parent], contract: dict[str, Any], method: str, instructions: dict[str, str], identity: str
) -> dict[str, Any]:
    stored = [parent.stored for parent in parents]
    made_of = [
        {"name": str(parent.folder), "fingerprint": parent.stored["fingerprint"], "weight": parent.weight}
        for parent in parents
    ]
    return {
        "fingerprint": identity,
        "base": ", ".join(dict.fromkeys(one["base"] for one in stored)),
        "licence": "; ".join(dict.fromkeys(one["licence"] for one in stored if one["licence"])),
        "rows": sum(one["rows"] for one in stored),
        "instructions": instructions,
        "settings": {"method": method},
        "contract": contract,
        "parents": made_of,
    }
