"""Files of texts to files of vectors: every format, what the file says about itself, and going on after an end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command import call
from embedloom.errors import DataError, FingerprintError, RunError
from embedloom.scale.encode import Encoded, Work, encode_file, encode_here, vectors_of
from embedloom.scale.texts import Place, TextBlock, read_block, text_places
from embedloom.scale.vectors_file import read_told, read_vectors
from fakes import HashEmbedder
from tiny import save_tiny

TEXTS = [f"text {n} ü" for n in range(25)]


def json_lines(path: Path, texts: list[str] = TEXTS) -> Path:
    path.write_text("".join(json.dumps({"_id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(texts)), "utf-8")
    return path


def blocks(path: Path, size: int, field: str = "text") -> list[TextBlock]:
    return [read_block(path, place, field=field) for place in text_places(path, size)]


def rows(path: Path, size: int = 10, field: str = "text") -> list[tuple[str, str]]:
    return [pair for block in blocks(path, size, field) for pair in zip(block.ids, block.texts, strict=True)]


@pytest.mark.parametrize("size", [1, 5, 7, 25, 100])
def test_every_format_gives_the_same_texts_whatever_the_block(tmp_path: Path, size: int) -> None:
    expected = [(f"d{n}", text) for n, text in enumerate(TEXTS)]
    lines = json_lines(tmp_path / "a.jsonl")
    assert rows(lines, size) == expected
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    assert rows(tmp_path / "a.jsonl.gz", size) == expected
    table = pa.table({"more": list(range(25)), "text": TEXTS, "id": [f"d{n}" for n in range(25)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4)
    assert rows(tmp_path / "a.parquet", size) == expected
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS), "utf-8")
    assert rows(tmp_path / "a.txt", size) == [(str(n), text) for n, text in enumerate(TEXTS, 1)]


def test_titles_ids_and_other_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 7, "title": "Boats", "text": "wait", "query": "who"}\n\n{"text": "b", "query": "q"}\n')
    assert rows(path) == [("7", "Boats wait"), ("2", "b")]
    assert rows(path, field="query") == [("7", "who"), ("2", "q")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "text 2 is not valid JSON"),
        (b"[]", "text 2: expected a JSON object, got list"),
        (b'{"words": "a"}', "text 2: key 'text' is missing.*--field"),
        (b'{"text": 3}', "text 2: key 'text' holds int"),
        (rb'{"text": "half \ud83d"}', "text 2 is not Unicode"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        rows(path)


def test_files_that_hold_no_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    (tmp_path / "b.parquet").write_text("no")
    (tmp_path / "c.txt").write_bytes(b"\xff\n")
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "d.parquet")
    for name, message in (
        ("none.txt", "no such file"), ("", "is a folder"), ("a.txt", "no text"), ("b.parquet", "can't be read as Parq"),
        ("c.txt", "text 1 is not UTF-8"), ("d.parquet", "no column 'text'; the file has words"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            encode(tmp_path / name, tmp_path / "out.parquet", HashEmbedder())


def encode(source: Path, out: Path, model: HashEmbedder, *, block_size: int = 4, **how: object) -> Encoded:
    told = vectors_of(model, **how)  # type: ignore[arg-type]
    return encode_file(source, out, told, encode_here(model), block_size=block_size)


def test_the_file_holds_ids_vectors_and_who_made_them(tmp_path: Path) -> None:
    source, out, model = json_lines(tmp_path / "a.jsonl"), tmp_path / "out.parquet", HashEmbedder()
    assert encode(source, out, model) == Encoded(25, 25)
    table = pq.read_table(out)
    assert table.column_names == ["id", "vector"]
    assert table["id"].to_pylist() == [f"d{n}" for n in range(25)]
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), model.encode_documents(TEXTS))
    told = read_told(out)
    assert (told.model, told.fingerprint, told.dimension, told.role) == ("hash", "f0", 32, "document")
    assert [p.name for p in tmp_path.iterdir() if p != source] == ["out.parquet"]
    with pytest.raises(DataError, match="is there already.*--overwrite"):
        encode(source, out, model)


def test_queries_carry_their_instruction_and_documents_none(tmp_path: Path) -> None:
    source, out, model = json_lines(tmp_path / "a.jsonl"), tmp_path / "out.parquet", HashEmbedder()
    encode(source, out, model, role="query", instruction="Find it", texts=True)
    [(ids, vectors)] = list(read_vectors(out))
    np.testing.assert_array_equal(vectors, model.encode_queries(TEXTS, "Find it"))
    assert pq.read_table(out)["text"].to_pylist() == TEXTS
    assert len(ids) == 25
    with pytest.raises(DataError, match="documents carry no instruction"):
        vectors_of(model, instruction="Find it")


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("float16", 1e-3), ("int8", 0.006)])
def test_shorter_and_smaller_vectors_are_near_the_full_ones(tmp_path: Path, precision: str, error: float) -> None:
    source, out, model = json_lines(tmp_path / "a.jsonl"), tmp_path / "out.parquet", HashEmbedder()
    encode(source, out, model, precision=precision, dimension=8)
    full = model.encode_documents(TEXTS)[:, :8]
    full /= np.linalg.norm(full, axis=1, keepdims=True)
    read = np.concatenate([vectors for _, vectors in read_vectors(out, rows=3)])
    assert (np.abs(read - full).max() > 1e-6) == (precision != "float32")
    np.testing.assert_allclose(read, full, atol=error)
    stored = pq.read_schema(out).field("vector").type
    assert stored == pa.list_({"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}[precision], 8)
    with pytest.raises(DataError, match="33 dimensions of a model that has 32"):
        vectors_of(model, dimension=33)


def test_what_an_interrupted_call_wrote_is_not_encoded_again(tmp_path: Path) -> None:
    source, model = json_lines(tmp_path / "a.jsonl"), HashEmbedder()
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    encode(source, whole, model)

    def breaks(work: Work, places: list[Place]) -> Iterator[object]:
        yield from islice(encode_here(model)(work, places), 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_file(source, out, vectors_of(model), breaks, block_size=4)  # type: ignore[arg-type]
    assert not out.exists()
    again, counted = HashEmbedder("a new name"), []
    told = vectors_of(again)
    done = encode_file(source, out, told, encode_here(again), block_size=4, progress=counted.append)
    assert (done, again.encoded, sum(counted)) == (Encoded(25, 13), TEXTS[12:], 25)
    assert pq.read_table(out).equals(pq.read_table(whole))


def test_blocks_of_other_settings_are_refused_and_replaced_only_when_asked(tmp_path: Path) -> None:
    source, out, model = json_lines(tmp_path / "a.jsonl"), tmp_path / "out.parquet", HashEmbedder()

    def breaks(work: Work, places: list[Place]) -> Iterator[object]:
        yield from islice(encode_here(model)(work, places), 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_file(source, out, vectors_of(model), breaks, block_size=4)  # type: ignore[arg-type]
    other = HashEmbedder("other", "f1")
    with pytest.raises(DataError, match="holds 2 blocks.*--overwrite"):
        encode(source, out, other)
    told = vectors_of(other)
    assert encode_file(source, out, told, encode_here(other), block_size=4, overwrite=True) == Encoded(25, 25)
    assert read_told(out).fingerprint == "f1"


def test_two_at_once_and_the_wrong_model_are_refused(tmp_path: Path) -> None:
    source, out, model = json_lines(tmp_path / "a.jsonl"), tmp_path / "out.parquet", HashEmbedder()
    refused: list[str] = []

    def meets_another(work: Work, places: list[Place]) -> Iterator[object]:
        with pytest.raises(RunError, match="in use") as error:
            encode(source, out, model)
        refused.append(str(error.value))
        yield from encode_here(model)(work, places)

    encode_file(source, out, vectors_of(model), meets_another, block_size=4)  # type: ignore[arg-type]
    assert refused
    with pytest.raises(FingerprintError, match="f1.*hash.*f0"):
        encode_file(source, tmp_path / "b.parquet", vectors_of(model), encode_here(HashEmbedder("other", "f1")))


def test_a_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "a.parquet")
    for name in ("a.parquet", "none.parquet"):
        with pytest.raises(DataError, match="no such file|no file that embedloom encode wrote"):
            read_told(tmp_path / name)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = json_lines(tmp_path / "a.jsonl"), save_tiny(tmp_path / "model")
    out = tmp_path / "out.parquet"
    arguments = ("encode", model, source, "-o", out, "--role", "query", "--instruction", "Find", "--dimensions", 16)
    done = call(capsys, *arguments, "--precision", "int8", "--block", 10)
    assert (done.status, done.out) == (0, f"25 vectors in {out}\n")
    told = read_told(out)
    assert (told.dimension, told.full_dimension, told.instruction, told.precision) == (16, 32, "Find", "int8")
    again = call(capsys, *arguments)
    assert again.status == 2
    assert "--overwrite" in again.error
