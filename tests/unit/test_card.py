"""The data card and the export: counts that add up, text that stays text, files that others read."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from embedloom.cli.describing import export, rows_of, write_card
from embedloom.curate.card import Card, card_html, card_markdown, parameters_of
from embedloom.curate.description import SAMPLES, describe, length_class
from embedloom.curate.yields import Yields
from embedloom.data.parquet import write_parquet
from embedloom.data.training_rows import read_source
from embedloom.errors import DataError
from embedloom.records import Example, Reject
from embedloom.run import write_records

EVIL = '<script>alert("x")</script> | [a](b) {{ card }} `c`'


def rows(count: int = 12) -> list[Example]:
    return [
        Example(
            f"Task {n % 3}.",
            f"query {n} of few words",
            (f"answer {n} " + "word " * (n * 5 + 1),),
            ("no",) if n % 2 else (),
            family="sts" if n % 4 else "bitext",
            language="German" if n % 3 else "English",
        )
        for n in range(count)
    ]


def test_counts_add_up() -> None:
    found = describe(rows())
    assert found.all.rows == 12
    assert {name: group.rows for name, group in found.families.items()} == {"sts": 9, "bitext": 3}
    assert found.languages == Counter(German=8, English=4)
    assert found.instructions == 3
    assert found.all.query_words.total() == 12
    assert found.all.document_words.total() == 12 + 6
    assert found.all.negatives == 6
    assert {name: len(shown) for name, shown in found.samples.items()} == {"sts": SAMPLES, "bitext": 3}


def test_samples_do_not_depend_on_the_order() -> None:
    assert describe(rows(40)).samples == describe(rows(40)[::-1]).samples


def test_distinct_runs_tell_repetition() -> None:
    text = "the same words over and over again"
    same = [Example("t", text, (text,), id=str(n)) for n in range(50)]
    other = [Example("t", f"{n}a {n}b {n}c", (f"{n}d {n}e {n}f",), id=str(n)) for n in range(50)]
    assert describe(same).all.distinct(3) < 0.02
    assert describe(other).all.distinct(3) == 1.0
    assert describe([]).all.distinct(3) == 0.0


def test_length_classes_double() -> None:
    assert [length_class(n) for n in (0, 1, 2, 3, 4, 1023, 1024, 10**6)] == [0, 0, 1, 1, 2, 9, 10, 10]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gemma3-270m", 270e6), ("Qwen3-8B", 8e9), ("smollm2-1.7B", 1.7e9), ("gpt-4o", 0), ("m-8bit", 0), ("", 0)],
)
def test_parameters_by_name(name: str, expected: float) -> None:
    assert parameters_of(name) == pytest.approx(expected)


def full_card(title: str = "quick", parameters: float = 270e6) -> Card:
    yields = Yields()
    yields.asked["sts", "German"] = 20
    yields.parsed["sts", "German"] = 15
    yields.kept["sts", "German"] = 9
    yields.dropped["language", "wrong-language", "sts", "German"] = 4
    yields.dropped["duplicates", "near-duplicate", "sts", "German"] = 2
    yields.dropped["decontaminate", "in-evaluation", "sts", "German"] = 1
    yields.texts["German"], yields.unjudged["German"] = 27, 5
    reject = Reject("r", "decontaminate", "in-evaluation", EVIL)
    return Card(
        title=title,
        description=describe(rows()),
        yields=yields,
        plan={"sts": 20},
        shares={"German": 0.5, "English": 0.5},
        contaminated=[reject],
        generator="local:x",
        parameters=parameters,
        language_checked=True,
        compared=["scifact"],
    )


def test_page_and_text_say_what_was_dropped_and_what_to_use_instead() -> None:
    for text in (card_html(full_card()), card_markdown(full_card())):
        for said in (
            "generator is small",
            "sample:llm-written",
            "wrong-language",
            "scifact",
            "45 %",
            "German 4",
            "5 of the 27 texts",
        ):
            assert said in text, said
    assert "generator is small" not in card_html(full_card(parameters=8e9))
    assert "generator is small" not in card_html(full_card(parameters=0))


def test_what_was_too_short_to_be_judged_is_not_passed_over() -> None:
    card = full_card()
    for text in (card_html(card), card_markdown(card)):
        assert "(German 5 of 27)" in text
    unchecked = replace(card, language_checked=False)
    for text in (card_html(unchecked), card_markdown(unchecked)):
        assert "Languages were not checked" in text
        assert "too short" not in text
    assert card.yields is not None
    card.yields.unjudged.clear()
    for text in (card_html(card), card_markdown(card)):
        assert "All 27 texts" in text


def test_text_from_data_stays_text() -> None:
    evil = Example(EVIL, EVIL, (EVIL,), language=EVIL, family="sts", source=EVIL)
    card = Card(EVIL, describe([evil]), generator=EVIL)
    page = card_html(card)
    assert "<script" not in page
    assert "{{ card }}" in page
    assert not re.search(r"(?<!\\)<script", card_markdown(card))
    assert not re.search(r"(?<!\\)\[a", card_markdown(card))


def test_page_loads_nothing() -> None:
    page = card_html(full_card())
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)


def test_markdown_tables_have_equal_columns() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", card_markdown(full_card()), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_card_of_no_rows() -> None:
    assert "0 rows" in card_markdown(Card("empty", describe([])))
    assert "empty" in card_html(Card("empty", describe([])))


def test_rows_of_a_run_a_file_and_a_sample(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither curated.jsonl nor train.jsonl"):
        list(rows_of(str(tmp_path)))
    write_records(tmp_path / "train.jsonl", rows(3))
    assert list(rows_of(str(tmp_path))) == rows(3)
    write_records(tmp_path / "curated.jsonl", rows(2))
    assert list(rows_of(str(tmp_path))) == rows(2)
    assert len(list(rows_of("sample:llm-written"))) == 1820
    write_card(Card("x", describe(rows())), tmp_path)
    assert (tmp_path / "data.html").exists()
    assert (tmp_path / "data.md").exists()


def test_export_is_what_was_put_in(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    assert export("sample:llm-written", tmp_path / "set") == 1820
    (file,) = (tmp_path / "set" / "data").iterdir()
    table = pq.read_table(file).to_pylist()
    for row, example in zip(table, read_source("sample:llm-written"), strict=True):
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        assert Example(**fields) == example
    head = (tmp_path / "set" / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert '- "de"' in head
    assert "1K<n<10K" in head
    assert "path: data/train-*.parquet" in head


def test_an_export_replaces_an_export_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_records(tmp_path / "rows.jsonl", rows(3))
    out = tmp_path / "set"
    out.mkdir()
    export(str(tmp_path / "rows.jsonl"), out)
    export(str(tmp_path / "rows.jsonl"), out)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "data", "data.html"]
    mine = tmp_path / "mine"
    (mine / "data").mkdir(parents=True)
    (mine / "README.md").write_text("mine", encoding="utf-8")
    for place, message in ((mine, "'README.md'"), (tmp_path, "'mine'"), (tmp_path / "rows.jsonl", "'rows.jsonl'")):
        with pytest.raises(DataError, match=f"{message}, which no export wrote"):
            export(str(tmp_path / "rows.jsonl"), place)
    (out / "data" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"data/notes\.txt"):
        export(str(tmp_path / "rows.jsonl"), out)
    assert (mine / "README.md").read_text(encoding="utf-8") == "mine"
    assert (out / "data" / "notes.txt").exists()


def test_shards(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for count, sizes in ((0, [0]), (4, [4]), (5, [4, 1]), (8, [4, 4])):
        folder = tmp_path / str(count)
        assert write_parquet(rows(count), folder, shard_rows=4) == count
        files = sorted(folder.iterdir())
        assert [pq.read_table(file).num_rows for file in files] == sizes
        assert files[-1].name == f"train-{len(sizes) - 1:05}-of-{len(sizes):05}.parquet"


def test_the_datasets_library_reads_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export("sample:llm-written", tmp_path / "set")
    found = datasets.load_dataset(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.num_rows == 1820
    assert found[0]["query"] == next(iter(read_source("sample:llm-written"))).query


def test_the_card_in_the_documents_is_that_of_the_sample() -> None:
    page = Path(__file__).parents[2] / "docs" / "data-card.md"
    made = card_markdown(Card("sample:llm-written", describe(read_source("sample:llm-written"))))
    assert page.read_text(encoding="utf-8") == made, "run: embedloom card sample:llm-written, and move data.md there"
