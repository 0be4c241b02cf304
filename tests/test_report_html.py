"""The report's page as text: what it says for which report, and that nothing of the data becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import pairwise
from typing import Any

import pytest
from reportpages import Page, at, leaves, put, squeeze
from reports import HOSTILE, LONG, bare_report, full_report, k_fold_report, typed

from recae.evaluation.report.html import report_html


@pytest.fixture(scope="module")
def full() -> tuple[dict[str, Any], str, Page]:
    report = full_report()
    text = report_html(typed(report))
    return report, text, Page(text)


def test_it_loads_nothing_and_runs_only_its_own_script(full: tuple[Any, str, Page]) -> None:
    _, text, page = full
    for part in page.found:
        assert not {
            n for n in part["attrs"] if re.fullmatch("src|srcset|action|formaction|style|ping|on.*", n)
        }
        href = part["attrs"].get("href")
        assert href is None or href.startswith(("#", "data:image/svg+xml,"))
    assert "@import" not in text
    assert "url(" not in text
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"})["attrs"]["content"]
    css, script = (page.one(tag)["text"] for tag in ("style", "script"))

    def digest(source: str) -> str:
        return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()

    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest(css)}'; script-src 'sha256-{digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # what a policy in the page comes too late for does not stand before it
    assert [p["tag"] for p in page.found[:4]] == ["html", "head", "meta", "meta"]


def test_the_same_report_gives_the_same_text_and_is_left_alone(full: tuple[Any, str, Page]) -> None:
    report, text, _ = full
    again = full_report()
    assert report == again
    assert report_html(typed(again)) == text
    assert report_html(typed(json.loads(json.dumps(again)))) == text
    assert text.encode("utf-8")


def test_texts_of_the_data_stay_text() -> None:
    report = full_report()
    for path in leaves(report):
        value = at(report, path)
        if (
            isinstance(value, str)
            and path[-1] not in ("metric", "to", "kind")
            and path != ("protocol", "name")
        ):
            if path[-1] == "name" and path[0] == "models" and len(path) == 3:
                continue  # the tables are looked up by these
            put(report, path, f"{HOSTILE} & \"'")
    report["models"][2]["name"] = HOSTILE
    report["models"][2]["config"] = {HOSTILE: HOSTILE, "list": [HOSTILE]}
    report["models"][2]["sets"][f"{HOSTILE}@20"] = 0.5
    report["versions"] = {HOSTILE: HOSTILE}
    page = Page(report_html(typed(report)))
    assert len(page.all("script")) == 1
    assert not page.all("img")
    texts = [part["text"] for part in page.found]
    for tag, holder in (("h3", f"User {HOSTILE}"), ("dt", HOSTILE), ("title", "Evaluation of " + HOSTILE)):
        assert any(holder in part["text"] for part in page.all(tag)), tag
    assert sum(HOSTILE in text for text in texts) > 50
    assert f'{{"{HOSTILE}' not in "".join(texts)


def test_forbidden_characters_and_directions(full: tuple[Any, str, Page]) -> None:
    _, text, page = full
    assert "\x00" not in text
    evil = [b["text"] for b in page.all("bdi") if "evil" in b["text"]]
    assert evil
    assert set(evil) == {"\u202eevil \ufffd \ufffd"}  # still there, but apart from what stands around it
    assert any(b["text"] == LONG for b in page.all("bdi"))


def test_the_head(full: tuple[Any, str, Page]) -> None:
    _, _, page = full
    head = page.one("header")
    assert page.one("h1")["text"] == (
        "A model is worth it on these data: sigmoid is ahead of EASE, the best baseline"
    )
    assert squeeze(page.one("p", **{"class": "chip"})["text"]) == "▲ Ahead of the best baseline"
    said = squeeze(head["text"])
    for words in (
        "Its NDCG@20 is .3031 against .2913",
        "a list of 20 by sigmoid holds 32.2 %, that by EASE 31.0 %",
        "With sigmoid, 73.0 % of the users find at least one of them.",
        "NDCG@20 0.303195 %: 0.2911 to 0.3151",
        "+0.0118+4.1 %95 %: +0.0038 to +0.0198",
        "434 users4,910 held-out items",
    ):
        assert words in said, words


def test_what_was_measured(full: tuple[Any, str, Page]) -> None:
    report, _, page = full
    said = squeeze(page.one("section", id="measured")["text"])
    for words in (
        "online-retail.csv.gz",
        "Users4,339 Items3,665 Interactions266,790",
        *report["data"]["report"],
        report["protocol"]["rule"],
        "The test: users the models have never met",
        "12 held-out interactions of items that the training part does not know.",
        "not recommended",
        "Drawn with seed 0.",
    ):
        assert words in said, words
    other = squeeze(Page(report_html(typed(k_fold_report()))).one("section", id="measured")["text"])
    assert "every user tested once" in other
    assert "5 groups." in other
    assert "may be recommended again" in other
    assert "does not know" not in other


def test_the_table_of_models(full: tuple[Any, str, Page]) -> None:
    _, _, page = full
    rows = page.table("Models by NDCG@20, with intervals and differences")
    assert [row[0] for row in rows[1:]] == [
        "sigmoid best",
        "EDLAE",
        "EASE best baseline",
        "item-kNN baseline",
        "Mult-VAE",
        "ALS baseline",
        "personal frequency baseline",
        "popularity baseline",
        "BPR baseline failed",
    ]
    assert rows[1][1:] == [
        "▲ ahead of EASE",
        "0.30310.2911 to 0.3151",
        "",
        "+0.0118+0.0038 to +0.0198p = 0.012",
        "",
    ]
    assert rows[2][1] == "≈ not distinguishable from EASE"
    assert rows[3][1:5] == ["this is the one to beat", "0.29130.2793 to 0.3033", "", "–"]
    assert rows[4][1] == "▼ behind EASE"
    assert rows[8][4] == "−0.2311−0.2391 to −0.2231p < 0.001"
    assert rows[9][1:] == ["could not be measured", "–", "", "–", ""]
    section = squeeze(page.one("section", id="models")["text"])
    assert "BPR failed: the factors are not finite after 3 epochs; choose a smaller learning rate" in section


def test_other_tables(full: tuple[Any, str, Page]) -> None:
    report, _, page = full
    by_name = {m["name"]: m for m in report["models"]}
    rows = page.table("Every metric, lists of 20")
    assert rows[0][1:] == [
        f"{n}@20" for n in ("Recall", "Capped recall", "Precision", "Hit rate", "NDCG", "MAP", "MRR")
    ]
    for row in rows[1:]:
        found = by_name[row[0]]["metrics"]["hit_rate@20"]
        numbers = [float(n) for n in re.findall(r"\d\.\d{4}", row[4])]
        assert numbers == pytest.approx([found["mean"], found["low"], found["high"]], abs=5.1e-5)
        assert row[4].startswith("best") == (row[0] == "sigmoid")
    curve = page.table("Recall by length of the list")
    assert curve[0] == ["Model", "1", "2", "3", "5", "10", "20", "50", "100"]
    assert curve[1][6].startswith(f"{by_name['sigmoid']['curve']['recall'][5]['mean']:.4f}")
    slices = page.table("New or bought before")
    assert slices[0] == ["Model", "new items434 users", "bought before0 users"]
    assert slices[2][1:] == ["0.29870.2867 to 0.3107", "–"]
    beyond = {
        row[0]: row[1:]
        for row in page.table("Coverage, novelty, popularity and diversity of the recommendations")
    }
    assert beyond["popularity"] == ["0.4 %", "3.10 bits", "17.0 %", "0.895"]
    cost = {row[0]: row[2:] for row in page.table("NDCG@20, time and memory of each model")}
    assert cost["sigmoid"] == ["48 s", "412 MB"]
    assert cost["Mult-VAE"] == ["5.2 min", "655 MB"]
    trials = page.table("Trials of sigmoid")
    assert trials[0] == ["Settings", "NDCG@20validation", "chosen"]
    assert [row[2] for row in trials[1:]] == ["", "chosen"]
    assert "factors = 256 dropout = 0.5" in trials[2][0]


def test_examples_training_method_and_glossary(full: tuple[Any, str, Page]) -> None:
    report, _, page = full
    first = squeeze(page.all("article")[0]["text"])
    for words in (
        "User 12347",
        "Known: 30 items",
        "and 18 more",
        "Hidden: 3 items",
        "1 of 5 are among the hidden",
    ):
        assert words in first, words
    assert [squeeze(li["text"]) for li in page.all("li", **{"class": "hit"})][:3] == [
        "JUMBO BAG RED RETROSPOT ✓ hit H000 · 0.900",
        "WHITE HANGING HEART T-LIGHT HOLDER ✓ hit H001 · 0.900",
        "H002 ✓ hit 0.400",
    ]
    assert "✓ found by EASE" in first
    assert "found by none" in squeeze(page.all("article")[1]["text"])
    training = squeeze(page.one("section", id="training")["text"])
    assert "best 0.3031 in epoch 6" in training
    assert "Mult-VAE" in training
    assert "EASE" not in training
    repeat = page.one("section", id="repeat")
    assert page.one("pre")["text"] == report["command"]
    assert "numpy2.2.1" in repeat["text"]
    assert report["data"]["fingerprint"] in repeat["text"]
    assert report["budget"]["text"] in page.one("section", id="tuning")["text"]
    terms = [dt["text"] for dt in page.within("dt", page.one("section", id="glossary"))]
    assert terms[-13:] == [
        f"{name}@k"
        for name in (
            *("Recall", "Capped recall", "Precision", "Hit rate", "NDCG", "MAP", "MRR"),
            *("Value of hits", "Recall by value", "Coverage", "Novelty", "Popularity bias", "Diversity"),
        )
    ]
    for dd in page.within("dd", page.one("section", id="glossary"))[-13:]:
        assert "Denominator: " in dd["text"]


def test_money_categories_and_failures(full: tuple[Any, str, Page]) -> None:
    report, _, page = full
    money = page.table("Value of the hits in lists of 20")
    assert money[0][1:] == [
        "Value of the hitsper 1,000 recommendations, 95 % interval",
        "Recall by valuefraction of what the held-out items cost",
        "Differenceper 1,000, to the best baseline, 95 % interval",
    ]
    best = report["models"][0]
    assert best["metrics"]["value@20"]["mean"] == pytest.approx(271.1, abs=0.05)
    assert money[1] == [
        "sigmoid",
        "best 271.1241.1 to 301.1",
        "25.8 %24.6 % to 27.0 %",
        "+10.62−14.38 to +35.62",
    ]
    assert next(row for row in money if row[0] == "EASE")[3] == "this is the one to beat"
    assert "31 of 4,910 held-out purchases have no price and count nothing" in squeeze(
        page.one("section", id="money")["text"]
    )
    categories = page.table("By category of the item")
    assert categories[0] == ["Model", "Bags210 users", f"{HOSTILE}120 users", "no category300 users"]
    prices = page.table("By price of the item")
    bands = [
        "up to 1.25330 users",
        "1.25 to 1.95274 users",
        "1.95 to 3.75337 users",
        "above 3.75324 users",
    ]
    assert prices[0][1:] == bands
    worst = page.one("section", id="worst")
    assert "63 of 434 users (14.5 %) find none of their hidden items among the first 20." in squeeze(
        worst["text"]
    )
    assert "Half of these have at most 9 items in their history; of the others, at most 33." in squeeze(
        worst["text"]
    )
    assert [squeeze(h["text"]) for h in page.within("h3", worst)] == ["User 16031", f"User {HOSTILE}"]
    assert not [
        t for t in page.within("caption", page.one("section", id="metrics")) if "value" in t["text"].lower()
    ]


def test_the_price_of_diversity(full: tuple[Any, str, Page]) -> None:
    _, _, page = full
    rows = page.table("Lists with diversity beside those without")
    assert [row[1] for row in rows[1:4]] == ["0", "0.1", "0.3"]
    assert rows[1][:4] == ["sigmoid", "0", "0.30310.2911 to 0.3151", "the lists without"]
    assert rows[3][2:5] == ["0.29710.2851 to 0.3091", "−0.0060−0.0080 to −0.0040", "0.870"]
    assert {row[0] for row in rows[1:]} == {"sigmoid", "EDLAE", "Mult-VAE"}
    assert "Lists with diversity" not in report_html(typed(k_fold_report() | {"models": []}))


def test_a_screen_reader_finds_its_way(full: tuple[Any, str, Page]) -> None:
    _, _, page = full
    assert page.one("html")["attrs"]["lang"] == "en"
    levels = [int(p["tag"][1]) for p in page.found if re.fullmatch("h[1-6]", p["tag"])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [p["attrs"]["id"] for p in page.found if "id" in p["attrs"]]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["attrs"]["href"][1:] in ids
    for section in page.all("section"):
        assert section["attrs"]["aria-labelledby"] in ids
    for table in page.all("table"):
        assert len(page.within("caption", table)) == 1
        assert table["parent"]["attrs"] | {"role": "region", "tabindex": "0"} == table["parent"]["attrs"]
        for head in page.within("th", table):
            assert head["attrs"]["scope"] in ("row", "col")
            assert head["text"].strip()
    for svg in page.all("svg"):
        named = "aria-label" in svg["attrs"] and svg["attrs"].get("role") == "img"
        assert named or svg["attrs"].get("aria-hidden") == "true" or "svg" in svg["above"]


def test_one_user_has_no_interval() -> None:
    text = report_html(typed(bare_report()))
    page = Page(text)
    assert page.table("Models by Recall@5, with intervals and differences") == [
        ["Model", "In words", "Recall@5mean, 95 % interval", "drawn"],
        ["sigmoid", "not compared", "0.2500", ""],
    ]
    sections = [s["attrs"]["id"] for s in page.all("section")]
    assert sections == ["measured", "models", "metrics", "repeat", "glossary"]
    assert [a["attrs"]["href"] for a in page.within("a", page.one("nav"))] == [
        "#verdict",
        *(f"#{s}" for s in sections),
    ]
    assert "1 user1 held-out item" in squeeze(page.one("header")["text"])
    assert not page.all("p", **{"class": "chip"})


def test_nothing_measured_at_all() -> None:
    page = Page(report_html(typed({})))
    assert page.one("h1")["text"] == "Nothing could be measured"
    failed = bare_report()
    failed["models"][0]["failed"] = "no memory"
    failed["verdict"] = None
    page = Page(report_html(typed(failed)))
    assert page.one("h1")["text"] == "Nothing could be measured"
    assert "sigmoid failed: no memory" in squeeze(page.one("section", id="models")["text"])


def test_headlines() -> None:
    report = full_report()
    report["verdict"] = "A " + "very " * 40 + "long sentence. And a second."
    page = Page(report_html(typed(report)))
    assert page.one("h1")["text"] == "Is a model worth it on these data?"
    assert report["verdict"] in page.one("header")["text"]
    report["verdict"] = ""
    assert Page(report_html(typed(report))).one("h1")["text"] == "sigmoid is first by NDCG@20"
    even = Page(report_html(typed(k_fold_report())))
    assert (
        squeeze(even.one("p", **{"class": "chip"})["text"]) == "≈ Not distinguishable from the best baseline"
    )
    report["models"][0]["difference"] |= {"mean": -0.1, "low": -0.2, "high": -0.05, "p_corrected": 0.001}
    behind = Page(report_html(typed(report)))
    assert squeeze(behind.one("p", **{"class": "chip"})["text"]) == "▼ Behind the best baseline"


def test_trials_of_k_fold_are_chosen_group_by_group() -> None:
    report = k_fold_report()
    report["models"][0]["tuned"] = [
        {"settings": {}, "ndcg@20": 0.3, "fold": 1},
        {"settings": {"factors": 64}, "ndcg@20": 0.2, "fold": 1},
        {"settings": {}, "ndcg@20": 0.1, "fold": 2},
        {"settings": {"factors": 64}, "ndcg@20": 0.15, "fold": 2},
        {"settings": {"factors": 32}, "ndcg@20": 0.15, "fold": 2},
        {"settings": {}, "ndcg@20": None, "fold": 3},
    ]
    page = Page(report_html(typed(report)))
    assert page.table("Trials of sigmoid") == [
        ["Settings", "Group", "NDCG@20validation", "chosen"],
        ["the defaults", "1", "0.3000", "chosen"],
        ["factors = 64", "1", "0.2000", ""],
        ["the defaults", "2", "0.1000", ""],
        ["factors = 64", "2", "0.1500", "chosen"],
        ["factors = 32", "2", "0.1500", ""],
        ["the defaults", "3", "–", ""],
    ]
    assert "9 epochs of the first group" in squeeze(page.one("section", id="training")["text"])
    assert "first group" not in report_html(typed(full_report()))


def test_figures_of_the_lists_at_other_lengths_are_collapsed() -> None:
    report = full_report()
    report["models"][0]["sets"] |= {"novelty@5": 5.25, "novelty@100": 7.5, "coverage@5": 0.125}
    page = Page(report_html(typed(report)))
    first = page.table("Coverage, novelty, popularity and diversity of the recommendations")
    assert [cell.partition("@20")[1] for cell in first[0]] == ["", *["@20"] * 4]
    assert page.table("The same for lists of 5")[1] == ["sigmoid", "12.5 %", "5.25 bits"]
    assert page.table("The same for lists of 100")[1] == ["sigmoid", "7.50 bits"]
    beyond = page.one("section", id="beyond")
    assert [squeeze(part["text"]) for part in page.within("summary", beyond)] == [
        "Lists of 5",
        "Lists of 100",
    ]
