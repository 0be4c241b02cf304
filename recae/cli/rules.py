"""`recae rules`: association rules, what is bought together with support, confidence, lift and their intervals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.help import Command, under
from recae.cli.options import (
    check_outputs,
    count_option,
    files_of_filters,
    filter_options,
    output_path,
    read_filters,
    top_option,
)
from recae.cli.output import is_terminal, message, print_csv, print_json, print_table
from recae.cli.purchases import (
    column_options,
    files_read,
    read_options,
    reading_options,
    source_argument,
)
from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.insight.associations import Associations
    from recae.results import Table

_SHOWN = 20


def _out_path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=Command)
@source_argument
@under(
    "What",
    click.option(
        "--baskets", is_flag=True, help="Bought together in one order or at one time.  [default: by one user]"
    ),
    click.option("--item", metavar="ID", help="Only rules that begin with this item."),
    count_option(
        "--least",
        default=None,
        help="Baskets or users that hold both items.  [default: 5, or 1 in 2,000 if that is more]",
    ),
    top_option(f"How many rules, the surest first.  [default: {_SHOWN}; 100,000 with --out]", None),
    click.option(
        "--model",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="A model, to say beside each rule where the second item stands in its list for the first.",
    ),
)
@column_options
@filter_options
@reading_options
@under(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with the columns named above."),
    click.option(
        "--out", metavar="PATH", callback=_out_path, help="Write .parquet, .pq, .csv or .jsonl instead."
    ),
)
def rules(
    source: str,
    baskets: bool,
    item: str | None,
    least: int | None,
    n: int | None,
    model: Path | None,
    strict: bool,
    rejects: Path | None,
    as_json: bool,
    as_csv: bool,
    out: Path | None,
    **options: Any,
) -> None:
    """Find association rules in PURCHASES: who buys the first item also buys the second.

    \b
      recae rules purchases.csv
      recae rules purchases.csv --baskets --item P017
      recae rules purchases.csv --model model.recae --out rules.csv

    Support is the fraction of the baskets (with --baskets) or users that hold both; confidence the fraction of those
    with the first that hold the second; lift how many times more often both are bought together than chance would
    have it (1 is chance). The intervals are of 95 %. Rules are sorted by the lower end of the lift's interval, so
    that what is seen twice does not come first. Of thousands of pairs some have an interval above 1 by chance; stderr
    says how many to expect.

    These are rules that are found in purchases. What lists may hold is said by --rules of `recae recommend` and others.

    A rule is the same for everybody who owns its first item. A model weighs all that somebody owns: with --model,
    model_rank is the place of the second item in the model's list for a basket of the first alone.

    \b
    --csv prints, and --out writes, one table:
      item_id,name,then_id,then_name,baskets,support,confidence,confidence_low,confidence_high,
      lift,lift_low,lift_high            and model_rank with --model
    """
    if as_json + as_csv + (out is not None) > 1:
        raise ConfigError("--json, --csv and --out exclude one another; give one of them")
    sources = [*files_read(source, options), *files_of_filters(options), *([str(model)] if model else [])]
    check_outputs(sources, {"--rejects": rejects, "--out": out})
    if out is not None:
        from recae.tables import check_output

        check_output(out)
    filters = read_filters(options)
    reading = read_options({**options, "strict": strict, "rejects": rejects}, filters)

    from recae.interface.associating import associate, table_of
    from recae.modelfile import load

    recommender = None if model is None else load(model)
    most = n or (_SHOWN if out is None else 100_000)
    found, interactions = associate(source, reading, baskets=baskets, least=least, item=item, n=most)
    _say(found, "baskets" if baskets else "users")
    table = table_of(found, interactions, recommender)
    if out is not None:
        table.save(out)
        message(f"wrote {len(table):,} rules to {out}")
    elif as_json:
        counts = {"baskets": found.n_baskets, "least": found.least, "pairs": found.pairs}
        print_json({**counts, "rules": table.to_dicts()})
    elif as_csv:
        print_csv(table.columns, _rows(table))
    else:
        _show(table)


def _say(found: Associations, what: str) -> None:
    """Say what was looked at, and how much of it chance alone would bring."""
    message(
        f"{found.pairs:,} pairs of items are held by {found.least:,} of {found.n_baskets:,} {what} or more; were none "
        f"of them related, about {found.above_chance:,} would have an interval above 1 all the same"
    )


def _rows(table: Table[Any]) -> list[list[Any]]:
    return [list(row.values()) for row in table.to_dicts()]


def _show(table: Table[Any]) -> None:
    """Print the rules: rounded, with the interval beside the lift on a terminal, all columns in a pipe."""
    if not is_terminal(sys.stdout):
        cells = ([("" if value is None else str(value)) for value in row] for row in _rows(table))
        print_table(table.columns, cells)
        return
    rows = [
        [
            row["name"] or row["item_id"],
            row["then_name"] or row["then_id"],
            f"{row['baskets']:,}",
            f"{100 * row['confidence']:.0f} %",
            f"{row['lift']:.1f}",
            f"{row['lift_low']:.1f} to {row['lift_high']:.1f}",
            *([str(row["model_rank"] or "-")] if "model_rank" in row else []),
        ]
        for row in table.to_dicts()
    ]
    headers = ["bought", "also bought", "both", "confidence", "lift", "95 %"]
    headers += ["model's rank"] if "model_rank" in table.columns else []
    print_table(headers, rows, title="Bought together", right=headers[2:])
