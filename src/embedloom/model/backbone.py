"""The transformer: loaded without its language-model head, in the precision that this machine computes fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer

from embedloom.errors import MissingExtraError, ModelError
from embedloom.model.heap import keep_few_kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def best_device() -> torch.device:
    """CUDA, then Apple's GPU, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware, else float32.

    A CPU without AVX-512 BF16, AMX or Arm's BF16 emulates bfloat16 hundreds of times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keeps transformers' own bars off the terminal while a model is read; its setting is restored afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def named_dtype(name: str, device: torch.device) -> torch.dtype:
    """A precision by name: `auto`, `float32` or `bfloat16`."""
    if name == "auto":
        return best_dtype(device)
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def pass_tokens(device: torch.device, dtype: torch.dtype) -> int:
    """Padded tokens of one forward pass that suit a device and a precision, in training and encoding alike.

    On a CPU a small pass stays in its caches: of Gemma 3 270M in float32 1,024 tokens ran half as fast again as 4,096,
    in bfloat16, where a token takes half as many bytes, 2,048 ran a tenth faster than 1,024 and 4,096.
    """
    return 16_384 if device.type == "cuda" else 4096 // dtype.itemsize


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        ModelError: the folder has none that can be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # of a damaged file the tokenizers library says just that
        raise ModelError(f"{folder}: its tokenizer can't be read ({_first_line(error)})") from None
    return tokenizer


def load_backbone(
    folder: Path, *, device: torch.device, dtype: torch.dtype, four_bits: bool = False
) -> PreTrainedModel:
    """The transformer of a model folder, without a head, in evaluation mode.

    Args:
        folder: with configuration and weights.
        device: where they go.
        dtype: their precision; with `four_bits` that of what is computed from them.
        four_bits: matrices have 4 bits a weight (NF4, QLoRA of Dettmers et al. 2023).

    Raises:
        ModelError: the weights can't be read, or 4 bits are asked for where there is no CUDA.
        MissingExtraError: 4 bits are asked for without bitsandbytes.
    """
    more = _four_bits(device, dtype) if four_bits else {}
    if device.type == "cpu":
        keep_few_kernels()
    try:
        with quiet_loading():
            model: PreTrainedModel = AutoModel.from_pretrained(
                str(folder), dtype=dtype, attn_implementation="sdpa", **more
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: its weights can't be read ({_first_line(error)})") from None
    # Weights of 4 bits are read to their device, and stay there.
    placed: Any = model if four_bits else model.to(device)  # type: ignore[arg-type]
    return placed.eval()  # type: ignore[no-any-return]


def pad_batch(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids padded on the right and their mask, both of shape (rows, longest)."""
    longest = max(len(row) for row in rows)
    ids_BL = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask_BL = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, row in enumerate(rows):
        ids_BL[number, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask_BL[number, : len(row)] = 1
    return ids_BL.to(device), mask_BL.to(device)


def hidden_states(model: nn.Module, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
    """The last layer's states, shape (batch, length, dimension)."""
    output = model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False)
    states: Tensor = output.last_hidden_state
    return states


def is_causal(model: nn.Module) -> bool:
    """Whether no layer looks at later tokens: a decoder, not an encoder such as BERT. Every attention must say so."""
    said = [bool(module.is_causal) for module in model.modules() if hasattr(module, "is_causal")]
    return bool(said) and all(said)


def _four_bits(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    if device.type != "cuda":
        raise ModelError(
            f'train.method "qlora" needs a CUDA GPU, and this training would run on {device.type}; use "lora"'
        )
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError("bitsandbytes", "qlora")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def _cpu_has_bf16() -> bool:
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
