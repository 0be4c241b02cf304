"""Texts of dates and times, read in SQL: what each distinct text may mean, before the whole column decides.

A text is brought to a plain form first (ASCII digits, no accents, no weekday, no ordinals). Then its clock is split
off, and its date has one of the known forms. Dates such as 1/4/2023 get a reading for each order of their numbers.
"""

from __future__ import annotations

from typing import Final

from recae.reading.engine import Engine, text
from recae.reading.table import Table

DAY: Final = 86_400_000_000
"""Microseconds of a day."""

_MONTHS: Final = (
    # English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish and Norwegian; without accents
    "jan january januar janner jaenner jan janv janvier ene enero gen gennaio janeiro januari",
    "feb february februar feber fev fevr fevrier febrero febbraio fevereiro februari",
    "mar march marz maerz mrz mars marzo marco mrt maart",
    "apr april avr avril abr abril aprile",
    "may mai mayo mag maggio maio mei maj",
    "jun june juni juin junio giu giugno junho",
    "jul july juli juil juillet julio lug luglio julho",
    "aug august aou aout ago agosto augustus augusti",
    "sep sept september septembre septiembre setiembre set sett settembre setembro",
    "oct october okt oktober octobre octubre ott ottobre out outubro",
    "nov november novembre noviembre novembro",
    "dec december dez dezember decembre dic diciembre dicembre dezembro des desember",
)
_WEEKDAYS: Final = (
    "mon monday tue tues tuesday wed wednesday thu thur thurs thursday fri friday sat saturday sun sunday "
    "mo montag di dienstag mi mittwoch do donnerstag fr freitag sa samstag sonnabend so sonntag "
    "lun lundi mardi mer mercredi jeu jeudi ven vendredi sam samedi dim dimanche "
    "lunes martes mie miercoles jue jueves vie viernes sab sabado dom domingo "
    "lunedi martedi mercoledi gio giovedi venerdi sabato domenica "
    "seg segunda segunda-feira ter terca terca-feira qua quarta quarta-feira qui quinta quinta-feira sex sexta "
    "sexta-feira "
    "ma maandag dinsdag wo woensdag donderdag vr vrijdag za zaterdag zo zondag"
)
_ZONES: Final = {
    "z": 0, "utc": 0, "gmt": 0, "ut": 0, "wet": 0, "west": 60, "bst": 60, "cet": 60, "cest": 120, "mez": 60,
    "mesz": 120, "eet": 120, "eest": 180, "msk": 180, "jst": 540, "kst": 540, "est": -300, "edt": -240, "cst": -360,
    "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420,
}  # fmt: skip
"""Minutes east of Greenwich."""

_WIDE: Final = (
    "０１２３４５６７８９٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹：／．，－\u2212\u2013\u2019\u3000\u00a0\u2007\u2009\u202f（）",
    "012345678901234567890123456789:/.,---'     ()",
)
_SIMPLE: Final = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?: \d{1,2}:\d{1,2}(?::\d{1,2})?)?"
NUMERIC: Final = r"[+-]?\d+(?:[.,]\d*)?(?:e[+-]?\d+)?"
_ASIAN: Final = (
    (r"^\s*(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*$", r"\1-\2"),
    (r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日号號일]?", r"\1-\2-\3 "),
    (r"(\d{1,2})\s*[時时시點点]\s*(\d{1,2})\s*[分분]\s*(\d{1,2})\s*[秒초]", r"\1:\2:\3"),
    (r"(\d{1,2})\s*[時时시點点]\s*(\d{1,2})\s*[分분]", r"\1:\2"),
    (r"(\d{1,2})\s*[時时시點点]", r"\1:00"),
    (r"午前|上午|오전", " am "),
    (r"午後|下午|오후", " pm "),
    (r"星期[一二三四五六日天]|周[一二三四五六日]|[月火水木金土日]曜日?|[월화수목금토일]요일", " "),
)
_DATE: Final = r"^(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4})"
_WORDS: Final = (
    (r"^/date\((-?\d+)(?:[+-]\d{4})?\)/$", r"\1"),
    (r" ?[(\[][^)\]]*[)\]] ?", " "),
    (r"([ap])\. ?m\.?", r"\1m"),
    (r"(\d) ?h ?(\d{2})(?: ?m(?:in)?)?($| )", r"\1:\2\3"),
    (r"(\d) ?(?:uhr|hrs?|h)$", r"\1"),
    (r" (?:a las|a la|alle ore|at|um|a|as|alle|om|kl\.?|ore) (\d)", r" \1"),
    (r"(\d)(?:st|nd|rd|th|er|re|eme|e|\.?[ºª°o])([ ,.])", r"\1\2"),
    (r"(?: (?:de|del|of|den) | d')(\d|[a-z]{3,})", r" \1"),
    (rf"^(?:{'|'.join(_WEEKDAYS.split())})[.,]*[ ,]", ""),
    (r"^mar[.,]* (\d{1,2}[-/ .]* ?[a-z]{3,})", r"\1"),
    (r" ?,? (?:" + "|".join(_WEEKDAYS.split()) + r")\.?$", ""),
    (r"([ap]m) (\d{1,2}(?::\d{1,2}){1,2})$", r"\2 \1"),
    (
        r"^(\d{1,2}:\d{1,2}(?::\d{1,2}(?:[.,]\d+)?)?(?: ?[ap]m)?),? (?:on |am |le |el |op )?([^+-].*\D\d.*)$",
        r"\2 \1",
    ),
    (r"([ ,t])(\d{1,2}) ?([ap]m)$", r"\1\2:00 \3"),
    # Wed Jan  4 15:17:00 CET 2023
    (
        r"^([a-z]{3,})\.? (\d{1,2}) (\d{1,2}:\d{1,2}:\d{1,2}) ?([a-z]{3,4}|[+-]\d{4})? (\d{4})$",
        r"\1 \2 \5 \3 \4",
    ),
    (r"^(\d{4})(\d\d)(\d\d)[t _-](\d\d)(\d\d)(\d\d)", r"\1-\2-\3 \4:\5:\6"),
    (r"^(\d{4})(\d\d)(\d\d)[t _-](\d\d)(\d\d)($|z|[+-])", r"\1-\2-\3 \4:\5\6"),
    (r"^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)([.,]\d+|z)", r"\1-\2-\3 \4:\5:\6\7"),
    (r"^(\d{4})(\d\d)(\d\d)([t _-]\d{1,2}:)", r"\1-\2-\3\4"),
    (r"^(\d{4}-\d\d-\d\d) ?(z|utc|gmt|[+-]\d\d:\d\d)$", r"\1 00:00 \2"),
    (_DATE + r" (\d{1,2})\.(\d\d)\.(\d\d)$", r"\1 \2:\3:\4"),
    (_DATE + r" (\d{1,2})\.(\d\d)$", r"\1 \2:\3"),
)
CLOCK: Final = (
    r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,:](\d+))?)? ?([ap]m)? ?"
    r"((?:(?:utc|gmt) ?)?[+-]\d{1,2}(?::?\d\d)?|[a-z]{1,4})?"
)
"""A time of day, in plain form."""
CLOCK_GROUPS: Final = ("hour", "minute", "second", "fraction", "half", "zone")
_CLOCKED: Final = r"^(.*?)(?: ?[,;-]? |[t_:,])" + CLOCK + "$"
_YEAR: Final = r"'?(\d{4}|\d\d)\.?"
_FORMS: Final = {
    "ymd": r"^(\d{4})[-/._ ] ?(\d{1,2})[-/._ ] ?(\d{1,2})\.?$",
    "either": r"^(\d{1,2})[-/. ] ?(\d{1,2})[-/. ] ?(\d{4}|\d\d)\.?$",
    "comma": r"^(\d{1,2}) (\d{1,2}), ?(\d{4})$",  # as Amazon writes: month and day
    "dmy": r"^(\d{1,2})[-/ .,]*([a-z]{3,})[-/ .,]*" + _YEAR + "$",
    "mdy": r"^([a-z]{3,})[-/ .]*(\d{1,2})[-/ .,]+(\d{4})$",
    "ywd": r"^(\d{4})[-/ .,]*([a-z]{3,})[-/ .,]*(\d{1,2})$",
    "ym": r"^(\d{4})[-/](\d{1,2})()$",
    "my": r"^(\d{1,2})[-/](\d{4})()$",
    "wy": r"^([a-z]{3,})[-/ .,]*(\d{4})()$",
}
_PLACES: Final = {
    "ymd": "pqr", "dmy": "rqp", "mdy": "rpq", "ywd": "pqr", "ym": "pq1", "my": "qp1", "wy": "qp1",
}  # fmt: skip
"""In which of its groups a form has the year, the month and the day; 1: the first of the month."""


def parse_texts(engine: Engine, texts: str) -> str:
    """Store what each text may mean; returns the table's name.

    Args:
        engine: the connection.
        texts: a relation (text VARCHAR, n BIGINT) of distinct texts without blanks around them, and their rows.

    Returns:
        A table (text, n, kind, number DECIMAL(28, 9), sure, day_first, month_first, year_first, short BOOLEAN, p, r)
        of which the last but one four are microseconds since 1970 UTC by each reading, null where there is none. Kind
        is "missing", "zero" (0000-00-00), "number", "date", "either" (1/4/2023), "comma" (01 04, 2023) or "" for a
        text that is none of these. Short: the year has two digits; p and r are then the first and the last number.
    """
    cleaned = f"SELECT text, n, {plain('text')} AS t FROM {texts}"  # names of our own
    split = (
        f"SELECT text, n, t, regexp_full_match(t, {text(NUMERIC)}) AS is_number, "
        f"regexp_extract(t, {text(_CLOCKED)}, ['date', {', '.join(map(text, CLOCK_GROUPS))}]) AS c "
        f"FROM ({cleaned})"
    )
    dated = (
        "SELECT *, CASE WHEN c.hour = '' THEN t ELSE trim(c.date, ' ,;') END AS d, "
        f"{clock_micros('c')} AS clock FROM ({split})"
    )
    forms = " ".join(
        f"WHEN regexp_full_match(d, {text(pattern)}) THEN '{name}'" for name, pattern in _FORMS.items()
    )
    formed = f"SELECT *, CASE WHEN is_number THEN '' {forms} ELSE '' END AS form FROM ({dated})"
    groups = " ".join(
        f"WHEN '{name}' THEN regexp_extract(d, {text(pattern)}, ['p', 'q', 'r'])"
        for name, pattern in _FORMS.items()
    )
    taken = f"SELECT *, CASE form {groups} END AS g FROM ({formed})"
    parts = {
        part: " ".join(
            f"WHEN '{name}' THEN " + ("'1'" if places[k] == "1" else f"g.{places[k]}")
            for name, places in _PLACES.items()
        )
        for k, part in enumerate("ymd")
    }
    placed = (
        f"SELECT *, CASE form {parts['y']} END AS y, CASE form {parts['m']} END AS word, "
        f"CASE form {parts['d']} END AS day FROM ({taken})"
    )
    missing = Table.missing("text")
    either = "form IN ('either', 'comma')"
    months = ", ".join(
        f"({text(word)}, '{k}')" for k, words in enumerate(_MONTHS, 1) for word in sorted(set(words.split()))
    )
    return engine.store(
        f"SELECT text, n, CASE WHEN {missing} THEN 'missing' "
        f"WHEN regexp_full_match(text, {text(_ZEROS)}) THEN 'zero' "
        "WHEN is_number THEN 'number' WHEN form IN ('either', 'comma') THEN form WHEN form <> '' THEN 'date' "
        "ELSE '' END AS kind, "
        "CASE WHEN is_number THEN TRY_CAST(replace(t, ',', '.') AS DECIMAL(28, 9)) END AS number, "
        f"{_micros('y', 'coalesce(m.number, word)', 'day')} AS sure, "
        f"CASE WHEN {either} THEN {_micros('g.r', 'g.q', 'g.p')} END AS day_first, "
        f"CASE WHEN {either} THEN {_micros('g.r', 'g.p', 'g.q')} END AS month_first, "
        f"CASE WHEN form = 'either' AND length(g.r) = 2 THEN {_micros('g.p', 'g.q', 'g.r')} END AS year_first, "
        f"form = 'either' AND length(g.r) = 2 AS short, "
        "CASE WHEN form = 'either' THEN TRY_CAST(g.p AS INTEGER) END AS p, "
        "CASE WHEN form = 'either' THEN TRY_CAST(g.r AS INTEGER) END AS r "
        f"FROM ({placed}) LEFT JOIN (VALUES {months}) AS m(word_of, number) ON word = word_of",
        "dates",
    )


_ZEROS: Final = r"0{8}|0{14}|0{1,4}[-/.]0{1,2}[-/.]0{1,4}(?:[Tt ]0{1,2}:00(?::00(?:\.0+)?)?)?"


def clock_micros(groups: str) -> str:
    """Return SQL for the microseconds since midnight of UTC, of what a clock's pattern found; null where it is none.

    Without an hour they are 0; 24:00 is the end of the day, the sixtieth second a leap second.
    """
    part = {
        name: f"coalesce(TRY_CAST({groups}.{name} AS BIGINT), 0)" for name in ("hour", "minute", "second")
    }
    hour = (
        f"CASE {groups}.half WHEN '' THEN {part['hour']} WHEN 'am' THEN {part['hour']} % 12 "
        f"ELSE {part['hour']} % 12 + 12 END"
    )
    valid = (
        f"{part['minute']} < 60 AND {part['second']} <= 60 AND CASE WHEN {groups}.half <> '' "
        f"THEN {part['hour']} BETWEEN 1 AND 12 ELSE {part['hour']} < 24 "
        f"OR ({part['hour']} = 24 AND {part['minute']} = 0 AND {part['second']} = 0) END"
    )
    fraction = f"TRY_CAST(rpad({groups}.fraction, 6, '0')[1:6] AS BIGINT)"
    zone = f"{groups}.zone"
    named = " ".join(f"WHEN {text(name)} THEN {minutes}" for name, minutes in _ZONES.items())
    digits = f"regexp_replace({zone}, '[^0-9]', '', 'g')"
    hours = (
        f"TRY_CAST(CASE WHEN length({digits}) IN (1, 3) THEN {digits}[1:1] ELSE {digits}[1:2] END AS BIGINT)"
    )
    rest = f"coalesce(TRY_CAST(CASE WHEN length({digits}) > 2 THEN {digits}[-2:] END AS BIGINT), 0)"
    offset = (
        f"CASE {zone} WHEN '' THEN 0 {named} "
        f"ELSE CASE WHEN contains({zone}, '-') THEN -1 ELSE 1 END * ({hours} * 60 + {rest}) END"
    )
    return (
        f"CASE WHEN {groups}.hour = '' THEN 0 WHEN {valid} THEN "
        f"(({hour}) * 3600 + {part['minute']} * 60 + {part['second']} - ({offset}) * 60) * 1000000 + {fraction} END"
    )


def plain(sql: str) -> str:
    """Return SQL for a text in plain form: lower case, no accents, one blank at a time, no words around its numbers."""
    asian = f"translate({sql}, {text(_WIDE[0])}, {text(_WIDE[1])})"
    for pattern, found in _ASIAN:
        asian = f"regexp_replace({asian}, {text(pattern)}, {text(found)}, 'g')"
    ascii_only = rf"CASE WHEN regexp_full_match({sql}, '[ -~]*') THEN {sql} ELSE strip_accents({asian}) END"
    words = rf"trim(regexp_replace(lower({ascii_only}), '\s+', ' ', 'g'))"
    for pattern, found in _WORDS:
        words = f"regexp_replace({words}, {text(pattern)}, {text(found)}, 'g')"
    simple = f"regexp_full_match({sql}, {text(_SIMPLE)})"
    return f"CASE WHEN {simple} THEN {sql} ELSE trim({words}) END"


def _micros(year: str, month: str, day: str) -> str:
    """Return SQL for microseconds since 1970 of texts; two digits of a year mean 1969 to 2068, as in POSIX."""
    full = (
        f"CASE WHEN length({year}) > 2 THEN {year} "
        f"WHEN TRY_CAST({year} AS INTEGER) < 69 THEN '20' || lpad({year}, 2, '0') "
        f"ELSE '19' || lpad({year}, 2, '0') END"
    )
    whole = f"TRY_CAST(nullif({full}, '0000') || '-' || {month} || '-' || {day} AS DATE)"
    return f"epoch_us({whole}) + clock"
