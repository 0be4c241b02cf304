"""One model on one set of histories and held-out items, block by block, never users × items at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.metrics import capped_recall, ndcg, recall
from recae.models import Model
from recae.ranking import DEFAULT_BLOCK_BYTES, rows_per_block, top_k

Metric = Callable[[NDArray[np.int32], sp.csr_matrix, int], NDArray[np.float64]]
_METRICS: dict[str, Metric] = {"recall": recall, "capped_recall": capped_recall, "ndcg": ndcg}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one model, by user and in the mean.

    Parameters
    ----------
    ks : tuple of int
        The list lengths measured, ascending.
    values : mapping of metric name to float64 ndarray of shape (B,)
        Names are `recall@k`, `capped_recall@k` and `ndcg@k`; a user with nothing held out has NaN. Where owned items
        stay in the lists also, with T the items held out, H those of the history and L the first k ranked,

        * `recall_repeat@k` = |L ∩ T ∩ H| / |T ∩ H|, of what is bought again; NaN for a user with none of it
        * `recall_new@k` = |L ∩ T ∖ H| / |T ∖ H|, of what is bought for the first time; likewise

        so that both rest on fewer users than `recall@k`, and not on the same ones.
    """

    ks: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def n_users(self) -> int:
        """Number of users evaluated: those with something held out."""
        return int(np.isfinite(next(iter(self.values.values()))).sum())

    def mean(self, name: str) -> float:
        """Mean of a metric, such as `recall@20`, over the users who have it; ConfigError if not measured.

        NaN where no user has it, as `recall_repeat@20` where nobody buys anything again.
        """
        if name not in self.values:
            raise ConfigError(f"'{name}' was not measured; choose one of {', '.join(self.values)}")
        found = self.values[name][np.isfinite(self.values[name])]
        return float(found.mean()) if found.size else float("nan")

    @property
    def means(self) -> dict[str, float]:
        """The mean of every metric over the users who have it."""
        return {name: self.mean(name) for name in self.values}

    def as_dict(self) -> dict[str, int | float | None]:
        """`n_users` and all means, as JSON values; None for NaN."""
        means = {name: None if np.isnan(value) else value for name, value in self.means.items()}
        return {"n_users": self.n_users, **means}


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
        Leave the items of a user's history out of the list, as a recommendation does. If they stay, recall is also
        measured apart for items that the history holds and that it does not.
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

    names = [*_METRICS, *(() if exclude_owned else ("recall_repeat", "recall_new"))]
    values = {f"{name}@{k}": np.full(histories.shape[0], np.nan) for name in names for k in lengths}
    step = rows_per_block(model.n_items, block_bytes)
    for start in range(0, users.size, step):
        block = users[start : start + step]
        history = histories[block]
        ranked, _ = top_k(
            model.score(history), lengths[-1], exclude=history if exclude_owned else None, threads=threads
        )
        wanted = held_out[block]
        parts: tuple[tuple[str, Metric, sp.csr_matrix], ...] = tuple(
            (name, metric, wanted) for name, metric in _METRICS.items()
        )
        if not exclude_owned:
            again = _repeated(history, wanted)
            parts += (
                ("recall_repeat", recall, _part(wanted, again)),
                ("recall_new", recall, _part(wanted, ~again)),
            )
        for name, metric, held in parts:
            for k in lengths:
                values[f"{name}@{k}"][block] = metric(ranked, held, k)
    return Evaluation(lengths, values)


def _repeated(history: sp.csr_matrix, held_out: sp.csr_matrix) -> NDArray[np.bool_]:
    """Which stored entries of `held_out` (B, I) the history (B, I) stores, too: (nnz of held_out,)."""
    n_items = history.shape[1]

    def pairs(matrix: sp.csr_matrix) -> NDArray[np.int64]:
        return np.repeat(np.arange(matrix.shape[0]) * n_items, np.diff(matrix.indptr)) + matrix.indices

    return np.isin(pairs(held_out), pairs(history))


def _part(matrix: sp.csr_matrix, chosen: NDArray[np.bool_]) -> sp.csr_matrix:
    """The stored entries marked in `chosen`, whatever their value, (B, I)."""
    before = np.concatenate([[0], np.cumsum(chosen)])
    ones = np.ones(int(chosen.sum()), dtype=np.float32)
    return sp.csr_matrix((ones, matrix.indices[chosen], before[matrix.indptr]), shape=matrix.shape)
