import os
import sys

import pytest

from embedloom.cli.corpus import read_documents, searched_documents, source_content, text_items
from embedloom.data.known_item import Item, split_groups
from embedloom.data.text_folder import folder_items, left_out
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
    with pytest.raises(DataError, match=r"no text in this folder, but 1 \.pdf; expected files that end in \.txt"):
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
        (r'{"text": "smile \ud83d"}', "key 'text' holds half of a surrogate pair"),
        (r'{"_id": "\udc00", "text": "x"}', "key '_id' holds half of a surrogate pair"),
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


def test_utf16_is_told_by_its_name(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("words of a text", encoding="utf-16")
    with pytest.raises(DataError, match=r"a\.txt: UTF-16 text; save it as UTF-8"):
        folder_items(tmp_path)


def test_what_is_not_read_is_counted(tmp_path) -> None:
    assert left_out(tmp_path) == ""
    for name in ("a.txt", "b.pdf", "c.pdf", "Makefile", ".git/config.cfg", "e.csv", "f.docx", "g.html", "h.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert left_out(tmp_path) == "2 .pdf, 1 Makefile, 1 .csv, 1 .docx, 1 .html, 1 others"


def test_hidden_files_and_folders_are_passed_over(tmp_path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "notes.txt").write_bytes(b"\xff")
    (tmp_path / ".hidden.txt").write_bytes(b"\xff")
    (tmp_path / "a.txt").write_text(f"What this text is about. {'A river runs to the sea and back. ' * 8}")
    assert [item.id for item in folder_items(tmp_path)] == ["a.txt#1"]


def test_one_text_can_not_be_split() -> None:
    with pytest.raises(DataError, match="1 text is long enough, and two are needed"):
        split_groups([Item("a", "a", "about a", "the rest")], 0.5, 1)


def test_a_file_is_no_corpus_unless_it_is_one(tmp_path) -> None:
    for name, told in (
        ("data.csv", r"data\.csv: is a file \(\.csv\)"),
        ("notes", "notes: is a file; expected a folder"),
    ):
        (tmp_path / name).write_text("id,text\n1,x\n", encoding="utf-8")
        with pytest.raises(DataError, match=told):
            read_documents(str(tmp_path / name))


def test_what_is_left_out_of_a_corpus_is_said(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text(f"What this text is about. {'A river runs to the sea and back. ' * 8}")
    text_items(str(tmp_path))
    assert capsys.readouterr().err == ""
    (tmp_path / "b.csv").write_text("x", encoding="utf-8")
    for read in (text_items, searched_documents):
        read(str(tmp_path))
        assert f"left out of {tmp_path}: 1 .csv; .txt, .md, .rst" in capsys.readouterr().err


def test_a_run_folder_among_the_texts_is_passed_over(tmp_path) -> None:
    text = f"What this text is about. {'A river runs to the sea and back. ' * 8}"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    before = source_content(str(tmp_path))
    run = tmp_path / "runs" / "mine"
    (run / "known-item").mkdir(parents=True)
    for name in ("recipe.json", ".lock", "data.md", "known-item/corpus.jsonl"):
        (run / name).write_text("{}", encoding="utf-8")
    assert [item.id for item in folder_items(tmp_path)] == ["a.txt#1"]
    assert source_content(str(tmp_path)) == before
    assert left_out(tmp_path) == ""
    # A folder that has such a file of its own is none.
    (tmp_path / "kitchen").mkdir()
    (tmp_path / "kitchen" / "recipe.json").write_text("{}", encoding="utf-8")
    (tmp_path / "kitchen" / "soup.txt").write_text(text.replace("river", "soup"), encoding="utf-8")
    assert [item.id for item in folder_items(tmp_path)] == ["a.txt#1", "kitchen/soup.txt#1"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are bytes")
def test_a_name_that_is_no_utf8_is_read_all_the_same(tmp_path) -> None:
    name = os.fsencode(tmp_path) + b"/Gr\xf6\xdfe.txt"
    with open(name, "w", encoding="utf-8") as file:
        file.write(f"What this text is about. {'A river runs to the sea and back. ' * 8}")
    assert [item.id for item in folder_items(tmp_path)] == ["Gr\ufffd\ufffde.txt#1"]
    assert source_content(str(tmp_path))
