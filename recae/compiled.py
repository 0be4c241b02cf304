"""Helpers of the compiled loops: types of their arguments, and prefetching of memory."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recae.loops import FAST, Intrinsic, Late, loop

__all__ = ["FAST", "Floats", "Ints", "fetch_row", "prefetch"]

ir: Any = Late("llvmlite.ir")
types: Any = Late("numba.types")
cgutils: Any = Late("numba.core.cgutils")

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]

LINE = 64  # bytes of a cache line


def _prefetch(typing_context: Any, matrix: Any, row: Any, column: Any) -> Any:
    """Ask the processor to fetch the cache line of matrix[row, column]; changes nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, arguments[0])
        indices = [builder.sext(a, ir.IntType(64)) if a.type.width < 64 else a for a in arguments[1:]]
        shape = cgutils.unpack_tuple(builder, array.shape)
        strides = cgutils.unpack_tuple(builder, array.strides)
        pointer = cgutils.get_item_pointer2(
            context, builder, array.data, shape, strides, array_type.layout, indices, wraparound=False
        )
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        # for reading, of moderate locality (the second-level cache), data
        values = [builder.bitcast(pointer, byte), word(0), word(2), word(1)]
        builder.call(function, values)
        return context.get_dummy_value()

    return types.void(matrix, row, column), generate


prefetch: Any = Intrinsic(_prefetch)


@loop
def fetch_row(M: Floats, j: int) -> None:
    """Ask the processor to fetch row j of M."""
    for k in range(0, M.shape[1], LINE // M.itemsize):
        prefetch(M, j, k)
