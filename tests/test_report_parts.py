"""What the report's page is made of: reports with holes, escaping, numbers in words, scales, lines, colours."""

from __future__ import annotations

import copy
import math
import re
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportpages import Page, at, leaves, put
from reports import full_report

from recae.evaluation import html_words as words
from recae.evaluation.html import report_html
from recae.evaluation.html_elements import Markup, element, escape, join
from recae.evaluation.html_view import AHEAD, BEHIND, EVEN, make_view
from recae.evaluation.svg import Line, Point, interval_plot, line_chart, shorten, tick_text, ticks
from recae.splits.protocols import PROTOCOLS


def small_report() -> dict[str, Any]:
    """Two models, one fold of everything, so that each kind of value can be taken away in turn."""
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
        text = report_html(changed)
        assert "nan" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S).lower(), path
        Page(text)


@given(st.text(), st.text())
def test_any_text_stays_text(text: str, value: str) -> None:
    made = element("p", text, [None, False, element("b", 7)], title=value, hidden=True, lang=None, data_x=1.5)
    page = Page(made)
    clean = escape(text), escape(value)
    assert isinstance(made, Markup)
    assert page.one("p")["attrs"].keys() == {"title", "hidden", "data-x"}
    assert len(page.found) == 2
    assert not {"<", ">", '"', "'"} & set(clean[0] + clean[1])
    made.encode("utf-8")


def test_elements() -> None:
    assert (
        element("td", "a < b", class_="x y", aria_label='"')
        == '<td class="x y" aria-label="&quot;">a &lt; b</td>'
    )
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert join("&", element("b"), ["x", (1, None)]) == "&amp;<b></b>x1"
    assert escape("\x00\x1b\ud800é\n") == "\ufffd\ufffd\ufffdé\n"


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (words.score, 0.12345, "0.1235"),
        (words.score, -0.5, "−0.5000"),
        (words.score, math.nan, "–"),
        (words.score, True, "–"),
        (words.score, "0.5", "–"),
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
        (words.size, math.inf, "–"),
        (words.p_value, 0.0009, "< 0.001"),
        (words.p_value, 0.0125, "0.013"),
        (words.p_value, 0.21, "0.21"),
        (words.p_value, None, "–"),
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
    assert words.bounds(0.1, None) is None
    assert words.bounds(-0.1, 0.1, words.signed) == "−0.1000 to +0.1000"


def test_every_protocol_has_its_words() -> None:
    assert set(words.PROTOCOLS) == set(PROTOCOLS)


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
    made = interval_plot(0.5, 0.25, 0.75, (0.0, 2.0), "s3", reference=1.0)
    page = Page(str(made))
    whisker, dot = page.one("line", **{"class": "whisker"})["attrs"], page.one("circle")["attrs"]
    assert (whisker["x1"], whisker["x2"], dot["cx"]) == ("12.5%", "37.5%", "25%")
    assert page.one("line", **{"class": "reference"})["attrs"]["x1"] == "50%"
    off = Page(str(interval_plot(-1.0, -2.0, 0.5, (0.0, 2.0), "s3")))
    assert not off.all("circle")
    assert not off.all("line")
    assert off.one("path")["attrs"]["class"] == "dot"
    alone = Page(str(interval_plot(0.5, None, None, (0.0, 2.0), "s3")))
    assert not alone.all("line")
    assert interval_plot(None, None, None, (0, 1), "s3") is None


def test_a_line_has_gaps_where_nothing_was_measured() -> None:
    points = [
        Point(0, 1.0, 0.5, 1.5),
        Point(0.5, None),
        Point(0.75, 2.0, 1.5, 2.5),
        Point(1, 3.0, None, None),
    ]
    drawn = line_chart(
        [Line("a", "s0", points), Line("none", "s1", [Point(0, None)])],
        [(0.0, "0"), (1.0, "1")],
        [0.0, 4.0],
        height=100,
        label="what it is",
        end_labels=True,
    )
    page = Page(drawn)
    assert page.one("path", **{"class": "line s0"})["attrs"]["d"] == "M0 75M750 50L1000 25"
    assert (
        page.one("path", **{"class": "band s0"})["attrs"]["d"] == ""
    )  # no two known bounds follow each other
    assert [c["attrs"]["cx"] for c in page.all("circle")] == ["0%", "75%", "100%"]
    assert [t["text"] for t in page.all("text", **{"class": "end"})] == ["a"]
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcde fg", 7) == "abcde…"


def test_names_at_the_ends_are_moved_apart_inside_the_drawing() -> None:
    lines = [Line(str(n), "s0", [Point(0, 1.0), Point(1, 1.0 + n / 1000)]) for n in range(5)]
    page = Page(line_chart(lines, [], [0.0, 1.0, 2.0], height=100, label="x", end_labels=True))
    places = sorted(float(t["attrs"]["y"]) for t in page.all("text", **{"class": "end"}))
    assert all(b - a >= 18 for a, b in pairwise(places))
    assert 0 <= places[0] <= places[-1] <= 100


def test_who_leads_and_which_colour_is_whose() -> None:
    view = make_view(full_report())
    assert view.leader is not None
    assert view.rival is not None
    assert view.best is view.leader
    assert (view.leader.name, view.rival.name) == ("sigmoid", "EASE")
    assert (view.leader.slot, view.rival.slot) == (0, 1)
    assert [e.status for e in view.entries] == [AHEAD, EVEN, None, *[BEHIND] * 5, None]
    assert len({e.slot for e in view.measured}) == 8
    assert view.k == "20"
    many = full_report()
    many["models"] = [{**many["models"][1], "name": str(n)} for n in range(20)]
    slots = [e.slot for e in make_view(many).entries]
    assert slots[:9] == [0, 2, 3, 4, 5, 6, 7, 2, 3]
    assert 1 not in slots  # there is no baseline
    named = full_report()
    for model in named["models"]:
        if model["difference"]:
            model["difference"]["to"] = "item-kNN"
    rival = make_view(named).rival
    assert rival is not None
    assert rival.name == "item-kNN"  # what was compared with, though another is better


@pytest.mark.parametrize(
    ("mean", "low", "high", "p", "status"),
    [
        (0.1, 0.05, 0.2, 0.01, AHEAD),
        (0.1, 0.05, 0.2, 0.06, EVEN),
        (-0.1, -0.2, -0.05, 0.01, BEHIND),
        (0.1, 0.05, 0.2, None, AHEAD),
        (-0.1, -0.2, -0.05, None, BEHIND),
        (0.1, -0.05, 0.2, None, EVEN),
        (0.1, None, None, None, EVEN),
        (None, None, None, None, None),
    ],
)
def test_how_a_model_stands(mean: Any, low: Any, high: Any, p: Any, status: str | None) -> None:
    report = full_report()
    report["models"][0]["difference"] = {"mean": mean, "low": low, "high": high, "p": 0.001, "p_corrected": p}
    (found,) = [e for e in make_view(report).entries if e.name == "sigmoid"]
    assert found.status == status


CSS = (files("recae.evaluation") / "assets" / "report.css").read_text("utf-8")


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
