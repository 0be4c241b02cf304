"""Which column is which: the documented names of each role, and the choice among the columns of a table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recae.errors import ColumnError

KNOWN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user": (
        "user_id", "user", "customer_id", "customer", "client_id", "client", "member_id", "member",
        "shopper_id", "shopper", "buyer_id", "buyer", "account_id", "visitor_id", "household_id",
        "household_key", "person_id", "reviewer_id", "uid", "user_name", "customer_no",
        "customer_number", "customer_unique_id",
    ),
    "item": (
        "item_id", "item", "product_id", "product", "stock_code", "sku", "sku_id", "article_id",
        "article", "asin", "parent_asin", "movie_id", "movie", "book_id", "isbn", "track_id", "song_id",
        "artist_id", "business_id", "recipe_id", "game_id", "upc", "ean", "gtin", "item_code",
        "product_code", "item_no", "item_number", "product_number",
    ),
    "time": (
        "timestamp", "datetime", "date", "time", "invoice_date", "order_date", "purchase_date",
        "purchased_at", "purchase_time", "ordered_at", "order_time", "order_timestamp",
        "order_purchase_timestamp", "event_time", "transaction_date", "transaction_time", "t_dat",
        "created_at", "unix_review_time", "review_time", "review_date", "ts",
    ),
    "quantity": (
        "quantity", "qty", "units", "units_sold", "item_count", "product_count", "order_quantity",
        "purchase_quantity", "count", "num_items", "pieces",
    ),
    "name": (
        "item_name", "product_name", "item_title", "product_title", "title", "name", "description",
        "item_description", "product_description", "article_name", "prod_name", "movie_title",
        "book_title",
    ),
}  # fmt: skip
"""The column names recognised for each role, in order of preference; case, blanks and _ - . do not count."""

BASKET_NAMES: Final = (
    "order_number", "basket", "basket_number", "basket_id", "order_id", "order", "order_no", "invoice_number",
    "invoice_no", "invoice", "invoice_id", "receipt", "receipt_id", "transaction_id", "visit_number", "session_id",
)  # fmt: skip
"""The column names recognised for the number of the order, in order of preference, where there is no time."""

_MEANING: Final = {"user": "who bought", "item": "what was bought"}


@dataclass(frozen=True)
class Columns:
    """The columns of a table by role; None where the table has no such column."""

    user: str
    item: str
    time: str | None = None
    quantity: str | None = None
    name: str | None = None
    basket: str | None = None

    def used(self) -> list[str]:
        """Return the distinct columns to read, in the order of the roles."""
        roles = (self.user, self.item, self.time, self.quantity, self.name, self.basket)
        return list(dict.fromkeys(column for column in roles if column is not None))

    def __str__(self) -> str:
        chosen = {role: getattr(self, role) for role in (*KNOWN_NAMES, "basket")}
        return ", ".join(f"{role} {column!r}" for role, column in chosen.items() if column is not None)


def choose_columns(names: Sequence[str], given: Mapping[str, str | None]) -> Columns:
    """Choose a column for each role.

    A column given by name wins; otherwise the first name of `KNOWN_NAMES` that the table has is taken, unless
    another role was given that column. A basket column is recognised, by `BASKET_NAMES`, only where ``given``
    asks for one with None and there is no time column.

    Args:
        names: the columns of the table, in their order.
        given: role (``user``, ``item``, ``time``, ``quantity``, ``name``, ``basket``) to a column's exact name; None or
            a missing role leaves the choice to the documented names, "" says that an optional role has none.

    Raises:
        ColumnError: no user or no item column can be recognised; a column given is not there; the user and
            the item would be one column; a chosen name occurs more than once.
    """
    chosen: dict[str, str | None] = {}
    for role, wanted in given.items():
        if wanted is not None and (wanted or role in ("user", "item")):
            chosen[role] = _given(names, role, wanted)
        elif wanted == "":
            chosen[role] = None
    taken = {column for column in chosen.values() if column is not None}
    # A table may hold one name in several spellings; the first column of them counts.
    seen: dict[str, str] = {}
    for name in names:
        seen.setdefault(_plain(name), name)
    for role, known in KNOWN_NAMES.items():
        if role not in chosen:
            found = (seen[_plain(name)] for name in known if _plain(name) in seen)
            chosen[role] = next((name for name in found if name not in taken), None)
    wants_baskets = "basket" in given and "basket" not in chosen and chosen["time"] is None
    found = (seen[_plain(name)] for name in BASKET_NAMES if _plain(name) in seen)
    free = set(names) - {column for column in chosen.values() if column is not None}
    basket = next((name for name in found if name in free), None) if wants_baskets else chosen.get("basket")
    user, item = chosen["user"], chosen["item"]
    if user is None or item is None:
        roles = [role for role in ("user", "item") if chosen[role] is None]
        needed = " and ".join(f"the {role} ({_MEANING[role]})" for role in roles)
        options = " and ".join(f"--{role}-column" for role in roles)
        raise ColumnError(
            f"no column is recognised as {needed}; name it with {options}; found: {_list(names)}"
        )
    if user == item:
        raise ColumnError(f"the user and the item cannot both be column {user!r}; found: {_list(names)}")
    columns = Columns(user, item, chosen["time"], chosen["quantity"], chosen["name"], basket)
    for column in columns.used():
        if (times := list(names).count(column)) > 1:
            raise ColumnError(
                f"column {column!r} occurs {times} times, so it is not clear which one is meant; "
                f"rename all but one; found: {_list(names)}"
            )
    return columns


def choose_column(
    names: Sequence[str], given: str | None, role: str, known: Sequence[str], table: str
) -> str:
    """Choose the column of one role: the one given, else the first of the known names that the table has.

    Args:
        names: the columns of the table, in their order.
        given: the column's exact name; None leaves the choice to the known names.
        role: what is in it, as in ``--user-column``; for messages.
        known: names in order of preference; case, blanks and _ - . do not count.
        table: what to call the table in messages.

    Raises:
        ColumnError: the column is not there, occurs twice, or cannot be told.
    """
    seen = {_plain(name): name for name in reversed(names)}
    found = next((seen[_plain(name)] for name in known if _plain(name) in seen), None)
    chosen = found if given is None else given
    if chosen is None:
        raise ColumnError(
            f"'{table}': no column is recognised as the {role}; name it with --{role}-column; "
            f"found: {_list(names)}"
        )
    if (times := list(names).count(chosen)) != 1:
        what = f"occurs {times} times" if times else "is not in the table"
        raise ColumnError(
            f"'{table}': the {role} column {chosen!r} {what}; name another with --{role}-column; "
            f"found: {_list(names)}"
        )
    return chosen


def _given(names: Sequence[str], role: str, wanted: str) -> str:
    if wanted in names:
        return wanted
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
    same = [name for name in names if _plain(name) == _plain(wanted)]
    hint = f"; did you mean {(same or near)[0]!r}?" if same or near else ""
    raise ColumnError(
        f"--{role}-column names {wanted!r}, which the table does not have{hint}; found: {_list(names)}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_.\-]+", "", name).casefold()


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:30])
    return shown + (f" and {len(names) - 30} more" if len(names) > 30 else "")
