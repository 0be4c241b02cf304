"""Reading: texts of dates in several languages and forms, against the standard library's own writing of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valuecolumns import micros, read_times

from recae.reading.dates import parse_texts
from recae.reading.engine import Engine
from recae.reading.times import TimeColumn

MONTHS = {
    "English": "January February March April May June July August September October November December",
    "German": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "Austrian": "Jänner Feber März April Mai Juni Juli August September Oktober November Dezember",
    "French": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "Spanish": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "Italian": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "Portuguese": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "Dutch": "januari februari maart april mei juni juli augustus september oktober november december",
    "short English": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "short German": "Jan. Feb. Mrz. Apr. Mai Jun. Jul. Aug. Sep. Okt. Nov. Dez.",
    "short French": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "short Spanish": "ene feb mar abr may jun jul ago sept oct nov dic",
    "short Italian": "gen feb mar apr mag giu lug ago set ott nov dic",
    "short Portuguese": "jan. fev. mar. abr. mai. jun. jul. ago. set. out. nov. dez.",
    "short Dutch": "jan. feb. mrt. apr. mei jun. jul. aug. sep. okt. nov. dec.",
}
FORMS = (
    "{d} {m} {y}",
    "{d}. {m} {y}",
    "{d:02}-{m}-{y}",
    "{d}/{m}/{y}",
    "{d} de {m} de {y}",
    "{d}{m}{y}",
    "{m} {d}, {y}",
    "{m} {d} {y}",
    "{y}-{m}-{d:02}",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(2**30) as opened:
        yield opened


def meanings(engine: Engine, texts: list[str]) -> dict[str, tuple[str, int | None]]:
    """The kind of each text, and its microseconds where it has one meaning."""
    given_texts = engine.register(pa.table({"text": texts, "n": [1] * len(texts)}))
    return {
        text: (kind, sure)
        for text, kind, sure in engine.rows(
            f"SELECT text, kind, sure FROM {parse_texts(engine, given_texts)}"
        )
    }


@pytest.mark.some(5)
@pytest.mark.parametrize("language", MONTHS)
def test_months_of_every_language(engine: Engine, language: str) -> None:
    expected = {
        form.format(d=day, m=name, y=2023): micros(dt.datetime(2023, number, day))
        for form in FORMS
        for day in (4, 17)
        for number, name in enumerate(MONTHS[language].split(), 1)
    }
    expected |= {
        text.upper(): moment for text, moment in expected.items() if " de " not in text and "ß" not in text
    }
    found = meanings(engine, list(expected))
    assert {text: found[text] for text in expected} == {text: ("date", m) for text, m in expected.items()}


@pytest.mark.some(14)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. Dez. 2010", "2010-12-01"),
        ("4. Januar 2023", "2023-01-04"),
        ("1er décembre 2010", "2010-12-01"),
        ("1 de diciembre de 2010", "2010-12-01"),
        ("1º de dezembro de 2010", "2010-12-01"),
        ("1st of December 2010", "2010-12-01"),
        ("December 22nd, 2010", "2010-12-22"),
        ("Mittwoch, 4. Januar 2023 15:17 Uhr", "2023-01-04 15:17"),
        ("4. Januar 2023 um 15:17 Uhr", "2023-01-04 15:17"),
        ("mercredi 4 janvier 2023 à 15h17", "2023-01-04 15:17"),
        ("mar. 4 avr. 2023", "2023-04-04"),
        ("Mar 4, 2023", "2023-03-04"),
        ("4 gennaio 2023 alle 15:17", "2023-01-04 15:17"),
        ("miércoles, 4 de enero de 2023", "2023-01-04"),
        ("January 4, 2023 at 3:17 PM", "2023-01-04 15:17"),
        ("2010年12月1日", "2010-12-01"),
        ("2010年12月1日 15時17分", "2010-12-01 15:17"),
        ("2010年12月01日15时17分09秒", "2010-12-01 15:17:09"),
        ("2010年12月1日(水) 午後3:17", "2010-12-01 15:17"),
        ("2010年12月", "2010-12-01"),
        ("2023/1/4 下午 3:17:00", "2023-01-04 15:17"),
        ("2023/1/4 上午12:05:00", "2023-01-04 00:05"),
        ("2010년 12월 1일 오후 3시 17분", "2010-12-01 15:17"),
        ("2023. 1. 4.", "2023-01-04"),
        ("２０２３年０１月０４日", "2023-01-04"),
        ("Wed Jan  4 15:17:00 2023", "2023-01-04 15:17"),
        ("Wed Jan 04 15:17:00 CET 2023", "2023-01-04 14:17"),
        ("Wed Jan 04 15:17:00 +0000 2023", "2023-01-04 15:17"),
        ("Wed Jan 04 2023 15:17:00 GMT+0100 (Central European Standard Time)", "2023-01-04 14:17"),
        ("Wed, 04 Jan 2023 15:17:00 +0100", "2023-01-04 14:17"),
        ("Jan 4, 2023 3:17:00 PM PST", "2023-01-04 23:17"),
        ("04/Jan/2023:15:17:00 +0100", "2023-01-04 14:17"),
        ("15:17, 4 January 2023", "2023-01-04 15:17"),
        ("01-DEC-10 03.17.09.123456 PM", None),  # Oracle's own, with points in the clock, is not known
        ("2023-01-04T15:17:00+01:00[Europe/Berlin]", "2023-01-04 14:17"),
        ("2023-01-04 15:17:00 UTC", "2023-01-04 15:17"),
        ("2023-01-04 15:17:00.123456789", "2023-01-04 15:17:00.123456"),
        ("2023-01-04 15:17:00,5", "2023-01-04 15:17:00.500"),
        ("2023-01-04Z", "2023-01-04"),
        ("2023-01-04-05:00", "2023-01-04 05:00"),
        ("2023-01-04 24:00", "2023-01-05"),
        ("2016-12-31 23:59:60", "2017-01-01"),
        ("20230104T151700Z", "2023-01-04 15:17"),
        ("20230104T1517", "2023-01-04 15:17"),
        ("20230104 15:17", "2023-01-04 15:17"),
        ("20230104151700.5", "2023-01-04 15:17:00.500"),
        ("2023-01", "2023-01-01"),
        ("01/2023", "2023-01-01"),
        ("Jan 2023", "2023-01-01"),
        ("31 Foo 2010", None),
        ("2010-02-29", None),
        ("2010-13-01", None),
        ("2010-00-10", None),
        ("2010-01-01 25:00", None),
        ("2010-01-01 24:01", None),
        ("2010-01-01 10:61", None),
        ("2010-01-01 13:00 PM", None),
        ("2010-01-01 10:00 XYZ", None),
        ("soon", None),
        ("10:30", None),
        ("epoch", None),
        ("infinity", None),
        ("-2023-01-04", None),
        ("12023-01-04", None),
        ("2023-01-04 (BC)", "2023-01-04"),
        ("order 2023-01-04", None),
    ],
)
def test_texts_of_one_meaning(engine: Engine, text: str, expected: str | None) -> None:
    assert meanings(engine, [text])[text][1] == micros(expected)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (
            ["0000-00-00", "00000000", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000", "00000000000000"],
            "zero",
        ),
        (["nan", "None", "NULL", "n/a", "\\N", "-", "?", "#REF!"], "missing"),
        (
            [
                "5",
                "-1",
                "1291191960.7",
                "44930,63681",
                "1.67284E+12",
                "20101201082600",
                "/Date(1672845420000)/",
            ],
            "number",
        ),
        (
            ["1/4/2023", "13.12.10", "1-4-2023 8:26", "01 04 2023", "Mi., 04.01.2023", "15:17 04.01.2023"],
            "either",
        ),
        (["01 04, 2023"], "comma"),
        (["soon", "10:30", "1 2", "2023-W05", "4th", "12.3.4.5"], ""),
    ],
)
def test_kinds_of_texts(engine: Engine, texts: list[str], kind: str) -> None:
    assert {text: found[0] for text, found in meanings(engine, texts).items()} == dict.fromkeys(texts, kind)


moments = st.datetimes(dt.datetime(1000, 1, 1), dt.datetime(9900, 1, 1))


@settings(max_examples=settings().max_examples // 3)  # each reads a table
@given(moments, st.integers(-14 * 60, 14 * 60), st.sampled_from(list(MONTHS.values())))
def test_texts_agree_with_the_standard_library(
    engine: Engine, moment: dt.datetime, zone: int, names: str
) -> None:
    aware = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=zone)))
    shown = moment.replace(microsecond=0)
    month = names.split()[moment.month - 1]
    texts = {
        moment.isoformat(): moment,
        moment.isoformat(" "): moment,
        moment.isoformat() + "Z": moment,
        aware.isoformat(): aware.astimezone(dt.UTC),
        aware.isoformat(" "): aware.astimezone(dt.UTC),
        f"{moment.isoformat(' ')} {aware:%z}": aware.astimezone(dt.UTC),
        f"{moment.isoformat(' ', 'seconds')} UTC": shown,
        shown.ctime(): shown,
        f"{moment.day}. {month} {moment.year} {moment:%H:%M:%S}": shown,
        f"{moment.year}/{moment.month}/{moment.day} {moment.hour}:{moment:%M}": shown.replace(second=0),
        f"{moment.year}年{moment.month}月{moment.day}日 {moment.hour}時{moment.minute}分": shown.replace(
            second=0
        ),
        f"{moment.year:04}{moment:%m%dT%H%M%SZ}": shown,
        f"{moment.day} {month} {moment.year}, {moment:%I:%M:%S %p}": shown,
    }
    found = meanings(engine, list(texts))
    assert {text: sure for text, (_, sure) in found.items()} == {text: micros(m) for text, m in texts.items()}


WAYS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y-%m-%dT%H:%M:%S+01:00", "%Y-%m-%d %H:%M:%S -0530", "%Y-%m-%d %H:%M:%S.%f UTC", "%Y/%m/%d %H:%M",
    "%d.%m.%Y", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%m/%d/%Y", "%d-%m-%Y", "%d %b %Y",
    "%b %d, %Y %H:%M:%S", "%d-%b-%Y", "%B %d, %Y",
)  # fmt: skip


@settings(max_examples=settings().max_examples // 6)  # each reads a table
@given(
    st.sampled_from(WAYS),
    st.lists(st.datetimes(dt.datetime(1972, 1, 1), dt.datetime(2030, 1, 1)), min_size=1, max_size=30),
    st.lists(
        st.sampled_from(
            ["2023-1-4", "epoch", "04.01.23", " 2023-01-04 ", "1672845420", "n/a", "", "2023-02-30"]
        )
    ),
)
def test_what_the_scan_reads_is_what_the_texts_mean(
    engine: Engine, way: str, times: list[dt.datetime], odd: list[str]
) -> None:
    texts = [f"{moment:{way}}" for moment in times] + odd
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TimeColumn, "_choose_formats", lambda *_: None)
        slow, expected = read_times(engine, texts)
    fast, found = read_times(engine, texts)
    assert found == expected
    assert (fast.unreadable, fast.missing, fast.sentinels) == (slow.unreadable, slow.missing, slow.sentinels)
    assert (fast.first, fast.last, fast.ambiguous) == (slow.first, slow.last, slow.ambiguous)
    assert fast.contradictory == slow.contradictory
