"""A user's own text: a folder of txt, md, rst and JSONL files, cut into passages, and known-item search from them.

A passage ends where the author ended something: at a heading, a paragraph, and in a very long paragraph at a sentence.
Its summary is the heading or title that stands over it, or its first sentence; a passage whose summary makes no fair
query is searched all the same.
"""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedloom.data.known_item import Item, clean_items
from embedloom.data.lines import check_unicode
from embedloom.data.words import collapse, normalised, sentences, unspaced_share, words
from embedloom.errors import DataError
from embedloom.records import Document
from embedloom.run import read_objects

PASSAGE_WORDS = (60, 180)
"""A passage is closed when the next paragraph would bring it over the second number, once it has the first."""

REST_WORDS = 20
"""What must be left of a passage without its summary."""

SUMMARY_WORDS = (2, 40)
UNSPACED_WORDS = 80
"""The most of a summary in scripts without spaces, where each letter is a word."""
WORD_LETTERS = 16
"""Letters that a word has at most on average: what is longer is code or data, and ends where a passage must."""
FILE_GROUPS = 10
"""With fewer source texts than this, every passage is its own group: whole files could not be split fairly."""

SHOWN_ENDINGS = 5
SUFFIXES = (".txt", ".md", ".rst", ".jsonl", ".jsonl.gz")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_MARKDOWN_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_EMBEDDED = re.compile(r"\bdata:[\w.+/-]+;base64,[\w+/=%-]*")
_KEYS = ("_id", "title", "text")


@dataclass(frozen=True, slots=True)
class _Passage:
    """Some of a text. `heading` stands right above it; "" where none does."""

    id: str
    group: str
    heading: str
    text: str


def folder_items(path: Path) -> list[Item]:
    """Items of all text files below a folder, in the order of their names.

    JSONL rows are {"text"[, "title", "_id"]}, each a text of its own, or with others of the same _id one. The group is
    the source text, or the passage where there are fewer than 10 source texts.

    Raises:
        DataError: no such folder; a file that is not UTF-8; a malformed JSONL line; no passage long enough.
    """
    files = _text_files(path)
    items = clean_items(item for passage in _all_passages(path, files) if (item := _item(passage)) is not None)
    if not items:
        raise DataError(
            f"no passage is left: each needs a title or first sentence of {SUMMARY_WORDS[0]} to {SUMMARY_WORDS[1]} "
            f"words and {REST_WORDS} words besides; {len(files)} file{'s have' if len(files) > 1 else ' has'} none",
            path,
        )
    if len({item.group for item in items}) < FILE_GROUPS:
        items = [Item(item.id, item.id, item.summary, item.rest) for item in items]
    return items


def folder_documents(path: Path) -> list[Document]:
    """All passages of all text files below a folder, in the order of their names, each text once; the title is the
    heading above it.

    Raises:
        DataError: as `folder_items`, and where there is no word at all.
    """
    documents: list[Document] = []
    seen: set[str] = set()
    for passage in _all_passages(path, _text_files(path)):
        words_alone = normalised(f"{passage.heading} {passage.text}")
        if words_alone not in seen:
            seen.add(words_alone)
            documents.append(Document(passage.id, passage.text, passage.heading))
    if not documents:
        raise DataError("no text in the files of this folder", path)
    return documents


def left_out(path: Path) -> str:
    """How many files below a folder are not read, by their endings, as in `2 .pdf, 1 .csv`; "" if all are."""
    others = Counter(file.suffix or file.name for file in visible_files(path) if not file.name.endswith(SUFFIXES))
    shown = [f"{count:,} {ending}" for ending, count in others.most_common(SHOWN_ENDINGS)]
    rest = others.total() - sum(count for _, count in others.most_common(SHOWN_ENDINGS))
    return ", ".join([*shown, *([f"{rest:,} others"] if rest else [])])


def visible_files(path: Path) -> Iterator[Path]:
    """The files below a folder by name, but for hidden ones and run folders: environments, histories and what was made
    from the texts are nobody's texts."""
    every = sorted(path.rglob("*"))
    runs = {file.parent for file in every if file.name == "recipe.json" and (file.parent / ".lock").exists()} - {path}
    for file in every:
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if not hidden and runs.isdisjoint(file.parents) and file.is_file():
            yield file


def _text_files(path: Path) -> list[Path]:
    if not path.is_dir():
        what = "is a file; expected the folder that holds it" if path.exists() else "no such folder"
        raise DataError(what, path)
    files = [file for file in visible_files(path) if file.name.endswith(SUFFIXES)]
    if not files:
        others = left_out(path)
        there = f"no text in this folder, but {others}" if others else "no text in this folder"
        raise DataError(f"{there}; expected files that end in {', '.join(SUFFIXES)}", path)
    return files


def _all_passages(path: Path, files: list[Path]) -> Iterator[_Passage]:
    for file in files:
        # A name that is no UTF-8 is none in an id either.
        yield from _file_passages(file, os.fsencode(file.relative_to(path).as_posix()).decode("utf-8", "replace"))


def _file_passages(file: Path, name: str) -> Iterator[_Passage]:
    if ".jsonl" in file.suffixes:
        numbers: Counter[str] = Counter()
        for number, row in read_objects(file):
            title, text = _row(row, file, number)
            group = f"{name}:{number if row.get('_id') is None else row['_id']}"
            for passage in _text_passages(group, title, [("", text)], before=numbers[group]):
                numbers[group] += 1
                yield passage
        return
    content = file.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "UTF-16 text" if marked else f"not UTF-8 text ({error.reason})"
        raise DataError(f"{what}; save it as UTF-8, as iconv does with -f and -t", file) from None
    yield from _text_passages(name, "", _sections(lines, headings=file.suffix != ".txt"))


def _row(row: dict[str, object], file: Path, number: int) -> tuple[str, str]:
    for key in _KEYS[1:]:
        if not isinstance(row.get(key, ""), str):
            raise DataError(f"key {key!r}: expected text, got {type(row[key]).__name__}", file, number)
    for key in _KEYS:
        check_unicode(str(row.get(key, "")), key, file, number)
    if "text" not in row:
        raise DataError('key "text" is missing; expected {"text"[, "title", "_id"]}', file, number)
    return collapse(str(row.get("title", ""))), str(row["text"])


def _sections(lines: list[str], *, headings: bool) -> list[tuple[str, str]]:
    """(heading, text) parts of a Markdown or reStructuredText file; plain text is one part without a heading."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    fenced = False
    for number, line in enumerate(lines):
        body = parts[-1][1]
        if _FENCE.match(line):
            fenced = not fenced
        if not headings or fenced:
            body.append(line)
        elif match := _MARKDOWN_HEADING.match(line):
            parts.append((match.group(1), []))
        elif _UNDERLINE.match(line) and body and body[-1].strip() and _stands_alone(body):
            parts.append((body.pop().strip(), []))
        elif _UNDERLINE.match(line) and (number + 2 < len(lines)) and _UNDERLINE.match(lines[number + 2]):
            body.append("")  # the overline of a reStructuredText title
        else:
            body.append(line)
    return [(collapse(heading), "\n".join(body)) for heading, body in parts]


def _stands_alone(body: list[str]) -> bool:
    return len(body) < 2 or not body[-2].strip()


def _text_passages(name: str, title: str, parts: list[tuple[str, str]], *, before: int = 0) -> Iterator[_Passage]:
    number = before
    for heading, text in parts:
        summary = heading or title
        for passage in _passages(text):
            number += 1
            yield _Passage(f"{name}#{number}", name, summary, passage)
            # A heading is the summary of what stands right below it; later passages speak for themselves.
            summary = ""
        title = "" if number > before else title


def _passages(text: str) -> Iterator[str]:
    """Passages of 60 to 180 words where the paragraphs allow it."""
    least, most = PASSAGE_WORDS
    held: list[str] = []
    count = 0
    for piece in _pieces(text):
        size = max(len(words(piece)), len(piece) // WORD_LETTERS)
        if count >= least and count + size > most:
            yield " ".join(held)
            held, count = [], 0
        held.append(piece)
        count += size
    if held:
        yield " ".join(held)


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs; one that is longer than a passage in its sentences, and an endless sentence in runs of words.

    Files that are embedded in Markdown, as pictures are, are left out.
    """
    most = PASSAGE_WORDS[1]
    letters = WORD_LETTERS * most
    for paragraph in re.split(r"\n\s*\n", text):
        whole = collapse(_EMBEDDED.sub(" ", paragraph))
        if not whole or not words(whole):
            continue
        if len(words(whole)) <= most and len(whole) <= letters:
            yield whole
            continue
        for sentence in sentences(whole):
            spaced = sentence.split(" ")
            for start in range(0, len(spaced), most):
                run = " ".join(spaced[start : start + most])
                size = most if unspaced_share(run) > 0.5 else letters
                yield from (run[at : at + size] for at in range(0, len(run), size))


def _item(passage: _Passage) -> Item | None:
    least, most = SUMMARY_WORDS
    unspaced = unspaced_share(passage.text) > 0.5
    most = UNSPACED_WORDS if unspaced else most
    summary, rest = passage.heading, passage.text
    if not least <= len(words(summary)) <= most:
        summary, *more = sentences(passage.text)
        rest = " ".join(more)
    if unspaced and len(words(summary)) > most:
        # No mark ends a sentence there, as in Thai: at a space, if there is one.
        opening = passage.text[:most]
        end = opening.rfind(" ") if " " in opening else most
        summary, rest = opening[:end], passage.text[end:].strip()
    if not least <= len(words(summary)) <= most or len(words(rest)) < REST_WORDS:
        return None
    return Item(id=passage.id, group=passage.group, summary=summary, rest=rest)
