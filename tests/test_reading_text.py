"""Delimited text: exact values whichever way it is read, and odd lines are named by their number, or kept aside."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opening import opened, put, refused, values, zstd

from recae.errors import ConfigError, SourceError
from recae.reading import text


@pytest.fixture(params=["plainly", "by DuckDB"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read small files by the plain reader, as always, or by DuckDB's scanner where it is able to."""
    if request.param == "by DuckDB":
        monkeypatch.setattr(text, "LARGE", 0)
    return str(request.param)


PLAIN = b'user,item\n007,a b\n12345678901234567890,"x, ""y"""\nNA,\n'
READ = {"user": ["007", "12345678901234567890", "NA"], "item": ["a b", 'x, "y"', None]}


@pytest.mark.some(20)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", PLAIN),
        ("a", PLAIN),
        ("A.XLSX", PLAIN),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN),
        ("crlf.csv", PLAIN.replace(b"\n", b"\r\n")),
        ("cr.csv", PLAIN.replace(b"\n", b"\r")),
        ("mixed.csv", PLAIN.replace(b"\n", b"\r\n", 2)),
        ("no-end.csv", PLAIN.rstrip()),
        ("blank-lines.csv", b"\n\r\n" + PLAIN.replace(b"\n", b"\n\n")),
        ("semicolon.csv", b'user;item\n007;a b\n12345678901234567890;"x, ""y"""\nNA;\n'),
        ("tab.tsv", b'user\titem\n007\ta b\n12345678901234567890\t"x, ""y"""\nNA\t\n'),
        ("bar.txt", b'user|item\n007|a b\n12345678901234567890|"x, ""y"""\nNA|\n'),
        ("excel.csv", b'sep=;\r\nuser;item\r\n007;a b\r\n12345678901234567890;"x, ""y"""\r\nNA;\r\n'),
        (
            "excel-bom.csv",
            b'\xef\xbb\xbfsep=;\r\nuser;item\r\n007;a b\r\n12345678901234567890;"x, ""y"""\r\nNA;\r\n',
        ),
        ("colon.txt", b'user:item\n007:a b\n12345678901234567890:"x, ""y"""\nNA:\n'),
        ("colons.dat", b'user::item\n007::a b\n12345678901234567890::"x, ""y"""\nNA::\n'),
        ("caret.csv", b'user^item\n007^a b\n12345678901234567890^"x, ""y"""\nNA^\n'),
        ("tilde.csv", b'user~item\n007~a b\n12345678901234567890~"x, ""y"""\nNA~\n'),
        ("hive.txt", b'user\x01item\n007\x01a b\n12345678901234567890\x01"x, ""y"""\nNA\x01\n'),
        ("space.txt", b'user item\n007 "a b"\n12345678901234567890 "x, ""y"""\nNA \n'),
        ("declared.txt", b'sep=#\nuser#item\n007#a b\n12345678901234567890#"x, ""y"""\nNA#\n'),
        (
            "blanks-around-quotes.csv",
            b'"user", "item"\n"007" , "a b"\n12345678901234567890, "x, ""y"""\n"NA",""\n',
        ),
        ("comments.csv", b"# made by hand\n# in 2024\n" + PLAIN.replace(b"NA", b"# half way\nNA")),
        ("header-in-comment.csv", b"# made by hand\n# user,item\n" + PLAIN[10:]),
        ("trailing.csv", b'user,item,\n007,a b,\n12345678901234567890,"x, ""y""",\nNA,,\n'),
        ("trailing-rows.csv", b'user,item\n007,a b,\n12345678901234567890,"x, ""y""",\nNA,,\n'),
        ("trailing-header.csv", PLAIN.replace(b"item\n", b"item,\n")),
        ("index.csv", b',user,item\n0,007,a b\n1,12345678901234567890,"x, ""y"""\n2,NA,\n'),
        ("utf-16.csv", PLAIN.decode().encode("utf-16")),
        ("utf-16-be.csv", PLAIN.decode().encode("utf-16-be")),
        ("utf-32.csv", PLAIN.decode().encode("utf-32")),
        ("a.csv.gz", gzip.compress(PLAIN, mtime=0)),
        ("a.csv", gzip.compress(PLAIN, mtime=0)),
        ("members.csv.gz", gzip.compress(PLAIN[:20], mtime=0) + gzip.compress(PLAIN[20:], mtime=0)),
        ("a.csv.zst", zstd(PLAIN)),
        ("frames.txt.zst", zstd(PLAIN[:20]) + zstd(PLAIN[20:])),
        ("a.tsv.bz2", bz2.compress(PLAIN)),
        ("a.tsv.xz", lzma.compress(PLAIN)),
        ("twice.gz", gzip.compress(bz2.compress(PLAIN), mtime=0)),
    ],
)
def test_delimited_text_in_every_dress(tmp_path: Path, name: str, data: bytes, way: str) -> None:
    found = opened(put(tmp_path / name, data))
    assert found.values == READ
    assert found.header
    assert set(found.types.values()) == {"VARCHAR"}


def test_line_breaks_inside_quotes(tmp_path: Path, way: str) -> None:
    path = put(tmp_path / "a.csv", b'"us\ner","a;b,c"\n"1\r\n2",x\n3,"\n"\n')
    assert values(path) == {"us\ner": ["1\r\n2", "3"], "a;b,c": ["x", "\n"]}


def test_quotes_inside_a_field_are_text(tmp_path: Path, way: str) -> None:
    path = put(tmp_path / "a.csv", b'user,item\n1,5" pipe\n2,a "b" c\n')
    assert values(path) == {"user": ["1", "2"], "item": ['5" pipe', 'a "b" c']}


def test_names_of_columns(tmp_path: Path) -> None:
    found = opened(put(tmp_path / "a.csv", "a, b ,A,,A_2,a,é \n1,2,3,4,5,6,7\n"))
    assert list(found.values) == ["a", "b", "A_3", "column 4", "A_2", "a_4", "é"]
    assert found.notes[0] == "several columns are called 'A': column 3 is called 'A_3'"


@pytest.mark.some(3)
@pytest.mark.parametrize("data", [b"user,item", b"user,item\n", b"user,item\r\n\r\n\n"])
def test_a_header_alone_has_no_rows(tmp_path: Path, data: bytes, way: str) -> None:
    assert values(put(tmp_path / "a.csv", data)) == {"user": [], "item": []}
    assert values(put(tmp_path / "a.csv.gz", gzip.compress(data, mtime=0))) == {"user": [], "item": []}


cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
delimiters = st.sampled_from(",;\t|")


@settings(max_examples=settings().max_examples // 2)  # each reads a table
@given(
    st.lists(st.tuples(cells, cells), max_size=20), delimiters, st.sampled_from(["\n", "\r\n"]), st.booleans()
)
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, str]],
    delimiter: str,
    end: str,
    scanned: bool,
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerows([("first name", "b"), *table])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "LARGE", 0 if scanned else 1 << 22)
        found = values(path, header=True, delimiter=delimiter)
    assert found == {
        "first name": [first or None for first, _ in table],
        "b": [second or None for _, second in table],
    }


FIELDS = [
    "a",
    "7",
    "007",
    "",
    "-",
    "1.5",
    "a b",
    "é",
    '""',
    '"a,b"',
    '"a""b"',
    '" a"',
    'a"b',
    '"a\nb"',
    '"a\r\nb"',
    '""""',
]


@settings(max_examples=settings().max_examples // 2)  # each reads a table
@given(
    st.lists(st.lists(st.sampled_from(FIELDS), min_size=3, max_size=3), min_size=1, max_size=20),
    st.sampled_from(["\n"] * 3 + ["\r\n"]),
    st.sampled_from(["\n"] * 5 + ["\n\n", "\r\n", "\r\n\r\n"]),
    st.booleans(),
)
def test_rows_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], end: str, other: str, scanned: bool
) -> None:
    lines = [",".join(row) + (other if place % 5 == 3 else end) for place, row in enumerate(table)]
    data = "user,item,qty" + end + "".join(lines)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(data.encode())
    expected = [row for row in csv.reader(io.StringIO(data, newline="")) if row][1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "LARGE", 0 if scanned else 1 << 22)
        found = values(path, header=True, delimiter=",")
    assert list(zip(*found.values(), strict=True)) == [
        tuple(cell or None for cell in row) for row in expected
    ]


# odd lines

GOOD = b'12,34\n"a\nb",c\n\n'  # four physical lines, two rows


def with_odd_line(odd: bytes) -> bytes:
    # a header, 69,996 lines, two more, then line 70,000
    return b"user,item\n" + GOOD * 17_499 + b"5,6\n\n" + odd + b"7,8\n" * 10


ODD = [
    (b"1,2,3\n", "line 70000 of ", "has 3 fields where the header has 2 (delimiter: comma)"),
    (b"1\n", "line 70000 of ", "has 1 field where the header has 2"),
    (b'"1\n2",3,4\n', "the row on lines 70000 to 70001 of ", "has 3 fields"),
    (b"\xff,2\n", "line 70000 of ", "is not UTF-8"),
    (b'"1\r\n\xff",2\n', "lines 70000 to 70001 of ", "is not UTF-8"),
    (b'1,"2\n', "line 70000 of ", "opens a quoted field that is never closed"),
    (b'1,"2"3\n', "line 70000 of ", "has text after a closing quote"),
]


@pytest.mark.some(1)
@pytest.mark.parametrize(("odd", "where", "what"), ODD)
def test_an_odd_line_is_named_by_its_number(tmp_path: Path, odd: bytes, where: str, what: str) -> None:
    data = (
        with_odd_line(odd)
        if b"\xff" not in odd
        else with_odd_line(odd).replace(b"12,34", "é,34".encode(), 50)
    )
    for name, packed in (("a.csv", data), ("a.csv.zst", zstd(data))):
        path = put(tmp_path / name, packed)
        refused(path, where, path, what, "--bad-lines skip")


@pytest.mark.some(1)
@pytest.mark.parametrize(("odd", "where", "what"), ODD)
def test_odd_lines_are_skipped_and_kept(tmp_path: Path, odd: bytes, where: str, what: str) -> None:
    data = (
        with_odd_line(odd)
        if b"\xff" not in odd
        else with_odd_line(odd).replace(b"12,34", "é,34".encode(), 50)
    )
    found = opened(put(tmp_path / "a.csv", data), bad_lines="skip")
    assert len(found.values["user"]) == 17_499 * 2 + 1 + 10
    assert [(line, reason) for line, reason, _ in found.rejected] == [(70_000, found.rejected[0][1])]
    assert found.rejected[0][1].startswith(what.removesuffix(" (delimiter: comma)"))
    assert (
        found.rejected[0][2]
        .encode("utf-8", "replace")
        .startswith(odd.split(b"\n")[0].split(b"\xff")[0].rstrip(b"\r"))
    )
    assert found.notes == [
        f"1 line could not be read and was skipped, it is line 70,000, which {found.rejected[0][1]}"
    ]


@pytest.mark.thorough
def test_lines_without_quotes_are_named_by_whoever_reads_them(tmp_path: Path) -> None:
    """DuckDB's scanner stumbles over them while the rows are read, long after the table is opened."""
    path = put(tmp_path / "a.csv", b"user,item\n" + b"12,34\n" * 250_000 + b"5,6,7\n" + b"8,9\n" * 10)
    refused(path, "line 250002 of ", "has 3 fields where the header has 2")
    found = opened(path, bad_lines="skip")
    assert len(found.values["user"]) == 250_010
    assert found.rejected == [(250_002, "has 3 fields where the header has 2 (delimiter: comma)", "5,6,7")]


def test_rows_that_lack_their_last_fields(tmp_path: Path) -> None:
    """Excel leaves them out of some rows; where many rows do, that is how the table is written."""
    rows = [f"u{n},i{n % 7}" + ("" if n % 3 else ",7") for n in range(100)]
    found = opened(put(tmp_path / "a.csv", "\n".join(["user,item,qty", *rows])))
    assert found.values["qty"] == [None if n % 3 else "7" for n in range(100)]
    assert found.notes == ["rows that are short of fields at their end have none there"]


# quotes


def titles(odd: list[str], count: int = 1000) -> str:
    rows = [
        f"u{n % 50}\ti{n % 40}\t{odd[n // 10 % len(odd)] if n % 10 == 3 else 'plain'}" for n in range(count)
    ]
    return "\n".join(["user\titem\ttitle", *rows, ""])


@pytest.mark.some(3)
@pytest.mark.parametrize(
    "odd", [['"The" Book', "x"], ['"The Book', "x", "y"], ['"The Book', 'Wall 5"'], ['6" nails', '"']]
)
def test_stray_quotes_are_text_for_the_whole_file(tmp_path: Path, odd: list[str], way: str) -> None:
    found = opened(put(tmp_path / "a.tsv", titles(odd)))
    assert found.values["title"] == [odd[n // 10 % len(odd)] if n % 10 == 3 else "plain" for n in range(1000)]
    assert [note for note in found.notes if note.startswith("quotes are plain text, since the one on line")]


def test_stray_quotes_far_behind_the_first_lines(tmp_path: Path) -> None:
    """The scanner accepts them: one opens a field, one much later closes it, and the rows between would be gone."""
    start = titles(["x"], 60_000)
    end = titles(['"The Book', 'Wall 5"'], 100).partition("\n")[2]
    found = opened(put(tmp_path / "a.tsv", start + end))
    assert len(found.values["user"]) == 60_100
    assert found.values["title"][-97] == '"The Book'


def test_backslashes_before_quotes(tmp_path: Path, way: str) -> None:
    path = put(tmp_path / "a.csv", '"user";"title"\n"1";"The \\"Book\\"; a novel"\n"2";"C:\\\\"\n' * 1)
    assert values(path) == {"user": ["1", "2"], "title": ['The "Book"; a novel', "C:\\"]}


# above, inside and below the table


def body(count: int = 60) -> list[str]:
    return [f"2024-01-{n % 28 + 1:02d},u{n % 9},i{n % 7},{n % 3 + 1}" for n in range(count)]


HEADER = "Date,Customer ID,SKU,Qty"


def test_a_report_around_the_table(tmp_path: Path, way: str) -> None:
    lines = [
        "Sales report 2024",
        "Generated 2024-06-01 by ERP, v2",
        "",
        HEADER,
        *body(),
        "Total,,,119",
        "",
        "(60 rows)",
    ]
    found = opened(put(tmp_path / "a.csv", "\r\n".join(lines)))
    assert list(found.values) == HEADER.split(",")
    assert len(found.values["Qty"]) == 60
    assert found.notes == [
        "lines 1 to 2 stand before the table and are left out",
        "the last row is a total ('Total') and no purchase: it is left out",
        "1 line below the table is left out",
    ]


def test_the_header_comes_again(tmp_path: Path, way: str) -> None:
    rows = body()
    lines = [HEADER, *rows[:20], HEADER, *rows[20:40], HEADER, *rows[40:]]
    found = opened(put(tmp_path / "a.csv", "\n".join(lines)))
    assert len(found.values["Qty"]) == 60
    assert found.notes == ["the header comes 2 times more inside the table and is left out"]


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (
            ['"user","item","qty"', *(f'"{n}","u{n % 9}","i{n % 7}",1' for n in range(1, 60))],
            ["user", "item", "qty"],
        ),
        (
            ["user   item   qty  ", *(f"u{n % 9:<6d}i{n % 7:<6d}1    " for n in range(60))],
            ["user", "item", "qty"],
        ),
        (
            ["user   item name    qty", *(f"u{n % 9:<6d}Tea No. {n % 7:<5d}  1" for n in range(60))],
            ["user", "item name", "qty"],
        ),
    ],
)
def test_row_names_and_blanks(tmp_path: Path, lines: list[str], columns: list[str]) -> None:
    found = values(put(tmp_path / "a.txt", "\n".join(lines)))
    assert list(found) == columns
    assert set(found["qty"]) == {"1"}
    assert {user[0] for user in found["user"]} == {"u"}


BARE = [f"{n % 9:>7} | {n % 7:>7}" for n in range(60)]


@pytest.mark.parametrize(
    "lines",
    [
        [" user_id | item_id ", "---------+---------", *BARE, "(60 rows)", ""],
        [
            "+---+---+",
            "| user_id | item_id |",
            "+---+---+",
            *(f"| {row} |" for row in BARE),
            "+---+---+",
            "60 rows in set",
        ],
        ["| user_id | item_id |", "|---|:-:|", *(f"| {row} |" for row in BARE)],
        [
            "",
            "user_id item_id",
            "------- -------",
            *(row.replace("|", "") for row in BARE),
            "",
            "60 rows selected.",
        ],
    ],
)
def test_tables_that_programs_draw(tmp_path: Path, lines: list[str], way: str) -> None:
    found = values(put(tmp_path / "a.txt", "\n".join(lines)))
    assert list(found) == ["user_id", "item_id"]
    assert [cell.strip() for cell in found["user_id"]] == [str(n % 9) for n in range(60)]
    assert [cell.strip() for cell in found["item_id"]] == [str(n % 7) for n in range(60)]


def test_a_title_as_wide_as_the_table(tmp_path: Path) -> None:
    """As spreadsheets export it."""
    lines = [
        "Sales;2024;;",
        ";;;",
        "Date;Customer;SKU;Qty",
        *(row.replace(",", ";") for row in body()),
        ";;Summe;119",
    ]
    found = opened(put(tmp_path / "a.csv", "\n".join(lines)))
    assert list(found.values) == ["Date", "Customer", "SKU", "Qty"]
    assert len(found.values["Qty"]) == 60
    assert found.notes[0] == "lines 1 to 2 stand before the table and are left out"


def test_single_quotes(tmp_path: Path, way: str) -> None:
    lines = ["user,item,name", *(f"u{n % 9},i{n % 7},'Tea, it''s green'" for n in range(60))]
    assert set(values(put(tmp_path / "a.csv", "\n".join(lines)))["name"]) == {"Tea, it's green"}


@pytest.mark.parametrize(
    "line",
    ["5160,1036,2520377,pv,1672836915", "5160,Tea No. 1,purchase,1.0,0", "alice,tea,shop,2024-01-01,x"],
)
def test_the_first_line_is_data_where_it_is_like_the_others(tmp_path: Path, line: str, way: str) -> None:
    fields = line.split(",")
    lines = [line, *(",".join([f"u{n % 9}" if n % 3 else fields[0], *fields[1:]]) for n in range(50))]
    if fields[0].isdecimal():
        lines = [line.replace("u", "10") if n else line for n, line in enumerate(lines)]
    found = opened(put(tmp_path / "a.csv", "\n".join(lines)))
    assert not found.header
    assert list(found.values) == ["1", "2", "3", "4", "5"]
    assert len(found.values["1"]) == 51
    assert opened(put(tmp_path / "a.csv", "\n".join(lines)), header=True).header


@pytest.mark.parametrize(
    "header",
    ["Email,Product", "user,item", "Kunde,Artikel", "顧客ID,商品ID", "u,i"],
)
def test_a_header_over_text(tmp_path: Path, header: str) -> None:
    lines = [header, *(f"kunde{n % 9}@example.com,Tea No. {n % 7}" for n in range(50))]
    found = opened(put(tmp_path / "a.csv", "\n".join(lines)))
    assert found.header
    assert list(found.values) == header.split(",")
    assert not opened(put(tmp_path / "a.csv", "\n".join(lines)), header=False).header


def test_a_header_of_another_width(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "user,item,price\n" + "1,2,3,4,5\n" * 50)
    refused(path, "the header of ", "(line 1) has 3 fields where the rows have 5", "--columns")


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ("::", "user::item\n1::a:b\n"),
        ("\\t", "user\titem\n1\ta:b\n"),
        ("tab", "user\titem\n1\ta:b\n"),
        ("#", "user#item\n1#a:b\n"),
    ],
)
def test_a_delimiter_that_is_given(tmp_path: Path, given: str, data: str) -> None:
    assert values(put(tmp_path / "a.csv", data), delimiter=given) == {"user": ["1"], "item": ["a:b"]}


def test_delimiters_that_are_none(tmp_path: Path) -> None:
    for odd in ("", "\n", '"', "abcde"):
        refused(
            put(tmp_path / "a.csv", "a,b\n1,2\n"),
            "--delimiter is one to four characters",
            error=ConfigError,
            delimiter=odd,
        )


@pytest.mark.parametrize(
    ("lines", "delimiter", "comma"),
    [
        (["user;item;price", "1;a;2,50", "2;b;3,00"], ";", True),
        (["user;item;price", "1;a;2.50", "2;b;3.00"], ";", False),
        (["user,item,list", "1,a,x;y", "2,b,x;z"], ",", None),
        (["1;5160;2,50", "2;5111;3,75", "3;5160;2,50"], ";", True),
        (["user|names|n", "1|a, b|3", "2|c, d|4"], "|", None),
    ],
)
def test_the_delimiter_is_settled_first(
    tmp_path: Path, lines: list[str], delimiter: str, comma: bool | None
) -> None:
    found = opened(put(tmp_path / "a.csv", "\n".join(lines)))
    assert len(found.values) == 3
    assert found.decimal_comma is comma


# encodings


TEXTS = {
    "cp1252": "Kunde,Artikel\n1,Käse für Müller\n2,Crème brûlée\n3,Straße 5 €\n",
    "latin-1": "Kunde,Artikel\n1,Käse\n2,Señor\n",
    "cp932": "顧客ID,商品ID,商品名\n1,a,紅茶の茶碗\n2,b,蜂蜜ケーキ\n",
    "euc_jp": "顧客ID,商品ID,商品名\n1,a,紅茶の茶碗です\n2,b,蜂蜜ケーキ\n",
    "gb18030": "用户ID,商品ID,商品名称\n1,a,红茶杯子\n2,b,蜂蜜蛋糕\n",
    "cp949": "고객,상품\n1,홍차 한 잔\n2,꿀 케이크\n",
    "cp1251": "Клиент,Товар\n1,Чай чёрный байховый\n2,Мёд цветочный натуральный\n3,Молоко топлёное\n",
    "utf-16": "Kunde,Artikel\n1,Käse\n",
    "utf-16-le": "Kunde,Artikel\n1,Käse\n2,Brot und Butter\n",
}


@pytest.mark.some(9)
@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_found_and_said(tmp_path: Path, encoding: str, way: str) -> None:
    path = put(tmp_path / "a.csv", TEXTS[encoding].encode(encoding))
    found = opened(path)
    expected = list(csv.reader(io.StringIO(TEXTS[encoding])))
    assert list(found.values) == expected[0]
    assert list(zip(*found.values.values(), strict=True)) == [tuple(row) for row in expected[1:]]
    assert [note for note in found.notes if note.startswith("its text is taken for")]
    assert values(path, encoding=encoding) == found.values


def test_an_encoding_that_is_given(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "user,item\n1,ž\n".encode("cp1250"))
    assert values(path, encoding="cp1250")["item"] == ["ž"]
    refused(path, "--encoding is one that Python knows", error=ConfigError, encoding="nonsense")
    refused(put(tmp_path / "b.csv", b"user,item\n1,\xff\n"), "line 2 of", "is not UTF-8", encoding="utf-8")


# what cannot be read

LONG = b"user,item\n" + b"".join(b"%d,%d\n" % (number, number * 7919 % 10_007) for number in range(10_000))


@pytest.mark.some(7)
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.csv", b"\n\n \n", "is empty"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:-100], "truncated gzip"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:12], "truncated gzip"),
        ("a.csv.zst", zstd(LONG)[:-100], "truncated zstd"),
        ("a.csv.bz2", bz2.compress(LONG)[:-100], "truncated bzip2"),
        ("a.csv.xz", lzma.compress(LONG)[:-100], "truncated xz"),
        ("a.csv.gz", gzip.compress(LONG, mtime=0)[:-8] + bytes(8), "not a valid gzip"),
        ("a.csv", b"user,item\n1,\x002\n", "zero bytes"),
        ("a.csv", b"x" * 17_000_000, "a line of more than 16 MiB"),
        ("a.csv", b"user,item\n1," + b"x" * 17_000_000, "a line of more than 16 MiB"),
        (
            "a.csv",
            b",".join(b"c%d" % n for n in range(100_000)) + b"\n" + b"1," * 99_999 + b"1\n",
            "more than 20,000 columns",
        ),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = put(tmp_path / name, data)
    assert str(path) in refused(path, message)


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "there is no file", tmp_path / "none.csv")
    put(tmp_path / "x.csv", "")
    for path in (tmp_path / "x.csv" / "y.csv", tmp_path / ("x" * 300 + ".csv")):
        with pytest.raises(SourceError):
            opened(path)
