"""Functions that train, tune, evaluate and score: as the commands, for whatever Python has instead of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae import pipeline, scoring
from recae import reading as tables
from recae.arguments import check_flag, check_mapping, check_path, check_seed, check_text, listed
from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.filters import Filters
from recae.ids import written_ids
from recae.insight.listings import read_rules
from recae.interactions import Interactions
from recae.interface.keywords import FILTERS, WEIGHTING, Words
from recae.interface.purchases import taken
from recae.interface.sources import is_matrix
from recae.kinds import DEFAULT, SETTINGS, find
from recae.list_rules import ListRules
from recae.reading import ReadOptions
from recae.recommender import Recommender
from recae.results import Stream
from recae.selection import tune as tuning
from recae.selection.evaluate import Evaluated, evaluate_purchases
from recae.selection.executor import Executor
from recae.selection.progress import Progress
from recae.selection.space import Tuned
from recae.settings import find_setting
from recae.splits.items import pair_of_matrices
from recae.splits.protocols import ProtocolOptions, Purchases
from recae.text import brief
from recae.training.callbacks import Engine
from recae.training.checkpoint import Checkpoints


def train(
    source: Any,
    kind: str | None = None,
    *,
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
    rules: ListRules | Path | str | None = None,
    **words: Any,
) -> Recommender:
    """Train a model on purchases and measure it on users it has not seen, as `recae train` does.

    Args:
        source: as for `read`; or what `read` returned.
        kind: name of the model, such as "sigmoid", "ease" or "blend"; None: the default.
        device: "auto", "cpu" or "cuda".
        progress: whether to show the training: True, False, or None for in a notebook and on a terminal; or
            callbacks that follow it.
        reading: how to read the table; None: by its names and values, and the words.
        filters: which of the purchases count; None: as the words say.
        checkpoints: where and when to write checkpoints.
        repeats: whether repeat purchases count, so that owned items are recommended.
        confidence: of purchases in training; None: as ``half_life``, ``as_of`` and ``quantity_as_confidence`` say.
        engine: several processes that train together.
        refit: whether to fit the model once more on all users after it was measured.
        new_items: whether items of the table that nobody has bought are scored: "auto" where that helps, "on" or "off".
        rules: what the lists of the model may hold, or the path of a TOML file of it: stored with the model, whose
            lists follow it where no other rules are given; see `recae.list_rules`. The figures are without them.
        words: options of the command line as keywords: on reading, such as ``user_column="customer"``; filters, such
            as ``since="2024-01-01"``; ``half_life``, ``as_of`` and ``quantity_as_confidence``; ``users`` and ``items``,
            the ids of a matrix; and settings of the kind, such as ``epochs=20``, ``factors=256`` or ``seed=1``.

    Returns:
        the recommender; `recae.pipeline.train` says what its metadata holds.

    Raises:
        ConfigError: a kind, option or setting is unknown or does not fit.
        DataError: the purchases cannot be used.
        DeviceError: there is no such device.
        TrainingError: training fails.
    """
    check_text("device", device, "cpu")
    check_flag("repeats", repeats)
    check_flag("refit", refit)
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        raise ConfigError(
            f"checkpoints is a recae.training.checkpoint.Checkpoints, found {brief(checkpoints)}: give one, or leave "
            "it out"
        )
    asked = Words("train", words)
    given, options = _reading(source, asked, reading)
    chosen, weighting = asked.filters(filters), asked.weighting(confidence)
    kind = _kind(kind)
    return pipeline.train(
        given,
        kind=kind,
        device=device,
        progress=progress,
        reading=options,
        filters=chosen,
        checkpoints=checkpoints,
        repeats=repeats,
        confidence=weighting,
        engine=engine,
        refit=refit,
        new_items=new_items,
        rules=None if rules is None else read_rules(rules),
        **_settings(kind, asked, train),
    )


def tune(
    source: Any,
    kind: str | None = None,
    *,
    trials: int = 30,
    budget: float | str = "20m",
    metric: str = "ndcg@20",
    device: str = "auto",
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    repeats: bool = False,
    study: str | Path | None = None,
    resume: bool = False,
    progress: Progress | bool | None = None,
    confidence: Weighting | None = None,
    **words: Any,
) -> Tuned:
    """Search the settings of a kind of model that are best on validation users, as `recae tune` does.

    Args:
        source: as for `train`.
        kind: as for `train`.
        trials: how many at most.
        budget: time for all of them: seconds, or such as "90s", "20m", "1h".
        metric: to maximise, such as "ndcg@20".
        device: as for `train`.
        reading: as for `train`.
        filters: as for `train`.
        repeats: as for `train`.
        study: file to store the trials in as they end; None: they are in memory only.
        resume: go on with the trials that ``study`` holds.
        progress: as for `train`.
        confidence: as for `train`.
        words: as for `train`; settings of the kind that are given are not searched.

    Returns:
        the trials; ``recae.train(source, tuned.kind, **tuned.config)`` trains the best.

    Raises:
        ConfigError: as for `train`, or Optuna is missing.
        DataError: the purchases cannot be used.
        TrainingError: no trial could be measured.
    """
    check_text("device", device, "cpu")
    check_text("metric", metric, "ndcg@20")
    if metric is None:
        raise ConfigError(
            "metric is what is maximised, such as 'ndcg@20', found None: give one, or leave it out"
        )
    check_flag("repeats", repeats)
    check_flag("resume", resume)
    if study is not None:
        check_path("study", study)
    asked = Words("tune", words)
    given, options = _reading(source, asked, reading)
    chosen, weighting = asked.filters(filters), asked.weighting(confidence)
    kind = _kind(kind)
    return tuning.tune(
        given,
        kind=kind,
        trials=trials,
        budget=budget,
        metric=metric,
        device=device,
        reading=options,
        filters=chosen,
        repeats=repeats,
        study=None if study is None else Path(study),
        resume=resume,
        progress=progress,
        confidence=weighting,
        **_settings(kind, asked, tune),
    )


def evaluate(
    source: Any,
    kind: str | Sequence[str] | None = None,
    *,
    test: Any = None,
    protocol: str = "strong",
    baselines: str | Sequence[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    trials: int = 5,
    k: int | Sequence[int] = (10, 20, 50),
    metric: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    budget: float | str | None = None,
    keep: str | Path | None = None,
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    confidence: Weighting | None = None,
    progress: Progress | bool | None = None,
    executor: Executor | None = None,
    diversity: float | Sequence[float] = (),
    **words: Any,
) -> Evaluated:
    """Compare models with tuned baselines that learn from the same purchases, as `recae evaluate` does.

    Args:
        source: as for `train`; for the protocol "pair" its training part.
        kind: of model, or several; None: the default ones.
        test: the test part of the protocol "pair", as ``source``.
        protocol: how the purchases are split: "strong", "weak", "time", "next-basket", "k-fold", … .
        baselines: names of baselines, or "none"; None: all that suit and fit.
        settings: {kind: {setting: value}} that are not tuned.
        trials: settings that each model and baseline tries, the defaults first.
        k: a list length that is measured, or several.
        metric: by which models are judged, such as "ndcg@20".
        seed: of everything random.
        threads: most processors used.
        budget: time for everything, in seconds or such as "10m"; None: no limit.
        keep: folder where results of finished models are stored for the next call; None: nowhere.
        reading: as for `train`.
        filters: as for `train`.
        confidence: as for `train`.
        progress: as for `train`.
        executor: where models are fitted; None: each in a process of its own.
        diversity: also make lists with a diversity, or several, above 0 up to 1, and show what it costs.
        words: as for `train`, without settings; and options of the protocol: ``test_users``, ``held_out``, ``folds``,
            ``cut`` (a date), ``repeats``, ``min_items``, ``validation_users``, ``decay`` and ``ties``.

    Returns:
        the report and its parts; its ``table`` has a row a model.

    Raises:
        ConfigError: something is unknown, out of range, or does not go together.
        DataError: the purchases cannot be read, or nothing is left to learn from or nobody to test.
    """
    from recae.selection.cache import ResultCache

    check_text("protocol", protocol, "strong")
    check_text("metric", metric, "ndcg@20")
    check_seed(seed)
    check_mapping("settings", settings, '{"ease": {"l2": 100}}')
    if keep is not None:
        check_path("keep", keep)
    lengths = listed("k", k, int, "20 or [10, 20]")
    diversities = listed("diversity", diversity, float, "0.3 or [0.1, 0.3]")
    kinds = [] if kind is None else listed("kind", kind, str, '"ease" or ["ease", "sigmoid"]')
    if baselines is not None:
        baselines = listed("baselines", baselines, str, '"popularity" or ["popularity", "itemknn"]')
        baselines = [name for text in baselines for name in text.split(",")]
    asked = Words("evaluate", words)
    given = asked.take(
        field.name for field in fields(ProtocolOptions) if field.name not in (*FILTERS, "weighting")
    )
    for name, value in given.items():
        if name not in ("cut", "repeats", "ties") and not isinstance(value, int | float | np.number | None):
            raise ConfigError(f"{name} is a number, found {brief(value)}: give one, or leave it out")
    if given.get("cut") is not None:
        given["cut"] = _seconds(given["cut"])
    weighting = asked.weighting(confidence)
    if weighting is not None:
        given["weighting"] = weighting
    protocol_options = ProtocolOptions(**given)
    before = dict(asked.left)
    if isinstance(source, tables.Purchases):
        source = Purchases(source.interactions, source.events)
    given_source, options = _reading(source, asked, reading)
    if test is not None and not (isinstance(test, str | Path) and isinstance(given_source, str | Path)):
        other, _ = _reading(test, Words("evaluate", before), reading)
        given_source, test = _pair(given_source, other, options), None
    chosen = asked.filters(filters)
    asked.finish(_parameters(evaluate))
    return evaluate_purchases(
        given_source,
        test=test,
        protocol=protocol,
        options=protocol_options,
        kinds=kinds,
        baselines=baselines,
        settings=settings,
        trials=trials,
        ks=lengths,
        metric=metric,
        seed=seed,
        reading=options,
        filters=chosen,
        keep=None if keep is None else ResultCache(Path(keep)),
        threads=threads,
        budget=budget,
        command="recae.evaluate",
        progress=progress,
        executor=executor,
        diversities=diversities,
    )


def score(
    model: Recommender | str | Path,
    histories: Any = None,
    n: int = 20,
    *,
    exclude_owned: bool | None = None,
    exclude_items: Iterable[str | int] | None = None,
    only_items: Iterable[str | int] | None = None,
    fallback: str | None = None,
    approximate: bool = False,
    details: str | Sequence[str] | None = None,
    rules: ListRules | str | Path | None = None,
    diversity: float = 0.0,
    reading: ReadOptions | None = None,
    progress: Progress | bool | None = None,
    **words: Any,
) -> Stream:
    """Stream the best items of many users, a block of users at a time; memory does not grow with their number.

    Args:
        model: a recommender, or the path of a model file.
        histories: whom to score: None for every user of the model; purchases, as for `train`, whose users are folded
            in; or a scipy matrix over the model's items with ``users``, the ids of its rows.
        n: how many items a user.
        exclude_owned: leave out the items of the history; by default unless the model is of repeat purchases.
        exclude_items: ids that nobody gets.
        only_items: ids outside of which nothing is recommended. Of these and the excluded ones, those that the model
            does not know are logged as a warning and held as ``unknown_items`` of what is returned.
        fallback: "popular" for the items that most users own where a history holds nothing that the model knows.
        approximate: find the lists by an index over the items instead of scoring all of them, for catalogues of a
            million items; needs ``pip install 'recae[approximate]'``. What it finds of the exact lists is measured and
            logged first, and refused below 99 %.
        details: what else to say of each item: "name", "category", "price" or any column of the model's table of items.
        rules: what lists may hold and in which order, or the path of a TOML file of it.
        diversity: from 0, the best items by score, to 1, those least like each other.
        reading: how to read the histories; None: by their names and values, and the words.
        progress: as for `train`, shown while the batches are asked for.
        words: on reading, as for `train`.

    Returns:
        an iterator over Arrow record batches of ``user_id``, ``item_id``, ``rank`` and ``score``, with a fallback also
        ``source``; it has ``to_pandas()``, ``to_polars()``, ``to_arrow()``, ``save(path)`` and ``unknown_items``, too.

    Raises:
        ConfigError: ``n`` is less than 1, an option is unknown, or no item is left to recommend.
        DataError: the model was saved without histories and none are given, or they cannot be read.
        ModelFileError: the model file cannot be used.
    """
    if not isinstance(model, Recommender | str | Path):
        raise ConfigError(
            f"the model to score with is a Recommender or the path of a model file, found {type(model).__name__}: give "
            "the model first, then the histories"
        )
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise ConfigError(f"n is how many items a user gets, a whole number, found {brief(n)}: give one")
    check_flag("approximate", approximate)
    asked = Words("score", words)
    if is_matrix(histories) and asked.left.get("items") is None and asked.left.get("users") is not None:
        histories = sp.csr_matrix(histories), written_ids(asked.take(("users",))["users"], "user")
    options = reading
    if histories is not None and not isinstance(histories, tuple):
        histories, options = taken(histories, asked), asked.options(reading)
    asked.finish(_parameters(score))
    return scoring.score(
        model,
        histories,
        n,
        exclude_owned=exclude_owned,
        exclude_items=None if exclude_items is None else written_ids(exclude_items, "item"),
        only_items=None if only_items is None else written_ids(only_items, "item"),
        fallback=fallback,
        approximate=approximate,
        details=None if details is None else listed("details", details, str, '["name", "price"]'),
        rules=rules,
        diversity=diversity,
        reading=options,
        progress=progress,
    )


def _reading(source: Any, words: Words, base: ReadOptions | None) -> tuple[Any, ReadOptions | None]:
    """Return what to read, as `taken`, and how."""
    found = taken(source, words)
    return found, base if isinstance(found, Interactions | Purchases) else words.reading(base)


def _pair(train_part: Any, test_part: Any, options: ReadOptions | None) -> Purchases:
    """Return the two parts of a given pair, read."""
    if is_matrix(train_part) and is_matrix(test_part):
        return pair_of_matrices(sp.csr_matrix(train_part), sp.csr_matrix(test_part))
    of_test = (options or ReadOptions()).updated(fewest=1)  # a single user or item can be measured on
    parts = [
        part if isinstance(part, Interactions) else tables.read(part, how).interactions
        for part, how in ((train_part, options), (test_part, of_test))
    ]
    return Purchases(parts[0], None, parts[1])


def _kind(kind: Any) -> str:
    if kind is None:
        return DEFAULT
    if not isinstance(kind, str):
        raise ConfigError(
            f"kind is the name of a kind of model, such as {DEFAULT!r}, found {brief(kind)}: give a name"
        )
    return find(kind).name


def _settings(kind: str, words: Words, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings among the words; ConfigError for a word that is neither a setting nor an option."""
    known = SETTINGS[kind]
    for name in words.left:
        try:
            find_setting(kind, known, name, SETTINGS)
        except ConfigError as error:
            words.refuse_setting(name, error, (*WEIGHTING, *_parameters(function)))
    return words.left


def _parameters(function: Callable[..., Any]) -> list[str]:
    import inspect

    return [name for name in inspect.signature(function).parameters if name != "words"]


def _seconds(cut: Any) -> int:
    """Return a moment in seconds since 1970 UTC: a date, a datetime, ISO text, or the seconds themselves."""
    if isinstance(cut, int) and not isinstance(cut, bool):
        return cut
    if isinstance(cut, str):
        try:
            cut = datetime.fromisoformat(cut)
        except ValueError:
            raise ConfigError(
                f"cut is a date such as 2011-11-09 or 2011-11-09T12:00, found {brief(cut)}: give one"
            ) from None
    if isinstance(cut, date) and not isinstance(cut, datetime):
        cut = datetime(cut.year, cut.month, cut.day, tzinfo=UTC)
    if not isinstance(cut, datetime):
        raise ConfigError(f"cut is a date such as 2011-11-09, found {brief(cut)}: give one")
    return int((cut if cut.tzinfo else cut.replace(tzinfo=UTC)).timestamp())
