"""Fit of a blend: its parts, those without epochs beside the others, then their weights on validation users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import model_validator

from recae.confidence import places_of
from recae.errors import ConfigError, TrainingError
from recae.evaluation import evaluate
from recae.kinds import MAIN, exact_solve, find, is_simple, model_class, parts_of, simple_kinds
from recae.machine import processors
from recae.models import Model
from recae.models.base import JSON
from recae.models.blend import Blend, Part
from recae.selection.beside import Beside
from recae.selection.fit import ValidationUsers
from recae.selection.race import Race, Weighed
from recae.selection.trial import sentence
from recae.selection.weights import fit_spread
from recae.settings import LARGEST_SEED, PARTS, Settings, find_setting, setting
from recae.splits.parts import fold_in_split
from recae.text import human_seconds
from recae.training.callbacks import Hooks
from recae.training.checkpoint import BEST_EPOCHS, Epoch, best_epoch
from recae.training.device import memory_left

JUDGED_AT_MOST = 1_000
"""Validation users on whom epochs, neighbours and filters of the parts are chosen; the weights are on more of them."""

EXACT_BYTES_AT_MOST = 2**27
"""Bytes of an exact linear part where none are named: up to some 5,800 items."""

EXACT_SECONDS_AT_MOST = 10.0
"""Time that its solve may take."""

MAIN_PART = MAIN
"""The part that settings of no named part are of, such as factors."""

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
            self.configs(choose_components(repeats=True, inputs=True))  # the most there may be
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


def choose_components(repeats: bool, inputs: bool = False) -> tuple[str, ...]:
    """Return the default parts of a blend; those that need repeat purchases or other events only with these."""
    return parts_of(Blend.kind, None, repeats, inputs)


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

    A part that brings nothing is left out, so that a single one may remain; see `Candidates.choose`. Without
    validation users a fifth of the purchases of up to 10,000 users is held out of the matrix to
    choose the weights on, and the parts are then fitted once more, to the whole; where nothing can be held out, all
    weights are equal.

    The blend's settings say what was given for parts that are left out, by names such as `ease.l2`: without it the
    settings of a model would not train it again.

    Returns:
        The blend, the epochs of its first trained part, and what each part reached alone.

    Raises:
        ConfigError: checkpoints are asked for and more than one part is trained in epochs.
    """
    named = config.components is not None
    kinds = choose_components(not exclude_owned, hooks.inputs is not None and validation is not None)
    if config.components is not None:
        kinds = split_components(config.components)
    configs = config.configs(kinds)
    if not named and EXACT in kinds and not _exact_fits(matrix):
        kinds = tuple(kind for kind in kinds if kind != EXACT)
        if ignored := _given(config, [EXACT]):
            hooks.on_message(
                f"{EXACT} would take too long or too much memory here and is left out of the blend, so that "
                f"{', '.join(ignored)} sets nothing; name it in components to have it all the same"
            )
    if not named and EVENTS in kinds and (why := _events_do_not_fit(matrix, hooks)):
        kinds = tuple(kind for kind in kinds if kind != EVENTS)
        hooks.on_message(f"{EVENTS} is left out: {why}; name it in components to have it all the same")
    configs = {kind: configs[kind] for kind in kinds}
    trained = [kind for kind in kinds if model_class(kind).trained]
    if hooks.checkpoints is not None and len(trained) != 1:
        raise ConfigError(
            f"a checkpoint holds one training, and {len(trained)} parts of this blend are trained in epochs "
            f"({', '.join(trained) or 'none'}): train it without checkpoints"
        )
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
    judged = _some_of(pair, JUDGED_AT_MOST)

    def quality(model: Model) -> float:
        return evaluate(model, *judged, (20,), exclude_owned=exclude_owned).mean("recall@20")

    race = None
    if hooks.inputs is not None and learn is whole:
        of_events = ValidationUsers(_some_of(pair, USERS_FOR_EVENTS), exclude_owned)
        hooks = replace(hooks, judge=of_events)
    if learn is whole:
        users = judged[0].shape[0]
        race = Race.of(whole, configs, pair, hooks, exclude_owned=exclude_owned, judged=users)
        models, epochs = fit_parts(whole, configs, hooks, quality, fit, optional=not named, race=race)
    else:
        models, epochs = fit_parts(learn, configs, to_choose, None, fit, optional=not named)
    kinds = tuple(
        models
    )  # those that come to weigh nothing are recorded, too: the same settings give the same blend
    if race is not None and race.lost is not None:
        weighed = race.lost
    else:
        hooks.on_message(
            f"choosing the weights of {' ⊕ '.join(kinds)} on {pair[0].shape[0]:,} validation users"
        )
        weighed = Weighed.of(models, pair, exclude_owned=exclude_owned)
    alone = {kind: weighed.alone(kind) for kind in kinds}
    spreads = dict(zip(kinds, weighed.candidates.spreads, strict=True))
    weights = {kind: weight for kind, weight in weighed.weights.items() if weight}
    if learn is not whole:
        hooks.on_message("fitting the parts once more, to all purchases")
        models, epochs = fit_parts(whole, {kind: configs[kind] for kind in weights}, hooks, None, fit)
        spreads = {kind: fit_spread(models[kind], pair[0]) for kind in weights}
    report: dict[str, Any] = {
        "validation_ndcg@20": {**alone, "blend": weighed.together()},
        "weights": weights,
    }
    hooks.on_message(_in_words(report))
    left_out = [kind for kind in kinds if kind not in weights]
    settings: dict[str, JSON] = {
        "components": ",".join(kinds),
        "seed": config.seed,
        **_given(config, left_out),
    }
    parts = tuple(Part(models[kind], weight, spreads[kind]) for kind, weight in weights.items())
    best = {kind: best_epoch(of_part) for kind, of_part in epochs.items() if kind in weights}
    said = {"blend": report, **({BEST_EPOCHS: best} if best else {})}
    return Blend(parts, settings), next(iter(epochs.values()), []), said


def _given(config: BlendSettings, kinds: Sequence[str]) -> dict[str, JSON]:
    """Return the settings given for some parts, by dotted names; a model has no others of the parts it is without."""
    return {
        name: value
        for name, value in config.parts.items()
        if name.partition(".")[0] in kinds and value is not None
    }


EXACT = "ease"
"""The exact linear part, which is among the default ones where it fits."""


def _exact_fits(matrix: sp.csr_matrix) -> bool:
    """Return whether the exact linear part of (U, I) purchases is small and solved soon."""
    users, items = int((np.diff(matrix.indptr) > 0).sum()), matrix.shape[1]
    if 4 * items**2 > EXACT_BYTES_AT_MOST:
        return False
    left, threads = memory_left("cpu"), processors()
    return exact_solve(
        users, items, matrix.nnz, left, threads, seconds_at_most=EXACT_SECONDS_AT_MOST
    ).feasible


EVENTS = "event-linear"
"""The part that reads other events, which is among the default ones where they are given and it fits."""

USERS_FOR_EVENTS = 4_000
"""Validation users on whom it is chosen which events it uses, at most."""

EVENT_BYTES_AT_MOST = 2**30
"""Bytes of its inverse where it is not named: 16,384 inputs, such as two events of 5,400 items and their purchases."""

EVENT_SECONDS_AT_MOST = 60.0
"""Time that its solves may take together: one without events, and three for each event that is tried."""


def _events_do_not_fit(matrix: sp.csr_matrix, hooks: Hooks) -> str:
    """Return why a linear part of (U, I) purchases and other events is too large, a clause; "" where it is not."""
    if hooks.inputs is None:
        return ""
    events, items = len(hooks.inputs.names), matrix.shape[1]
    inputs, solves = (1 + events) * items, 1 + 3 * events * (events + 1) // 2
    users, entries = int((np.diff(matrix.indptr) > 0).sum()), matrix.nnz + hooks.inputs.matrix.nnz
    found = exact_solve(users, inputs, entries, memory_left("cpu"), processors(), seconds_at_most=np.inf)
    seconds, need = solves * found.seconds, found.bytes + 4 * inputs * items
    if found.why_not or 4 * inputs**2 > EVENT_BYTES_AT_MOST or seconds > EVENT_SECONDS_AT_MOST:
        return (
            f"{solves} solves of {inputs:,} inputs ({events} other events and the purchases of {items:,} items) take "
            f"about {human_seconds(seconds)} and {need / 2**30:,.1f} GiB"
        )
    return ""


def _some_of(pair: tuple[sp.csr_matrix, sp.csr_matrix], most: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return the users with held-out items, at equal distances where there are more than `most`."""
    users = np.flatnonzero(np.diff(pair[1].indptr))
    if users.size <= most:
        return pair
    rows = users[np.arange(most) * users.size // most]
    return sp.csr_matrix(pair[0][rows]), sp.csr_matrix(pair[1][rows])


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
    parts = tuple(Part(model, weight, fit_spread(model, matrix)) for model in models.values())
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
    *,
    optional: bool = False,
    race: Race | None = None,
) -> tuple[dict[str, Model], dict[str, list[Epoch]]]:
    """Fit each part to the matrix; return kind → model, and kind → epochs of those that are trained in epochs.

    Confidence counts for all parts but those with a decay of their own. Steps after single users are taken by one
    thread; where there is another processor, the parts without epochs are fitted beside them. Each product of matrices
    is then computed by one thread, so that the bits do not depend on what runs beside it.

    Args:
        matrix: (U, I) purchases.
        configs: kind → settings.
        hooks: of the fits.
        validate: quality of a model, for what is chosen by it; None: nothing is.
        fit: fits a kind.
        last: kind → epoch after which its training ends; None: all run to their ends.
        optional: whether a part without epochs that cannot be fitted, as where memory is short, is left out.
        race: ends the training of a part that is not worth it; None: nothing does.
    """
    models: dict[str, Model] = {}
    epochs: dict[str, list[Epoch]] = {}

    def fit_one(kind: str, tell: Callable[[str], None]) -> None:
        config = configs[kind]
        if hooks.solved is not None and (kind, config) in hooks.solved:
            models[kind] = hooks.solved[kind, config]
            return
        tell(f"fitting {kind}")
        of_kind = replace(
            hooks,
            validate=validate,
            confidence=None if find(kind).decay else hooks.confidence,
            last_epoch=(last or {}).get(kind),
            on_message=tell,
            enough=partial(enough, kind) if race is not None and kind in trained else None,
        )
        try:
            model, of_part = fit(kind, config.as_dict(), matrix, None, of_kind)
        except (TrainingError, MemoryError) as error:
            if not optional or model_class(kind).trained:
                raise
            tell(f"{kind} is left out: {sentence(error)}")
            return
        if hooks.solved is not None and not model.trained:
            hooks.solved[kind, config] = model
        models[kind] = model
        if of_part:
            epochs[kind] = of_part

    def enough(kind: str, model: Model, epoch: int) -> bool:
        if race is None or epoch != race.epoch:
            return False
        beside.finish()
        known = {**models, kind: model}
        if not race.ends({each: known[each] for each in configs if each in known}):
            return False
        hooks.on_message(f"{kind} ends after {epoch} epochs: the other parts are no better with it")
        return True

    trained = [kind for kind in configs if model_class(kind).trained]
    solved = [kind for kind in configs if kind not in trained]
    with Beside([partial(fit_one, kind) for kind in solved], hooks.on_message, bool(trained)) as beside:
        for kind in trained:
            fit_one(kind, hooks.on_message)
        beside.finish()
    return {kind: models[kind] for kind in configs if kind in models}, epochs


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
    if len(report["weights"]) == 1:
        kind = next(iter(report["weights"]))
        return f"validation NDCG@20: {alone}; {kind} alone, since no blend is distinguishably better"
    weights = ", ".join(f"{weight:.2f} {kind}" for kind, weight in report["weights"].items())
    return f"validation NDCG@20: {alone}; blended {reached['blend']:.4f} with {weights}"
