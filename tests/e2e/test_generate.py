"""`embedloom generate` and `embedloom batch` from the command line, against servers that pretend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import call
from embedloom.run import read_objects
from fake_openai import FakeOpenAI

pytest.importorskip("openai")

RECIPE = """
name = "written"
seed = 3
[llm]
model = "openai:fake"
price_input = 1.0
price_output = 2.0
[brainstorm]
families = ["short-short"]
calls = 2
[generate]
counts = {{ short-short = 30, sts = 10 }}
languages = {{ German = 1, French = 1 }}
{more}
"""

LIST = json.dumps(
    [
        "Given a fruit, find a recipe that uses it.",
        "Given a town, find the river that it lies on.",
        "Given a bird, retrieve where it spends the winter.",
    ]
)


def reply(body: dict) -> str:
    """A list of tasks for a prompt of step 1, else an object with the keys of the schema."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return LIST
    asked = hash(body["messages"][0]["content"]) % 10_000
    return json.dumps({key: f"{key} of the {asked} apples in town" for key in schema["required"]})


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "written.toml"
    path.write_text(RECIPE.format(more=""), encoding="utf-8")
    return path


def rows(path: Path) -> list[dict]:
    return [row for _, row in read_objects(path)]


def test_generation_by_a_server_is_counted_and_asked_once(tmp_path, recipe, capsys) -> None:
    run = tmp_path / "run"
    with FakeOpenAI(reply=reply) as server:
        arguments = ("generate", recipe, "--out", run, "--set", f"llm.base_url={server.url}")
        done = call(capsys, *arguments)
        assert done.status == 0, done.error
        assert server.requests == 42
        assert len(rows(run / "generations.jsonl")) == 40
        assert call(capsys, *arguments, "--set", "llm.concurrency=2").status == 0
        assert server.requests == 42, "how fast is asked changes no reply"
    ledger = rows(run / "ledger.jsonl")
    assert [(row["title"], row["answered"]) for row in ledger] == [("brainstorm", 2), ("generate", 40)]
    assert sum(row["input_tokens"] for row in ledger) == server.input_tokens
    assert sum(row["output_tokens"] for row in ledger) == server.output_tokens
    assert (run / "tasks.jsonl").exists()
    assert not (run / "examples.jsonl").exists()


def test_the_key_is_sent_from_the_environment_and_stands_nowhere(tmp_path, recipe, capsys, monkeypatch) -> None:
    run = tmp_path / "run"
    with FakeOpenAI(reply=reply) as server:
        arguments = ("generate", recipe, "--out", run, "--set", f"llm.base_url={server.url}")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
        monkeypatch.setenv("MY_KEY", "sk-secret")
        assert call(capsys, *arguments, "--set", "llm.api_key_env=MY_KEY").status == 0
        assert "authorization: bearer sk-secret" in server.headers[0]
        second = call(capsys, *arguments[:3], tmp_path / "other", *arguments[4:])
        assert second.status == 0
        assert "authorization: bearer none" in server.headers[-1], "a key goes only where it was named for"
    for path in run.rglob("*"):
        assert not path.is_file() or b"sk-" not in path.read_bytes()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "OPENAI_API_KEY is not set" in call(capsys, "generate", recipe, "--out", tmp_path / "third").error
    password = call(capsys, *arguments[:3], tmp_path / "fourth", "--set", "llm.base_url=http://a:b@c/v1")
    assert password.status == 2
    assert "holds a password" in password.error


def test_an_estimate_and_a_dry_run_ask_nothing_and_need_no_key(tmp_path, recipe, capsys, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    told = call(capsys, "generate", recipe, "--out", tmp_path / "run", "--estimate", "--rate", "100")
    assert told.status == 0, told.error
    lines = {line[:10].strip(): line[12:] for line in told.out.splitlines()}
    assert lines["prompts"] == "42, 2 of them to brainstorm tasks"
    assert "quarter of the bytes" in lines["tokens in"]
    read = int(lines["tokens in"].split()[0].replace(",", ""))
    written, most = (int(lines["tokens out"].split()[at].replace(",", "")) for at in (0, -1))
    assert written == pytest.approx(0.4 * most, abs=1)
    assert lines["cost"].startswith(f"{(read + 2 * written) / 1e6:,.2f}, at most {(read + 2 * most) / 1e6:,.2f}")
    assert lines["time"] == f"{written / 100 / 3600:,.2f} hours at 100 output tokens a second"
    assert not (tmp_path / "run" / "generations.jsonl").exists()
    shown = call(capsys, "generate", recipe, "--out", tmp_path / "run", "--dry-run", "2")
    assert shown.status == 0
    assert shown.out.count("--- ") == 2


def test_a_spent_budget_stops_with_a_sentence_and_more_budget_goes_on(tmp_path, recipe, capsys) -> None:
    run = tmp_path / "run"
    with FakeOpenAI(reply=reply) as server:
        arguments = ("generate", recipe, "--out", run, "--set", f"llm.base_url={server.url}")
        stopped = call(capsys, *arguments, "--set", "llm.budget_money=0.003")
        assert stopped.status == 2
        assert "the budget is spent" in stopped.error
        assert "of 0.003 in money" in stopped.error
        assert 0 < len(rows(run / "generations.jsonl")) < 40
        with_rest = call(capsys, *arguments, "--set", "llm.budget_money=0.003", "--set", "llm.incomplete=go-on")
        assert with_rest.status == 0, with_rest.error
        assert "going on with what there is" in with_rest.error
        assert (server.input_tokens + 2 * server.output_tokens) / 1e6 <= 0.003, "what was spent before counts"
        assert call(capsys, *arguments).status == 0
        assert len(rows(run / "generations.jsonl")) == 40
        assert server.requests == 42
    unpriced = call(
        capsys, *arguments, "--set", "llm.budget_money=1", "--set", "llm.price_input=0", "--set", "llm.price_output=0"
    )
    assert unpriced.status == 2
    assert "price_input" in unpriced.error


def answered(files: list[Path], results: Path, skip: int = 0) -> None:
    """Answers request files as the Batch API does, all but the first few."""
    out = []
    for row in [row for path in files for row in rows(path)][skip:]:
        body = {
            "choices": [{"message": {"content": reply(row["body"])}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 5},
        }
        out.append({"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}, "error": None})
    results.write_text("".join(json.dumps(row) + "\n" for row in reversed(out)), encoding="utf-8")


def test_batch_files_in_rounds_until_nothing_is_missing(tmp_path, recipe, capsys) -> None:
    run, results, other = tmp_path / "run", tmp_path / "results.jsonl", tmp_path / "batch.toml"
    other.write_text('[llm]\nmodel = "batch:fake"\n', encoding="utf-8")
    model = ("--with", other, "--run", run)

    def export(name: str) -> list[Path]:
        done = call(capsys, "batch", "export", recipe, "--out", tmp_path / name, "--max-requests", "25", *model)
        assert done.status == 0, done.error
        return [Path(line) for line in done.out.splitlines()]

    def read(skip: int, files: list[Path]) -> str:
        answered(files, results, skip)
        done = call(capsys, "batch", "import", recipe, results, *model)
        assert done.status == 0, done.error
        return done.out

    assert read(0, export("tasks")).startswith("2 replies imported; 0 of 2 task prompts have none")
    first = export("first")
    assert [len(rows(path)) for path in first] == [25, 15]
    told = read(4, first)
    assert "36 replies imported; 4 of 40 prompts have none" in told
    assert "4 missing" in told
    stopped = call(capsys, "generate", recipe, "--out", run, "--set", "llm.model=batch:fake")
    assert stopped.status == 2
    assert "4 prompts have no reply yet; run: embedloom batch export" in stopped.error
    second = export("second")
    assert [len(rows(path)) for path in second] == [4]
    assert "4 replies imported; 0 of 40 prompts have none" in read(0, second)
    assert export("third") == []
    assert call(capsys, "generate", recipe, "--out", run, "--set", "llm.model=batch:fake").status == 0
    with FakeOpenAI(reply=reply) as server:
        same = call(capsys, "generate", recipe, "--out", run, "--set", f"llm.base_url={server.url}")
        assert same.status == 0
        assert server.requests == 0, "the same model, asked directly, has nothing left to say"


def test_batch_files_are_for_models_that_servers_have(tmp_path, recipe, capsys) -> None:
    done = call(capsys, "batch", "export", recipe, "--out", tmp_path / "x", "--set", "llm.model=scripted:x")
    assert done.status == 2
    assert "batch files are for batch:MODEL or openai:MODEL" in done.error
