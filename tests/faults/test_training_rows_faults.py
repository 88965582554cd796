import json

import pytest

from embedloom.data.training_rows import read_source, read_training_rows
from embedloom.errors import DataError

GOOD = {"instruction": "Find it.", "query": "a", "positives": ["b"], "negatives": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, "'query' is missing"),
        ({"query": 3}, "expected text, got int"),
        ({"query": "  "}, "'query' is empty"),
        ({"query": "\ud83d"}, "surrogate"),
        ({"positives": []}, "got an empty list"),
        ({"positives": "b"}, "expected a list of texts, got str"),
        ({"positives": ["b", 1]}, "expected text, got int"),
        ({"negatives": [""]}, "'negatives' is empty"),
        ({"negatives": {"a": 1}}, "got dict"),
        ({"instruction": ""}, "no instruction"),
        ({"high_score": "4"}, "expected a number"),
        ({"high_score": True}, "expected a number"),
        ({"querry": "x"}, "unknown key 'querry'"),
    ],
)
def test_malformed_row_is_named(tmp_path, change: dict, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps({**GOOD, **change}) + "\n")
    with pytest.raises(DataError, match=message) as caught:
        list(read_training_rows(path))
    assert str(caught.value).startswith(f"{path}:3: ")


def test_key_missing(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"instruction": "x", "query": "a"}))
    with pytest.raises(DataError, match="'positives': expected a list of texts, got nothing"):
        list(read_training_rows(path))


def test_no_such_source(tmp_path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_source(str(tmp_path / "absent.jsonl")))
    with pytest.raises(DataError, match="sample:llm-written"):
        list(read_source("sample:other"))
