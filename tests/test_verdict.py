"""The verdict on a comparison: what is found and said in each situation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from reports import bare_report, full_report, typed

from recae.evaluation.report.html import report_html
from recae.evaluation.report.verdict import Doubt, Outcome, Standing, find_verdict, rank_models
from recae.evaluation.report.view import HEADLINE
from recae.evaluation.report.words import model_text, verdict_text


def model(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in report["models"] if m["name"] == name)
    return found


def keep(report: dict[str, Any], *names: str) -> dict[str, Any]:
    report["models"] = [model(report, name) for name in names]
    return report


def differs(mean: float, low: float | None, high: float | None, p: float | None) -> dict[str, Any]:
    return {
        "to": "EASE",
        "metric": "ndcg@20",
        "mean": mean,
        "low": low,
        "high": high,
        "p": p,
        "p_corrected": p,
    }


def verdict(report: dict[str, Any]) -> str:
    return verdict_text(find_verdict(typed(report)))


def said(report: dict[str, Any], name: str) -> str:
    ranking = rank_models(typed(report))
    return model_text(ranking, next(found for found in ranking.models if found.name == name))


def test_a_model_that_is_better() -> None:
    report = full_report()
    assert verdict(report) == (
        "A model is worth it on these data: sigmoid is ahead of EASE, the best baseline. Its NDCG@20 is 0.3031 "
        "against 0.2913, and the difference of +0.0118 (95 %: +0.0038 to +0.0198) is more than chance (p = 0.012, "
        "corrected for 7 comparisons). To use it, train it with recae train --kind sigmoid. Not measured: BPR."
    )
    assert said(report, "sigmoid") == (
        "sigmoid is ahead of EASE: its NDCG@20 is higher by 0.0118 (95 %: +0.0038 to +0.0198, p = 0.012, corrected for "
        "7 comparisons)."
    )
    assert said(report, "popularity").startswith(
        "popularity is behind EASE: its NDCG@20 is lower by 0.2311 (95 %: −0.2"
    )
    assert said(report, "EASE") == "EASE is the best baseline, the one to beat: its NDCG@20 is 0.2913."
    assert said(report, "BPR").startswith("BPR could not be measured: the factors are not finite")


def test_not_distinguishable() -> None:
    report = full_report()
    for name in ("sigmoid", "EDLAE"):
        model(report, name)["difference"] = differs(0.001, -0.007, 0.009, 0.8)
    first, second, *_ = verdict(report).split(". ")
    assert first == "sigmoid is not distinguishable from EASE, the best baseline, on these data"
    assert second == (
        "Its NDCG@20 is 0.3031 against 0.2913, and the difference of +0.0010 may be chance (95 %: −0.0070 to +0.0090, "
        "p = 0.80, corrected for 7 comparisons)"
    )
    assert "Take EASE (recae train --kind ease), the simpler of the two" in verdict(report)
    assert said(report, "sigmoid").startswith(
        "sigmoid is not distinguishable from EASE on these data: the difference"
    )


def test_an_interval_without_0_that_the_correction_does_not_believe() -> None:
    report = keep(full_report(), "sigmoid", "EASE", "ALS")
    model(report, "sigmoid")["difference"] = differs(0.01, 0.001, 0.02, 0.06)
    text = verdict(report)
    assert text.startswith("sigmoid is not distinguishable from EASE")
    assert (
        "since of several comparisons one may leave 0 out by luck (95 %: +0.0010 to +0.0200, p = 0.060"
        in text
    )


def test_the_best_mean_need_not_be_the_one_that_is_better_for_sure() -> None:
    report = full_report()
    model(report, "sigmoid")["difference"] = differs(0.0118, -0.01, 0.03, 0.3)
    model(report, "EDLAE")["difference"] = differs(0.0074, 0.002, 0.012, 0.01)
    assert verdict(report).startswith("A model is worth it on these data: EDLAE is ahead of EASE")
    best = rank_models(typed(report)).best_model
    assert best is not None
    assert best.name == "EDLAE"


def test_a_model_that_is_worse() -> None:
    report = keep(full_report(), "Mult-VAE", "EASE", "ALS")
    text = verdict(report)
    assert text.startswith(
        "A model is not worth it on these data: Mult-VAE is behind EASE, the best baseline. Its NDCG@20 is "
        "0.2702 against 0.2913, and the difference of −0.0211"
    )
    assert "Take EASE (recae train --kind ease)" in text
    report["models"].append(copy.deepcopy(model(report, "Mult-VAE")) | {"name": "RecVAE"})
    assert "Mult-VAE, the best of them, is behind EASE" in verdict(report)


@pytest.mark.parametrize(
    ("mean", "low", "high"), [(0.02, 0.01, 0.03), (0.0, -0.01, 0.01), (-0.02, -0.03, -0.01)]
)
@pytest.mark.parametrize("failed", [False, True])
def test_two_linear_regressions_are_models_and_no_autoencoders(
    mean: float, low: float, high: float, failed: bool
) -> None:
    report = keep(full_report(), "EDLAE", "EASE")
    p = 1.0 if low < 0 < high else 0.001
    model(report, "EDLAE")["difference"] = differs(mean, low, high, p)
    if failed:
        model(report, "EDLAE")["failed"] = "no memory"
    for text in (verdict(report), said(report, "EDLAE"), said(report, "EASE")):
        assert "autoencoder" not in text
    assert "EDLAE" in verdict(report)
    assert "EASE" in verdict(report)
    page = report_html(typed(report | {"verdict": verdict(report), "examples": []}))
    assert "autoencoder" not in page


def test_without_a_baseline() -> None:
    report = bare_report()
    assert verdict(report) == (
        "There is no baseline to compare with. The Recall@5 of sigmoid is 0.2500; whether that is worth more than a "
        "simple method only a run with baselines can tell."
    )
    assert said(report, "sigmoid") == "sigmoid was compared with no baseline; its Recall@5 is 0.2500."


def test_every_baseline_failed() -> None:
    report = keep(full_report(), "sigmoid", "BPR")
    report["models"][0]["difference"] = None
    text = verdict(report)
    assert text.startswith(
        "Every baseline failed, so there is nothing to compare with. The NDCG@20 of sigmoid is 0.3031"
    )
    assert text.endswith("Not measured: BPR.")


def test_only_baselines() -> None:
    report = keep(full_report(), "ALS", "EASE", "popularity")
    text = verdict(report)
    assert text.startswith(
        "Only baselines were measured; the best is EASE. Its NDCG@20 is 0.2913 (95 %: 0.2793 to 0.3033)"
    )
    assert text.endswith("add one with --kind.")


def test_every_model_but_baselines_failed() -> None:
    report = keep(full_report(), "EASE", "ALS", "sigmoid")
    model(report, "sigmoid")["failed"] = "no memory"
    text = verdict(report)
    assert text.startswith("No model but baselines could be measured; the best baseline is EASE.")
    assert "run the command again. Not measured: sigmoid." in text


def test_everything_failed() -> None:
    for report in (keep(full_report(), "BPR"), keep(full_report())):
        assert verdict(report) == (
            "Nothing could be measured: every model failed. Fix the causes given and run the command again."
        )


def test_one_user_says_nothing_of_chance() -> None:
    report = keep(full_report(), "sigmoid", "EASE")
    for found in report["models"]:
        found["metrics"]["ndcg@20"] |= {"low": None, "high": None}
    model(report, "sigmoid")["difference"] = differs(0.2, None, None, None)
    assert "the difference of +0.2000 may be chance, of which one user says nothing." in verdict(report)
    assert said(report, "sigmoid").endswith(
        "the difference of +0.2000 may be chance, of which one user says nothing."
    )


def test_where_owned_items_count_the_command_says_so() -> None:
    report = full_report()
    report["protocol"]["exclude_owned"] = False
    assert "To use it, train it with recae train --kind sigmoid --repeats." in verdict(report)


def test_models_that_are_the_same() -> None:
    report = keep(full_report(), "sigmoid", "EASE")
    model(report, "sigmoid")["difference"] = differs(0.0, 0.0, 0.0, 1.0)
    assert "and the two are equally good for every user." in verdict(report)


def test_one_comparison_needs_no_correction() -> None:
    report = keep(full_report(), "sigmoid", "EASE")
    model(report, "sigmoid")["difference"] = differs(0.05, 0.03, 0.07, 0.0005)
    assert "is more than chance (p < 0.001)." in verdict(report)
    model(report, "sigmoid")["difference"] = differs(0.05, 0.03, 0.07, None)
    assert "(95 %: +0.0300 to +0.0700) is more than chance." in verdict(report)


@pytest.mark.parametrize("change", [full_report, bare_report])
def test_the_answer_fits_the_headline_of_the_page(change: Callable[[], dict[str, Any]]) -> None:
    assert len(verdict(change()).split(". ")[0]) < HEADLINE


def test_beside_a_blend_the_best_single_model_is_told_apart() -> None:
    report = keep(full_report(), "sigmoid", "EDLAE", "EASE")
    model(report, "sigmoid")["name"] = "blend"
    model(report, "blend")["kind"] = "blend"
    model(report, "EDLAE").update(name="sigmoid", kind="sigmoid")
    text = verdict(report)
    assert text.startswith("A blend is worth it on these data: blend is ahead of EASE")
    assert "The best single model: sigmoid is not distinguishable from EASE on these data" in text
    report = keep(report, "blend", "EASE")  # nothing to say of what was not measured
    assert "single" not in verdict(report)


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        (full_report(), Outcome.BETTER),
        (keep(full_report(), "Mult-VAE", "EASE"), Outcome.WORSE),
        (keep(full_report(), "EDLAE", "EASE"), Outcome.EVEN),
        (bare_report(), Outcome.NO_BASELINE),
        (keep(full_report(), "sigmoid", "BPR"), Outcome.BASELINES_FAILED),
        (keep(full_report(), "ALS", "EASE"), Outcome.ONLY_BASELINES),
        (keep(full_report(), "BPR"), Outcome.NOTHING_MEASURED),
        ({}, Outcome.NOTHING_MEASURED),
    ],
)
def test_the_finding_is_apart_from_its_words(report: dict[str, Any], outcome: Outcome) -> None:
    found = find_verdict(typed(report))
    assert found.outcome is outcome
    assert found.ranking.n_comparisons == sum(
        bool(model["difference"]) for model in report.get("models", ()) if not model["failed"]
    )


@pytest.mark.parametrize(
    ("mean", "low", "high", "p", "standing", "doubt"),
    [
        (0.1, 0.05, 0.2, 0.01, Standing.BETTER, None),
        (0.1, 0.05, 0.2, 0.06, Standing.EVEN, Doubt.CORRECTION),
        (-0.1, -0.2, -0.05, 0.01, Standing.WORSE, None),
        (0.1, 0.05, 0.2, None, Standing.BETTER, None),
        (-0.1, -0.2, -0.05, None, Standing.WORSE, None),
        (0.1, -0.05, 0.2, None, Standing.EVEN, Doubt.CHANCE),
        (0.0, 0.0, 0.0, 1.0, Standing.EVEN, Doubt.IDENTICAL),
        (0.1, None, None, None, Standing.EVEN, Doubt.ONE_USER),
        (None, None, None, None, None, None),
    ],
)
def test_how_a_model_stands(
    mean: Any, low: Any, high: Any, p: Any, standing: Standing | None, doubt: Doubt | None
) -> None:
    report = full_report()
    model(report, "sigmoid")["difference"] = differs(mean, low, high, p)
    (found,) = [found for found in rank_models(typed(report)).models if found.name == "sigmoid"]
    assert (found.standing, found.doubt) == (standing, doubt)
