"""What the server takes of one request and of all together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond these a request is refused, with the limit in the message.

    Attributes:
        body_bytes: of one body.
        texts: of one request.
        characters: of one text; of token ids, so many.
        hits: of one search.
        read_hits: documents that are read sentence by sentence, or shown to a language model, for one question.
        sentences: of a text whose sources are looked for.
        points: documents on the map.
        waiting_texts: texts in the queue; more get a 429.
        open_requests: being answered at a time; more get a 429.
        seconds: for one request, from its head to its answer.
    """

    body_bytes: int = 4 << 20
    texts: int = 2048
    characters: int = 100_000
    hits: int = 1000
    read_hits: int = 50
    sentences: int = 100
    points: int = 5000
    waiting_texts: int = 8192
    open_requests: int = 512
    seconds: float = 60.0

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies that are held at a time; more get a 429."""
        return 16 * self.body_bytes
