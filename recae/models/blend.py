"""A blend: the weighted sum of several models' scores, each brought to the same spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ModelFileError
from recae.inputs import check_inputs, inputs_of, owned_part
from recae.kinds import is_simple, model_class
from recae.models.base import (
    JSON,
    Encoder,
    Model,
    Sum,
    check_items,
    reads_values,
    take_number,
)
from recae.models.event_linear import EventLinear


@dataclass(frozen=True, eq=False)
class Part:
    """One model of a blend.

    Attributes:
        model: scores histories.
        weight: the factor of its scores, once they are brought to unit spread.
        spread: a > 0 and b: the standard deviation of its scores over the items is taken to be a·m^b for a history of m
            items. A formula of m, and not each row's own deviation, so that the score of one item can be found without
            those of all the others.
    """

    model: Model
    weight: float
    spread: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Blend:
    """score = Σ_p weight_p · score_p / (a_p m^b_p), m the length of the history, 1 at least.

    Attributes:
        parts: at least one, over the same items, none of them a blend.
        settings: how it was put together, for the record; by dotted names, such as `ease.l2`, what was given for parts
            that were left out.
    """

    parts: tuple[Part, ...]
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "blend"
    trained: ClassVar[bool] = True

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return self.parts[0].model.n_items

    @property
    def uses_values(self) -> bool:
        """Whether a part reads the values of a history."""
        return any(reads_values(part.model) for part in self.parts)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Events that a part reads beside the purchases, in the order of their blocks; all such parts read the same."""
        return next((found for part in self.parts if (found := inputs_of(part.model))), ())

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the weighted sum: (B, I) CSR → (B, I) float32; higher is better, nothing masked."""
        check_inputs(histories, self.n_items, self.inputs)
        owned = owned_part(histories, self.n_items)
        scores: NDArray[np.float32] | None = None
        for part in summands(
            self
        ):  # the parts that tiles of items are scored by, so that both come to the same bits
            found = part.model.score(histories if inputs_of(part.model) else owned)
            found *= part_factors(part, owned)
            scores = found if scores is None else np.add(scores, found, out=scores)
        return cast(NDArray[np.float32], scores)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the weighted sum for some items: (B, I) CSR, (n,) → (B, n) float32."""
        check_inputs(histories, self.n_items, self.inputs)
        items = check_items(items, self.n_items)
        owned = owned_part(histories, self.n_items)
        scores = np.zeros((histories.shape[0], items.size), dtype=np.float32)
        for part in summands(self):
            read = histories if inputs_of(part.model) else owned
            scores += part.model.score_items(read, items) * part_factors(part, owned)
        return scores

    def config(self) -> dict[str, JSON]:
        """Return how it was put together; under "parts" the kind, configuration, weight and spread of each model."""
        parts: list[JSON] = [
            {
                "kind": part.model.kind,
                "config": part.model.config(),
                "weight": part.weight,
                "spread": list(part.spread),
            }
            for part in self.parts
        ]
        return {**self.settings, "parts": parts}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters of the parts, each name after the part's number: `0.encoder`."""
        return {
            f"{number}.{name}": array
            for number, part in enumerate(self.parts)
            for name, array in part.model.arrays().items()
        }

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the blend of these parts.

        Raises:
            ModelFileError: a part is missing or cannot be read.
        """
        described = config.get("parts")
        if not isinstance(described, list) or not described:
            raise ModelFileError("the model file's blend lists no parts; train the model again")
        parts = []
        for number, part in enumerate(described):
            kind = part.get("kind") if isinstance(part, dict) else None
            if not isinstance(part, dict) or not isinstance(kind, str) or not is_simple(kind):
                raise ModelFileError(
                    f"part {number} of the model file's blend is of no known kind; train the model again"
                )
            own = {
                name.removeprefix(f"{number}."): array
                for name, array in arrays.items()
                if name.startswith(f"{number}.")
            }
            spread, of_part = part.get("spread"), part.get("config")
            if not isinstance(of_part, dict) or not isinstance(spread, list) or len(spread) != 2:
                raise ModelFileError(
                    f"part {number} of the model file's blend lacks its configuration or spread; "
                    "train the model again"
                )
            model: Model = model_class(kind).from_arrays(of_part, own, n_items)
            limits = {"weight": (0.0, 1e6), "0": (1e-30, 1e30), "1": (-10.0, 10.0)}
            given = {"weight": part.get("weight"), "0": spread[0], "1": spread[1]}
            weight, a, b = (take_number(given, name, *limits[name]) for name in limits)
            parts.append(Part(model, weight, (a, b)))
        if len({found for part in parts if (found := inputs_of(part.model))}) > 1:
            raise ModelFileError(
                "the parts of the model file's blend read different events beside the purchases; train the model again"
            )
        return cls(tuple(parts), {name: value for name, value in config.items() if name != "parts"})


def narrowed(model: Model) -> Model:
    """Return a model whose histories have no further events than it, or a part of it, has a use for."""
    if isinstance(model, Blend):
        parts = tuple(Part(narrowed(part.model), part.weight, part.spread) for part in model.parts)
        return Blend(parts, model.settings)
    return model.narrowed() if isinstance(model, EventLinear) else model


def find_encoder(model: Model) -> Encoder | None:
    """Return the model as one with codes; of a blend, its first part that has them; None where nothing has."""
    if isinstance(model, Blend):
        return next((part.model for part in model.parts if isinstance(part.model, Encoder)), None)
    return model if isinstance(model, Encoder) else None


def learned_part(model: Model) -> Model | None:
    """Return what the epochs of a training are of: the model, or a blend's first trained part, or None without one."""
    if not isinstance(model, Blend):
        return model
    return next((part.model for part in model.parts if part.model.trained), None)


def summands(model: Model) -> tuple[Part, ...]:
    """Return the parts of a blend; any other model as the only one, which `part_factors` leaves as it is.

    A model that is itself the sum of others stands there as these, each with its weight and spread.
    """
    parts = model.parts if isinstance(model, Blend) else (Part(model, 1.0, (1.0, 0.0)),)
    return tuple(
        Part(own, part.weight, part.spread)
        for part in parts
        for own in (part.model.summands if isinstance(part.model, Sum) else (part.model,))
    )


def part_factors(part: Part, histories: sp.csr_matrix) -> NDArray[np.float32]:
    """Return what the scores of a part are multiplied by, (B, 1), by the lengths of histories without events."""
    a, b = part.spread
    lengths = np.maximum(np.diff(histories.indptr), 1).astype(np.float64)
    return np.asarray(part.weight / (a * lengths**b), dtype=np.float32)[:, None]
