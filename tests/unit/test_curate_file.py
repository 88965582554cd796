"""Curation of a file: the same verdicts as in memory, in any order of rows and any number of processes."""

import json
import random
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from embedloom.curate import portions as portions_module
from embedloom.curate.checks import Checks
from embedloom.curate.curate import curate, curate_file
from embedloom.data.lines import Portion, RecordIndex, portions, read_lines, read_portion
from embedloom.data.near_duplicates import near_duplicates, rows_of_a_band
from embedloom.data.shingles import jaccard, shingles, whole, windows, word_hashes
from embedloom.errors import DataError
from embedloom.records import Example, Generation, Hit, Reject, dumps
from embedloom.run import write_records

WORDS = [f"word{n}" for n in range(400)]


def rows(count: int, seed: int = 1) -> list[Example]:
    """Rows of which every third nearly repeats the one before it, and every tenth is too short."""
    drawn = random.Random(seed)
    made: list[Example] = []
    for number in range(count):
        text = drawn.sample(WORDS, 40)
        if number % 3 == 2:
            text = [*made[-1].positives[0].split()[:-1], f"end{number}"]
        text = text[:2] if number % 10 == 9 else text
        query = f"{made[-1].query} again" if number % 3 == 2 else " ".join(drawn.sample(WORDS, 8))
        identity = f"{number * 7919 % 10007:05}"
        made.append(Example("Find it.", query, (" ".join(text),), id=identity, family="short-long"))
    return made


def file_verdicts(path: Path, examples: Sequence[Example], **more) -> dict[str, str]:
    write_records(path, examples)
    found: dict[str, str] = {}
    for verdict in curate_file(path, **more):
        if isinstance(verdict, Reject):
            found[verdict.id] = f"{verdict.rule} {verdict.detail}"
        else:
            found[json.loads(verdict)["id"]] = ""
    return found


def memory_verdicts(examples: Sequence[Example], **more) -> dict[str, str]:
    return {row.id: f"{row.rule} {row.detail}" if isinstance(row, Reject) else "" for row in curate(examples, **more)}


def test_a_file_is_judged_as_rows_in_memory_are(tmp_path: Path) -> None:
    examples = rows(120)
    found = file_verdicts(tmp_path / "rows.jsonl", examples)
    assert found == memory_verdicts(examples)
    assert 30 < sum(verdict.startswith("near-duplicate") for verdict in found.values()) < 45


@pytest.mark.parametrize("seed", [2, 3])
def test_the_order_of_the_rows_changes_no_verdict(tmp_path: Path, seed: int) -> None:
    examples = rows(90)
    before = file_verdicts(tmp_path / "rows.jsonl", examples)
    random.Random(seed).shuffle(examples)
    assert file_verdicts(tmp_path / "other.jsonl", examples) == before


def test_two_processes_and_small_portions_change_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = rows(90)
    before = file_verdicts(tmp_path / "rows.jsonl", examples)
    monkeypatch.setattr(portions_module, "SIZE", 3000)
    assert file_verdicts(tmp_path / "rows.jsonl", examples) == before
    assert file_verdicts(tmp_path / "rows.jsonl", examples, processes=2) == before


def test_a_fault_in_another_process_names_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [dumps(row) for row in rows(60)]
    path.write_text("\n".join([*lines[:50], '{"instruction": 1}', *lines[50:]]) + "\n", encoding="utf-8")
    monkeypatch.setattr(portions_module, "SIZE", 3000)
    for processes in (1, 2):
        with pytest.raises(DataError, match=r"rows\.jsonl:51: "):
            list(curate_file(path, processes=processes))


def test_what_stays_is_the_line_as_it_stood(tmp_path: Path) -> None:
    examples = rows(8)
    write_records(tmp_path / "rows.jsonl", examples)
    kept = [line for line in curate_file(tmp_path / "rows.jsonl") if isinstance(line, str)]
    assert set(kept) <= {dumps(row) for row in examples}
    assert len(kept) >= 5


class Nothing:
    def search(self, queries: Sequence[str], k: int, *, progress=None) -> list[list[Hit]]:
        return [[] for _ in queries]


def test_round_trip_of_a_file(tmp_path: Path) -> None:
    examples = [
        Example(
            "Find it.", f"what is the {name} of all", (" ".join(WORDS[n : n + 20]),), family=family, passage_id=place
        )
        for n, (name, family, place) in enumerate(
            [("first", "grounded", "p1"), ("second", "short-long", ""), ("third", "grounded-sts", "p2")]
        )
    ]
    found = file_verdicts(tmp_path / "rows.jsonl", examples, retriever=Nothing())
    assert [bool(found[row.id]) for row in examples] == [True, False, False]


def test_empty_file(tmp_path: Path) -> None:
    assert file_verdicts(tmp_path / "rows.jsonl", []) == {}


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8, 0.95])
def test_pairs_are_those_of_the_exact_comparison(threshold: float) -> None:
    """Against all pairs compared one by one: nothing below the threshold is found, and nearly all above it is."""
    drawn = random.Random(4)
    texts: list[str] = []
    for _ in range(40):
        text = drawn.sample(WORDS, drawn.randrange(6, 40))
        for changes in (0, 0, 1, 2, 4, 8):
            changed = list(text)
            for place in drawn.sample(range(len(text)), min(changes, len(text))):
                changed[place] = f"new{drawn.randrange(10**6)}"
            texts.append(" ".join(changed))
    sets = [shingles(word_hashes(text.split())) for text in texts]
    stays: list[int] = []
    expected: dict[int, int] = {}
    for at, own in enumerate(sets):
        alike = [other for other in stays if jaccard(own, sets[other]) >= threshold]
        if alike:
            expected[at] = alike[0]
        else:
            stays.append(at)
    found = dict(near_duplicates(texts, threshold=threshold))
    assert all(jaccard(sets[later], sets[earlier]) >= threshold for later, earlier in found.items())
    assert len(expected) >= 40
    assert len(set(found) & set(expected)) >= 0.98 * len(expected)


def test_bands_bring_ninety_nine_of_a_hundred_pairs_at_the_threshold() -> None:
    for threshold in (0.3, 0.5, 0.8, 0.9):
        size = rows_of_a_band(threshold)
        assert 1 - (1 - threshold**size) ** (128 // size) >= 0.99
        assert size == 16 or 1 - (1 - threshold ** (size + 1)) ** (128 // (size + 1)) < 0.99


def test_jaccard_is_that_of_the_sets_of_words_and_pairs() -> None:
    def reference(text: str) -> set[str]:
        found = text.split()
        return {*found, *(" ".join(pair) for pair in pairwise(found))}

    texts = ["a b c d", "a b c e", "d c b a", "a a a", "x"]
    for one, other in combinations(texts, 2):
        want = len(reference(one) & reference(other)) / len(reference(one) | reference(other))
        got = jaccard(shingles(word_hashes(one.split())), shingles(word_hashes(other.split())))
        assert got == pytest.approx(want)


def test_windows_are_equal_where_their_words_are() -> None:
    first, second = word_hashes(["a", "b", "c", "d", "e", "f"]), word_hashes(["x", "y", "b", "c", "d", "z"])
    assert set(windows(first, 3).tolist()) & set(windows(second, 3).tolist()) == {int(windows(first, 3)[1])}
    assert len(windows(first, 6)) == 1
    assert len(windows(first, 7)) == 0
    assert whole(first).tolist() != windows(first, 6).tolist()
    assert whole(first).tolist() != whole(word_hashes(["a", "b", "c", "d", "f", "e"])).tolist()


def test_portions_hold_every_line_once_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes("\n".join(["é" * 9, "", "two", "x" * 50, "last without an end"]).encode())
    whole_file = [(1, "é" * 9), (3, "two"), (4, "x" * 50), (5, "last without an end")]
    for size in (1, 7, 30, 1000):
        assert [line for part in portions(path, size) for line in read_portion(path, part)] == whole_file
    assert list(read_lines(path)) == whole_file
    path.write_bytes(b"good\n\xff\n")
    with pytest.raises(DataError, match=r"lines\.jsonl:2: not UTF-8"):
        list(read_portion(path, Portion(0, 7, 1)))


def test_records_by_key_come_from_the_disk_and_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "generations.jsonl"
    made = [Generation(f"p{n % 50}", f"reply {n} ü", "m", 1, 2, "stop") for n in range(60)]
    write_records(path, made)
    with RecordIndex(path, Generation, "prompt_id") as found:
        assert len(found) == 50
        assert [found[f"p{n}"] for n in (0, 9, 49)] == [made[0], made[9], made[49]]
        assert "p50" not in found
        assert found.get("p50") is None
        assert next(iter(found)) == "p0"
    path.write_text('{"prompt_id": 3}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"generations\.jsonl:1: .*expected text"):
        RecordIndex(path, Generation, "prompt_id")


def test_checks_go_to_other_processes_and_come_in_their_order(tmp_path: Path) -> None:
    row = Example("Find it.", "{{query}} of name@example.com", ("a " * 3,), family="short-long")
    found = file_verdicts(tmp_path / "rows.jsonl", [row], checks=Checks(personal=True))
    assert found[row.id].startswith("length")
