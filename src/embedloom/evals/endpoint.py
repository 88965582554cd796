"""A model behind any OpenAI-compatible embeddings endpoint as an `Embedder`, asked through the official client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from embedloom.errors import MissingExtraError, ModelError
from embedloom.llm.retry import error_message
from embedloom.records import Progress, content_id

if TYPE_CHECKING:
    from embedloom.records import Vectors

SCHEME = "openai-embeddings:"
"""What stands before the address and the model: `openai-embeddings:http://localhost:8000/v1#model`."""
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY, OTHER_KEY = "OPENAI_API_KEY", "EMBEDDINGS_API_KEY"
"""Environment variables with the key for OpenAI's own endpoint, and for any other: one is never sent the other's."""
TEXTS, CHARACTERS = 64, 100_000
"""Most of one request: well within what servers take."""
PROBES = (
    "The red fox jumps over the lazy dog.",
    "Was kostet eine Fahrkarte nach Wien?",
    "def area(r): return 3.14 * r * r",
    "水",
)
"""Texts whose vectors tell whether a name still stands for the same model."""


class EndpointEmbedder:
    """An `Embedder` that asks a server; vectors are scaled to unit length.

    Servers know no instructions, so that texts are sent as they are; `embedloom serve`, which shows its fingerprint in
    every answer, is told role and instruction.

    Args:
        model: the model's name at the server.
        url: base address, ending in `/v1` or what stands in its place.
        name: for people.
        api_key: sent to it.
        connections: requests at a time.
        retries: further attempts at a request that failed, after the time that the server asks for.
        timeout: seconds of one request.

    Raises:
        MissingExtraError: the client is absent.
        ModelError: the server can't be reached, refuses, or answers something else than vectors.
    """

    def __init__(
        self,
        model: str,
        *,
        url: str = OPENAI_URL,
        name: str = "",
        api_key: str = "none",
        connections: int = 4,
        retries: int = 8,
        timeout: float = 120.0,
    ) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtraError("openai", "openai") from None
        self.name = name or f"{SCHEME}{url}#{model}"
        self._model, self._url, self._connections = model, url, connections
        self._client = openai.OpenAI(base_url=url, api_key=api_key, max_retries=retries, timeout=timeout)
        try:
            self._probe()
        except BaseException:
            self.close()
            raise

    def _probe(self) -> None:
        answer = self._asked(list(PROBES), {})
        print_of_server = (getattr(answer, "model_extra", None) or {}).get("system_fingerprint")
        # An answer with a fingerprint of the model comes from `embedloom serve`, which takes roles.
        self._takes_roles = isinstance(print_of_server, str) and bool(print_of_server)
        probed = self._read(answer, len(PROBES))
        self.dimension = int(probed.shape[1])
        # Where the largest number of a vector stands moves with the model, and not with how a server rounds.
        places = [int(place) for place in np.abs(probed).argmax(axis=1)]
        self.fingerprint: str = (
            str(print_of_server)
            if self._takes_roles
            else content_id("endpoint", self._url, self._model, self.dimension, places)
        )

    def encode_queries(self, texts: Sequence[str], instruction: str, *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, shape (len(texts), dimension); the instruction reaches only a server that takes one."""
        return self._encode(texts, {"input_type": "query", "instruction": instruction}, progress)

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, shape (len(texts), dimension)."""
        return self._encode(texts, {"input_type": "document"}, progress)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _encode(self, texts: Sequence[str], role: dict[str, str], progress: Progress | None) -> Vectors:
        told = role if self._takes_roles else {}
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        requests = list(_requests(texts))

        def ask(rows: range) -> Vectors:
            # OpenAI refuses an empty text; a blank is what is left of it.
            return self._read(self._asked([texts[row] or " " for row in rows], told), len(rows))

        pool = ThreadPoolExecutor(self._connections)
        try:
            for rows, vectors in zip(requests, pool.map(ask, requests), strict=True):
                if vectors.shape[1] != self.dimension:
                    raise ModelError(f"{self.name} gave {vectors.shape[1]} dimensions after {self.dimension}")
                out[rows.start : rows.stop] = vectors
                if progress is not None:
                    progress(len(rows))
        finally:
            pool.shutdown(cancel_futures=True)
        return out

    def _asked(self, texts: list[str], told: dict[str, str]) -> Any:
        import openai

        try:
            return self._client.embeddings.create(
                model=self._model, input=texts, encoding_format="float", extra_body=told or None
            )
        except openai.AuthenticationError as error:
            raise ModelError(
                f"{self.name}: the server refuses the key ({error_message(error.body)}); set the environment variable "
                f"{key_variable(self._url)}"
            ) from None
        except openai.APIStatusError as error:
            body: Any = error.body if error.body is not None else error.response.text
            raise ModelError(f"{self.name}: the server answered {error.status_code}: {error_message(body)}") from None
        except openai.APIConnectionError as error:
            raise ModelError(f"{self.name}: no answer from {self._url} ({error.__cause__ or error})") from None
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(f"{self.name}: the server's answer can't be read ({error})") from None

    def _read(self, answer: Any, count: int) -> Vectors:
        rows: Any = getattr(answer, "data", None)
        try:
            in_order = sorted(rows, key=lambda row: row.index)
            vectors = np.array([row.embedding for row in in_order], dtype=np.float32)
            whole = vectors.ndim == 2 and [row.index for row in in_order] == list(range(count))
        except (TypeError, ValueError, AttributeError):
            whole = False
        if not whole:
            raise ModelError(f"{self.name}: the server's answer holds no vector for each of {count} texts")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ModelError(f"{self.name}: the server answered a vector of zeros, or one with numbers that are none")
        unit: Vectors = vectors / lengths
        return unit


def open_endpoint(name: str) -> EndpointEmbedder:
    """The embedder of `openai-embeddings:URL#MODEL`, or of `openai-embeddings:MODEL` at OpenAI's own address.

    The key is taken from OPENAI_API_KEY for OpenAI's own address, else from EMBEDDINGS_API_KEY, which may be absent.

    Raises:
        ModelError: the name has no model, the address is none or holds a password, or there is no key for OpenAI.
        MissingExtraError: the client is absent.
    """
    rest = name.removeprefix(SCHEME)
    url, _, model = rest.rpartition("#") if "#" in rest else (OPENAI_URL, "#", rest)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not model or "://" in model:
        raise ModelError(f"{name!r}: expected {SCHEME}URL#MODEL, such as {SCHEME}http://localhost:8000/v1#my-model")
    if parts.username or parts.password:
        raise ModelError(
            f"the address of {parts.hostname} holds a password, which would be written with the scores; set "
            f"{OTHER_KEY} instead"
        )
    key = os.environ.get(key_variable(url), "").strip()
    if not key and key_variable(url) == OPENAI_KEY:
        raise ModelError(f"environment variable {OPENAI_KEY} is not set; it must hold the key for {url}")
    return EndpointEmbedder(model, url=url.rstrip("/"), name=name, api_key=key or "none")


def key_variable(url: str) -> str:
    """The environment variable that holds the key for an address."""
    return OPENAI_KEY if urlsplit(url).hostname == "api.openai.com" else OTHER_KEY


def _requests(texts: Sequence[str]) -> Iterator[range]:
    """Rows of one request each: as many texts as fit, in their order."""
    start = size = 0
    for row, text in enumerate(texts):
        if row > start and (row - start == TEXTS or size + len(text) > CHARACTERS):
            yield range(start, row)
            start, size = row, 0
        size += len(text)
    if start < len(texts):
        yield range(start, len(texts))
