"""A user's own text as known-item search: a folder of txt, md, rst and JSONL files, cut into passages.

A passage ends where the author ended something: at a heading, a paragraph, and in a very long paragraph at a sentence.
Its summary is the heading or title that stands over it, or its first sentence.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from embedloom.data.known_item import Item, clean_items
from embedloom.data.words import collapse, sentences, unspaced_share, words
from embedloom.errors import DataError
from embedloom.run import read_objects

PASSAGE_WORDS = (60, 180)
"""A passage is closed when the next paragraph would bring it over the second number, once it has the first."""

REST_WORDS = 20
"""What must be left of a passage without its summary."""

SUMMARY_WORDS = (2, 40)
FILE_GROUPS = 10
"""With fewer source texts than this, every passage is its own group: whole files could not be split fairly."""

SHOWN_ENDINGS = 5
SUFFIXES = (".txt", ".md", ".rst", ".jsonl", ".jsonl.gz")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_MARKDOWN_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_KEYS = ("_id", "title", "text")


def folder_items(path: Path) -> list[Item]:
    """Items of all text files below a folder, in the order of their names; hidden files and folders are passed over.

    JSONL rows are {"text"[, "title", "_id"]}, each a text of its own. The group is the source text, or the passage
    where there are fewer than 10 source texts.

    Raises:
        DataError: no such folder; a file that is not UTF-8; a malformed JSONL line; no passage long enough.
    """
    if not path.is_dir():
        what = "is a file; expected the folder that holds it" if path.exists() else "no such folder"
        raise DataError(what, path)
    files = [file for file in _files(path) if file.name.endswith(SUFFIXES)]
    if not files:
        others = left_out(path)
        there = f"no text in this folder, but {others}" if others else "no text in this folder"
        raise DataError(f"{there}; expected files that end in {', '.join(SUFFIXES)}", path)
    items = clean_items(item for file in files for item in _file_items(file, file.relative_to(path).as_posix()))
    if not items:
        raise DataError(
            f"no passage is left: each needs a title or first sentence of {SUMMARY_WORDS[0]} to {SUMMARY_WORDS[1]} "
            f"words and {REST_WORDS} words besides; {len(files)} file{'s have' if len(files) > 1 else ' has'} none",
            path,
        )
    if len({item.group for item in items}) < FILE_GROUPS:
        items = [Item(item.id, item.id, item.summary, item.rest) for item in items]
    return items


def left_out(path: Path) -> str:
    """How many files below a folder are not read, by their endings, as in `2 .pdf, 1 .csv`; "" if all are."""
    others = Counter(file.suffix or file.name for file in _files(path) if not file.name.endswith(SUFFIXES))
    shown = [f"{count:,} {ending}" for ending, count in others.most_common(SHOWN_ENDINGS)]
    rest = others.total() - sum(count for _, count in others.most_common(SHOWN_ENDINGS))
    return ", ".join([*shown, *([f"{rest:,} others"] if rest else [])])


def _files(path: Path) -> Iterator[Path]:
    """The files below a folder by name, but for hidden ones: environments and histories are nobody's texts."""
    for file in sorted(path.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
            yield file


def _file_items(file: Path, name: str) -> Iterator[Item]:
    if ".jsonl" in file.suffixes:
        for number, row in read_objects(file):
            title, text = _row(row, file, number)
            yield from _text_items(f"{name}:{row.get('_id', number)}", title, [("", text)])
        return
    content = file.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "UTF-16 text" if marked else f"not UTF-8 text ({error.reason})"
        raise DataError(f"{what}; save it as UTF-8, as iconv does with -f and -t", file) from None
    yield from _text_items(name, "", _sections(lines, headings=file.suffix != ".txt"))


def _row(row: dict[str, object], file: Path, number: int) -> tuple[str, str]:
    for key in _KEYS[1:]:
        if not isinstance(row.get(key, ""), str):
            raise DataError(f"key {key!r}: expected text, got {type(row[key]).__name__}", file, number)
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


def _text_items(name: str, title: str, parts: list[tuple[str, str]]) -> Iterator[Item]:
    number = 0
    for heading, text in parts:
        summary = heading or title
        for passage in _passages(text):
            number += 1
            item = _item(f"{name}#{number}", name, summary, passage)
            if item is not None:
                yield item
            # A heading is the summary of what stands right below it; later passages speak for themselves.
            summary = ""
        title = "" if number else title


def _passages(text: str) -> Iterator[str]:
    """Passages of 60 to 180 words where the paragraphs allow it."""
    least, most = PASSAGE_WORDS
    held: list[str] = []
    count = 0
    for piece in _pieces(text):
        size = len(words(piece))
        if count >= least and count + size > most:
            yield " ".join(held)
            held, count = [], 0
        held.append(piece)
        count += size
    if held:
        yield " ".join(held)


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs; one that is longer than a passage in its sentences, and an endless sentence in runs of words."""
    most = PASSAGE_WORDS[1]
    for paragraph in re.split(r"\n\s*\n", text):
        whole = collapse(paragraph)
        if not whole or not words(whole):
            continue
        if len(words(whole)) <= most:
            yield whole
            continue
        for sentence in sentences(whole):
            spaced = sentence.split(" ")
            for start in range(0, len(spaced), most):
                run = " ".join(spaced[start : start + most])
                size = most if unspaced_share(run) > 0.5 else len(run)
                yield from (run[at : at + size] for at in range(0, len(run), size))


def _item(item_id: str, group: str, heading: str, passage: str) -> Item | None:
    summary, rest = heading, passage
    if not SUMMARY_WORDS[0] <= len(words(summary)) <= SUMMARY_WORDS[1]:
        summary, *more = sentences(passage)
        rest = " ".join(more)
    if not SUMMARY_WORDS[0] <= len(words(summary)) <= SUMMARY_WORDS[1] or len(words(rest)) < REST_WORDS:
        return None
    return Item(id=item_id, group=group, summary=summary, rest=rest)
