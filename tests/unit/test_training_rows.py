import gzip
import json

from embedloom.data.training_rows import read_source, read_training_rows
from embedloom.records import FAMILIES


def test_rows_with_and_without_provenance(tmp_path) -> None:
    rows = [
        {"query": "a", "positives": ["b"], "negatives": ["c", "d"]},
        {"instruction": "Own.", "query": "e", "positives": ["f"], "family": "sts", "high_score": 4, "id": "x"},
    ]
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, rows)) + "\n\n")
    first, second = read_training_rows(path, instruction="Given.")
    assert (first.instruction, first.query, first.positives, first.negatives) == ("Given.", "a", ("b",), ("c", "d"))
    assert first.source == "rows"
    assert len(first.id) == 16
    assert (second.instruction, second.id, second.high_score, second.negatives) == ("Own.", "x", 4.0, ())
    assert next(read_source(str(path), instruction="Given.")) == first


def test_the_sample_is_in_the_package() -> None:
    rows = list(read_source("sample:llm-written"))
    assert len(rows) == len({row.id for row in rows}) == 1820
    written = {family for family in FAMILIES if not family.startswith("grounded")}
    assert {row.family for row in rows} == written
    assert {row.source for row in rows} == {"sample:llm-written"}
    assert all(row.high_score > row.low_score > 0 for row in rows if row.family in ("sts", "bitext"))


def test_the_samples_languages_are_ours() -> None:
    from embedloom.data.languages import languages

    ours = {language.name for language in languages()}
    rows = list(read_source("sample:llm-written"))
    seen = {row.language for row in rows} | {row.target_language for row in rows} - {""}
    assert seen <= ours
    assert len(seen) == 92
