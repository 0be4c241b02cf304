"""`recae map`: a picture of the products or customers, as one page to open in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import count_option, model_option, output_path
from recae.cli.output import message, print_json, progress
from recae.errors import ConfigError


@click.command("map", cls=Command)
@under(
    "What",
    click.option("--items/--users", "show_items", default=True, help="What to show.  [default: --items]"),
    count_option("--limit", default=50_000, help="How many, most owned first."),
)
@under(
    "Colours",
    click.option(
        "--categories",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Colour by category: a table with an item and a category column, such as the purchases.  [default: the "
        "model's table of products]",
    ),
    click.option(
        "--item-column", metavar="NAME", help="The item column of --categories.  [default: recognised]"
    ),
    click.option("--category-column", metavar="NAME", help="Its category column.  [default: category]"),
    click.option(
        "--clusters",
        type=click.IntRange(0, 12),
        metavar="N",
        help="Colour by N clusters of products instead, 12 at most, named by their telling words; 0: one colour.  "
        "[default: where there are no categories, one for every 20 products, 12 at most]",
    ),
)
@under(
    "Layout",
    click.option(
        "--method",
        type=click.Choice(["tsne", "neighbours", "pca"]),
        help="tsne shows clusters best and needs pip install 'recae[map]'; neighbours needs nothing and takes less "
        "time; pca takes none, and shows hardly any clusters.  [default: tsne where installed, else neighbours]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        metavar="N",
        help="Of everything random in the layout.",
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
    clusters: int | None,
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

    Products lie where the scores of the whole model put them: near each other when they are recommended to the
    same customers. The page is one file that loads nothing else: it can be mailed and opens without a network. It
    zooms, finds by name or id, and shows what a dot is. Each item gets the category of most of its rows in FILE, each
    customer that of most of the items owned. Items that nobody owns are left out.

    Without categories the colours are clusters: products that the whole model recommends to the same customers. Each is
    called by up to three words that its products' names have more often than all names do, or else after its most owned
    product.

    Without --json nothing is printed on stdout.
    """
    import time

    from recae.files import check_writable
    from recae.insight.layout import STEPS, check_method, default_method
    from recae.insight.mapping import check_page, draw_map

    check_page(out)
    if categories is None and (item_column is not None or category_column is not None):
        raise ConfigError("--item-column and --category-column name columns of --categories; give that file")
    if categories is not None and clusters is not None:
        raise ConfigError("a map is coloured by --categories or by --clusters; give one of them")
    check_writable(out, model_path)
    if categories is not None:
        check_writable(out, categories)
    if method is None:
        method = default_method()
        if method != "tsne":
            message("laid out by nearest neighbours; t-SNE, which is finer, needs pip install 'recae[map]'")
    check_method(method)

    from recae.insight.categories import read_categories
    from recae.modelfile import load

    started = time.perf_counter()
    recommender = load(model_path)
    kinds = None
    if categories is not None:
        kinds = read_categories(
            categories, recommender.items, item_column=item_column, category_column=category_column
        )
    noun = "products" if show_items else "customers"
    with progress("laying out", STEPS) as on_steps:
        drawn = draw_map(
            recommender,
            "items" if show_items else "users",
            categories=kinds,
            clusters=clusters,
            method=method,
            limit=limit,
            seed=seed,
            title=f"Map of {noun}: {model_path.name}",
            limit_name="--limit",
            on_steps=on_steps,
        )
    drawn.save(out)
    seconds = time.perf_counter() - started
    if drawn.note:
        message(drawn.note)
    message(f"wrote a map of {drawn.points:,} {noun} to {out} in {seconds:.1f} s")
    if as_json:
        print_json(
            {
                "path": str(out),
                "kind": drawn.kind,
                "method": drawn.method,
                "seed": drawn.seed,
                "points": drawn.points,
                "left_out": drawn.left_out,
                "categories": drawn.categories,
                "coloured_by": drawn.coloured_by,
            }
        )
