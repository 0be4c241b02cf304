"""Rules on which items may be recommended: excluded ones, only some, by category."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.ids import IdMap, id_texts, shown
from recae.insight.categories import Categories
from recae.messages import say

_SHOWN = 20  # categories named in a message
_NAMED = 5  # unknown ids, likewise


def barred_items(
    items: IdMap,
    *,
    exclude: Sequence[str] | pa.Array | None = None,
    only: Sequence[str] | pa.Array | None = None,
    categories: Categories | None = None,
    exclude_categories: Sequence[str] | None = None,
    only_categories: Sequence[str] | None = None,
) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Return which items nobody gets, and the ids in ``exclude`` and ``only`` that the model does not know.

    Args:
        items: the model's item ids.
        exclude: ids that nobody gets.
        only: ids outside of which nothing is recommended.
        categories: of the items, for the next two.
        exclude_categories: categories that nobody gets; an item without a category stays.
        only_categories: categories outside of which nothing is recommended, items without a category neither.

    Returns:
        bool of shape (items,), None where no rule is given; the unknown ids, each once.

    Raises:
        ConfigError: no item is left; a category does not occur.
    """
    if all(rule is None for rule in (exclude, only, exclude_categories, only_categories)):
        return None, []
    barred = np.zeros(len(items), dtype=np.bool_)
    unknown: dict[str, None] = {}
    for ids, others in ((exclude, False), (only, True)):
        if ids is None:
            continue
        texts = id_texts(ids, "item")
        rows = items.rows(texts)
        named = np.zeros(len(items), dtype=np.bool_)
        named[rows[rows >= 0]] = True
        barred |= ~named if others else named
        unknown |= {text: None for text, row in zip(texts, rows, strict=True) if row < 0}
    for names, others in ((exclude_categories, False), (only_categories, True)):
        if names is None:
            continue
        if categories is None:
            raise ConfigError("rules by category need to know the categories; give a table of them")
        named = np.isin(categories.codes, [_code(categories, name) for name in names])
        barred |= ~named if others else named
    if barred.all():
        raise ConfigError(
            f"the rules leave none of the model's {len(items):,} items to recommend; loosen one of them"
        )
    return barred, list(unknown)


def warn_of_unknown(unknown: Sequence[str]) -> None:
    """Log a warning of ids in rules that the model does not know, if there are any."""
    if not unknown:
        return
    examples = f"{', '.join(map(shown, unknown[:_NAMED]))}{', …' if len(unknown) > _NAMED else ''}"
    which = "id that a rule names is" if len(unknown) == 1 else "ids that rules name are"
    say(f"warning: {len(unknown):,} {which} not in the model and left out: {examples}", unknown=len(unknown))


def _code(categories: Categories, name: str) -> int:
    if name in categories.names:
        return categories.names.index(name)
    near = difflib.get_close_matches(name, categories.names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(shown, categories.names[:_SHOWN]))
    more = f" and {len(categories.names) - _SHOWN} more" if len(categories.names) > _SHOWN else ""
    raise ConfigError(f"no item is of the category {shown(name)}{hint}; found: {listed}{more}")
