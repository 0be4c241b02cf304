"""Checks of rows: dropped ones, empty columns, and extreme quantities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow.compute as pc

from recae.doctor.findings import EXAMPLES, Finding, Severity, percent
from recae.doctor.watch import Seen
from recae.ids import shown
from recae.ingest.report import DUPLICATE, NO_ITEM, NO_USER, NOT_A_NUMBER, REASONS, RETURNED
from recae.interactions import Interactions

_MANY: Final = 0.05
_MOST: Final = 0.5

# reason: code, what is wrong, what to do, and whether a larger number is worth a warning
_DROPPED: Final = {
    NO_USER: (
        "rows-no-user",
        "no user",
        "nothing to do for sales to unknown customers; otherwise fill in who bought",
        True,
    ),
    NO_ITEM: ("rows-no-item", "no item", "fill in what was bought, or leave such rows out", True),
    RETURNED: (
        "rows-returned",
        "a quantity of zero or less, as of returns and cancellations",
        "nothing to do, but the purchases that they take back stay in: leave out both where that matters",
        False,
    ),
    NOT_A_NUMBER: (
        "rows-quantity-not-a-number",
        "a quantity that is no number",
        "write quantities as numbers, or name another column with --quantity-column ('' for none)",
        True,
    ),
    DUPLICATE: (
        "rows-duplicate",
        "user, item, time and quantity of an earlier row",
        "check whether a part of the table is in it twice; nothing to do where a receipt may list an item twice",
        True,
    ),
}


def check_dropped(seen: Seen) -> Iterator[Finding]:
    """Yield findings on the dropped rows, by reason."""
    for reason in REASONS:
        count = seen.dropped.get(reason, 0)
        if not count:
            continue
        code, what, advice, serious = _DROPPED[reason]
        severity = Severity.NOTE
        if count > _MOST * seen.rows:
            severity = Severity.PROBLEM
        elif serious and count >= _MANY * seen.rows:
            severity = Severity.WARNING
        yield Finding(
            severity,
            code,
            None,
            f"{count:,} of {seen.rows:,} rows dropped ({percent(count, seen.rows)}): {what}",
            f"{advice} (--rejects PATH keeps all of them)" if count > EXAMPLES else advice,
            tuple(seen.examples[reason]),
            count,
        )


def check_values(seen: Seen, shop: Interactions | None) -> Iterator[Finding]:
    """Check the quantities and the names of the items.

    Args:
        seen: what was seen of the table.
        shop: what was read; None where nothing could be.
    """
    column, quantities = seen.columns.quantity, seen.keys.quantities
    if column is not None and quantities is not None and quantities.size > 1:
        if (quantities == quantities[0]).all():
            yield Finding(
                Severity.NOTE,
                "column-constant",
                column,
                f"every quantity is {quantities[0]:g}, so the column tells nothing",
                "nothing to do, unless it should; --quantity-column names another",
            )
        else:
            yield from _large(seen, column)
    if seen.columns.name is not None and shop is not None and shop.item_names is not None:
        named = shop.item_names.drop_null()
        if len(named) > 1 and pc.count_distinct(named).as_py() == 1:
            yield Finding(
                Severity.NOTE,
                "column-constant",
                seen.columns.name,
                f"every item is named {shown(named[0].as_py())}, so the column tells nothing",
                "name another with --name-column, or give --name-column ''",
            )


def _large(seen: Seen, column: str) -> Iterator[Finding]:
    quantities = seen.keys.quantities
    assert quantities is not None  # noqa: S101  # the caller has looked
    usual = float(np.quantile(quantities, 0.99))
    large = np.flatnonzero(quantities > 100 * usual)
    if large.size:
        most = large[np.argsort(-quantities[large], kind="stable")][:EXAMPLES].tolist()
        yield Finding(
            Severity.NOTE,
            "quantities-large",
            column,
            f"{large.size:,} {'purchase has' if large.size == 1 else 'purchases have'} more than a hundred times the "
            f"quantity that 99 % stay within ({usual:g})",
            "check for typing errors; the quantity itself does not count, only whether it is above zero",
            tuple(f"row {seen.row(place):,}: {quantities[place]:g}" for place in most),
            int(large.size),
        )
