"""Which rows of a table count as purchases, and how much: by a condition, by events and statuses, by ratings.

What is asked for is done. Without a word on it, the events that mean a purchase count and the others are left out, and
so are the lines of undone orders. All that is chosen so is said, with numbers and the option that chooses otherwise.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recae.errors import ColumnError
from recae.reading import statuses
from recae.reading.engine import quoted
from recae.reading.event_words import choose_inputs, known_inputs
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.statuses import MOST_WORDS, Words, as_words, numbered, words_of
from recae.reading.table import Note, Table
from recae.reading.undone import WORDS, Undone, sample_words
from recae.reading.where import column_number, condition

_REASONS: Final = 8  # events with a reason of their own
_KNOWN: Final = 0.95  # of the rows: what known events must explain where a column's name does not
_KNOWN_BY_NAME: Final = 0.5  # of the rows, where it does
_LIKED: Final = 0.7  # of the highest rating: what is advised as liked
_SAMPLE: Final = 20_000  # rows of `Table.sample`


@dataclass(frozen=True)
class RowCounting:
    """Which rows count, and how much each.

    Attributes:
        conditions: why rows are left out, as (reason, SQL over the relation); a row is left out for the first whose SQL
            is true.
        confidence: SQL for how much a row counts, DOUBLE above zero; None: each counts alike.
        notes: what was chosen, in sentences.
        chosen: what was chosen, as JSON values that do not depend on how many rows there are.
        relation: to read instead of the table's own; None: that one.
        inputs: other events that are held beside the purchases, as (name, SQL over the relation).
    """

    conditions: tuple[tuple[str, str], ...] = ()
    confidence: str | None = None
    notes: tuple[Note, ...] = ()
    chosen: dict[str, Any] = field(default_factory=dict)
    relation: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()


def choose_rows(table: Table, columns: Columns, options: ReadOptions) -> RowCounting:
    """Choose which rows of a table count.

    Args:
        table: the table.
        columns: those chosen. Event and status columns that are not among them are looked for.
        options: what is asked for.

    Raises:
        ConfigError: the condition is none.
        ColumnError: a column that is asked for is not there or is not what it is taken for, or an event that is named
            does not occur.
    """
    return _Chooser(table, columns, options).choose()


def chosen_words(chosen: Mapping[str, Any]) -> list[str]:
    """Return what was chosen, as lines to read.

    Args:
        chosen: as in `RowCounting`.
    """
    lines = [f"rows where {chosen['where']}"] if "where" in chosen else []
    if "events" in chosen:
        weights = chosen["events"]["weights"].items()
        words = ", ".join(
            repr(word) if weight == 1 else f"{word!r} as {weight:g}" for word, weight in weights
        )
        lines.append(f"events in {chosen['events']['column']!r}: {words}")
    lines += [
        f"without {status['column']!r} of {', '.join(map(repr, status['left_out']))}"
        for status in chosen.get("statuses", ())
    ]
    lines += [
        f"without the rows that {name!r} marks as taken back"
        for name in (*chosen.get("flags", ()), *chosen.get("refunds", ()))
    ]
    if "inputs" in chosen:
        lines.append(f"other events as inputs: {', '.join(map(repr, chosen['inputs']['events']))}")
    if "rating" in chosen:
        lines.append(f"{chosen['rating']['column']!r} of {chosen['rating']['least']:g} and more")
    if "confidence" in chosen:
        lines.append(f"confidence from {chosen['confidence']!r}")
    return lines


class _Chooser:
    """Collects conditions, confidences and notes."""

    def __init__(self, table: Table, columns: Columns, options: ReadOptions) -> None:
        self.table, self.columns, self.options, self.engine = table, columns, options, table.engine
        self.conditions: list[tuple[str, str]] = []
        self.confidences: list[str] = []
        self.notes: list[Note] = []
        self.chosen: dict[str, Any] = {}

    def choose(self) -> RowCounting:
        options = self.options
        if options.where is not None:
            self._by_where(options.where)
        by_itself = options.where is None
        event = self._event_column() if by_itself or options.event_weights else None
        undone = Undone(self.table, self.columns)
        if by_itself:
            undone = Undone.of(self.table, self.columns, self._given_status(), event)
        events = {} if event is None else {event: as_words(self.table, event)}
        words = words_of(self.table, events | undone.words())
        if options.event_weights:
            self._by_event_weights(event, words, options.event_weights)
        elif event is not None:
            self._by_events(event, words[event])
        inputs = () if options.inputs is None else self._inputs(event, words, options.inputs)
        undone.settle(words)
        self.conditions += undone.conditions
        self.notes += undone.notes
        self.chosen |= undone.chosen
        self._by_ratings()
        self._by_confidence()
        confidence = " * ".join(f"({sql})" for sql in self.confidences) or None
        return RowCounting(tuple(self.conditions), confidence, tuple(self.notes), self.chosen, inputs=inputs)

    def _by_where(self, words: str) -> None:
        """Leave out the rows for which a condition does not hold."""
        if not self.engine.value("SELECT current_setting('lock_configuration')"):
            others = [path for path in (self.options.items, self.options.orders) if path is not None]
            self.engine.close_doors([*self.table.files, *others])
        found = condition(self.table, words)
        self.notes += found.notes
        self.chosen["where"] = words.strip()
        if found.sql.lower() != "true":
            self.conditions.append((f"not {words.strip()}", f"NOT coalesce({found.sql}, false)"))

    # events

    def _event_column(self) -> str | None:
        """Return the column of events that was given, chosen, or is recognised by its words; None for none."""
        given = self.options.event_column
        if given is not None:
            return self._given(given, "event") if given else None
        if self.columns.event is not None:
            return self.columns.event
        taken = {*self.columns.used(), self.columns.rating, self.columns.status, self.columns.confidence}
        others = [
            name
            for name in self.table.columns
            if name not in taken
            and (
                self.table.is_text(name)
                or self.table.types[name].startswith("ENUM")
                or statuses.is_purchase_name(name)
            )
            and not statuses.is_status_name(name)
        ]
        found = [
            name for name, counts in sample_words(self.table, others).items() if self._is_event(name, counts)
        ]
        return min(
            found, key=lambda name: (not statuses.is_event_name(name), found.index(name)), default=None
        )

    def _is_event(self, name: str, counts: Counter[str | None]) -> bool:
        """Tell whether a column holds events, by its name and by its words."""
        meanings = statuses.meanings_of(name, counts)
        known = sum(counts[word] for word, meaning in meanings.items() if meaning is not None)
        rows = counts.total() - counts[None]
        if not rows:
            return False
        if statuses.is_event_name(name):
            return known >= _KNOWN_BY_NAME * rows
        telling = {statuses.PURCHASE, statuses.CART, statuses.VIEW} & set(meanings.values())
        several = len(meanings) > 1 and len(telling) >= 1
        alone = not self.table.header and len(telling) == 1 and len(meanings) == 1
        return known >= _KNOWN * rows and (several or alone)

    def _by_events(self, column: str, found: Words) -> None:
        """Let purchases count, and leave out the rest; everything counts where nothing means a purchase."""
        counts = found.counts
        words = statuses.meanings_of(column, counts)
        if len(counts) > MOST_WORDS or not any(words.values()):
            if 1 < len(words) <= WORDS:
                self._unknown_events(column, counts)
            return
        bought = {word: 1.0 for word, meaning in words.items() if meaning == statuses.PURCHASE}
        if bought:
            self._keep(column, bought, found)
            if len(bought) < len(counts):
                self._event_note(column, bought, counts)
            return
        counted = {word: 1.0 for word, meaning in words.items() if meaning != statuses.UNDONE}
        counted = counted or dict.fromkeys(words, 1.0)
        undone = [word for word in words if word not in counted]
        self._leave_out(column, undone, found)
        self.chosen["events"] = {"column": column, "weights": dict(sorted(counted.items()))}
        but = f"; {numbered(counts, undone)} left out" if undone else ""
        several = len(counted) > 1
        self.notes.append(
            Note(
                f"{column}: no event is known as a purchase, so all count: {numbered(counts, counted)}{but}",
                doubt=several,
                code="rows-events",
                column=column,
                advice=f"choose with --event-weights {_weights(column, counts)}" if several else "",
            )
        )

    def _unknown_events(self, column: str, counts: Counter[str | None]) -> None:
        example = next(word for word in counts if word is not None)
        self.notes.append(
            Note(
                f"{column}: it is not known which of its values are purchases ({numbered(counts)}), so all rows count",
                doubt=True,
                code="rows-events",
                column=column,
                advice=f"name those that are with --event-weights, such as {example}=1",
            )
        )

    def _by_event_weights(
        self, column: str | None, words: Mapping[str, Words], weights: Sequence[tuple[str, float]]
    ) -> None:
        """Let events count as much as is asked for, and leave the others out."""
        if column is None:
            raise ColumnError(
                "--event-weights needs a column of events, but none is recognised; name it with --event-column; "
                f"found: {self._names()}"
            )
        counts = words[column].counts
        if len(counts) > MOST_WORDS:
            raise ColumnError(
                f"column {column!r} holds more than {MOST_WORDS:,} different values, so it is none of events; name "
                "another with --event-column"
            )
        found: dict[str, float] = {}
        for event, weight in weights:
            found |= dict.fromkeys(_occurring(event, column, counts), weight)
        counted = {word: weight for word, weight in found.items() if weight > 0}
        self._keep(column, counted, words[column])
        self._event_note(column, counted, counts)

    def _inputs(
        self, column: str | None, words: Mapping[str, Words], asked: Sequence[str]
    ) -> tuple[tuple[str, str], ...]:
        """Return other events that are held beside the purchases, with their SQL."""
        if column is None and self.options.absent_inputs:
            return ()
        if column is None:
            raise ColumnError(
                "--inputs needs a column of events, but none is recognised; name it with --event-column; found: "
                f"{self._names()}"
            )
        counted = self.chosen.get("events", {}).get("weights")
        purchases = [word for word in words[column].counts if word] if counted is None else list(counted)
        found = choose_inputs(column, words[column], asked, purchases, self.options.absent_inputs)
        self.chosen["inputs"] = {
            "column": column,
            "events": {name: sorted(own) for name, own in found.items()},
        }
        held = {f"{column} {word!r}" for own in found.values() for word in own}
        self.conditions = [
            (f"{reason}, an input beside the purchases" if reason in held else reason, sql)
            for reason, sql in self.conditions
        ]
        return tuple((name, words[column].among(own)) for name, own in found.items())

    def _keep(self, column: str, weights: Mapping[str, float], found: Words) -> None:
        """Let some events count with their weights, and leave out the others under their names."""
        others = [word for word in found.counts if word is not None and word not in weights]
        self._leave_out(column, others, found)
        if None in found.counts:
            self.conditions.append((f"no {column}", found.none()))
        if any(weight != 1 for weight in weights.values()):
            cases = [f"WHEN {found.among([word])} THEN {float(weight)!r}" for word, weight in weights.items()]
            self.confidences.append(f"CASE {' '.join(cases)} END::DOUBLE")
        self.chosen["events"] = {"column": column, "weights": dict(sorted(weights.items()))}

    def _leave_out(self, column: str, words: Sequence[str], found: Words) -> None:
        """Leave out rows by their event, the frequent ones under a reason each."""
        ordered = sorted(words, key=lambda word: (-found.counts[word], word))
        groups = [([word], f"{column} {word!r}") for word in ordered[:_REASONS]]
        if ordered[_REASONS:]:
            groups.append((ordered[_REASONS:], f"another {column}"))
        self.conditions += [(reason, found.among(group)) for group, reason in groups]

    def _event_note(self, column: str, weights: Mapping[str, float], counts: Counter[str | None]) -> None:
        left = [word for word in counts if word not in weights]
        example = _weights(column, counts)
        asked = self.options.event_weights
        advice = f"choose otherwise with --event-weights {example}"
        if "," not in example:
            advice = "count them, too, with --where true"
        others = [name for name in known_inputs(column, counts) if name not in map(str, weights)]
        if others:
            advice = f"recae train --inputs {','.join(others)} learns from them, too; or {advice}"
        beside = self.options.inputs is not None
        purchases = numbered(counts, weights)
        if any(weight != 1 for weight in weights.values()):
            purchases += f" (as {_listed(weights)})"
        out = f"; {numbered(counts, left)} {'do not' if beside else 'are left out'}" if left else ""
        counts_as = "count" if asked else "count as purchases"
        self.notes.append(
            Note(
                f"{column}: {purchases} {counts_as}{out}",
                code="rows-events",
                column=column,
                advice="" if asked or beside else advice,
                rows=sum(counts[word] for word in left),
            )
        )

    # statuses, ratings and confidences

    def _given_status(self) -> ReadOptions:
        """Return the options, of which a status column is in the table."""
        if self.options.status_column:
            self._given(self.options.status_column, "status")
        return self.options

    def _by_ratings(self) -> None:
        """Leave out low ratings where that is asked for, and say otherwise that they count."""
        column, least = self._rating_column(), self.options.min_rating
        if column is None:
            if least is not None:
                raise ColumnError(
                    "--min-rating needs a column of ratings, but none is recognised; name it with --rating-column; "
                    f"found: {self._names()}"
                )
            return
        number = column_number(self.table, column)
        if least is None:
            if self.options.where is None:
                self._rating_note(column, number)
            return
        numbers, values = self.engine.row(
            f"SELECT count({number}), count({quoted(column)}) FROM {self.table.sample()}"
        )
        if values and not numbers:
            raise ColumnError(
                f"--min-rating needs numbers, but column {column!r} holds none ({self._examples(column)}); name "
                "another with --rating-column"
            )
        self.conditions += [
            (f"{column} is not a number", f"{number} IS NULL"),
            (f"{column} below {least:g}", f"{number} < {float(least)!r}"),
        ]
        self.chosen["rating"] = {"column": column, "least": float(least)}
        self.notes.append(Note(f"{column}: ratings of {least:g} and more count", column=column))

    def _rating_column(self) -> str | None:
        given = self.options.rating_column
        if given is not None:
            return self._given(given, "rating") if given else None
        return self.columns.rating

    def _rating_note(self, column: str, number: str) -> None:
        """Say that a table holds ratings, and how to choose among them."""
        sample = self.table.sample()
        least, most, zeros, rows = self.engine.row(
            f"SELECT min(n), max(n), count(*) FILTER (WHERE n = 0), count(*) FROM (SELECT {number} AS n FROM {sample})"
        )
        if least is None or least == most:
            return
        limit = float(math.ceil(most * _LIKED)) if most > 1 else float(most)
        low = self.engine.value(f"SELECT count(*) FROM {sample} WHERE {number} < {limit!r}")
        seen = f"of the first {rows:,} rows" if rows >= _SAMPLE else f"of {rows:,} rows"
        said = f"{column}: holds ratings from {least:g} to {most:g}, {low:,} {seen} below {limit:g}"
        if zeros and least == 0 and most > 1:
            said += f" and {zeros:,} that are 0, which may mean that nothing was rated"
        self.notes.append(
            Note(
                f"{said}; all of them count",
                code="rows-ratings",
                column=column,
                advice=f"let only the higher ones count with --min-rating {limit:g}",
            )
        )

    def _by_confidence(self) -> None:
        """Take confidences from a column."""
        column = self.options.confidence_column or self.columns.confidence
        if not column or self.options.confidence_column == "":
            return
        column = self._given(column, "confidence")
        number = column_number(self.table, column)
        good, some = self.engine.row(
            f"SELECT count(*) FILTER (WHERE {number} > 0), count({quoted(column)}) FROM {self.table.sample()}"
        )
        if some and not good:
            raise ColumnError(
                f"--confidence-column names {column!r}, which holds no number above zero in its first rows "
                f"({self._examples(column)}); name a column that says how much a row counts"
            )
        self.conditions += [
            (f"{column} is not a number", f"{number} IS NULL OR isinf({number})"),
            (f"{column} is zero or less", f"{number} <= 0"),
        ]
        self.confidences.append(number)
        self.chosen["confidence"] = column
        self.notes.append(Note(f"{column}: how much each row counts", column=column))

    def _given(self, name: str, role: str) -> str:
        """Return a column that was named, or say that the table does not have it."""
        columns = self.table.columns
        if name in columns:
            return name
        plain = statuses.plain_words
        near = [other for other in columns if plain(other) == plain(name)]
        near = near or difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ColumnError(
            f"--{role}-column names {name!r}, which the table does not have{hint}; found: {self._names()}"
        )

    def _names(self) -> str:
        names = self.table.columns
        return ", ".join(map(repr, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")

    def _examples(self, column: str) -> str:
        value = self.table.as_text(column)
        rows = self.engine.rows(
            f"SELECT {value} FROM {self.table.sample()} WHERE {value} IS NOT NULL GROUP BY 1 "
            f"ORDER BY count(*) DESC, 1 LIMIT 3"
        )
        return ", ".join(repr(str(row[0])) for row in rows)


def _occurring(event: str, column: str, counts: Counter[str | None]) -> list[str]:
    """Return the events of a table that a name means: itself, or else those that differ in case and separators."""
    words = [word for word in counts if word is not None]
    plain = statuses.plain_words(event)
    found = [word for word in words if word == event]
    found = found or [word for word in words if statuses.plain_words(word) == plain]
    if found:
        return found
    near = difflib.get_close_matches(event.casefold(), [word.casefold() for word in words], 1, 0.6)
    hint = next((f" did you mean {word!r}?" for word in words if near and word.casefold() == near[0]), "")
    raise ColumnError(
        f"--event-weights names {event!r}, but column {column!r} has {numbered(counts)};{hint or ' name one of these'}"
    )


def _weights(column: str, counts: Counter[str | None]) -> str:
    """Return an example of weights for the known events: 1 for a purchase, .5 for a cart or a use, .1 for a view."""
    meanings = statuses.meanings_of(column, counts)
    bought = statuses.PURCHASE in meanings.values()
    worth = {
        statuses.PURCHASE: 1.0,
        statuses.USE: 0.5 if bought else 1.0,
        statuses.CART: 0.5,
        statuses.VIEW: 0.1,
    }
    example = {
        word: worth[meaning]
        for word, meaning in meanings.items()
        if meaning in worth and not set(",=") & set(word)
    }
    shown = _listed(dict(list(example.items())[:_REASONS]))
    return f"'{shown}'" if " " in shown else shown


def _listed(weights: Mapping[str, float]) -> str:
    return ",".join(f"{word}={weight:g}" for word, weight in weights.items())
