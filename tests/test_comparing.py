"""Several kinds on the same tasks: what each run holds, what is kept, budgets, folds, failures, interruptions."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import task, tasks

from recae import machine
from recae.errors import ConfigError, OutputError
from recae.evaluation.comparison import Run
from recae.kinds import baselines
from recae.models import ItemKNN, Popularity
from recae.ranking import rank_histories
from recae.selection import baselines as rivals
from recae.selection import cache as kept
from recae.selection.baselines import (
    choose_baselines,
    choose_kinds,
    make_trials,
    parse_assignments,
)
from recae.selection.cache import ResultCache, default_folder
from recae.selection.compare import JobDone, JobStarted, Told
from recae.selection.compare import compare as compare_with
from recae.selection.executor import InProcess
from recae.selection.jobs import Job, Outcome


class Here(InProcess):
    """Jobs are done here, without a process each, and remembered; tests/test_jobs.py is about the processes."""

    def __init__(self) -> None:
        self.done: list[Job] = []

    def run(self, job: Job, *arguments: Any, **options: Any) -> Outcome:
        self.done.append(job)
        return super().run(job, *arguments, **options)


@pytest.fixture
def here() -> Here:
    return Here()


def compare(*arguments: Any, **options: Any) -> list[Run]:
    return compare_with(*arguments, **{"executor": InProcess(), **options})


def test_each_kind_gives_a_run() -> None:
    whole = task()
    told: list[Told] = []
    runs = compare(
        [whole],
        ["edlae"],
        ["popularity", "itemknn"],
        trials=3,
        ks=(5, 10),
        tell=told.append,
    )
    assert [(run.name, run.kind, run.baseline) for run in runs] == [
        ("popularity", "popularity", True), ("item-kNN", "itemknn", True), ("EDLAE", "edlae", False),
    ]  # fmt: skip
    popularity, knn, _ = runs
    assert popularity.ranked is not None
    # as long as the catalogue, since it is below a hundred items
    length = len(whole.items)
    np.testing.assert_array_equal(
        popularity.ranked, rank_histories(Popularity.fit(whole.fit), whole.histories, length).items
    )
    assert len(knn.tuned) == 3
    assert knn.tuned[0]["settings"] == {}  # the defaults first
    best = max(trial["ndcg@20"] for trial in knn.tuned)
    chosen = next(trial for trial in knn.tuned if trial["ndcg@20"] == best)
    weighting = chosen["settings"].get("weighting", "tfidf")  # with each, k is the best of its own
    alone = ItemKNN.fit(whole.fit, k=knn.config["k"], weighting=weighting)
    np.testing.assert_array_equal(knn.ranked, rank_histories(alone, whole.histories, length).items)
    assert all(run.seconds > 0 and run.failed is None for run in runs)
    assert [each.event.number for each in told if isinstance(each.event, JobStarted)] == [1, 2, 3]
    ended = [each.model for each in told if isinstance(each.event, JobDone)]
    assert ended == ["popularity", "item-kNN", "EDLAE"]


def test_a_run_does_not_depend_on_the_others() -> None:
    alone = compare([task()], ["itemknn"], trials=2)
    beside = compare([task()], ["ease", "itemknn"], ["popularity"], trials=2)
    np.testing.assert_array_equal(alone[0].ranked, beside[-1].ranked)
    assert alone[0].tuned == beside[-1].tuned


def test_folds_are_stacked() -> None:
    parts = tasks("k-fold", folds=3)
    (run,) = compare(parts, [], ["popularity"], ks=(4,))
    assert run.ranked is not None
    assert run.ranked.shape[0] == sum(len(part.test_users) for part in parts)
    start = 0
    for part in parts:
        own = rank_histories(Popularity.fit(part.fit), part.histories, len(part.items)).items
        np.testing.assert_array_equal(run.ranked[start : start + len(own), : own.shape[1]], own)
        assert (run.ranked[start : start + len(own), own.shape[1] :] == -1).all()
        start += len(own)
    (knn,) = compare(parts, ["itemknn"], trials=2)
    assert [trial["fold"] for trial in knn.tuned] == [1, 1, 2, 2, 3, 3]


def test_one_that_fails_leaves_the_others() -> None:
    told: list[str] = []
    settings = {"sigmoid": {"purchase_weight": 5.0, "learning_rate": 0.9}}
    runs = compare(
        [task()], ["sigmoid", "itemknn"], ["popularity"], trials=1, settings=settings,
        tell=lambda each: told.append(type(each.event).__name__),
    )  # fmt: skip
    assert [run.failed is None for run in runs] == [True, False, True]
    assert "learning_rate" in str(runs[1].failed)
    assert runs[1].ranked.size == 0
    assert told.count("JobFailed") == 1
    folds = compare(tasks("k-fold", folds=2), ["sigmoid"], trials=1, settings=settings)
    assert str(folds[0].failed).startswith("fold 1: ")


def test_settings_that_a_kind_does_not_have_are_refused_before_anything_is_fitted(
    here: Here,
) -> None:
    with pytest.raises(ConfigError, match="factors"):
        compare([task()], ["itemknn"], ["popularity"], settings={"itemknn": {"factors": 3}}, executor=here)
    assert here.done == []


# what is kept


def test_what_is_kept_is_not_done_again(tmp_path: Path, here: Here) -> None:
    told: list[str] = []
    first = compare([task()], ["itemknn"], ["popularity"], trials=2, keep=tmp_path, executor=here)
    assert len(here.done) == 2
    again = compare(
        [task()],
        ["itemknn"],
        ["popularity"],
        trials=2,
        keep=tmp_path,
        executor=here,
        tell=lambda each: told.append(type(each.event).__name__),
    )
    assert len(here.done) == 2
    assert told == ["JobReused", "JobReused"]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.ranked, two.ranked)
        assert (one.tuned, one.config, one.seconds) == (two.tuned, two.config, two.seconds)


@pytest.mark.parametrize(
    "change", [{"trials": 3}, {"seed": 1}, {"settings": {"itemknn": {"weighting": "bm25"}}}, {"ks": (5, 200)}]
)
def test_another_job_is_done_anew(tmp_path: Path, here: Here, change: dict[str, Any]) -> None:
    compare([task()], ["itemknn"], trials=2, keep=tmp_path, executor=here)
    compare([task()], ["itemknn"], **{"trials": 2, "keep": tmp_path, "executor": here, **change})
    assert len(here.done) == 2


def test_other_data_or_another_protocol_is_done_anew(tmp_path: Path, here: Here) -> None:
    for of in (task(), task(held_out=0.4), *tasks("k-fold", folds=2)):
        compare([of], ["itemknn"], trials=1, keep=tmp_path, executor=here)
    assert len(here.done) == 4


def test_another_version_is_done_anew(tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    compare([task()], ["itemknn"], trials=1, keep=tmp_path, executor=here)
    monkeypatch.setattr(kept, "_versions", lambda: {"recae": "999"})
    compare([task()], ["itemknn"], trials=1, keep=tmp_path, executor=here)
    assert len(here.done) == 2


def test_what_cannot_be_read_is_done_anew_and_replaced(tmp_path: Path, here: Here) -> None:
    compare([task()], ["itemknn"], trials=1, keep=tmp_path, executor=here)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    compare([task()], ["itemknn"], trials=1, keep=tmp_path, executor=here)
    compare([task()], ["itemknn"], trials=1, keep=tmp_path, executor=here)
    assert len(here.done) == 2


def test_fresh_takes_nothing_and_keeps(tmp_path: Path, here: Here) -> None:
    for fresh in (False, True, False):
        compare([task()], ["itemknn"], trials=1, keep=ResultCache(tmp_path, fresh=fresh), executor=here)
    assert len(here.done) == 2


def test_what_the_time_did_not_suffice_for_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recae.selection import trial

    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(trial.time, "monotonic", lambda: float(next(clock)))
    told: list[str] = []
    compare(
        [task()],
        ["itemknn"],
        trials=4,
        keep=tmp_path,
        budget=60.0,
        tell=lambda each: told.append(type(each.event).__name__),
    )
    assert "JobCut" in told
    assert list(tmp_path.iterdir()) == []


def test_what_interrupts_says_what_is_kept(tmp_path: Path) -> None:
    class Interrupted(InProcess):
        def run(self, job: Job, *arguments: Any, **options: Any) -> Outcome:
            if job.kind == "itemknn":
                raise KeyboardInterrupt
            return super().run(job, *arguments, **options)

    options = {"trials": 1, "executor": Interrupted()}
    with pytest.raises(KeyboardInterrupt) as error:
        compare([task()], ["itemknn"], ["popularity"], keep=tmp_path, **options)
    assert error.value.__notes__ == [
        f"1 of 2 models is finished and stored in '{tmp_path}'; the same command goes on from there"
    ]
    with pytest.raises(KeyboardInterrupt) as error:
        compare([task()], ["itemknn"], ["popularity"], **options)
    assert not hasattr(error.value, "__notes__")


def test_folders_to_keep_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "recae" / "evaluate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder().is_relative_to(tmp_path)
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert default_folder() == tmp_path / "Library" / "Caches" / "recae" / "evaluate"
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot keep results in"):
        ResultCache(tmp_path / "file" / "folder")


def test_old_results_are_forgotten(tmp_path: Path) -> None:
    compare([task()], ["itemknn"], ["popularity"], trials=1, keep=tmp_path)
    old = next(tmp_path.glob("itemknn-*"))
    long_ago = time.time() - 40 * 86_400
    os.utime(old, (long_ago, long_ago))
    ResultCache(tmp_path).forget_old()
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["popularity"]


# which models, with which settings


def test_the_baselines_that_suit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = task()
    assert choose_baselines(None, ["sigmoid"], [whole], 3) == (
        ["popularity", "itemknn", "als", "bpr", "ease"],
        [],
    )
    assert choose_baselines("ease, popularity", [], [whole], 3) == (["popularity", "ease"], [])
    assert choose_baselines("none", [], [whole], 3) == ([], [])
    assert choose_baselines(None, list(baselines()), [whole], 3) == ([], [])
    monkeypatch.setattr(rivals, "seconds_for", lambda kind, size: 400.0)
    found, left_out = choose_baselines(None, [], [whole], 3)
    assert "ease" not in found
    assert left_out[0].startswith(
        f"EASE is left out: its 3 fits to {len(whole.items)} items would take about 20 minutes"
    )
    assert choose_baselines("ease", [], [whole], 3) == (["ease"], [])


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("item-knn", "there is no baseline 'item-knn'; did you mean 'itemknn'?"),
        ("", "no baseline is named"),
        ("frequency", "add --repeats"),
        ("xyz", "choose some of popularity"),
    ],
)
def test_baselines_refused(asked: str, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose_baselines(asked, [], [task()], 1)
    assert text in str(error.value)


def test_kinds_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sigmoid'"):
        choose_kinds(["sigmod"], False)
    with pytest.raises(ConfigError, match="add --repeats"):
        choose_kinds(["frequency"], False)
    assert choose_kinds(["frequency", "ease", "ease"], True) == ["frequency", "ease"]


def test_assignments() -> None:
    assert parse_assignments(["sigmoid.factors=8", "ease.l2=5"], ["sigmoid", "ease"]) == {
        "sigmoid": {"factors": 8}, "ease": {"l2": 5.0},
    }  # fmt: skip
    for text, said in (
        ("factors=8", "kind.key=value"),
        ("ease.l2=5", "add --kind ease"),
        ("eese.l2=1", "ease"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_assignments([text], ["sigmoid"])


def test_settings_that_are_given_are_not_varied() -> None:
    free, fixed = make_trials("als", 4, {}), make_trials("als", 4, {"factors": 8})
    assert free[0] == ({}, {"seed": 0})
    assert len({str(left) for left, _ in free}) == len(free) == 4
    assert all("factors" not in left and whole["factors"] == 8 for left, whole in fixed)
    assert [whole for _, whole in make_trials("als", 4, {}, choose=False)] == [{"seed": 0}]
    assert make_trials("frequency", 1, {}, decay=0.5)[0][1] == {"decay": 0.5, "seed": 0}
    assert make_trials("blend", 1, {}, decay=0.5)[0][1]["frequency.decay"] == 0.5
    with pytest.raises(ConfigError, match="give --decay instead"):
        make_trials("frequency", 1, {"decay": 0.3}, decay=0.5)
