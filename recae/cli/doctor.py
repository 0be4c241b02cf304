"""`recae doctor`: what a careful analyst would check of a table of purchases, in plain words."""

from __future__ import annotations

from typing import Any

import click

from recae.cli.columns import column_options
from recae.cli.doctor_display import print_examination
from recae.cli.filters import files_of_filters, filter_options, read_filters
from recae.cli.output import message, print_json
from recae.cli.sources import check_outputs, reading_options, source_argument


@click.command()
@source_argument
@column_options
@filter_options
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON (below).")
def doctor(source: str, strict: bool, as_json: bool, **options: Any) -> None:
    """Check PURCHASES before a model is trained on them, and say what to do about what is found.

    \b
      recae doctor purchases.csv
      recae doctor 'data/2024-*.csv.gz' --rejects rejects.csv
      recae doctor postgresql://me@host/shop --table purchases
      recae doctor purchases.csv && recae train purchases.csv
      recae doctor purchases.csv --json > checks.json

    PURCHASES is what `recae train` takes, read once in the same way: columns used, rows dropped and why, duplicates
    and repeats, ids that look damaged (lost zeros, .0, 1.2E+11, upper and lower case, dates), times that are mixed,
    missing, in the future or have gaps, users with one purchase, popularity, users like bots, and what a model can
    be expected to learn.

    \b
    Each finding has a severity, a code that stays the same, and what to do next:
      problem   spoils what is learned, or stops the training
      warning   may spoil it; a person should look
      note      good to know

    \b
    Exit codes, for pipelines:
      0   nothing worse than notes
      1   warnings
      2   problems; or the purchases cannot be read (one sentence says why)

    With --strict, 2 for warnings too, and for every dropped row or doubt that `recae train --strict` refuses. With
    --basket-column, orders are read as `recae train --repeats` reads them. With filters, --since and the others, rows
    are checked all the same; users, items and what to expect are those of the purchases that are left.

    \b
    --json prints one object:
      {"format_version": 1, "source": "purchases.csv",
       "columns": {"user": "user_id", "item": "item_id", "time": null, …},
       "unused": ["price"], "rows": 51234, "dropped": {"quantity is zero or less": 560},
       "filters": {…}, "filtered": {…},       what was asked for, and purchases left out by reason; or empty
       "duplicate_share": 0.0,                of the rows
       "repeat_share": 0.34,                  of the purchases kept: of an item that the user has already
       "first_time": 1672552814, "last_time": 1735685786,    seconds since 1970 UTC; or null, also
                                                             where they are misread
       "notes": [],                           on how values were understood
       "figures": {"users": 2000, "items": 600, "interactions": 33525, "repeats": 17149, "density": …,
                   "history_median": 11.0, "history_90": 33.0, "history_most": 186,     items a user
                   "top_share": …,            of the purchases, of the most popular 1 % of the items
                   "gini": …, "divisible": 2000,    users with two items or more
                   "owned_by_five": 600},     items of five users or more
       "outlook": {"word": "much",            or "some" or "little"
                   "held_out": 200, "sentences": ["…"]},
       "findings": [{"severity": "warning", "code": "users-like-bots", "column": "user_id", "rows": null,
                     "text": "…", "advice": "…", "examples": ["…"]}]}
    Where nothing can be learned, the finding cannot-train says why, and figures and outlook are null.
    """
    # before the reading, not after it
    check_outputs([source, *files_of_filters(options)], {"--rejects": options["rejects"]})
    filters = read_filters(options)

    from recae.doctor import examine

    found = examine(source, filters=filters, **options)
    if as_json:
        print_json(found.as_dict())
    else:
        print_examination(found)
    if options["rejects"] is not None:
        message(f"wrote the {sum(found.dropped.values()):,} dropped rows to {options['rejects']}")
    click.get_current_context().exit(found.exit_code(strict))
