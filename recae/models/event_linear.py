"""`EventLinear`: a linear model of items by purchases and other events, such as views and carts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ModelFileError
from recae.inputs import check_inputs, owned_part
from recae.models.base import JSON, check_items, take_array
from recae.models.linear import add_dense_at, add_dense_rows
from recae.sparse import count_before


@dataclass(frozen=True)
class EventWorth:
    """What an event brought on the validation users, beside the events that were used already.

    Attributes:
        event: its name.
        gain: of NDCG@20, in the mean of the users.
        low: end of the 95 % interval of the gain.
        high: likewise.
        used: whether the event is used.
        strength: with which; 0 where it is left out.
    """

    event: str
    gain: float
    low: float
    high: float
    used: bool
    strength: float


@dataclass(frozen=True, eq=False)
class EventLinear:
    """Scores = [purchases, events] @ weights, with a weight for each input and item.

    No input of an item adds to the item's own score: neither that it is owned, nor that it was viewed.

    Attributes:
        weights: B, float32 ((1 + used) · I, I): a block of rows for the purchases, then one for each event used.
        inputs: names of the K events that a history may have beside the purchases, in the order of its blocks.
        used: which of them count, by their places, rising; the others are not looked at.
        settings: the settings it was solved with, for the record.
        worth: of each event that was tried, where that was measured; not written with the model.
    """

    weights: NDArray[np.float32]
    inputs: tuple[str, ...]
    used: tuple[int, ...]
    settings: Mapping[str, JSON]
    worth: tuple[EventWorth, ...] = ()

    kind: ClassVar[str] = "event-linear"
    trained: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.weights.shape[1])

    @property
    def used_inputs(self) -> tuple[str, ...]:
        """Names of the events that count."""
        return tuple(self.inputs[place] for place in self.used)

    def narrowed(self) -> EventLinear:
        """Return the same model with the events alone that count."""
        used = tuple(range(len(self.used)))
        return EventLinear(self.weights, self.used_inputs, used, self.settings, self.worth)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the scores, (B, I) float32, of histories (B, I) or, with events, (B, (1 + K) · I)."""
        found = self._read(histories)
        return add_dense_rows(found, self.weights)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the scores of some items, (B, n) float32; reads only the weights for these."""
        found = self._read(histories)
        items = check_items(items, self.n_items)
        scores = np.zeros((histories.shape[0], items.size), dtype=np.float32)
        add_dense_at(found.indptr, found.indices, self.weights, items, scores)
        return scores

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the weights of a history's purchases and events for some items, float64 (m, n)."""
        check_inputs(history, self.n_items, self.inputs)
        rows = self._rows[history.indices]
        found = np.zeros((rows.size, len(items)))
        counted = rows >= 0
        found[counted] = self.weights[np.ix_(rows[counted], items)]
        return found

    @property
    def _rows(self) -> NDArray[np.int32]:
        """Return the row of the weights that each column of a history reads, ((1 + K) · I,); −1 for none."""
        n, blocks = self.n_items, [-1] * len(self.inputs)
        for row, place in enumerate(self.used, 1):
            blocks[place] = row
        first = np.array([0, *blocks], dtype=np.int32)
        return np.asarray(
            np.where(first[:, None] < 0, -1, first[:, None] * n + np.arange(n)).ravel(), np.int32
        )

    def _read(self, histories: sp.csr_matrix) -> sp.csr_matrix:
        """Return histories whose columns are the rows of the weights."""
        check_inputs(histories, self.n_items, self.inputs)
        if histories.shape[1] == self.n_items:
            return histories
        if not self.used:
            return owned_part(histories, self.n_items)
        if len(self.used) == len(self.inputs):
            return histories
        columns = self._rows[histories.indices]
        counted = columns >= 0
        ends = count_before(histories, counted).astype(histories.indptr.dtype)
        return sp.csr_matrix(
            (histories.data[counted], columns[counted], ends), shape=(histories.shape[0], len(self.weights))
        )

    def config(self) -> dict[str, JSON]:
        """Return the settings it was solved with, its inputs, and which of them are used."""
        return {**self.settings, "inputs": list(self.inputs), "used": list(self.used_inputs)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `weights`."""
        return {"weights": self.weights}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these weights.

        Raises:
            ModelFileError: the inputs are no list of names, or the weights are not finite, of another shape, or not 0
                where an item would speak for itself.
        """
        names, used = _names(config, "inputs"), _names(config, "used")
        if [name for name in names if name in used] != used:
            raise ModelFileError(
                f"the model file's configuration should give 'used' as some of {names}, but gives {used!r}; train the "
                "model again"
            )
        weights = take_array(arrays, "weights", np.float32, ((1 + len(used)) * n_items, n_items))
        if any(
            weights[start : start + n_items].diagonal().any() for start in range(0, len(weights), n_items)
        ):
            raise ModelFileError(
                "the model file's array 'weights' should be 0 where an item would speak for itself, but is not; train "
                "the model again"
            )
        settings = {name: value for name, value in config.items() if name not in ("inputs", "used")}
        return cls(weights, tuple(names), tuple(map(names.index, used)), settings)


def _names(config: Mapping[str, JSON], key: str) -> list[str]:
    """Return a list of different names of a configuration; ModelFileError where it is none."""
    found = config.get(key)
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    if not isinstance(found, list) or len(set(names)) != len(found):
        raise ModelFileError(
            f"the model file's configuration should give '{key}' as a list of names, each once, but gives {found!r}; "
            "train the model again"
        )
    return names
