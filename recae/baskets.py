"""Histories of somebody new: a basket of items, with other events than purchases or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from recae.errors import ConfigError, UnknownIdError
from recae.ids import IdMap, id_texts, shown
from recae.text import brief

_NAMED_AT_MOST = 5  # unknown items that an error spells out


def basket_history(items: IdMap, n_bought: int, ids: Sequence[str | int]) -> sp.csr_matrix:
    """Return the known items of a basket as a history, (1, I), of ones.

    Args:
        items: ids of the I items of a model.
        n_bought: how many of them, the first, have been bought.
        ids: of the basket; repeated ones count once.

    Raises:
        ConfigError: the basket is empty, or no sequence of ids.
        UnknownIdError: the model knows none of the items, or nobody has bought one of those that it knows.
    """
    texts = basket_ids(ids)
    if not texts:
        raise ConfigError("the basket is empty; give the id of at least one item")
    rows = items.rows(texts)
    known = np.unique(rows[rows >= 0])  # sorted, each once
    if known.size and known[0] >= n_bought:
        new = items.id(int(known[0]))
        raise UnknownIdError(
            f"nobody has bought {shown(new)} yet, so that a basket of it says nothing of a customer: add items "
            "that were bought"
        )
    if known.size == 0:
        unknown = unknown_of(items, texts)
        named = ", ".join(map(shown, unknown[:_NAMED_AT_MOST]))
        more = f" and {len(unknown) - _NAMED_AT_MOST:,} more" if len(unknown) > _NAMED_AT_MOST else ""
        near = ", ".join(map(shown, items.nearest(unknown[0])))
        raise UnknownIdError(
            f"no item of the basket is in the model: {named}{more}; nearest to {shown(unknown[0])}: {near}"
        )
    ones = np.ones(known.size, dtype=np.float32)
    return sp.csr_matrix((ones, known, [0, known.size]), shape=(1, len(items)))


def session_history(
    items: IdMap,
    read: Sequence[str],
    ids: Sequence[str | int] | None,
    events: Mapping[str, Sequence[str | int]],
) -> sp.csr_matrix:
    """Return a basket, which may be empty, with other events, (1, (1 + K) · I), see `recae.inputs`.

    Args:
        items: ids of the I items of a model.
        read: the K events that the model reads.
        ids: of the basket; None: none. Unknown ones do not count.
        events: event to ids of items, likewise.

    Raises:
        ConfigError: the events are of another form, or not read by the model.
        UnknownIdError: the model knows none of the items.
    """
    if not isinstance(events, Mapping):
        raise ConfigError(
            f'events are lists of item ids by event, such as {{"view": ["a"]}}, found {brief(events)}: give that'
        )
    for name in events:
        if name not in read:
            reads = f"the model reads {', '.join(read)}" if read else "the model reads no other events"
            raise ConfigError(f"events names {name!r}, but {reads}: leave it out, or train with --inputs")
    found = []
    for place, own in enumerate((ids or (), *(events.get(name, ()) for name in read))):
        rows = items.rows(basket_ids(own))
        found.append(np.unique(rows[rows >= 0]) + place * len(items))
    columns = np.concatenate(found)
    if not columns.size:
        raise UnknownIdError(
            "no item of the basket or of the events is in the model; give the id of at least one that is"
        )
    ones = np.ones(columns.size, dtype=np.float32)
    return sp.csr_matrix((ones, columns, [0, columns.size]), shape=(1, (1 + len(read)) * len(items)))


def unknown_of(items: IdMap, texts: Sequence[str]) -> list[str]:
    """Return those ids of a basket that are not among the items, in their order, each once."""
    rows = items.rows(texts)
    return list(dict.fromkeys(item for item, row in zip(texts, rows, strict=True) if row < 0))


def basket_ids(items: Sequence[str | int]) -> list[str]:
    """Return the ids of a basket as texts; ConfigError where it is no sequence of ids."""
    # A text is a sequence of its letters: taken for a basket, it would be "unknown" letter by letter.
    return ids_of("a basket must be a list of item ids", items)


def ids_of(what: str, ids: Sequence[str | int]) -> list[str]:
    """Return ids of items as texts; ConfigError, which begins with `what`, where they are no sequence of ids."""
    try:
        return id_texts(ids, "item")
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
