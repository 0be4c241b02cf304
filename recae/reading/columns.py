"""Which column is which: a name proposes a role, the values decide, and what was not taken is named.

A column given by an option wins. Of the others, each role takes the best of the columns whose names fit and whose
values allow it. Where a second column fits as well and says something else, a note names it with the option that takes
it; where the two would lead to very different models, reading stops.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from recae.errors import ColumnError
from recae.reading.advice import no_item, no_purchases, no_user
from recae.reading.candidates import Candidates, listed, plain_columns
from recae.reading.engine import quoted
from recae.reading.items import check_given_item, choose_item, choose_name
from recae.reading.measures import choose_event, choose_quantity, choose_rating, choose_status
from recae.reading.names import BASKET_NAMES, KNOWN_NAMES, Name, plain
from recae.reading.options import ReadOptions
from recae.reading.positions import choose_by_position
from recae.reading.roles import ROLES, Columns
from recae.reading.table import Note, Table
from recae.reading.users import choose_user
from recae.reading.when import choose_clock, choose_time, reads_as_time

__all__ = ["BASKET_NAMES", "KNOWN_NAMES", "choose_column", "choose_columns", "find_order", "name_columns"]

_NEEDED: Final = ("user", "item")
_MEANING: Final = {"user": "who bought", "item": "what was bought"}
_UNUSED: Final = ("", "-")
_OTHERS: Final = {
    "time": choose_time,
    "clock": choose_clock,
    "status": choose_status,
    "event": choose_event,
    "rating": choose_rating,
    "quantity": choose_quantity,
    "name": choose_name,
}
_FEWEST: Final = 5  # rows from which on a table with a row an item is one of items


def choose_columns(table: Table, options: ReadOptions) -> tuple[Columns, tuple[Note, ...]]:
    """Choose the column of each role, by names and values.

    Args:
        table: as it stands.
        options: columns given by name win, "" says that an optional role has none; ``columns`` names them by position.

    Returns:
        The columns, and what should be known about how they were chosen.

    Raises:
        ColumnError: no user or no item can be told; a column given is not there; the user and the item would be one
            column; two columns fit and would lead to very different models; the table holds no purchases.
    """
    labels = _labels(table, options)
    found = Candidates(table, labels, _given(table, options, labels))
    if not table.header and options.columns is None:
        _by_position(found)
    if "user" not in found.chosen:
        choose_user(found)
    if "item" not in found.chosen:
        choose_item(found)
    elif options.item_column is not None:
        check_given_item(found)
    if found.chosen.get("user") is None and found.chosen.get("item") is not None:
        _take_baskets_for_users(found)
    user, item = (found.chosen.get(role) for role in ROLES[:2])
    if user is None or item is None:
        raise _lacking(found)
    for role, choose in _OTHERS.items():
        if role not in found.chosen:
            choose(found)
    if "basket" not in found.chosen and options.baskets and found.chosen.get("time") is None:
        found.chosen["basket"] = next((column for _, column in found.fitting("basket")), None)
    others = {role: found.chosen.get(role) for role in ROLES[2:]}
    return Columns(user, item, **others), tuple(found.notes)


def choose_column(
    names: Sequence[str], given: str | None, role: str, known: Sequence[str], table: str
) -> str:
    """Choose the column of one role by its name: the one given, else the first of the known names that there is.

    Args:
        names: the columns of the table, in their order.
        given: the column's exact name; None: the known names decide.
        role: what is in it, as in ``--user-column``; for messages.
        known: names in order of preference; case, blanks and _ - . do not count.
        table: what to call the table in messages.

    Raises:
        ColumnError: the column is not there, occurs twice, or cannot be told.
    """
    seen = {plain(name): name for name in reversed(names)}
    chosen = given
    if chosen is None:
        chosen = next((seen[plain(name)] for name in known if plain(name) in seen), None)
    if chosen is None and role in KNOWN_NAMES:
        fits = [(p, name) for name in names if (p := Name(name).preference(role)) is not None and p < 2]
        chosen = min(fits)[1] if fits else None
    if chosen is None:
        raise ColumnError(
            f"'{table}': no column is recognised as the {role}; name it with --{role}-column; found: {listed(names)}"
        )
    if (times := list(names).count(chosen)) != 1:
        what = f"occurs {times} times" if times else "is not in the table"
        raise ColumnError(
            f"'{table}': the {role} column {chosen!r} {what}; name another with --{role}-column; found: {listed(names)}"
        )
    return chosen


def find_order(table: Table, taken: Sequence[str] = ()) -> str | None:
    """Return the column that says which rows were bought together, by names and values; None where there is none.

    Args:
        table: the table.
        taken: columns that have another role.
    """
    return Candidates(
        table, {column: column for column in plain_columns(table) if column not in taken}, {}
    ).order


def name_columns(table: Table, options: ReadOptions) -> Table:
    """Return a table whose columns have the names that ``--columns`` gives them; the others keep theirs.

    Args:
        table: as it stands.
        options: with the names by position, or without.

    Raises:
        ColumnError: more names are given than there are columns, or one twice.
    """
    labels = _labels(table, options)
    others = set(table.columns) - set(labels)
    clash = next((label for label in labels.values() if label in others), None)
    if clash is not None:
        raise ColumnError(f"--columns names {clash!r}, which another column is called: give it another name")
    if all(column == label for column, label in labels.items()):
        return table
    named = ", ".join(f"{quoted(c)} AS {quoted(labels.get(c, c))}" for c in table.columns)
    view = table.engine.view(f"SELECT {named} FROM {table.relation}", "named")
    types = {labels.get(column, column): kind for column, kind in table.types.items()}
    return replace(table, relation=view, types=types, _samples={})


def _labels(table: Table, options: ReadOptions) -> dict[str, str]:
    """Return what each column that may be used is called: by the table, or by ``--columns``."""
    columns = plain_columns(table)
    given = options.columns
    if given is None:
        return {column: column for column in columns}
    if (more := len(given) - len(table.columns)) > 0:
        raise ColumnError(
            f"--columns names {len(given)} columns, but there are {len(table.columns)}: leave {more} out; "
            f"found: {listed(table.columns)}"
        )
    named = [name for name in given if name not in _UNUSED]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise ColumnError(
            f"--columns names {twice!r} twice: give each column a name of its own, or - for none"
        )
    placed = zip(table.columns, given, strict=False)
    return {column: name for column, name in placed if name not in _UNUSED and column in columns}


def _given(table: Table, options: ReadOptions, labels: dict[str, str]) -> dict[str, str | None]:
    """Return the column of each role that an option gives; None where there is to be none."""
    by_label = {label: column for column, label in labels.items()}
    chosen: dict[str, str | None] = {}
    if options.columns is not None:
        chosen |= {role: by_label[role] for role in ROLES if role in by_label}
    for role in ROLES:
        wanted = getattr(options, f"{role}_column", None)
        if wanted == "" and role not in _NEEDED:
            chosen[role] = None
        elif wanted is not None:
            chosen[role] = (
                wanted if wanted in table.types else by_label.get(wanted) or _missing(table, role, wanted)
            )
    if chosen.get("user") is not None and chosen.get("user") == chosen.get("item"):
        raise ColumnError(
            f"the user and the item cannot both be column {chosen['user']!r}; found: {listed(table.columns)}"
        )
    return chosen


def _missing(table: Table, role: str, wanted: str) -> str:
    """Raise ColumnError for a column that is not there, with the name that may have been meant."""
    near = difflib.get_close_matches(wanted, table.columns, n=1, cutoff=0.6)
    same = [name for name in table.columns if plain(name) == plain(wanted)]
    hint = f"; did you mean {(same or near)[0]!r}?" if same or near else ""
    raise ColumnError(
        f"--{role}-column names {wanted!r}, which the table does not have{hint}; found: {listed(table.columns)}"
    )


def _by_position(found: Candidates) -> None:
    chosen, note = choose_by_position(found.profile, list(found.free()), found.chosen)
    found.chosen.update({role: column for role, column in chosen.items() if role not in found.chosen})
    if note is not None:
        found.notes.append(note)


def _take_baskets_for_users(found: Candidates) -> None:
    """Let each order stand for a user, where the table says when they were and not who bought."""
    order = found.order
    if order is None or order == found.chosen["item"]:
        return
    dated = any(reads_as_time(found, column) for _, column in found.fitting("time", below=3))
    if found.table.basket_is_user:
        found.chosen["user"] = order
    elif dated:
        found.chosen["user"] = order
        found.note(
            f"nothing says who bought: each {order!r} stands for a user", "baskets-as-users", order,
            "--user-column names another column", doubt=True,
        )  # fmt: skip


def _lacking(found: Candidates) -> ColumnError:
    """Return the error for a table without a user or an item, with the way to the right one."""
    user, item, table = found.chosen.get("user"), found.chosen.get("item"), found.table
    baskets = [column for _, column in found.fitting("basket") if column != item]
    if user is not None and baskets:
        # orders have one row each: the column of which each row has its own value
        return no_item(table, max(baskets, key=lambda column: found.profile.facts(column).distinct))
    if item is not None and user is None:
        if found.order not in (None, item):
            return no_user(table, str(found.order))
        facts = found.profile.facts(item)
        if facts.distinct == facts.rows >= _FEWEST and not found.fitting("time", below=3):
            return no_purchases(table, item)
    roles = [role for role, column in (("user", user), ("item", item)) if column is None]
    needed = " and ".join(f"the {role} ({_MEANING[role]})" for role in roles)
    options = " and ".join(f"--{role}-column" for role in roles)
    reasons = [f"{c!r} {reason}" for c, reason in found.refused.items()] if item is None else []
    refused = f" ({', '.join(reasons[:3])})" if reasons else ""
    more = "" if table.header else ", or all of them with --columns user,item,…"
    return ColumnError(
        f"no column is recognised as {needed}{refused}; name it with {options}{more}; found: {listed(table.columns)}"
    )
