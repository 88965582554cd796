"""What a sitting asked of each server, and what that cost in tokens, by the servers' own count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Usage:
    """One server in one sitting (one process asking). `uncounted` replies came without counts and are estimated."""

    server: str
    requests: int
    answered: int
    input_tokens: int
    output_tokens: int
    uncounted: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    title: str = ""
    started: str = ""
    seconds: float = 0.0


@runtime_checkable
class Metered(Protocol):
    """An LLM that counts what it asked for."""

    def usage(self) -> Sequence[Usage]:
        """What the last `generate` asked of each server."""
