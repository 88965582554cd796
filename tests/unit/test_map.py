"""The map of an index: groups that are there are found, named and kept apart; the same index gives the same map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedloom.records import Document
from embedloom.search.index import create_index
from embedloom.search.map import SHOWN, group_names, layout, map_of
from word_embedder import WordEmbedder

SUBJECTS = {
    "ovens": "bakers heat stone ovens",
    "ferries": "river ferries cross water",
    "violins": "violin strings sing",
}


def around(centres: int, each: int, *, width: float, dimension: int = 24, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    middle = np.repeat(np.eye(dimension)[:centres], each, axis=0)
    d_ND = middle + width * draw.normal(size=(centres * each, dimension))
    return (d_ND / np.linalg.norm(d_ND, axis=1, keepdims=True)).astype(np.float32)


def test_groups_are_found_and_no_two_cover_each_other() -> None:
    d_ND = around(5, 60, width=0.02)
    xy_N2, group_N = layout(d_ND)
    assert [len(set(group_N[start : start + 60])) for start in range(0, 300, 60)] == [1] * 5
    assert len(set(group_N)) == 5
    assert np.abs(xy_N2).max() == pytest.approx(1)
    for one in range(5):
        own = xy_N2[group_N == one]
        inside = np.linalg.norm(own - own.mean(axis=0), axis=1).max()
        others = np.linalg.norm(xy_N2[group_N != one] - own.mean(axis=0), axis=1).min()
        assert others > 0.8 * inside


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_vectors_have_a_place(count: int, dimension: int, seed: int, same: bool) -> None:
    d_ND = np.random.default_rng(seed).normal(size=(1 if same else count, dimension))
    d_ND = np.repeat(d_ND, count, axis=0) if same else d_ND
    d_ND = (d_ND / np.linalg.norm(d_ND, axis=1, keepdims=True)).astype(np.float32)
    xy_N2, group_N = layout(d_ND, seed=seed)
    assert xy_N2.shape == (count, 2)
    assert np.isfinite(xy_N2).all()
    assert np.abs(xy_N2).max() <= 1 + 1e-9
    assert set(group_N) == set(range(group_N.max() + 1))


def test_a_map_of_an_index_names_its_groups_and_is_drawn_by_its_seed(tmp_path: Path) -> None:
    documents = [
        Document(f"{subject}-{number}", f"{text} {number} {'x' * 300}", subject.title())
        for subject, text in SUBJECTS.items()
        for number in range(40)
    ]
    index = create_index(tmp_path / "index", documents, WordEmbedder())
    whole = map_of(index)
    assert (len(whole.points), whole.documents) == (120, 120)
    assert sum(group.documents for group in whole.groups) == 120
    contents = {document.id: document.content for document in documents}
    for point in whole.points:
        assert len(point.text) == SHOWN
        assert contents[point.document_id].startswith(point.text[:100])
        subject = point.document_id.partition("-")[0]
        assert subject in whole.groups[point.group].name or set(SUBJECTS[subject].split()) & set(
            whole.groups[point.group].name.split(" · ")
        )
    assert map_of(index) == whole
    few = map_of(index, points=10, seed=1)
    assert len(few.points) == 10
    assert {p.document_id for p in few.points} != {p.document_id for p in map_of(index, points=10, seed=2).points}


def test_names_are_the_words_that_tell_groups_apart() -> None:
    texts = ["the red fox 12", "the red fox 12", "the old boat 12", "the old boat 12", "東京 の 塔", "東京 の 塔"]
    first, second, third = group_names(texts, [0, 0, 1, 1, 2, 2])
    assert first == "fox · red · the"
    assert second.startswith("boat · old")
    assert set(third) <= set("東京の塔 ·")
    assert group_names(["alone"], [0]) == [""]
