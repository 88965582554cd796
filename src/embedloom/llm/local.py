"""An LLM in this process: transformers, in batches, with the shared prefix of the prompts computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from embedloom.errors import ModelError
from embedloom.llm.constrain import JsonConstraint
from embedloom.llm.decoding import Row, decode, prefix_cache
from embedloom.llm.sampling import RowRandom, Sampling
from embedloom.model.backbone import best_device, load_tokenizer, named_dtype, quiet_loading
from embedloom.records import Generation, Prompt

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase


class LocalLLM:
    """Generates with a decoder in this process.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer. With a chat template, prompts are sent as a user's message.
        name: recorded with each generation.
        sampling: how tokens are drawn.
        batch_size: prompts decoded together.
        window: prompts looked at together and sorted by length.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        batch_size: int = 32,
        window: int = 128,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.sampling = sampling
        self.batch_size = batch_size
        self.window = window
        self._constraint: JsonConstraint | None = None
        self._prefixes: OrderedDict[tuple[int, ...], DynamicCache | None] = OrderedDict()

    @property
    def style(self) -> str:
        """`chat` for a model with a chat template, else `base`: which templates suit it."""
        return "chat" if self.tokenizer.chat_template else "base"

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation]]:
        """Yields replies batch by batch; within a window, a batch has prompts of one prefix and like length."""
        waiting = iter(prompts)
        while window := list(islice(waiting, self.window)):
            pieces = [(prompt, *self._split(prompt)) for prompt in window]
            pieces.sort(key=lambda piece: (piece[1], bool(piece[0].keys), -len(piece[2]), piece[0].index))
            batch: list[tuple[Prompt, tuple[int, ...], list[int]]] = []
            for piece in pieces:
                if batch and (
                    len(batch) == self.batch_size
                    or piece[1] != batch[0][1]
                    or bool(piece[0].keys) != bool(batch[0][0].keys)
                ):
                    yield self._batch(batch, seed)
                    batch = []
                batch.append(piece)
            if batch:
                yield self._batch(batch, seed)

    def _split(self, prompt: Prompt) -> tuple[tuple[int, ...], list[int]]:
        """Token ids of the shared prefix and of the rest, split at the text's seam: rows of one prefix agree."""
        if self.style == "chat":
            whole = str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt.text}], tokenize=False, add_generation_prompt=True
                )
            )
            # A template may trim the message; the seam is then where the prefix begins without its leading space.
            start = whole.find(prompt.prefix.lstrip())
            seam = start + len(prompt.prefix.lstrip()) if start >= 0 else 0
            head, tail = whole[:seam], whole[seam:]
        else:
            head, tail = prompt.prefix, prompt.body
        # A passage that spells a special token can't end or open anything; a chat template's own tokens must.
        how = {"add_special_tokens": False, "split_special_tokens": self.style == "base", "verbose": False}
        head_ids = self.tokenizer(head, **how)["input_ids"]
        tail_ids = self.tokenizer(tail, **how)["input_ids"]
        bos = self.tokenizer.bos_token_id
        if self.style == "base" and bos is not None and bos != self.tokenizer.eos_token_id:
            head_ids = [bos, *head_ids]
        if not tail_ids:
            raise ModelError(f"prompt {prompt.id} has an empty body; nothing is left to ask behind the shared prefix")
        return tuple(head_ids), list(tail_ids)

    @torch.inference_mode()
    def _batch(self, batch: Sequence[tuple[Prompt, tuple[int, ...], list[int]]], seed: int) -> list[Generation]:
        prefix = batch[0][1]
        rows = []
        for prompt, _, body in batch:
            matcher = self._grammar().start(prompt.keys) if prompt.keys else None
            rows.append(Row(body, RowRandom(seed, prompt.id), prompt.stop, prompt.max_new_tokens, matcher))
        constraint = self._constraint if any(row.matcher is not None for row in rows) else None
        states = self._prefix(prefix)
        decode(self.model, self.tokenizer, prefix, states, rows, self.sampling, constraint, self._ends())
        return [
            Generation(prompt.id, row.text, self.name, len(prefix) + len(body), len(row.tokens), row.finish)
            for (prompt, _, body), row in zip(batch, rows, strict=True)
        ]

    def _ends(self) -> frozenset[int]:
        """Ids that end a reply: the tokenizer's EOS and, for chat models, the end of a turn."""
        generation: Any = getattr(self.model, "generation_config", None)
        more = getattr(generation, "eos_token_id", None)
        ids = [self.tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])]
        return frozenset(number for number in ids if number is not None)

    def _grammar(self) -> JsonConstraint:
        if self._constraint is None:
            self._constraint = JsonConstraint(self.tokenizer, int(self.model.config.vocab_size))
        return self._constraint

    def _prefix(self, prefix: tuple[int, ...]) -> DynamicCache | None:
        if prefix not in self._prefixes:
            self._prefixes[prefix] = prefix_cache(self.model, prefix)
            if len(self._prefixes) > 4:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(prefix)
        return self._prefixes[prefix]


def open_local(folder: Path, *, name: str, sampling: Sampling, batch_size: int, dtype: str = "auto") -> LocalLLM:
    """The local LLM of a model folder.

    Raises:
        ModelError: the folder holds no causal language model that can be read.
    """
    from transformers import AutoModelForCausalLM

    device = best_device()
    tokenizer = load_tokenizer(folder)
    try:
        with quiet_loading():
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=named_dtype(dtype, device), attn_implementation="sdpa"
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: no causal language model that can be read ({str(error).splitlines()[0][:160]})"
        ) from None
    model.to(device).eval()  # type: ignore[arg-type]
    return LocalLLM(model, tokenizer, name=name, sampling=sampling, batch_size=batch_size)
