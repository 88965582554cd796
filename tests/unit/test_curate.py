import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from embedloom.curate.checks import Checks
from embedloom.curate.curate import curate
from embedloom.curate.duplicates import drop_duplicates
from embedloom.curate.round_trip import round_trip
from embedloom.curate.rules import LIMITS, RULES
from embedloom.curate.yields import count_yields
from embedloom.data.training_rows import read_source
from embedloom.records import FAMILIES, Example, Hit, Prompt, Reject

DOCUMENT = "The western gate of the old harbour was rebuilt in brick after the flood, and carries the year on its arch."


def example(query: str = "when was the gate of the harbour rebuilt", **more) -> Example:
    fields = {"instruction": "Find it.", "positives": (DOCUMENT,), "family": "short-long", "language": "English"}
    return Example(query=query, **{**fields, **more})


def rule_of(row: Example) -> str:
    fault = Checks().fault(row)
    return fault.rule if fault else ""


def test_limits_cover_every_family() -> None:
    assert set(LIMITS) == set(FAMILIES)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"query": "?!"}, "length"),
        ({"query": "word " * 200}, "length"),
        ({"positives": ("Too short.",)}, "length"),
        ({"negatives": ("Short.",)}, "length"),
        ({"query": "港の門はいつ建て直されたか"}, ""),
        ({"query": "The gate of {{city}} was rebuilt"}, "placeholder"),
        ({"query": "[Your question about the gate]"}, "placeholder"),
        ({"positives": ("As an AI language model I have no opinion on the western gate.",)}, "placeholder"),
        ({"query": "gate gate gate gate gate gate gate"}, "degenerate"),
        ({"positives": ("the gate was old and " * 10,)}, "degenerate"),
        ({"query": "aaaaaaaaaaaaaaaaaaaaaaaa what"}, "degenerate"),
        ({"query": "Was rebuilt in brick after the flood!"}, "query-copied"),
        ({"query": "was rebuilt in brick after the flood, why"}, "query-copied"),
        ({"query": "why was brick taken for the gate after the flood"}, ""),
        ({"query": "old harbour"}, ""),
        ({"family": "sts", "positives": ("When was the gate of the harbour rebuilt?",)}, "query-copied"),
        (
            {"family": "long-short", "query": "The soup was cold, so a bad meal", "positives": ("Bad meal",)},
            "label-in-text",
        ),
        ({"family": "long-short", "query": "The soup was cold and the badge lost", "positives": ("bad",)}, ""),
        ({"negatives": (DOCUMENT.upper(),)}, "negative-is-positive"),
        ({"negatives": (f"And so: {DOCUMENT} Indeed.",)}, "negative-is-positive"),
        (
            {"family": "sts", "positives": ("a b",), "negatives": ("When was the gate of the harbour rebuilt",)},
            "negative-is-positive",
        ),
        ({"family": "grounded", "query": "what does this passage say on the gate"}, "points-at-passage"),
        ({"family": "grounded", "positives": ("x = 1 " * 40,)}, ""),
    ],
)
def test_rules(change: dict, expected: str) -> None:
    assert rule_of(example(**change)) == expected


def test_what_a_strong_llm_wrote_passes() -> None:
    rows = list(read_source("sample:llm-written"))
    kept = [row for row in curate(rows) if isinstance(row, Example)]
    assert len(kept) >= 0.995 * len(rows)


def duplicates(rows: Sequence[Example], **more) -> tuple[list[str], list[tuple[str, str, str]]]:
    found = list(drop_duplicates(rows, **more))
    return (
        [row.id for row in found if isinstance(row, Example)],
        [(row.id, row.rule, row.detail) for row in found if isinstance(row, Reject)],
    )


def test_the_smallest_id_of_exact_duplicates_stays_in_any_order() -> None:
    rows = [
        example("When was it rebuilt?", id="b", positives=("one text about a gate",)),
        example("when was it REBUILT", id="a", positives=("quite another text of a bridge",)),
        example("When was it rebuilt?", id="c", positives=("a third text",), instruction="Other."),
    ]
    for order in (rows, rows[::-1]):
        kept, dropped = duplicates(order)
        assert sorted(kept) == ["a", "c"]
        assert dropped == [("b", "exact-duplicate", "a")]


def test_two_rows_with_one_id_leave_one() -> None:
    kept, dropped = duplicates([example(id="a"), example(id="a")])
    assert (kept, dropped) == (["a"], [("a", "exact-duplicate", "a")])


def test_bitext_into_two_languages_is_no_duplicate() -> None:
    rows = [
        example("Good morning", family="bitext", positives=(text,), target_language=language, id=language)
        for language, text in (("German", "Guten Morgen"), ("French", "Bonjour"))
    ]
    assert duplicates(rows)[1] == []


def test_near_duplicates_over_the_whole_set() -> None:
    others = [example(f"question {n}", id=f"m{n:04}", positives=(f"{n} " * 9,)) for n in range(300)]
    near = example(
        "when was the gate of the harbour rebuilt?!", id="z", positives=(DOCUMENT + " Yes.",), instruction="X"
    )
    kept, dropped = duplicates([example(id="a"), *others, near])
    assert dropped == [("z", "near-duplicate", "a")]
    assert len(kept) == 301
    assert duplicates([example(id="a"), near], threshold=1.1)[1] == []


def test_one_passage_may_have_two_queries() -> None:
    rows = [
        example(query, id=query, family="grounded", passage_id="p")
        for query in ("when was the gate rebuilt", "what material is the harbour entrance made of")
    ]
    assert len(duplicates(rows)[0]) == 2


class Fixed:
    def __init__(self, found: dict[str, list[str]]) -> None:
        self.found = found
        self.calls = 0

    def search(self, queries: Sequence[str], k: int, *, progress=None) -> list[list[Hit]]:
        self.calls += 1
        return [[Hit(document, 1.0 / n) for n, document in enumerate(self.found[q], 1)][:k] for q in queries]


def test_round_trip_keeps_what_is_found_again() -> None:
    rows = [
        example("one", passage_id="p1"),
        example("two", passage_id="p2"),
        example("three"),
        example("four", passage_id="p4"),
    ]
    retriever = Fixed({"one": ["p0", "p1", "p9"], "two": ["p0", "p1", "p2"], "four": []})
    done: list[int] = []
    found = list(round_trip(rows, retriever, 2, progress=done.append))
    assert found[0] is rows[0]
    assert found[2] is rows[2]
    assert found[1] == Reject(rows[1].id, "round-trip", "not-found-again", "top 2 without p2; best is p0")
    assert isinstance(found[3], Reject)
    assert (retriever.calls, sum(done)) == (1, 4)


def test_every_example_comes_back_once() -> None:
    rows = [
        example(f"question {n} about gates", id=f"{n}", positives=(" ".join(f"{n}x{k}" for k in range(n % 12)),))
        for n in range(40)
    ]
    rows += [replace(rows[9], id="again"), example("one", passage_id="p1", id="lost")]
    retriever = Fixed({"one": ["p0"]})
    found = list(curate(rows, retriever=retriever))
    assert Counter(row.id for row in found) == Counter(row.id for row in rows)
    rules = Counter(row.rule for row in found if isinstance(row, Reject))
    assert rules["exact-duplicate"] == rules["not-found-again"] == 1
    assert rules["length"] > 10
    assert set(rules) <= {*RULES, "exact-duplicate", "near-duplicate", "not-found-again"}


def test_yields_count_by_family_language_and_rule() -> None:
    prompts = [Prompt(str(n), n, "short-long", "t", "", "", language="German") for n in range(3)]
    parsed = [example(id="x", language="German"), example(id="y", language="German")]
    rejects = [Reject("2", "parse", "no-json"), Reject("y", "rules", "length")]
    found = count_yields(prompts, parsed, parsed[:1], rejects)
    assert json.loads(json.dumps(found.to_json())) == {
        "asked": 3,
        "parsed": 2,
        "kept": 1,
        "by_family": {"short-long": {"asked": 3, "parsed": 2, "kept": 1}},
        "by_language": {"German": {"asked": 3, "parsed": 2, "kept": 1}},
        "rejects": {"parse/no-json": 1, "rules/length": 1},
        "rejects_by_family": {"short-long": {"parse/no-json": 1, "rules/length": 1}},
        "texts_held_to_a_language": 2,
        "texts_too_short_to_judge": {},
    }
    assert found.dropped["rules", "length", "short-long", "German"] == 1
    assert found.dropped_by("length", "language") == {"German": 1}


def test_texts_too_short_for_their_language_to_be_told_are_counted() -> None:
    long = "Das westliche Tor des alten Hafens wurde nach der Flut neu gebaut."
    rows = [
        example(long, id="a", positives=(long, "kurz"), negatives=("auch kurz",), language="German"),
        example("kurz", id="b", positives=(long,), language="German", target_language="Chinese"),
        example("古い港の西の門は洪水のあと煉瓦で建て直された", id="c", positives=("短い",), language="Japanese"),
        # A label and a real passage are not held to a language.
        example(long, id="d", positives=("x",), family="long-short", language="German"),
        example(long, id="e", positives=("x",), family="grounded", language="German"),
        example(long, id="f", positives=(long,), language="Quenya"),
    ]
    found = count_yields([], [], rows, [])
    assert list(found.short_texts().items()) == [("German", (3, 7)), ("Quenya", (2, 2)), ("Japanese", (1, 2))]
    assert found.texts.total() == 12
