"""Checks of ids: damage by spreadsheets, float columns and manual edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recae.examination.findings import EXAMPLES, Finding, Severity, counted
from recae.examination.seen import Seen
from recae.ids import shown
from recae.reading.engine import Engine, text

_MONTH: Final = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)"
_PATTERNS: Final = {
    "scientific": r"[+-]?(\d+(\.\d+)?[eE]\+\d+|\d\.\d+[eE]\d+)",
    "rounded": r"\d{15}0+",  # Excel keeps fifteen digits
    "long": r"\d{16,}",
    "dates": rf"(?i)(\d{{1,2}}-{_MONTH}(-\d{{2,4}})?|{_MONTH}-\d{{2,4}}"
    r"|\d{4}-\d\d-\d\d([T ]00:00:00)?|\d{1,2}/\d{1,2}/\d{4}( 0?0:00(:00)?)?)",
    "guests": r"(?i)\s*(guest|anonymous|anonym|gast|laufkunde|barverkauf|walk[ -]?in|invité|invitado|ospite|test)\s*",
    "digits": r"\d+",
}
_POINTED: Final = r"NOT whole AND regexp_full_match(raw, '-?\d+\.0+')"
_OTHERS: Final = {"pointed": _POINTED, "texts": "NOT whole", "foreign": "regexp_matches(id, '[^ -~]')"}
_LONG: Final = 8  # digits; numbers that count from 1 are hardly as long
_FIXED: Final = 0.95  # numbers drawn from all of a length are shorter in a tenth of the cases


@dataclass(frozen=True, eq=False)
class _Ids:
    """The distinct ids of a column: a table (id, raw, n rows, and whether each of `_PATTERNS` matches).

    Attributes:
        what: "user" or "item".
        column: its name.
        engine: knows the table.
        table: name of the table.
        numbers: how many ids there are ("all"), and of how many each of `_PATTERNS` and `_OTHERS` holds.
    """

    what: str
    column: str
    engine: Engine
    table: str
    numbers: Mapping[str, int]

    def count(self, where: str) -> tuple[int, int]:
        """Return how many ids a condition holds of, and in how many rows they are."""
        number, rows = self.engine.row(
            f"SELECT count(*), coalesce(sum(n), 0)::BIGINT FROM {self.table} WHERE {where}"
        )
        return int(number), int(rows)

    def finding(
        self,
        severity: Severity,
        code: str,
        where: str,
        sentence: str,
        advice: str,
        examples: list[str] | None = None,
    ) -> Finding:
        """Return a finding on the ids of which a condition holds; {n} in its sentence is their number."""
        number, rows = self.count(where)
        if examples is None:
            most = self.engine.rows(
                f"SELECT raw, n FROM {self.table} WHERE {where} ORDER BY n DESC, raw LIMIT {EXAMPLES}"
            )
            examples = [f"{shown(raw)} in {counted(n, 'row')}" for raw, n in most]
        said = sentence.replace("{n}", counted(number, self.what)).replace("{what}", self.what)
        return Finding(severity, code, self.column, said, advice, tuple(examples), rows)


def check_ids(seen: Seen) -> Iterator[Finding]:
    """Check the ids of the users and of the items."""
    for found, column in ((seen.stored.users, seen.columns.user), (seen.stored.items, seen.columns.item)):
        if not seen.used:
            continue
        raw = "coalesce(text, number::VARCHAR)"
        matches = ", ".join(
            f"regexp_full_match({raw}, {text(pattern)}) AS {name}" for name, pattern in _PATTERNS.items()
        )
        used = f"SELECT {found.role} AS code, count(*) AS n FROM {seen.stored.purchases} WHERE fate = 0 GROUP BY 1"
        view = seen.engine.store(
            f"SELECT id, {raw} AS raw, u.n, text IS NULL AS whole, {matches} FROM {found.table} "
            f"JOIN ({used}) u USING (code)",
            "ids",
        )
        conditions = {"all": "true", **{name: name for name in _PATTERNS}, **_OTHERS}
        counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions.values())
        numbers = seen.engine.row(
            f"SELECT {counts} FROM {view}"
        )  # in one look: most ids have none of all this
        ids = _Ids(found.role, column, seen.engine, view, dict(zip(conditions, numbers, strict=True)))
        for check in (_rewritten, _missing, _dates, _point_zero, _lost_zeros, _merging):
            yield from check(ids)
        if found.floats:
            yield Finding(
                Severity.NOTE,
                "ids-floats",
                column,
                f"the {ids.what}s are a column of floats, which keep 15 digits and no leading zeros",
                "nothing to do where the ids are short numbers; otherwise write the column as text or whole numbers",
            )
        seen.engine.run(f"DROP TABLE {view}")


def _rewritten(ids: _Ids) -> Iterator[Finding]:
    lost = f"the digits are lost here: export the table again with {ids.column!r} as text"
    if ids.numbers["scientific"]:
        yield ids.finding(
            Severity.PROBLEM,
            "ids-scientific",
            "scientific",
            "{n} written like 1.23457E+11: a spreadsheet has rounded long numbers, and different ids may have become "
            "one",
            lost,
        )
    rounded = ids.numbers["rounded"]
    if rounded >= 3 and rounded >= 0.9 * ids.numbers["long"]:
        yield ids.finding(
            Severity.PROBLEM,
            "ids-rounded",
            "rounded",
            "{n} of 16 digits or more with nothing but zeros after the 15th: a spreadsheet has rounded them",
            lost,
        )


def _missing(ids: _Ids) -> Iterator[Finding]:
    if ids.what == "user" and ids.numbers["guests"]:
        yield ids.finding(
            Severity.WARNING,
            "ids-look-missing",
            "guests",
            "{n} named as if there were none; all such rows count as one and the same {what}",
            "leave these rows out, or empty the value: rows without one are dropped",
        )


def _dates(ids: _Ids) -> Iterator[Finding]:
    number = ids.numbers["dates"]
    if not number:
        return
    if number == ids.numbers["all"]:
        sentence = "every {what} looks like a date; is this the right column?"
        advice = f"name another with --{ids.what}-column"
    else:
        sentence = "{n} looking like dates: a spreadsheet turns codes such as 1-2 or MAR3 into them"
        advice = f"export the table again with {ids.column!r} as text"
    yield ids.finding(Severity.WARNING, "ids-dates", "dates", sentence, advice)


def _point_zero(ids: _Ids) -> Iterator[Finding]:
    number = ids.numbers["pointed"]
    if not number:
        return
    if number == ids.numbers["all"]:
        yield ids.finding(
            Severity.NOTE,
            "ids-point-zero",
            _POINTED,
            "every {what} ends in .0, since a column with empty values was exported as floats; it is read without",
            "nothing to do, unless the ids had leading zeros or more than 15 digits, which such an export loses",
        )
        return
    twins = ids.count(
        rf"{_POINTED} AND regexp_replace(raw, '\.0+$', '') IN (SELECT raw FROM {ids.table} WHERE digits)"
    )[0]
    also = f"; {twins:,} of them occur without it as well, and count as two" if twins else ""
    yield ids.finding(
        Severity.WARNING,
        "ids-point-zero",
        _POINTED,
        f"{{n}} ending in .0, as a float column leaves them, among others that do not{also}",
        f"write {ids.column!r} as text or whole numbers in every part of the table",
    )


def _lost_zeros(ids: _Ids) -> Iterator[Finding]:
    if not ids.numbers["digits"]:
        return
    engine, table = ids.engine, ids.table
    lengths = engine.rows(
        f"SELECT length(raw), raw LIKE '0_%', count(*) FROM {table} WHERE digits GROUP BY 1, 2"
    )
    total = sum(n for _, _, n in lengths)
    filled = {width: n for width, zero, n in lengths if zero}
    all_of = {width: sum(n for w, _, n in lengths if w == width) for width, _, _ in lengths}
    advice = f"write {ids.column!r} as text with all its zeros; a spreadsheet drops them from numbers"
    if filled:
        width = min(filled, key=lambda w: (-filled[w], w))
        short = f"digits AND raw NOT LIKE '0_%' AND length(raw) < {width}"
        fits = filled[width] >= 0.9 * sum(filled.values())
        longer = sum(n for w, n in all_of.items() if w > width)
        if not fits or longer > 0.01 * total or not ids.count(short)[0]:
            return
        full = f"lpad(raw, {width}, '0')"
        twin = f"{full} IN (SELECT raw FROM {table} WHERE digits)"
        twins = ids.count(f"{short} AND {twin}")[0]
        also = f", and {twins:,} of them occur with their zeros as well" if twins else ""
        found = engine.rows(
            f"SELECT raw, {full}, {twin} AS t FROM {table} WHERE {short} ORDER BY t DESC, raw LIMIT {EXAMPLES}"
        )
        examples = [shown(raw) + (f" beside {shown(whole)}" if both else "") for raw, whole, both in found]
        sentence = f"{{n}} shorter than the {width} digits to which others are filled up with zeros{also}"
        yield ids.finding(Severity.WARNING, "ids-lost-zeros", short, sentence, advice, examples)
        return
    width = min(all_of, key=lambda w: (-all_of[w], w))
    short = f"digits AND length(raw) < {width}"
    if width >= _LONG and all_of[width] >= _FIXED * total and ids.count(short)[0]:
        sentence = (
            f"{{n}} shorter than the {width} digits of nearly all others; they may have lost leading zeros"
        )
        yield ids.finding(Severity.WARNING, "ids-lost-zeros", short, sentence, advice)


def _merging(ids: _Ids) -> Iterator[Finding]:
    engine, table = ids.engine, ids.table
    if not ids.numbers["texts"]:
        return
    form, joined = "lower(trim(regexp_replace(id, ' +', ' ', 'g')))", table
    if ids.numbers["foreign"]:
        other = engine.arrow(f"SELECT id AS original FROM {table} WHERE {_OTHERS['foreign']}")
        forms = engine.register(other.append_column("form", _one_form(other.column(0))))
        form, joined = f"coalesce(form, {form})", f"{table} LEFT JOIN {forms} ON id = original"
    plain = engine.store(f"SELECT id, n, {form} AS form FROM {joined}", "forms")
    same = f"SELECT form FROM {plain} GROUP BY 1 HAVING count(*) > 1"
    groups = engine.rows(
        f"SELECT list(id ORDER BY id)[:4] FROM {plain} GROUP BY form HAVING count(*) > 1 "
        f"ORDER BY sum(n) DESC, min(id) LIMIT {EXAMPLES}"
    )
    if groups:
        yield ids.finding(
            Severity.WARNING,
            "ids-case-or-blanks",
            f"id IN (SELECT id FROM {plain} WHERE form IN ({same}))",
            "{n} that differ from another one only in upper and lower case, blanks or forms of one letter",
            f"where they mean the same {ids.what}, write them alike: they count as different",
            [" and ".join(map(shown, group)) for (group,) in groups],
        )
    engine.run(f"DROP TABLE {plain}")


def _one_form(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts in lower case, in one form of each letter, with single blanks."""
    texts = pc.utf8_normalize(texts.cast(pa.string()), form="NFKC")
    blanks = r"[\s\x{a0}\x{2007}\x{202f}\x{3000}]+"
    return pc.utf8_lower(pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, blanks, " ")))
