"""Language, personal data, evaluation sets, pairs: each check on rows that must go and on rows that must stay."""

import json
from pathlib import Path

import pytest

from embedloom.curate.checks import Checks
from embedloom.curate.decontaminate import Contamination, contaminated, contamination
from embedloom.curate.personal import kind_of
from embedloom.data.evaluation_texts import EvaluationText, evaluation_texts
from embedloom.data.training_rows import read_source
from embedloom.errors import DataError, MissingExtraError
from embedloom.records import Example, Reject

ENGLISH = "The western gate of the old harbour was rebuilt in brick after the flood."
GERMAN = "Das westliche Tor des alten Hafens wurde nach der Flut aus Ziegeln neu gebaut."
JAPANESE = "古い港の西の門は洪水のあと煉瓦で建て直され、その年が刻まれている。"
FINNISH = "Vanhan sataman läntinen portti rakennettiin tulvan jälkeen uudelleen tiilestä."


def row(query: str, positive: str, family: str = "sts", **more) -> Example:
    return Example("Match.", query, (positive,), family=family, **{"language": "English", **more})


def rule_of(example: Example) -> str:
    fault = Checks().fault(example)
    return fault.rule if fault else ""


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (row(ENGLISH, ENGLISH), ""),
        (row(ENGLISH, GERMAN), "positive"),
        (row(GERMAN, ENGLISH), "query"),
        (row(ENGLISH, ENGLISH, negatives=(FINNISH,)), "negative"),
        (row(JAPANESE, JAPANESE, language="Japanese"), ""),
        (row(JAPANESE, JAPANESE, language="English"), "query"),
        (row(ENGLISH, GERMAN, "bitext", target_language="German"), ""),
        (row(ENGLISH, ENGLISH, "bitext", target_language="German"), "positive"),
        (row(GERMAN, GERMAN, "bitext", target_language="German"), "query"),
        (row(ENGLISH, GERMAN, "short-long", target_language="German"), ""),
        (row("Das ist kurz", ENGLISH), ""),
        (row(ENGLISH, GERMAN, "grounded"), ""),
        (row(ENGLISH, GERMAN, "grounded-sts"), "positive"),
        (row(GERMAN, ENGLISH, "grounded-sts"), ""),
        (row(GERMAN, GERMAN, language="Quenya"), ""),
        (row(GERMAN, GERMAN, language=""), ""),
        (row(ENGLISH + "\x00\ud800", ENGLISH), ""),
    ],
)
def test_wrong_language(example: Example, expected: str) -> None:
    pytest.importorskip("pycld2")
    from embedloom.curate.language import wrong_language

    detail = wrong_language(example)
    assert detail.split(" ")[0] == expected, detail


def test_language_of_what_a_strong_llm_wrote() -> None:
    """Of 1,820 rows in 93 languages at most 3 are dropped; handed over as another language nearly all are."""
    pytest.importorskip("pycld2")
    from embedloom.curate.language import RELATED, wrong_language
    from embedloom.data.languages import languages

    rows = list(read_source("sample:llm-written"))
    assert sum(bool(wrong_language(example)) for example in rows) <= 3
    names = [language.name for language in languages()]
    long_rows = [example for example in rows if example.family == "short-long"]
    swapped = []
    for number, example in enumerate(long_rows):
        other = next(
            name
            for name in names[number % len(names) :] + names
            if name != example.language and name not in RELATED.get(example.language, ())
        )
        swapped.append(Example("x", example.query, example.positives, family="short-long", language=other))
    assert sum(bool(wrong_language(example)) for example in swapped) >= 0.97 * len(swapped)


def test_every_language_is_covered() -> None:
    pytest.importorskip("pycld2")
    from embedloom.curate.language import RELATED, covered_languages
    from embedloom.data.languages import languages

    names = {language.name for language in languages()}
    assert covered_languages() == names
    assert set(RELATED) <= names


def test_without_the_detector_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from embedloom.curate import language

    monkeypatch.setitem(__import__("sys").modules, "pycld2", None)
    language._detector.cache_clear()
    try:
        assert not language.detector_installed()
        with pytest.raises(MissingExtraError, match=r"embedloom\[languages\]"):
            Checks(language=True).fault(row(ENGLISH, ENGLISH + " Yes."))
    finally:
        language._detector.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+x@mail.example.co.uk please", "e-mail address"),
        ("an @ sign and user@localhost", ""),
        ("call +49 (0)30 1234 5678 after nine", "telephone number"),
        ("a rise of +12 3 points", ""),
        ("4539 1488 0343 6467 is the card", "card number"),
        ("4539 1488 0343 6468 is no card", ""),
        ("ISBN 9783161484100", ""),
        ("DE89 3704 0044 0532 0130 00", "bank account"),
        ("DE88 3704 0044 0532 0130 00", ""),
        ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ("export KEY=AKIA" + "ABCDEFGHIJKLMNOP", "service key"),
        ("password: hunter2hunter2", "password"),
        ("password: the word that one must not forget", ""),
        ("eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12, "web token"),
    ],
)
def test_personal_data(text: str, expected: str) -> None:
    assert kind_of(text) == expected


def test_personal_data_is_not_repeated_in_the_reject() -> None:
    found = Checks(personal=True).fault(row("who is a@b.example", "a person whom nobody knows"))
    assert found is not None
    assert (found.rule, found.detail) == ("personal-data", "e-mail address in the query")
    assert Checks().fault(row("who is a@b.example", "a person whom nobody knows")) is None


RUN = "one two three four five six seven eight nine ten eleven twelve thirteen"


@pytest.fixture
def index() -> Contamination:
    return contamination(
        [
            EvaluationText("scifact", "query", "Is the old harbour deep?"),
            EvaluationText("scifact", "document", f"start {RUN} end"),
            EvaluationText("sts", "sentence", f"another {RUN.replace('one', 'seven')} end"),
            EvaluationText("xquad", "document", "港の西の門は洪水のあと煉瓦で建て直された" * 4),
        ]
    )


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (row("is the OLD harbour deep", "it is"), "query: the same as a query of scifact"),
        (row("is the old harbour very deep", "it is"), ""),
        (row("what?", "Is the old harbour deep?"), "positive: the same as a query of scifact"),
        (row("what?", f"a {RUN} b"), "positive: 1 runs of 13 words of a document of scifact, the first: " + RUN),
        (row("what?", RUN.replace("thirteen", "")), ""),
        (row("x", f"a {RUN} b", "grounded", passage_id="p"), ""),
        (row(f"why {RUN}", "a b", "grounded", passage_id="p"), "query: 1 runs of 13 words of a document"),
        (row("x", f"a {RUN.replace('one', 'seven')} b", "grounded", passage_id="p"), "positive: 1 runs of 13 words"),
        (row("x", "is the old harbour deep", "long-short"), ""),
        (row("x", "港の西の門は洪水のあと煉瓦で建て直された" * 3), "positive: "),
        (row("x", "港の西の門は洪水のあと煉瓦で建て直された"), ""),
        (row(f"a {RUN}", "b", "grounded-sts", passage_id="p"), ""),
    ],
)
def test_rows_that_repeat_an_evaluation_set(index: Contamination, example: Example, expected: str) -> None:
    detail = contaminated(example, index)
    assert detail.startswith(expected)
    assert bool(detail) == bool(expected)


def test_an_index_from_disk_is_the_same(index: Contamination, tmp_path: Path) -> None:
    index.save(tmp_path)
    found = Checks(contamination=tmp_path).fault(row("is the OLD harbour deep", "no, it is a shallow one"))
    assert found == Reject(found.id, "decontaminate", "in-evaluation", "query: the same as a query of scifact")
    assert Contamination.open(tmp_path).match("nothing of the kind") == ""


def test_an_index_of_nothing_matches_nothing(tmp_path: Path) -> None:
    contamination([]).save(tmp_path)
    assert Contamination.open(tmp_path).match(RUN) == ""


def lines(path: Path, *rows: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


def test_texts_of_every_layout(tmp_path: Path) -> None:
    beir = tmp_path / "retrieval" / "scifact"
    lines(beir / "corpus.jsonl", {"_id": "d", "title": "T", "text": "body"})
    lines(beir / "queries.jsonl", {"_id": "q1", "text": "judged"}, {"_id": "q2", "text": "for training"})
    (beir / "qrels").mkdir()
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td\t1\n", encoding="utf-8")
    (beir / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td\t1\n", encoding="utf-8")
    lines(tmp_path / "sts" / "test.jsonl", {"sentence1": "a", "sentence2": "b", "score": 1})
    lines(tmp_path / "labels" / "test.jsonl", {"text": "c", "label": "x"})
    lines(tmp_path / "labels" / "train.jsonl", {"text": "left out", "label": "x"})
    lines(tmp_path / "rerank" / "test.jsonl", {"query": "d", "positives": ["e"], "negatives": ["f", " "]})
    found = {(one.set, one.side, one.text) for one in evaluation_texts(tmp_path)}
    assert found == {
        ("scifact", "query", "judged"),
        ("scifact", "document", "T body"),
        ("sts", "sentence", "a"),
        ("sts", "sentence", "b"),
        ("labels", "sentence", "c"),
        ("rerank", "query", "d"),
        ("rerank", "document", "e"),
        ("rerank", "document", "f"),
    }
    assert {one.text for one in evaluation_texts(tmp_path / "sts" / "test.jsonl")} == {"a", "b"}


def test_a_path_without_a_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluation set here"):
        list(evaluation_texts(tmp_path))
    with pytest.raises(DataError, match="no such file or folder"):
        list(evaluation_texts(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (row(ENGLISH, ENGLISH + " Hm.", "bitext", target_language="German"), "bitext-copied"),
        (row(ENGLISH, GERMAN, "bitext", target_language="German"), ""),
        (row("Dobro jutro svima u ovoj kući", "Dobro jutro svima u ovoj kući danas", "bitext",
             language="Bosnian", target_language="Croatian"), ""),
        (row("Yes, it is.", GERMAN, "bitext", target_language="German"), "bitext-length"),
        (row(GERMAN, JAPANESE, "bitext", language="German", target_language="Japanese"), ""),
        (row("Hi", "Guten Morgen, alle", "bitext", target_language="German"), ""),
        (row("a dog bit the man", "the man was bitten", negatives=("the man bit a dog",)), "sts-order"),
        (row("a dog bit the man", "the man bit a dog", negatives=("a man bit the dog",)), ""),
        (row("the sky is blue", "blue is the colour of it", high_score=2.5, low_score=3.0), "sts-order"),
        (row("the sky is blue", "it is blue", negatives=("it isblue",)), "sts-order"),
        (row("the sky is blue", "blue is its colour", negatives=("the sky is red",), high_score=4, low_score=3), ""),
    ],
)  # fmt: skip
def test_rules_of_pairs(example: Example, expected: str) -> None:
    assert rule_of(example) == expected
