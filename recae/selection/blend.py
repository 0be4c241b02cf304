"""Fit of a blend: its parts one after the other, then their weights on validation users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import model_validator

from recae.confidence import places_of
from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.kinds import MAIN, find, is_simple, model_class, parts_of, simple_kinds
from recae.models import Model
from recae.models.base import JSON
from recae.models.blend import Blend, Part
from recae.ranking import rows_per_block, top_k
from recae.settings import LARGEST_SEED, PARTS, Settings, find_setting, setting
from recae.splits.parts import fold_in_split
from recae.training.callbacks import Hooks
from recae.training.checkpoint import BEST_EPOCHS, Epoch, best_epoch

CANDIDATES = 200
"""Number of best items of each part among which the weights are chosen.

They hold the first 20 places of a blend in practically all cases, and users × items is never held."""

CHOSEN_AT = 20
"""Length of the lists by whose NDCG the weights are chosen."""

STEPS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 4.0)
"""Factors that are tried on the weight of one part while those of the others stay."""

GRID = 4
"""Steps of the coarse grid from 0 to 1."""


def fit_spread(model: Model, histories: sp.csr_matrix) -> tuple[float, float]:
    """Return a and b of a·m^b, the standard deviation of a model's scores for a history of m items.

    They are fitted by least squares of the logarithms over the histories (B, I); (1, 0) where all scores are alike.
    """
    lengths = np.diff(histories.indptr)
    deviations = np.zeros(len(lengths))
    step = rows_per_block(model.n_items)
    for start in range(0, len(lengths), step):
        scores = model.score(sp.csr_matrix(histories[start : start + step]))
        deviations[start : start + step] = scores.std(axis=1, dtype=np.float64)
    usable = (deviations > 0) & (lengths > 0)
    if not usable.any():
        return 1.0, 0.0
    x, y = np.log(lengths[usable]), np.log(deviations[usable])
    if np.ptp(x) == 0:
        return float(np.exp(y.mean())), 0.0
    b, log_a = np.polyfit(x, y, 1)
    return float(np.exp(log_a)), float(np.clip(b, -10, 10))


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scores of P models for each user's best items, and which of these are held out.

    Attributes:
        scores: (P, B, C) float32; −inf in all models for an item that is no candidate.
        hits: (B, C) bool.
        ideal: the DCG of a perfect list, (B,).
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    ideal: NDArray[np.float64]

    @classmethod
    def of(
        cls, models: list[Blend], pair: tuple[sp.csr_matrix, sp.csr_matrix], *, exclude_owned: bool = True
    ) -> Candidates:
        """Return the union of each model's best `CANDIDATES` items, for the users (B, I) with held-out items."""
        users = np.flatnonzero(np.diff(pair[1].indptr))
        n_items, P = pair[0].shape[1], len(models)
        length = min(CANDIDATES, n_items)
        scores = np.full((P, len(users), P * length), -np.inf, dtype=np.float32)
        hits = np.zeros((len(users), P * length), dtype=np.bool_)
        step = rows_per_block(n_items * (P + 1))
        for start in range(0, len(users), step):
            rows = users[start : start + step]
            history, held = sp.csr_matrix(pair[0][rows]), sp.csr_matrix(pair[1][rows])
            of_models = [model.score(history) for model in models]
            ranked = np.hstack(
                [top_k(s, length, exclude=history if exclude_owned else None)[0] for s in of_models]
            )
            ranked = np.sort(ranked, axis=1)
            valid = ranked >= 0
            valid[:, 1:] &= ranked[:, 1:] != ranked[:, :-1]
            wanted = np.zeros(of_models[0].shape, dtype=np.bool_)
            wanted[np.repeat(np.arange(len(rows)), np.diff(held.indptr)), held.indices] = True
            places = np.where(valid, ranked, 0)
            block = slice(start, start + len(rows))
            hits[block] = np.take_along_axis(wanted, places, axis=1) & valid
            for p, of_model in enumerate(of_models):
                scores[p, block] = np.where(valid, np.take_along_axis(of_model, places, axis=1), -np.inf)
        gains = 1 / np.log2(np.arange(2, CHOSEN_AT + 2))
        n_held = np.minimum(np.diff(pair[1].indptr)[users], CHOSEN_AT)
        return cls(scores, hits, np.cumsum(gains)[n_held - 1])

    def ndcg(self, weights: NDArray[np.float64]) -> float:
        """Return the mean NDCG@20 of the sum of the models' scores with weights (P,)."""
        used = np.flatnonzero(weights)
        total = np.float32(weights[used[0]]) * self.scores[used[0]]
        for p in used[1:]:
            total = total + np.float32(weights[p]) * self.scores[p]
        n = min(CHOSEN_AT, total.shape[1])
        best = (
            np.argpartition(-total, n - 1, axis=1)[:, :n]
            if n < total.shape[1]
            else np.argsort(-total, axis=1)
        )
        order = np.argsort(-np.take_along_axis(total, best, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, axis=1), axis=1)
        gains = 1 / np.log2(np.arange(2, n + 2))
        return float(np.mean(hits @ gains / self.ideal))

    def search(self) -> NDArray[np.float64]:
        """Return weights (P,) that add up to 1: one is changed at a time, from the best three of a coarse grid."""
        P = len(self.scores)
        grid = [np.array(w) / GRID for w in product(range(GRID + 1), repeat=P) if sum(w) == GRID]
        starts = sorted(grid, key=self.ndcg, reverse=True)[:3]
        found = [self._improve(start) for start in starts]
        return np.round(max(found, key=lambda pair: pair[0])[1], 4)

    def _improve(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        best = self.ndcg(weights)
        for _ in range(4):
            before = best
            for p in range(len(weights)):
                base = weights[p] or 0.1
                for step in STEPS:
                    tried = weights.copy()
                    tried[p] = base * step
                    if not tried.any():
                        continue
                    tried /= tried.sum()
                    reached = self.ndcg(tried)
                    if reached > best + 1e-6:
                        best, weights = reached, tried
            if best - before < 1e-5:
                break
        return best, weights


MAIN_PART = MAIN
"""The part that settings of no named part are of, such as factors."""

LEAST = 0.05
"""Least weight of the main part before normalisation: embeddings, maps and similar items use its codes."""

USERS_AT_MOST = 10_000
"""Number of users of whom a blend without validation users holds something out itself."""


class BlendSettings(Settings):
    """Settings of a blend; None: chosen from the data."""

    components: str | None = setting(None, 'kinds of its parts, joined by commas, such as "sigmoid,ease"')
    parts: Mapping[str, Any] = setting(
        {},
        'settings of the parts, by dotted names: "sigmoid.factors" → 256; a name without a dot that a blend itself '
        'does not have, such as "factors", is a setting of its sigmoid part',
        wanted=PARTS,
    )
    seed: int = setting(0, "of everything random, the parts' included", ge=0, le=LARGEST_SEED)

    main_part: ClassVar[str] = MAIN_PART

    @model_validator(mode="after")
    def _parts_suit(self) -> Self:
        for name in self.parts:
            kind, _, key = name.partition(".")
            _check_kind(kind)
            find_setting(kind, find(kind).settings_class(), key)
        if self.components is None:
            self.configs(choose_components(repeats=True))  # the most there may be
        else:
            self.configs(split_components(self.components))
        return self

    def configs(self, kinds: tuple[str, ...]) -> dict[str, Any]:
        """Return the settings of each part.

        Raises:
            ConfigError: there are settings of a part that does not exist.
        """
        for name in self.parts:
            if name.partition(".")[0] not in kinds:
                raise ConfigError(
                    f"the blend is of {', '.join(kinds)}, so that '{name}' sets nothing: leave it out, or name that "
                    "kind in components"
                )
        chosen = {}
        for kind in kinds:
            prefix = f"{kind}."
            own = {n.removeprefix(prefix): v for n, v in self.parts.items() if n.startswith(prefix)}
            chosen[kind] = find(kind).settings_class()(**({"seed": self.seed} | own))
        return chosen


def split_components(text: str) -> tuple[str, ...]:
    """Return the kinds named in a text such as "sigmoid,ease".

    Raises:
        ConfigError: they are not two or more different fitted kinds.
    """
    kinds = tuple(part.strip() for part in text.split(",") if part.strip())
    for kind in kinds:
        _check_kind(kind)
    if len(kinds) < 2 or len(set(kinds)) < len(kinds):
        raise ConfigError(
            f"components of a blend are two or more different kinds joined by commas, found {text!r}: "
            "give such as sigmoid,ease"
        )
    return kinds


def _check_kind(kind: str) -> None:
    if not is_simple(kind):
        raise ConfigError(
            f"a blend is made of {', '.join(simple_kinds())}, found {kind!r}: choose among these"
        )


def choose_components(repeats: bool) -> tuple[str, ...]:
    """Return the default parts of a blend; those that rank what a user owns only with repeat purchases."""
    return parts_of(Blend.kind, None, repeats)


Fit = Callable[
    [str, Mapping[str, Any], sp.csr_matrix, tuple[sp.csr_matrix, sp.csr_matrix] | None, Hooks],
    tuple[Model, list[Epoch]],
]
"""Fits a kind with settings to purchases (U, I), with validation users; the model and its epochs."""


def fit_blend(
    matrix: sp.csr_matrix,
    config: BlendSettings,
    validation: tuple[sp.csr_matrix, sp.csr_matrix] | None,
    hooks: Hooks,
    *,
    exclude_owned: bool = True,
    fit: Fit,
) -> tuple[Model, list[Epoch], dict[str, Any]]:
    """Fit the parts on `matrix` ((U, I) CSR) and choose their weights by NDCG@20 on the validation users.

    Without validation users a fifth of the purchases of up to 10,000 users is held out of the matrix to choose the
    weights on, and the parts are then fitted once more, to the whole; where nothing can be held out, all weights are
    equal. Parts whose weight is 0 are left out.

    Returns:
        The blend, the epochs of its first trained part, and what each part reached alone.

    Raises:
        ConfigError: checkpoints are asked for and more than one part is trained in epochs.
    """
    kinds = choose_components(not exclude_owned)
    if config.components is not None:
        kinds = split_components(config.components)
    configs = config.configs(kinds)
    trained = [kind for kind in kinds if model_class(kind).trained]
    if hooks.checkpoints is not None and len(trained) != 1:
        raise ConfigError(
            f"a checkpoint holds one training, and {len(trained)} parts of this blend are trained in epochs "
            f"({', '.join(trained) or 'none'}): train it without checkpoints"
        )
    asked = ",".join(
        kinds
    )  # those that come to weigh nothing, too: the same settings then give the same blend
    whole, learn = matrix, matrix
    to_choose = hooks
    if validation is None:
        parted = _hold_some_out(matrix, config.seed)
        if parted is None:
            return _equally_weighted(matrix, kinds, configs, config.seed, hooks, fit)
        learn, validation = parted
        # what is fitted only to choose the weights writes no checkpoint: it is not what a training goes on from
        of_learn = _confidence_of(learn, matrix, hooks)
        to_choose = replace(hooks, checkpoints=None, solved=None, neighbours=None, confidence=of_learn)
    pair = validation

    def quality(model: Model) -> float:
        return evaluate(model, *pair, (20,), exclude_owned=exclude_owned).mean("recall@20")

    if learn is whole:
        models, epochs = fit_parts(whole, configs, hooks, quality, fit)
    else:
        models, epochs = fit_parts(learn, configs, to_choose, None, fit)
    hooks.on_message(f"choosing the weights of {' ⊕ '.join(kinds)} on {pair[0].shape[0]:,} validation users")
    spreads = [fit_spread(model, pair[0]) for model in models]
    unit = [Blend((Part(model, 1.0, s),), {}) for model, s in zip(models, spreads, strict=True)]
    candidates = Candidates.of(unit, pair, exclude_owned=exclude_owned)
    weights = candidates.search()
    if MAIN_PART in kinds and not weights[kinds.index(MAIN_PART)]:
        weights[kinds.index(MAIN_PART)] = LEAST
        weights /= weights.sum()
    alone = {kind: candidates.ndcg(np.eye(len(kinds))[n]) for n, kind in enumerate(kinds)}
    together = candidates.ndcg(weights)
    if learn is not whole:
        chosen = {kind: configs[kind] for kind, weight in zip(kinds, weights, strict=True) if weight}
        hooks.on_message("fitting the parts once more, to all purchases")
        models, epochs = fit_parts(whole, chosen, hooks, None, fit)
        weights, kinds = weights[weights > 0], tuple(chosen)
        spreads = [fit_spread(model, pair[0]) for model in models]
    report: dict[str, Any] = {
        "validation_ndcg@20": {**alone, "blend": together},
        "weights": dict(zip(kinds, weights.tolist(), strict=True)),
    }
    hooks.on_message(_in_words(report))
    settings: dict[str, JSON] = {"components": asked, "seed": config.seed}
    parts = tuple(Part(m, float(w), s) for m, w, s in zip(models, weights, spreads, strict=True) if w > 0)
    best = {kind: best_epoch(of_part) for kind, of_part in epochs.items()}
    found = {"blend": report, **({BEST_EPOCHS: best} if best else {})}
    return Blend(parts, settings), next(iter(epochs.values()), []), found


def _equally_weighted(
    matrix: sp.csr_matrix,
    kinds: tuple[str, ...],
    configs: Mapping[str, Any],
    seed: int,
    hooks: Hooks,
    fit: Fit,
) -> tuple[Model, list[Epoch], dict[str, Any]]:
    """Return the blend with equal weights, for data where nobody has two items to choose the weights by."""
    hooks.on_message("no user has two items to choose weights by: the parts of the blend weigh the same")
    models, epochs = fit_parts(matrix, configs, hooks, None, fit)
    weight = 1 / len(kinds)
    parts = tuple(Part(model, weight, fit_spread(model, matrix)) for model in models)
    report = {"validation_ndcg@20": {}, "weights": dict.fromkeys(kinds, weight)}
    settings: dict[str, JSON] = {"components": ",".join(kinds), "seed": seed}
    return Blend(parts, settings), next(iter(epochs.values()), []), {"blend": report}


def fit_parts(
    matrix: sp.csr_matrix,
    configs: Mapping[str, Any],
    hooks: Hooks,
    validate: Callable[[Model], float] | None,
    fit: Fit,
    last: Mapping[str, int] | None = None,
) -> tuple[list[Model], dict[str, list[Epoch]]]:
    """Fit each part to the matrix; return the models, and the epochs of those that are trained in epochs.

    Confidence counts for all parts but those with a decay of their own.

    Args:
        matrix: (U, I) purchases.
        configs: kind → settings.
        hooks: of the fits.
        validate: quality of a model, for what is chosen by it; None: nothing is.
        fit: fits a kind.
        last: kind → epoch after which its training ends; None: all run to their ends.
    """
    models: list[Model] = []
    epochs: dict[str, list[Epoch]] = {}
    for kind, config in configs.items():
        if hooks.solved is not None and (kind, config) in hooks.solved:
            models.append(hooks.solved[kind, config])
            continue
        hooks.on_message(f"fitting {kind}")
        confidence = None if find(kind).decay else hooks.confidence
        of_kind = replace(hooks, validate=validate, confidence=confidence, last_epoch=(last or {}).get(kind))
        model, of_part = fit(kind, config.as_dict(), matrix, None, of_kind)
        if hooks.solved is not None and not model.trained:
            hooks.solved[kind, config] = model
        models.append(model)
        if of_part:
            epochs[kind] = of_part
    return models, epochs


def _hold_some_out(
    matrix: sp.csr_matrix, seed: int
) -> tuple[sp.csr_matrix, tuple[sp.csr_matrix, sp.csr_matrix]] | None:
    """Return the matrix without a fifth of the purchases of some users, and these users' histories and held-out items.

    None where no user has two items.
    """
    rng = np.random.default_rng([seed, USERS_AT_MOST])
    chosen = np.sort(rng.permutation(matrix.shape[0])[:USERS_AT_MOST])
    history, held = fold_in_split(sp.csr_matrix(matrix[chosen]), 0.2, rng=rng)
    if not held.nnz:
        return None
    removed = sp.csr_matrix(sp.csr_matrix((np.ones(len(chosen)), (chosen, np.arange(len(chosen)))),
                                          shape=(matrix.shape[0], len(chosen))) @ held)  # fmt: skip
    learn = sp.csr_matrix(matrix - matrix.multiply(removed > 0))
    learn.eliminate_zeros()
    learn.sort_indices()
    return learn, (history, held)


def _confidence_of(learn: sp.csr_matrix, matrix: sp.csr_matrix, hooks: Hooks) -> NDArray[np.float32] | None:
    """Return the confidence in the purchases of a part of the matrix, with the same rows and columns."""
    if hooks.confidence is None:
        return None
    users = np.repeat(np.arange(learn.shape[0], dtype=np.int64), np.diff(learn.indptr))
    return hooks.confidence[places_of(matrix, users, learn.indices)]


def _in_words(report: Mapping[str, Any]) -> str:
    reached = report["validation_ndcg@20"]
    alone = ", ".join(f"{kind} {value:.4f}" for kind, value in reached.items() if kind != "blend")
    weights = ", ".join(f"{weight:.2f} {kind}" for kind, weight in report["weights"].items())
    return f"validation NDCG@20: {alone}; blended {reached['blend']:.4f} with {weights}"
