"""The in-process language model says what transformers' own `generate` says, whatever the batch, prefix and window."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import torch

from embedloom.llm.local import LocalLLM
from embedloom.llm.sampling import Sampling
from embedloom.model.row_states import RowStates, compute_beginning, row_pass, use_row_states
from embedloom.records import Generation, Prompt
from tiny import KINDS, SENTENCES, WINDOW, WORDS, model_of, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PREFIX = " ".join(WORDS.split()[:24]) + "\n\n"
BODIES = (
    "a boat",
    SENTENCES[0],
    SENTENCES[1],
    "water and bread and stone and fire",
    "",
    "東京タワー",
    SENTENCES[2] + SENTENCES[0],
)
CHAT = "{% for m in messages %}<|user|>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<|me|>{% endif %}"
GREEDY = Sampling(temperature=0)


def prompts(prefix: str, *, limit: int = 12, stop: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> list[Prompt]:
    return [
        Prompt(str(n), n, "grounded", "t", prefix, body + " end:", stop=stop, keys=keys, max_new_tokens=limit + n)
        for n, body in enumerate(BODIES)
    ]


def replies(llm: LocalLLM, asked: Sequence[Prompt], seed: int = 0) -> dict[str, Generation]:
    return {reply.prompt_id: reply for group in llm.generate(asked, seed=seed) for reply in group}


def reference(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """What `generate` of transformers says to the same token ids, one prompt at a time."""
    llm = LocalLLM(model, tokenizer, name="r")
    head, tail = llm._split(prompt)
    ids = torch.tensor([[*head, *tail]])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=prompt.max_new_tokens, pad_token_id=0
    )
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("prefix", ["", "a boat", PREFIX], ids=["no-prefix", "short", "prefix"])
def test_bounds_of_attention_and_logits_are_kept(prefix: str) -> None:
    """Gemma 2 bounds both smoothly; torch's attention can't, so the reference is the plain one."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = tokenizer_of("gemma3")
    torch.manual_seed(1)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=WINDOW,
        query_pre_attn_scalar=1,
        attn_logit_softcapping=1.0,
        final_logit_softcapping=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            # Products far beyond the bound, so that it matters.
            layer.self_attn.q_proj.weight *= 200
            layer.self_attn.o_proj.weight *= 50
    plain = Gemma2ForCausalLM(copy.deepcopy(config)).eval()
    plain.load_state_dict(model.state_dict())
    plain.set_attn_implementation("eager")
    use_row_states(model)
    first, rest = tokenizer(prefix)["input_ids"], tokenizer(SENTENCES[0])["input_ids"]
    ids = torch.tensor([[*first, *rest]])
    with torch.inference_mode():
        expected = plain(ids).logits
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-6)
        states = RowStates(compute_beginning(model, first), 2, ids.device)
        positions = states.begin([1], [len(rest) - 1], more=1)
        logits = row_pass(model, torch.tensor([rest[:-1]]), positions, states)
        torch.testing.assert_close(logits, expected[:, -2], rtol=1e-4, atol=1e-6)
        logits = row_pass(model, torch.tensor([[0], rest[-1:]]), states.go_on(), states)
        torch.testing.assert_close(logits[1:], expected[:, -1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["no-prefix", "prefix"])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_replies_are_those_of_generate(kind: str, prefix: str, batch_size: int) -> None:
    model, tokenizer = model_of(kind, head=True), tokenizer_of(kind)
    asked = prompts(prefix)
    assert len(tokenizer(prefix)["input_ids"]) > WINDOW or not prefix
    said = replies(LocalLLM(model, tokenizer, name="t", sampling=GREEDY, batch_size=batch_size), asked)
    assert {key: reply.text for key, reply in said.items()} == {p.id: reference(model, tokenizer, p) for p in asked}


def test_a_chat_models_prompt_is_a_users_message() -> None:
    model, tokenizer = model_of("qwen3", head=True), tokenizer_of("qwen3", template=CHAT)
    llm = LocalLLM(model, tokenizer, name="t", sampling=GREEDY)
    assert llm.style == "chat"
    asked = prompts(PREFIX)
    head, tail = llm._split(asked[0])
    assert tokenizer.decode([*head, *tail]) == f"<|user|>{asked[0].text}\n<|me|>"
    assert {llm._split(prompt)[0] for prompt in asked} == {head}
    said = replies(llm, asked)
    assert {key: reply.text for key, reply in said.items()} == {p.id: reference(model, tokenizer, p) for p in asked}


def test_drawn_replies_do_not_depend_on_the_batch() -> None:
    model, tokenizer = model_of("gemma3", head=True), tokenizer_of("gemma3")
    asked = prompts(PREFIX, limit=20)
    drawn = Sampling(temperature=0.8, top_p=0.9, top_k=40)
    texts = []
    for size, order in ((1, asked), (4, asked), (7, asked[::-1])):
        said = replies(LocalLLM(model, tokenizer, name="t", sampling=drawn, batch_size=size), order, seed=3)
        texts.append({key: reply.text for key, reply in said.items()})
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0].values())) > 3


@pytest.mark.parametrize("kind", ["gemma3", "qwen3"])
def test_json_replies_always_parse(kind: str) -> None:
    """A random model says nonsense; what it finishes is a JSON object with the keys that were asked for."""
    model, tokenizer = model_of(kind, head=True), tokenizer_of(kind)
    keys = ("user_query", "positive_document")
    asked = prompts(PREFIX, limit=300, keys=keys)
    said = replies(LocalLLM(model, tokenizer, name="t", sampling=Sampling(temperature=1.0), batch_size=4), asked)
    finished = [reply for reply in said.values() if reply.finish == "stop"]
    assert finished, "no reply ended; the test shows nothing"
    for reply in finished:
        value = json.loads(reply.text)
        assert set(value) == set(keys)
        assert all(isinstance(text, str) and text for text in value.values())
    for reply in said.values():
        assert reply.text.lstrip().startswith("{")


def test_text_ends_before_a_stop_string() -> None:
    model, tokenizer = model_of("llama", head=True), tokenizer_of("llama")
    free = replies(LocalLLM(model, tokenizer, name="t", sampling=GREEDY, batch_size=3), prompts(PREFIX, limit=30))
    pairs = (reply.text[at : at + 2] for reply in free.values() for at in range(8, len(reply.text) - 1))
    # A sign that stands for half a letter may be a letter once the next token is there.
    stop = next(pair for pair in pairs if "\ufffd" not in pair)
    cut = replies(
        LocalLLM(model, tokenizer, name="t", sampling=GREEDY, batch_size=3), prompts(PREFIX, limit=30, stop=(stop,))
    )
    assert any(stop in reply.text for reply in free.values())
    for key, reply in cut.items():
        assert reply.text == free[key].text.split(stop)[0]
        assert (reply.finish == "stop") >= (stop in free[key].text)


def test_every_end_token_of_the_model_ends_a_reply() -> None:
    """Chat models end a turn with another token than a text; both stand in the model's generation settings."""
    model, tokenizer = model_of("llama", head=True), tokenizer_of("llama")
    asked = prompts("", limit=10)[:1]
    head, tail = LocalLLM(model, tokenizer, name="t")._split(asked[0])
    first = int(model(torch.tensor([[*head, *tail]])).logits[0, -1].argmax())
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, first]
    reply = replies(LocalLLM(model, tokenizer, name="t", sampling=GREEDY), asked)["0"]
    assert (reply.text, reply.finish) == ("", "stop")


def test_counts_and_finish_are_recorded() -> None:
    model, tokenizer = model_of("qwen3", head=True), tokenizer_of("qwen3")
    asked = prompts(PREFIX, limit=5)
    for prompt in asked:
        reply = replies(LocalLLM(model, tokenizer, name="n", sampling=GREEDY), [prompt])[prompt.id]
        assert reply.model == "n"
        assert reply.input_tokens == sum(map(len, LocalLLM(model, tokenizer, name="n")._split(prompt)))
        assert reply.output_tokens == prompt.max_new_tokens or reply.finish == "stop"
