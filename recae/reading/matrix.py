"""Sparse matrices of users × items: the files that hold them, their ids, and the pattern of their values."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import SourceError
from recae.ids import IdMap


def read_matrix(path: Path) -> tuple[sp.csr_matrix, list[str]]:
    """Return the pattern of a matrix in an ``.npz`` file, as `pattern_of` does.

    Raises:
        SourceError: the file is missing, cut short, pickled, or no matrix of finite numbers.
    """
    if not path.is_file():
        raise SourceError(
            f"there is no file '{path}'; give a sparse matrix as scipy.sparse.save_npz writes it"
        )
    if not zipfile.is_zipfile(path):
        raise SourceError(f"'{path}' is not an npz file, or cut short; write it with scipy.sparse.save_npz")
    return pattern_of(load_matrix(path, str(path)), str(path))


def load_matrix(path: Path, name: str, market: bool = False) -> Any:
    """Return the matrix in an ``.npz`` file, or in a Matrix Market file. Nothing is ever unpickled.

    Args:
        path: of the file.
        name: what to call it in messages.
        market: whether it is Matrix Market.

    Raises:
        SourceError: it is damaged, pickled, or no matrix.
    """
    try:
        if market:
            from scipy.io import mmread

            return mmread(str(path))
        return sp.load_npz(path)  # any of five formats; allow_pickle stays False
    except Exception as error:  # a broken archive, member or index raises almost anything
        if "allow_pickle" in str(error):
            raise SourceError(
                f"'{name}' holds pickled objects, which are never loaded since they can run code; "
                "write it with scipy.sparse.save_npz"
            ) from error
        raise _no_matrix(name, error, "scipy.io.mmwrite" if market else "scipy.sparse.save_npz") from error


@dataclass(frozen=True, eq=False)
class LabelledMatrix:
    """A matrix with the ids of its users and items, as Python's functions take it.

    Attributes:
        matrix: (U, I), any of scipy's sparse formats.
        users: ids of its rows.
        items: ids of its columns.
    """

    matrix: Any
    users: IdMap
    items: IdMap


def pattern_of(matrix: Any, name: str) -> tuple[sp.csr_matrix, list[str]]:
    """Return the pattern of a matrix: float32 ones, sorted indices, no duplicates.

    Args:
        matrix: (U, I), any of scipy's sparse formats, or dense.
        name: what to call it in messages.

    Returns:
        the pattern (U, I), where each entry but 0 is one interaction; and what was not a plain one about the entries,
        as sentences.

    Raises:
        SourceError: it is no matrix of finite numbers from 0.
    """
    try:
        if getattr(matrix, "format", None) in (None, "lil", "dok"):  # without one array of values
            matrix = sp.coo_matrix(matrix)
        if matrix.format != "dia" and matrix.format != "coo" and hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)  # the other two are checked when they are made
        if matrix.ndim != 2 or matrix.data.dtype.kind not in "biuf":
            raise ValueError(f"{matrix.ndim} dimensions of {matrix.data.dtype}")
        if not np.isfinite(matrix.data).all():
            raise ValueError("it holds values that are not finite")
        negative = int((matrix.data < 0).sum())
        if negative:
            raise _negative(name, negative)
        values = matrix.data[matrix.data != 0]
        notes = [] if (values == 1).all() else ["its values other than 1 count as 1, one purchase each"]
        # block and diagonal formats store zeros to be whole
        zeros = matrix.data.size - values.size if matrix.format in ("csr", "csc", "coo") else 0
        if zeros:
            notes.append(
                f"its {zeros:,} stored zero{'s are no purchases' if zeros > 1 else ' is no purchase'}"
            )
        matrix = matrix.copy()
        matrix.data = (matrix.data != 0).astype(np.float32)  # before duplicates are added up and might cancel
        pattern = sp.csr_matrix(matrix)
    except SourceError:
        raise
    except Exception as error:  # broken indices raise almost anything
        raise _no_matrix(name, error, "scipy.sparse.save_npz") from error
    pattern.sum_duplicates()
    pattern.eliminate_zeros()
    twice = values.size - pattern.nnz
    if twice:
        what = "entries repeat pairs" if twice > 1 else "entry repeats a pair"
        notes.append(f"{twice:,} {what} of a user and an item: each pair counts once")
    pattern.sort_indices()
    pattern.data[:] = 1
    return pattern, notes


def _negative(name: str, number: int) -> SourceError:
    values = "value, which is no purchase" if number == 1 else "values, which are no purchases"
    return SourceError(
        f"'{name}' holds {number:,} negative {values}; leave returns and dislikes out with "
        "matrix.data[matrix.data < 0] = 0, or make every entry 1 with matrix.data[:] = 1"
    )


def _no_matrix(name: str, error: Exception, writer: str) -> SourceError:
    reason = "the archive is damaged" if isinstance(error, zipfile.BadZipFile) else str(error).strip("'\"")
    return SourceError(
        f"'{name}' is not a sparse users × items matrix of numbers ({reason or type(error).__name__}); "
        f"write it with {writer}"
    )
