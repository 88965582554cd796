"""Batch-API files: limits kept, results read in any order, everything that is wrong told by name."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from embedloom.errors import DataError, ModelError
from embedloom.llm.batch import BatchLLM, read_results, write_requests
from embedloom.llm.budget import IncompleteError
from embedloom.llm.chat import ChatSettings
from embedloom.records import Generation, Prompt, Reject

SETTINGS = ChatSettings("gpt", 0.7, 0.9)


def prompts(count: int) -> list[Prompt]:
    return [
        Prompt(f"p{n}", n, "sts", "t", "Write this: ", f"number {n} \ud800é", keys=("query",), max_new_tokens=9)
        for n in range(count)
    ]


def answer(row: dict) -> dict:
    """What the Batch API writes for a request."""
    body = {
        "choices": [{"message": {"content": f"to {row['custom_id']}"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": row["custom_id"], "response": response, "error": None}


def rows_of(paths: list[Path]) -> list[dict]:
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def read(paths: list[Path], ids: list[str], **more: object) -> tuple[list[Generation], list[Reject]]:
    found = list(read_results(paths, dict.fromkeys(ids), "openai:gpt", **more))
    return [r for r in found if isinstance(r, Generation)], [r for r in found if isinstance(r, Reject)]


def test_files_keep_both_limits_and_hold_every_prompt_once(tmp_path: Path) -> None:
    asked = prompts(25)
    paths = write_requests(asked, tmp_path / "out", settings=SETTINGS, seed=1, most_requests=10)
    assert [path.name for path in paths] == ["requests-001.jsonl", "requests-002.jsonl", "requests-003.jsonl"]
    rows = rows_of(paths)
    assert [row["custom_id"] for row in rows] == [prompt.id for prompt in asked]
    assert {(row["method"], row["url"]) for row in rows} == {("POST", "/v1/chat/completions")}
    assert rows[3]["body"]["messages"][0]["content"] == "Write this: number 3 ?é"
    assert rows[3]["body"]["response_format"]["json_schema"]["strict"] is True
    size = max(len(line) + 1 for path in paths for line in path.read_bytes().splitlines())
    by_size = write_requests(asked, tmp_path / "size", settings=SETTINGS, seed=1, most_bytes=3 * size)
    assert len(by_size) > 8
    assert all(path.stat().st_size <= 3 * size for path in by_size)
    assert rows_of(by_size) == rows


def test_later_files_are_numbered_behind_earlier_ones_and_none_is_made_for_nothing(tmp_path: Path) -> None:
    first = write_requests(prompts(2), tmp_path, settings=SETTINGS, seed=1)
    second = write_requests(prompts(1), tmp_path, settings=SETTINGS, seed=1, reply_format="plain")
    assert [path.name for path in first + second] == ["requests-001.jsonl", "requests-002.jsonl"]
    assert len(rows_of(first)) == 2
    assert "response_format" not in rows_of(second)[0]["body"]
    assert write_requests([], tmp_path, settings=SETTINGS, seed=1) == []


def test_a_request_larger_than_a_file_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a file may have 100"):
        write_requests(prompts(1), tmp_path, settings=SETTINGS, seed=1, most_bytes=100)
    assert list(tmp_path.iterdir()) == []


def test_a_thousand_prompts_there_and_back_shuffled_dropped_and_corrupted(tmp_path: Path) -> None:
    asked = prompts(1000)
    ids = [prompt.id for prompt in asked]
    chance = random.Random(5)
    rows = [answer(row) for row in rows_of(write_requests(asked, tmp_path, settings=SETTINGS, seed=1))]
    chance.shuffle(rows)
    failed, odd, corrupt = (rows[at : at + 25] for at in (25, 50, 75))
    for row in failed:
        row["response"] = {"status_code": 429, "body": {"error": {"message": "slow down"}}}
    for row in odd[:10]:
        row["response"]["body"] = {"choices": []}
    for row in odd[10:]:
        row["response"], row["error"] = None, {"code": "batch_expired", "message": "expired"}
    lines = [json.dumps(row) for row in rows[25:]]
    for at, row in enumerate(corrupt):
        lines[lines.index(json.dumps(row))] = ("{" + row["custom_id"], json.dumps(row)[:60], "[1]", "\x00")[at % 4]
    lines += [json.dumps(rows[500]), json.dumps({**rows[501], "custom_id": "stranger"}), ""]
    halves = [tmp_path / "errors.jsonl", tmp_path / "results.jsonl"]
    halves[0].write_text("\n".join(lines[::2]), encoding="utf-8")
    halves[1].write_text("\n".join(lines[1::2]), encoding="utf-8")

    replies, rejects = read(halves, ids)
    good = {row["custom_id"] for row in rows[100:]}
    assert {reply.prompt_id for reply in replies} == good
    assert len(replies) == 900
    assert all(reply.text == f"to {reply.prompt_id}" and reply.input_tokens == 7 for reply in replies)
    expected = {"missing": 50, "error": 40, "garbled": 10, "corrupt": 25, "repeated": 1, "unknown-id": 1}
    assert Counter(reject.rule for reject in rejects) == expected
    left = {reject.id for reject in rejects if reject.rule in ("missing", "error", "garbled")}
    assert left == set(ids) - good

    again = [prompt for prompt in asked if prompt.id in left]
    second = write_requests(again, tmp_path / "again", settings=SETTINGS, seed=1)
    results = tmp_path / "second.jsonl"
    results.write_text("\n".join(json.dumps(answer(row)) for row in rows_of(second)), encoding="utf-8")
    rest, none = read([results], ids, answered=good)
    assert {reply.prompt_id for reply in rest} == left
    assert none == []
    assert {reject.rule for reject in read([results], ids, answered=ids)[1]} == {"answered-before"}


def test_a_good_reply_counts_whatever_failed_before_it(tmp_path: Path) -> None:
    bad, good = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    bad.write_text(json.dumps({"custom_id": "p0", "error": {"message": "no"}}), encoding="utf-8")
    good.write_text(json.dumps(answer({"custom_id": "p0"})), encoding="utf-8")
    for order in ([bad, good], [good, bad]):
        assert len(read(order, ["p0"])[0]) == 1
    assert read([bad], ["p0"])[1] == [Reject("p0", "batch", "error", "no")]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: can't be read"):
        read([tmp_path / "absent.jsonl"], ["p0"])


def test_a_batch_model_says_what_to_do_about_prompts_without_reply() -> None:
    assert list(BatchLLM("gpt").generate([], seed=1)) == []
    with pytest.raises(IncompleteError, match="2 prompts have no reply yet; run: embedloom batch export"):
        list(BatchLLM("gpt").generate(prompts(2), seed=1))
