"""Evaluation of one model on histories and held-out items, block by block, never users × items at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.inputs import owned_part
from recae.metrics import METRICS, check_metrics, compute
from recae.models import Model
from recae.ranking import DEFAULT_BLOCK_BYTES, rank_histories, user_blocks
from recae.sparse import pattern, rows_in_use, stored_in, take_entries

DEFAULT_METRICS = ("recall", "capped_recall", "ndcg")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one model, by user and in the mean.

    Where owned items stay in the lists, two more are measured, with T the items held out, H those of the history and L
    the first k ranked:

    * `recall_repeat@k` = |L ∩ T ∩ H| / |T ∩ H|, of what is bought again; NaN for a user with none of it
    * `recall_new@k` = |L ∩ T ∖ H| / |T ∖ H|, of what is bought for the first time; likewise

    so that both rest on fewer users than `recall@k`, and not on the same ones.

    Attributes:
        ks: the list lengths measured, ascending.
        values: float64 (B,) by the name of a metric, one of `METRICS` with @k, such as `ndcg@20`; a user with nothing
            held out has NaN.
    """

    ks: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]

    @property
    def n_users(self) -> int:
        """Number of users evaluated: those with something held out."""
        return int(np.isfinite(next(iter(self.values.values()))).sum())

    def mean(self, name: str) -> float:
        """Return the mean of a metric, such as `recall@20`, over the users who have it.

        NaN where no user has it, such as `recall_repeat@20` where nobody buys anything again.

        Raises:
            ConfigError: the metric was not measured.
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
        """Return `n_users` and all means, as JSON values; None for NaN."""
        means = {name: None if np.isnan(value) else value for name, value in self.means.items()}
        return {"n_users": self.n_users, **means}


def evaluate(
    model: Model,
    histories: sp.csr_matrix,
    held_out: sp.csr_matrix,
    ks: Sequence[int] = (10, 20, 50),
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    exclude_owned: bool = True,
    threads: int | None = None,
) -> Evaluation:
    """Score the histories, rank each, and measure the ranked lists against the held-out items.

    Only users with something held out are scored. At any time the scores of one block of users are held.

    Args:
        model: scores the histories.
        histories: csr_matrix (B, I), what the model sees of each user; with further columns for its other events, see
            `recae.inputs`.
        held_out: csr_matrix (B, I), what it should find.
        ks: list lengths, each at least 1; may exceed I.
        metrics: names of `METRICS`.
        block_bytes: bytes of float32 scores held at one time (one row at least).
        exclude_owned: leave the items of a user's history out of the list, as a recommendation does. If they
            stay, recall is also measured apart for items that the history holds and that it does not.
        threads: most threads for ranking; by default all processors.

    Raises:
        ConfigError: no list length or no metric is given, a length is less than 1, or there is no such metric.
        DataError: the shapes differ from each other or the model, or no user has anything held out.
    """
    lengths = _check_asked(ks, metrics)
    _check_same_shape(owned_part(histories, held_out.shape[1]), held_out)
    users = _with_held_out(held_out)
    values = _no_values(histories.shape[0], lengths, metrics, exclude_owned)
    for block in user_blocks(users, model.n_items, block_bytes):
        history, wanted = histories[block], held_out[block]
        ranked = rank_histories(
            model,
            history,
            lengths[-1],
            exclude_owned=exclude_owned,
            block_bytes=block_bytes,
            threads=threads,
        )
        measured = _values(
            ranked.items,
            wanted,
            lengths,
            metrics,
            None if exclude_owned else owned_part(history, model.n_items),
        )
        for name, found in measured.items():
            values[name][block] = found
    return Evaluation(lengths, values)


def measure(
    ranked: NDArray[np.integer],
    held_out: sp.csr_matrix,
    ks: Sequence[int] = (10, 20, 50),
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    histories: sp.csr_matrix | None = None,
    exclude_owned: bool = True,
) -> Evaluation:
    """Measure ranked lists against the held-out items: what `evaluate` gives for the model that ranked them.

    Args:
        ranked: item numbers (B, n), best first, without repeats; -1 is padding.
        held_out: csr_matrix (B, I), as for `evaluate`.
        ks: list lengths, each from 1 to n.
        metrics: names of `METRICS`.
        histories: csr_matrix (B, I), as for `evaluate`; needed where `exclude_owned` is False, and else not looked at.
        exclude_owned: whether the lists leave out what the histories hold. If not, recall is also measured
            apart for items that the history holds and that it does not.

    Raises:
        ConfigError: no list length or no metric is given, a length is less than 1 or more than n, there is no such
            metric, or the histories are needed and missing.
        DataError: the shapes differ, a list repeats an item or holds one outside -1 .. I-1, or no user has anything
            held out.
    """
    lengths = _check_asked(ks, metrics)
    if exclude_owned:
        histories = None
    elif histories is None:
        raise ConfigError(
            "lists that may hold owned items are measured apart for bought again and new, which needs the histories; "
            "give them, or exclude_owned=True"
        )
    else:
        _check_same_shape(histories, held_out)
    _with_held_out(held_out)
    return Evaluation(lengths, _values(ranked, held_out, lengths, metrics, histories))


def part_by_history(history: sp.csr_matrix, held_out: sp.csr_matrix) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Split the held-out items (B, I) into those that the history (B, I) holds and those that it does not.

    Every stored entry counts, whatever its value; both parts, (B, I) each, hold float32 ones.
    """
    again = stored_in(held_out, history)
    return pattern(take_entries(held_out, again)), pattern(take_entries(held_out, ~again))


def _values(
    ranked: NDArray[np.integer],
    held_out: sp.csr_matrix,
    ks: tuple[int, ...],
    metrics: Sequence[str],
    histories: sp.csr_matrix | None,
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of some lists, (B,) each; with histories, those of items bought again and new ones, too."""
    values = compute(ranked, held_out, metrics, ks)
    if histories is not None:
        again, new = part_by_history(histories, held_out)
        for name, held in (("recall_repeat", again), ("recall_new", new)):
            found = compute(ranked, held, ("recall",), ks)
            values |= {f"{name}@{k}": found[f"recall@{k}"] for k in ks}
    return values


def _no_values(
    n_users: int, ks: tuple[int, ...], metrics: Sequence[str], exclude_owned: bool
) -> dict[str, NDArray[np.float64]]:
    """Return what `_values` gives, in its order, for users who have none."""
    names = [*metrics, *(() if exclude_owned else ("recall_repeat", "recall_new"))]
    return {f"{name}@{k}": np.full(n_users, np.nan) for name in names for k in ks}


def _check_asked(ks: Sequence[int], metrics: Sequence[str]) -> tuple[int, ...]:
    """Return the list lengths, ascending and distinct."""
    lengths = tuple(sorted(set(ks)))
    if not lengths or lengths[0] < 1:
        raise ConfigError(
            f"an evaluation needs list lengths k of at least 1, but got {tuple(ks)}; give at least one"
        )
    if not metrics:
        raise ConfigError(f"an evaluation needs a metric, but got none; choose from {', '.join(METRICS)}")
    check_metrics(metrics)
    return lengths


def _check_same_shape(histories: sp.csr_matrix, held_out: sp.csr_matrix) -> None:
    if histories.shape != held_out.shape:
        raise DataError(
            f"histories of shape {histories.shape} do not match held-out items of shape {held_out.shape}; "
            "give the same users and items to both"
        )


def _with_held_out(held_out: sp.csr_matrix) -> NDArray[np.int64]:
    """Return the users, ascending, of whom something is held out; there is one at least."""
    users = rows_in_use(held_out)
    if not users.size:
        raise DataError(
            "no user has an item held out, so there is nothing to measure; hold out more users or items"
        )
    return users
