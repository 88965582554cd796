"""`embedloom serve`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from embedloom.records import LLM
    from embedloom.search.index import VectorIndex

KEY_VARIABLE = "EMBEDLOOM_API_KEY"
CHATS = 8
"""Questions that a server of a language model is asked at a time."""


@click.command("serve")
@click.argument("model")
@click.option("--index", help="An index that MODEL made, for /v1/search and the page.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--name", default="", help="What clients call the model; MODEL if left out.")
@click.option("--instruction", help="Of queries that bring none, instead of the index's own.")
@click.option(
    "--chat", default="", metavar="LLM",
    help="Language model that answers questions, such as openai:NAME or local:registry:gemma3-270m.",
)  # fmt: skip
@click.option("--chat-url", default="", help="Address of an OpenAI-compatible server, for --chat openai:NAME.")
@click.option("--chat-key-env", default="", metavar="NAME", help="Environment variable with that server's key.")
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Cosine of a source; if left out, the index's own.")
@click.option(
    "--api-key-env", default=KEY_VARIABLE, show_default=True, metavar="NAME",
    help="Environment variable with the key that clients must show; empty or unset asks for none.",
)  # fmt: skip
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens read of a text, instead of the model's own.")
@click.option("--max-texts", type=click.IntRange(min=1), default=2048, show_default=True, help="Of one request.")
@click.option("--max-characters", type=click.IntRange(min=1), default=100_000, show_default=True, help="Of one text.")
@click.option("--max-body", type=click.IntRange(min=1), default=4, show_default=True, help="MiB of one request.")
@click.option("--queue", type=click.IntRange(min=1), default=8192, show_default=True, help="Texts that may wait.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=60, show_default=True, help="Seconds a request.")
@click.option("--batch-wait", type=click.FloatRange(0, 1000), default=2, show_default=True, help="Milliseconds.")
@click.option("--drain", type=click.IntRange(min=1), default=30, show_default=True, help="Seconds to finish in.")
def command(
    model: str,
    index: str | None,
    host: str,
    port: int,
    name: str,
    instruction: str | None,
    chat: str,
    chat_url: str,
    chat_key_env: str,
    threshold: float | None,
    api_key_env: str,
    dtype: str,
    max_length: int | None,
    max_texts: int,
    max_characters: int,
    max_body: int,
    queue: int,
    timeout: float,
    batch_wait: float,
    drain: int,
) -> None:
    """Serves MODEL over HTTP: OpenAI's embeddings with roles, search, reranking, answers and sources, and a page at /.

    A text waits at most --batch-wait for company when the model is free. SIGTERM and Ctrl-C end the server once the
    requests in flight are answered.
    """
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.errors import MissingExtraError

    try:
        from embedloom.serve.app import make_app
        from embedloom.serve.server import address_of, bind, is_loopback, serve
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "starlette", "serve") from None
    from embedloom.serve.limits import Limits
    from embedloom.serve.service import Service

    key = os.environ.get(api_key_env, "")
    local = is_loopback(host)
    limits = Limits(
        body_bytes=max_body << 20, texts=max_texts, characters=max_characters, waiting_texts=queue, seconds=timeout
    )
    hosts = {"localhost", "127.0.0.1", "[::1]", host} if local and not key else None
    # Before the model is read, which takes a while: an address that can't be had is told at once.
    with bind(host, port) as bound:
        chats = _chats(chat, url=chat_url, key_env=chat_key_env, seconds=timeout)
        if not local and not key:
            notice(f"warning: whoever reaches {host} can use this server; set {api_key_env} to ask for a key")
        service = Service(
            open_embedder(model, dtype=dtype, max_length=max_length, notice=notice),
            name=name,
            index=_opened(index),
            instruction=instruction,
            limits=limits,
            wait=batch_wait / 1000,
        )
        _log_to_standard_error()
        address = address_of(bound)
        told = f"serving {service.name} (fingerprint {service.embedder.fingerprint}) at {address}; page: {address}/"
        app = make_app(service, key=key, hosts=hosts, chats=chats, threshold=threshold)
        serve(app, bound, drain=drain, started=lambda: notice(told))
    notice("all requests are answered; ended")


def _opened(index: str | None) -> VectorIndex | None:
    from embedloom.search.index import open_index

    return None if index is None else open_index(index)


def _chats(name: str, *, url: str, key_env: str, seconds: float) -> list[LLM]:
    """The language models of questions: one in this process, several clients of a server."""
    from embedloom.cli.progress import notice
    from embedloom.errors import ModelError
    from embedloom.llm.names import open_llm

    if name.startswith("batch:"):
        raise ModelError("a batch model doesn't answer now; expected --chat openai:NAME or local:MODEL")
    if not name:
        return []
    count = 1
    options: dict[str, Any] = {}
    if name.startswith("openai:"):
        count = CHATS
        options = {"base_url": url, "api_key_env": key_env, "retries": 1, "timeout": seconds, "patience": seconds}
    return [
        open_llm(name, temperature=0.0, top_p=1.0, top_k=0, batch_size=1, notice=notice, **options)
        for _ in range(count)
    ]


def _log_to_standard_error() -> None:
    import logging

    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("embedloom.serve").setLevel(logging.INFO)
