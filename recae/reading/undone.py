"""The lines of orders that were undone: cancelled, refunded, returned, failed, never paid, or never placed.

They are told by the words of status columns, by columns that hold a time or a yes where an order was undone, and by
columns that say how much of a line was given back. Exports of shops often state what became of an order on its first
line only; the whole order is left out then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from recae.reading.engine import quoted, text
from recae.reading.names import Name
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.statuses import (
    FALSE_WORDS,
    MOST_WORDS,
    RETURNED,
    STANDS,
    STATUS_UNDONE,
    TRUE_WORDS,
    Words,
    as_words,
    is_flag_name,
    is_refund_name,
    is_status_name,
    is_status_of_others,
    numbered,
    status_meaning,
)
from recae.reading.table import Note, Table
from recae.reading.where import column_number

WORDS: Final = 50
"""Distinct values at most of a column of words, in its first rows."""

_REASONS: Final = 8  # words with a reason of their own
_KNOWN: Final = 0.9  # of the rows: what known words must explain where a column's name does not
_USUAL: Final = 0.5  # of the rows: what comes back more often than that was lent
_TIMES: Final = (
    r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}.*|\d{10}(\d{3})?(\.\d+)?|\d{8}|\d{1,2}\.? \p{L}+.*|\p{L}{3,9} \d.*"
)
_NO_TIMES: Final = r"0{1,4}[-./]0{1,2}[-./]0{1,4}.*|0{8}"
_MARK: Final = "{mark}"
_ADVICE: Final = "count them, too, with --where true"


@dataclass
class Undone:
    """How lines of undone orders are told.

    Attributes:
        statuses: columns of words.
        flags: columns of times or truths, with SQL that is 'true' where a line was undone.
        refunds: columns of how much was given back, likewise.
        conditions: as in `recae.reading.counting.RowCounting`.
        notes: likewise.
        chosen: likewise.
    """

    table: Table
    columns: Columns
    statuses: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    refunds: dict[str, str] = field(default_factory=dict)
    conditions: list[tuple[str, str]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    chosen: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Table, columns: Columns, options: ReadOptions, event: str | None) -> Undone:
        """Return the columns by which lines of undone orders can be told.

        Args:
            table: to look at.
            columns: those of the roles.
            options: of which a status column is taken alone; "" says that there is none.
            event: the column of events, which says what it means by itself.
        """
        found = cls(table, columns)
        taken = {*columns.used(), columns.rating, columns.confidence, event}
        others = [name for name in table.columns if name not in taken]
        given = options.status_column
        if given:
            found.statuses = [given]
        elif given is None:
            words = sample_words(table, [name for name in others if _holds_words(table.types[name])])
            status = columns.status
            first = [status] if status is not None and not is_status_of_others(status) else []
            more = [name for name, counts in words.items() if name not in first and _is_status(name, counts)]
            found.statuses = [*first, *more]
            found.flags = {
                name: sql
                for name in others
                if is_flag_name(name)
                and name not in found.statuses
                and (sql := _flag(table, name)) is not None
            }
        if columns.quantity is not None:
            quantity = column_number(table, columns.quantity)
            for name in others:
                if is_refund_name(name) and name not in found.flags:
                    back = column_number(table, name)
                    found.refunds[name] = f"CASE WHEN {back} > 0 AND {back} >= {quantity} THEN 'true' END"
        return found

    def words(self) -> dict[str, str]:
        """Return SQL for what is to be counted, by column."""
        return {name: as_words(self.table, name) for name in self.statuses} | self.flags | self.refunds

    def settle(self, found: dict[str, Words]) -> None:
        """Decide which lines are left out.

        Args:
            found: what `words` gives over the whole table.
        """
        counts = {name: words.counts for name, words in found.items()}
        undone = {name: _undone_words(counts[name]) for name in self.statuses}
        raised = {name for name in (*self.flags, *self.refunds) if counts[name]["true"]}
        for name in [*undone, *raised]:
            back = [word for word in undone.get(name, ["true"]) if self._is_return(name, word)]
            lines = sum(counts[name][word] for word in back)
            if lines > _USUAL * (counts[name].total() - (counts[name][None] if name in undone else 0)):
                if name in undone:
                    undone[name] = [word for word in undone[name] if word not in back]
                raised.discard(name)
                rows = counts[name].total()
                said = f"{lines:,} of {rows:,} rows came back, as is usual where things are lent; they count"
                self._note(name, said, lines, "leave them out with --where", True)
        order = self._order(counts) if any(undone.values()) or raised & set(self.flags) else None
        for name, words in undone.items():
            if words:
                self._leave_out_words(name, words, found[name], order)
        for name, sql in self.flags.items():
            if name in raised:
                self._leave_out_flag(name, sql, counts[name]["true"], order)
        for name, sql in self.refunds.items():
            if name in raised:
                self.conditions.append((f"given back ({name})", f"{sql} = 'true'"))
                self.chosen.setdefault("refunds", []).append(name)
                self._note(
                    name,
                    f"{counts[name]['true']:,} lines given back as a whole are left out",
                    counts[name]["true"],
                )

    def _is_return(self, name: str, word: str) -> bool:
        """Tell whether a word says that something came back, which is no undoing where it was lent."""
        if name in self.statuses:
            return status_meaning(word) == RETURNED
        return status_meaning(name) == RETURNED

    def _leave_out_words(self, name: str, words: list[str], found: Words, order: str | None) -> None:
        counts, lines, whole = found.counts, 0, ""
        if counts[None] and order is not None:
            whole, lines = self._other_lines(found.among(words), found.value, found.none(), order)
        groups = [([word], f"{name} {word!r}") for word in words[:_REASONS]]
        if words[_REASONS:]:
            groups.append((words[_REASONS:], f"{name} of another such kind"))
        for group, reason in groups:
            others = f" OR {whole.replace(_MARK, found.among(group, 'status'))}" if whole else ""
            self.conditions.append((reason, found.among(group) + others))
        said = f"{numbered(counts, words)} left out" + (
            f", with {lines:,} more lines of the same orders (by {order!r})" if lines else ""
        )
        stands = [word for word in counts if word is not None and word not in words]
        said += f"; {numbered(counts, stands)} count" if stands else ""
        if counts[None] and order is None and counts[None] > counts.total() - counts[None]:
            said += (
                f"; {counts[None]:,} rows without one count, since nothing tells which lines make an order"
            )
            self._note(
                name, said, sum(counts[word] for word in words), "name the order with --basket-column", True
            )
        else:
            self._note(name, said, sum(counts[word] for word in words) + lines)
        self.chosen.setdefault("statuses", []).append({"column": name, "left_out": sorted(words)})

    def _leave_out_flag(self, name: str, sql: str, count: int, order: str | None) -> None:
        mark, lines = f"({sql}) = 'true'", 0
        if order is not None:
            value = self.table.as_text(name)
            whole, lines = self._other_lines(mark, value, f"{value} IS NULL", order)
            mark = f"{mark} OR {whole.replace(_MARK, 'true')}"
        self.conditions.append((name, mark))
        self.chosen.setdefault("flags", []).append(name)
        more = f", with {lines:,} more lines of the same orders (by {order!r})" if lines else ""
        self._note(name, f"{count:,} rows that it marks are left out{more}", count + lines)

    def _note(self, name: str, said: str, rows: int, advice: str = _ADVICE, doubt: bool = False) -> None:
        self.notes.append(Note(f"{name}: {said}", doubt, "rows-statuses", name, advice, rows))

    def _other_lines(self, undone: str, value: str, silent: str, order: str) -> tuple[str, int]:
        """Return SQL for the lines without a status of undone orders, and their number.

        Args:
            undone: SQL for the lines that say so.
            value: SQL for what they say.
            silent: SQL for the lines that say nothing.
            order: the column of the order's number.

        Returns:
            the SQL has a place `_MARK` for a condition on the order's status.
        """
        table, key = self.table, self.table.as_text(order)
        orders = table.engine.store(
            f"SELECT DISTINCT {key} AS number, {value} AS status FROM {table.relation} WHERE ({undone}) "
            f"AND {key} IS NOT NULL",
            "undone_orders",
        )
        lines = table.engine.value(
            f"SELECT count(*) FROM {table.relation} WHERE ({silent}) AND {key} IN (SELECT number FROM {orders})"
        )
        numbers = f"SELECT number FROM {orders} WHERE {_MARK}"
        return f"(({silent}) AND {key} IN ({numbers}))", int(lines)

    def _order(self, counts: dict[str, Counter[str | None]]) -> str | None:
        """Return the column that numbers the orders, where a status is given on the first line of each only.

        Such a column has one line with a status for each of its values.
        """
        table = self.table
        partly = [name for name in self.statuses if counts[name][None] and len(counts[name]) > 1]
        names = [name for name in table.columns if name not in self.statuses and name not in self.flags]
        for status in partly:
            value = table.as_text(status)
            parts = [f"count({value})", "count(*)"]
            for name in names:
                key = table.as_text(name)
                parts += [
                    f"count(DISTINCT {key})",
                    f"count(DISTINCT CASE WHEN {value} IS NOT NULL THEN {key} END)",
                    f"count({key})",
                ]
            stated, rows, *found = table.engine.row(f"SELECT {', '.join(parts)} FROM {table.sample()}")
            triples = zip(names, found[::3], found[1::3], found[2::3], strict=True)
            fitting = [
                name
                for name, distinct, with_status, filled in triples
                if 0 < stated < rows and distinct == with_status == stated and filled == rows
            ]
            if fitting:
                return min(
                    fitting,
                    key=lambda name: (
                        name != self.columns.basket,
                        Name(name).preference("basket") is None,
                        fitting.index(name),
                    ),
                )
        return None


def sample_words(table: Table, columns: list[str]) -> dict[str, Counter[str | None]]:
    """Return how often each word occurs in the first rows, for the columns with a small number of different ones."""
    if not columns:
        return {}
    engine, sample = table.engine, table.sample()
    distinct = engine.row(
        f"SELECT {', '.join(f'count(DISTINCT {quoted(name)})' for name in columns)} FROM {sample}"
    )
    found: dict[str, Counter[str | None]] = {}
    for name, number in zip(columns, distinct, strict=True):
        if number <= WORDS:
            rows = engine.rows(f"SELECT {table.as_text(name)}, count(*) FROM {sample} GROUP BY 1")
            found[name] = Counter({word: int(count) for word, count in rows})
    return found


def _holds_words(kind: str) -> bool:
    return kind == "VARCHAR" or kind.startswith("ENUM")


def _is_status(name: str, counts: Counter[str | None]) -> bool:
    """Tell whether a column holds what became of orders, by its name or by its words."""
    if is_status_name(name) or is_status_of_others(name):
        return is_status_name(name)
    meanings = {word: status_meaning(word) for word in counts if word is not None}
    known = sum(counts[word] for word, meaning in meanings.items() if meaning is not None)
    rows = counts.total() - counts[None]
    kinds = set(meanings.values())
    return bool(rows) and known >= _KNOWN * rows and STANDS in kinds and bool(kinds & set(STATUS_UNDONE))


def _undone_words(counts: Counter[str | None]) -> list[str]:
    if len(counts) > MOST_WORDS:
        return []  # no column of words
    return [word for word in counts if word is not None and status_meaning(word) in STATUS_UNDONE]


def _flag(table: Table, name: str) -> str | None:
    """Return SQL that is 'true' where a column marks a row by a time or a yes; None where it holds other things."""
    kind, value = table.types[name], table.as_text(name)
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"CASE WHEN {quoted(name)} IS NOT NULL THEN 'true' END"
    yes, no = (", ".join(map(text, words)) for words in (TRUE_WORDS, FALSE_WORDS))
    low, missing = f"lower({value})", Table.missing(value)
    time = f"regexp_full_match({value}, {text(_TIMES)}) AND NOT regexp_full_match({value}, {text(_NO_TIMES)})"
    empty = f"{low} IN ({no}) OR {missing} OR regexp_full_match({value}, {text(_NO_TIMES)})"
    strange = table.engine.value(
        f"SELECT count(*) FROM {table.sample()} WHERE {value} IS NOT NULL "
        f"AND NOT ({low} IN ({yes}) OR {time} OR {empty})"
    )
    return None if strange else f"CASE WHEN {low} IN ({yes}) OR ({time}) THEN 'true' END"
