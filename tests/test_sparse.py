"""CSR helpers against dense matrices and loops over rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recae import sparse


@st.composite
def matrices(draw, number=1):
    shape = draw(st.integers(0, 6)), draw(st.integers(1, 7))
    return [draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 3))) for _ in range(number)]


def csr(dense) -> sp.csr_matrix:
    return sp.csr_matrix(dense.astype(np.float32))


@given(matrices(2))
def test_entries_by_row(pair):
    dense, other = pair
    matrix = csr(dense)
    rows, columns = np.nonzero(dense)
    assert sparse.entry_rows(matrix).tolist() == rows.tolist()
    assert sparse.row_lengths(matrix).tolist() == (dense > 0).sum(axis=1).tolist()
    assert sparse.rows_in_use(matrix).tolist() == np.flatnonzero((dense > 0).any(axis=1)).tolist()
    assert sparse.entry_keys(matrix).tolist() == np.flatnonzero(dense.ravel()).tolist()
    assert sparse.stored_in(matrix, csr(other)).tolist() == (other[rows, columns] > 0).tolist()
    np.testing.assert_array_equal(sparse.pattern(matrix).toarray(), dense > 0)
    np.testing.assert_array_equal(sparse.without(matrix, csr(other)).toarray(), dense * (other == 0))


@given(matrices(), st.randoms())
def test_entries_that_are_chosen(one, random):
    (dense,) = one
    matrix = csr(dense)
    chosen = np.array([random.random() < 0.5 for _ in range(matrix.nnz)], dtype=np.bool_)
    wanted = dense.copy()
    rows, columns = np.nonzero(dense)
    wanted[rows[~chosen], columns[~chosen]] = 0
    taken = sparse.take_entries(matrix, chosen)
    np.testing.assert_array_equal(taken.toarray(), wanted)
    assert sparse.count_before(matrix, chosen).tolist() == taken.indptr.tolist()
    assert taken.nnz == chosen.sum()
    taken.data[:] = 9  # it is the caller's own
    np.testing.assert_array_equal(matrix.toarray(), dense)


def test_entries_of_unsorted_rows_keep_their_values():
    matrix = sp.csr_matrix(
        (np.array([5.0, 0.0, 7.0]), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3)
    )
    taken = sparse.take_entries(matrix, np.array([True, True, False]))
    assert taken.indices.tolist() == [0, 2]
    assert taken.data.tolist() == [0.0, 5.0]
    assert taken.indptr.tolist() == [0, 2, 2]
    assert sparse.pattern(matrix).data.tolist() == [1, 1, 1]  # a stored 0 is an entry


def test_values_share_the_index_arrays():
    matrix = csr(np.eye(3))
    other = sparse.with_values(matrix, np.array([1.0, 2.0, 3.0]))
    assert other.diagonal().tolist() == [1, 2, 3]
    assert np.shares_memory(other.indices, matrix.indices)


@pytest.mark.parametrize("columns", [[], [0], [0, 2], [0, 1, 2]])
def test_columns(columns):
    dense = np.array([[1, 0, 2], [0, 3, 4]])
    taken = sparse.take_columns(csr(dense), np.array(columns, dtype=np.int64))
    np.testing.assert_array_equal(taken.toarray(), dense[:, columns])
    assert taken.has_sorted_indices


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5))))
def test_joined_ranges(ranges):
    starts, lengths = (np.array([pair[i] for pair in ranges], dtype=np.int32) for i in (0, 1))
    wanted = [number for start, length in ranges for number in range(start, start + length)]
    found = sparse.joined_ranges(starts, lengths)
    assert found.tolist() == wanted
    assert found.dtype == np.int64
