"""A training that takes a second: a tiny model that learns which words belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedloom.records import Example
from tiny import WORDS, model_of, tokenizer_of

if TYPE_CHECKING:
    from peft import PeftModel

    from embedloom.model.inputs import InputContract
    from embedloom.records import Embedder
    from embedloom.train.development import Development, Measurement
    from embedloom.train.loop import Settings, StepLog
    from embedloom.train.processes import Processes

_WORDS = WORDS.split()
EXAMPLES = [
    Example("Find it", f"{_WORDS[n]} {_WORDS[n + 1]}", (f"{_WORDS[n + 20]} {_WORDS[n + 1]} {_WORDS[n]}",), (_WORDS[n],))
    for n in range(16)
]


def _settings() -> Settings:
    from embedloom.train.loop import Settings
    from embedloom.train.loss import Objective

    return Settings(
        steps=11, batch_size=6, learning_rate=0.01, warmup=2, objective=Objective(temperature=0.1), save_every=3,
        token_budget=128, graph_tokens=200,
    )  # fmt: skip


SETTINGS = _settings()


def toy_training(
    folder: Path,
    settings: Settings = SETTINGS,
    *,
    examples: Sequence[Example] = EXAMPLES,
    on_step: Callable[[StepLog], None] | None = None,
    dropout: float = 0.1,
    development: Development | None = None,
    on_measurement: Callable[[Measurement], None] | None = None,
    processes: Processes | None = None,
    contract: InputContract | None = None,
) -> tuple[PeftModel, list[StepLog]]:
    """Trains LoRA weights, with dropout, partly by GradCache; returns the model and the log."""
    from embedloom.model.inputs import contract_for
    from embedloom.train.loop import train
    from embedloom.train.lora import add_lora

    tokenizer = tokenizer_of("llama")
    model = add_lora(model_of("llama"), rank=4, alpha=8, dropout=dropout, seed=0)
    if processes is not None and processes.weights == "replicated":
        model.to(processes.device)
    logs = train(
        model, tokenizer, contract or contract_for(tokenizer), examples, settings, folder, development=development,
        on_step=on_step, on_measurement=on_measurement, processes=processes,
    )  # fmt: skip
    return model, logs


def finds_its_own(every: int = 2) -> Development:
    """A development set: how much closer each query is to its own positive than to all of them."""
    from embedloom.train.development import Development

    def measure(model: Embedder) -> dict[str, float]:
        q_ND = model.encode_queries([example.query for example in EXAMPLES], "Find it")
        d_ND = model.encode_documents([example.positives[0] for example in EXAMPLES])
        return {"own": float((q_ND * d_ND).sum(axis=1).mean()), "all": -float((q_ND @ d_ND.T).mean())}

    return Development(measure, every, "own against all")


def weights(model: PeftModel) -> dict[str, bytes]:
    """The trained weights, byte by byte."""
    return {name: p.detach().numpy().tobytes() for name, p in model.named_parameters() if p.requires_grad}


def figures(logs: Sequence[StepLog]) -> list[tuple[float, ...]]:
    """What a log says, but for the time it took."""
    return [(log.step, log.loss, log.gradient_norm, log.learning_rate, log.tokens) for log in logs]
