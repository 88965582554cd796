"""The front page in a real browser: every view works, from the keyboard too, asks nobody else, and runs no text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Page, browser, chromium
from embedloom.llm.scripted import ScriptedLLM
from embedloom.records import Document
from embedloom.search.index import create_index
from embedloom.serve.app import make_app
from embedloom.serve.service import Service
from live import live
from word_embedder import WordEmbedder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason="needs Chromium")]

EVIL = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script> foxes hunt"
DOCUMENTS = [
    Document("ferries", "🛶 The pier is old. River ferries cross at noon. Nobody pays.", "River <b>ferries</b>"),
    Document("ovens", "Bakers heat stone ovens before dawn."),
    Document("<i>evil</i>", EVIL),
    *(Document(f"more {number}", f"word{number} and copper kettles boil") for number in range(40)),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    script = folder / "script.jsonl"
    script.write_text('{"text": "River ferries cross at noon [1]. Violins <b>sing</b> [77]."}\n', encoding="utf-8")
    index = create_index(folder / "index", DOCUMENTS, WordEmbedder())
    app = make_app(Service(WordEmbedder(), index=index), chats=[ScriptedLLM(script)], threshold=0.5)
    with live(app) as found:
        yield found


@pytest.fixture(scope="module")
def shared() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(shared: Page, address: str) -> Iterator[Page]:
    shared.size(1100, 800)
    shared.open("about:blank")
    shared.trouble.clear()
    shared.asked.clear()
    shared.open(address)
    shared.until("document.getElementById('model').textContent.includes('43 documents')")
    yield shared
    own = [url for url in shared.asked if url.startswith((f"{address}/", "about:", "data:"))]
    assert shared.asked == own
    # A browser asks for an icon by itself.
    assert [one for one in shared.trouble if "favicon.ico" not in one] == []
    assert shared.run("document.title").endswith("embedloom")
    assert (
        shared.run("document.querySelectorAll('img, b:not(.score b), i:not(.bar i, .groups i), a, iframe').length") == 0
    )


def test_search_from_the_keyboard_marks_what_a_hit_was_found_for(page: Page) -> None:
    assert page.run("document.activeElement.id") == "query"
    page.write("ferries cross noon river")
    page.key("Enter")
    assert page.until("document.querySelector('#search mark')?.textContent") == "River ferries cross at noon."
    assert page.text("#search li h2") == "River <b>ferries</b>"
    assert page.run("document.querySelector('#search li .bar i').style.width.endsWith('%')")
    page.key("ArrowDown")
    page.key("ArrowDown")
    assert page.run("[...document.querySelectorAll('#search li')].indexOf(document.activeElement)") == 1
    page.key("Enter")
    assert page.run("document.activeElement.classList.contains('open')")
    page.key("ArrowUp")
    page.key("ArrowUp")
    assert page.run("document.activeElement.id") == "query"
    assert "ferries" in page.run("location.hash")


def test_text_of_a_document_is_shown_never_run(page: Page) -> None:
    page.write("foxes hunt")
    page.key("Enter")
    page.until("document.querySelector('#search mark')")
    shown = page.run("[...document.querySelectorAll('#search li')].map(one => one.innerText).join('')")
    assert "<i>evil</i>" in shown
    assert "<script>document.title='evil'</script>" in shown


def test_ask_and_from_there_to_the_sources(page: Page) -> None:
    page.run("document.activeElement.blur()")
    page.key("2")
    assert page.run("document.activeElement.id") == "question"
    page.write("when do river ferries cross")
    page.key("Enter")
    page.until("document.querySelector('.answer')")
    assert page.text(".answer .said") == "River ferries cross at noon 1. Violins <b>sing</b> [77?]."
    page.click(".cite")
    assert page.run("document.activeElement.innerText.includes('[1] ferries')")
    assert "not shown" in page.text("#ask .state")
    page.click(".answer .small")
    page.until("document.querySelectorAll('#attribute li').length == 2")
    assert page.text("#attribute .source mark") == "River ferries cross at noon."
    assert page.text("#attribute li.none .verdict").startswith("no source found")
    assert "1 without a source" in page.text("#attribute .state")


def test_sources_of_a_text_that_is_pasted(page: Page) -> None:
    page.click("#tab-attribute")
    assert page.run("document.activeElement.id") == "text"
    page.write("Bakers heat stone ovens before dawn.\nA sentence from elsewhere.")
    page.key("Enter", control=True)
    page.until("document.querySelectorAll('#attribute li').length == 2")
    assert page.run("[...document.querySelectorAll('#attribute li')].map(one => one.className)") == ["", "none"]


def test_the_map_shows_a_document_where_the_pointer_is(page: Page) -> None:
    page.write("bakers ovens")
    page.key("Enter")
    page.until("document.querySelector('#search li')")
    page.click("#tab-map")
    page.until("document.querySelectorAll('.groups button').length > 1")
    assert "43 documents" in page.text("#map .state")
    x, y = page.run(
        "(at => (r => [r.x + at[0], r.y + at[1]])(part('map', 'canvas').getBoundingClientRect()))"
        "(chart.places[chart.points.findIndex(one => one.document_id === 'ovens')])"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert "ovens" in page.until("!document.querySelector('.tip').hidden && document.querySelector('.tip').innerText")
    page.click_at(x, y)
    picked = page.until("!document.querySelector('.picked').hidden && document.querySelector('.picked').innerText")
    assert "ovens · hit 1" in picked
    page.run("part('map', 'canvas').focus()")
    page.key("ArrowLeft")
    page.key("ArrowRight")
    page.click(".groups button")
    assert page.run("document.querySelector('.groups button').getAttribute('aria-pressed')") == "true"


def test_it_fits_a_phone(page: Page, address: str) -> None:
    page.size(360, 740, scale=2, phone=True)
    for view in ("search", "ask", "attribute", "map"):
        page.click(f"#tab-{view}")
        assert page.run("document.documentElement.scrollWidth") <= 360, view
        small = page.run("[...document.querySelectorAll('[role=tab]')].map(one => one.getBoundingClientRect().height)")
        assert min(small) >= 32


def test_a_key_is_asked_for_where_the_server_wants_one(shared: Page, tmp_path: Path) -> None:
    index = create_index(tmp_path / "index", DOCUMENTS[:2], WordEmbedder())
    with live(make_app(Service(WordEmbedder(), index=index), key="sesame")) as address:
        shared.open(address)
        shared.until("!document.getElementById('guard').hidden")
        shared.run("document.getElementById('key').focus()")
        shared.write("sesame")
        shared.run("document.getElementById('query').focus()")
        shared.write("ferries")
        shared.key("Enter")
        assert shared.until("document.querySelectorAll('#search li').length") == 2
