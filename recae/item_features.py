"""Features of items: categories, brand, price band and words as a sparse matrix, hashed to a bounded width."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.item_table import SEPARATOR, ItemTable

WIDTH: Final = 2048
"""Columns of the features: the first is 1 for every item, the others are hashed."""

PRICE_BANDS: Final = 10
"""Bands of as many items each."""

MOST_NUMBERS: Final = 1024
"""Numbers of an embedding that are looked at."""

_TOGETHER: Final = 65_536  # embeddings that are read at a time
_TEXT_BYTES: Final = 2_000  # of a text that are looked at
_WORD: Final = re.compile(r"\w{2,}")


def features_of(table: ItemTable, known: NDArray[np.bool_]) -> sp.csr_matrix:
    """Return the features of items, float32 (rows, `WIDTH` or more); rows without any have the constant alone.

    Words of name and text, each level of the category, the brand and the price band are tokens. A token t of df of the
    n known items weighs ln((1 + n)/(1 + df)), words of a text half; tokens of no known item teach nothing and are left
    out. They are hashed with a sign (Weinberger et al. 2009), and each row is brought to length 1; before it stands the
    constant. Behind it stands the embedding, less the mean of those of the known items and brought to length 1, too, so
    that the width is then `WIDTH` and its D numbers; items with another number of numbers have none.

    Args:
        table: of the items.
        known: the items that were bought, bool (rows,), by whom tokens are weighed and price bands are cut.
    """
    rows = [_tokens(*values) for values in zip(*_columns(table, known), strict=True)]
    frequency = Counter(token for row in np.flatnonzero(known) for token in rows[row])
    n = int(known.sum())
    places = {token: _place(token) for token in frequency}
    indptr, indices, data = [0], [], []
    for tokens in rows:
        own: dict[int, float] = {}
        for token, weight in tokens.items():
            if token in frequency:
                column, sign = places[token]
                own[column] = own.get(column, 0.0) + sign * weight * np.log((1 + n) / (1 + frequency[token]))
        length = np.sqrt(sum(value**2 for value in own.values()))
        entries = [(0, 1.0), *((column, value / length) for column, value in sorted(own.items()) if value)]
        indices += [column for column, _ in entries]
        data += [value for _, value in entries]
        indptr.append(len(indices))
    shape = (len(rows), WIDTH)
    words = sp.csr_matrix(
        (np.array(data, np.float32), np.array(indices, np.int32), np.array(indptr, np.int32)), shape
    )
    embeddings = _embeddings(table, known)
    return words if embeddings is None else sp.csr_matrix(sp.hstack([words, embeddings], format="csr"))


def _embeddings(table: ItemTable, known: NDArray[np.bool_]) -> sp.csr_matrix | None:
    """Return the embeddings of items, less their mean and brought to length 1, (rows, D); None where there are none."""
    if "embedding" not in table:
        return None
    column = table.column("embedding")
    lengths = pc.fill_null(pc.add(pc.count_substring(column, " "), 1), 0).to_numpy(zero_copy_only=False)
    of_known = lengths[known & (lengths > 0)]
    if not of_known.size:
        return None
    sizes, often = np.unique(of_known, return_counts=True)
    size = min(int(sizes[often.argmax()]), MOST_NUMBERS)
    rows = np.flatnonzero(lengths == sizes[often.argmax()])
    found = np.zeros((len(column), size), dtype=np.float32)
    for start in range(0, rows.size, _TOGETHER):
        some = rows[start : start + _TOGETHER]
        split = pc.split_pattern(column.take(pa.array(some)), " ")
        numbers = pc.cast(split.flatten(), pa.float32()).to_numpy(zero_copy_only=False)
        found[some] = numbers.reshape(some.size, -1)[:, :size]
    there = np.zeros(len(column), dtype=np.bool_)
    there[rows] = True
    found[there] -= found[there & known].mean(axis=0)
    norms = np.linalg.norm(found, axis=1)
    found[norms > 0] /= norms[norms > 0, None]
    found[~there] = 0
    return sp.csr_matrix(found)


def groups_of(table: ItemTable, known: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the category of each item, int32 (rows,); without categories the word of its name that tells most.

    That is the most frequent word among at most a tenth of the known items' names. -1 where there is none.
    """
    if "category" in table:
        texts = table.path().to_pylist()
    else:
        words = [list(_words(name, 1.0)) for name in table.column("name").to_pylist()]
        frequency = Counter(word for row in np.flatnonzero(known) for word in words[row])
        most = max(1, int(known.sum()) // 10)
        usual = {word: count for word, count in frequency.items() if 2 <= count <= most}
        texts = [
            max((w for w in own if w in usual), key=lambda w: (usual[w], w), default=None) for own in words
        ]
    codes = {
        text: code for code, text in enumerate(dict.fromkeys(text for text in texts if text is not None))
    }
    return np.array([-1 if text is None else codes[text] for text in texts], dtype=np.int32)


def _columns(table: ItemTable, known: NDArray[np.bool_]) -> list[list[Any]]:
    prices = table.column("price").to_numpy(zero_copy_only=False).astype(np.float64)
    of_known = prices[known & np.isfinite(prices)]
    bands: list[int | None] = [None] * prices.size
    if of_known.size:
        cuts = np.unique(np.quantile(of_known, np.linspace(0, 1, PRICE_BANDS + 1)[1:-1]))
        found = np.searchsorted(cuts, prices, side="right")
        bands = [int(band) if np.isfinite(price) else None for band, price in zip(found, prices, strict=True)]
    return [*(table.column(name).to_pylist() for name in ("name", "text", "category", "brand")), bands]


def _tokens(
    name: str | None, text: str | None, category: str | None, brand: str | None, band: int | None
) -> dict[str, float]:
    """Return the tokens of an item and what each weighs before its frequency counts."""
    found = _words(text, 0.5) | _words(name, 1.0)
    if category is not None:
        parts = category.split(SEPARATOR)
        found |= {f"category {SEPARATOR.join(parts[: n + 1])}": 1.0 for n in range(len(parts))}
    if brand is not None:
        found[f"brand {brand}"] = 1.0
    if band is not None:
        found[f"price {band}"] = 1.0
    return found


def _words(text: str | None, weight: float) -> dict[str, float]:
    """Return the words of a text; no other token is one, since these hold a space."""
    return {} if text is None else dict.fromkeys(_WORD.findall(text[:_TEXT_BYTES].casefold()), weight)


def _place(token: str) -> tuple[int, float]:
    """Return the column of a token, from 1, and its sign; the same on every machine."""
    number = int.from_bytes(
        hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )
    return 1 + (number >> 1) % (WIDTH - 1), 1.0 if number & 1 else -1.0
