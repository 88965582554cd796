import json
from random import Random

import pytest

from embedloom.data.known_item import Item, clean_items, known_item_set, passages, split_groups
from embedloom.data.python_docs import SKIPPED, python_documentation
from embedloom.data.text_folder import PASSAGE_WORDS, UNSPACED_WORDS, WORD_LETTERS, folder_documents, folder_items
from embedloom.data.words import normalised, sentences, unspaced_share, words
from embedloom.errors import DataError


def items(groups: int = 10, each: int = 4) -> list[Item]:
    return [
        Item(f"{g}-{n}", f"g{g}", f"summary number {g} {n}", f"the rest of text {g} {n}")
        for g in range(groups)
        for n in range(each)
    ]


def test_the_interpreter_carries_about_two_thousand_items() -> None:
    found = python_documentation()
    assert len(found) > 1000
    assert len({item.id for item in found}) == len(found)
    assert len({normalised(item.rest) for item in found}) == len(found)
    assert not {item.group for item in found} & SKIPPED
    for item in found:
        assert f" {normalised(item.summary)} " not in f" {normalised(item.rest)} "
        assert item.rest == " ".join(item.rest.split())
        assert item.id.split(".")[0] == item.group


def test_documentation_holds_what_everybody_knows() -> None:
    by_id = {item.id: item for item in python_documentation()}
    partition = by_id["builtins.str.partition"]
    assert partition.summary == "Partition the string into three parts using the given separator."
    assert partition.rest.startswith("This will search for the separator in the string.")


def test_split_is_disjoint_and_near_the_share() -> None:
    train, evaluation = split_groups(items(), 0.3, seed=4)
    assert not {item.group for item in train} & {item.group for item in evaluation}
    assert len(train) + len(evaluation) == 40
    assert len(evaluation) == 12


def test_split_depends_on_the_seed_not_on_the_order() -> None:
    whole = items()
    chosen = {item.group for item in split_groups(whole, 0.3, seed=1)[1]}
    assert chosen == {item.group for item in split_groups(whole[::-1], 0.3, seed=1)[1]}
    assert any(chosen != {item.group for item in split_groups(whole, 0.3, seed=seed)[1]} for seed in range(2, 6))


@pytest.mark.parametrize(("rows", "share"), [(items(1), 0.3), (items(), 0.0), (items(), 1.0)])
def test_split_refuses_what_it_cannot_split(rows: list[Item], share: float) -> None:
    with pytest.raises(DataError):
        split_groups(rows, share, seed=0)


def test_items_that_quote_their_summary_or_repeat_are_dropped() -> None:
    kept = clean_items(
        [
            Item("a", "g", "Opens a file.", "It returns a handle to the caller."),
            Item("b", "g", "Other words.", "It returns a HANDLE, to the caller"),
            Item("c", "g", "Closes a file.", "This one closes a file and returns."),
        ]
    )
    assert [item.id for item in kept] == ["a"]


def test_known_item_set_asks_for_evaluation_items_among_all() -> None:
    whole = items()
    whole[0] = Item("0-0", "g0", "Shared words", "one rest")
    whole[1] = Item("0-1", "g0", "shared  words.", "another rest")
    found = known_item_set(whole, whole[:4])
    assert set(found.queries) == {"0-2", "0-3"}
    assert found.qrels["0-2"] == {"0-2": 1}
    assert {document.id: document.text for document in found.corpus} == {item.id: item.rest for item in whole}
    assert [document.id for document in passages(whole[:2])] == ["0-0", "0-1"]
    with pytest.raises(DataError, match="every summary"):
        known_item_set(whole, whole[:2])


SENTENCE = "The {} of the valley is told in many ways by those who live along its river. "


def write_markdown(path, name: str, sections: int) -> None:
    text = "# Guide\n\n" + "\n".join(
        f"## About {name} part {n}\n\n" + "".join(SENTENCE.format(f"{name}{n}{k}") for k in range(6)) + "\n"
        for n in range(sections)
    )
    (path / f"{name}.md").write_text(text, encoding="utf-8")


def test_folder_takes_headings_as_summaries_and_files_as_groups(tmp_path) -> None:
    for n in range(12):
        write_markdown(tmp_path, f"topic{n}", 2)
    found = folder_items(tmp_path)
    assert len(found) == 24
    assert found[0].summary == "About topic0 part 0"
    assert found[0].group == "topic0.md"
    assert "About" not in found[0].rest
    assert len({item.group for item in found}) == 12


def test_few_files_are_split_by_passage(tmp_path) -> None:
    write_markdown(tmp_path, "only", 5)
    assert len({item.group for item in folder_items(tmp_path)}) == 5


def test_long_text_is_cut_into_passages(tmp_path) -> None:
    paragraphs = ["".join(SENTENCE.format(f"p{n}s{k}") for k in range(3)) for n in range(30)]
    paragraphs.append("".join(SENTENCE.format(f"endless{k}") for k in range(100)))
    paragraphs.append(" ".join(f"w{n}" for n in range(1000)))
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    found = folder_items(tmp_path)
    assert len(found) > 15
    assert all(len(words(f"{item.summary} {item.rest}")) <= PASSAGE_WORDS[1] for item in found)


def test_underlined_titles_of_restructured_text(tmp_path) -> None:
    body = "".join(SENTENCE.format(k) for k in range(5))
    (tmp_path / "a.rst").write_text(
        f"======\nUsing the tool\n======\n\n{body}\n\nOther part here\n---------------\n\n{body}x\n"
    )
    assert [item.summary for item in folder_items(tmp_path)] == ["Using the tool", "Other part here"]


def test_a_comment_in_a_code_block_is_no_heading(tmp_path) -> None:
    body = "".join(SENTENCE.format(k) for k in range(5))
    (tmp_path / "a.md").write_text(f"# The real heading\n\n```\n# a comment in code\n```\n\n{body}\n")
    assert [item.summary for item in folder_items(tmp_path)] == ["The real heading"]


def test_jsonl_rows_are_texts_of_their_own(tmp_path) -> None:
    rows = [{"_id": f"d{n}", "title": f"Title number {n}", "text": SENTENCE.format(n) * 3} for n in range(12)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = folder_items(tmp_path)
    assert [item.id for item in found[:2]] == ["corpus.jsonl:d0#1", "corpus.jsonl:d1#1"]
    assert [item.summary for item in found[:2]] == ["Title number 0", "Title number 1"]
    assert len({item.group for item in found}) == 12


def test_words_of_scripts_without_spaces() -> None:
    assert words("今天天气很好。") == list("今天天气很好")
    assert words("Ünï-code's ﬁne") == ["uni", "code", "s", "fine"]
    assert len(words("हिन्दी में लिखा")) == 3
    assert unspaced_share("ภาษาไทย") == 1.0
    assert normalised("  The CAT, sat. ") == "the cat sat"


def test_sentences_end_at_marks_not_at_abbreviations() -> None:
    assert sentences("Use e.g. This one. Then stop.") == ["Use e.g. This one.", "Then stop."]
    assert sentences("Version 3.11 of it. Next") == ["Version 3.11 of it.", "Next"]
    assert sentences("好的。再见。") == ["好的。", "再见。"]


THAI = "กขคงจฉชซญดตถทนบปผพฟมยรลวสหอ"
CHINESE = "山谷河流过许多村庄经森林草地从来没停下"
LONG = " ".join(f"this clause number {n} goes on without any mark at all" for n in range(8)) + "."


def test_every_passage_is_searched_if_it_makes_a_query_or_not(tmp_path) -> None:
    quoting = "The heat pump stands in the cellar. " + SENTENCE.format("cellar") * 3
    (tmp_path / "a.md").write_text(f"# Heat pump\n\n{quoting}\n\n# Terms\n\n{LONG}\n", encoding="utf-8")
    (tmp_path / "note.txt").write_text("The spare key lies under the third pot.", encoding="utf-8")
    (tmp_path / "same.txt").write_text("the spare KEY lies under the third pot", encoding="utf-8")
    write_markdown(tmp_path, "topic", 2)
    found = folder_documents(tmp_path)
    assert {(one.title, one.text) for one in found} >= {
        ("Heat pump", " ".join(quoting.split())),
        ("Terms", LONG),
        ("", "The spare key lies under the third pot."),
    }
    asked = folder_items(tmp_path)
    assert {item.id for item in asked} == {"topic.md#1", "topic.md#2"}
    assert len(found) == len({one.id for one in found}) == 5
    assert {item.id for item in asked} < {one.id for one in found}


@pytest.mark.parametrize("letters", [THAI, CHINESE], ids=["thai", "chinese"])
@pytest.mark.parametrize("spaces", [0, 12])
def test_a_text_without_sentences_has_a_summary_too(tmp_path, letters: str, spaces: int) -> None:
    draw = Random(3)
    for name in ("a.txt", "b.txt"):
        drawn = "".join(draw.choices(letters, k=400))
        text = " ".join(drawn[n : n + spaces] for n in range(0, 400, spaces)) if spaces else drawn
        (tmp_path / name).write_text(text, encoding="utf-8")
        cut = "".join(one.text for one in folder_documents(tmp_path) if one.id.startswith(name))
        assert cut.replace(" ", "") == drawn
    found = folder_items(tmp_path)
    assert len(found) >= 4
    for item in found:
        assert 2 <= len(words(item.summary)) <= UNSPACED_WORDS
        assert len(words(item.rest)) >= 20


def test_what_is_no_text_makes_no_endless_passage(tmp_path) -> None:
    picture = "![](data:image/png;base64," + "iVBORw0KGgo+/x" * 20_000 + ")"
    (tmp_path / "a.md").write_text(
        f"# A picture\n\n{SENTENCE * 3}\n\n{picture}\n\nand text behind it", encoding="utf-8"
    )
    (tmp_path / "b.txt").write_text(
        f"{SENTENCE * 3}\n\n{'x' * 50_000} {','.join(map(str, range(9000)))}", encoding="utf-8"
    )
    found = folder_documents(tmp_path)
    assert max(len(one.text) for one in found) <= WORD_LETTERS * sum(PASSAGE_WORDS)
    assert not any("iVBOR" in one.text for one in found)
    assert any("and text behind it" in one.text for one in found)


def test_rows_with_one_id_are_one_text_and_none_has_anothers_id(tmp_path) -> None:
    rows = [
        {"_id": "x", "text": SENTENCE.format("first") * 3},
        {"_id": "x", "text": SENTENCE.format("second") * 3},
        {"_id": None, "text": SENTENCE.format("third") * 3},
        {"_id": 3, "text": SENTENCE.format("fourth") * 3},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [one.id for one in folder_documents(tmp_path)] == [
        "a.jsonl:x#1",
        "a.jsonl:x#2",
        "a.jsonl:3#1",
        "a.jsonl:3#2",
    ]


def test_a_page_of_initials_takes_no_time(tmp_path) -> None:
    text = "A. " * 100_000
    assert len(sentences(text)) == 1
