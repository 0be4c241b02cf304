"""`recae map`: a picture of the products or customers, as one page to open in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from recae.cli.help import Command, under
from recae.cli.options import model_option, output_path
from recae.cli.output import message, print_json, progress
from recae.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from recae.insight.map import Points


@click.command("map", cls=Command)
@under(
    "What",
    click.option("--items/--users", "show_items", default=True, help="What to show.  [default: --items]"),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=50_000,
        show_default=True,
        metavar="N",
        help="How many, most owned first.",
    ),
)
@under(
    "Colours",
    click.option(
        "--categories",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Colour by category: a table with an item and a category column, such as the purchases.",
    ),
    click.option(
        "--item-column", metavar="NAME", help="The item column of --categories.  [default: recognised]"
    ),
    click.option("--category-column", metavar="NAME", help="Its category column.  [default: category]"),
)
@under(
    "Layout",
    click.option(
        "--method",
        type=click.Choice(["tsne", "pca"]),
        help="tsne shows clusters and needs pip install 'recae[map]'; pca is rougher and takes no time."
        "  [default: tsne where installed]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        metavar="N",
        help="Of everything random in t-SNE.",
    ),
)
@model_option
@under(
    "Output",
    click.option(
        "--out", metavar="PATH", callback=output_path, required=True, help="The page to write: .html or .htm."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
def map_command(
    out: Path,
    show_items: bool,
    categories: Path | None,
    item_column: str | None,
    category_column: str | None,
    method: str | None,
    limit: int,
    seed: int,
    model_path: Path,
    as_json: bool,
) -> None:
    """Draw a map of the products or customers: what the same users buy lies close together.

    \b
      recae map --out map.html --categories purchases.csv
      recae map --out customers.html --users

    The page is one file that loads nothing else: it can be mailed and opens without a network. It zooms, finds
    by name or id, and shows what a dot is. Each item gets the category of most of its rows in FILE, each
    customer that of most of the items owned. Items that nobody owns are left out.

    Without --json nothing is printed on stdout.
    """
    import time

    from recae.files import atomic_path, check_writable
    from recae.insight.map import STEPS, check_method, default_method, layout

    if out.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"cannot write '{out}': a map is a page, and its name must end in .html; rename it")
    if categories is None and (item_column is not None or category_column is not None):
        raise ConfigError("--item-column and --category-column name columns of --categories; give that file")
    check_writable(out, model_path)
    if categories is not None:
        check_writable(out, categories)
    if method is None:
        method = default_method()
        if method == "pca":
            message("laid out by PCA; t-SNE, which shows clusters, needs pip install 'recae[map]'")
    check_method(method)

    from recae.insight.categories import read_categories
    from recae.insight.map import choose_points, map_data, map_page, point_vectors
    from recae.modelfile import load

    started = time.perf_counter()
    recommender = load(model_path)
    points = choose_points(recommender, "items" if show_items else "users", limit)
    vectors = point_vectors(recommender, points)
    kinds = None
    if categories is not None:
        kinds = read_categories(
            categories, recommender.items, item_column=item_column, category_column=category_column
        )
    with progress("laying out", STEPS) as on_steps:
        plane = layout(vectors, method=method, seed=seed, on_steps=on_steps)
    data = map_data(recommender, points, plane, kinds)
    noun = "products" if show_items else "customers"
    note = _left_out(points)
    page = map_page(data, title=f"Map of {noun}: {model_path.name}", method=method, note=note)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    seconds = time.perf_counter() - started
    if note:
        message(note)
    message(f"wrote a map of {points.rows.size:,} {noun} to {out} in {seconds:.1f} s")
    if as_json:
        print_json(
            {
                "path": str(out),
                "kind": points.kind,
                "method": method,
                "seed": seed,
                "points": points.rows.size,
                "left_out": points.empty + points.beyond,
                "categories": None if kinds is None else len(set(data["category"]) - {-1}),
            }
        )


def _left_out(points: Points) -> str:
    """Return a sentence about what the map does not show; empty where it shows everything."""
    why = {
        "owned by nobody" if points.kind == "items" else "owning nothing": points.empty,
        "beyond --limit": points.beyond,
    }
    said = " and ".join(f"{count:,} {reason}" for reason, count in why.items() if count)
    return f"Left out: {said}." if said else ""
