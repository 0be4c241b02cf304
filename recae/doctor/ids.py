"""Checks of ids: damage by spreadsheets, float columns and manual edits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.doctor.findings import EXAMPLES, Finding, Severity, counted
from recae.doctor.watch import Seen
from recae.ids import shown

_SCIENTIFIC: Final = r"^[+-]?(\d+(\.\d+)?[eE]\+\d+|\d\.\d+[eE]\d+)$"
_POINT_ZERO: Final = r"^-?\d+\.0+$"
_ROUNDED: Final = r"^\d{15}0+$"  # Excel keeps fifteen digits
_MONTH: Final = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)"
_DATES: Final = (
    rf"(?i)^(\d{{1,2}}-{_MONTH}(-\d{{2,4}})?|{_MONTH}-\d{{2,4}}"
    r"|\d{4}-\d\d-\d\d([T ]00:00:00)?|\d{1,2}/\d{1,2}/\d{4}( 0?0:00(:00)?)?)$"
)
_MISSING: Final = (
    r"(?i)^\s*(nan|none|null|nil|n/?a|<na>|\\n|undefined|unknown|missing|guest|anonymous|-|\?|"
    r"#(n/a|ref!|value!|name\?|null!|num!|div/0!))\s*$"
)
_LONG: Final = 8  # digits; numbers that count from 1 are hardly as long
_FIXED: Final = 0.95  # numbers drawn from all of a length are shorter in a tenth of the cases


@dataclass(frozen=True, eq=False)
class _Ids:
    """The distinct ids of a column, with the number of rows of each."""

    what: str
    column: str
    texts: pa.LargeStringArray
    rows: NDArray[np.int64]

    def that_match(self, pattern: str) -> NDArray[np.bool_]:
        return _bools(pc.match_substring_regex(self.texts, pattern))

    def text(self, place: int) -> str:
        return str(self.texts[place].as_py())

    def finding(
        self,
        severity: Severity,
        code: str,
        marked: NDArray[np.bool_],
        text: str,
        advice: str,
        examples: list[str] | None = None,
    ) -> Finding:
        """Return a finding on the ids marked; {n} in its text is their number."""
        if examples is None:
            places = np.flatnonzero(marked)
            most = places[np.argsort(-self.rows[places], kind="stable")][:EXAMPLES]
            examples = [
                f"{shown(self.text(p))} in {counted(int(self.rows[p]), 'row')}" for p in most.tolist()
            ]
        number = counted(int(marked.sum()), self.what)
        return Finding(
            severity,
            code,
            self.column,
            text.replace("{n}", number),
            advice,
            tuple(examples),
            int(self.rows[marked].sum()),
        )


def check_ids(seen: Seen) -> Iterator[Finding]:
    """Check the ids of the users and of the items."""
    keys, columns = seen.keys, seen.columns
    for what, column, codes, texts in (
        ("user", columns.user, keys.users, keys.user_texts),
        ("item", columns.item, keys.items, keys.item_texts),
    ):
        if not len(texts):
            continue
        ids = _Ids(what, column, texts, np.bincount(codes, minlength=len(texts)))
        for check in (_scientific, _rounded, _missing, _dates, _point_zero, _lost_zeros, _merging):
            yield from check(ids)
        if column in seen.floats:
            yield Finding(
                Severity.NOTE,
                "ids-floats",
                column,
                f"the {what}s are a column of floats, which keep 15 digits and no leading zeros",
                "nothing to do where the ids are short numbers; otherwise write the column as text or whole numbers",
            )


def _scientific(ids: _Ids) -> Iterator[Finding]:
    marked = ids.that_match(_SCIENTIFIC)
    if marked.any():
        yield ids.finding(
            Severity.PROBLEM,
            "ids-scientific",
            marked,
            "{n} written like 1.23457E+11: a spreadsheet has rounded long numbers, and different ids may have become "
            "one",
            f"the digits are lost here: export the table again with {ids.column!r} as text",
        )


def _rounded(ids: _Ids) -> Iterator[Finding]:
    marked, long = ids.that_match(_ROUNDED), ids.that_match(r"^\d{16,}$")
    if marked.sum() >= 3 and marked.sum() >= 0.9 * long.sum():
        yield ids.finding(
            Severity.PROBLEM,
            "ids-rounded",
            marked,
            "{n} of 16 digits or more with nothing but zeros after the 15th: a spreadsheet has rounded them",
            f"the digits are lost here: export the table again with {ids.column!r} as text",
        )


def _missing(ids: _Ids) -> Iterator[Finding]:
    marked = ids.that_match(_MISSING)
    if marked.any():
        yield ids.finding(
            Severity.WARNING,
            "ids-look-missing",
            marked,
            "{n} named as if there were none; all such rows count as one and the same " + ids.what,
            "leave these rows out, or empty the value: rows without one are dropped",
        )


def _dates(ids: _Ids) -> Iterator[Finding]:
    marked = ids.that_match(_DATES)
    if not marked.any():
        return
    if marked.all():
        text = "every {what} looks like a date; is this the right column?"
        advice = f"name another with --{ids.what}-column"
    else:
        text = "{n} looking like dates: a spreadsheet turns codes such as 1-2 or MAR3 into them"
        advice = f"export the table again with {ids.column!r} as text"
    yield ids.finding(Severity.WARNING, "ids-dates", marked, text.replace("{what}", ids.what), advice)


def _point_zero(ids: _Ids) -> Iterator[Finding]:
    marked = ids.that_match(_POINT_ZERO)
    if not marked.any():
        return
    if marked.all():
        yield ids.finding(
            Severity.NOTE,
            "ids-point-zero",
            marked,
            f"every {ids.what} ends in .0, since a column with empty values was exported as floats; it is read without",
            "nothing to do, unless the ids had leading zeros or more than 15 digits, which such an export loses",
        )
        return
    bare = pc.replace_substring_regex(ids.texts.filter(pa.array(marked)), r"\.0+$", "")
    twins = int(pc.sum(pc.is_in(bare, value_set=ids.texts)).as_py() or 0)
    also = f"; {twins:,} of them occur without it as well, and count as two" if twins else ""
    yield ids.finding(
        Severity.WARNING,
        "ids-point-zero",
        marked,
        "{n} ending in .0, as a float column leaves them, among others that do not" + also,
        f"write {ids.column!r} as text or whole numbers in every part of the table",
    )


def _lost_zeros(ids: _Ids) -> Iterator[Finding]:
    digits = ids.that_match(r"^\d+$")
    lengths = pc.utf8_length(ids.texts).to_numpy(zero_copy_only=False)
    padded = digits & ids.that_match(r"^0\d")
    advice = f"write {ids.column!r} as text with all its zeros; a spreadsheet drops them from numbers"
    if padded.any():
        width = int(np.bincount(lengths[padded]).argmax())
        short = digits & ~padded & (lengths < width)
        fits = (lengths[padded] == width).mean() >= 0.9 and (
            digits & (lengths > width)
        ).sum() <= 0.01 * digits.sum()
        if not (short.any() and fits):
            return
        full = pc.utf8_lpad(ids.texts.filter(pa.array(short)), width, "0")
        twin = _bools(pc.is_in(full, value_set=ids.texts))
        also = f", and {int(twin.sum()):,} of them occur with their zeros as well" if twin.any() else ""
        first = np.argsort(~twin, kind="stable")[:EXAMPLES]
        places = np.flatnonzero(short)[first]
        examples = [
            f"{shown(ids.text(place))}" + (f" beside {shown(full[k].as_py())}" if twin[k] else "")
            for place, k in zip(places.tolist(), first.tolist(), strict=True)
        ]
        text = f"{{n}} shorter than the {width} digits to which others are filled up with zeros{also}"
        yield ids.finding(Severity.WARNING, "ids-lost-zeros", short, text, advice, examples)
        return
    if not digits.any():
        return
    width = int(np.bincount(lengths[digits]).argmax())
    short = digits & (lengths < width)
    if width >= _LONG and short.any() and (lengths[digits] == width).mean() >= _FIXED:
        text = f"{{n}} shorter than the {width} digits of nearly all others; they may have lost leading zeros"
        yield ids.finding(Severity.WARNING, "ids-lost-zeros", short, text, advice)


def _merging(ids: _Ids) -> Iterator[Finding]:
    plain = pc.utf8_normalize(pc.replace_substring_regex(ids.texts, r"\s+", " "), form="NFKC")
    plain = pc.utf8_lower(pc.utf8_trim_whitespace(plain))
    groups = plain.dictionary_encode().indices.to_numpy()
    marked = np.bincount(groups)[groups] > 1
    if not marked.any():
        return
    # those of one group side by side, the group with most rows first
    weight = np.bincount(groups, weights=ids.rows * marked)
    chosen = np.argsort(-weight, kind="stable")[: min(EXAMPLES, np.unique(groups[marked]).size)]
    examples = [
        " and ".join(shown(ids.text(place)) for place in np.flatnonzero(groups == group)[:4].tolist())
        for group in chosen.tolist()
    ]
    yield ids.finding(
        Severity.WARNING,
        "ids-case-or-blanks",
        marked,
        "{n} that differ from another one only in upper and lower case, blanks or forms of one letter",
        f"where they mean the same {ids.what}, write them alike: they count as different",
        examples,
    )


def _bools(values: pa.BooleanArray) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=np.bool_)
