"""A map of an index: a sample of its documents in the plane, in groups that are named by their words.

The groups are k-means clusters in the space of the sample's principal components. Each is a disc as large as it has
documents, laid out by its own two principal components; the discs stand where the groups lie furthest apart for their
width (Fisher's linear discriminants), moved until none covers another. So near groups are alike and near documents of
one group are alike; a distance across two groups says little.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedloom.data.words import collapse, unspaced_share_of, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedloom.records import Vectors
    from embedloom.search.index import VectorIndex

    Numbers = NDArray[np.float64]

COMPONENTS = 32
"""Principal components in which groups are looked for."""
TRIALS = 4
"""Starts of k-means: the best is taken."""
GROUPS = 12
"""At most: more can't be told apart by their colour."""
NAMES = 3
"""Words in the name of a group."""
ROOM = 1.12
"""Of the discs, in their radii."""
SHOWN = 240
"""Characters of a document on the map."""


@dataclass(frozen=True, slots=True)
class Point:
    """A document in the plane, -1 to 1 both ways; `text` is its beginning."""

    document_id: str
    x: float
    y: float
    group: int
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """Documents that lie together: the words that set them apart, how many they are, and their middle."""

    name: str
    documents: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class IndexMap:
    """Points and groups; `documents` is how many the whole index holds."""

    points: tuple[Point, ...]
    groups: tuple[Group, ...]
    documents: int


def map_of(index: VectorIndex, *, points: int = 2000, seed: int = 0) -> IndexMap:
    """The map of an index.

    Args:
        index: the documents.
        points: documents on the map; drawn at random where the index holds more.
        seed: of the draw and of the groups.
    """
    documents, d_ND = index.sample_with_vectors(points, seed=seed)
    xy_N2, group_N = layout(d_ND, seed=seed)
    texts = [collapse(document.content) for document in documents]
    names = group_names(texts, group_N.tolist())
    groups = []
    for number, name in enumerate(names):
        own = xy_N2[group_N == number]
        groups.append(Group(name, len(own), *np.round(np.median(own, axis=0), 4).tolist()))
    shown = [
        Point(document.id, round(float(x), 4), round(float(y), 4), int(group), text[:SHOWN])
        for document, (x, y), group, text in zip(documents, xy_N2, group_N, texts, strict=True)
    ]
    return IndexMap(tuple(shown), tuple(groups), len(index))


def layout(d_ND: Vectors, *, seed: int = 0) -> tuple[Numbers, NDArray[np.int64]]:
    """Places in the plane, shape (N, 2), each coordinate within -1 and 1, and the group of each vector, shape (N,).

    Args:
        d_ND: unit vectors, at least one.
        seed: of the groups' first centres.
    """
    z_NC = _principal(d_ND)
    wanted = int(np.clip(round(math.sqrt(len(z_NC) / 12)), 1, GROUPS))
    group_N = _groups(z_NC, wanted, np.random.default_rng(seed))
    count = int(group_N.max()) + 1
    plane_N2 = _discriminants(z_NC, group_N)
    centres_K2 = np.stack([plane_N2[group_N == number].mean(axis=0) for number in range(count)])
    radius_K = np.sqrt(np.bincount(group_N) / len(z_NC))
    centres_K2 = _apart(centres_K2, radius_K)
    xy_N2 = np.empty((len(z_NC), 2))
    for number in range(count):
        own = group_N == number
        xy_N2[own] = centres_K2[number] + radius_K[number] * _disc(z_NC[own])
    middle_2 = (xy_N2.max(axis=0) + xy_N2.min(axis=0)) / 2
    most = np.abs(xy_N2 - middle_2).max()
    return (xy_N2 - middle_2) / (most if most > 0 else 1.0), group_N


def group_names(texts: Sequence[str], groups: Sequence[int]) -> list[str]:
    """For each group the words that many of its texts have and few of the others; empty where there are none."""
    found = [{word for word in words(text) if _tells(word)} for text in texts]
    everywhere = Counter(word for one in found for word in one)
    inside: list[Counter[str]] = [Counter() for _ in range(max(groups) + 1)]
    sizes = Counter(groups)
    for one, group in zip(found, groups, strict=True):
        inside[group].update(one)
    names = []
    for group, counts in enumerate(inside):
        worth = {
            # Squared, so that a word of every second text names nothing.
            word: count / sizes[group] * math.log((1 + len(texts)) / everywhere[word]) ** 2
            for word, count in counts.items()
            if count > 1
        }
        names.append(" · ".join(sorted(worth, key=lambda word: (-worth[word], word))[:NAMES]))
    return names


def _tells(word: str) -> bool:
    # A single letter of a script without spaces is a word; of others, and as a number, it says nothing.
    return not word.isdigit() and (len(word) > 2 or unspaced_share_of([word]) > 0)


def _principal(d_ND: Vectors) -> Numbers:
    """The vectors' first principal components, shape (N, at least 2)."""
    centred_ND = d_ND.astype(np.float64) - d_ND.mean(axis=0, dtype=np.float64)
    _, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    z_NC: Numbers = centred_ND @ _pointed(axes_DD[:, ::-1][:, :COMPONENTS])
    return z_NC


def _groups(z_NC: Numbers, count: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """The best of several k-means; empty groups are left out, the others numbered by their size."""
    tried = [_means(z_NC, count, draw) for _ in range(TRIALS)]
    _, group_N = min(tried, key=lambda one: one[0])
    sizes = np.bincount(group_N)
    order = [number for number in np.argsort(-sizes, kind="stable") if sizes[number]]
    rank = {number: place for place, number in enumerate(order)}
    return np.array([rank[number] for number in group_N], dtype=np.int64)


def _means(z_NC: Numbers, count: int, draw: np.random.Generator) -> tuple[float, NDArray[np.int64]]:
    """k-means from k-means++ centres: the sum of squared distances, and the group of each, shape (N,)."""
    centres_KC = z_NC[draw.integers(len(z_NC))][None]
    for _ in range(count - 1):
        far_N = _squares(z_NC, centres_KC).min(axis=1)
        if not far_N.sum() > 0:
            break
        centres_KC = np.concatenate([centres_KC, z_NC[draw.choice(len(z_NC), p=far_N / far_N.sum())][None]])
    group_N = np.full(len(z_NC), -1)
    for _ in range(50):
        nearest_N = _squares(z_NC, centres_KC).argmin(axis=1)
        if np.array_equal(nearest_N, group_N):
            break
        group_N = nearest_N
        for number in np.unique(group_N):
            centres_KC[number] = z_NC[group_N == number].mean(axis=0)
    return float(_squares(z_NC, centres_KC).min(axis=1).sum()), group_N


def _discriminants(z_NC: Numbers, group_N: NDArray[np.int64]) -> Numbers:
    """The plane in which the groups lie furthest apart for their width, shape (N, 2)."""
    count = int(group_N.max()) + 1
    if count < 3 or z_NC.shape[1] < 2:
        # Two groups lie on a line: the first principal components show more.
        return np.pad(z_NC[:, :2], ((0, 0), (0, max(0, 2 - z_NC.shape[1]))))
    centres_KC = np.stack([z_NC[group_N == number].mean(axis=0) for number in range(count)])
    inner_NC = z_NC - centres_KC[group_N]
    outer_NC = centres_KC[group_N] - z_NC.mean(axis=0)
    within_CC = inner_NC.T @ inner_NC
    # Without it, a component in which groups happen to have no width would be the whole map.
    within_CC += np.eye(len(within_CC)) * np.trace(within_CC) / len(within_CC)
    size_C, axes_CC = np.linalg.eigh(within_CC)
    white_CC = axes_CC / np.sqrt(np.maximum(size_C, 1e-12))
    _, turn_CC = np.linalg.eigh(white_CC.T @ (outer_NC.T @ outer_NC) @ white_CC)
    plane_N2: Numbers = z_NC @ _pointed(white_CC @ turn_CC[:, ::-1][:, :2])
    return plane_N2


def _apart(centres_K2: Numbers, radius_K: Numbers) -> Numbers:
    """The discs' centres, moved as little as it takes until no two discs cover each other."""
    spread = np.abs(centres_K2 - centres_K2.mean(axis=0)).max(initial=0.0)
    # Begun about as wide as all discs side by side in a square would be.
    out_K2: Numbers = (centres_K2 - centres_K2.mean(axis=0)) * (1.2 * np.sqrt((radius_K**2).sum()) / (spread or 1.0))
    for _ in range(500):
        gap_KK2 = out_K2[:, None] - out_K2[None]
        far_KK = np.sqrt((gap_KK2**2).sum(axis=2))
        wanted_KK = ROOM * (radius_K[:, None] + radius_K[None])
        np.fill_diagonal(wanted_KK, 0.0)
        short_KK = np.maximum(wanted_KK - far_KK, 0.0)
        if short_KK.max() < 1e-3:
            break
        # Two in one place are parted along a direction of their own.
        angle_KK = np.arange(len(out_K2))[:, None] - np.arange(len(out_K2))[None] + 0.5
        way_KK2 = np.where(
            far_KK[..., None] > 1e-9,
            gap_KK2 / np.maximum(far_KK, 1e-9)[..., None],
            np.stack([np.cos(angle_KK), np.sin(angle_KK)], axis=2) * np.sign(angle_KK)[..., None],
        )
        out_K2 = out_K2 + (way_KK2 * short_KK[..., None]).sum(axis=1) * 0.4
    return out_K2


def _disc(z_NC: Numbers) -> Numbers:
    """One group by its own two principal components, within a disc of radius 1."""
    centred_NC = z_NC - z_NC.mean(axis=0)
    _, axes_CC = np.linalg.eigh(centred_NC.T @ centred_NC)
    place_N2 = centred_NC @ _pointed(axes_CC[:, ::-1][:, :2])
    place_N2 /= np.maximum(place_N2.std(axis=0), 1e-9)
    # Far ones are drawn in, near ones keep their distances: a disc without holes and without strays.
    length_N1 = np.linalg.norm(place_N2, axis=1, keepdims=True)
    inside_N2: Numbers = place_N2 * np.tanh(length_N1 / 1.8) / np.maximum(length_N1, 1e-9)
    return inside_N2


def _squares(z_NC: Numbers, centres_KC: Numbers) -> Numbers:
    """Squared distances, shape (N, K)."""
    product_NK = z_NC @ centres_KC.T
    squares: Numbers = (z_NC**2).sum(axis=1)[:, None] - 2 * product_NK + (centres_KC**2).sum(axis=1)[None]
    return np.maximum(squares, 0.0)


def _pointed(axes_DC: Numbers) -> Numbers:
    """The axes with the sign that makes their largest entry positive: eigenvectors have none of their own."""
    largest_C = np.abs(axes_DC).argmax(axis=0)
    sign_C = np.sign(axes_DC[largest_C, np.arange(axes_DC.shape[1])])
    return axes_DC * np.where(sign_C == 0, 1.0, sign_C)
