"""The compiled loops that count pairs of users and items: rows become words, words become counts."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from recae.compiled import Ints

LOW: Final = 8
"""Bits of a user within its block: of so many blocks, the lines that are written to stay in the cache."""


@njit(nogil=True, cache=True)
def count_blocks(users: Ints, lengths: Ints) -> None:
    """Count the rows of each block."""
    for row in range(users.size):
        lengths[users[row] >> LOW] += 1


@njit(nogil=True, cache=True)
def scatter(users: Ints, items: Ints, places: Ints, words: Ints) -> None:
    """Write each row as a word to the next place of its block."""
    for row in range(users.size):
        block = users[row] >> LOW
        place = places[block]
        words[place] = np.int64(items[row]) << LOW | (users[row] & ((1 << LOW) - 1))
        places[block] = place + 1


@njit(nogil=True, cache=True)
def fill(
    found: Ints,
    done: int,
    words: Ints,
    ends: Ints,
    start: int,
    stop: int,
    more: Ints,
    rank: Ints,
    item_bits: int,
    count_bits: int,
) -> int:
    """Write a word for each row of some blocks from found[done] on; returns how many there are then.

    The user, counted from the first one of the blocks, is in its highest bits, then the rank of the item, then how
    often beyond once it occurs.
    """
    first = done
    for block in range(start, min(stop, ends.size)):
        begin = ends[block - 1] if block else np.int64(0)
        for row in range(begin, ends[block]):
            word = np.int64(words[row])
            owner = (block - start) << LOW | (word & ((1 << LOW) - 1))
            extra = more[done - first] if more.size else np.int64(0)
            found[done] = (owner << item_bits | np.int64(rank[word >> LOW])) << count_bits | extra
            done += 1
    return done


@njit(nogil=True, cache=True)
def sum_words(
    words: Ints, more: Ints, item_bits: int, count_bits: int, lengths: Ints, items: Ints, counts: Ints
) -> int:
    """Add up the counts of sorted words, one pair after the other; returns how many pairs there are.

    Args:
        more: what occurs beyond what the words tell, shape (rows,) or empty.
    """
    pairs = 0
    last = np.int64(-1)
    for place in range(words.size):
        word = np.int64(words[place])
        pair = word >> count_bits
        count = 1 + (word & ((1 << count_bits) - 1)) + (more[place] if more.size else 0)
        if pair != last:
            items[pairs] = pair & ((1 << item_bits) - 1)
            counts[pairs] = count
            lengths[pair >> item_bits] += 1
            pairs += 1
            last = pair
        else:
            counts[pairs - 1] += count
    return pairs


@njit(nogil=True, cache=True)
def place_rows(values: Ints, lengths: Ints, starts: Ints, out: Ints) -> None:
    """Copy what belongs to each user to where that begins in out."""
    done = 0
    for user in range(lengths.size):
        for k in range(lengths[user]):
            out[starts[user] + k] = values[done + k]
        done += lengths[user]
