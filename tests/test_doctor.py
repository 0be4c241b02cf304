"""`recae doctor`: rows dropped, columns, the whole examination, the command and its exit codes."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from commands import ROOT, SAMPLE, names, recae, refused
from doctors import Row, changed, clean_rows, examined, found, only, write
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import read_with_report, real_data

from recae.cli import doctor as doctor_display
from recae.cli import main
from recae.errors import ColumnError, SourceError
from recae.examination import Severity, examine_source, spoken
from recae.reading import Columns


def spoiled(column: str, value: str, number: int, rows: list[Row] | None = None) -> list[Row]:
    """The clean rows; in the second, and as many as wanted after it, a column has another value."""
    rows = clean_rows() if rows is None else rows
    return [{**row, column: value} if 1 <= n <= number else row for n, row in enumerate(rows)]


# Rows that are dropped


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("user_id", "", "rows-no-user"),
        ("item_id", " ", "rows-no-item"),
        ("quantity", "-1", "rows-returned"),
        ("quantity", "many", "rows-quantity-not-a-number"),
    ],
)
def test_dropped_rows_by_reason(column: str, value: str, code: str, tmp_path: Path) -> None:
    named = {"quantity_column": "quantity"}
    finding = only(tmp_path, spoiled(column, value, 5), code, **named)
    assert finding.severity is Severity.NOTE
    assert finding.rows == 5
    assert finding.text.startswith("5 of 480 rows dropped (1.0 %): ")
    assert [example.split(":")[0] for example in finding.examples] == ["row 2", "row 3", "row 4"]
    shown = "missing" if value == "" else repr(value)
    assert f"{column} {shown}" in finding.examples[0]
    serious = Severity.NOTE if code == "rows-returned" else Severity.WARNING
    assert found(tmp_path, spoiled(column, value, 24), **named)[code].severity is serious
    assert found(tmp_path, spoiled(column, value, 300), **named)[code].severity is Severity.PROBLEM


def test_duplicates(tmp_path: Path) -> None:
    rows = clean_rows()
    rows[10:10] = [{**rows[3], "user_id": ""}]  # a row that is dropped in front of them
    finding = found(tmp_path, [*rows, *rows[4:8]])["rows-duplicate"]
    assert (finding.severity, finding.rows) == (Severity.NOTE, 4)
    user, item = rows[4]["user_id"], rows[4]["item_id"]
    assert finding.examples[0] == f"row 482 repeats row 5: user_id {user!r}, item_id {item!r}"
    twice = examined(tmp_path, clean_rows() * 2)
    (finding,) = twice.findings
    assert (finding.code, finding.severity, finding.rows) == ("rows-duplicate", Severity.WARNING, 480)
    assert twice.duplicate_share == 0.5


def test_duplicates_need_the_same_quantity(tmp_path: Path) -> None:
    rows = clean_rows()
    assert found(tmp_path, [*rows, {**rows[4], "quantity": "7"}]) == {}


# Columns


def test_constant_quantities_and_names(tmp_path: Path) -> None:
    finding = only(tmp_path, changed("quantity", lambda q: "1"), "column-constant")
    assert (finding.severity, finding.column) == (Severity.NOTE, "quantity")
    finding = only(tmp_path, changed("title", lambda t: "Product"), "column-constant")
    assert (finding.severity, finding.column) == (Severity.NOTE, "title")
    assert "every item is named 'Product'" in finding.text


def test_large_quantities(tmp_path: Path) -> None:
    finding = only(tmp_path, spoiled("quantity", "80995", 1), "quantities-large")
    assert finding.severity is Severity.NOTE
    assert finding.text.startswith(
        "1 purchase has more than a hundred times the quantity that 99 % stay within (2)"
    )
    assert finding.examples == ("row 2: 80995",)
    assert found(tmp_path, spoiled("quantity", "200", 1)) == {}


def test_tables_without_times(tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("user_id", "item_id")} for row in clean_rows()]
    finding = only(tmp_path, rows, "times-none")
    assert finding.severity is Severity.NOTE
    assert finding.advice == "name it with --time-column, if there is one"
    more = [{**row, "day bought": "1", "order_number": n} for n, row in enumerate(rows)]
    finding = only(tmp_path, more, "times-none")
    assert "'day bought': --time-column" in finding.advice
    assert "with --repeats, 'order_number' tells the baskets apart" in finding.advice


def test_columns_used_and_not(tmp_path: Path) -> None:
    rows = [{**row, "price": "1.0", "colour": "red"} for row in clean_rows()]
    seen = examined(tmp_path, rows, quantity_column="")
    assert seen.of_items == ("price",)
    assert seen.unused == ("quantity", "colour")
    assert (seen.columns.user, seen.columns.name, seen.columns.quantity) == ("user_id", "title", None)


# What cannot be trained on


def test_nothing_is_left(tmp_path: Path) -> None:
    rows = changed("quantity", lambda q: "-1")
    seen = examined(tmp_path, rows)
    codes = {finding.code: finding for finding in seen.findings}
    assert codes["cannot-train"].severity is Severity.PROBLEM
    assert "no purchase is left" in codes["cannot-train"].text
    assert codes["rows-returned"].severity is Severity.PROBLEM
    assert (seen.figures, seen.expectation, seen.report, seen.repeat_share) == (None, None, None, None)
    assert seen.exit_code() == 2


def test_one_user_alone(tmp_path: Path) -> None:
    findings = found(tmp_path, changed("user_id", lambda u: "u1"))
    assert "purchases of one user only" in findings["cannot-train"].text


def test_a_header_alone(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,date\n")
    first = examine_source(tmp_path / "p.csv").findings[0]
    assert (first.code, first.severity) == ("cannot-train", Severity.PROBLEM)
    assert "no rows" in first.text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("user,item\na,x\nb\n", SourceError, "line 3"),
        ("a,b\n1,2\n", ColumnError, "'.*p.csv': no column is recognised"),
    ],
)
def test_what_cannot_be_read_is_an_error(
    text: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(error, match=message):
        examine_source(tmp_path / "p.csv")


# Exit codes


def test_exit_codes(tmp_path: Path) -> None:
    clean = examined(tmp_path, clean_rows())
    note = examined(tmp_path, spoiled("quantity", "-1", 5))
    warning = examined(tmp_path, clean_rows(49))
    problem = examined(tmp_path, spoiled("quantity", "-1", 300))
    assert [seen.exit_code() for seen in (clean, note, warning, problem)] == [0, 0, 0, 2]
    # a row is dropped, which `recae train --strict` refuses
    assert [seen.exit_code(strict=True) for seen in (clean, note, warning, problem)] == [0, 1, 1, 2]
    noted = examined(tmp_path, changed("user_id", lambda u: f"{u[1:]}.0"))
    assert (noted.exit_code(), noted.exit_code(strict=True)) == (0, 1)


@pytest.mark.some(1)
@pytest.mark.parametrize("arguments", [(), ("--strict",)])
def test_the_command_ends_with_the_exit_code(arguments: tuple[str, ...], tmp_path: Path) -> None:
    for rows, code in ((clean_rows(), 0), (spoiled("quantity", "-1", 5), 1 if arguments else 0)):
        result = recae("doctor", write(tmp_path / "p.csv", rows), *arguments)
        assert result.exit_code == code, result.stderr
        assert result.stderr == ""


def test_a_training_hears_the_problems_and_warnings_in_a_line_each(tmp_path: Path) -> None:
    assert spoken(examined(tmp_path, clean_rows())) == []
    assert spoken(examined(tmp_path, spoiled("quantity", "-1", 5))) == []
    assert spoken(examined(tmp_path, clean_rows(49))) == [
        "warning: user_id: there are only 49 users; take purchases of a longer period, or check that 'user_id' is the "
        "column of users"
    ]
    lines = spoken(examined(tmp_path, spoiled("quantity", "-1", 300)))
    assert lines[0].startswith("problem: 300 of 480 rows dropped (62 %): a quantity of zero or less")
    assert all(line.startswith(("problem: ", "warning: ")) and "\n" not in line for line in lines)


def test_what_the_report_of_the_reading_says_is_not_said_twice(tmp_path: Path) -> None:
    rows = [{**row, "event": "view" if n % 3 else "purchase"} for n, row in enumerate(clean_rows(200))]
    seen = examined(tmp_path, rows)
    (finding,) = [finding for finding in seen.findings if finding.code == "rows-events"]
    assert "--event-weights" in finding.advice
    assert seen.report is not None
    assert any(finding.text in str(note) for note in seen.report.notes)
    assert not any(finding.text in line for line in spoken(seen))


# The command


def test_the_sample_has_bots_and_no_problem() -> None:
    seen = examine_source(SAMPLE)
    _, report = read_with_report(SAMPLE)
    assert {finding.severity for finding in seen.findings} == {Severity.WARNING, Severity.NOTE}
    (warning,) = [finding for finding in seen.findings if finding.severity is Severity.WARNING]
    assert warning.code == "users-like-bots"
    assert warning.text.startswith("20 users buy far more often")
    assert seen.report == report
    assert seen.dropped == report.dropped
    assert seen.expectation is not None
    assert (seen.expectation.word, seen.expectation.held_out) == ("much", 200)


@pytest.mark.thorough
def test_a_pipe_gets_lines_of_cells() -> None:
    result = recae("doctor", SAMPLE)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "property\tvalue"
    assert "users\t2,000" in lines
    assert "dropped: quantity is zero or less\t560 (1.1 %)" in lines
    assert "period\t2023-01-01 to 2024-12-31" in lines
    start = lines.index("severity\tcode\tcolumn\tfinding\texamples\twhat to do")
    assert [line.split("\t")[1] for line in lines[start + 1 : start + 4]] == [
        "users-like-bots",
        "rows-returned",
        "purchases-repeat",
    ]
    assert all(len(line.split("\t")) == 6 for line in lines[start : start + 4])
    assert "A model can be expected to learn much from these purchases." in lines
    assert lines[-1] == "found: 1 warning, 2 notes"


def test_a_terminal_gets_paragraphs_of_its_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = changed("item_id", lambda i: "evil\x1b[31m" if i == "P003" else i)
    rows[7]["item_id"] = "EVIL\x1b[31m"
    monkeypatch.setattr(doctor_display, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "60")
    doctor_display.print_examination(examined(tmp_path, rows + rows[:40]))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    table, paragraphs = re.split(r"\n(?=WARNING)", text, maxsplit=1)
    assert "property" in table
    lines = paragraphs.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0] == "WARNING  rows-duplicate"
    assert "WARNING  ids-case-or-blanks (item_id)" in lines
    assert any(line.startswith("  → ") for line in lines)
    assert any(line.startswith("    · ") for line in lines)
    assert lines[-1] == "found: 2 warnings"


def test_nothing_to_remark(tmp_path: Path) -> None:
    result = recae("doctor", write(tmp_path / "p.csv", clean_rows()))
    assert result.stdout.splitlines()[-1] == "found: nothing to remark"
    assert "severity" not in result.stdout


def test_json_is_what_the_docs_say(tmp_path: Path) -> None:
    result = recae("doctor", SAMPLE, "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    text = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    text = text[text.index("## recae doctor") : text.index("## recae settings")]
    documented = set(re.findall(r'"(\w+)":', text))

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    roles = {field.name for field in fields(Columns)} - {"user", "item"}  # of which the docs show some
    chosen = roles | set(content["dropped"]) | set(content["counting"])
    assert keys(content) - chosen == documented - roles - {"id", "users", "why"} | {"users"}
    assert content["repeat_share"] == pytest.approx(17_149 / 50_674)
    assert content["figures"]["users"] == 2000
    assert content["findings"][0]["code"] == "users-like-bots"
    empty = recae("doctor", write(tmp_path / "p.csv", changed("quantity", lambda q: "0")), "--json")
    assert json.loads(empty.stdout)["figures"] is None
    assert empty.exit_code == 2


def test_every_code_is_a_name_that_lasts(tmp_path: Path) -> None:
    source = "".join(path.read_text() for path in (ROOT / "recae" / "examination").glob("*.py"))
    codes = set(
        re.findall(r'"((?:ids|times|rows|users|items|column|quantities|purchases)-[a-z0-9-]+)"', source)
    )
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_doctor*.py"))
    assert len(codes) > 20
    assert [code for code in sorted(codes) if code not in tests] == []


def test_rejects_are_kept(folder: Path) -> None:
    path = write(folder / "p.csv", spoiled("user_id", "", 2))
    result = recae("doctor", path, "--rejects", "r.csv")
    assert result.exit_code == 0
    assert result.stderr == "wrote the 2 dropped rows to r.csv\n"
    with (folder / "r.csv").open(newline="") as file:
        assert [(row["row"], row["reason"]) for row in csv.DictReader(file)] == [
            ("2", "no user"),
            ("3", "no user"),
        ]
    refused(recae("doctor", path, "--rejects", path), "is also the input")


def test_a_table_that_cannot_be_read_is_one_sentence(folder: Path) -> None:
    refused(recae("doctor", "no.csv"), "there is no file 'no.csv'")
    refused(recae("doctor", "../purchases.csv", "--user-column", "x"), "--user-column names 'x'")
    assert names(folder) == []


def test_standard_input_and_databases(tmp_path: Path) -> None:
    rows = spoiled("quantity", "0", 3)
    path = write(tmp_path / "p.csv", rows)
    done = CliRunner().invoke(main, ["doctor", "-", "--json"], input=path.read_bytes())
    assert done.exit_code == 0, done.stderr
    assert [finding["code"] for finding in json.loads(done.stdout)["findings"]] == ["rows-returned"]
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("create table sold (user_id, item_id, timestamp, quantity, title)")
        shop.executemany("insert into sold values (?, ?, ?, ?, ?)", [tuple(row.values()) for row in rows])
    result = recae("doctor", f"sqlite:///{tmp_path / 'shop.db'}", "--table", "sold")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "found: 1 note"


def test_baskets_are_looked_at_where_they_are_named(tmp_path: Path) -> None:
    rows = [
        {"user": row["user_id"], "item": row["item_id"], "order": "" if n == 3 else str(n)}
        for n, row in enumerate(clean_rows())
    ]
    result = recae("doctor", write(tmp_path / "p.csv", rows), "--basket-column", "order")
    assert result.exit_code == 0, result.stderr
    assert "order: 1 rows have no basket" in result.stdout


JUNK = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=("Cs",)), max_size=9)
SOME = {
    "user_id": st.one_of(st.sampled_from(["a", "A", "007", "7", "7.0", "NA", ""]), JUNK),
    "item_id": st.one_of(st.sampled_from(["x", "1E+5", "3-Mar", ""]), JUNK),
    "timestamp": st.one_of(
        st.sampled_from(
            ["2020-01-01", "1/2/2020", "1600000000", "1600000000000", "44000", "9999-12-31", "1e400"]
        ),
        st.integers(-(10**25), 10**25).map(str),
        JUNK,
    ),
    "quantity": st.one_of(st.sampled_from(["1", "-1", "1e300", "", "x"]), JUNK),
    "title": JUNK,
}


@settings(max_examples=settings().max_examples // 5)  # each reads a table
@given(st.lists(st.fixed_dictionaries(SOME), min_size=1, max_size=40))
def test_no_table_is_too_strange(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("strange")
    seen = examined(folder, rows, user_column="user_id", item_column="item_id", quantity_column="quantity")
    assert sum(seen.dropped.values()) <= seen.rows == len(rows)
    if seen.report is not None:
        assert seen.dropped == seen.report.dropped
    for finding in seen.findings:
        assert finding.text
        assert finding.advice
        assert finding.rows is None or finding.rows <= len(rows)
    json.dumps(seen.as_dict())
    doctor_display.print_examination(seen)


# Real shops


def test_online_retail() -> None:
    seen = examine_source(real_data("online-retail.csv.gz"), now=1_700_000_000)
    assert [(finding.severity.value, finding.code) for finding in seen.findings] == [
        ("warning", "rows-no-user"),
        ("warning", "users-like-bots"),
        ("warning", "items-no-products"),
        ("note", "rows-returned"),
        ("note", "rows-duplicate"),
        ("note", "ids-point-zero"),
        ("note", "times-gaps"),
        ("note", "quantities-large"),
        ("note", "purchases-repeat"),
    ]
    assert seen.report is not None
    assert seen.dropped == seen.report.dropped
    assert [item.id for item in seen.no_products] == ["POST", "M", "23444", "C2", "BANK CHARGES", "DOT"]


@pytest.mark.thorough
def test_tafeng() -> None:
    seen = examine_source(real_data("tafeng.csv.gz"))
    assert [finding.code for finding in seen.findings] == ["times-none", "items-skewed"]
    assert "'basket' tells the baskets apart" in seen.findings[0].advice
