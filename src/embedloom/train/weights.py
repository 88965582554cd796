"""Weights of a model folder read and written tensor by tensor, so that a model never has to fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from embedloom.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


class Weights:
    """The tensors of a model, read from its files one at a time. `shapes` has their names in order."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files = files
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(files[name].get_slice(name).get_shape()) for name in sorted(files)
        }

    def tensor(self, name: str) -> Tensor:
        """A tensor in the precision that it is stored in."""
        found: Tensor = self._files[name].get_tensor(name)
        return found


@contextmanager
def open_weights(folder: Path) -> Iterator[Weights]:
    """Opens all `*.safetensors` of a folder, as long as the block runs.

    Raises:
        ModelError: there are none, or one can't be read.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder}: no *.safetensors weights in this folder; save the model with save_pretrained")
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for path in paths:
            try:
                opened: Any = stack.enter_context(safe_open(str(path), framework="pt"))
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{path} can't be read ({error}); restore it") from None
            files |= dict.fromkeys(opened.keys(), opened)
        yield Weights(files)


def write_weights(path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Writes a safetensors file of float32 tensors, one after the other, each before the next one is asked for.

    Args:
        path: the file, which appears as it is written.
        shapes: name and shape of every tensor, in the order of `tensors`.
        tensors: the tensors with their names.
    """
    places: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * prod(shape)
        places[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(places, separators=(",", ":")).encode()
    # The format wants the tensors to start at a multiple of eight bytes.
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        names = iter(shapes)
        for name, tensor in tensors:
            assert name == next(names), f"{name} is out of place"
            assert tuple(tensor.shape) == shapes[name], f"{name} has shape {tuple(tensor.shape)}"
            assert tensor.dtype == torch.float32, "what is written is float32"
            file.write(tensor.contiguous().numpy().astype("<f4", copy=False).data)
        assert next(names, None) is None, "a tensor is missing"
