"""Products: what of a model's scores is a product of a user's vector with an item's, over all parts of a blend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models.base import Factored, Model
from recae.models.blend import Blend, Part, part_factors, summands
from recae.models.popularity import Popularity


@dataclass(frozen=True, eq=False)
class Products:
    """The factored parts of a model: their scores are user_vectors · item_vectorsᵀ + bias.

    The vectors of a blend's parts stand side by side, a user's weighted as the parts are at the length of the history.
    Constants of its items are then weighted by that length, too: they stand as further numbers, and there is no bias.

    Attributes:
        model: whose scores.
        factored: its parts whose scores are products.
        constant: its parts that score everybody alike.
        left_out: kinds of the other parts, each once.
    """

    model: Model
    factored: tuple[tuple[Part, Factored], ...]
    constant: tuple[tuple[Part, Popularity], ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, model: Model) -> Products | None:
        """Return the products of a model; None where no part of it is one."""
        parts = summands(model)
        factored = tuple((part, part.model) for part in parts if isinstance(part.model, Factored))
        constant = tuple((part, part.model) for part in parts if isinstance(part.model, Popularity))
        others = [part.model.kind for part in parts if not isinstance(part.model, Factored | Popularity)]
        return cls(model, factored, constant, tuple(dict.fromkeys(others))) if factored else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the parts that are in, each once."""
        return tuple(dict.fromkeys(part.model.kind for part, _ in (*self.factored, *self.constant)))

    @property
    def whole(self) -> bool:
        """Whether the products are the model's scores, with nothing left out."""
        return not self.left_out

    @property
    def bias(self) -> NDArray[np.float32] | None:
        """What is added to each item's products, float32 (I,); None in a blend, and where there is nothing."""
        return None if isinstance(self.model, Blend) else self.factored[0][1].item_bias

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return sum(int(own.item_factors.shape[1]) for _, own in self.factored) + len(self._constants)

    @property
    def _constants(self) -> list[tuple[Part, NDArray[np.float32]]]:
        if not isinstance(self.model, Blend):
            return []
        biases = [(part, own.item_bias) for part, own in self.factored]
        return [(part, bias) for part, bias in biases if bias is not None] + [
            (part, own.counts) for part, own in self.constant
        ]

    def user_vectors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the vectors of histories, (B, I) → float32 (B, K)."""
        codes = [own.user_factors(histories) * part_factors(part, histories) for part, own in self.factored]
        scales = [part_factors(part, histories) for part, _ in self._constants]
        return np.asarray(np.hstack([*codes, *scales]), dtype=np.float32)

    def item_vectors(self, items: slice | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the vectors of some items, float32 (n, K)."""
        vectors = [own.item_factors[items] for _, own in self.factored]
        constants = [bias[items, None] for _, bias in self._constants]
        return np.asarray(np.hstack([*vectors, *constants]), dtype=np.float32)
