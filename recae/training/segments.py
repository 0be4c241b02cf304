"""Purchases sorted into segments on the device, so that sums by item need no atomics and no wait for the host."""

from dataclasses import dataclass

import torch
from torch import Tensor

BUCKETS = 32


@dataclass
class Segments:
    """The purchases of one block by item; items with about as many buyers in the block lie together.

    order     (n,) the purchases (numbered by user) by item, then by user
    distinct  (G,) items; starts (G + 1,) their first places in `order`
    buckets   on the host: of items with 2^(k−1) + 1 to 2^k buyers, how many there are
    """

    order: Tensor
    distinct: Tensor
    starts: Tensor
    buckets: list[int]


def sort_by_item(block: Tensor, items: Tensor, n_items: int, n_blocks: int) -> list[Segments]:
    """Sorts the purchases of several blocks at once, and waits for the host only once.

    block, items (n,) int64: of each purchase, numbered by block and within it by user. Purchase numbers of the result
    count within the block.
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
    sizes = torch.bincount(kinds, minlength=n_blocks * BUCKETS).view(n_blocks, BUCKETS)
    purchases = torch.bincount(block, minlength=n_blocks)
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


def sums(rows: Tensor, starts: Tensor) -> Tensor:
    """Σ of rows (n, …) by segment: (G, …); each in the order of the rows, so that the same rows give the same bits."""
    return torch.segment_reduce(rows, "sum", offsets=starts, axis=0, unsafe=True, initial=0)


def solve_in_order(
    o: Tensor, who: Tensor, C: Tensor, a: Tensor, x: Tensor, segments: Segments
) -> tuple[Tensor, Tensor]:
    """Outputs and residuals of purchases sorted by item, with a weight a and a target x each: (o (n,), r (n,)).

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
