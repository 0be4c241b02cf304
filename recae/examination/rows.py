"""Checks of rows: dropped ones, and extreme quantities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recae.examination.findings import EXAMPLES, Finding, Severity, percent
from recae.examination.seen import Seen
from recae.reading.report import DUPLICATE, NO_ITEM, NO_USER, NOT_A_NUMBER, REASONS, RETURNED

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
        "nothing to do, but the purchases that were returned still count: leave out both where that matters",
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
        if count > _MOST * seen.stored.n_rows:
            severity = Severity.PROBLEM
        elif serious and count >= _MANY * seen.stored.n_rows:
            severity = Severity.WARNING
        yield Finding(
            severity,
            code,
            None,
            f"{count:,} of {seen.stored.n_rows:,} rows dropped ({percent(count, seen.stored.n_rows)}): {what}",
            f"{advice} (--rejects PATH keeps all of them)" if count > EXAMPLES else advice,
            seen.examples(reason),
            count,
        )


def check_quantities(seen: Seen) -> Iterator[Finding]:
    """Check the quantities of the rows that are used."""
    column, engine = seen.columns.quantity, seen.engine
    if column is None or "quantity" not in seen.stored.columns or seen.used < 2:
        return
    used = f"{seen.stored.purchases} WHERE fate = 0"
    low, high = engine.row(f"SELECT min(quantity), max(quantity) FROM {used}")
    if low == high:
        yield Finding(
            Severity.NOTE,
            "column-constant",
            column,
            f"every quantity is {low:g}, so the column carries no information",
            "nothing to do, unless it should vary; --quantity-column names another",
        )
        return
    usual = engine.value(
        "SELECT min(quantity) FROM (SELECT quantity, sum(n) OVER (ORDER BY quantity) AS until, sum(n) OVER () AS total "
        f"FROM (SELECT quantity, count(*) AS n FROM {used} GROUP BY 1)) WHERE until >= .99 * total"
    )
    large = f"{used} AND quantity > {100 * usual!r}"
    count = int(engine.value(f"SELECT count(*) FROM {large}"))
    if count:
        most = engine.rows(f"SELECT row, quantity FROM {large} ORDER BY quantity DESC, row LIMIT {EXAMPLES}")
        yield Finding(
            Severity.NOTE,
            "quantities-large",
            column,
            f"{count:,} {'purchase has' if count == 1 else 'purchases have'} more than a hundred times the "
            f"quantity that 99 % stay within ({usual:g})",
            "check for typing errors; the quantity itself does not count, only whether it is above zero",
            tuple(f"row {row:,}: {quantity:g}" for row, quantity in most),
            count,
        )
