"""`update`: a recommender learns from the purchases that came after its training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recae.errors import ColumnError, ConfigError, DataError
from recae.filters import Filters, time_text
from recae.ids import IdMap
from recae.inputs import EventInputs, inputs_of
from recae.insight.items import describe_items, with_item_table
from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.machine import versions
from recae.messages import say, timed
from recae.models import Model
from recae.models.base import reads_values
from recae.reading import Reading, ReadOptions
from recae.reading.returns import Returned, returned_pairs
from recae.recency import LAST_PURCHASE, known_last, last_purchase
from recae.recommender import LEARNED, REFIT, Recommender
from recae.selection.displays import TrainingDisplay
from recae.selection.new_items import as_before, with_new_items
from recae.selection.progress import Progress, followed, told_by
from recae.selection.refit import parts_of_model
from recae.text import human_seconds
from recae.training.callbacks import Hooks
from recae.training.device import choose_device
from recae.updating.parts import Trained, renewed
from recae.updating.union import UPDATES, Union, ids_with, joined, joined_inputs, pairs_of
from recae.updating.weighing import weighed_again


@dataclass(frozen=True, eq=False)
class Updated:
    """What an update came to.

    Attributes:
        recommender: the new one; the old one itself where nothing has changed.
        added: how many pairs of a user and an item are new.
        known: how many of the pairs that were read the model knew already.
        taken_back: how many pairs are gone, since the item was returned.
        new_users: how many users the model did not know.
        new_items: likewise of items.
        parts: kind → what was done with the part, in words.
        seconds: that it took.
        added_events: how many pairs of a user and an item are new of the other events that the model reads.
    """

    recommender: Recommender
    added: int
    known: int
    taken_back: int
    new_users: int
    new_items: int
    parts: Mapping[str, str]
    seconds: float
    added_events: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything has changed."""
        return bool(self.parts)

    def sentence(self) -> str:
        """Return what has changed, in words."""
        told = [f"{self.added:,} new pairs of a user and an item, {self.known:,} known already"]
        if self.taken_back:
            told.append(f"{self.taken_back:,} taken back")
        if self.added_events:
            told.append(f"{self.added_events:,} new pairs of other events")
        told.append(f"{self.new_users:,} new users and {self.new_items:,} new items")
        return ", ".join(told)


@dataclass(frozen=True, eq=False)
class New:
    """New purchases: an entry a pair, those by basket where values of histories count, and what was returned.

    Attributes:
        inputs: other events of all users of the model and of these purchases, by the items of both, with the ids of
            rows and items; None where none were read.
    """

    interactions: Interactions
    events: Events | None = None
    returned: Returned | None = None
    inputs: tuple[EventInputs, IdMap, IdMap] | None = None


@followed(TrainingDisplay)
def update(
    recommender: Recommender,
    source: Any,
    *,
    since_last: bool = False,
    take_back: bool = True,
    device: str = "auto",
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    progress: Progress | bool | None = None,
) -> Updated:
    """Let a recommender learn from new purchases: histories grow, new users and items get rows.

    The filters, and what says which rows count, are those of the training, whose figures stay.

    Args:
        recommender: with histories.
        source: the new purchases, as `recae.reading.read` takes them, or Interactions; they may hold old ones, too.
        since_last: read only rows later than the last purchase that the model knows; always so where the values of
            histories count, since such a model would count a purchase twice.
        take_back: whether a row with a quantity below zero takes an earlier purchase out of the history.
        device: "auto", "cpu" or "cuda", for parts that are trained again.
        reading: how to read the table; None: by its names and values. A table of items takes the place of the model's.
        filters: which of the purchases count; None: those that the model was trained with.
        progress: as for `recae.pipeline.train`.

    Raises:
        ConfigError: the model cannot be updated, with the reason, or an option does not fit.
        DataError: the purchases cannot be used.
        TrainingError: a fit fails.
    """
    began = time.perf_counter()
    progress = told_by(progress)
    check_updatable(recommender)
    before, recommender = recommender, recommender.of_bought_items()
    chosen = choose_device(device, 1)
    if reading is not None and reading.items is not None:
        described = describe_items(
            recommender, reading.items, dict(reading.items_columns or ()), bad_lines=reading.bad_lines
        )
        recommender = described.recommender
        for line in described.sentences():
            progress.on_message(line)
    with timed("reading"):
        new = _read(recommender, source, since_last, take_back, reading, filters, progress)
        if new.interactions.confidences is not None:
            raise ConfigError(
                "some of the new purchases count more than others, and those that the model knows all count alike: "
                "leave out --event-weights other than 1 and --confidence-column, or train on all purchases with "
                "'recae train'"
            )
        decay = _decay(recommender.model) if new.events is not None else None
        union = joined(recommender, new.interactions, new.events, new.returned, decay)
        inputs = joined_inputs(recommender, union, new.inputs)
    counts = {
        "added": union.added,
        "known": union.known,
        "taken_back": union.taken_back,
        "new_users": union.new_users,
        "new_items": union.new_items.size,
    }
    if inputs is not None and recommender.events is not None:
        counts["added_events"] = inputs.matrix.nnz - recommender.events.matrix.nnz
    same_events = not counts.get("added_events")
    bought = bool(union.changed.size or union.new_users or union.new_items.size)
    if not bought and same_events:
        same = before
        if recommender.item_table is not before.item_table:
            same = with_new_items(recommender).recommender
        nothing = Updated(same, **counts, parts={}, seconds=time.perf_counter() - began)
        progress.on_message(f"{nothing.sentence()}: nothing has changed")
        return nothing
    progress.on_message(
        f"updating {recommender.model.kind} on {len(union.users):,} users, {union.changed.size:,} changed"
    )
    hooks = Hooks(
        device=chosen,
        on_start=progress.on_start,
        on_users=progress.on_users,
        on_epoch=progress.on_epoch,
        on_message=progress.on_message,
        neighbours={},
        inputs=inputs,
    )
    model, metadata = recommender.model, recommender.metadata
    with timed("weighing"):
        weighing = weighed_again(recommender, union)
    if weighing is not None:
        progress.on_message(weighing.sentence())
        model, metadata = weighing.model, weighing.metadata(metadata)
    with timed("updating"):
        # where only other events are new, what is trained on purchases alone has nothing to learn
        trained: Trained = "on" if bought else "stay"
        model, parts = renewed(model, union.matrix, union.growth, metadata, hooks, trained=trained)
    codes = None
    if recommender.held_out is not None:
        codes = np.full(len(union.users), LEARNED, np.uint8)
        codes[union.old_users] = recommender.held_out
    result = with_item_table(
        Recommender(
            model=model,
            users=union.users,
            items=union.items,
            item_names=union.item_names,
            histories=union.histories,
            metadata=_metadata(metadata, union, new.interactions, inputs),
            held_out=codes,
            last_bought=union.last_bought,
            events=inputs,
        ),
        recommender.item_table,
    )
    if reading is not None and reading.items is not None:
        extended = with_new_items(result, before=before)
        result = extended.recommender
        for line in extended.sentences:
            progress.on_message(line)
    else:
        result = as_before(result, before)
    seconds = time.perf_counter() - began
    found = Updated(result, **counts, parts=parts, seconds=seconds)
    done = ", ".join(f"{kind} {what}" for kind, what in parts.items())
    progress.on_message(f"{found.sentence()}; {done}, in {human_seconds(seconds)}")
    return found


def check_updatable(recommender: Recommender) -> None:
    """Raise ConfigError for a model that cannot learn from further purchases alone, with the reason and the way out."""
    metadata, again = recommender.metadata, "train again on all purchases with 'recae train'"
    if recommender.histories is None or recommender.users is None:
        raise ConfigError(
            "this model was saved without histories, so that new purchases cannot be joined to the old ones: "
            f"{again}, and leave --no-histories out"
        )
    filters = filters_of(metadata)
    if filters.has_minimum:
        raise ConfigError(
            f"this model was trained with minimums ({filters}), which need all purchases, those that were left out, "
            f"too: {again}"
        )
    if metadata.get("weights"):
        raise ConfigError(
            "in this model purchases count by their age or quantity, which it does not hold of the old ones: "
            f"{again}, or train it without --half-life and --quantity-as-confidence"
        )
    counting = metadata.get("reading")
    counting = counting if isinstance(counting, Mapping) else {}
    events = counting.get("events")
    weights = events.get("weights") if isinstance(events, Mapping) else None
    uneven = isinstance(weights, Mapping) and any(value != 1 for value in weights.values())
    if counting.get("confidence") or uneven:
        raise ConfigError(
            "in this model some events count more than others, and it does not hold which purchases were which: "
            f"{again}, or train it without --event-weights and --confidence-column"
        )


def filters_of(metadata: Mapping[str, Any]) -> Filters:
    """Return the filters that a model was trained with, without the end of the period, after which updates begin."""
    asked = metadata.get("filters")
    return replace(Filters.of(asked), until=None) if isinstance(asked, Mapping) else Filters()


def _read(
    recommender: Recommender,
    source: Any,
    since_last: bool,
    take_back: bool,
    reading: ReadOptions | None,
    filters: Filters | None,
    progress: Progress,
) -> New:
    """Read the new purchases."""
    metadata, by_basket = recommender.metadata, reads_values(recommender.model)
    last = known_last(metadata)
    since_last = since_last or by_basket
    if isinstance(source, New):
        return source
    if isinstance(source, Interactions):
        if since_last or filters:
            raise ConfigError(
                "the last purchase, baskets and filters are looked for while a table is read, but these purchases were "
                "read already: give the table"
            )
        return New(source)
    chosen = filters or (None if reading is None else reading.filters) or filters_of(metadata)
    if chosen.has_minimum:
        raise ConfigError(
            f"minimums ({chosen}) need all purchases, and an update reads the new ones alone: leave them out"
        )
    if since_last:
        if last is None:
            raise ConfigError(
                "this model does not say when its last purchase was, so that it cannot be told which rows are new: "
                "train again on all purchases with 'recae train', of a table with times"
            )
        after = last + 1
        if chosen.start is None or chosen.start < after:
            if chosen.end is not None and chosen.end <= after:
                raise ConfigError(
                    f"the period ends at {chosen.until}, before the last purchase that the model knows, "
                    f"{time_text(last)}: give a later --until"
                )
            chosen = replace(chosen, since=time_text(after))
        progress.on_message(
            f"reading rows later than {time_text(last)}, the last purchase that the model knows"
        )
    options = (reading or ReadOptions()).updated(filters=None, fewest=0, baskets=by_basket)
    options = as_trained(options, metadata)
    options = _with_inputs(options, recommender, progress.on_message)
    with Reading(source, options) as opened:
        if since_last and opened.columns.time is None:
            raise ColumnError(
                f"'{opened.table.name}' has no column of times, by which rows later than the model's last purchase are "
                "told: name it with --time-column" + ("" if by_basket else ", or leave --since-last out")
            )
        opened.options = opened.options.updated(filters=chosen or None)
        found = opened.purchases(event_ids=lambda bought: ids_with(recommender, bought))
        returned = returned_pairs(opened) if take_back else None
    progress.on_report(found.report)
    interactions, events = found.interactions, found.events
    inputs = None
    if found.inputs is not None:
        inputs = (found.inputs, *ids_with(recommender, interactions))
    elif options.inputs:
        say(
            f"warning: the model reads other events, too ({', '.join(options.inputs)}), and no column of events is "
            "recognised in the new rows, which all count as purchases: name it with --event-column, if there is one"
        )
    if by_basket:
        interactions, events = _without_late(interactions, events, progress)
    return New(interactions, events, returned, inputs)


def _with_inputs(
    options: ReadOptions, recommender: Recommender, on_message: Callable[[str], None]
) -> ReadOptions:
    """Return options that read the other events that the model reads, those that are named or those that there are.

    Raises:
        ConfigError: one is named that the model was not trained with.
    """
    read, asked = inputs_of(recommender.model), options.inputs
    if asked is None:
        if not read or options.event_column == "":
            return options
        if options.where is not None:
            say(
                f"warning: the model reads other events, too ({', '.join(read)}), and with --where the new rows are "
                "read without them: say which rows are purchases with --event-weights instead, such as purchase=1"
            )
            return options
        return options.updated(inputs=read, absent_inputs=True)
    counting = recommender.metadata.get("reading")
    trained = counting.get("inputs") if isinstance(counting, Mapping) else None
    words = trained.get("events") if isinstance(trained, Mapping) else None
    known = {*read, *(words if isinstance(words, Mapping) else ())}
    if unknown := [name for name in asked if name not in known]:
        reads = f"the model reads {', '.join(read)}" if read else "the model reads none"
        raise ConfigError(
            f"--inputs names {unknown[0]!r}, but of other events than purchases {reads}: leave it out, or train with it"
        )
    if passed := [name for name in asked if name not in read]:
        on_message(f"{', '.join(passed)} brought nothing in training, and is passed over")
    return options.updated(inputs=tuple(name for name in asked if name in read) or None)


def as_trained(options: ReadOptions, metadata: Mapping[str, Any]) -> ReadOptions:
    """Return options that choose rows as the training did, where they do not say otherwise."""
    counting = metadata.get("reading")
    if not isinstance(counting, Mapping):
        return options
    where, rating = counting.get("where"), counting.get("rating")
    if options.where is None and isinstance(where, str) and options.event_weights is None:
        options = options.updated(where=where)
    if options.min_rating is None and isinstance(rating, Mapping) and "least" in rating:
        column = options.rating_column or str(rating.get("column"))
        options = options.updated(min_rating=float(rating["least"]), rating_column=column)
    return options


def _without_late(
    interactions: Interactions, events: Events | None, progress: Progress
) -> tuple[Interactions, Events | None]:
    """Return the purchases without those dated far later than all others, which each update would count again."""
    if events is None or events.time is None:
        raise DataError(
            "a model of repeat purchases needs the time of each purchase: name it with --time-column"
        )
    end = last_purchase(events.time).get(LAST_PURCHASE)
    known = events.time != NO_TIME
    late = known & (events.time >= (np.iinfo(np.int64).max if end is None else (end + 1) * SECOND))
    lost = late | ~known
    if not lost.any():
        return interactions, events
    progress.on_message(
        f"{int(lost.sum()):,} purchases are dated far later than all others, or not at all, and are left out: each "
        "update would count them again"
    )
    stay = events.where(~lost)
    users, items = np.unique(stay.user), np.unique(stay.item)
    return interactions.subset(users, items), stay.subset(users, items)


def _decay(model: Model) -> float:
    """Return what a purchase counts one basket later in the histories of a model that reads their values."""
    for part in parts_of_model(model):
        value = part.model.config().get("decay") if reads_values(part.model) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
    raise ConfigError(
        "this model reads how often and how lately items were bought, and does not say how that decays: train again on "
        "all purchases with 'recae train'"
    )


def _metadata(
    before: Mapping[str, Any], union: Union, new: Interactions, inputs: EventInputs | None
) -> dict[str, Any]:
    """Return the metadata of the updated recommender: the figures of the training, and what has come since."""
    filters, events = filters_of(before), before.get("inputs")
    if inputs is not None and isinstance(events, Mapping):
        events = {**events, "pairs": {**events.get("pairs", {}), **inputs.counts}}
    return {
        **{name: value for name, value in before.items() if name != "filters"},
        **({"filters": filters.as_dict()} if filters else {}),
        **({"inputs": events} if events else {}),
        "fingerprint": union.fingerprint,
        REFIT: {"users": len(union.users)},
        **last_purchase(new.times, before),
        UPDATES: {
            "number": pairs_of(before, "number") + 1,
            "pairs": pairs_of(before, "pairs") + union.added,
            "taken_back": pairs_of(before, "taken_back") + union.taken_back,
            "users": pairs_of(before, "users") + union.new_users,
            "items": pairs_of(before, "items") + int(union.new_items.size),
        },
        "versions": versions(),
    }
