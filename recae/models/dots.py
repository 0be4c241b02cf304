"""Products of users' vectors with items', one number the same whatever else is asked for with it.

A product is the sum of its terms in their order, each added by a fused multiplication and addition in float32 where the
processor has one. Sixteen items are laid beside one another, so that each has a place in the vector registers of its
own, and up to six users are multiplied with them at a time. How many users or items there are decides which registers
a product is in, and never in which order it is summed: its last bits depend on the two vectors alone. BLAS, which
chooses among several ways by the shapes, does not keep that, and is no faster than this up to some hundred users.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.loops import Intrinsic, Late, loop
from recae.machine import blas_threads

ir: Any = Late("llvmlite.ir")
types: Any = Late("numba.types")
cgutils: Any = Late("numba.core.cgutils")

_LANES: Final = 16  # items multiplied at a time
_SQUARE: Final = 8  # rows and columns transposed at a time
_NUMBERS: Final = 2**15  # of the users' vectors that stay in the second-level cache beside the items'
# Multiplications below which a second thread costs more to start than it saves.
_WORTH_A_THREAD: Final = 2**26


def _scalars() -> tuple[Any, Any, Any]:
    """Return LLVM's types of float32 and of integers of 32 and 64 bits."""
    return ir.FloatType(), ir.IntType(32), ir.IntType(64)


def dots(
    users: NDArray[np.float32], items: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return users (B, K) · itemsᵀ (I, K) + bias (I,), float32 (B, I), the caller's own.

    Large products take as many threads as BLAS would; they change no bit.
    """
    users, items = as_operand(users), as_operand(items)
    out = np.empty((len(users), len(items)), dtype=np.float32)
    constants = as_operand(np.zeros(len(items), dtype=np.float32) if bias is None else bias)
    threads = min(blas_threads(), out.size * items.shape[1] // _WORTH_A_THREAD) if out.size else 0
    if threads <= 1:
        write_dots(users, items, constants, out)
        return out
    rows = -(-len(users) // threads)
    if rows < _LANES:  # too few users to part them: each thread would read all items
        write_dots(users, items, constants, out)
        return out
    with ThreadPoolExecutor(threads) as pool:
        for done in [
            pool.submit(write_dots, users[at : at + rows], items, constants, out[at : at + rows])
            for at in range(0, len(users), rows)
        ]:
            done.result()
    return out


def as_operand(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a view of an array as the loops' one signature has it, C-contiguous and read-only; else a copy."""
    view = np.require(array, np.float32, ["C", "A"]).view()
    view.flags.writeable = False
    return view


def _of_rows(n_rows: int) -> Any:
    """Return the innermost loop for some users: out[b …, j … j + 15] = users[b …] · panel + bias[j … j + 15].

    The panel (K · 16,) holds the first numbers of sixteen items, then their second numbers, and so on. While it is
    read, the vectors of the next sixteen items are fetched from memory, a cache line a step.
    """

    def typed(
        typing_context: Any, users: Any, b: Any, panel: Any, bias: Any, items: Any, out: Any, j: Any
    ) -> Any:
        float32, word, long = _scalars()
        vector = ir.VectorType(float32, _LANES)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, panel_, bias_, items_, out_ = (
                context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2, 3, 4, 5)
            )
            b, j = arguments[1], arguments[6]
            width = cgutils.unpack_tuple(builder, x.shape)[1]
            stride = cgutils.unpack_tuple(builder, out_.shape)[1]
            numbers = [builder.add(b, long(r)) for r in range(n_rows)]
            rows = [builder.gep(x.data, [builder.mul(number, width)]) for number in numbers]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(n_rows)]
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{_LANES}f32"
            )
            byte = ir.IntType(8).as_pointer()
            fetch = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [byte] + [word] * 3), "llvm.prefetch.p0i8"
            )
            following = builder.gep(items_.data, [builder.mul(builder.add(j, long(_LANES)), width)])
            unset = ir.Constant(vector, ir.Undefined)
            everywhere = ir.Constant(ir.VectorType(word, _LANES), None)
            with cgutils.for_range(builder, width) as loop:
                step = builder.mul(loop.index, long(_LANES))
                line = builder.bitcast(builder.gep(following, [step]), byte)
                builder.call(fetch, [line, word(0), word(2), word(1)])
                place = builder.bitcast(builder.gep(panel_.data, [step]), vector.as_pointer())
                of_items = builder.load(place, align=4)
                for row, total in zip(rows, sums, strict=True):
                    one = builder.load(builder.gep(row, [loop.index]))
                    of_user = builder.shuffle_vector(
                        builder.insert_element(unset, one, word(0)), unset, everywhere
                    )
                    value = builder.call(multiply_add, [of_user, of_items, builder.load(total)])
                    builder.store(value, total)
            constant = builder.bitcast(builder.gep(bias_.data, [j]), vector.as_pointer())
            constants = builder.load(constant, align=4)
            for number, total in zip(numbers, sums, strict=True):
                place = builder.gep(out_.data, [builder.add(builder.mul(number, stride), j)])
                scores = builder.fadd(builder.load(total), constants)
                builder.store(scores, builder.bitcast(place, vector.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(users, types.int64, panel, bias, items, out, types.int64), generate

    return Intrinsic(typed)


_six, _four, _two, _one = (_of_rows(n) for n in (6, 4, 2, 1))


def _transposed(typing_context: Any, items: Any, j: Any, k: Any, panel: Any, at: Any) -> Any:
    """Write items[j … j + 7, k … k + 7] to the places at … at + 7 of the panel's steps k … k + 7."""
    float32, word, long = _scalars()
    vector = ir.VectorType(float32, _SQUARE)
    lanes = ir.VectorType(word, _SQUARE)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        items_, panel_ = (
            context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 3)
        )
        width = cgutils.unpack_tuple(builder, items_.shape)[1]
        j, k, at = arguments[1], arguments[2], arguments[4]

        def vector_at(data: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

        rows = []
        for i in range(_SQUARE):
            place = builder.add(builder.mul(builder.add(j, long(i)), width), k)
            rows.append(builder.load(vector_at(items_.data, place), align=4))
        for d in (1, 2, 4):  # exchange squares of d rows and columns across the diagonal
            lower = ir.Constant(lanes, [n if not n & d else _SQUARE + n - d for n in range(_SQUARE)])
            upper = ir.Constant(lanes, [n + d if not n & d else _SQUARE + n for n in range(_SQUARE)])
            for i in range(_SQUARE):
                if not i & d:
                    a, b = rows[i], rows[i + d]
                    rows[i] = builder.shuffle_vector(a, b, lower)
                    rows[i + d] = builder.shuffle_vector(a, b, upper)
        for i, row in enumerate(rows):
            place = builder.add(builder.mul(builder.add(k, long(i)), long(_LANES)), at)
            builder.store(row, vector_at(panel_.data, place), align=4)
        return context.get_dummy_value()

    return types.void(items, types.int64, types.int64, panel, types.int64), generate


_transpose: Any = Intrinsic(_transposed)


def _fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a · b + c, made as in the vectors of `_of_rows`."""
    float32, _, _ = _scalars()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(float32, [float32] * 3), "llvm.fmuladd.f32"
        )
        return builder.call(function, arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


_multiply_add: Any = Intrinsic(_fused)


@loop
def write_dots(users: Floats, items: Floats, bias: Floats, out: Floats) -> None:
    """Write users (B, K) · itemsᵀ (I, K) + bias (I,) to out (B, I); all are C-contiguous float32."""
    n_users, width = users.shape
    n_items = len(items)
    panel = np.empty(width * _LANES, dtype=np.float32)
    whole = n_items - n_items % _LANES
    # filled up, and of one type for whole panels and the last one, so that one compiled form serves both
    constants = np.zeros(whole + _LANES, dtype=np.float32)
    for i in range(n_items):  # assigned as a slice, the message for unequal shapes would be compiled, too
        constants[i] = bias[i]
    at_once = max(6, _NUMBERS // max(width, 1) // 6 * 6)
    for first in range(0, n_users, at_once):
        stop = min(first + at_once, n_users)
        for j in range(0, whole, _LANES):
            _fill(items, j, panel)
            _one_panel(users, first, stop, panel, constants, items, out, j)
        if whole < n_items:
            rest = n_items - whole
            panel[:] = 0
            for i in range(rest):
                for k in range(width):
                    panel[k * _LANES + i] = items[whole + i, k]
            made = np.empty((stop - first, _LANES), dtype=np.float32)
            zero = np.int64(0)  # a plain 0 would be a type of its own, and compiled once more
            _one_panel(users[first:stop], zero, stop - first, panel, constants[whole:], items, made, zero)
            for b in range(first, stop):
                for i in range(rest):
                    out[b, whole + i] = made[b - first, i]


@loop
def _one_panel(
    users: Floats, first: int, stop: int, panel: Floats, bias: Floats, items: Floats, out: Floats, j: int
) -> None:
    b = first
    while b + 6 <= stop:
        _six(users, b, panel, bias, items, out, j)
        b += 6
    if b + 4 <= stop:
        _four(users, b, panel, bias, items, out, j)
        b += 4
    if b + 2 <= stop:
        _two(users, b, panel, bias, items, out, j)
        b += 2
    if b < stop:
        _one(users, b, panel, bias, items, out, j)


@loop
def _fill(items: Floats, j: int, panel: Floats) -> None:
    """Lay the items j … j + 15 (K numbers each) beside one another."""
    width = items.shape[1]
    whole = width - width % _SQUARE
    for k in range(0, whole, _SQUARE):
        _transpose(items, j, k, panel, 0)
        _transpose(items, j + _SQUARE, k, panel, _SQUARE)
    for i in range(_LANES):
        for k in range(whole, width):
            panel[k * _LANES + i] = items[j + i, k]


@loop
def write_dots_at(users: Floats, items: Floats, bias: Floats, chosen: Ints, count: Ints, out: Floats) -> None:
    """Write the products with some items of each user: those of `write_dots`, to the last bit.

    Args:
        users: (B, K).
        items: (I, K).
        bias: (I,).
        chosen: item numbers, (B, ≥ m).
        count: how many of a user's are asked for, (B,), m at most; none where it is negative.
        out: (B, m) written.
    """
    width = users.shape[1]
    zero = np.float32(0)
    for b in range(len(users)):
        x, n = users[b], count[b]
        for c in range(0, n, 4):  # four chains of additions at a time: each waits for its own
            p, q = chosen[b, c], chosen[b, min(c + 1, n - 1)]
            r, s = chosen[b, min(c + 2, n - 1)], chosen[b, min(c + 3, n - 1)]
            u, v, w, z = items[p], items[q], items[r], items[s]
            at_u, at_v, at_w, at_z = zero, zero, zero, zero
            for k in range(width):
                at_u = _multiply_add(x[k], u[k], at_u)
                at_v = _multiply_add(x[k], v[k], at_v)
                at_w = _multiply_add(x[k], w[k], at_w)
                at_z = _multiply_add(x[k], z[k], at_z)
            out[b, c] = at_u + bias[p]
            if c + 1 < n:
                out[b, c + 1] = at_v + bias[q]
            if c + 2 < n:
                out[b, c + 2] = at_w + bias[r]
            if c + 3 < n:
                out[b, c + 3] = at_z + bias[s]
