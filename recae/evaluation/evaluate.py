"""One model on one set of histories and held-out items, block by block, never users × items at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.metrics import capped_recall, ndcg, recall
from recae.models import Model
from recae.ranking import DEFAULT_BLOCK_BYTES, rows_per_block, top_k

_METRICS = {"recall": recall, "capped_recall": capped_recall, "ndcg": ndcg}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one model, by user and in the mean.

    Parameters
    ----------
    ks : tuple of int
        The list lengths measured, ascending.
    values : mapping of metric name to float64 ndarray of shape (B,)
        Names are `recall@k`, `capped_recall@k` and `ndcg@k`; a user with nothing held out has NaN.
    """

    ks: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def n_users(self) -> int:
        """Number of users evaluated: those with something held out."""
        return int(np.isfinite(next(iter(self.values.values()))).sum())

    def mean(self, name: str) -> float:
        """Mean of a metric, such as `recall@20`, over the users evaluated; ConfigError if not measured."""
        if name not in self.values:
            raise ConfigError(f"'{name}' was not measured; choose one of {', '.join(self.values)}")
        return float(np.nanmean(self.values[name]))

    @property
    def means(self) -> dict[str, float]:
        """The mean of every metric over the users evaluated."""
        return {name: self.mean(name) for name in self.values}

    def as_dict(self) -> dict[str, int | float]:
        """`n_users` and all means, as JSON values."""
        return {"n_users": self.n_users, **self.means}


def evaluate(
    model: Model,
    histories: sp.csr_matrix,
    held_out: sp.csr_matrix,
    ks: Sequence[int] = (10, 20, 50),
    *,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    exclude_owned: bool = True,
    threads: int | None = None,
) -> Evaluation:
    """Scores the histories, ranks each, and measures the ranked lists against the held-out items.

    Only users with something held out are scored. At any time the scores of one block of users are held.

    Parameters
    ----------
    histories, held_out : csr_matrix of shape (B, I)
        What the model sees of each user, and what it should find.
    ks : sequence of int
        List lengths, each at least 1; may exceed I.
    block_bytes : int
        Bytes of float32 scores held at one time (one row at least).
    exclude_owned : bool
        Leave the items of a user's history out of the list, as a recommendation does.
    threads : int, optional
        Most threads for ranking; by default all processors.

    Raises
    ------
    ConfigError
        No list length is given, or one is less than 1.
    DataError
        The shapes differ from each other or the model, or no user has anything held out.
    """
    lengths = tuple(sorted(set(ks)))
    if not lengths or lengths[0] < 1:
        raise ConfigError(
            f"an evaluation needs list lengths k of at least 1, but got {tuple(ks)}; give at least one"
        )
    if histories.shape != held_out.shape:
        raise DataError(
            f"histories of shape {histories.shape} do not match held-out items of shape {held_out.shape}; "
            "give the same users and items to both"
        )
    users = np.flatnonzero(np.diff(held_out.indptr))
    if not users.size:
        raise DataError(
            "no user has an item held out, so there is nothing to measure; hold out more users or items"
        )

    values = {f"{name}@{k}": np.full(histories.shape[0], np.nan) for name in _METRICS for k in lengths}
    step = rows_per_block(model.n_items, block_bytes)
    for start in range(0, users.size, step):
        block = users[start : start + step]
        history = histories[block]
        ranked, _ = top_k(
            model.score(history), lengths[-1], exclude=history if exclude_owned else None, threads=threads
        )
        for name, metric in _METRICS.items():
            for k in lengths:
                values[f"{name}@{k}"][block] = metric(ranked, held_out[block], k)
    return Evaluation(lengths, values)
