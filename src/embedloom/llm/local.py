"""An LLM in this process: transformers, in batches, with the shared prefix of the prompts computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from embedloom.errors import ModelError
from embedloom.llm.constrain import JsonConstraint
from embedloom.llm.decoding import Row, decode
from embedloom.llm.sampling import RowRandom, Sampling
from embedloom.model.backbone import best_device, load_tokenizer, named_dtype, quiet_loading
from embedloom.model.heap import keep_few_kernels
from embedloom.model.row_states import Beginning, compute_beginning, use_row_states
from embedloom.model.wide import compute_head_in_pieces
from embedloom.records import Generation, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_Kind = tuple[tuple[int, ...], bool]
"""What rows decoded together have in common: the token ids of their prefix, and whether their replies are JSON."""


class LocalLLM:
    """Generates with a decoder in this process.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer. With a chat template, prompts are sent as a user's message.
        name: recorded with each generation.
        sampling: how tokens are drawn.
        batch_size: prompts decoded together.
        window: prompts that wait, to be sorted by prefix and length.
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
        self._beginnings: OrderedDict[tuple[int, ...], Beginning] = OrderedDict()
        use_row_states(model)
        compute_head_in_pieces(model)

    @property
    def style(self) -> str:
        """`chat` for a model with a chat template, else `base`: which templates suit it."""
        return "chat" if self.tokenizer.chat_template else "base"

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation]]:
        """Yields replies as they are done; prompts of one prefix are decoded together, those of like length side by
        side."""
        asked = iter(prompts)
        waiting: dict[_Kind, list[Row]] = {}

        def fill() -> None:
            room = self.window - sum(map(len, waiting.values()))
            for prompt in islice(asked, room):
                prefix, body = self._split(prompt)
                row = Row(prompt, body, RowRandom(seed, prompt.id))
                waiting.setdefault((prefix, bool(prompt.keys)), []).append(row)

        def more(kind: _Kind, count: int) -> list[Row]:
            fill()
            rows = waiting.get(kind, [])
            rows.sort(key=lambda row: (-len(row.body), row.prompt.index))
            taken, rows[:count] = rows[:count], []
            for row in taken:
                row.matcher = self._grammar().start(row.prompt.keys) if row.prompt.keys else None
            return taken

        fill()
        while waiting:
            kind = max(waiting, key=lambda kind: len(waiting[kind]))
            yield from self._answers(kind, partial(more, kind), seats=len(waiting[kind]))
            waiting = {kind: rows for kind, rows in waiting.items() if rows}
            fill()

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

    def _answers(self, kind: _Kind, more: Callable[[int], list[Row]], *, seats: int) -> Iterator[list[Generation]]:
        prefix, constrained = kind
        replies = decode(
            self.model,
            self.tokenizer,
            self._beginning(prefix),
            more,
            slots=min(self.batch_size, seats),
            sampling=self.sampling,
            constraint=self._grammar() if constrained else None,
            ends=self._ends(),
        )
        while True:
            with torch.inference_mode():
                rows = next(replies, None)
            if rows is None:
                return
            yield [
                Generation(row.prompt.id, row.text, self.name, len(prefix) + len(row.body), len(row.tokens), row.finish)
                for row in rows
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

    def _beginning(self, prefix: tuple[int, ...]) -> Beginning:
        if prefix not in self._beginnings:
            with torch.inference_mode():
                self._beginnings[prefix] = compute_beginning(self.model, prefix)
            if len(self._beginnings) > 4:
                self._beginnings.popitem(last=False)
        self._beginnings.move_to_end(prefix)
        return self._beginnings[prefix]


def open_local(folder: Path, *, name: str, sampling: Sampling, batch_size: int, dtype: str = "auto") -> LocalLLM:
    """The local LLM of a model folder.

    Raises:
        ModelError: the folder holds no causal language model that can be read.
    """
    from transformers import AutoModelForCausalLM

    device = best_device()
    tokenizer = load_tokenizer(folder)
    if device.type == "cpu":
        keep_few_kernels()
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
