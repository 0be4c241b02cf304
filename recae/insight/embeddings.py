"""Users' codes and items' vectors as features for other programs: a stream of Arrow record batches, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.models import Encoder, find_encoder
from recae.ranking import rows_per_block
from recae.recommender import Recommender
from recae.tables import check_output, write_table

What: TypeAlias = Literal["users", "items"]

BLOCK_BYTES: Final = 32 * 2**20
"""Bytes of codes held at one time by default; a Parquet row group is one block."""

# Copies of a block's codes at one time: the encoder's steps, the columns, and the writer's buffers.
_COPIES = 4


def embeddings(
    recommender: Recommender, what: What, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[pa.RecordBatch]:
    """Stream the codes of all users, or the vectors of all items, in the model's order, a block at a time.

    Args:
        recommender: a model with codes; for users, with histories.
        what: ``"users"`` or ``"items"``.
        block_bytes: bytes held at one time (one row at least).

    Returns:
        Record batches of `embedding_schema`, none of them empty.

    Raises:
        ConfigError: ``what`` is something else, or ``block_bytes`` is less than 1.
        DataError: the model has no codes; or it was saved without histories, so that it has no users.
    """
    schema = embedding_schema(recommender, what)
    rows = rows_per_block(_COPIES * len(schema), block_bytes)
    return (_user_batches if what == "users" else _item_batches)(recommender, schema, rows)


def embedding_schema(recommender: Recommender, what: What) -> pa.Schema:
    """Return the columns of `embeddings`, for a model of codes of d numbers.

    Users: ``user_id`` (string), ``n_items`` (int32, the length of the history), ``code_0`` … ``code_{d-1}``
    (float32): what the encoder makes of the history.

    Items: ``item_id`` (string), ``name`` (string, null where unknown), ``owners`` (int32, how many users have
    the item; null where the model came without histories), ``vector_0`` … ``vector_{d-1}`` (float32): what the
    item's score weighs the code by, then ``bias`` (float32) where the model has one. An item's score for a user
    is the sum of ``code_j * vector_j`` over j, plus ``bias``.

    Raises:
        ConfigError, DataError: as `embeddings`.
    """
    if what not in ("users", "items"):
        raise ConfigError(
            f"there are embeddings of 'users' and of 'items', not of {what!r}; ask for one of them"
        )
    width = encoder_of(recommender).item_vectors.shape[1]
    if what == "users":
        histories_of(recommender)
        fields = [("user_id", pa.string()), ("n_items", pa.int32())]
        return pa.schema(fields + [(f"code_{j}", pa.float32()) for j in range(width)])
    fields = [("item_id", pa.string()), ("name", pa.string()), ("owners", pa.int32())]
    fields += [(f"vector_{j}", pa.float32()) for j in range(width)]
    return pa.schema(fields + ([] if _bias(recommender) is None else [("bias", pa.float32())]))


def write_embeddings(
    recommender: Recommender, what: What, path: Path | str, *, on_rows: Callable[[int], None] | None = None
) -> int:
    """Write `embeddings` to Parquet (.parquet, .pq) or CSV (.csv), in bounded memory; the file appears at the end.

    Args:
        recommender: a model with codes; for users, with histories.
        what: ``"users"`` or ``"items"``.
        path: where to; an existing file is replaced once the new one is complete.
        on_rows: told after each block how many users or items are done so far.

    Returns:
        The number of rows, without the header.

    Raises:
        OutputError: the path is refused by `recae.tables.check_output`, or writing fails later.
        ConfigError, DataError: as `embeddings`; raised before a file is touched.
    """
    check_output(path)
    batches = embeddings(recommender, what)

    def told() -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in batches:
            yield batch
            done += batch.num_rows
            if on_rows is not None:
                on_rows(done)

    return write_table(path, embedding_schema(recommender, what), told())


def encoder_of(recommender: Recommender) -> Encoder:
    """Return the model as one with codes; DataError when it has none."""
    encoder = find_encoder(recommender.model)
    if encoder is None:
        raise DataError(
            f"codes are needed, but a model of kind '{recommender.model.kind}' has none; "
            "train an autoencoder with `recae train --kind sigmoid`"
        )
    return encoder


def histories_of(recommender: Recommender) -> tuple[IdMap, sp.csr_matrix]:
    """Return the users and their histories, (U, I); DataError when the model was saved without them."""
    if recommender.users is None or recommender.histories is None:
        raise DataError(
            "users are needed, but this model was saved without histories; "
            "use a model file that was saved with them"
        )
    return recommender.users, recommender.histories


def code_blocks(
    encoder: Encoder, histories: sp.csr_matrix, rows: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Encode histories (U, I), ``rows`` of them at a time: the first row of each block, and its codes (B, d)."""
    for start in range(0, histories.shape[0], rows):
        yield start, encoder.encode(sp.csr_matrix(histories[start : start + rows]))


def owner_counts(histories: sp.csr_matrix) -> NDArray[np.int64]:
    """Return how many users own each item, int64 (I,); histories is a pattern of shape (U, I)."""
    return np.bincount(histories.indices, minlength=histories.shape[1]).astype(np.int64, copy=False)


def _user_batches(recommender: Recommender, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    users, histories = histories_of(recommender)
    lengths = np.diff(histories.indptr).astype(np.int32)
    for start, codes in code_blocks(encoder_of(recommender), histories, rows):
        block = np.arange(start, start + len(codes))
        columns = [users.ids(block).cast(pa.string()), pa.array(lengths[block]), *_columns(codes)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _item_batches(recommender: Recommender, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    vectors = encoder_of(recommender).item_vectors
    names, histories, bias = recommender.item_names, recommender.histories, _bias(recommender)
    owners = None if histories is None else owner_counts(histories).astype(np.int32)
    for start in range(0, len(vectors), rows):
        block = np.arange(start, min(start + rows, len(vectors)))
        columns = [
            recommender.items.ids(block).cast(pa.string()),
            pa.nulls(len(block), pa.string()) if names is None else names.take(block).cast(pa.string()),
            pa.nulls(len(block), pa.int32()) if owners is None else pa.array(owners[block]),
            *_columns(vectors[block]),
            *([] if bias is None else [pa.array(bias[block])]),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _columns(matrix: NDArray[np.float32]) -> list[pa.Array]:
    return [pa.array(column) for column in np.ascontiguousarray(matrix.T)]


def _bias(recommender: Recommender) -> NDArray[np.float32] | None:
    """Return the bias of each item's score, float32 (I,); None where the model has none."""
    bias = recommender.model.arrays().get("decoder_bias")
    return None if bias is None else np.asarray(bias, dtype=np.float32)
