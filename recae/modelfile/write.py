"""Writing a model file: metadata as JSON, arrays as tensors, all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.files import atomic_path
from recae.ids import IdMap
from recae.modelfile.layout import FORMAT_VERSION, KEY, OWN_KEYS, VALUES
from recae.models.base import reads_values
from recae.recommender import Recommender
from recae.tensorfile import json_text, write_tensors


def save(recommender: Recommender, path: Path | str, *, histories: bool = True) -> None:
    """Write a recommender to one file; the file appears whole or not at all.

    Args:
        recommender: what to write.
        path: where to; an existing file is replaced.
        histories: False leaves out the histories and with them the user ids, which are personal data and of
            no use without them; the model then answers for baskets only.

    Raises:
        OutputError: the file cannot be written.
        ConfigError: the metadata or configuration is not JSON, or the metadata uses a key of the format.
        DataError: the model reads the values of histories, and one is not finite and above 0 in float32.
    """
    users = recommender.users if histories else None
    text = _metadata_text(recommender, users)
    tensors = _tensors(recommender, users, histories)
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        write_tensors(file, tensors, KEY, text)


def _metadata_text(recommender: Recommender, users: IdMap | None) -> str:
    taken = sorted(set(recommender.metadata) & set(OWN_KEYS))
    if taken:
        raise ConfigError(
            f"the metadata key '{taken[0]}' belongs to the model file's format; use another name"
        )
    content = {
        **recommender.metadata,
        "format_version": FORMAT_VERSION,
        "kind": recommender.model.kind,
        "config": recommender.model.config(),
        "n_items": len(recommender.items),
        "n_users": None if users is None else len(users),
    }
    return json_text(content, "metadata")


def _tensors(recommender: Recommender, users: IdMap | None, histories: bool) -> dict[str, NDArray[Any]]:
    tensors = {f"model.{name}": array for name, array in recommender.model.arrays().items()}
    tensors["items.data"], tensors["items.offsets"] = recommender.items.to_arrays()
    if users is not None:
        tensors["users.data"], tensors["users.offsets"] = users.to_arrays()
    if recommender.item_names is not None:
        names = recommender.item_names.to_pylist()
        encoded = [(name or "").encode() for name in names]
        tensors["names.data"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        tensors["names.offsets"] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        tensors["names.valid"] = np.array([name is not None for name in names], dtype=np.uint8)
    if histories and recommender.histories is not None:
        canonical = recommender.histories
        if not canonical.has_canonical_format:
            canonical = canonical.copy()  # the caller's matrix stays as it is
            canonical.sum_duplicates()
        tensors["histories.indptr"] = canonical.indptr.astype(np.int64)
        tensors["histories.indices"] = canonical.indices.astype(np.int32)
        if reads_values(recommender.model):
            tensors[VALUES] = _values(canonical)
    return tensors


def _values(histories: sp.csr_matrix) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what overflows is refused
        values = histories.data.astype(np.float32)
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataError(
            "the values of the histories must be finite and above 0, but one is not; "
            "weight them with Events.weights, or give ones"
        )
    return values
