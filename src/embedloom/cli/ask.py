"""`embedloom ask`."""

from __future__ import annotations

from typing import Any

import click


@click.command("ask")
@click.argument("index")
@click.argument("question")
@click.option("--model", required=True, help="The model that made the index; another one is refused.")
@click.option("--llm", default="local:registry:gemma3-270m", show_default=True, help="Who answers; see docs/llm.md.")
@click.option("--base-url", default="", help="Address of an OpenAI-compatible server, for openai:NAME.")
@click.option("--api-key-env", default="", metavar="NAME", help="Environment variable with the server's key.")
@click.option("--instruction", help="What the question is for, instead of the index's own.")
@click.option("-k", "--passages", "count", type=click.IntRange(1, 100), default=5, show_default=True, help="Shown.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--timeout", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds, of a server.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    index: str,
    question: str,
    model: str,
    llm: str,
    base_url: str,
    api_key_env: str,
    instruction: str | None,
    count: int,
    temperature: float,
    timeout: float,
    as_json: bool,
) -> None:
    """Answers QUESTION from the passages of INDEX, with their numbers, and lists those that the answer cites."""
    from embedloom.cli.opening import open_embedder
    from embedloom.cli.progress import notice
    from embedloom.errors import ModelError
    from embedloom.llm.names import open_llm
    from embedloom.records import dumps
    from embedloom.search.index import open_index
    from embedloom.search.rag import ask, find_passages

    if llm.startswith("batch:"):
        raise ModelError("a batch model doesn't answer now; expected --llm openai:NAME or local:MODEL")
    server: dict[str, Any] = {}
    if llm.startswith("openai:"):
        server = {"base_url": base_url, "api_key_env": api_key_env, "retries": 2}
        server |= {"timeout": timeout, "patience": timeout}
    opened = open_index(index)
    embedder = open_embedder(model, notice=notice)
    passages = find_passages(question, opened, embedder, k=count, instruction=instruction)
    asked = open_llm(llm, temperature=temperature, top_p=1.0, top_k=0, batch_size=1, notice=notice, **server)
    answer = ask(question, passages, asked)
    if as_json:
        click.echo(dumps(answer))
        return
    click.echo(answer.text)
    for passage in answer.passages:
        if passage.number in answer.cited:
            click.echo(f"  [{passage.number}] {passage.score:.3f}  {passage.document_id}  {passage.text[:100]}")
    if not answer.cited:
        notice("the answer cites no passage")
    if answer.unknown:
        notice(f"the answer cites passages that it was not shown: {', '.join(map(str, answer.unknown))}")
    if not answer.complete:
        notice("the answer was cut at its limit of tokens")
