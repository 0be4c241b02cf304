"""A report made of a real comparison: its schema, its examples, and that the page and the plots take it."""

# ruff: noqa: F811  (fixtures are imported, and are arguments)

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, PHONE, assert_clean, browser, count, open_page, see  # noqa: F401
from comparisons import FAILED, comparison, table_of
from reportpages import Page, squeeze
from reports import full_report, typed

from recae.errors import ConfigError
from recae.evaluation.comparison import compare_runs, split_metric
from recae.evaluation.products import Products
from recae.evaluation.report import words
from recae.evaluation.report.build import SHOWN, build_report, examples
from recae.evaluation.report.html import report_html
from recae.evaluation.report.png import write_plots
from recae.evaluation.report.schema import Budget, Data
from recae.metrics import METRICS, Metric
from recae.splits.tasks import Task

NAMES = {"i00": "Tea & <b>Pot</b>", "i01": "", "i02": "Mug"}


def name_of(item: str) -> str | None:
    return NAMES.get(item)


@functools.cache
def _built(protocol: str, repeats: bool) -> str:
    tasks, runs = comparison(protocol, repeats)
    report = build_report(
        tasks,
        runs,
        ks=(5, 20),
        metric="ndcg@20",
        command="recae evaluate shop.csv --kind sigmoid --trials 2",
        versions={"recae": "0.1.0"},
        data=Data(
            source="shop.csv",
            fingerprint="ab12",
            n_users=60,
            n_items=400,
            n_interactions=900,
            report=("901 rows read",),
        ),
        seed=3,
        budget=Budget(trials_per_model=2, text="2 trials for every model."),
        names=NAMES if repeats else name_of,
        products=Products.of(tasks, table_of(tasks)),
    )
    return json.dumps(report.to_json(), allow_nan=False)  # JSON values only, or this raises


def built(protocol: str = "strong", repeats: bool = False) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(_built(protocol, repeats))
    return report


def test_a_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    last = Metric(
        name="last_place",
        title="Last place",
        meaning="Whether place k holds a held-out item. Denominator: the number of users.",
        formula=lambda h, k: (h.hit[:, k - 1], np.minimum(h.n_held, 1)),
    )
    with pytest.raises(ConfigError, match="last_place"):
        split_metric("last_place@5")
    monkeypatch.setitem(METRICS, last.name, last)
    assert split_metric("last_place@5") == ("last_place", 5)
    tasks, runs = comparison()
    report = build_report(
        tasks,
        runs,
        ks=(1, 5),
        metric="last_place@5",
        command="recae evaluate shop.csv",
        versions={},
        data=Data(source="shop.csv"),
        seed=3,
        budget=Budget(),
    )
    found = report.models[0].metrics or {}
    assert found["last_place@1"] == found["precision@1"]
    assert found["last_place@5"].mean is not None
    page = report_html(report)
    assert "Last place@k" in page
    assert last.meaning in page


def shape(value: Any, open_keys: tuple[str, ...] = ("versions", "config", "settings", "recommended")) -> Any:
    """The keys of a JSON value, all the way down; lists by their first part, metrics by their names without k."""
    if isinstance(value, Mapping):
        return {
            key.partition("@")[0]: "…" if key in open_keys else shape(part, open_keys)
            for key, part in value.items()
        }
    return [shape(value[0], open_keys)] if isinstance(value, list) and value else None


def test_the_schema_is_that_of_the_page() -> None:
    ours, theirs = built(), full_report()
    assert shape({**ours, "models": 0}) == shape({**theirs, "models": 0})
    theirs["models"][0]["diversified"] = []  # which was not asked for
    theirs["models"][0]["slices"].pop("repeat")  # measured where owned items may come back
    assert shape(ours["models"][0]) == shape(theirs["models"][0])
    assert set(ours["models"][-1]) == set(theirs["models"][0])
    (listed,) = {json.dumps(shape(lists)) for e in ours["examples"] for lists in e["recommended"].values()}
    assert listed == json.dumps(shape(theirs["examples"][0]["recommended"]["sigmoid"]))
    assert list(built("next-basket", True)["models"][0]["slices"]) == list(
        full_report()["models"][0]["slices"]
    )


def test_it_is_the_comparison() -> None:
    report = built()
    tasks, runs = comparison()
    products = Products.of(tasks, table_of(tasks))
    found = compare_runs(tasks, runs, ks=(5, 20), metric="ndcg@20", seed=3, products=products)
    assert report["format_version"] == 1
    assert report["ks"] == [5, 20]
    assert [m["name"] for m in report["models"]] == [r.name for r in runs]
    for model, measured in zip(report["models"][:3], found.models, strict=False):
        assert {n: f["mean"] for n, f in model["metrics"].items()} == {
            n: f.mean for n, f in measured.metrics.items()
        }
        assert model["curve"]["k"] == [1, 2, 3, 5, 10, 20]
        assert model["curve"]["recall"][3]["low"] == measured.metrics["recall@5"].low
        if measured.difference is None:
            assert model["name"] == found.best_baseline
            assert model["difference"] is None
        else:
            assert model["difference"]["to"] == found.best_baseline
            assert model["difference"]["p_corrected"] == measured.difference.p_corrected
        assert model["verdict"]
    given = compare_runs(tasks, runs, ks=(5, 20), metric="ndcg@20", seed=3, products=products)
    again = build_report(
        tasks,
        runs,
        command="",
        versions={},
        data=Data(),
        seed=3,
        budget=Budget(),
        comparison=given,
        metric="ndcg@20",
    ).to_json()
    assert again["models"] == report["models"]
    assert again["verdict"] == report["verdict"]


def test_facts_of_the_runs() -> None:
    sigmoid, popularity, neighbours, failed = built()["models"]
    assert sigmoid["config"] == {"factors": 8, "epochs": 3, "seed": 0}
    assert [e["epoch"] for e in sigmoid["epochs"]] == [1, 2, 3]
    assert popularity["tuned"] == popularity["epochs"] == []
    assert neighbours["tuned"] == [
        {"settings": {}, "ndcg@20": 0.25},
        {"settings": {"k": 20}, "ndcg@20": None},
    ]
    assert failed["failed"] == FAILED.failed
    assert [failed[key] for key in ("metrics", "sets", "difference", "curve", "slices")] == [None] * 5
    assert failed["verdict"] == f"BPR could not be measured: {FAILED.failed}"


def test_the_protocol_is_that_of_the_tasks() -> None:
    tasks, _ = comparison()
    assert built()["protocol"] == {
        "name": "strong",
        "rule": tasks[0].rule,
        "seed": 3,
        "folds": None,
        "n_test_users": 20,
        "n_held_out": tasks[0].held_out.nnz,
        "lost": tasks[0].lost,
        "exclude_owned": True,
        "counts": unknown(tasks),
    }
    folds, _ = comparison("k-fold")
    protocol = built("k-fold")["protocol"]
    assert protocol["folds"] == 3
    assert protocol["n_test_users"] == sum(len(task.test_users) for task in folds)
    assert protocol["n_held_out"] == sum(task.held_out.nnz for task in folds)
    assert protocol["lost"] == sum(task.lost for task in folds) > 0
    assert protocol["rule"] == f"{folds[0].rule}; the other parts alike"
    by_basket = built("next-basket", True)["protocol"]
    assert by_basket["exclude_owned"] is False
    assert by_basket["counts"] == {"users_with_ties": 0} | unknown(comparison("next-basket", True)[0])


def unknown(tasks: list[Task]) -> dict[str, int]:
    """How many held-out purchases have no category and how many no price, one by one."""
    table = table_of(tasks)
    found = {"held_out_without_category": 0, "held_out_without_price": 0}
    for task in tasks:
        for column in task.held_out.indices:
            row = table.ids.row(task.items.id(int(column)))
            found["held_out_without_category"] += table.columns["category"][row].as_py() is None
            found["held_out_without_price"] += table.columns["price"][row].as_py() is None
    return found


def test_failures_are_the_worst_users_with_their_lists() -> None:
    for protocol, repeats in (("strong", False), ("k-fold", False)):
        tasks, runs = comparison(protocol, repeats)
        failures = built(protocol, repeats)["failures"]
        (run,) = [run for run in runs if run.name == failures["model"]]
        assert not run.baseline
        found, users = [], {}
        for task in tasks:
            for row, user in enumerate(task.test_users):
                ranked, held = run.ranked[len(found)][:20], set(task.held_out[row].indices.tolist())
                gain = sum(1 / np.log2(n + 2) for n, item in enumerate(ranked) if int(item) in held)
                best = sum(1 / np.log2(n + 2) for n in range(min(20, len(held))))
                hit = any(int(item) in held for item in ranked)
                users[user] = (round(float(gain / best), 9), -len(held), len(found))
                found.append((hit, task.histories[row].nnz))
        worst = sorted(users, key=users.__getitem__)[:5]
        assert [example["user"] for example in failures["examples"]] == worst
        assert failures["n_users"] == len(found)
        assert failures["n_without_hit"] == sum(not hit for hit, _ in found)
        without = [length for hit, length in found if not hit]
        assert failures["history_without_hit"] == (float(np.median(without)) if without else None)
        assert failures["history_with_hit"] == float(np.median([length for hit, length in found if hit]))
        assert all(len(example["recommended"]) == 2 for example in failures["examples"])


@pytest.mark.parametrize(
    ("protocol", "repeats"), [("strong", False), ("k-fold", False), ("next-basket", True)]
)
def test_examples_are_users_by_the_length_of_their_history(protocol: str, repeats: bool) -> None:
    tasks, runs = comparison(protocol, repeats)
    report = built(protocol, repeats)
    users: dict[str, tuple[Any, int, int]] = {}
    for task in tasks:
        for row, user in enumerate(task.test_users):
            users[user] = task, row, len(users)
    lengths = sorted(task.histories[row].nnz for task, row, _ in users.values())
    assert len(report["examples"]) == 3
    for share, example in zip((0.1, 0.5, 0.9), report["examples"], strict=True):
        task, row, place = users[example["user"]]
        assert len(example["history"]) == lengths[round(share * (len(lengths) - 1))]
        for part, matrix in (("history", task.histories), ("held_out", task.held_out)):
            ids = {task.items.id(int(i)) for i in matrix[row].indices}
            assert {item["item"] for item in example[part]} == ids
            assert all(item["name"] == (name_of(item["item"]) or None) for item in example[part])
        assert list(example["recommended"]) == ["sigmoid", best_baseline(report)]
        for name, listed in example["recommended"].items():
            (run,) = [r for r in runs if r.name == name]
            ranked = [int(i) for i in run.ranked[place][:SHOWN] if i >= 0]
            assert [item["item"] for item in listed] == [task.items.id(i) for i in ranked]
            assert [item["hit"] for item in listed] == [i in task.held_out[row].indices for i in ranked]
            assert run.scores is not None
            assert [item["score"] for item in listed] == run.scores[place][: len(ranked)].tolist()


def best_baseline(report: dict[str, Any]) -> str:
    (name,) = {m["difference"]["to"] for m in report["models"] if m["difference"]}
    return str(name)


def test_few_users_and_short_lists() -> None:
    tasks, runs = comparison("next-basket", True)
    padded = replace(runs[0], ranked=runs[0].ranked.copy(), scores=None)
    padded.ranked[:, 2:] = -1
    (example,) = examples(tasks, [padded], places=(0.5, 0.5))
    assert [item.score for item in example.recommended["sigmoid"]] == [None, None]
    assert example.history[0].name is None


def test_everything_failed() -> None:
    tasks, _ = comparison()
    report = build_report(tasks, [FAILED], command="", versions={}, data=Data(), seed=0, budget=Budget())
    assert report.verdict is not None
    assert report.verdict.startswith("Nothing could be measured")
    assert report.examples == examples(tasks, [])
    assert all(example.recommended == {} for example in report.examples)
    assert "Nothing could be measured" in report_html(report)


@pytest.mark.parametrize(
    ("protocol", "repeats"), [("strong", False), ("k-fold", False), ("next-basket", True)]
)
def test_the_page_has_its_figures(protocol: str, repeats: bool) -> None:
    report = built(protocol, repeats)
    page = Page(report_html(typed(report)))
    text = squeeze(page.one("body")["text"])
    rows = page.table("Models by NDCG@20, with intervals and differences")
    shown = {
        row[0].removesuffix(" best").removesuffix(" best baseline").removesuffix(" baseline") for row in rows
    }
    for model in report["models"][:3]:
        assert any(model["name"] in name for name in shown)
        assert words.score(model["metrics"]["ndcg@20"]["mean"]) in text
    assert "BPR failed: the factors are not finite" in text
    for example in report["examples"]:
        assert f"User {example['user']}" in text
    assert "Tea & <b>Pot</b>" in text or not any(
        item["item"] == "i00" for e in report["examples"] for item in [*e["history"], *e["held_out"]]
    )
    assert [part["attrs"]["id"] for part in page.all("section")] == [
        "measured",
        "models",
        "lengths",
        "slices",
        "cost",
        "money",
        "metrics",
        "beyond",
        "training",
        "examples",
        "worst",
        "tuning",
        "repeat",
        "glossary",
    ]


def test_the_plots(tmp_path: Path) -> None:
    written = write_plots(typed(built()), tmp_path)
    assert [path.name for path in written] == ["recall-curves.png", "metrics.png", "training.png"]


@pytest.mark.some(1)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_browser_shows_it(
    open_page: Callable[..., Any], tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report_html(typed(built())), encoding="utf-8")
    page = open_page(path.as_uri(), size=size, dark=dark)
    see(page.get_by_role("heading", level=1))
    count(page.locator("#models tbody tr"), 4)
    count(page.locator("#examples article"), 3)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert_clean(page)
