"""What counts as whose fault, and how long is waited, with the time and chance as arguments."""

from __future__ import annotations

import pytest

from embedloom.llm.endpoints import STRIKES, Fleet
from embedloom.llm.retry import LONGEST_WAIT, Fault, backoff, fault_of_status, retry_after, unknown_parameter
from embedloom.records import Generation

DOWN = Fault("server-error", "HTTP 500: no", "endpoint")
REPLY = Generation("p", "text", "m", 10, 3, "stop")


def fleet(*urls: str, concurrency: int = 4) -> Fleet:
    made = Fleet(urls or ("http://a/v1",), concurrency=concurrency, chance=lambda: 0.0, reply_format="schema")
    made.start(0.0)
    return made


@pytest.mark.parametrize(
    ("status", "headers", "body", "rule", "scope", "wait"),
    [
        (429, {"retry-after": "7"}, {"error": {"message": "slow down"}}, "rate-limit", "limit", 7.0),
        (429, {}, {"error": {"message": "x", "code": "insufficient_quota"}}, "denied", "denied", None),
        (503, {"retry-after": "2"}, "loading", "rate-limit", "limit", 2.0),
        (503, {}, "loading", "server-error", "endpoint", None),
        (500, {}, None, "server-error", "endpoint", None),
        (529, {}, "", "server-error", "endpoint", None),
        (408, {}, "", "server-error", "endpoint", None),
        (401, {}, {"error": {"message": "bad key"}}, "denied", "denied", None),
        (404, {}, {"detail": "no model"}, "denied", "denied", None),
        (400, {}, {"error": "too long"}, "refused", "prompt", None),
        (422, {}, [1, 2], "refused", "prompt", None),
    ],
)
def test_a_status_says_whose_fault_it_is(status, headers, body, rule, scope, wait) -> None:
    fault = fault_of_status(status, headers, body, now=0.0)
    assert (fault.rule, fault.scope, fault.wait) == (rule, scope, wait)
    assert fault.detail.startswith(f"HTTP {status}: ")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "999999"}, LONGEST_WAIT),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 5000}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers, wait) -> None:
    assert retry_after(headers, now=60.0) == wait


def test_backoff_doubles_to_its_limit_and_half_of_it_is_chance() -> None:
    assert [backoff(attempt, 0.0) for attempt in (1, 2, 3, 50)] == [0.25, 0.5, 1.0, 15.0]
    assert backoff(2, 0.999) == pytest.approx(1.0, abs=0.01)
    assert backoff(10**6, 0.5) <= 30.0


def test_a_parameter_is_found_where_the_server_names_it() -> None:
    sent = {"max_tokens": 1, "response_format": {}, "seed": 2}
    assert (
        unknown_parameter({"error": {"param": "response_format.json_schema", "message": "x"}}, sent)
        == "response_format"
    )
    assert (
        unknown_parameter({"error": {"message": "Use 'max_completion_tokens', not 'max_tokens'"}}, sent) == "max_tokens"
    )
    assert unknown_parameter({"detail": "seed not supported"}, sent) == "seed"
    assert unknown_parameter({"detail": "temperature not supported"}, sent) == ""
    assert unknown_parameter("context too long", sent) == ""


def test_the_endpoint_with_fewest_in_flight_is_asked_up_to_its_places() -> None:
    both = fleet("a", "b", concurrency=2)
    taken = [both.choose(0.0) for _ in range(4)]
    assert [endpoint.url for endpoint in taken if endpoint] == ["a", "b", "a", "b"]
    assert both.choose(0.0) is None
    assert both.wait(0.0) is None
    both.answered(taken[1], REPLY, 1.0)
    assert both.choose(1.0).url == "b"
    assert (both.endpoints[1].answered, both.endpoints[1].input_tokens, both.endpoints[1].output_tokens) == (1, 10, 3)


def test_an_endpoint_that_fails_in_a_row_is_set_aside_and_probed_by_one_request() -> None:
    both = fleet("a", "b")
    first = both.endpoints[0]
    for _ in range(STRIKES):
        while (chosen := both.choose(0.0)) is not first:
            both.answered(chosen, REPLY, 0.0)
        both.failed(first, DOWN, 0.0)
    assert first.aside
    assert first.resume_at == 0.5
    assert {both.choose(0.4).url for _ in range(4)} == {"b"}
    assert both.wait(0.4) == pytest.approx(0.1)
    assert both.choose(0.5) is first
    assert both.choose(0.5) is None, "one probe at a time"
    both.failed(first, DOWN, 0.6)
    assert first.resume_at == 0.6 + 1.0, "the pause doubles"
    assert both.choose(1.7) is first
    both.answered(first, REPLY, 1.8)
    assert not first.aside
    assert [both.choose(1.8) is first for _ in range(4)] == [True] * 4


def test_requests_that_fail_together_lengthen_the_pause_once() -> None:
    one = fleet(concurrency=64)
    for _ in range(64):
        one.choose(0.0)
    for _ in range(64):
        one.failed(one.endpoints[0], DOWN, 0.0)
    assert one.endpoints[0].resume_at <= 1.0
    assert one.endpoints[0].in_flight == 0


def test_a_rate_limit_pauses_its_endpoint_alone_and_sets_nothing_aside() -> None:
    both = fleet("a", "b")
    limited = both.choose(0.0)
    both.failed(limited, Fault("rate-limit", "HTTP 429", "limit", 5.0), 0.0)
    assert {both.choose(4.9).url for _ in range(4)} == {"b"}
    assert not limited.aside
    assert both.choose(5.0) is limited
    unsaid = fleet(concurrency=64)
    for _ in range(64):
        unsaid.choose(0.0)
    for _ in range(64):
        unsaid.failed(unsaid.endpoints[0], Fault("rate-limit", "HTTP 429", "limit"), 0.0)
    assert unsaid.endpoints[0].resume_at == 0.5


def test_a_denied_endpoint_is_never_asked_again() -> None:
    both = fleet("a", "b")
    both.failed(both.choose(0.0), Fault("denied", "HTTP 401: bad key", "denied"), 0.0)
    assert {both.choose(1e9).url for _ in range(4)} == {"b"}
    assert not both.all_denied()
    both.failed(both.endpoints[1], Fault("denied", "HTTP 404: no model", "denied"), 0.0)
    assert both.all_denied()
    assert both.told() == "a: HTTP 401: bad key; b: HTTP 404: no model"


def test_silence_is_counted_from_the_last_reply() -> None:
    one = fleet()
    assert one.silence(3.0) == 3.0
    one.answered(one.choose(3.0), REPLY, 4.0)
    assert one.silence(5.0) == 1.0


def test_the_one_that_just_failed_is_asked_only_if_there_is_no_other() -> None:
    both = fleet("a", "b")
    first = both.choose(0.0)
    both.failed(first, DOWN, 0.0)
    assert both.choose(0.0, avoid=first).url == "b"
    assert fleet("a").choose(0.0) is not None
