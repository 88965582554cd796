"""An LLM that reads its replies from a file: for tests, and to replay what another system generated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from embedloom.errors import DataError
from embedloom.records import Generation, Prompt
from embedloom.run import read_objects


class ScriptedLLM:
    """Answers prompt i with the reply whose `prompt_id` it is, else with reply i modulo their number.

    Args:
        path: JSONL, one object a line: `text`, and optionally `prompt_id`, `finish`.
    """

    style = "chat"

    def __init__(self, path: Path) -> None:
        self.name = f"scripted:{path.name}"
        self._by_id: dict[str, tuple[str, str]] = {}
        self._in_turn: list[tuple[str, str]] = []
        for number, obj in read_objects(path):
            text = obj.get("text")
            if not isinstance(text, str):
                raise DataError("key 'text' is missing or not a string", path, number)
            reply = (text, str(obj.get("finish", "stop")))
            if "prompt_id" in obj:
                self._by_id[str(obj["prompt_id"])] = reply
            else:
                self._in_turn.append(reply)
        if not self._by_id and not self._in_turn:
            raise DataError("no replies in the script", path)

    def generate(self, prompts: Iterable[Prompt], *, seed: int) -> Iterator[Sequence[Generation]]:
        """Yields replies in groups of eight, in the order of the prompts."""
        waiting = iter(prompts)
        while group := list(islice(waiting, 8)):
            yield [self._answer(prompt) for prompt in group if prompt.id in self._by_id or self._in_turn]

    def _answer(self, prompt: Prompt) -> Generation:
        text, finish = self._by_id.get(prompt.id) or self._in_turn[prompt.index % len(self._in_turn)]
        return Generation(prompt.id, text, self.name, len(prompt.text.split()), len(text.split()), finish)
