"""What the report's page is made of: its JSON form, reports with holes, numbers in words, marks, colours."""

from __future__ import annotations

import copy
import json
import math
import re
import unicodedata
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportpages import Page, at, leaves, put
from reports import bare_report, full_report, typed

from recae.evaluation.report import words
from recae.evaluation.report.html import report_html
from recae.evaluation.report.marks import (
    IntervalMark,
    Line,
    Point,
    bar,
    interval_mark,
    line_chart,
    tick_text,
    ticks,
)
from recae.evaluation.report.schema import Estimate, Model, Report, Trial, plain
from recae.evaluation.report.tables import make_context
from recae.evaluation.report.verdict import Standing


def small_report() -> dict[str, Any]:
    """Two models, one of everything, so that each kind of value can be taken away in turn."""
    report = full_report()
    report["models"] = [report["models"][0], report["models"][4]]
    for model in report["models"]:
        model["epochs"] = model["epochs"][:2]
        model["metrics"] = {name: model["metrics"][name] for name in ("recall@20", "ndcg@20")}
        model["curve"] = {"k": [1, 5], "recall": model["curve"]["recall"][:2]}
    report["examples"] = report["examples"][1:]
    return report


@pytest.mark.parametrize("instead", [None, math.nan, "text", [], {}, 7, True])
def test_whatever_is_missing_or_odd_the_page_is_whole(instead: Any) -> None:
    report = small_report()
    # one path of each shape, whatever the numbers in it
    paths = {tuple("*" if isinstance(k, int) else k for k in path): path for path in leaves(report) if path}
    for path in list(paths.values())[:: 1 if instead is None else 5]:
        if instead is math.nan and not isinstance(at(report, path), float):
            continue
        changed = copy.deepcopy(report)
        put(changed, path, copy.deepcopy(instead))
        text = report_html(typed(changed))
        assert "nan" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S).lower(), path
        Page(text)


@given(st.text(), st.text())
def test_any_text_stays_text(name: str, source: str) -> None:
    report = bare_report()
    model = {"name": "a", "config": {"k": "v"}, "tuned": [{"settings": {}, "recall@5": 0.25}]}
    report["models"][0] |= model
    plain_page = Page(report_html(typed(report)))
    report["data"]["source"] = f"a{source}"
    report["models"][0] |= {"name": f"a{name}", "config": {name: source}}
    text = report_html(typed(report))
    text.encode("utf-8")
    page = Page(text)
    assert [part["tag"] for part in page.found] == [part["tag"] for part in plain_page.found]
    assert page.one("p", **{"class": "source"})["text"] == f"a{printable(source)}"
    boxes = [box["attrs"]["aria-label"] for box in page.all("div", **{"class": "scroll"})]
    assert f"Trials of a{printable(name)}" in boxes
    code = page.all("code", **{"class": "settings"})
    assert printable(f"{name} = {source}") in [part["text"].removesuffix(" ") for part in code]


def printable(text: str) -> str:
    """The text with U+FFFD for what a page may not hold, or a file cannot."""
    return "".join("\ufffd" if unprintable(c) else c for c in text)


def unprintable(character: str) -> bool:
    """Whether a page may not hold the character, or a file cannot."""
    category = unicodedata.category(character)
    return (category in ("Cc", "Cs") and character not in "\t\n\r") or character in "\ufffe\uffff"


def test_the_json_form_is_read_as_it_was_written() -> None:
    for written in (full_report(), small_report()):
        read = Report.from_json(json.loads(json.dumps(written)))
        assert read.to_json() == written
        assert json.dumps(read.to_json()) == json.dumps(written)  # the order of the keys, too
        assert Report.from_json(read.to_json()) == read


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_a_field_of_another_type_is_not_known(value: Any) -> None:
    number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    assert Estimate.from_json({"mean": value, "low": value}) == Estimate(
        value if number else None, value if number else None, None
    )
    model = Model.from_json({"seconds": value, "metrics": value, "epochs": value, "curve": value})
    assert model.seconds == (value if number else None)
    assert (model.metrics, model.epochs, model.curve) == (None, (), None)
    assert Report.from_json({"models": value, "data": value, "protocol": value}) == Report.from_json({})


def test_only_what_json_has() -> None:
    value = {
        1: np.float32(0.5),
        "a": (np.nan, np.int8(2), [np.inf]),
        "b": np.arange(2),
        "c": Path("x"),
        "d": True,
        "e": Trial({"k": 20}, {"ndcg@20": None}),
    }
    assert plain(value) == {
        "1": 0.5,
        "a": [None, 2, [None]],
        "b": [0, 1],
        "c": "x",
        "d": True,
        "e": {"settings": {"k": 20}, "ndcg@20": None},
    }
    assert plain(None) is None


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (words.score, 0.12345, "0.1235"),
        (words.score, -0.5, "−0.5000"),
        (words.signed, 0.01, "+0.0100"),
        (words.signed, -0.01, "−0.0100"),
        (words.signed, -0.00001, "±0"),
        (words.signed, None, "–"),
        (words.percent, 1, "100\xa0%"),
        (words.percent, 0.12345, "12.3\xa0%"),
        (words.percent, 0.00012, "0.012\xa0%"),
        (words.percent, 0, "0\xa0%"),
        (words.percent, None, "–"),
        (words.whole, 1234567.0, "1,234,567"),
        (words.whole, None, "–"),
        (words.seconds, 0.04, "0.04 s"),
        (words.seconds, 9.94, "9.9 s"),
        (words.seconds, 99.4, "99 s"),
        (words.seconds, 99.6, "1.7 min"),
        (words.seconds, 7200, "2.0 h"),
        (words.seconds, None, "–"),
        (words.size, 999, "999 bytes"),
        (words.size, 1500, "2 kB"),
        (words.size, 999_600_000, "1.0 GB"),
        (words.size, 412_000_000, "412 MB"),
        (words.p_value, 0.0009, "< 0.001"),
        (words.p_value, 0.0125, "0.013"),
        (words.p_value, 0.21, "0.21"),
        (words.size, None, "–"),
        (words.p_value, None, "–"),
        (words.p_equals, 0.0009, "p < 0.001"),
        (words.p_equals, 0.21, "p = 0.21"),
        (words.p_equals, None, None),
        (words.metric_name, "hit_rate@5", "Hit rate@5"),
        (words.metric_name, "mrr", "MRR"),
        (words.metric_name, "new_one@3", "new_one@3"),
    ],
)
def test_numbers_in_words(write: Any, value: Any, expected: str) -> None:
    assert write(value) == expected


def test_figures_of_sets_and_counts() -> None:
    assert words.set_value("coverage@20", 0.5) == "50.0\xa0%"
    assert words.set_value("novelty@20", 3) == "3.00 bits"
    assert words.set_value("diversity@20", 0.91) == "0.910"
    assert words.set_value("diversity@20", None) == "–"
    assert [words.counted(n, "user") for n in (1, 0, 1200)] == ["1 user", "0 users", "1,200 users"]
    assert words.bounds(Estimate(0.2, 0.1, None)) is None
    assert words.bounds(Estimate(0.2, 0.1, 0.3)) == "0.1000 to 0.3000"
    assert words.signed_bounds(Estimate(0.0, -0.1, 0.1)) == "−0.1000 to +0.1000"


@given(
    st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6),
    st.floats(1e-6, 1e6),
    st.integers(2, 9),
)
def test_ticks_are_round_even_and_around(low: float, width: float, about: int) -> None:
    high = low + max(width, abs(low) * 1e-6)
    found = ticks(low, high, about)
    step = found[1] - found[0]
    assert found[0] <= low + step * 1e-6
    assert found[-1] >= high - step * 1e-6
    assert found[0] > low - step * (1 + 1e-6)
    assert found[-1] < high + step * (1 + 1e-6)
    assert all(b - a == pytest.approx(step, rel=1e-4) for a, b in pairwise(found))
    assert len(found) <= about + 2
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-3


def test_ticks_of_one_value_and_their_text() -> None:
    assert ticks(0.0, 0.0)[0] < 0 < ticks(0.0, 0.0)[-1]
    assert ticks(4.0, 4.0)[0] < 4 < ticks(4.0, 4.0)[-1]
    assert ticks(0.0, 0.61, 7) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [tick_text(t, [0.0, 0.025]) for t in (0.0, 0.025)] == ["0.000", "0.025"]
    assert tick_text(-25000.0, [-25000.0, 0.0]) == "−25,000"


def test_an_interval_lies_where_its_figures_are() -> None:
    axis = (0.0, 2.0)
    assert interval_mark(Estimate(0.5, 0.25, 0.75), axis, "s3", 1.0) == IntervalMark(
        "interval s3", reference="50%", whisker=("12.5%", "37.5%"), dot="25%"
    )
    off = interval_mark(Estimate(-1.0, -2.0, 0.5), axis, "s3")
    assert off == IntervalMark("interval s3", reference=None, whisker=None, dot=None)
    alone = interval_mark(Estimate(0.5, None, None), axis, "s3")
    assert alone == IntervalMark("interval s3", reference=None, whisker=None, dot="25%")
    assert interval_mark(Estimate(None, None, None), axis, "s3") is None


def test_a_bar_is_as_long_as_its_share() -> None:
    found = [bar(share, "s1") for share in (0.125, 0, 1.5)]
    assert [mark and mark.width for mark in found] == ["12.5%", "0%", "100%"]
    assert bar(None, "s1") is None


def test_a_line_has_gaps_where_nothing_was_measured() -> None:
    points = [
        Point(0, Estimate(1.0, 0.5, 1.5)),
        Point(0.5, Estimate(None, None, None)),
        Point(0.75, Estimate(2.0, 1.5, 2.5)),
        Point(1, Estimate(3.0, None, None)),
    ]
    chart = line_chart(
        [Line("a", "s0", points), Line("none", "s1", [points[1]])],
        [(0.0, "0"), (1.0, "1")],
        [0.0, 4.0],
        height=100,
        label="what it is",
        end_labels=True,
    )
    paths = {shape.classes: shape.path for shape in chart.shapes}
    assert paths["line s0"] == "M0 75M750 50L1000 25"
    assert paths["band s0"] == ""  # no two known bounds follow each other
    assert [dot.x for dot in chart.dots] == ["0%", "75%", "100%"]
    assert chart.ends is not None
    assert [end.text for end in chart.ends] == ["a"]
    assert words.shorten("abcdef", 6) == "abcdef"
    assert words.shorten("abcde fg", 7) == "abcde…"


def test_names_at_the_ends_are_moved_apart_inside_the_chart() -> None:
    ends = [1.0 + n / 1000 for n in range(5)]
    lines = [Line(str(n), "s0", [Point(1, Estimate(end, None, None))]) for n, end in enumerate(ends)]
    chart = line_chart(lines, [], [0.0, 1.0, 2.0], height=100, label="x", end_labels=True)
    assert chart.ends is not None
    places = sorted(end.y for end in chart.ends)
    assert all(b - a >= 18 for a, b in pairwise(places))
    assert 0 <= places[0] <= places[-1] <= 100


def test_which_models_matter_and_which_colour_is_whose() -> None:
    context = make_context(typed(full_report()))
    ranking = context.ranking
    best, baseline = ranking.best_model, ranking.best_baseline
    assert best is not None
    assert baseline is not None
    assert ranking.best is best
    assert (best.name, baseline.name) == ("sigmoid", "EASE")
    assert (context.slots[best], context.slots[baseline]) == (0, 1)
    assert (context.colour(best), context.colour(baseline)) == ("s0", "s1 base")
    assert [found.standing for found in ranking.models] == [
        Standing.BETTER,
        Standing.EVEN,
        None,
        *[Standing.WORSE] * 5,
        None,
    ]
    assert len({context.slots[found] for found in ranking.measured}) == 8
    assert context.report.k == "20"
    many = full_report()
    many["models"] = [{**many["models"][1], "name": str(n)} for n in range(20)]
    context = make_context(typed(many))
    slots = [context.slots[found] for found in context.ranking.models]
    assert slots[:9] == [0, 2, 3, 4, 5, 6, 7, 2, 3]
    assert 1 not in slots  # there is no baseline
    named = full_report()
    for model in named["models"]:
        if model["difference"]:
            model["difference"]["to"] = "item-kNN"
    compared = make_context(typed(named)).ranking.best_baseline
    assert compared is not None
    assert compared.name == "item-kNN"  # what was compared with, though another is better


CSS = (files("recae.evaluation.report") / "report.css").read_text("utf-8")


def contrast(a: str, b: str) -> float:
    """The ratio of WCAG 2.2 between two colours #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(dark: bool) -> None:
    blocks = re.findall(r":root \{(.*?)\}", CSS, flags=re.S)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[int(dark)]))
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for ink in ("ink", "soft", "accent"):
        for ground in ("ground", "surface", "sunk"):
            assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)
    for ink, ground in (("accent", "tint"), ("warm", "warm-tint"), ("bad", "bad-tint"), ("bad", "surface")):
        assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)
    for n in range(8):
        assert contrast(colour[f"c{n}"], colour["surface"]) >= 3, n
