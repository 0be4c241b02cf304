"""The compiled sparse part of a block of users on the CPU: gathers and scatters rows of the items bought.

A block's purchases come in two orders: by user, in `indptr`, `items` and `scale`, and by item, where `who` holds the
users (0 … B−1, in their order) of item `distinct[g]` at places `starts[g]` to `starts[g + 1]`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import FAST, Floats, Ints, fetch_row
from recae.loops import loop
from recae.training.exact.kernels import add_scaled, catch_up, dot

PREFETCH_DISTANCE = 4
"""Purchases between the one whose row is read and the one whose row is fetched from memory."""


@loop
def gather_histories(
    users: Ints,
    lengths: Ints,
    indptr: Ints,
    indices: Ints,
    places: Ints,
    visible: NDArray[np.bool_],
    keep: float,
    power: float,
    scale: Floats,
) -> tuple[Ints, Ints, Ints]:
    """Return the purchases of `users` (B,) of a `Shard` by user: (offsets (B + 1,), items (n,), who (n,)).

    `lengths` (B,) are those of the whole histories; `visible` says of each of their purchases whether the encoder sees
    it. Fill `scale` (n,) with the weight of each purchase of the shard in the encoder: 1/(q (m/q)^p), with m visible
    purchases in the whole history and q = 1 − dropout, or 0 where dropout hides it.
    """
    n = len(scale)
    offsets = np.zeros(len(users) + 1, np.int64)
    items = np.empty(n, np.int64)
    who = np.empty(n, np.int32)
    at, begin = 0, 0
    for b in range(len(users)):
        m = 0
        for p in range(begin, begin + lengths[b]):
            m += visible[p]
        factor = 1.0 / (keep * (max(m, 1) / keep) ** power)
        first, last = indptr[users[b]], indptr[users[b] + 1]
        for p in range(last - first):
            place = places[first + p] if len(places) else p
            items[at + p] = indices[first + p]
            who[at + p] = b
            scale[at + p] = factor if visible[begin + place] else 0.0
        at += last - first
        begin += lengths[b]
        offsets[b + 1] = at
    return offsets, items, who


def sort_by_item(items: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (order (n,) of the purchases by item, then by user; distinct items; starts) of items (n,) int64."""
    # numbers alone are sorted several times as fast as by argsort
    found: tuple[Ints, Ints, Ints] = group_by_item(items, np.sort(items * len(items) + np.arange(len(items))))
    return found


@loop
def group_by_item(items: Ints, keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Return what `sort_by_item` returns, from the sorted keys item · n + place."""
    order = np.empty(len(items), np.int64)
    for p in range(len(keys)):
        order[p] = keys[p] % len(items)
    starts = np.empty(len(items) + 1, np.int64)
    groups = 0
    for p in range(len(order)):
        if p == 0 or items[order[p]] != items[order[p - 1]]:
            starts[groups] = p
            groups += 1
    starts[groups] = len(items)
    distinct = np.empty(groups, np.int64)
    for g in range(groups):
        distinct[g] = items[order[starts[g]]]
    return order, distinct, starts[: groups + 1]


@loop(fastmath=FAST)
def encode(
    first: int, last: int, offsets: Ints, items: Ints, scale: Floats, E: Floats, b: Floats, H: Floats
) -> None:
    """Fill rows `first` to `last` of H (B, D): (b + Σ scale_p E_items[p], 0)."""
    d = E.shape[1]
    for row in range(first, last):
        h = H[row]
        for k in range(d):
            h[k] = b[k]
        h[d] = 0
        for p in range(offsets[row], offsets[row + 1]):
            if p + PREFETCH_DISTANCE < offsets[last] and scale[p + PREFETCH_DISTANCE] != 0:
                fetch_row(E, items[p + PREFETCH_DISTANCE])
            if scale[p] != 0:
                add_scaled(h[:d], scale[p], E[items[p]])


@loop(fastmath=FAST)
def squash(first: int, last: int, H: Floats) -> None:
    """Turn rows `first` to `last` of what `encode` gives into codes: H_b = (2σ(H_b) − 1, 1)."""
    d = H.shape[1] - 1
    one = H.dtype.type(1)
    two = H.dtype.type(2)
    for row in range(first, last):
        h = H[row]
        for k in range(d):
            h[k] = two / (one + np.exp(-h[k])) - one
        h[d] = one


@loop(fastmath=FAST)
def decode(
    first: int,
    last: int,
    distinct: Ints,
    starts: Ints,
    who: Ints,
    V: Floats,
    applied: Ints,
    directions: Floats,
    factors: Floats,
    overlaps: Floats,
    pending: int,
    P: Floats,
    C: Floats,
    alpha: Any,
    r: Floats,
    RV: Floats,
    RR: Floats,
    squares: Floats,
) -> None:
    """Compute the residuals of a block's items `first` to `last`, in the order of the users; add to RV, RR and squares.

    An item's output for user b is V_j·P_b − Σ_c C_bc r_c over the earlier users c who bought it. Rescalings that the
    item's row has not seen are applied to it.
    """
    one = V.dtype.type(1)
    missed = np.empty(len(factors), V.dtype)
    for g in range(first, last):
        j = distinct[g]
        row = V[j]
        if g + 1 < last:
            fetch_row(V, distinct[g + 1])
        if applied[j] < pending:
            catch_up(row, applied[j], pending, directions, factors, overlaps, missed)
            applied[j] = pending
        for p in range(starts[g], starts[g + 1]):
            b = who[p]
            o = dot(row, P[b])
            for q in range(starts[g], p):
                o -= C[b, who[q]] * r[q]
            residual = (alpha - one) * (o - one) - one
            r[p] = residual
            squares[b] += (o - one) * (o - one)
            for q in range(starts[g], p + 1):
                RR[b, who[q]] += residual * r[q]
            add_scaled(RV[b], residual, row)


@loop(fastmath=FAST)
def update_decoder(
    first: int, last: int, distinct: Ints, starts: Ints, who: Ints, r: Floats, Z: Floats, V: Floats
) -> None:
    """Set V_j ← V_j − Σ_b r_bj Z_b for items `first` to `last` of a block."""
    for g in range(first, last):
        row = V[distinct[g]]
        if g + 1 < last:
            fetch_row(V, distinct[g + 1])
        for p in range(starts[g], starts[g + 1]):
            add_scaled(row, -r[p], Z[who[p]])


@loop(fastmath=FAST)
def update_encoder(
    first: int,
    last: int,
    distinct: Ints,
    starts: Ints,
    who: Ints,
    scale: Floats,
    g2: Floats,
    gradient: Floats,
    step: Any,
    epsilon: Any,
    norms: Floats,
    E: Floats,
) -> None:
    """Set E_j ← E_j − step Σ_b scale_bj g_b/√norm_j, after norm_j has grown by Σ_b scale_bj² g2_b.

    g2_b = ‖g_b‖²/d.
    """
    for g in range(first, last):
        j = distinct[g]
        norm = norms[j]
        if g + 1 < last:
            fetch_row(E, distinct[g + 1])
        for p in range(starts[g], starts[g + 1]):
            norm += scale[p] * scale[p] * g2[who[p]]
        norms[j] = norm
        factor = -step / (np.sqrt(norm) + epsilon)
        for p in range(starts[g], starts[g + 1]):
            if scale[p] != 0:
                add_scaled(E[j], factor * scale[p], gradient[who[p]])


BUCKETS = 32


@dataclass
class Segments:
    """The purchases of one block by item; items with about as many buyers in the block lie together.

    Attributes:
        order: (n,) the purchases (numbered by user) by item, then by user.
        distinct: (G,) items.
        starts: (G + 1,) their first places in `order`.
        buckets: on the host: of items with 2^(k−1) + 1 to 2^k buyers, how many there are.
    """

    order: Tensor
    distinct: Tensor
    starts: Tensor
    buckets: list[int]


def sort_segments_by_item(block: Tensor, items: Tensor, n_items: int, n_blocks: int) -> list[Segments]:
    """Sort the purchases of several blocks at once.

    It waits for the device twice, for the number of pairs of a block and an item and for the sizes on the host.
    Purchase numbers of the result count within the block.

    Args:
        block: int64 (n,), the block of each purchase; purchases come by block, then by user.
        items: int64 (n,), the item of each purchase.
        n_items: I.
        n_blocks: number of blocks.
    """
    device = items.device
    keys, order = torch.sort(block * n_items + items, stable=True)
    pairs, counts = torch.unique_consecutive(keys, return_counts=True)
    old_starts = counts.cumsum(0) - counts
    # ⌈log₂ count⌉, exactly
    bucket = torch.bucketize(counts, 2 ** torch.arange(BUCKETS - 1, device=device))
    of_block = pairs // n_items
    kinds, groups = torch.sort(of_block * BUCKETS + bucket, stable=True)
    counts = counts[groups]
    ends = counts.cumsum(0)
    within = torch.arange(len(items), device=device) - torch.repeat_interleave(
        ends - counts, counts, output_size=len(items)
    )
    order = order[torch.repeat_interleave(old_starts[groups], counts, output_size=len(items)) + within]
    distinct = pairs[groups] % n_items
    sizes = _counts(kinds, n_blocks * BUCKETS).view(n_blocks, BUCKETS)
    purchases = _counts(block, n_blocks)
    on_host = torch.cat([sizes, purchases[:, None]], dim=1).tolist()

    found, group, purchase = [], 0, 0
    starts = torch.cat([ends.new_zeros(1), ends])
    for *buckets, n in on_host:
        G = sum(buckets)
        found.append(
            Segments(
                order[purchase : purchase + n] - purchase,
                distinct[group : group + G],
                starts[group : group + G + 1] - purchase,
                buckets,
            )
        )
        group, purchase = group + G, purchase + n
    return found


def _counts(rising: Tensor, n: int) -> Tensor:
    """Return how often each of 0 … n − 1 is among rising numbers, (n,); `torch.bincount` would wait for the device."""
    starts = torch.searchsorted(rising, torch.arange(n + 1, device=rising.device))
    return starts[1:] - starts[:-1]


def sums(rows: Tensor, starts: Tensor) -> Tensor:
    """Return the sum of rows (n, …) by segment, (G, …), in the order of the rows: the same rows give the same bits."""
    return torch.segment_reduce(rows, "sum", offsets=starts, axis=0, unsafe=True, initial=0)


def solve_in_order(
    o: Tensor, who: Tensor, C: Tensor, a: Tensor, x: Tensor, segments: Segments
) -> tuple[Tensor, Tensor]:
    """Return outputs o (n,) and residuals r (n,) of purchases sorted by item, with a weight a and a target x each.

    Within an item: o_t ← o_t − Σ_{u<t} C_tu r_u with r = (a − 1)(o − x) − x: a unit lower triangular system, solved for
    all items with about as many buyers at once.
    """
    n = len(o)
    pad = o.new_zeros(1)  # the last place takes what padding writes
    outputs, excess = torch.cat([o, pad]), torch.cat([a - 1, pad])
    residuals = torch.cat([(a - 1) * (o - x) - x, pad])
    group = segments.buckets[0]
    for k, G in enumerate(segments.buckets[1:], start=1):
        if G == 0:
            continue
        first, last = segments.starts[group : group + G], segments.starts[group + 1 : group + G + 1]
        place = first[:, None] + torch.arange(2**k, device=o.device)  # (G, K)
        valid = place < last[:, None]
        place = torch.where(valid, place, n)
        b = who[place.clamp(max=n - 1)]
        coupling = C[b[:, :, None], b[:, None, :]].tril(-1) * valid[:, :, None]  # (G, K, K)
        r = torch.linalg.solve_triangular(
            excess[place][:, :, None] * coupling,
            residuals[place][:, :, None],
            upper=False,
            unitriangular=True,
        )
        outputs[place] -= (coupling @ r)[:, :, 0]
        residuals[place] = r[:, :, 0]
        group += G
    return outputs[:n], residuals[:n]
