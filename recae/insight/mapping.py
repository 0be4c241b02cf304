"""`Map`: a map of the items or users of a model as a page, to save or to look at in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from recae.errors import OutputError
from recae.files import atomic_path
from recae.insight.categories import Categories, Colours
from recae.insight.clusters import find_colours
from recae.insight.layout import check_method, default_method, layout
from recae.insight.map import MOST_POINTS, Points, choose_points, map_data, map_page, point_vectors
from recae.insight.vectors import ItemVectors
from recae.recommender import Recommender
from recae.summary import Summarised, Summary

ENDINGS = (".html", ".htm")
_METHODS = {"tsne": "t-SNE", "neighbours": "nearest neighbours", "pca": "PCA"}


@dataclass(frozen=True, eq=False, repr=False)
class Map(Summarised):
    """A map that was laid out; a notebook shows it, and it can be zoomed and searched there.

    Attributes:
        page: HTML that loads nothing else.
        kind: "items" or "users".
        method: "tsne", "neighbours" or "pca".
        seed: of the layout.
        points: how many there are.
        left_out: how many there are not, since nobody owns them or because of the limit.
        note: a sentence on these; empty without.
        categories: how many categories or clusters there are among the points; None where all have one colour.
        coloured_by: "categories", "clusters", or None.
    """

    page: str
    kind: str
    method: str
    seed: int
    points: int
    left_out: int
    note: str
    categories: int | None
    coloured_by: str | None

    def save(self, path: str | Path) -> None:
        """Write the page to a file, which appears whole or not at all.

        Raises:
            OutputError: the name does not end in .html, or the file cannot be written.
        """
        check_page(Path(path))
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(self.page, encoding="utf-8", newline="\n")

    def summary(self) -> Summary:
        """Return what the map shows."""
        title = f"Map: {self.points:,} {self.kind} by {_METHODS[self.method]}"
        return Summary(title, notes=[self.note] if self.note else [])

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, apart from the styles and scripts of the notebook."""
        return (
            f'<iframe srcdoc="{escape(self.page)}" sandbox="allow-scripts" title="{escape(self.summary().title)}" '
            'style="width:100%;height:620px;border:0;border-radius:6px"></iframe>'
        )


def check_page(path: Path) -> None:
    """Raise OutputError unless the name is one of a page."""
    if path.suffix.lower() not in ENDINGS:
        raise OutputError(
            f"cannot write '{path}': a map is a page, and its name must end in .html; rename it"
        )


def draw_map(
    recommender: Recommender,
    kind: str = "items",
    *,
    categories: Categories | None = None,
    clusters: int | None = None,
    method: str | None = None,
    limit: int = MOST_POINTS,
    seed: int = 0,
    title: str | None = None,
    limit_name: str = "the limit",
    on_steps: Callable[[int], None] | None = None,
) -> Map:
    """Lay out the items or users of a model, and return the map.

    Args:
        recommender: whose items or users.
        kind: "items" or "users".
        categories: of the items, for the colours; None: those of the model's table, and where it has none, clusters.
        clusters: how many clusters of items give the colours where no categories are given; 0: one colour for all.
        method: "tsne", "neighbours" or "pca"; None: t-SNE where it is installed, else neighbours.
        limit: how many points at most, most owned first.
        seed: of t-SNE or neighbours.
        title: the heading; None: what the map is of.
        limit_name: what the note calls the limit.
        on_steps: as for `recae.insight.layout.layout`.

    Raises:
        ConfigError: there is no such kind or method, the limit is less than 1, or the clusters are too many.
        DataError: the model scores every history alike or, for users, has no histories.
    """
    method = default_method() if method is None else method
    check_method(method)
    points = choose_points(recommender, kind, limit)
    vectors = ItemVectors(recommender)
    colours = None if categories is None else Colours(categories, "categories")
    if categories is None and clusters != 0:
        items = points if kind == "items" else choose_points(recommender, "items")
        colours = find_colours(recommender, items.rows, vectors, clusters)
    plane = layout(point_vectors(recommender, points, vectors), method=method, seed=seed, on_steps=on_steps)
    data = map_data(recommender, points, plane, colours)
    note = _left_out(points, limit_name)
    heading = title or f"Map of {'products' if kind == 'items' else 'customers'}"
    return Map(
        page=map_page(data, title=heading, method=method, note=note),
        kind=kind,
        method=method,
        seed=seed,
        points=int(points.rows.size),
        left_out=points.empty + points.beyond,
        note=note,
        categories=None if colours is None else len(set(data["category"]) - {-1}),
        coloured_by=None if colours is None else colours.by,
    )


def _left_out(points: Points, limit_name: str) -> str:
    """Return a sentence about what the map does not show; empty where it shows everything."""
    why = {
        "owned by nobody" if points.kind == "items" else "owning nothing": points.empty,
        f"beyond {limit_name}": points.beyond,
    }
    said = " and ".join(f"{count:,} {reason}" for reason, count in why.items() if count)
    return f"Left out: {said}." if said else ""
