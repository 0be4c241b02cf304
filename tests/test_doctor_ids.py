"""The doctor on ids that look damaged: each check finds its kind of damage and nothing in sound ids."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from doctors import NOW, changed, clean_rows, examined, found, only
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from recae.examination import Severity, examine_source
from recae.reading import ReadOptions


def test_clean_purchases_have_no_findings(tmp_path: Path) -> None:
    assert examined(tmp_path, clean_rows()).findings == ()


def numbered(text: str) -> int:
    return int(text[1:])


def test_scientific_notation(tmp_path: Path) -> None:
    rows = changed("item_id", lambda i: "1.23457E+11" if i == "P003" else f"12345678{numbered(i):04d}")
    finding = only(tmp_path, rows, "ids-scientific")
    assert finding.severity is Severity.PROBLEM
    assert finding.column == "item_id"
    assert finding.text.startswith("1 item written like 1.23457E+11")
    assert finding.rows == sum(row["item_id"] == "1.23457E+11" for row in rows)
    assert finding.examples == (f"'1.23457E+11' in {finding.rows} rows",)


@pytest.mark.some(2)
@pytest.mark.parametrize("sound", ["85123E", "1E10", "12E4567", "E+10", "1.5", "abc E+3"])
def test_codes_with_an_e_are_no_numbers(sound: str, tmp_path: Path) -> None:
    rows = changed("item_id", lambda i: sound if i == "P003" else i)
    assert found(tmp_path, rows) == {}


def test_numbers_rounded_to_fifteen_digits(tmp_path: Path) -> None:
    rows = changed("user_id", lambda u: f"123456789012{numbered(u):03d}0")
    finding = only(tmp_path, rows, "ids-rounded")
    assert finding.severity is Severity.PROBLEM
    assert finding.text.startswith("60 users of 16 digits or more")
    sound = changed("user_id", lambda u: f"1234567890123{numbered(u):03d}")
    assert found(tmp_path, sound) == {}


@pytest.mark.some(2)
@pytest.mark.parametrize("missing", ["NA", "null", "None", "#N/A", "\\N", "unknown", "-", "#REF!"])
def test_ids_that_are_missing_markers_are_no_users(missing: str, tmp_path: Path) -> None:
    rows = changed("user_id", lambda u: missing if u == "u007" else u)
    findings = found(tmp_path, rows)
    assert set(findings) == {"ids-look-missing", "rows-no-user"}
    assert {finding.severity for finding in findings.values()} == {Severity.NOTE}
    assert findings["ids-look-missing"].text == f"{missing!r} in 8 rows is taken as no user"
    assert [finding.rows for finding in findings.values()] == [8, 8]


@pytest.mark.some(2)
@pytest.mark.parametrize("guest", ["GUEST", "anonymous", "Walk-in", "Laufkunde"])
def test_guests_are_one_user(guest: str, tmp_path: Path) -> None:
    finding = only(tmp_path, changed("user_id", lambda u: guest if u == "u007" else u), "ids-look-missing")
    assert finding.severity is Severity.WARNING
    assert finding.examples == (f"{guest!r} in 8 rows",)
    assert finding.rows == 8


def test_names_with_such_words_are_names(tmp_path: Path) -> None:
    rows = changed("user_id", lambda u: {"u001": "Nan Smith", "u002": "NA1", "u003": "guest 12"}.get(u, u))
    assert found(tmp_path, rows) == {}


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "date", ["2-Mar", "MAR-02", "01-Sep-24", "2024-03-02", "2024-03-02 00:00:00", "3/2/2024"]
)
def test_codes_that_a_spreadsheet_made_dates(date: str, tmp_path: Path) -> None:
    rows = changed("item_id", lambda i: date if i == "P003" else i)
    finding = only(tmp_path, rows, "ids-dates")
    assert finding.severity is Severity.WARNING
    assert "1 item looking like dates" in finding.text


def test_a_column_of_dates_is_hardly_one_of_items(tmp_path: Path) -> None:
    rows = changed("item_id", lambda i: f"2024-01-{numbered(i) % 31 + 1:02d}")
    finding = found(tmp_path, rows, item_column="item_id")["ids-dates"]
    assert "is this the right column?" in finding.text
    assert "--item-column" in finding.advice


@pytest.mark.some(2)
@pytest.mark.parametrize("sound", ["12-3456", "MARCH-2B", "1-2-3", "12/34"])
def test_codes_with_strokes_are_no_dates(sound: str, tmp_path: Path) -> None:
    assert found(tmp_path, changed("item_id", lambda i: sound if i == "P003" else i)) == {}


def test_point_zero_everywhere_is_a_note(tmp_path: Path) -> None:
    finding = only(tmp_path, changed("user_id", lambda u: f"{numbered(u) + 100}.0"), "ids-point-zero")
    assert finding.severity is Severity.NOTE
    assert "read without" in finding.text


def test_point_zero_here_and_there_is_a_warning(tmp_path: Path) -> None:
    rows = changed("user_id", lambda u: str(numbered(u) + 100))
    for row in rows[:100]:
        row["user_id"] += ".0"  # of users 100 to 112: of the last one only a part
    finding = only(tmp_path, rows, "ids-point-zero")
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("13 users ending in .0")
    assert "1 of them occur without it as well" in finding.text
    assert finding.rows == 100


def test_zeros_lost_beside_ids_that_have_them(tmp_path: Path) -> None:
    rows = changed("user_id", lambda u: f"{numbered(u) * 37:05d}")
    for row in rows[8:20]:  # user 1 everywhere, user 2 in half of the rows
        row["user_id"] = row["user_id"].lstrip("0")
    finding = only(tmp_path, rows, "ids-lost-zeros")
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("2 users shorter than the 5 digits")
    assert "1 of them occur with their zeros as well" in finding.text
    assert finding.examples == ("'74' beside '00074'", "'37'")


def test_zeros_lost_from_numbers_of_one_length(tmp_path: Path) -> None:
    rng = random.Random(1)
    codes = {f"P{i:03d}": str(rng.randrange(10**12, 10**13)) for i in range(40)}
    codes["P005"] = codes["P005"][:11]
    finding = only(tmp_path, changed("item_id", codes.__getitem__), "ids-lost-zeros")
    assert finding.text.startswith("1 item shorter than the 13 digits of nearly all others")
    assert finding.examples[0].startswith(repr(codes["P005"]))


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "name",
    [
        lambda n: str(n),  # counted from 0
        lambda n: f"{n:04d}",  # all filled up
        lambda n: str(10**7 + n * n * 1_000_003),  # long numbers of two lengths
        lambda n: "007" if n == 7 else str(n + 1000),  # one code that begins with zeros
        lambda n: str(10**12 + n),  # all of one length
    ],
)
def test_sound_numbers_have_lost_nothing(name: object, tmp_path: Path) -> None:
    assert callable(name)
    assert found(tmp_path, changed("user_id", lambda u: name(numbered(u)))) == {}


@pytest.mark.some(2)
@pytest.mark.parametrize("twin", ["p003", " P003", "P003 ", "P003\t", "P00\uff13"])
def test_ids_that_differ_in_case_or_blanks(twin: str, tmp_path: Path) -> None:
    rows = clean_rows()
    first = next(row for row in rows if row["item_id"] == "P003")
    first["item_id"] = twin
    finding = only(tmp_path, rows, "ids-case-or-blanks")
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("2 items that differ")
    assert finding.examples == (" and ".join(map(repr, sorted((twin, "P003")))),)


def test_a_column_of_floats_is_said(tmp_path: Path) -> None:
    rows = clean_rows()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["user_id"] = [float(numbered(user)) for user in columns["user_id"]]
    parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    (finding,) = examine_source(tmp_path / "p.parquet", now=NOW).findings
    assert (finding.code, finding.severity, finding.column) == ("ids-floats", Severity.NOTE, "user_id")


@settings(max_examples=settings().max_examples // 5)  # each of as many ids as there are users and items
@given(st.lists(st.text(max_size=12), min_size=100, max_size=100))
def test_no_id_is_too_strange(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode().replace("\0", "") for text in ids]
    rows = changed("user_id", lambda u: texts[numbered(u)])
    rows = changed("item_id", lambda i: texts[60 + numbered(i)], rows)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    path = tmp_path_factory.mktemp("ids") / "p.parquet"
    parquet.write_table(pa.table(columns), path)
    named = ReadOptions(user_column="user_id", item_column="item_id")
    for finding in examine_source(path, named, NOW).findings:
        assert finding.text
        assert finding.advice
        assert len(finding.examples) <= 3
