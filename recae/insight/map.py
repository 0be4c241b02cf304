"""The page of a map: which items or users it shows, where they lie, and what is said of them."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.insight.categories import Colours
from recae.insight.vectors import ItemVectors, UserVectors
from recae.ranking import DEFAULT_BLOCK_BYTES
from recae.recommender import Recommender

KINDS = ("items", "users")
MOST_POINTS = 50_000
"""Points of a map unless a limit says otherwise."""

_SCALE = 65_535  # coordinates are whole numbers up to here: fewer letters, and finer than any screen
_METHOD_TEXT = {
    "tsne": "t-SNE",
    "neighbours": "drawing nearest neighbours together",
    "pca": "the two main directions (PCA)",
}
_START = """
const data = JSON.parse(document.getElementById("data").textContent);
recaeMap(document.getElementById("map"), data, {kind: data.kind});
"""


@dataclass(frozen=True, eq=False)
class Points:
    """What a map shows.

    Attributes:
        kind: "items" or "users".
        rows: int64 of shape (n,), rows of the recommender, most owners (for users: most items) first.
        owners: int64 of shape (n,), how many users own each item or items each user owns; None if not known.
        empty: how many were left out because nobody owns them (users: because they own nothing).
        beyond: how many were left out because of the limit.
    """

    kind: str
    rows: NDArray[np.int64]
    owners: NDArray[np.int64] | None
    empty: int
    beyond: int


def choose_points(recommender: Recommender, kind: str = "items", limit: int = MOST_POINTS) -> Points:
    """Choose the items with the most owners, or the users with the most items; equals in the order of the model.

    Items that nobody owns have no vector that means anything, so they are left out, and users without items
    likewise. Without histories, owners are not known: then the first items of the model are taken.

    Raises:
        ConfigError: the kind is none of `KINDS`, or the limit less than 1.
        DataError: users are asked for, but the model was saved without histories; or nothing is left.
    """
    if kind not in KINDS:
        raise ConfigError(f"a map shows items or users, but {kind!r} was asked for; choose one of them")
    if limit < 1:
        raise ConfigError(f"the limit must be at least 1, but is {limit}; allow one point or more")
    histories = recommender.histories
    if histories is None:
        if kind == "users":
            raise DataError("the model was saved without histories, so it has no users to map; map its items")
        n = len(recommender.items)
        return Points(kind, np.arange(min(n, limit)), None, 0, n - min(n, limit))
    owners = (
        np.bincount(histories.indices, minlength=len(recommender.items))
        if kind == "items"
        else np.diff(histories.indptr)
    ).astype(np.int64)
    owned = int((owners > 0).sum())
    rows = np.argsort(-owners, kind="stable")[: min(limit, owned)]
    if not rows.size:
        raise DataError(
            "nobody in the model owns anything, so there is nothing to map; train it on purchases"
        )
    return Points(kind, rows, owners[rows], owners.size - owned, owned - rows.size)


def point_vectors(
    recommender: Recommender, points: Points, vectors: ItemVectors | None = None
) -> NDArray[np.float32]:
    """Return the vectors of a map's items or users, made from the scores of the whole model: float32 (n, d).

    Args:
        recommender: whose items or users.
        points: which of them.
        vectors: of the recommender's items, where they are made already.

    Raises:
        DataError: the model scores every history alike.
    """
    if points.kind == "items":
        of_items = ItemVectors(recommender) if vectors is None else vectors
        return np.ascontiguousarray(of_items.vectors[points.rows])
    assert recommender.histories is not None  # noqa: S101  # choose_points has seen to it
    of_users = UserVectors(recommender)
    chosen = sp.csr_matrix(recommender.histories[points.rows])
    return np.concatenate([block for _, block in of_users.blocks(chosen, DEFAULT_BLOCK_BYTES)])


def map_data(
    recommender: Recommender,
    points: Points,
    plane: NDArray[np.float32],
    colours: Colours | None = None,
) -> dict[str, Any]:
    """Return what map.js draws, as JSON values; coordinates as whole numbers, in their proportions.

    Args:
        recommender: whose ids and names are shown.
        points: which items or users.
        plane: float32 of shape (n, 2), the layout of the points.
        colours: of the recommender's items; a user gets the most frequent one of the history.
    """
    ids = recommender.items if points.kind == "items" else recommender.users
    assert ids is not None  # noqa: S101  # where there are histories there are users
    low = plane.min(axis=0).astype(np.float64)
    span = float((plane.max(axis=0) - low).max()) or 1.0
    x, y = np.rint((plane - low) / span * _SCALE).astype(int).T.tolist()
    data: dict[str, Any] = {"kind": points.kind, "item_id": [ids.id(int(row)) for row in points.rows]}
    if points.kind == "items" and recommender.item_names is not None:
        data["name"] = recommender.item_names.take(points.rows).to_pylist()
    if points.owners is not None:
        data["owners"] = points.owners.tolist()
    data |= {"x": x, "y": y}
    if colours is not None:
        categories = colours.kinds
        codes = (
            categories.codes[points.rows]
            if points.kind == "items" or recommender.histories is None
            else categories.of_users(recommender.histories[points.rows])
        )
        data |= {"category": codes.tolist(), "categories": categories.names, "coloured_by": colours.by}
    return data


def map_page(data: dict[str, Any], *, title: str, method: str, note: str = "") -> str:
    """Return the page of a map: HTML with everything in it, whose policy forbids it to load anything.

    Args:
        data: from `map_data`. Names and ids are carried as JSON in which no "<" is left, so that none of them
            can end the element that it stands in.
        title: the heading.
        method: how the points were laid out, for the description.
        note: a sentence to add to the description.
    """
    assets = files("recae.insight") / "assets"
    script = (assets / "map.js").read_text("utf-8") + _START
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    n = len(data["item_id"])
    if data["kind"] == "items":
        what, near = (
            "product" if n == 1 else "products",
            "Products that the same customers buy lie close together",
        )
    else:
        what, near = (
            "customer" if n == 1 else "customers",
            "Customers who buy the same products lie close together",
        )
    more = "more owners" if data["kind"] == "items" else "more products"
    sizes = f"; larger dots have {more}" if "owners" in data else ""
    if data.get("coloured_by") == "clusters":
        sizes += "; colours are clusters of products, named by telling words or else after their most owned product"
    description = f"{n:,} {what}. {near}{sizes}. Laid out by {_METHOD_TEXT[method]}. {note}".strip()
    parts = {
        "policy": f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'",
        "title": html.escape(title),
        "description": html.escape(description),
        "css": (assets / "map.css").read_text("utf-8"),
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": script,
    }
    template = (assets / "map.html").read_text("utf-8")
    # in one pass, so that a name like {{script}} stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)
