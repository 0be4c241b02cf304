"""Training: from purchases to a recommender, with held-out metrics of the model and of baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.confidence import Weighting
from recae.errors import CheckpointError, ClusterError, ConfigError, RankLostError, RecaeError
from recae.evaluation import Evaluation, evaluate
from recae.evaluation.intervals import bootstrap_means
from recae.examination import examine, spoken
from recae.files import check_writable
from recae.filters import Filters
from recae.forks import works_with_one_thread
from recae.inputs import EventInputs, inputs_of
from recae.insight.items import Shared, with_item_table
from recae.interactions import Interactions
from recae.item_table import ItemTable
from recae.kinds import DEFAULT, decay_setting, find
from recae.last_bought import days_at, days_of, placed_days
from recae.machine import versions
from recae.messages import timed
from recae.models import EventLinear, ItemKNN, Model, Popularity
from recae.models.blend import narrowed
from recae.reading import Purchases as Read
from recae.reading import Reading, ReadOptions
from recae.reading.item_table import read_item_table
from recae.reading.own_columns import read_own_columns
from recae.recency import last_purchase
from recae.recommender import LEARNED, REFIT, RULES, VALIDATION, Recommender
from recae.selection.displays import TrainingDisplay
from recae.selection.fit import (
    Fitted,
    batch_size_of,
    check_checkpoints,
    check_confidences,
    check_inputs,
    check_repeats,
    check_weighting,
    fit_settings,
    make_settings,
)
from recae.selection.new_items import check_mode, with_new_items
from recae.selection.progress import Progress, followed, told_by
from recae.selection.refit import parts_of_model, refit_seconds
from recae.selection.refit import refit as refit_model
from recae.selection.trial import sentence
from recae.splits.held_out import HeldOut, confidence_of, hold_out, hold_out_repeats, with_inputs
from recae.splits.protocols import check_baskets, reading_options
from recae.text import human_seconds
from recae.training.callbacks import Engine, Hooks, check_kind
from recae.training.checkpoint import BEST_EPOCHS, Checkpoints
from recae.training.device import choose_device, where_and_why

KS = (10, 20, 50)
"""List lengths of the table."""

if TYPE_CHECKING:
    from recae.list_rules import ListRules  # which loads pydantic


def measure(models: dict[str, Model], held_out: HeldOut) -> dict[str, Any]:
    """Return the table of recall@10/20/50 and NDCG@20 on the held-out test users, as JSON values.

    Beside it stand the 95 % intervals of the means, by bootstrap over the users: model → figure → [low, high].
    """
    if held_out.test is None or held_out.validation is None:
        raise ConfigError("no user can be held out, so there is nothing to measure; use more purchases")
    rows, intervals, n_users = [], {}, 0
    for name, model in models.items():
        result = evaluate(model, *held_out.test, KS)
        n_users = result.n_users
        intervals[name] = _intervals(result, (*(f"recall@{k}" for k in KS), "ndcg@20"))
        figures = {metric: result.mean(metric) for metric in (*(f"recall@{k}" for k in KS), "ndcg@20")}
        rows.append({"model": name, **figures})
    return {
        "n_users": n_users,
        "validation_users": held_out.validation[0].shape[0],
        "ks": list(KS),
        "rows": rows,
        "intervals": intervals,
    }


def _intervals(result: Evaluation, figures: Sequence[str]) -> dict[str, list[float | None]]:
    """Return the 95 % interval of the mean of each figure; nulls where one user or none has it."""
    found = bootstrap_means([result.values[figure] for figure in figures])
    return {
        figure: [None if math.isnan(bound) else bound for bound in (interval.low, interval.high)]
        for figure, interval in zip(figures, found, strict=True)
    }


CONFIDENCES = "the Interactions given"
"""What the metadata say that confidences came from where no table was read."""

METADATA = {"repeats": True}
"""Metadata of a recommender whose owned items stay recommendable; see `Recommender.repeats`."""

FIGURES = (*(f"recall@{k}" for k in KS), "ndcg@20", "recall_repeat@20", "recall_new@20")
"""Columns of the table, beside the model's name."""


def measure_repeats(models: dict[str, Model], held_out: HeldOut) -> dict[str, Any]:
    """Return the table of `FIGURES` on the last baskets of the test users, owned items in the lists, as JSON values.

    `recall_repeat@20` is the mean over the `repeat_users`, who bought something again, of the fraction of these items
    that was found; `recall_new@20` likewise over the `new_users`, who bought something new. None where there are
    none.

    Raises:
        ConfigError: nobody is held out.
    """
    if held_out.test is None or held_out.validation is None:
        raise ConfigError("no user can be held out, so there is nothing to measure; use more purchases")
    rows: list[dict[str, Any]] = []
    intervals: dict[str, Any] = {}
    counts = {"n_users": 0, "repeat_users": 0, "new_users": 0}
    for name, model in models.items():
        result = evaluate(model, *held_out.test, KS, exclude_owned=False)
        means = {figure: result.mean(figure) for figure in FIGURES}
        intervals[name] = _intervals(result, FIGURES)
        rows.append({"model": name, **{k: None if math.isnan(v) else v for k, v in means.items()}})
        having = {
            f"{part}_users": int(np.isfinite(result.values[f"recall_{part}@20"]).sum())
            for part in ("repeat", "new")
        }
        counts = {"n_users": result.n_users, **having}
    return {
        **counts,
        "validation_users": held_out.validation[0].shape[0],
        "ks": list(KS),
        "repeats": True,
        "rows": rows,
        "intervals": intervals,
    }


@dataclass(frozen=True, eq=False)
class _Purchases:
    """The purchases that were read, and who is held out.

    Attributes:
        matrix: (U, I) pattern of the learners, and below them of the validation users' histories if they are `taught`.
        histories: (all users, I), for the model file.
        decay: of the histories' values; None where they are a pattern.
        confidence: in each purchase of the learners, (nnz,) in the order of `matrix`; None: 1.
        counting: which rows of the table were chosen, as JSON values.
        taught: whether the histories of the validation users are learned from.
        inputs: other events of all users; None where they are not asked for.
        item_table: what is known of the items; None where nothing is.
        taught_inputs: of those that `matrix` is of, without those of held-out purchases.
    """

    interactions: Interactions
    fingerprint: str
    held_out: HeldOut
    matrix: sp.csr_matrix
    histories: sp.csr_matrix
    decay: float | None = None
    confidence: NDArray[np.float32] | None = None
    counting: Mapping[str, Any] = field(default_factory=dict)
    taught: bool = False
    inputs: EventInputs | None = None
    taught_inputs: EventInputs | None = None
    item_table: ItemTable | None = None


@followed(TrainingDisplay)
def train(
    source: Any,
    *,
    kind: str | None = None,
    device: str = "auto",
    progress: Progress | bool | None = None,
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    checkpoints: Checkpoints | None = None,
    repeats: bool = False,
    confidence: Weighting | None = None,
    engine: Engine | None = None,
    refit: bool = True,
    new_items: str = "auto",
    rules: ListRules | None = None,
    **settings: Any,
) -> Recommender:
    """Train a model on purchases and measure it on users it has not seen, beside popularity and item-kNN.

    Then it is fitted once more on all users, with what was chosen on the validation users: the epochs, and a blend's
    parts, weights and spreads. The figures are those of the model before.

    Args:
        source: Interactions, or a table of purchases as `recae.reading.read` takes it: a path, a folder, a pattern,
            "-", the URL of a database, a data frame, an Arrow table, tuples, or a scipy matrix.
        progress: whether to show the training: True, False, or None for in a notebook and on a terminal; or
            callbacks that follow it.
        reading: how to read the table; None: by its names and values.
        filters: which of the purchases of a table count; None: those of `reading`.
        kind: name of the model, one of `recae.kinds.known`; None: `recae.kinds.DEFAULT`.
        device: "auto", "cpu" or "cuda".
        checkpoints: where and when to write checkpoints, or to go on from one; the file is the caller's to remove.
        repeats: whether repeat purchases count: the last baskets of the held-out users are to be found, owned items
            included, and the model recommends owned items.
        confidence: of purchases in training, by their age and quantity; None: all alike. The baselines of the
            table learn from the same confidences, except personal frequency; histories and figures are not weighted.
        engine: several processes that train together, as `recae.training.distributed.torchrun` and `.ray` have them:
            the kind sigmoid with a batch_size of 2 or more; None: this process alone.
        refit: whether to fit the model once more on all users after it was measured; False: the model has not learned
            from the held-out users.
        new_items: whether items of a table that nobody has bought are scored: "auto" where that helps, "on" or "off".
        rules: stored with the model, whose lists follow them where no others are given; the figures are without them.
        settings: fields of the kind's configuration, such as factors, epochs or seed.

    Returns:
        The recommender. Its metadata holds `metrics` (the table), `history` (an entry an epoch), `best_epochs` (kind →
        the epoch that was taken), `fingerprint` (of the data), `inputs` (of other events: how many pairs of a user and
        an item each has, and what it brought), `filters` (where the purchases were filtered while they
        were read, here or before; see `Filters.as_dict`), `held_out` (the seed by which users were held out), `refit`
        (the number of users of the last fit, where the model was fitted once more on all), `weights` where they are
        asked for, and `versions`; no times, so that the same seed gives the same model file. Its `held_out` says who
        was held out.

    Raises:
        ConfigError: a kind or setting is unknown, the kind cannot take the weighting, purchases without baskets are
            to repeat, or Interactions are to be filtered.
        ColumnError: the weighting needs times or quantities that are not there.
        DeviceError: there is no such device.
        DataError: the purchases cannot be used.
        TrainingError: training fails.
    """
    progress = told_by(progress)
    kind, weighting = kind or DEFAULT, confidence or Weighting()
    config = make_settings(kind, settings)
    check_mode(new_items)
    check_repeats(kind, repeats, "train another kind")
    check_checkpoints(kind, checkpoints)
    check_weighting(kind, config, weighting, repeats)
    check_inputs(kind, config, None if reading is None else reading.inputs, repeats)
    if engine is not None:
        check_kind(kind, config, device, weighted=bool(weighting))
        device = "cpu"
    chosen = choose_device(device, batch_size_of(config))
    if checkpoints is not None:
        check_writable(checkpoints.path)  # before the training, not in the middle of it
    options = reading_options(source, reading, filters)
    with timed("reading"):
        purchases = _read(source, options, kind, config, weighting, progress, repeats, teach=refit)
    days = None
    of_rules: dict[str, Any] = {}
    if rules is not None:
        from recae.insight.listings import checked_rules  # which loads pydantic

        of_rules[RULES], remarks = checked_rules(rules, purchases.interactions, purchases.item_table)
        for remark in remarks:
            progress.on_message(f"warning: {remark}")
    wanted = repeats or (rules is not None and rules.bought_within_days is not None)
    if wanted and purchases.interactions.times is not None:
        days = days_at(
            purchases.histories,
            placed_days(purchases.interactions.matrix, days_of(purchases.interactions.times)),
        )
    asked = purchases.interactions.filters
    if purchases.decay is not None:
        config = _with_decay(kind, config, purchases.decay)
    held_out, matrix = purchases.held_out, purchases.matrix
    if held_out.validation is None:
        least = "users with two baskets" if repeats else "users with two items"
        progress.on_message(f"too few {least} or more to hold any out: nothing is measured")
    if checkpoints is not None:
        identity = {
            **checkpoints.identity,
            "data.fingerprint": purchases.fingerprint,
            "data.held_out": held_out.fingerprint,
            **({"data.validation": "learned from"} if purchases.taught else {}),
            **weighting.identity(purchases.confidence),
        }
        if asked is not None:
            identity |= asked.identity()
        if purchases.inputs is not None:
            identity["data.inputs"] = purchases.inputs.fingerprint
        identity |= {f"reading.{name}": value for name, value in purchases.counting.items()}
        checkpoints.identity, checkpoints.on_message = identity, progress.on_message
    where = f"training on {where_and_why(device, chosen, batch_size_of(config))}"
    if works_with_one_thread():
        where += (
            " with one thread, since this process was forked from one that has trained; spawn it to use all"
        )
    progress.on_message(where if engine is None else f"training by {engine.describe()}")
    solved: dict[tuple[str, Any], Model] = {}
    hooks = Hooks(
        device=chosen,
        checkpoints=checkpoints,
        on_start=progress.on_start,
        on_users=progress.on_users,
        on_epoch=progress.on_epoch,
        on_message=progress.on_message,
        confidence=purchases.confidence,
        inputs=purchases.taught_inputs,
        engine=engine,
        solved=solved,
        neighbours={},
        seconds={},
    )
    with timed("training"):
        fitted = fit_settings(kind, config, matrix, held_out.validation, hooks, exclude_owned=not repeats)
    if kind == ItemKNN.kind:
        solved[kind, config] = fitted.model
    metrics = None
    if held_out.test is not None:
        n_users = held_out.test[0].shape[0]
        names = "popularity, item-kNN and frequency" if repeats else "popularity and item-kNN"
        progress.on_message(f"measuring it beside {names} on {n_users:,} held-out users")
        with timed("measuring"):
            baselines = _baselines(purchases, repeats, config.seed, hooks)
            compared = {fitted.model.kind: fitted.model, **baselines}
            metrics = (measure_repeats if repeats else measure)(compared, held_out)
    model = fitted.model
    again = None
    if refit and metrics is not None:
        with timed("fitting once more"):
            again = _fit_on_all(fitted, config, purchases, weighting, hooks)
    final = narrowed(again or model)
    found = Recommender(
        model=final,
        users=purchases.interactions.users,
        items=purchases.interactions.items,
        item_names=purchases.interactions.item_names,
        histories=purchases.histories,
        metadata={
            "fingerprint": purchases.fingerprint,
            **({} if asked is None else {"filters": asked.as_dict()}),
            **({"reading": dict(purchases.counting)} if purchases.counting else {}),
            "held_out": {"seed": config.seed},
            "metrics": metrics,
            "history": [
                {"epoch": epoch.epoch, "loss": epoch.loss, "recall@20": epoch.recall, "drift": epoch.drift}
                for epoch in fitted.epochs
            ],
            **fitted.report,
            **_inputs_metadata(purchases.inputs, model),
            **({} if again is None else {REFIT: {"users": purchases.interactions.n_users}}),
            **(METADATA if repeats else {}),
            **last_purchase(purchases.interactions.times),
            **of_rules,
            **({"weights": weighting.as_dict()} if weighting else {}),
            "versions": versions(),
        },
        held_out=_unseen(purchases) if again is None else held_out.codes,
        events=None if purchases.inputs is None else purchases.inputs.taking(inputs_of(final)),
        last_bought=days,
    )
    extended = with_new_items(with_item_table(found, purchases.item_table), new_items, config.seed)
    for line in extended.sentences:
        progress.on_message(line)
    return extended.recommender


def _inputs_metadata(inputs: EventInputs | None, model: Model) -> dict[str, Any]:
    """Return what is stored of other events: how many there were, and what each brought on the validation users."""
    if inputs is None:
        return {}
    parts = [part.model for part in parts_of_model(model) if isinstance(part.model, EventLinear)]
    return {
        "inputs": {
            "pairs": inputs.counts,
            "used": list(parts[0].used_inputs) if parts else [],
            "worth": [asdict(worth) for part in parts for worth in part.worth],
        }
    }


def _unseen(purchases: _Purchases) -> NDArray[np.uint8]:
    """Return who is held out of a model that is not fitted once more; validation users that taught it are learners."""
    codes = purchases.held_out.codes
    return np.where(codes == VALIDATION, LEARNED, codes).astype(np.uint8) if purchases.taught else codes


def _fit_on_all(
    fitted: Fitted, config: Any, purchases: _Purchases, weighting: Weighting, trained: Hooks
) -> Model | None:
    """Return the model fitted once more on all users; None, with a message, where that fails."""
    interactions, best = purchases.interactions, fitted.report.get(BEST_EPOCHS, {})
    n_users, epochs = interactions.n_users, len(fitted.epochs)
    kinds = [part.model.kind for part in parts_of_model(fitted.model)]
    took = {kind: seconds for kind, seconds in (trained.seconds or {}).items() if kind in kinds}
    seconds = refit_seconds(took, epochs, best, (purchases.matrix.shape[0], n_users))
    about = "" if seconds is None else f": about {human_seconds(max(seconds, 0.1))}"
    trained.on_message(
        f"fitting once more on all {n_users:,} users{about}; the figures stay those of the held-out users"
    )
    checkpoints = None
    if trained.checkpoints is not None:
        checkpoints = trained.checkpoints.of_refit({**trained.checkpoints.identity, "refit.epochs": best})
    hooks = replace(
        trained,
        checkpoints=checkpoints,
        solved=None,
        neighbours=None,
        seconds=None,
        confidence=confidence_of(weighting, interactions, np.arange(n_users)),
        inputs=purchases.inputs,
        judge=None,
    )
    # a copy, since for arrays that are not writeable the loops would be compiled once more
    matrix = interactions.matrix.copy()
    try:
        return refit_model(fitted.model, config, best, matrix, hooks)
    except (RankLostError, ClusterError, CheckpointError):
        raise
    except (RecaeError, MemoryError) as error:
        trained.on_message(
            f"warning: the fit on all users failed ({sentence(error)}); the model is the one that was measured, which "
            f"has learned from {purchases.matrix.shape[0]:,} of the {n_users:,} users"
        )
        return None


def _read(
    source: Any,
    options: ReadOptions,
    kind: str,
    config: Any,
    weighting: Weighting,
    progress: Progress,
    repeats: bool,
    teach: bool,
) -> _Purchases:
    """Read purchases and hold out items of some users, or their last baskets with repeats.

    With `teach`, the histories of the validation users, without what is held out, are learned from, too. The model that
    is written learns from everybody, and what ranks best for users it knows differs from what does for new ones: a
    linear model has learned that the items which such a user will buy next were not bought.
    """
    check_baskets(source, options, repeats)
    inputs: EventInputs | None = None
    own: ItemTable | None = None
    if isinstance(source, Interactions):
        interactions, events = source, None
        # which the model cannot tell otherwise, and which nothing may learn from it without
        counting: dict[str, Any] = {} if source.confidences is None else {"confidence": CONFIDENCES}
    else:
        found, own = _read_table(source, options.updated(baskets=repeats, **weighting.reading()), progress)
        interactions, events, counting = found.interactions, found.events, dict(found.report.counting)
        inputs = found.inputs
    table = own if options.items is None else _item_table(options, interactions, progress)
    if events is None:
        held_out, fingerprint, histories = (
            hold_out(interactions, config.seed),
            interactions.fingerprint,
            interactions.matrix,
        )
        decay = None
    else:
        decay = None
        if setting := decay_setting(kind):
            decay = config.parts.get(setting) if find(kind).parts else getattr(config, setting)
        held_out = hold_out_repeats(events, interactions.users, config.seed, decay, items=interactions.items)
        decay, fingerprint, histories = held_out.decay, events.fingerprint, events.weights(held_out.decay)
    check_confidences(kind, config, interactions, repeats)
    matrix = sp.csr_matrix(interactions.matrix[held_out.learners])
    confidence = confidence_of(weighting, interactions, held_out.learners, progress.on_message)
    # confidence depends on all purchases of a user, the held-out ones included
    taught = teach and held_out.validation is not None and events is None and confidence is None
    if taught and held_out.validation is not None:
        matrix = sp.vstack([matrix, held_out.validation[0]], format="csr")
    taught_inputs = None
    if inputs is not None:
        taught_inputs = inputs.rows(held_out.learners)
        if taught and held_out.validation is not None:
            validation = inputs.rows(np.flatnonzero(held_out.codes == VALIDATION))
            taught_inputs = taught_inputs.above(validation.hiding(held_out.validation[1]))
        held_out = with_inputs(held_out, inputs)
    return _Purchases(
        interactions,
        fingerprint,
        held_out,
        matrix,
        histories,
        decay,
        confidence,
        counting,
        taught,
        inputs,
        taught_inputs,
        table,
    )


def _read_table(source: Any, options: ReadOptions, progress: Progress) -> tuple[Read, ItemTable | None]:
    """Read a table, and say what the doctor finds in it that spoils a model or may do so.

    The table of items is made of columns of the purchases, where they belong to the items and no other is named.
    """
    with Reading(source, options) as reading:
        found = reading.purchases()
        progress.on_report(found.report)
        for line in spoken(examine(reading, found)):
            progress.on_message(line)
        own = None
        if options.items is None:
            own = read_own_columns(reading.table, reading.columns, found.interactions.items)
        if own is not None:
            progress.on_message(own.sentence())
    return found, None if own is None else own.table


def _item_table(options: ReadOptions, interactions: Interactions, progress: Progress) -> ItemTable | None:
    """Return the table of items that the options name, and say how it was read and what it lacks."""
    if options.items is None:
        return None
    columns = dict(options.items_columns or ())
    table, report = read_item_table(
        options.items, columns, known=interactions.items, bad_lines=options.bad_lines
    )
    for line in (*report.sentences(), *Shared.of(table, interactions.items, interactions.matrix).sentences()):
        progress.on_message(line)
    return table


def _with_decay(kind: str, config: Any, decay: float) -> Any:
    """Return the configuration with the decay that the histories are weighted with, where the kind has a use for it."""
    parts = find(kind).parts
    setting = decay_setting(kind, getattr(config, parts) if parts else None)
    if setting is None:
        return config
    return config.updated(**({"parts": {**config.parts, setting: decay}} if parts else {setting: decay}))


def _baselines(purchases: _Purchases, repeats: bool, seed: int, trained: Hooks) -> dict[str, Model]:
    """Return baselines by name, fitted to the same purchases and confidence; validation users choose item-kNN's k.

    What the fit with the hooks `trained` has solved already, as parts of a blend, is not fitted and chosen again.
    """
    matrix, validation = purchases.matrix, purchases.held_out.validation

    def recall(model: Model) -> float:
        if validation is None:
            return 0.0
        return evaluate(model, *validation, (20,), exclude_owned=not repeats).mean("recall@20")

    def fitted(kind: str, confidence: NDArray[np.float32] | None, **settings: Any) -> Model:
        config = make_settings(kind, {"seed": seed, **settings})
        hooks = Hooks(validate=recall, confidence=confidence, neighbours=trained.neighbours)
        solved = (trained.solved or {}).get((kind, config))
        return solved or fit_settings(kind, config, matrix, None, hooks).model

    knn = fitted("itemknn", purchases.confidence)
    found = {
        "popularity": Popularity.fit(matrix, purchases.confidence),
        f"item-kNN (tf-idf, k={knn.config()['k']})": knn,
    }
    if repeats and purchases.decay is not None:
        found["frequency"] = fitted("frequency", None, decay=purchases.decay)
    return found
