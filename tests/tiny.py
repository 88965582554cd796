"""Tiny models with random weights, and tokenizers trained on a few sentences: every kind of model in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORDS = (
    "the red fox jumps over a lazy dog while green rivers run down to the old sea and seven small boats wait there for "
    "wind from the north as night falls on quiet towns where people read long letters about water stone fire and bread"
)
SENTENCES = (
    WORDS,
    "Instruct: Given a question, retrieve passages that answer it.\nQuery: what is the boiling point of water?",
    '{"user_query": "how do boats wait", "positive_document": "Boats wait for wind."}',
    "Ünïcödé ß 東京タワー Москва ждёт मरुस्थल",
)
KINDS = ("gemma3", "llama", "qwen3", "mistral")
"""Decoders as their makers ship them: with the tokenizer's class, its BOS or none, and its attention."""

BASES = (*KINDS, "qwen2", "smollm2")
"""Every family of base models: Qwen 2 has biases and pads with its EOS, SmolLM2 has a BOS that is never put."""

ENCODERS = ("bert", "xlm-roberta", "modernbert")
"""Models that look at later tokens too, with the token of their kind at a text's beginning and end."""

SPECIAL = {
    "gemma3": ("<pad>", "<eos>", "<bos>", "<unk>"),
    "llama": ("<pad>", "</s>", "<s>", "<unk>"),
    "qwen3": ("<|pad|>", "<|endoftext|>", None, None),
    "mistral": (None, "</s>", "<s>", "<unk>"),
    "qwen2": ("<|endoftext|>", "<|endoftext|>", None, None),
    "smollm2": (None, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"),
    "bert": ("[PAD]", None, None, "[UNK]"),
    "xlm-roberta": ("<pad>", "</s>", "<s>", "<unk>"),
    "modernbert": ("[PAD]", None, None, "[UNK]"),
}
"""Pad, EOS, BOS and unknown token by kind."""

FRAME = ("[CLS]", "[SEP]")
"""What BERT's and ModernBERT's tokenizers put around a text, though they have no BOS and EOS."""

WINDOW = 16
"""Sliding window of the Gemma-like and Mistral-like models, in tokens."""


@cache
def _bpe() -> str:
    """A byte-level BPE of about 400 tokens, which can write any text, as JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # One special token of each kind, so that ids are the same whichever of them a kind uses.
    special = sorted({token for tokens in SPECIAL.values() for token in tokens if token} | set(FRAME))
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = []
    return json.dumps(description)


def tokenizer_of(kind: str, *, puts_bos: bool | None = None, template: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer with the special tokens of a kind.

    Args:
        kind: one of `KINDS` or `ENCODERS`.
        puts_bos: whether it puts BOS before a text by itself; by default where the kind has one.
        template: a chat template.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pad, eos, bos, unknown = SPECIAL[kind]
    backend = Tokenizer.from_str(_bpe())
    if bos is not None and (kind != "smollm2" if puts_bos is None else puts_bos):
        backend.post_processor = TemplateProcessing(
            single=[f"{bos}:0", "$A:0"], pair=None, special_tokens=[(bos, backend.token_to_id(bos))]
        )
    if kind in ENCODERS:
        first, last = (bos, eos) if bos and eos else FRAME
        backend.post_processor = TemplateProcessing(
            single=f"{first}:0 $A:0 {last}:0",
            pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
            special_tokens=[(token, backend.token_to_id(token)) for token in (first, last)],
        )
        framed = {"cls_token": first, "sep_token": last}
    else:
        framed = {}
    names = {**framed, "pad_token": pad, "eos_token": eos, "bos_token": bos, "unk_token": unknown}
    named: dict[str, Any] = {name: token for name, token in names.items() if token}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def makers_tokenizer_of(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer of the class that the makers of Llama or Gemma use, with spaces as `▁` and bytes to fall back on."""
    from tokenizers import Tokenizer, models, normalizers, trainers
    from transformers import GemmaTokenizer, LlamaTokenizer

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<s>", "</s>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    backend.train_from_iterator(SENTENCES, trainer)
    described = json.loads(backend.to_str())["model"]
    made = {"llama": LlamaTokenizer, "gemma3": GemmaTokenizer}[kind]
    return made(vocab=described["vocab"], merges=[tuple(pair) for pair in described["merges"]])


def model_of(kind: str, *, head: bool = False, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A two-layer model of a kind, hidden size 32, float32, in evaluation mode; `head` adds the language model's."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(seed)
    config = _config(kind, **changes)
    if kind in ENCODERS:
        from transformers import AutoModelForMaskedLM as WithHead
    else:
        from transformers import AutoModelForCausalLM as WithHead
    model: PreTrainedModel = (WithHead if head else AutoModel).from_config(config)
    with torch.no_grad():
        # Random weights of the usual size give nearly equal states for every token: made larger, they tell texts apart.
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(4)
    return model.float().eval()


def save_tiny(folder: Path, kind: str = "llama", *, seed: int = 0, **changes: Any) -> Path:
    """Saves a model with head and its tokenizer as a folder that `from_pretrained` opens; returns the folder."""
    model_of(kind, head=True, seed=seed, **changes).save_pretrained(folder)
    tokenizer_of(kind).save_pretrained(folder)
    return folder


def texts_that_are_hard() -> Iterator[str]:
    """Texts at which readers of a checkpoint part ways: empty, long, multilingual, with special tokens spelled out."""
    yield "the red fox"
    yield ""
    yield " "
    yield "boats wait for wind " * 40
    yield "東京タワー Москва मरुस्थल Ünïcödé 🙂"
    yield "  spaces \t and\n\nline ends\n"
    for tokens in SPECIAL.values():
        yield " ".join(token for token in tokens if token) + " and words"
    yield "<eos></s><|endoftext|>"


def _config(kind: str, **changes: Any) -> Any:
    from tokenizers import Tokenizer
    from transformers import (
        BertConfig,
        Gemma3TextConfig,
        LlamaConfig,
        MistralConfig,
        ModernBertConfig,
        Qwen2Config,
        Qwen3Config,
        XLMRobertaConfig,
    )

    backend = Tokenizer.from_str(_bpe())
    pad, eos, bos, _ = SPECIAL[kind]
    settings: dict[str, Any] = {
        "vocab_size": backend.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "eos_token_id": backend.token_to_id(eos) if eos else None,
        "bos_token_id": backend.token_to_id(bos) if bos else None,
        "pad_token_id": backend.token_to_id(pad) if pad else None,
    }
    if kind == "gemma3":
        settings |= {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}
        settings |= {"layer_types": ["sliding_attention", "full_attention"]}
    if kind == "smollm2":
        settings |= {"tie_word_embeddings": True, "rope_theta": 100_000.0}
    if kind == "qwen3":
        settings |= {"head_dim": 8}
    if kind == "mistral":
        settings |= {"sliding_window": WINDOW}
    if kind in ENCODERS:
        del settings["num_key_value_heads"]
    if kind == "modernbert":
        begin, end = map(backend.token_to_id, FRAME)
        settings |= {"local_attention": WINDOW, "cls_token_id": begin, "sep_token_id": end}
        settings |= {"global_attn_every_n_layers": 2, "eos_token_id": end, "bos_token_id": begin}
    kinds: dict[str, Any] = {
        "gemma3": Gemma3TextConfig,
        "llama": LlamaConfig,
        "qwen2": Qwen2Config,
        "qwen3": Qwen3Config,
        "smollm2": LlamaConfig,
        "mistral": MistralConfig,
        "bert": BertConfig,
        "xlm-roberta": XLMRobertaConfig,
        "modernbert": ModernBertConfig,
    }
    return kinds[kind](**(settings | changes))
