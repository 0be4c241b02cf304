"""Helpers of the compiled loops: compiler options, prefetching of memory, and reading of whole words."""

import sys
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from recae.compiling import COMPILING

COMPILING.listen()

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]

LINE = 64  # bytes of a cache line

# Sums may be reordered, which lets the loops use SIMD; NaN and infinity keep their meaning, so that they are noticed.
FAST = {"reassoc", "contract", "arcp", "nsz"}


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


prefetch: Any = intrinsic(_prefetch)


def _word_at(typing_context: Any, data: Any, place: Any) -> Any:
    """Return the eight bytes from data[place] on as one word, the first byte lowest; they must lie within data."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)
        if sys.byteorder == "big":
            word = builder.bswap(word)
        return word

    return types.uint64(data, types.int64), generate


word_at: Any = intrinsic(_word_at)


def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the place of the lowest bit of a word that is set, from 0; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), generate


lowest_bit: Any = intrinsic(_lowest_bit)


@njit(nogil=True, cache=True)
def fetch_row(M: Floats, j: int) -> None:
    """Ask the processor to fetch row j of M."""
    for k in range(0, M.shape[1], LINE // M.itemsize):
        prefetch(M, j, k)
