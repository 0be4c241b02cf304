"""The words of a comparison: Holm's correction against the procedure itself, and what is said in each situation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import bare_report, full_report

from recae.errors import DataError
from recae.evaluation.html_summary import HEADLINE
from recae.evaluation.html_view import View, make_view
from recae.evaluation.verdict import holm, verdict, verdict_on

NAN = float("nan")


def rejected(p_values: list[float], level: float) -> set[int]:
    """Holm's sequentially rejective procedure, as section 3 of Holm (1979) words it, at one level.

    The smallest p-value is held against level / m, the next against level / (m − 1), and so on; the first that is
    larger ends it.
    """
    left = set(range(len(p_values)))
    done: set[int] = set()
    while left:
        smallest = min(left, key=lambda n: p_values[n])
        if p_values[smallest] > level / len(left):
            break
        left.remove(smallest)
        done.add(smallest)
    return done


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 1))
def test_a_corrected_p_is_below_a_level_where_the_procedure_rejects_at_it(
    p: list[float], level: float
) -> None:
    corrected = holm(p)
    # away from the corrected values themselves, where rounding decides
    if min(abs(corrected - level)) < 1e-9:
        return
    if level < 1:
        assert {n for n, value in enumerate(corrected) if value <= level} == rejected(p, level)


def test_holm_by_hand() -> None:
    # p.adjust(c(.01, .04, .03, .005), "holm") of R 4: .03 .06 .06 .02
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.5, 0.9]).tolist() == [1, 1]
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


def test_what_was_not_compared_does_not_count() -> None:
    found = holm([NAN, 0.01, NAN, 0.04])
    assert found[[1, 3]] == pytest.approx([0.02, 0.04])
    assert np.isnan(found[[0, 2]]).all()


@pytest.mark.parametrize("p", [[[0.1]], 0.5, [-0.1], [0.2, 1.5]])
def test_what_are_no_p_values(p: Any) -> None:
    with pytest.raises(DataError, match=r"p-values are numbers from 0 to 1"):
        holm(p)


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


def said(view: View, name: str) -> str:
    return verdict_on(view, next(e for e in view.entries if e.name == name))


def test_an_autoencoder_that_is_ahead() -> None:
    view = make_view(full_report())
    assert verdict(view) == (
        "An autoencoder is worth it on these data: sigmoid is ahead of EASE, the best baseline. Its NDCG@20 is 0.3031 "
        "against 0.2913, and the difference of +0.0118 (95 %: +0.0038 to +0.0198) is more than chance (p = 0.012, "
        "corrected for 7 comparisons). To use it, train it with recae train --kind sigmoid. Not measured: BPR."
    )
    assert said(view, "sigmoid") == (
        "sigmoid is ahead of EASE: its NDCG@20 is higher by 0.0118 (95 %: +0.0038 to +0.0198, p = 0.012, corrected for "
        "7 comparisons)."
    )
    assert said(view, "popularity").startswith(
        "popularity is behind EASE: its NDCG@20 is lower by 0.2311 (95 %: −0.2"
    )
    assert said(view, "EASE") == "EASE is the best baseline, the one to beat: its NDCG@20 is 0.2913."
    assert said(view, "BPR").startswith("BPR could not be measured: the factors are not finite")


def test_not_distinguishable() -> None:
    report = full_report()
    for name in ("sigmoid", "EDLAE"):
        model(report, name)["difference"] = differs(0.001, -0.007, 0.009, 0.8)
    view = make_view(report)
    first, second, *_ = verdict(view).split(". ")
    assert first == "sigmoid is not distinguishable from EASE, the best baseline, on these data"
    assert second == (
        "Its NDCG@20 is 0.3031 against 0.2913, and the difference of +0.0010 may be chance (95 %: −0.0070 to +0.0090, "
        "p = 0.80, corrected for 7 comparisons)"
    )
    assert "Take EASE (recae train --kind ease), the simpler of the two" in verdict(view)
    assert said(view, "sigmoid").startswith(
        "sigmoid is not distinguishable from EASE on these data: the difference"
    )


def test_an_interval_without_0_that_the_correction_does_not_believe() -> None:
    report = keep(full_report(), "sigmoid", "EASE", "ALS")
    model(report, "sigmoid")["difference"] = differs(0.01, 0.001, 0.02, 0.06)
    text = verdict(make_view(report))
    assert text.startswith("sigmoid is not distinguishable from EASE")
    assert (
        "since of several comparisons one may leave 0 out by luck (95 %: +0.0010 to +0.0200, p = 0.060"
        in text
    )


def test_the_best_mean_need_not_be_the_one_that_is_ahead() -> None:
    report = full_report()
    model(report, "sigmoid")["difference"] = differs(0.0118, -0.01, 0.03, 0.3)
    model(report, "EDLAE")["difference"] = differs(0.0074, 0.002, 0.012, 0.01)
    view = make_view(report)
    assert verdict(view).startswith("An autoencoder is worth it on these data: EDLAE is ahead of EASE")
    assert view.leader is not None
    assert (view.leader.name, view.leader.slot) == ("EDLAE", 0)


def test_an_autoencoder_that_is_behind() -> None:
    report = keep(full_report(), "Mult-VAE", "EASE", "ALS")
    text = verdict(make_view(report))
    assert text.startswith(
        "An autoencoder is not worth it on these data: Mult-VAE is behind EASE, the best baseline. Its NDCG@20 is "
        "0.2702 against 0.2913, and the difference of −0.0211"
    )
    assert "Take EASE (recae train --kind ease)" in text
    report["models"].append(copy.deepcopy(model(report, "Mult-VAE")) | {"name": "RecVAE"})
    assert "Mult-VAE, the best of them, is behind EASE" in verdict(make_view(report))


def test_a_model_that_is_no_autoencoder_is_not_called_one() -> None:
    report = full_report()
    model(report, "sigmoid").update(name="ALS tuned", kind="als")
    assert verdict(make_view(report)).startswith(
        "ALS tuned is worth it on these data: ALS tuned is ahead of EASE"
    )


def test_without_a_baseline() -> None:
    view = make_view(bare_report())
    assert verdict(view) == (
        "There is no baseline to compare with. The Recall@5 of sigmoid is 0.2500; whether that is worth more than a "
        "simple method only a run with baselines can tell."
    )
    assert said(view, "sigmoid") == "sigmoid was compared with no baseline; its Recall@5 is 0.2500."


def test_every_baseline_failed() -> None:
    report = keep(full_report(), "sigmoid", "BPR")
    report["models"][0]["difference"] = None
    text = verdict(make_view(report))
    assert text.startswith(
        "Every baseline failed, so there is nothing to compare with. The NDCG@20 of sigmoid is 0.3031"
    )
    assert text.endswith("Not measured: BPR.")


def test_only_baselines() -> None:
    report = keep(full_report(), "ALS", "EASE", "popularity")
    text = verdict(make_view(report))
    assert text.startswith(
        "Only baselines were measured; the best is EASE. Its NDCG@20 is 0.2913 (95 %: 0.2793 to 0.3033)"
    )
    assert text.endswith("add one with --kind.")


def test_every_autoencoder_failed() -> None:
    report = keep(full_report(), "EASE", "ALS", "sigmoid")
    model(report, "sigmoid")["failed"] = "no memory"
    text = verdict(make_view(report))
    assert text.startswith("No autoencoder could be measured; the best baseline is EASE.")
    assert "run the command again. Not measured: sigmoid." in text


def test_everything_failed() -> None:
    for report in (keep(full_report(), "BPR"), keep(full_report())):
        assert verdict(make_view(report)) == (
            "Nothing could be measured: every model failed. Mend what the reasons name and run the command again."
        )


def test_one_user_says_nothing_of_chance() -> None:
    report = keep(full_report(), "sigmoid", "EASE")
    for found in report["models"]:
        found["metrics"]["ndcg@20"] |= {"low": None, "high": None}
    model(report, "sigmoid")["difference"] = differs(0.2, None, None, None)
    view = make_view(report)
    assert "the difference of +0.2000 may be chance, of which one user says nothing." in verdict(view)
    assert said(view, "sigmoid").endswith(
        "the difference of +0.2000 may be chance, of which one user says nothing."
    )


def test_where_owned_items_count_the_command_says_so() -> None:
    report = full_report()
    report["protocol"]["exclude_owned"] = False
    assert "To use it, train it with recae train --kind sigmoid --repeats." in verdict(make_view(report))


def test_models_that_are_the_same() -> None:
    report = keep(full_report(), "sigmoid", "EASE")
    model(report, "sigmoid")["difference"] = differs(0.0, 0.0, 0.0, 1.0)
    assert "and the two are equally good for every user." in verdict(make_view(report))


def test_one_comparison_needs_no_correction() -> None:
    report = keep(full_report(), "sigmoid", "EASE")
    model(report, "sigmoid")["difference"] = differs(0.05, 0.03, 0.07, 0.0005)
    assert "is more than chance (p < 0.001)." in verdict(make_view(report))
    model(report, "sigmoid")["difference"] = differs(0.05, 0.03, 0.07, None)
    assert "(95 %: +0.0300 to +0.0700) is more than chance." in verdict(make_view(report))


@pytest.mark.parametrize("change", [full_report, bare_report])
def test_the_answer_fits_the_headline_of_the_page(change: Callable[[], dict[str, Any]]) -> None:
    assert len(verdict(make_view(change())).split(". ")[0]) < HEADLINE


def test_of_a_blend_the_autoencoder_in_it_is_told_apart() -> None:
    report = keep(full_report(), "sigmoid", "EDLAE", "EASE")
    model(report, "sigmoid")["name"] = "blend"
    model(report, "blend")["kind"] = "blend"
    model(report, "EDLAE").update(name="sigmoid", kind="sigmoid")
    text = verdict(make_view(report))
    assert text.startswith("A blend is worth it on these data: blend is ahead of EASE")
    assert "The autoencoder alone: sigmoid is " in text
    report = keep(report, "blend", "EASE")  # nothing to say of what was not measured
    assert "alone" not in verdict(make_view(report))
