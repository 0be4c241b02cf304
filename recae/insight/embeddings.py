"""Vectors of users and items whose product is the score, for other programs: Arrow record batches, or a file.

Where a part of a blend has no such vectors, those of the other parts are given, and it is said how much of the score
they are: in the metadata of the schema, which Parquet keeps, and in `Coverage.sentence`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.models.products import Products
from recae.ranking import rank_histories, rows_per_block
from recae.recommender import Recommender
from recae.tables import check_output, write_table

What: TypeAlias = Literal["users", "items"]

BLOCK_BYTES: Final = 32 * 2**20
"""Bytes of codes held at one time by default; a Parquet row group is one block."""

# Copies of a block's codes at one time: the encoder's steps, the columns, and the writer's buffers.
_COPIES = 4
# Users and items of each on which is measured how much of a score the vectors are.
_MEASURED: Final = 200
_BEST: Final = 10


def embeddings(
    recommender: Recommender, what: What, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[pa.RecordBatch]:
    """Stream the vectors of all users, or the vectors of all items, in the model's order, a block at a time.

    Args:
        recommender: a model with factored parts; for users, with histories.
        what: ``"users"`` or ``"items"``.
        block_bytes: bytes held at one time (one row at least).

    Returns:
        Record batches of `embedding_schema`, none of them empty.

    Raises:
        ConfigError: ``what`` is something else, or ``block_bytes`` is less than 1.
        DataError: no part of the model is factored; or it was saved without histories, so that it has no users.
    """
    recommender = recommender.of_bought_items()
    schema = embedding_schema(recommender, what)
    rows = rows_per_block(_COPIES * len(schema), block_bytes)
    return (_user_batches if what == "users" else _item_batches)(recommender, schema, rows)


def embedding_schema(recommender: Recommender, what: What) -> pa.Schema:
    """Return the columns of `embeddings`, for vectors of d numbers.

    Users: ``user_id`` (string), ``n_items`` (int32, the length of the history), ``code_0`` … ``code_{d-1}``
    (float32): what the model makes of the history.

    Items: ``item_id`` (string), ``name`` (string, null where unknown), ``owners`` (int32, how many users have
    the item; null where the model came without histories), ``vector_0`` … ``vector_{d-1}`` (float32): what the
    item's score weighs the code by, then ``bias`` (float32) where the model has one. An item's score for a user
    is the sum of ``code_j * vector_j`` over j, plus ``bias``; of a blend, it is that of the parts which
    `Coverage` names. The schema's metadata has that under the key ``recae``, as JSON.

    Raises:
        ConfigError, DataError: as `embeddings`.
    """
    if what not in ("users", "items"):
        raise ConfigError(
            f"there are embeddings of 'users' and of 'items', not of {what!r}; ask for one of them"
        )
    products = products_of(recommender)
    width, metadata = products.width, {"recae": json.dumps(coverage(recommender).metadata())}
    if what == "users":
        histories_of(recommender)
        fields = [("user_id", pa.string()), ("n_items", pa.int32())]
        return pa.schema(fields + [(f"code_{j}", pa.float32()) for j in range(width)], metadata)
    fields = [("item_id", pa.string()), ("name", pa.string()), ("owners", pa.int32())]
    fields += [(f"vector_{j}", pa.float32()) for j in range(width)]
    return pa.schema(fields + ([] if products.bias is None else [("bias", pa.float32())]), metadata)


def write_embeddings(
    recommender: Recommender, what: What, path: Path | str, *, on_rows: Callable[[int], None] | None = None
) -> int:
    """Write `embeddings` to Parquet (.parquet, .pq) or CSV (.csv), in bounded memory; the file appears at the end.

    Args:
        recommender: a model with factored parts; for users, with histories.
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


@dataclass(frozen=True)
class Coverage:
    """What of the score the vectors' product is.

    Attributes:
        parts: kinds of the parts that are in it.
        left_out: kinds of those that are not; none: it is the whole score.
        share: the product over the score of a user's ten best items, both summed, median over some users; 1 where
            nothing is left out, None where that is not known without histories.
    """

    parts: tuple[str, ...]
    left_out: tuple[str, ...]
    share: float | None

    @property
    def sentence(self) -> str:
        """Say it."""
        if not self.left_out:
            return "code · vector + bias is the score that recommend states"
        named, rest = " + ".join(self.parts), " and ".join(self.left_out)
        best = "the score of a user's ten best items"
        much = ""
        if self.share is not None and 0 <= self.share <= 1:
            much = f", {100 * self.share:.0f} % of {best}"
        elif self.share is not None:  # the parts work against each other
            much = f", {self.share:.2f} times {best} and no substitute for it"
        return f"code · vector is the score of {named} alone{much}; {rest} have no vectors for the rest"

    def metadata(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "parts": list(self.parts),
            "left_out": list(self.left_out),
            "whole": not self.left_out,
            "share_of_score": self.share,
        }


def coverage(recommender: Recommender) -> Coverage:
    """Return what of the score the vectors' product is; DataError where the model has no vectors."""
    products = products_of(recommender)
    return Coverage(products.kinds, products.left_out, 1.0 if products.whole else _share(recommender))


def _share(recommender: Recommender) -> float | None:
    """Return the median over users of the products of their ten best items, over the scores of these."""
    products, histories = products_of(recommender), recommender.histories
    users = (
        np.flatnonzero(np.diff(histories.indptr)) if histories is not None else np.zeros(0, dtype=np.int64)
    )
    if histories is None or not users.size:
        return None
    chosen = np.sort(np.random.default_rng(0).permutation(users)[:_MEASURED])
    parts = []
    step = rows_per_block(len(recommender.items))
    for start in range(0, chosen.size, step):
        block = sp.csr_matrix(histories[chosen[start : start + step]])
        best = rank_histories(
            recommender.model, block, min(_BEST, len(recommender.items)), exclude_owned=True
        )
        for code, items, scores in zip(products.user_vectors(block), best.items, best.scores, strict=True):
            found = items >= 0
            total = float(scores[found].sum(dtype=np.float64))
            if total:
                parts.append(
                    float((products.item_vectors(items[found]) @ code).sum(dtype=np.float64)) / total
                )
    return float(np.median(parts)) if parts else None


def products_of(recommender: Recommender) -> Products:
    """Return the vectors of the model; DataError when it has none whose product is a score."""
    recommender = recommender.of_bought_items()
    products = Products.of(recommender.model)
    if products is None:
        raise DataError(
            f"vectors are needed, but a model of kind '{recommender.model.kind}' has none whose product is its score; "
            "train one that has, such as `recae train --kind sigmoid`, or ask for similar items instead"
        )
    return products


def histories_of(recommender: Recommender) -> tuple[IdMap, sp.csr_matrix]:
    """Return the users and their histories, (U, I); DataError when the model was saved without them."""
    if recommender.users is None or recommender.histories is None:
        raise DataError(
            "users are needed, but this model was saved without histories; "
            "use a model file that was saved with them"
        )
    return recommender.users, recommender.histories


def owner_counts(histories: sp.csr_matrix) -> NDArray[np.int64]:
    """Return how many users own each item, int64 (I,); histories is a pattern of shape (U, I)."""
    return np.bincount(histories.indices, minlength=histories.shape[1]).astype(np.int64, copy=False)


def _user_batches(recommender: Recommender, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    users, histories = histories_of(recommender)
    lengths = np.diff(histories.indptr).astype(np.int32)
    products = products_of(recommender)
    for start in range(0, len(users), rows):
        codes = products.user_vectors(sp.csr_matrix(histories[start : start + rows]))
        block = np.arange(start, start + len(codes))
        columns = [users.ids(block).cast(pa.string()), pa.array(lengths[block]), *_columns(codes)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _item_batches(recommender: Recommender, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    products = products_of(recommender)
    names, histories, bias = recommender.item_names, recommender.histories, products.bias
    owners = None if histories is None else owner_counts(histories).astype(np.int32)
    n_items = len(recommender.items)
    for start in range(0, n_items, rows):
        block = np.arange(start, min(start + rows, n_items))
        columns = [
            recommender.items.ids(block).cast(pa.string()),
            pa.nulls(len(block), pa.string()) if names is None else names.take(block).cast(pa.string()),
            pa.nulls(len(block), pa.int32()) if owners is None else pa.array(owners[block]),
            *_columns(products.item_vectors(block)),
            *([] if bias is None else [pa.array(bias[block])]),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _columns(matrix: NDArray[np.float32]) -> list[pa.Array]:
    return [pa.array(column) for column in np.ascontiguousarray(matrix.T)]
