"""What is left of purchases after returns, in the order in which a journal has them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)


def balance(keys: Sequence[_Key], quantities: Iterable[float]) -> tuple[list[bool], list[_Key]]:
    """Return which events are purchases that are left, and of which keys earlier purchases are taken back.

    A return takes back what was bought before it by the journal, as much as its quantity says; what it has beyond that,
    or where nothing is left, takes back what was bought before the journal, of which no quantity is known: all of it.
    A purchase after that counts again. Where some of a key is left, all of its purchases count.

    Args:
        keys: what each event is of, such as an item, or a user and an item.
        quantities: above 0 for a purchase, below 0 for a return.

    Returns:
        whether each event is a purchase of a key of which some is left; the keys, each once, whose earlier purchases
        are taken back.
    """
    left: dict[_Key, float] = {}
    taken: dict[_Key, None] = {}
    bought = []
    for key, quantity in zip(keys, quantities, strict=True):
        bought.append(quantity > 0)
        before = left.get(key, 0.0)
        left[key] = max(before + quantity, 0.0)
        if before + quantity < 0:
            taken[key] = None
    return [is_bought and left[key] > 0 for key, is_bought in zip(keys, bought, strict=True)], list(taken)
