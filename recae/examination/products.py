"""Items that are no products, such as postage, fees, discounts and bags: by their names, ids, prices and buyers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.examination.findings import EXAMPLES, Finding, Severity, counted, percent
from recae.ids import shown
from recae.interactions import Interactions
from recae.reading import Reading
from recae.reading.engine import quoted

_ENDINGS: Final = frozenset(
    """postage shipping delivery carriage freight surcharge fee fees charges commission discount discounts
    rebate voucher vouchers coupon coupons adjustment refund donation deposit insurance debt vat gratuity
    rounding versand versandkosten porto portokosten fracht frachtkosten lieferkosten gebuhr gebuhren rabatt
    gutschein gutschrift pfand leergut trinkgeld spende rundung mwst tragetasche einkaufstasche plastiktute
    papiertute livraison frais consigne pourboire envio descuento propina frete desconto spedizione sconto
    mancia verzending verzendkosten korting statiegeld""".split()  # noqa: SIM905  # words read better than a list of texts
)
"""The last word of such a name, of three at most; or any word where the others are of `_FILLERS`."""
_FILLERS: Final = frozenset(
    """and of the a de des du di und der die das fur bank dotcom standard express next day free post port
    caisse cost costs international national kosten gastos service handling packing packaging verpackung
    adjust bad""".split()  # noqa: SIM905  # words read better than a list of texts
)
_ALONE: Final = frozenset(
    "manual post misc miscellaneous sample samples test dummy tip tips diverses sonstiges".split()  # noqa: SIM905  # words read better than a list of texts
)
_BAGS: Final = ("carrier bag", "plastic bag", "paper bag", "poly bag", "gift card", "sac de caisse")
_PRICES: Final = re.compile(
    r"(item|unit|product|sales?|list|lineitem|net|gross|einzel|stück|stueck)?[ _]?"
    r"(price|preis|prix|precio|prezzo|preço|preco|prijs|単価|单价|价格|amount)([ _](unitaire|unitario|each))?"
)
_POPULAR: Final = 100_000  # items that are looked at, those of most users first
_PRICED: Final = 8  # rows of the sample with a price that an item needs
_APART: Final = 1.0  # standard deviation of the logarithm: prices that differ by a factor of e
_TYPICAL: Final = 0.4  # that of the median item at most, where such an item stands apart
_MANY: Final = 0.02  # of the users
_USERS: Final = 20_000  # that are compared
_MOST: Final = 50  # popular items that are compared
_NEIGHBOURS: Final = 10


@dataclass(frozen=True)
class NoProduct:
    """An item that looks like no product.

    Attributes:
        id: of the item.
        name: null without.
        users: how many have it.
        why: what speaks for it.
    """

    id: str
    name: str | None
    users: int
    why: tuple[str, ...]

    def __str__(self) -> str:
        """Return it in words."""
        named = f" ({self.name})" if self.name else ""
        return f"{shown(self.id)}{named}: {counted(self.users, 'user')}; {', '.join(self.why)}"


def no_products(reading: Reading, shop: Interactions) -> list[NoProduct]:
    """Return the items that look like no products, those of most users first.

    A telling name is enough, and so are prices all over; an id unlike the others or company unlike any product's needs
    a second reason.
    """
    owners = np.bincount(shop.matrix.indices, minlength=shop.n_items)
    ids = shop.items.ids(np.arange(shop.n_items))
    names = pa.nulls(shop.n_items, pa.string()) if shop.item_names is None else shop.item_names
    odd, prices, alone = _odd(ids), _prices(reading, shop), _alone(shop, owners)
    found = []
    for place in np.argsort(-owners, kind="stable")[:_POPULAR].tolist():
        item, name = str(ids[place].as_py()), names[place].as_py()
        why = []
        if is_service(name or ""):
            why.append("its name says so")
        elif place in odd and is_service(item):
            why.append("its id says so")
        if place in prices:
            why.append("its price runs from {:g} to {:g}".format(*prices[place]))
        enough = bool(why)
        if place in odd:
            why.append("its id is unlike the others")
        if place in alone:
            why.append("users buy it with nothing in particular")
        if enough or len(why) > 1:
            found.append(NoProduct(item, name, int(owners[place]), tuple(why)))
    return sorted(found, key=lambda one: (-one.users, one.id))


def check_products(found: list[NoProduct], shop: Interactions, source: str, column: str) -> Iterator[Finding]:
    """Yield the finding on items that look like no products.

    Args:
        found: those.
        shop: what was read.
        source: what to call the table in a command.
        column: that of the items.
    """
    if found:
        most = found[0].users
        yield Finding(
            Severity.WARNING if most >= _MANY * shop.n_users else Severity.NOTE,
            "items-no-products",
            column,
            f"{counted(len(found), 'item')} {'looks' if len(found) == 1 else 'look'} like no product: postage, a fee, "
            f"a discount, a bag or the like; {percent(most, shop.n_users)} of the users have the first",
            f"`recae doctor {source} --write-exclusions exclusions.txt` writes their ids; see whether they are right, "
            f"and train with `recae train {source} --exclude-items exclusions.txt`",
            tuple(map(str, found[:EXAMPLES])),
        )


def is_service(name: str) -> bool:
    """Return whether a name is one of postage, fees, discounts, bags and the like."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = re.findall("[a-z]{2,}", plain)
    if not words or len(words) > 5:
        return False
    if len(words) <= 3 and (words[-1] in _ENDINGS or " ".join(words).removesuffix("s") in _BAGS):
        return True
    return (len(words) == 1 and words[0] in _ALONE) or (
        any(word in _ENDINGS for word in words)
        and all(word in _ENDINGS or word in _FILLERS for word in words)
    )


def _odd(ids: pa.LargeStringArray) -> set[int]:
    """Return the places of ids without a digit, where these are a rare exception."""
    if len(ids) < 50:
        return set()
    without = [place for place, item in enumerate(ids.to_pylist()) if not any(map(str.isdigit, item))]
    return set(without) if len(without) <= 0.02 * len(ids) else set()


def _prices(reading: Reading, shop: Interactions) -> dict[int, tuple[float, float]]:
    """Return the lowest and the highest of an item's prices in the sample, for items whose prices are all over."""
    table, columns = reading.table, reading.columns
    names = [name for name in table.columns if _PRICES.fullmatch(name.casefold().strip())]
    if not names:
        return {}
    digits = f"{quoted(names[0])}::VARCHAR"
    if table.decimal_comma:
        digits = f"replace(replace({digits}, '.', ''), ',', '.')"
    found = table.engine.rows(
        f"SELECT {quoted(columns.item)}::VARCHAR AS item, "
        "stddev_pop(ln(p)) AS s, quantile_cont(p, .05) AS low, quantile_cont(p, .95) AS high, count(DISTINCT p) AS n "
        f"FROM (SELECT {quoted(columns.item)}, TRY_CAST({digits} AS DOUBLE) AS p FROM {table.sample()}) WHERE p > 0 "
        f"GROUP BY 1 HAVING count(*) >= {_PRICED}"
    )
    if len(found) < 20 or np.median([row[1] for row in found]) > _TYPICAL:
        return {}
    apart = [row for row in found if row[1] >= _APART and row[4] >= _PRICED]
    places = shop.items.rows([str(row[0]) for row in apart]).tolist()
    return {place: (row[2], row[3]) for place, row in zip(places, apart, strict=True) if place >= 0}


def _alone(shop: Interactions, owners: NDArray[Any]) -> set[int]:
    """Return the places of popular items that are bought together with others no more than by chance.

    An item's correlation with those nearest to it is measured against what chance gives among so many users.
    """
    matrix = shop.matrix[:_USERS] if shop.n_users <= _USERS else shop.matrix[:: shop.n_users // _USERS]
    n_users = matrix.shape[0]
    counts = np.bincount(matrix.indices, minlength=shop.n_items)
    popular = np.argsort(-owners, kind="stable")[:_MOST]
    popular = popular[owners[popular] >= max(20, _MANY * shop.n_users)]
    others = np.flatnonzero(counts >= 10)
    if popular.size < 20 or others.size < 50:
        return set()
    share = counts / n_users
    together = np.asarray((matrix[:, popular].T @ matrix[:, others]).todense()) / n_users
    spread = np.sqrt(np.outer(share[popular] * (1 - share[popular]), share[others] * (1 - share[others])))
    with np.errstate(divide="ignore", invalid="ignore"):
        nearness = np.nan_to_num((together - np.outer(share[popular], share[others])) / spread)
    nearness[popular[:, None] == others] = -1
    nearest = np.sort(nearness, axis=1)[:, -_NEIGHBOURS:].mean(axis=1)
    chance = np.sqrt(2 * np.log(others.size) / n_users)
    if np.median(nearest) < 3 * chance:
        return set()
    return set(popular[nearest < chance].tolist())
