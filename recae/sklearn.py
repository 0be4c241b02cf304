"""`Autoencoder`: the autoencoders of recae as a scikit-learn estimator, for pipelines, grids and cross-validation.

Rows are users, columns are items, and each entry but 0 is a purchase. For ids, held-out measurements and files, use
`recae.train` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.models import Encoder, Model, find_encoder
from recae.ranking import PADDING, rank_histories
from recae.selection.fit import fit_kind
from recae.sparse import pattern

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import Tags
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ConfigError(
        "recae.sklearn needs scikit-learn 1.6 or newer, which is not installed: pip install 'recae[sklearn]'"
    ) from error


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """An autoencoder that learns codes of users from what they bought, and recommends items by them.

    Args:
        kind: of model: "sigmoid", "deep", "multvae", "recvae" or "aae", or a blend in which one of these counts.
        factors: size of the code; None: chosen from the data, or set by ``settings`` where a kind has layers instead.
        epochs: passes over the users; None: as many as the kind takes by itself.
        settings: further settings of the kind by name, such as {"dropout": 0.3}; `recae settings KIND` lists them.
        random_state: seed, a whole number from 0; the same seed gives the same codes.

    Attributes:
        model_: the fitted model.
        n_features_in_: number of items, I.
        feature_names_in_: names of the items, where a data frame was given with text for names.
    """

    def __init__(
        self,
        kind: str = "sigmoid",
        *,
        factors: int | None = None,
        epochs: int | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: int = 0,
    ) -> None:
        """Store the parameters as they are, as scikit-learn wants it; `fit` checks them."""
        self.kind = kind
        self.factors = factors
        self.epochs = epochs
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> Self:  # scikit-learn passes it
        """Fit the model to users × items.

        Args:
            X: (U, I), sparse or dense, of numbers from 0; each but 0 is a purchase.
            y: not used.

        Raises:
            ConfigError: the kind has no codes, or a setting is unknown or out of range.
            TrainingError: fitting fails.
            ValueError: X is no such matrix.
        """
        histories = self._histories(X, reset=True)
        values = dict(self.settings or {})
        values |= {
            name: getattr(self, name) for name in ("factors", "epochs") if getattr(self, name) is not None
        }
        seed = self.random_state
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise ConfigError(f"random_state is a whole number from 0, found {seed!r:.80}: give one")
        model, _ = fit_kind(self.kind, {**values, "seed": int(seed)}, histories)
        if find_encoder(model) is None:
            raise ConfigError(
                f"a model of kind '{self.kind}' has no codes: choose an autoencoder, such as sigmoid, or use "
                "recae.train"
            )
        self.model_: Model = model
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the codes of users, seen in training or not.

        Args:
            X: (B, I), as for `fit`.

        Returns:
            (B, d) float32.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: X is no such matrix, or of another number of items.
        """
        check_is_fitted(self)
        return self._encoder.encode(self._histories(X))

    def recommend(
        self, X: Any, n: int = 10, *, exclude_owned: bool = True, return_scores: bool = False
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the best items of each user, best first.

        Args:
            X: (B, I), as for `fit`.
            n: how many.
            exclude_owned: leave out the items in X.
            return_scores: return the scores, too, (B, n) float32, -inf where a list ends early.

        Returns:
            column numbers (B, n), -1 where a list ends early; where items have names, these, and None.

        Raises:
            NotFittedError: `fit` was not called.
            ConfigError: ``n`` is less than 1.
            ValueError: X is no such matrix, or of another number of items.
        """
        check_is_fitted(self)
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise ConfigError(
                f"n is how many items are wanted, a whole number from 1 on, found {n!r:.80}: give one"
            )
        histories = self._histories(X)
        found = rank_histories(
            self.model_, histories, min(n, histories.shape[1]), exclude_owned=exclude_owned
        )
        items: NDArray[Any] = found.items
        names = getattr(self, "feature_names_in_", None)
        if names is not None:
            items = np.asarray(names, dtype=object)[found.items]
            items[found.items == PADDING] = None
        return (items, found.scores) if return_scores else items

    @property
    def _encoder(self) -> Encoder:
        encoder = find_encoder(self.model_)
        if encoder is None:
            raise AssertionError  # `fit` refuses it
        return encoder

    @property
    def _n_features_out(self) -> int:
        return int(self._encoder.item_vectors.shape[1])

    def __sklearn_tags__(self) -> Tags:
        """Say that sparse matrices are taken, and nothing below 0."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float32"]  # codes are computed in it, whatever comes in
        return tags

    def _histories(self, X: Any, *, reset: bool = False) -> sp.csr_matrix:
        """Return X as a pattern, (B, I), checked as scikit-learn checks it."""
        checked = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_min_samples=2 if reset else 1,
            ensure_min_features=2 if reset else 1,
            ensure_non_negative=True,
        )
        matrix = sp.csr_matrix(checked, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return pattern(matrix)
