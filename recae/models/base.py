"""Protocols of models: parameters, one verb `score`, and conversion to and from plain arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError, ModelFileError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


class Model(Protocol):
    """A model scores histories, however it got its parameters.

    `kind` is its name in the registry and in the model file; `trained` says whether its parameters come from
    gradient steps over epochs (True) or from counting or a closed form (False). A kind that also reads the values
    stored in a history says so with a class attribute `uses_values = True`, which `reads_values` asks for. One that
    reads other events beside the purchases names them in `inputs`, see `recae.inputs`; its histories may have a block
    of I further columns for each, and are of I columns where nothing but purchases is known.
    """

    kind: ClassVar[str]
    trained: ClassVar[bool]

    @property
    def n_items(self) -> int:
        """Number of items I that the model knows."""
        ...

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the scores of all items for each history; higher is better, nothing is masked.

        Args:
            histories: csr_matrix (B, I); the items stored in row b are the history of user b, whatever their value
                (but see `reads_values`). Rows may be empty. Not modified.

        Returns:
            float32 (B, I), the caller's own, free to change. A row's scores do not depend on the other rows.

        Raises:
            DataError: the histories' column count is not `n_items`.
        """
        ...

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the columns `items` of `score`, to rounding, without making the others.

        Args:
            histories: csr_matrix (B, I), as for `score`.
            items: int64 (n,), item numbers in any order; repeats allowed.

        Returns:
            float32 (B, n), the caller's own.

        Raises:
            DataError: the histories' column count is not `n_items`, or an item is outside 0 .. I − 1.
        """
        ...

    def config(self) -> dict[str, JSON]:
        """Return the resolved configuration, as JSON values."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name, C-contiguous."""
        ...

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model that `config()` and `arrays()` came from; its scores have the same bits.

        Raises:
            ModelFileError: a configuration value or array is missing or does not fit the others.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """A model that passes a history through a code of d numbers; ask ``isinstance(model, Encoder)``."""

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the codes of histories, csr_matrix (B, I) → float32 (B, d); DataError on another number of items."""
        ...

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """What each item's score weighs the code by, float32 (I, d); not to be changed."""
        ...


@runtime_checkable
class Factored(Protocol):
    """A model whose score is user_factors · item_factorsᵀ + item_bias; ask ``isinstance(model, Factored)``.

    Unlike an `Encoder`'s code, what enters the product may be the last of several layers after the code.
    """

    def user_factors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the factors of histories, csr_matrix (B, I) → float32 (B, D); DataError on another number of items."""
        ...

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """The factors of items, float32 (I, D); not to be changed."""
        ...

    @property
    def item_bias(self) -> NDArray[np.float32] | None:
        """The bias of items, float32 (I,), or None where there is none; not to be changed."""
        ...


@runtime_checkable
class Additive(Protocol):
    """A model whose score is histories · item_weights + item_bias; ask ``isinstance(model, Additive)``.

    The histories enter with their values if `reads_values` says so, and as a pattern of ones otherwise.
    """

    @property
    def item_weights(self) -> sp.csr_matrix:
        """float32 csr_matrix (I, I): row i holds what owning item i adds to the scores; not to be changed."""
        ...

    @property
    def item_bias(self) -> NDArray[np.float32] | None:
        """The bias of items, float32 (I,), or None where there is none; not to be changed."""
        ...


@runtime_checkable
class Attributed(Protocol):
    """A model that says what each item of a history adds to a score; ask ``isinstance(model, Attributed)``.

    Models that are `Additive` need not: what their items add stands in their weights.
    """

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what each item of a history adds to the scores of some items.

        Args:
            history: csr_matrix (1, I) with m entries, each item once.
            items: int64 (n,), items whose scores are taken apart.

        Returns:
            float64 (m, n), rows in the order of the history's entries. A column sums to the item's score for the
            history minus that for an empty history, to rounding.
        """
        ...


@runtime_checkable
class Sum(Protocol):
    """A model whose score is the sum of other models' scores; ask ``isinstance(model, Sum)``."""

    @property
    def summands(self) -> tuple[Model, ...]:
        """The models that are added up, over the same items, none of them a sum."""
        ...


def decay_of(config: Mapping[str, JSON]) -> float | None:
    """Return the weight of a purchase one basket later in a model's histories; None where it has no decay.

    Args:
        config: of the model, or of a blend.
    """
    decay = config.get("decay")
    if isinstance(decay, int | float):
        return float(decay)
    parts = config.get("parts")
    configs = [part["config"] for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return next((found for own in configs if isinstance(own, dict) and (found := decay_of(own))), None)


def reads_values(model: object) -> bool:
    """Return whether scores depend on the values stored in a history, such as how often each item was bought.

    For all other models the pattern alone counts, and a history's values need not be stored.
    """
    return bool(getattr(model, "uses_values", False))


def check_histories(histories: sp.csr_matrix, n_items: int) -> None:
    """Check that the histories have `n_items` columns.

    Raises:
        DataError: they do not.
    """
    if histories.shape[1] != n_items:
        raise DataError(
            f"the model scores histories over {n_items} items, but these have {histories.shape[1]} columns; "
            "number the items as the model does"
        )


def check_items(items: NDArray[np.integer[Any]], n_items: int) -> NDArray[np.int64]:
    """Return the items as int64 (n,).

    Raises:
        DataError: they are no whole numbers of one dimension in 0 .. n_items − 1.
    """
    array = np.asarray(items)
    if array.size == 0 and array.ndim == 1:  # NumPy makes an empty list float64
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"items to score must be a list of whole numbers, but are {array.dtype} of shape {array.shape}; "
            "give item rows"
        )
    wrong = array[(array < 0) | (array >= n_items)]
    if wrong.size:
        raise DataError(
            f"the model scores items 0 .. {n_items - 1}, but {wrong[0]} was asked for; "
            "number the items as the model does"
        )
    return array.astype(np.int64, copy=False)


def take_array(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Return the array `name`, C-contiguous, checked against its dtype and shape (None: any length), and finite.

    Raises:
        ModelFileError: it is missing or differs.
    """
    if name not in arrays:
        raise ModelFileError(f"the model file has no array '{name}'; it is incomplete, train the model again")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ModelFileError(
            f"the model file's array '{name}' should be {np.dtype(dtype)} of shape ({wanted}), "
            f"but is {array.dtype} of shape {array.shape}; train the model again"
        )
    if np.issubdtype(array.dtype, np.floating) and not _finite(array):
        raise ModelFileError(
            f"the model file's array '{name}' holds values that are not finite; train the model again"
        )
    return np.ascontiguousarray(array)


def _finite(array: NDArray[Any]) -> bool:
    flat, step = array.reshape(-1), 2**20  # in pieces: the mask of a large array would be a quarter of it
    return all(bool(np.isfinite(flat[i : i + step]).all()) for i in range(0, flat.size, step))


def take_int(config: Mapping[str, JSON], name: str, at_least: int) -> int:
    """Return the whole number `name` of a configuration.

    Raises:
        ModelFileError: it is missing, no whole number, or less than `at_least`.
    """
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ModelFileError(
            f"the model file's configuration should give '{name}' as a whole number of at least {at_least}, "
            f"but gives {value!r}; train the model again"
        )
    return value


def take_number(config: Mapping[str, JSON], name: str, low: float, high: float) -> float:
    """Return the number `name` of a configuration.

    Raises:
        ModelFileError: it is missing, no number, or outside low .. high.
    """
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ModelFileError(
            f"the model file's configuration should give '{name}' as a number from {low:g} to {high:g}, "
            f"but gives {value!r}; train the model again"
        )
    return float(value)


def take_bool(config: Mapping[str, JSON], name: str, default: bool | None = None) -> bool:
    """Return the truth value `name` of a configuration, or `default` where it is missing and there is one.

    Raises:
        ModelFileError: it is missing without a default, or neither true nor false.
    """
    value = config.get(name, default)
    if not isinstance(value, bool):
        raise ModelFileError(
            f"the model file's configuration should give '{name}' as true or false, but gives {value!r}; "
            "train the model again"
        )
    return value


def take_name(config: Mapping[str, JSON], name: str, known: Sequence[str]) -> str:
    """Return the text `name` of a configuration, one of the `known` ones.

    Raises:
        ModelFileError: it is missing or none of these.
    """
    value = config.get(name)
    if not isinstance(value, str) or value not in known:
        raise ModelFileError(
            f"the model file's configuration should give '{name}' as one of {', '.join(known)}, but gives "
            f"{value!r}; train the model again"
        )
    return value


def item_weights_arrays(weights: sp.csr_matrix) -> dict[str, NDArray[Any]]:
    """Return the arrays of a csr_matrix (I, I): `data` float32 (n,), `indices` int32 (n,), `indptr` int64 (I + 1,)."""
    return {
        "data": weights.data,
        "indices": weights.indices.astype(np.int32, copy=False),
        "indptr": weights.indptr.astype(np.int64, copy=False),
    }


def take_item_weights(arrays: Mapping[str, NDArray[Any]], n_items: int, what: str) -> sp.csr_matrix:
    """Return the csr_matrix (I, I) that `item_weights_arrays` gave.

    Args:
        arrays: of the model file.
        n_items: I.
        what: what its rows hold, for messages.

    Raises:
        ModelFileError: an array is missing or does not fit the others.
    """
    data = take_array(arrays, "data", np.float32, (None,))
    indices = take_array(arrays, "indices", np.int32, (data.size,))
    indptr = take_array(arrays, "indptr", np.int64, (n_items + 1,))
    if indptr[0] != 0 or indptr[-1] != data.size or (indptr[1:] < indptr[:-1]).any():
        raise ModelFileError(
            f"the model file's array 'indptr' does not part the {what} by item; train the model again"
        )
    if data.size and (indices.min() < 0 or indices.max() >= n_items):
        raise ModelFileError(
            f"the model file's array 'indices' holds items outside 0 .. {n_items - 1}; train the model again"
        )
    return sp.csr_matrix((data, indices, indptr), shape=(n_items, n_items))
