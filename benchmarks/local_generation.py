"""`local:` beside plain `generate` of transformers: the same model, prompts, batch size and sampling, in one run.

Prompts are those of recipes/scifact.toml, limits of the replies included: three demonstrations that all share, then a
passage. Plain `generate` gets each prompt whole, padded on the left, in batches in the order given, and ends a batch
when all rows have said a line.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

PROMPTS = 64
BATCH = 32


def measure() -> dict[str, object]:
    """Examples a second of both, and their ratio; the better of two rounds, taken in turn."""
    prompts = _prompts()
    ours, plain = _engines()
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(2):
        for name, engine in (("ours", ours), ("plain", plain)):
            started = time.perf_counter()
            answers = engine(prompts)
            times[name].append(time.perf_counter() - started)
            assert len(answers) == len(prompts)
    rates = {name: len(prompts) / sorted(seconds)[0] for name, seconds in times.items()}
    ratio = rates["ours"] / rates["plain"]
    return {"prompts": len(prompts), "batch": BATCH, "examples_per_second": rates, "ratio": ratio}


def _prompts() -> list[Any]:
    from embedloom.data.python_docs import python_documentation
    from embedloom.recipe import load_recipe
    from embedloom.records import Demonstration, Document, Task
    from embedloom.synth.compose import compose

    given = load_recipe([Path(__file__).parents[1] / "recipes" / "scifact.toml"]).tasks[0]
    shown = tuple(Demonstration(d.passage, d.query) for d in given.demonstrations)
    task = Task("grounded", given.instruction, "recipe", given.query_name, given.passage_name, shown)
    passages = [Document(item.id, item.rest) for item in python_documentation() if len(item.rest.split()) > 60]
    counts = {"grounded": PROMPTS}
    return list(compose(seed=1, counts=counts, style="base", tasks=[task], passages=passages, passage_words=100))


def _engines() -> tuple[Any, Any]:
    import torch
    from transformers import GenerationConfig

    from embedloom.llm.local import open_local
    from embedloom.llm.sampling import Sampling
    from embedloom.model.names import model_folder

    folder = model_folder("registry:gemma3-270m")
    llm = open_local(folder, name="gemma3", sampling=Sampling(0.7, 0.95, 64), batch_size=BATCH)
    model, tokenizer = llm.model, llm.tokenizer
    tokenizer.padding_side = "left"
    settings = GenerationConfig(
        max_new_tokens=max(prompt.max_new_tokens for prompt in _prompts()),
        do_sample=True,
        temperature=0.7,
        top_p=0.95,
        top_k=64,
        stop_strings=["\n"],
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )

    def ours(prompts: list[Any]) -> list[str]:
        return [reply.text for group in llm.generate(prompts, seed=1) for reply in group]

    def plain(prompts: list[Any]) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(prompts), BATCH):
            some = [prompt.text for prompt in prompts[start : start + BATCH]]
            batch = tokenizer(some, return_tensors="pt", padding=True)
            with torch.inference_mode():
                out = model.generate(**batch, generation_config=settings, tokenizer=tokenizer)
            texts += tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    return ours, plain
