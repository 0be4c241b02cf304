"""Clusters of items that a model recommends to the same users, named by the words that tell them apart."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.insight.categories import Categories, Colours, categories_for_colours
from recae.insight.layout import principal, unit_rows
from recae.insight.vectors import ItemVectors
from recae.recommender import Recommender

MOST: Final = 12
"""Clusters at most: as many as there are colours that everybody can tell apart."""

_EACH: Final = 20  # items for each cluster, at least on average
_NUMBERS: Final = 30  # of an item's vector that are clustered: its largest principal components
_STARTS: Final = 8  # of k-means; the best end is taken
_ROUNDS: Final = 50  # of k-means after each start
_WORDS: Final = 3  # in a name
_NAMED_BY: Final = 3  # items of the cluster, at least, that a telling word must occur in
_HAN, _KATAKANA = r"\u3400-\u4dbf\u4e00-\u9fff", r"\u30a1-\u30ff"  # written without blanks between words
_TOKEN: Final = re.compile(
    rf"[{_HAN}]{{2,}}|[{_KATAKANA}]{{2,}}|[^\W{_HAN}{_KATAKANA}]+(?:[-'’][^\W{_HAN}{_KATAKANA}]+)*"
)
_ALL_HAN: Final = re.compile(rf"[{_HAN}]+")
_SHORT: Final = re.compile(rf"[{_HAN}{_KATAKANA}]+")  # of which two signs are a word


def find_colours(
    recommender: Recommender, items: NDArray[np.int64], vectors: ItemVectors, count: int | None = None
) -> Colours | None:
    """Return by what a map of items is coloured: the categories of the model's table, or else clusters.

    Args:
        recommender: whose items.
        items: as for `find_clusters`.
        vectors: as for `find_clusters`.
        count: so many clusters, whether there are categories or not; None: clusters only without categories.

    Raises:
        ConfigError, DataError: as `find_clusters`.
    """
    known = None if count is not None else categories_for_colours(recommender, MOST)
    if known is not None:
        return Colours(known, "categories")
    found = find_clusters(recommender, items, vectors, count)
    return None if found is None else Colours(found, "clusters")


def find_clusters(
    recommender: Recommender, items: NDArray[np.int64], vectors: ItemVectors, count: int | None = None
) -> Categories | None:
    """Find clusters among a model's items, and name them.

    Args:
        recommender: whose items.
        items: their rows, int64 of shape (n,), most owned first; the others are in no cluster.
        vectors: of the recommender's items, made by the scores of the whole model, all parts of a blend.
        count: how many clusters, from 1 to `MOST`; None: one for every 20 items, `MOST` at most.

    Returns:
        The clusters as categories, the largest first; None for fewer than 40 items where no count is given.

    Raises:
        ConfigError: the count is out of range.
        DataError: the model scores every history alike.
    """
    if count is not None and not 1 <= count <= MOST:
        raise ConfigError(
            f"a map has from 1 to {MOST} clusters, but {count} were asked for; give such a number"
        )
    k = min(items.size, MOST if count is None else count)
    if count is None:
        k = min(k, items.size // _EACH)
        if k < 2:
            return None
    labels = cluster(np.ascontiguousarray(vectors.vectors[items]), k)
    ids, names = recommender.items, recommender.item_names
    known = [None] * labels.size if names is None else names.take(pa.array(items)).to_pylist()
    texts = [name or ids.id(int(row)) for name, row in zip(known, items, strict=True)]
    codes = np.full(len(ids), -1, dtype=np.int32)
    codes[items] = labels
    return Categories(telling_names(texts, labels), codes)


def cluster(vectors: NDArray[np.float32], k: int) -> NDArray[np.int32]:
    """Cluster vectors by their directions: k-means on the largest principal components of the unit vectors.

    The starts are drawn by k-means++ (Arthur and Vassilvitskii 2007) with seeds of their own; of their ends that of the
    least squared distances is taken.

    Args:
        vectors: float32 of shape (n, d), finite; a vector of zeros has no direction and belongs nowhere.
        k: how many clusters, n at most; vectors in one place leave fewer.

    Returns:
        int32 of shape (n,), clusters from 0, the largest first (of equals that of the first vector); -1 for zeros.
    """
    from scipy.cluster.vq import kmeans2

    labels = np.full(len(vectors), -1, dtype=np.int32)
    somewhere = np.flatnonzero(vectors.any(axis=1))
    if not somewhere.size:
        return labels
    places = principal(unit_rows(vectors[somewhere]), _NUMBERS)
    # of length 1 again: items that are close to the mean would else be one large cluster of nothing in particular
    places /= np.maximum(np.sqrt((places**2).sum(axis=1, keepdims=True)), 1e-30)
    best, least = np.zeros(somewhere.size, dtype=np.int64), np.inf
    for seed in range(_STARTS):
        start = _spread(places, k, np.random.default_rng(seed))
        with warnings.catch_warnings():  # of clusters that nothing is closest to; they are left out below
            warnings.simplefilter("ignore", UserWarning)
            centres, found = kmeans2(places, start, iter=_ROUNDS, minit="matrix")
        cost = float(((places - centres[found]) ** 2).sum())
        if cost < least:
            best, least = found.astype(np.int64), cost
    _, first, renamed, sizes = np.unique(best, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    labels[somewhere] = np.argsort(order)[renamed]
    return labels


def _spread(places: NDArray[np.float64], k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw k starting centres, (k, d), each with a chance by its squared distance from those before."""
    chosen = [int(rng.integers(len(places)))]
    apart = ((places - places[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < k and apart.any():
        upto = np.cumsum(apart)
        chosen.append(
            int(np.searchsorted(upto, rng.random() * upto[-1], side="right").clip(0, len(upto) - 1))
        )
        apart = np.minimum(apart, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
    return places[chosen]


def telling_names(texts: Sequence[str], labels: NDArray[np.int32]) -> list[str]:
    """Name clusters by their telling words, which are more frequent in their items' names than in all names.

    Of a word in a fraction p of a cluster's names and a fraction q of all, p·ln(p/q) is what it adds to the
    Kullback-Leibler divergence of the two. A cluster is named by up to three words of the largest such values, of three
    letters or more and in three of its names at least. A word names one cluster only, and no word is the beginning of
    another in a name. Where no blanks part words, two Han signs in a row and any row of Katakana are words. A cluster
    without such words is named after its first item.

    Args:
        texts: names of the items, or ids where these say what an item is; most owned first.
        labels: int32 of shape (items,), their clusters from 0; -1 for items of none.

    Returns:
        A name for each cluster, no two alike.
    """
    words = [_words(text) for text in texts]
    spelled: dict[str, Counter[str]] = {}
    inside: list[Counter[str]] = [Counter() for _ in range(int(labels.max(initial=-1)) + 1)]
    everywhere: Counter[str] = Counter()
    for own, label in zip(words, labels.tolist(), strict=True):
        everywhere.update(own.keys())
        for word, spelling in own.items():
            spelled.setdefault(word, Counter())[spelling] += 1
        if label >= 0:
            inside[label].update(own.keys())
    sizes = np.bincount(labels[labels >= 0], minlength=len(inside))
    values = [
        (float(n / size * np.log(n / size * len(texts) / everywhere[word])), word, label)
        for label, (counts, size) in enumerate(zip(inside, sizes.tolist(), strict=True))
        for word, n in counts.items()
        if n >= _NAMED_BY
    ]
    chosen: list[list[str]] = [[] for _ in inside]
    taken: set[str] = set()
    for value, word, label in sorted(values, key=lambda entry: (-entry[0], entry[1], entry[2])):
        others = chosen[label]
        alike = any(word.startswith(other) or other.startswith(word) for other in others)
        if value > 0 and word not in taken and not alike and len(others) < _WORDS:
            others.append(word)
            taken.add(word)
    firsts = [int(np.argmax(labels == label)) for label in range(len(inside))]
    names = [
        ", ".join(_spelling(spelled[word]) for word in own) or f"like {texts[first]}"
        for own, first in zip(chosen, firsts, strict=True)
    ]
    return _apart(names)


def _apart(names: Sequence[str]) -> list[str]:
    """Return the names, those that occurred before with a number."""
    given: list[str] = []
    for name in names:
        number, own = 1, name
        while own in given:
            number += 1
            own = f"{name} ({number})"
        given.append(own)
    return given


def _words(text: str) -> dict[str, str]:
    """Return the words of a name that may tell something, in small letters, and how each is written there."""
    found: list[str] = []
    for token in _TOKEN.findall(unicodedata.normalize("NFC", text)):
        if _ALL_HAN.fullmatch(token):
            found += (token[at : at + 2] for at in range(len(token) - 1))
        elif _SHORT.fullmatch(token) or (
            sum(map(str.isalpha, token)) >= 3 and not any(map(str.isdecimal, token))
        ):
            found.append(token)
    return {word.lower(): word for word in found}


def _spelling(forms: Counter[str]) -> str:
    """Return how a word is most often written, the first by text of equals; capitals throughout become small."""
    form = min(forms, key=lambda one: (-forms[one], one))
    return form.lower() if form.isupper() else form
