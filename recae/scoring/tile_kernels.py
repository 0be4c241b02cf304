"""The compiled loops of the blocked pass: which items of a tile may be among the best, and sparse sums for those."""

from typing import Any

import numpy as np

from recae.compiled import FAST, Floats, Ints
from recae.loops import Intrinsic, Late, loop

types: Any = Late("numba.types")

# Scores compared with the threshold together; one that is above it has the others looked at one by one.
_CHUNK = 64
_LOWEST = np.finfo(np.float32).min


def _float_of(typing_context: Any, bits: Any) -> Any:
    """Return the float32 of these 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), generate


float_of: Any = Intrinsic(_float_of)


@loop(fastmath=FAST)
def sift(
    product: Ints,  # (B, ≥ width) uint32 or uint16: the bits of float32, or their upper half (bfloat16)
    shift: int,  # what brings them to 32 bits
    rounding: float,  # of the product when it was stored, relative
    first: int,  # the tile is of items first … first + width − 1
    width: int,
    factors: Floats,  # (B, P) and
    constants: Floats,  # (P, I): what is added to the product, the factors times the constants
    indptr: Ints,  # (B + 1,), int64, and
    indices: Ints,  # (nnz,), int32: the histories, sorted
    owned_barred: bool,
    inputs: Floats,  # (S, nnz) with what each item of a history enters into each of S sparse matrices
    at: Ints,  # (S, nnz) the place in those matrices up to which it has been read; moves on
    end: Ints,  # (S, nnz) its end there
    columns: Ints,  # (n,) and
    weights: Floats,  # (n,): the entries of the sparse matrices, by row, then by column
    code_errors: Floats,  # (B,) and
    norms: Floats,  # (I,), −∞ where an item is barred; and
    code_norms: Floats,  # (B,) and
    vector_errors: Floats,  # (I,): the product is wrong by code_error · norm + code_norm · vector_error at most
    slack: Floats,  # (B,): what all the arithmetic here is wrong by at most
    best: Floats,  # (B, n): heaps of the n largest lower bounds; the smallest at the root
    items: Ints,  # (B, capacity)
    upper: Floats,  # (B, capacity) their upper bounds
    count: Ints,  # (B,) how many there are; −1 where there were too many
) -> None:
    """Add to each user's candidates those items of a tile that may be among the n best, by item number."""
    base, sparse = np.empty(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
    reach = np.full(-(-width // _CHUNK) * _CHUNK, -np.inf, dtype=np.float32)
    norm, vector_error = norms[first : first + width], vector_errors[first : first + width]
    bits, delta = np.uint32(shift), np.float32(rounding)
    plain = constants.shape[0] <= 1 and inputs.shape[0] == 0
    n_chunks = -(-width // _CHUNK)
    constant = np.zeros(width, dtype=np.float32)
    if plain and constants.shape[0]:
        for j in range(width):  # assigned as a slice, the message for unequal shapes would be compiled, too
            constant[j] = constants[0, first + j]
    largest_norm, largest_error = np.zeros(n_chunks, dtype=np.float32), np.zeros(n_chunks, dtype=np.float32)
    for c in range(n_chunks):
        for j in range(c * _CHUNK, min((c + 1) * _CHUNK, width)):
            largest_norm[c] = max(largest_norm[c], norm[j])
            largest_error[c] = max(largest_error[c], vector_error[j])
    for b in range(product.shape[0]):
        if count[b] < 0:
            continue
        row = product[b]
        a, c_b = code_errors[b], code_norms[b]
        f_b = factors[b, 0] if plain and constants.shape[0] else np.float32(0)
        if not plain:
            _add_others(
                factors, constants, indptr, inputs, at, end, columns, weights, b, first, width, sparse, base
            )
            for j in range(width):
                s = float_of(np.uint32(row[j]) << bits)
                base[j] += s
                reach[j] = base[j] + (delta * abs(s) + a * norm[j] + c_b * vector_error[j])
        threshold = max(best[b, 0] - slack[b], _LOWEST)
        for start in range(0, width, _CHUNK):
            stop, chunk = min(start + _CHUNK, width), start // _CHUNK
            if plain:
                room = (a * largest_norm[chunk] + c_b * largest_error[chunk]) * np.float32(1 + 2.0**-20)
                if not _any_near(row, constant, f_b, start, stop, bits, delta, room, threshold):
                    continue
                for j in range(start, stop):
                    s = float_of(np.uint32(row[j]) << bits)
                    base[j] = f_b * constant[j] + s
                    reach[j] = base[j] + (delta * abs(s) + a * norm[j] + c_b * vector_error[j])
            elif not _any_above(reach, start, threshold):
                continue
            for i in range(start, stop):
                if not reach[i] >= threshold or (
                    owned_barred and _holds(indices, indptr[b], indptr[b + 1], first + i)
                ):
                    continue
                if count[b] == items.shape[1]:
                    _tidy(threshold, b, items, upper, count)
                    if 4 * count[b] > 3 * items.shape[1]:  # tidying up again and again would take too long
                        count[b] = -1
                        break
                place = count[b]
                items[b, place], upper[b, place] = first + i, reach[i]
                count[b] = place + 1
                lower = base[i] - (reach[i] - base[i])
                if lower > best[b, 0]:
                    _replace_root(best, b, lower)
                    threshold = max(best[b, 0] - slack[b], _LOWEST)
            if count[b] < 0:
                break


@loop(fastmath=FAST)
def _add_others(
    factors: Floats,
    constants: Floats,
    indptr: Ints,
    inputs: Floats,
    at: Ints,
    end: Ints,
    columns: Ints,
    weights: Floats,
    b: int,
    first: int,
    width: int,
    sparse: Floats,  # (width,) scratch
    base: Floats,  # (width,) written
) -> None:
    """Write to base what constants and sparse matrices add to the scores of user b; arguments as for `sift`."""
    base[:] = 0
    for p in range(constants.shape[0]):
        f, c = factors[b, p], constants[p, first : first + width]
        for j in range(width):
            base[j] += f * c[j]
    if inputs.shape[0]:
        sparse[:] = 0
        for p in range(inputs.shape[0]):
            for q in range(indptr[b], indptr[b + 1]):
                at[p, q] = _add_row(columns, weights, at[p, q], end[p, q], first, width, inputs[p, q], sparse)
        for j in range(width):
            base[j] += sparse[j]


@loop(fastmath=FAST)
def _any_near(
    row: Ints,
    constant: Floats,
    factor: float,
    start: int,
    stop: int,
    bits: int,
    delta: float,
    room: float,
    threshold: float,
) -> Any:
    """Return whether a score of the chunk may reach the threshold, `room` being the largest error of the chunk's.

    There is no branch, so that LLVM vectorises it.
    """
    above, first = np.int32(0), np.uint64(start)
    for i in range(np.uint64(0), np.uint64(stop - start)):  # without a sign, no index counts from the end
        s = float_of(np.uint32(row[first + i]) << bits)
        above |= np.int32(s + factor * constant[first + i] + (delta * abs(s) + room) >= threshold)
    return above != 0


@loop(fastmath=FAST)
def _add_row(
    columns: Ints, weights: Floats, begin: int, end: int, first: int, width: int, x: float, sparse: Floats
) -> Any:
    """Add x times the entries from `begin` on that are in the tile to `sparse` (width,); return where the next lies."""
    r, stop = np.uint64(begin), np.uint64(end)  # without a sign, no index counts from the end
    while r < stop and columns[r] < np.int32(first + width):
        sparse[np.uint32(columns[r] - np.int32(first))] += x * weights[r]
        r += np.uint64(1)
    return np.int64(r)


@loop
def settle(slack: Floats, best: Floats, items: Ints, upper: Floats, count: Ints) -> None:
    """Leave only the candidates that the last threshold lets through."""
    for b in range(count.shape[0]):
        if count[b] > 0:
            _tidy(max(best[b, 0] - slack[b], _LOWEST), b, items, upper, count)


@loop
def write_sums_at(
    indptr: Ints,  # (B + 1,) and
    indices: Ints,  # (nnz,) and
    values: Floats,  # (nnz,): the histories
    begin: Ints,  # (nnz,) where the row of each item of a history begins in the sparse matrix,
    end: Ints,  # (nnz,) where it ends,
    columns: Ints,  # (n,) and
    weights: Floats,  # (n,): its entries, by row, then by column
    items: Ints,  # (B, ≥ m)
    count: Ints,  # (B,)
    scores: Floats,  # (B, m) written
) -> None:
    """Write what the sparse matrix adds to the scores of each user's candidates, summed in the history's order."""
    for b in range(count.shape[0]):
        for i in range(count[b]):
            total = np.float32(0)
            for q in range(indptr[b], indptr[b + 1]):
                place = _place(columns, begin[q], end[q], items[b, i])
                if place < end[q] and columns[place] == items[b, i]:
                    total += values[q] * weights[place]
            scores[b, i] = total


@loop
def _place(indices: Ints, begin: int, stop: int, item: int) -> Any:
    """Return the place of the first of the sorted indices[begin:stop] that is not below the item."""
    end = stop
    while begin < end:
        middle = (begin + end) // 2
        if indices[middle] < item:
            begin = middle + 1
        else:
            end = middle
    return begin


@loop
def _holds(indices: Ints, begin: int, stop: int, item: int) -> Any:
    """Return whether the sorted indices[begin:stop] have the item."""
    place = _place(indices, begin, stop, item)
    return place < stop and indices[place] == item


@loop(fastmath=FAST)
def _any_above(reach: Floats, start: int, threshold: float) -> Any:
    """Return whether one of the chunk from `start` on reaches the threshold; branchless, so that LLVM vectorises it."""
    above, first = np.int32(0), np.uint64(start)
    for i in range(np.uint64(0), np.uint64(_CHUNK)):  # without a sign, no index counts from the end
        above |= np.int32(reach[first + i] >= threshold)
    return above != 0


@loop
def _tidy(threshold: float, b: int, items: Ints, upper: Floats, count: Ints) -> None:
    """Drop the candidates of user b below the threshold; the others keep their order."""
    left = 0
    for i in range(count[b]):
        if upper[b, i] >= threshold:
            items[b, left], upper[b, left] = items[b, i], upper[b, i]
            left += 1
    count[b] = left


@loop
def _replace_root(heaps: Floats, b: int, value: float) -> None:
    """Replace the smallest value of heap b by another, and let it sink."""
    at, size = 0, heaps.shape[1]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heaps[b, child + 1] < heaps[b, child]:
            child += 1
        if heaps[b, child] >= value:
            break
        heaps[b, at] = heaps[b, child]
        at = child
    heaps[b, at] = value
