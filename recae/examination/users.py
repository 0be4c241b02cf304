"""Checks of users and items: too small a number, single purchases, skewed popularity, and users like bots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.examination.findings import EXAMPLES, Finding, Severity, counted, percent
from recae.examination.seen import Seen
from recae.examination.times import DAY
from recae.ids import shown
from recae.interactions import Interactions

_MIN_USERS: Final = 50
_MIN_ITEMS: Final = 20
_BUSY: Final = 50  # a user with fewer baskets is no bot
_FAR: Final = 5.0  # robust standard deviations of the logarithm
_LEAST_SPREAD: Final = 0.25  # of the logarithm; where nearly all have the same number, one more is nothing
_SECOND: Final = 1_000_000  # microseconds
# a user's baskets: distinct seconds of purchases, in all and on the busiest day
_BASKETS: Final = f"""
    SELECT user, sum(n)::BIGINT AS n, max(n)::BIGINT AS most
    FROM (
        SELECT user, count(*) AS n
        FROM (SELECT DISTINCT user, floor(time / {_SECOND})::BIGINT AS second FROM {{timed}})
        GROUP BY user, floor(second / {DAY})
    )
    GROUP BY user
    ORDER BY user
"""


@dataclass(frozen=True)
class Figures:
    """Figures of users and items.

    Attributes:
        users: number of users.
        items: number of items.
        interactions: distinct pairs of a user and an item.
        repeats: purchases beyond the first of a pair.
        density: fraction of all pairs of a user and an item that occur.
        history_median: items a user, the median.
        history_90: likewise, the 90 % quantile.
        history_most: likewise, the maximum.
        top_share: fraction of the purchases that the most popular hundredth of the items has, one item at least.
        gini: Gini coefficient of the items' purchases, 0 where all are alike, near 1 where one has all.
        divisible: users with two items or more.
        owned_by_five: items that five users or more have.
    """

    users: int
    items: int
    interactions: int
    repeats: int
    density: float
    history_median: float
    history_90: float
    history_most: int
    top_share: float
    gini: float
    divisible: int
    owned_by_five: int


def figures_of(shop: Interactions) -> Figures:
    """Return the figures of a table."""
    lengths, owners = _lengths(shop), _owners(shop)
    bought = np.sort(_bought(shop))
    top = max(1, round(0.01 * shop.n_items))
    ranks = np.arange(1, bought.size + 1)
    return Figures(
        users=shop.n_users,
        items=shop.n_items,
        interactions=shop.n_interactions,
        repeats=int(shop.counts.sum()) - shop.n_interactions,
        density=shop.n_interactions / (shop.n_users * shop.n_items),
        history_median=float(np.median(lengths)),
        history_90=float(np.quantile(lengths, 0.9)),
        history_most=int(lengths.max()),
        top_share=float(bought[-top:].sum() / bought.sum()),
        gini=float((2 * ranks - bought.size - 1) @ bought / (bought.size * bought.sum())),
        divisible=int((lengths >= 2).sum()),
        owned_by_five=int((owners >= 5).sum()),
    )


def check_users(seen: Seen, shop: Interactions, figures: Figures) -> Iterator[Finding]:
    """Check users and items."""
    user, item = seen.columns.user, seen.columns.item
    for what, column, number, least in (
        ("user", user, figures.users, _MIN_USERS),
        ("item", item, figures.items, _MIN_ITEMS),
    ):
        if number < least:
            yield Finding(
                Severity.WARNING,
                f"{what}s-few",
                column,
                f"there are only {counted(number, what)}",
                f"take purchases of a longer period, or check that {column!r} is the column of {what}s",
            )
    yield from _alone(figures.users, _lengths(shop), "user", "item", user)
    yield from _alone(figures.items, _owners(shop), "item", "user", item)
    yield from _heavy(seen, shop)
    yield from _bots(seen, shop)
    if figures.items >= 100 and figures.top_share >= 0.1:
        top = max(1, round(0.01 * figures.items))
        yield Finding(
            Severity.WARNING if figures.top_share >= 0.5 else Severity.NOTE,
            "items-skewed",
            item,
            f"the {counted(top, 'most popular item')} (1 %) {'has' if top == 1 else 'have'} "
            f"{percent(figures.top_share, 1)} of the purchases; the Gini coefficient is {figures.gini:.2f}",
            "compare with the popularity row that training prints; bags, postage and the like are best "
            "left out with --exclude-items",
            tuple(_popular(shop)),
        )
    purchases = figures.interactions + figures.repeats
    if figures.repeats >= 0.2 * purchases:
        yield Finding(
            Severity.NOTE,
            "purchases-repeat",
            None,
            f"{percent(figures.repeats, purchases)} of the purchases are of an item that the user has already",
            "where users buy items again, train and evaluate with --repeats",
        )


def _alone(number: int, counts: NDArray[np.int64], what: str, other: str, column: str) -> Iterator[Finding]:
    one = int((counts == 1).sum())
    if one < 0.1 * number:
        return
    why = (
        "none of their purchases can be held out, and a single purchase says little about a taste"
        if what == "user"
        else "nothing says whom else they may please"
    )
    check = (
        "that it is not the number of an order"
        if what == "user"
        else "that ids are not made anew for each sale"
    )
    yield Finding(
        Severity.WARNING if one > number / 2 else Severity.NOTE,
        f"{what}s-with-one-{other}",
        column,
        f"{counted(one, what)} ({percent(one, number)}) {'has' if one == 1 else 'have'} one {other} only: {why}",
        f"take a longer period; check of {column!r} {check}",
    )


def _heavy(seen: Seen, shop: Interactions) -> Iterator[Finding]:
    purchases = np.bincount(_users_of(shop), weights=shop.counts, minlength=shop.n_users)
    most = int(purchases.argmax())
    if shop.n_users >= 10 and purchases[most] >= 0.1 * purchases.sum() and purchases[most] >= 20:
        yield Finding(
            Severity.WARNING,
            "users-heavy",
            seen.columns.user,
            f"one user has {percent(purchases[most], purchases.sum())} of all purchases; it may be several customers",
            "leave it out where it is a till, a guest account or a reseller",
            (f"{shown(shop.users.id(most))}: {counted(int(purchases[most]), 'purchase')}",),
        )


def _bots(seen: Seen, shop: Interactions) -> Iterator[Finding]:
    """Yield a finding on users of far more baskets than others, or of many on a day; without times, of more items."""
    what = "basket"
    found = seen.engine.arrow(_BASKETS.format(timed=seen.timed)) if seen.stored.timed else None
    if found is not None and found.num_rows:
        codes, number, per_day = (found.column(name).to_numpy() for name in ("user", "n", "most"))
    else:
        what, number = "item", _lengths(shop)
        codes, per_day = np.arange(number.size), np.zeros(number.size, np.int64)
    marked = _far_above(number) | ((per_day >= 8) & (per_day > 4 * np.quantile(per_day, 0.99)))
    if not marked.any():
        return
    places = np.flatnonzero(marked)
    places = places[np.lexsort((codes[places], -number[places]))]
    usual = float(np.median(number))

    def name(code: int) -> str:
        if what == "item":
            return shop.users.id(code)
        return str(seen.engine.value(f"SELECT id FROM {seen.stored.users.table} WHERE code = {code}"))

    yield Finding(
        Severity.WARNING,
        "users-like-bots",
        seen.columns.user,
        f"{counted(places.size, 'user')} {'buys' if places.size == 1 else 'buy'} far more often than a person would "
        f"(the median is {usual:g} {what}{'s' * (usual != 1)})",
        "see who they are; `recae anomalies` shows after a training whether their purchases fit together; leave out "
        "bots, tills and resellers",
        tuple(
            f"{shown(name(int(codes[place])))}: {counted(int(number[place]), what)}"
            + (f", up to {per_day[place]:,} on one day" if per_day[place] > 1 else "")
            for place in places[:EXAMPLES].tolist()
        ),
    )


def _far_above(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which counts are outliers, by the median and its deviation of logarithms."""
    logs = np.log(np.maximum(counts, 1))
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    return (counts >= _BUSY) & (logs > middle + _FAR * spread)


def _popular(shop: Interactions) -> list[str]:
    bought = _bought(shop)
    places = np.argsort(-bought, kind="stable")[:EXAMPLES].tolist()
    names = [None if shop.item_names is None else shop.item_names[place].as_py() for place in places]
    return [
        f"{shown(shop.items.id(place))}{f' ({name})' if name else ''}: {counted(int(bought[place]), 'purchase')}"
        for place, name in zip(places, names, strict=True)
    ]


def _lengths(shop: Interactions) -> NDArray[Any]:
    return np.diff(shop.matrix.indptr).astype(np.int64)


def _owners(shop: Interactions) -> NDArray[Any]:
    return np.bincount(shop.matrix.indices, minlength=shop.n_items)


def _bought(shop: Interactions) -> NDArray[Any]:
    return np.bincount(shop.matrix.indices, weights=shop.counts, minlength=shop.n_items)


def _users_of(shop: Interactions) -> NDArray[Any]:
    return np.repeat(np.arange(shop.n_users), _lengths(shop))
