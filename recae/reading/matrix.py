"""A sparse matrix of users × items in an .npz file, as scipy.sparse.save_npz writes it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.errors import SourceError


def read_matrix(path: Path) -> tuple[sp.csr_matrix, bool]:
    """The pattern of an .npz matrix: float32 ones, sorted indices, no duplicates. Never unpickles anything.

    Returns the matrix (U, I), and whether all its values were 1; where they were not, each but 0 is one interaction.
    Raises SourceError for a file that is missing, cut short, pickled, or no matrix of finite numbers.
    """
    if not path.is_file():
        raise SourceError(
            f"there is no file '{path}'; give a sparse matrix as scipy.sparse.save_npz writes it"
        )
    if not zipfile.is_zipfile(path):
        raise SourceError(f"'{path}' is not an npz file, or cut short; write it with scipy.sparse.save_npz")
    try:
        matrix: Any = sp.load_npz(path)  # any of five formats; allow_pickle stays False
        if matrix.format != "dia" and matrix.format != "coo":  # those two are checked when they are made
            matrix.check_format(full_check=True)
        if matrix.ndim != 2 or matrix.data.dtype.kind not in "biuf":
            raise ValueError(f"{matrix.ndim} dimensions of {matrix.data.dtype}")
        if not np.isfinite(matrix.data).all():
            raise ValueError("it holds values that are not finite")
        binary = bool((matrix.data == 1).all())
        matrix.data = (matrix.data != 0).astype(np.float32)  # before duplicates are added up and might cancel
        pattern = sp.csr_matrix(matrix)
    except Exception as error:  # a broken archive, member or index raises almost anything
        if "allow_pickle" in str(error):
            raise SourceError(
                f"'{path}' holds pickled objects, which are never loaded since they can run code; "
                "write it with scipy.sparse.save_npz"
            ) from error
        reason = str(error).strip("'\"") or type(error).__name__
        raise SourceError(
            f"'{path}' is not a sparse users × items matrix of numbers ({reason}); "
            "write it with scipy.sparse.save_npz"
        ) from error
    pattern.sum_duplicates()
    pattern.eliminate_zeros()
    pattern.sort_indices()
    pattern.data[:] = 1
    return pattern, binary
