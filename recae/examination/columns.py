"""Checks of columns: times that are lacking, items that are lines of an order, and names that are a person's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow.compute as pc

from recae.examination.findings import EXAMPLES, Finding, Severity, percent
from recae.examination.seen import Seen
from recae.ids import shown
from recae.interactions import Interactions
from recae.reading import BASKET_NAMES

_LEAST_ROWS: Final = 100  # of which a share says something
_LINES: Final = 0.9  # items for each row, above which an item is hardly more than its row
_POSITIONS: Final = 200  # items at most where they may be positions in an order
_BASKETS: Final = 20  # of two items or more that are needed to tell
_NAMED: Final = 0.9  # of an item's rows carry its most frequent name where the name is the item's
_NAMED_ROWS: Final = 1_000_000  # rows that are compared


def check_columns(seen: Seen, shop: Interactions | None, unused: Sequence[str]) -> Iterator[Finding]:
    """Check what the columns chosen hold.

    Args:
        seen: the stored rows.
        shop: what was read; None where nothing could be.
        unused: the other columns.
    """
    if seen.columns.time is None:
        yield _no_times(unused)
    yield from _lines(seen)
    yield from _positions(seen)
    yield from _names(seen, shop)


def _no_times(unused: Sequence[str]) -> Finding:
    """Return the finding that there is no column of times, with the columns that may serve."""
    plain = {name: name.casefold().replace(" ", "_") for name in unused}
    dated = [name for name in unused if any(word in plain[name] for word in ("date", "time", "day"))]
    baskets = [name for name in unused if plain[name] in BASKET_NAMES]
    advice = "name it with --time-column, if there is one"
    if dated:
        advice = f"see whether it is {' or '.join(map(repr, dated[:3]))}: --time-column names it"
    if baskets:
        advice += f"; with --repeats, {baskets[0]!r} tells the baskets apart and orders them"
    sentence = "no column of times: duplicates cannot be told from repeat purchases, nor what was bought last"
    return Finding(Severity.NOTE, "times-none", None, sentence, advice)


def _lines(seen: Seen) -> Iterator[Finding]:
    """Yield a finding where nearly every row has an item of its own."""
    size = seen.stored.items.size
    if seen.used >= _LEAST_ROWS and size >= _LINES * seen.used:
        examples = seen.engine.rows(
            f"SELECT id FROM {seen.stored.items.table} WHERE code IS NOT NULL ORDER BY n, id LIMIT {EXAMPLES}"
        )
        yield Finding(
            Severity.PROBLEM,
            "items-one-row-each",
            seen.columns.item,
            f"{size:,} items in {seen.used:,} rows: nearly every row has an item of its own, as the number of an order "
            "line has, and nothing can be learned from that",
            "name the column of products with --item-column",
            tuple(shown(item) for (item,) in examples),
            seen.used,
        )


def _positions(seen: Seen) -> Iterator[Finding]:
    """Yield a finding where the items are numbers that begin anew in each basket."""
    engine, items, purchases = seen.engine, seen.stored.items, seen.stored.purchases
    baskets = [
        name
        for name in ("user", "basket" if "basket" in seen.stored.columns else "time")
        if name in seen.stored.columns
    ]
    if not 2 <= items.size <= _POSITIONS or len(baskets) < 2:
        return
    if engine.value(
        f"SELECT count(*) FROM {items.table} WHERE code IS NOT NULL AND TRY_CAST(id AS DOUBLE) IS NULL"
    ):
        return
    ranks = (
        f"SELECT code AS item, dense_rank() OVER (ORDER BY TRY_CAST(id AS DOUBLE)) AS place FROM {items.table} "
        "WHERE code IS NOT NULL"
    )
    several, begun = engine.row(
        "SELECT count(*) FILTER (WHERE most > 1 OR n > 1), count(*) FILTER (WHERE most > 1 AND most = n) FROM "
        f"(SELECT max(place) AS most, count(DISTINCT item) AS n FROM (SELECT {', '.join(baskets)}, item FROM "
        f"{purchases} WHERE fate = 0 AND {baskets[1]} IS NOT NULL) JOIN ({ranks}) USING (item) "
        f"GROUP BY {', '.join(baskets)})"
    )
    if begun >= _BASKETS and begun >= _LINES * several:
        first = engine.rows(
            f"SELECT id FROM {items.table} WHERE code IS NOT NULL ORDER BY TRY_CAST(id AS DOUBLE) LIMIT {EXAMPLES}"
        )
        yield Finding(
            Severity.PROBLEM,
            "items-restart",
            seen.columns.item,
            f"the items are {', '.join(item for (item,) in first)}, … and begin anew in {begun:,} of {several:,} "
            "baskets: they are positions in an order, and no products",
            "name the column of products with --item-column",
        )


def _names(seen: Seen, shop: Interactions | None) -> Iterator[Finding]:
    column = seen.columns.name
    if column is None or shop is None or shop.item_names is None:
        return
    named = shop.item_names.drop_null()
    if len(named) > 1 and pc.count_distinct(named).as_py() == 1:
        yield Finding(
            Severity.NOTE,
            "column-constant",
            column,
            f"every item is named {shown(named[0].as_py())}, so the column carries no information",
            "name another with --name-column, or give --name-column ''",
        )
        return
    of_items, of_users = (_agreement(seen, role) for role in ("item", "user"))
    if of_items is None or of_items >= _NAMED:
        return
    personal = of_users is not None and of_users >= _NAMED
    yield Finding(
        Severity.PROBLEM if personal else Severity.WARNING,
        "names-not-of-items",
        column,
        f"only {percent(of_items, 1)} of the rows carry the most frequent name of their item"
        + (
            ": the names are the users', and would be shown to other users as names of products"
            if personal
            else ", so that it is hardly a name of items"
        ),
        "give --name-column '', or name the column of the items' names",
        tuple(shown(name) for name in named[:EXAMPLES].to_pylist()),
    )


def _agreement(seen: Seen, role: str) -> float | None:
    """Return the fraction of rows that carry the most frequent name of their item or user, of those with several rows.

    It is None where too small a number of rows have a name.
    """
    part = max(1, round(seen.stored.n_rows / _NAMED_ROWS))
    most, total = seen.engine.row(
        "SELECT sum(most)::BIGINT, sum(total)::BIGINT FROM (SELECT max(n) AS most, sum(n) AS total FROM "
        f"(SELECT p.{role} AS code, r.name, count(*) AS n FROM {seen.stored.purchases} p "
        f"JOIN {seen.stored.rows} r ON r.rowid = p.row - 1 "
        f"WHERE p.fate = 0 AND r.name IS NOT NULL AND p.{role} % {part} = 0 GROUP BY 1, 2) "
        "GROUP BY code HAVING sum(n) > 1)"
    )
    return most / total if total and total >= _LEAST_ROWS // 2 else None
