"""The doctor on users and items: small numbers, single purchases, popularity, bots; and what to expect of them."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from doctors import Row, changed, clean_rows, examined, found, only

from recae.examination import Severity
from recae.examination.expectation import expectation_of
from recae.examination.findings import counted, percent
from recae.examination.users import Figures
from recae.ids import IdMap
from recae.interactions import Interactions
from recae.splits.held_out import hold_out
from recae.splits.parts import number_held_out


def row(user: str, item: str, time: str = "2022-04-01 12:00:00") -> Row:
    title = f"Product {int(item[1:]) if item[1:].isdigit() else item}"
    return {"user_id": user, "item_id": item, "timestamp": time, "quantity": "1", "title": title}


# Figures, against plain loops


def test_figures_agree_with_plain_loops(tmp_path: Path) -> None:
    rows = clean_rows(70, 150, 5)
    rows += [row("u001", "P001", f"2022-03-{day} 09:00:00") for day in range(15, 30)]
    figures = examined(tmp_path, rows).figures
    assert figures is not None
    pairs = Counter((r["user_id"], r["item_id"]) for r in rows)
    histories = sorted(Counter(user for user, _ in pairs).values())
    bought = sorted(Counter(r["item_id"] for r in rows).values())
    differences = sum(abs(a - b) for a in bought for b in bought)
    assert figures == Figures(
        users=70,
        items=len(bought),
        interactions=len(pairs),
        repeats=len(rows) - len(pairs),
        density=pytest.approx(len(pairs) / 70 / len(bought)),
        history_median=(histories[34] + histories[35]) / 2,
        history_90=pytest.approx(np.quantile(histories, 0.9)),
        history_most=histories[-1],
        top_share=pytest.approx(sum(bought[-round(len(bought) / 100) :]) / len(rows)),
        gini=pytest.approx(differences / (2 * len(bought) * len(rows))),
        divisible=70,
        owned_by_five=sum(n >= 5 for n in Counter(item for _, item in pairs).values()),
    )


# Users


@pytest.mark.thorough
def test_few_users(tmp_path: Path) -> None:
    finding = only(tmp_path, clean_rows(49), "users-few")
    assert (finding.severity, finding.text) == (Severity.WARNING, "there are only 49 users")
    assert found(tmp_path, clean_rows(50)) == {}


def test_few_items(tmp_path: Path) -> None:
    assert "items-few" in found(tmp_path, clean_rows(60, 19))
    assert found(tmp_path, clean_rows(60, 20)) == {}


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "severity"), [(5, None), (20, Severity.NOTE), (70, Severity.WARNING)])
def test_users_with_one_item(number: int, severity: Severity | None, tmp_path: Path) -> None:
    rows = clean_rows() + [row(f"v{n:03d}", f"P{n % 40:03d}") for n in range(number)]
    if severity is None:
        assert found(tmp_path, rows) == {}
        return
    finding = only(tmp_path, rows, "users-with-one-item")
    assert (finding.severity, finding.column) == (severity, "user_id")
    assert finding.text.startswith(f"{number} users ({percent(number, 60 + number)}) have one item only")


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "severity"), [(10, Severity.NOTE), (50, Severity.WARNING)])
def test_items_with_one_user(number: int, severity: Severity, tmp_path: Path) -> None:
    rows = clean_rows() + [row(f"u{n:03d}", f"Q{n:03d}") for n in range(number)]
    finding = only(tmp_path, rows, "items-with-one-user")
    assert (finding.severity, finding.column) == (severity, "item_id")


@pytest.mark.thorough
def test_one_user_for_many(tmp_path: Path) -> None:
    extra = [row("till", f"P{n % 40:03d}", f"2022-04-{n // 10 + 1:02d} 12:00:00") for n in range(60)]
    finding = only(tmp_path, clean_rows() + extra, "users-heavy")
    assert finding.severity is Severity.WARNING
    assert finding.text.startswith("one user has 11 % of all purchases")
    assert finding.examples == ("'till': 60 purchases",)
    assert found(tmp_path, clean_rows() + extra[:50]) == {}


def bot(number: int, hours: int) -> list[Row]:
    """One purchase every so many hours, all of another item, of one of forty."""
    start = dt.datetime(2022, 3, 15)
    return [row("bot", f"P{n % 40:03d}", f"{start + dt.timedelta(hours=hours * n)}") for n in range(number)]


def large_shop() -> list[Row]:
    return clean_rows(150, 40, 8)


def test_a_user_with_too_many_baskets(tmp_path: Path) -> None:
    finding = only(tmp_path, large_shop() + bot(120, 13), "users-like-bots")
    assert finding.severity is Severity.WARNING
    assert "(the median is 8 baskets)" in finding.text
    assert finding.examples == ("'bot': 120 baskets, up to 2 on one day",)


def test_a_user_who_buys_all_day(tmp_path: Path) -> None:
    finding = only(tmp_path, large_shop() + bot(24, 1), "users-like-bots")
    assert finding.examples == ("'bot': 24 baskets, up to 24 on one day",)


def test_a_user_with_one_large_basket_is_none(tmp_path: Path) -> None:
    assert found(tmp_path, large_shop() + [row("cafe", f"P{n:03d}") for n in range(40)]) == {}


def test_a_good_customer_is_none(tmp_path: Path) -> None:
    assert found(tmp_path, large_shop() + bot(27, 80)) == {}


def test_bots_without_times_by_their_items(tmp_path: Path) -> None:
    rows = clean_rows(150, 400, 8)
    extra = [row("bot", f"P{n:03d}") for n in range(120)]
    without = [{name: r[name] for name in ("user_id", "item_id")} for r in rows + extra]
    findings = found(tmp_path, without)
    assert findings["users-like-bots"].examples == ("'bot': 120 items",)
    assert "users-like-bots" not in found(tmp_path, without[: len(rows)])


@pytest.mark.thorough
def test_ids_of_bots_are_those_of_the_model(tmp_path: Path) -> None:
    rows = changed(
        "user_id", lambda u: "999.0" if u == "bot" else f"{int(u[1:]) + 1}.0", large_shop() + bot(120, 13)
    )
    assert found(tmp_path, rows)["users-like-bots"].examples[0].startswith("'999': 120")


# Items


def test_skew(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = clean_rows(300, 200, 8)
    assert found(tmp_path, rows) == {}
    bags = [row(f"u{n:03d}", "BAG", f"2022-04-{rng.randrange(1, 29):02d} 12:00:00") for n in range(300)]
    finding = only(tmp_path, rows + bags, "items-skewed")
    assert finding.severity is Severity.NOTE
    assert finding.text.startswith("the 2 most popular items (1 %) have 12 % of the purchases; the Gini")
    assert finding.examples[0] == "'BAG' (Product BAG): 300 purchases"
    many = [
        row(f"u{n % 300:03d}", "BAG", f"2022-{4 + n // 1500:02d}-{n // 300 % 5 + 1:02d} 12:00:{n % 60:02d}")
        for n in range(3000)
    ]
    assert found(tmp_path, rows + many)["items-skewed"].severity is Severity.WARNING


def test_repeats(tmp_path: Path) -> None:
    again = changed("timestamp", lambda t: f"{dt.datetime.fromisoformat(t) + dt.timedelta(hours=1)}")
    finding = only(tmp_path, clean_rows() + again, "purchases-repeat")
    assert finding.severity is Severity.NOTE
    assert finding.text.startswith("50 % of the purchases")
    assert examined(tmp_path, clean_rows() + again).repeat_share == 0.5
    assert found(tmp_path, clean_rows() + again[:110]) == {}


# What to expect


def figures(**changes: float) -> Figures:
    usual = {
        "users": 2000, "items": 500, "interactions": 30_000, "repeats": 0, "density": 0.03, "history_median": 12.0,
        "history_90": 30.0, "history_most": 90, "top_share": 0.05, "gini": 0.5, "divisible": 1900, "owned_by_five": 490,
    }  # fmt: skip
    return Figures(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "much"),
        ({"users": 999}, "some"),
        ({"history_median": 9.0}, "some"),
        ({"interactions": 4_000}, "some"),
        ({"history_median": 2.0}, "little"),
        ({"users": 59, "divisible": 59}, "little"),
        ({"divisible": 2}, "little"),
    ],
)
def test_the_word(changes: dict[str, float], word: str) -> None:
    assert expectation_of(figures(**changes), 0, 10**8).word == word


def test_sentences() -> None:
    def said(first: int | None = 0, last: int | None = 10**8, **changes: float) -> str:
        return " ".join(expectation_of(figures(**changes), first, last).sentences)

    usual = said()
    assert "200 users can be held out to measure on" in usual
    assert "known to ±.07 at worst" in usual
    assert "median user has 12 different items: enough" in usual
    assert "490 of 500 items (98 %) have five users or more" in usual
    assert "From 1970-01-01 to 1973-03-03" in usual
    assert "Every item has five users or more." in said(owned_by_five=500)
    assert "recall is known to ±.22 at worst" in said(users=200, divisible=190)
    assert "cannot be measured" in said(divisible=2)
    assert "1 different item: a model learns what is popular" in said(history_median=1.0)
    assert "learns tastes roughly" in said(history_median=5.0)
    assert "too short" in said(0, 10**6)
    assert "Without reliable times" in said(None, None)


@pytest.mark.parametrize("sizes", [[1] * 9, [2, 2, 1], [3] * 3, [4] * 8, [1] * 90 + [2] * 10, [5] * 100])
def test_the_number_held_out_is_that_of_the_training(sizes: list[int]) -> None:
    rows = np.repeat(np.arange(len(sizes)), sizes)
    columns = np.concatenate([np.arange(size) for size in sizes])
    matrix = sp.csr_matrix((np.ones(rows.size, np.float32), (rows, columns)), shape=(len(sizes), 5))
    ids = IdMap([f"{n:03d}" for n in range(len(sizes))]), IdMap([f"i{n}" for n in range(5)])
    held_out = hold_out(Interactions(matrix, *ids, None, np.ones(rows.size, np.int32)), 0)
    number = number_held_out(len(sizes), sum(size >= 2 for size in sizes))
    assert number == (0 if held_out.test is None else held_out.test[0].shape[0])


# Words


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 4, "25 %"), (1, 30, "3.3 %"), (1, 300, ".33 %"), (1, 10**6, "under .01 %"), (0, 5, "0 %"),
        (5, 5, "100 %"), (9_999, 10_000, "nearly 100 %"), (999, 1_000, "99.9 %"), (0, 0, "0 %"), (1, 101, ".99 %"),
    ],
)  # fmt: skip
def test_shares_in_words(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_numbers_in_words() -> None:
    assert [counted(n, "user") for n in (0, 1, 2000)] == ["0 users", "1 user", "2,000 users"]
