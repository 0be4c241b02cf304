"""Sparse matrices of users × items: the files that hold them, their ids, and the pattern of their values."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import SourceError
from recae.ids import IdMap

_LINE = 1 << 16  # characters of a line before the entries
_MIRRORED = ("general", "symmetric", "skew-symmetric")


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
            return _read_market(path)
        return sp.load_npz(path)  # any of five formats; allow_pickle stays False
    except Exception as error:  # a broken archive, member or index raises almost anything
        if "allow_pickle" in str(error):
            raise SourceError(
                f"'{name}' holds pickled objects, which are never loaded since they can run code; "
                "write it with scipy.sparse.save_npz"
            ) from error
        raise _no_matrix(name, error, "scipy.io.mmwrite" if market else "scipy.sparse.save_npz") from error


def _read_market(path: Path) -> Any:
    """Return the matrix of a Matrix Market file (https://math.nist.gov/MatrixMarket/formats.html).

    It is read here and not by scipy, whose reader ends the process where a damaged file is short of a number.

    Raises:
        ValueError: it is damaged, or of complex numbers.
    """
    with path.open(encoding="latin-1") as file:
        kind = file.readline(_LINE).lower().split()
        if len(kind) != 5 or kind[1] != "matrix" or kind[2] not in ("coordinate", "array"):
            raise ValueError("its first line names no matrix of coordinates or of all values")
        form, field, symmetry = kind[2:]
        if field not in ("pattern", "real", "double", "integer") or symmetry not in _MIRRORED:
            raise ValueError(f"it is of the kind {field} {symmetry}"[:100])
        line = file.readline(_LINE)
        while line and (line.startswith("%") or not line.strip()):
            line = file.readline(_LINE)
        sizes = [int(word) for word in line.split()]
        if len(sizes) != (3 if form == "coordinate" else 2) or min(sizes) < 0 or max(sizes) >= 2**31:
            raise ValueError("its sizes are no whole numbers of rows, columns and entries")
        n_rows, n_columns = sizes[:2]
        entries = sizes[2] if form == "coordinate" else n_rows * n_columns
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is no entry
            body = np.loadtxt(file, dtype=np.float64, comments="%", ndmin=2)
    if len(body) != entries:
        raise ValueError(f"it should hold {entries:,} entries, but holds {len(body):,}")
    if form == "array":
        if symmetry != "general" or (entries and body.shape[1] != 1):
            raise ValueError("it is no general matrix of a value a line")
        return sp.coo_matrix(body.reshape(n_columns, n_rows).T)
    if not entries:
        return sp.coo_matrix((n_rows, n_columns))
    if body.shape[1] != (2 if field == "pattern" else 3):
        raise ValueError(f"its lines hold {body.shape[1]} numbers")
    places = body[:, :2] - 1
    if not ((places >= 0) & (places < (n_rows, n_columns)) & (places == np.floor(places))).all():
        raise ValueError("a row or column is outside the matrix")
    rows, columns = places.T.astype(np.int64)
    values = np.ones(entries) if field == "pattern" else body[:, 2]
    if symmetry != "general":
        if n_rows != n_columns:
            raise ValueError("a symmetric matrix has as many rows as columns")
        other = rows != columns
        sign = -1 if symmetry == "skew-symmetric" else 1
        rows, columns = np.append(rows, columns[other]), np.append(columns, rows[other])
        values = np.append(values, sign * values[other])
    return sp.coo_matrix((values, (rows, columns)), shape=(n_rows, n_columns))


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
