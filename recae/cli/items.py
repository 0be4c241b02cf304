"""`recae items`: a model file gets a table of items, without a training."""

from __future__ import annotations

import time
from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.options import check_outputs, new_items_option, output_path
from recae.cli.output import message, print_json, print_table
from recae.cli.purchases import item_columns


def _out(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=Command)
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("source", metavar="PRODUCTS")
@under(
    "Table",
    click.option(
        "--items-columns",
        metavar="WHAT=NAME,…",
        help="Columns whose names do not tell, such as price=net,category=main+sub; id, name, category, brand, price, "
        "available, image, link or text. WHAT= says that there is none.",
    ),
    click.option(
        "--bad-lines",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="Stop at a line that cannot be read, or skip and count it.",
    ),
    new_items_option,
)
@under(
    "Output",
    click.option(
        "--out",
        metavar="PATH",
        callback=_out,
        help="The model file to write.  [default: MODEL, replaced at once]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
def items(
    model_path: Path,
    source: str,
    items_columns: str | None,
    bad_lines: str,
    new_items: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Give MODEL what the table PRODUCTS says of its items, in place of what it has.

    \b
      recae items model.recae products.csv
      recae items model.recae products.xlsx --items-columns price=net,category=main+sub
      recae items model.recae env:SHOP_URL --out newer.recae

    PRODUCTS is a table as `recae train` reads it, with a row a product: its id and what else is known of it. Columns
    are recognised by their names, in several languages: name, category (a path such as "Home > Mugs", also of several
    columns), brand, price, availability, the addresses of a picture and a page, and a text. All others are stored as
    they are. Prices are numbers as they are written, such as 1.299,00 or $12.50, decided for the column as a whole.

    Of rows with the same id the last one counts. Addresses that do not begin with http:// or https:// are left out.
    Both are counted, and so are products that nobody has bought, and purchases of products that are not in the table.

    Nothing is trained. Products that nobody has bought are scored by what is known of them, where that is
    distinguishably better than the popularity of their category on items held out whole; all other scores stay. The
    file is replaced at once, when the new one is complete, and a server that runs takes it up.
    """
    from recae.insight.items import describe_items
    from recae.modelfile import load, save
    from recae.selection.new_items import with_new_items
    from recae.updating.exclusive import changing

    target = out or model_path
    columns = item_columns(items_columns)
    began = time.perf_counter()
    with changing(model_path):  # an update meanwhile must not be lost
        recommender = load(model_path)
        check_outputs([source], {"--out": target})
        found = describe_items(recommender.of_bought_items(), source, columns, bad_lines=bad_lines)
        extended = with_new_items(found.recommender, new_items)
        save(extended.recommender, target)
    for line in (*found.sentences(), *extended.sentences):
        message(line)
    report, shared, table = found.report, found.shared, found.recommender.item_table
    assert report is not None  # noqa: S101  # of a table that was read
    assert table is not None  # noqa: S101
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {
                "model": str(target),
                "rows": report.rows,
                "items": report.items,
                "without_id": report.without_id,
                "doubled": report.doubled,
                "columns": {name: list(source) for name, source in report.columns.items()},
                "known": dict(report.known),
                "left_out": dict(report.dropped),
                "not_bought": shared.unbought,
                "not_in_the_table": {"items": shared.undescribed, "purchases": shared.their_purchases},
                "seconds": seconds,
            }
        )
    else:
        rows = [
            [name, " > ".join(report.columns[name]), f"{known:,}"] for name, known in report.known.items()
        ]
        print_table(["column", "from", "items"], rows, title=f"{report.items:,} items", right=("items",))
    message(f"read in {seconds:.1f} s; the model is in {target}")
