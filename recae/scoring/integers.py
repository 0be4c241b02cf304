"""Products of vectors in whole numbers of 16 bits, of which AVX2 adds up twice as many at a time as of float32.

A vector is taken as a scale times whole numbers, so small that no sum of 32 bits overflows: the sums are exact, and all
that is lost is what the vectors lose when they are rounded. That is known exactly.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.loops import Intrinsic, Late, loop

ir: Any = Late("llvmlite.ir")
types: Any = Late("numba.types")
cgutils: Any = Late("numba.core.cgutils")

PANEL: Final = 16
"""Items that are multiplied at a time."""

_HALF: Final = 8  # items in a register
_PAIRS: Final = 2**15  # of the users' numbers that stay in the second-level cache beside the items'


def has_pair_sums() -> bool:
    """Return whether the processor has the instruction, AVX2's `vpmaddwd`."""
    return bool(binding.get_host_cpu_features().get("avx2", False))


def rounded(vectors: NDArray[np.float64]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return vectors (n, K) as whole numbers, int16 (n, K or K + 1, an even number), and their scales (n,)."""
    n_vectors, width = vectors.shape
    most = min(2**15 - 1, int((2.0**31 / max(width, 1)) ** 0.5) - 1)
    scales = (np.abs(vectors).max(axis=1, initial=0) / most * (1 + 2.0**-22)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1  # nothing is left of vectors as small as these
    numbers = np.zeros((n_vectors, width + width % 2), dtype=np.int16)
    numbers[:, :width] = np.rint(vectors / scales[:, None])
    return numbers, scales


def panels_of(numbers: NDArray[np.int16]) -> NDArray[np.int32]:
    """Return items' numbers (n, K) as panels (n / 16, K / 2, 16): a pair of numbers of each of 16 items, and so on.

    Items are filled up with zeros to a multiple of sixteen.
    """
    pairs = numbers.view(np.int32)
    n_panels = -(-len(pairs) // PANEL)
    filled = np.zeros((n_panels * PANEL, pairs.shape[1]), dtype=np.int32)
    filled[: len(pairs)] = pairs
    return np.ascontiguousarray(filled.reshape(n_panels, PANEL, -1).transpose(0, 2, 1))


def _of_rows(n_rows: int) -> Any:
    """Return the innermost loop for some users: out[b …, at … at + 15] = scaled sums of their products with a panel."""

    def typed(
        typing_context: Any,
        users: Any,
        b: Any,
        scales: Any,
        panel: Any,
        of_items: Any,
        j: Any,
        out: Any,
        at: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word, long = ir.IntType(32), ir.IntType(64)
            shorts, words = ir.VectorType(ir.IntType(16), 2 * _HALF), ir.VectorType(word, _HALF)
            floats = ir.VectorType(ir.FloatType(), _HALF)
            x, scales_, panel_, of_items_, out_ = (
                context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2, 3, 4, 6)
            )
            b, j, at = arguments[1], arguments[5], arguments[7]
            pairs = cgutils.unpack_tuple(builder, x.shape)[1]
            stride = cgutils.unpack_tuple(builder, out_.shape)[1]
            users_ = [builder.add(b, long(r)) for r in range(n_rows)]
            rows = [builder.gep(x.data, [builder.mul(user, pairs)]) for user in users_]
            zero = ir.Constant(words, None)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(n_rows)]
            add_pairs = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(words, [shorts, shorts]), "llvm.x86.avx2.pmadd.wd"
            )

            def everywhere(value: Any, kind: Any) -> Any:
                one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, word(0))
                return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zero)

            with cgutils.for_range(builder, pairs) as loop:
                items = []
                for half in range(2):
                    place = builder.add(builder.mul(loop.index, long(PANEL)), long(_HALF * half))
                    data = builder.bitcast(builder.gep(panel_.data, [place]), shorts.as_pointer())
                    items.append(builder.load(data, align=4))
                for row, totals in zip(rows, sums, strict=True):
                    pair = everywhere(builder.load(builder.gep(row, [loop.index])), words)
                    for of_half, total in zip(items, totals, strict=True):
                        made = builder.call(add_pairs, [builder.bitcast(pair, shorts), of_half])
                        builder.store(builder.add(builder.load(total), made), total)
            for half in range(2):
                place = builder.gep(of_items_.data, [builder.add(j, long(_HALF * half))])
                scale = builder.load(builder.bitcast(place, floats.as_pointer()), align=4)
                for user, totals in zip(users_, sums, strict=True):
                    own = everywhere(builder.load(builder.gep(scales_.data, [user])), floats)
                    made = builder.fmul(builder.sitofp(builder.load(totals[half]), floats), own)
                    place = builder.add(builder.mul(user, stride), builder.add(at, long(_HALF * half)))
                    data = builder.bitcast(builder.gep(out_.data, [place]), floats.as_pointer())
                    builder.store(builder.fmul(made, scale), data, align=4)
            return context.get_dummy_value()

        arguments = (users, types.int64, scales, panel, of_items, types.int64, out, types.int64)
        return types.void(*arguments), generate

    return Intrinsic(typed)


_six, _two, _one = (_of_rows(n) for n in (6, 2, 1))


@loop
def write_products(
    users: Ints,  # (B, K / 2) int32, pairs of numbers, and
    scales: Floats,  # (B,)
    panels: Ints,  # (n, K / 2, 16) int32 and
    of_items: Floats,  # (16 n,) their scales
    first: int,  # the first panel; as many follow as `out` has room for
    out: Floats,  # (B, a multiple of 16) float32, written
) -> None:
    """Write the products of users with some panels of items."""
    n_users, pairs = users.shape
    at_once = max(6, _PAIRS // max(pairs, 1) // 6 * 6)
    for start in range(0, n_users, at_once):
        stop = min(start + at_once, n_users)
        for p in range(out.shape[1] // PANEL):
            panel, j, at, b = panels[first + p], (first + p) * PANEL, p * PANEL, start
            while b + 6 <= stop:
                _six(users, b, scales, panel, of_items, j, out, at)
                b += 6
            while b + 2 <= stop:
                _two(users, b, scales, panel, of_items, j, out, at)
                b += 2
            if b < stop:
                _one(users, b, scales, panel, of_items, j, out, at)
