import pytest

from embedloom.data.text_folder import folder_items
from embedloom.errors import DataError


def test_no_such_folder(tmp_path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        folder_items(tmp_path / "absent")


def test_a_file_is_no_folder(tmp_path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x")
    with pytest.raises(DataError, match="expected the folder"):
        folder_items(file)


def test_folder_without_text(tmp_path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"\.txt"):
        folder_items(tmp_path)


def test_text_too_short(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("Too short.")
    with pytest.raises(DataError, match="no passage is left"):
        folder_items(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"title": "x"}', '"text" is missing'),
        ('{"text": 3}', "expected text, got int"),
    ],
)
def test_malformed_line_is_named(tmp_path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line)
    with pytest.raises(DataError, match=message) as caught:
        folder_items(tmp_path)
    assert "a.jsonl:2" in str(caught.value)


def test_not_utf8(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 " * 100)
    with pytest.raises(DataError, match="UTF-8"):
        folder_items(tmp_path)
