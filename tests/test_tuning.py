"""Tuning as a Python call: what trials may see, how it ends, and that the same seed gives the same result."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import SAMPLE
from jobs import interactions

from recae.errors import CheckpointError, ConfigError, DataError, TrainingError
from recae.evaluation import evaluate
from recae.ids import IdMap
from recae.interactions import Interactions
from recae.kinds import SETTINGS
from recae.pipeline import train
from recae.reading import ReadOptions
from recae.selection.fit import fit_kind
from recae.selection.progress import Progress
from recae.selection.space import TunedTrial, best_of
from recae.selection.tune import parse_metric, tune
from recae.selection.tuning_data import TuningData
from recae.settings_toml import read_toml, toml_kind

tuning = sys.modules[tune.__module__]


def plain(tuned: Any) -> list[dict[str, Any]]:
    """The trials without the seconds, which no two runs share."""
    return [{**trial.as_dict(), "seconds": None} for trial in tuned.trials]


def events(text: str, path: Path) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def baskets(tmp_path: Path) -> Path:
    """40 users of four baskets who buy again what they have."""
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,order_number"]
    for user in range(40):
        mine = rng.choice(15, size=5, replace=False)
        lines += [f"u{user},i{item},{n}" for n in range(4) for item in rng.choice(mine, 3, replace=False)]
    return events("\n".join(lines) + "\n", tmp_path / "baskets.csv")


# what trials see


def test_trials_are_fitted_and_measured_on_learners_and_validation_users_only() -> None:
    data = interactions()
    seen = TuningData(data, None, 3).seen()
    measured = train(data, kind="popularity", seed=3)
    assert seen.set_aside == measured.metadata["metrics"]["n_users"]
    assert seen.validation[0].shape[0] == measured.metadata["metrics"]["validation_users"]
    assert seen.matrix.shape[0] == data.n_users - seen.set_aside - seen.validation[0].shape[0]
    # a purchase of a test user that is changed changes no trial
    rows = {row.tobytes() for row in seen.matrix.toarray()}
    rows |= {row.tobytes() for row in (seen.validation[0] + seen.validation[1]).toarray()}
    hidden = [n for n in range(data.n_users) if data.matrix[n].toarray()[0].tobytes() not in rows]
    assert hidden
    changed = data.matrix.toarray()
    changed[hidden] = 0
    changed[hidden, :3] = 1
    other = sp.csr_matrix(changed)
    twin = Interactions(other, data.users, data.items, None, np.ones(other.nnz, dtype=np.int32))
    first, second = (tune(each, kind="ease", trials=4, seed=3) for each in (data, twin))
    assert plain(first) == plain(second)
    assert first.fingerprint != second.fingerprint


def test_a_trial_is_what_train_would_fit_and_choose_on() -> None:
    data = interactions()
    tuned = tune(data, kind="sigmoid", trials=2, factors=4, epochs=3)
    seen = TuningData(data, None, 0).seen()
    for trial in tuned.trials:
        model, _ = fit_kind(
            "sigmoid",
            {**tuned.fixed, **trial.settings},
            seen.matrix,
            seen.validation,
        )
        assert evaluate(model, *seen.validation, (20,)).mean("ndcg@20") == trial.value
    assert dict(tuned.fixed) == {"seed": 0, "factors": 4, "epochs": 3}
    assert tuned.trials[0].epochs == 3
    assert {"purchase_weight", "learning_rate"} <= tuned.trials[0].settings.keys()
    assert "factors" not in tuned.trials[1].settings


@pytest.mark.parametrize("kind", ["itemknn", "edlae", "sparse-linear", "als", "multvae"])
def test_other_kinds(kind: str) -> None:
    few = {"multvae": {"epochs": 2}, "als": {"factors": 4}}.get(kind, {})
    tuned = tune(interactions(), kind=kind, trials=3, **few)
    assert [trial.state for trial in tuned.trials] == ["complete"] * 3
    assert tuned.best.value == max(trial.value or 0 for trial in tuned.trials)
    assert tuned.ended == "trials"


def test_without_a_kind_it_is_the_default() -> None:
    tuned = tune(interactions(), trials=2, factors=4, epochs=2)
    assert tuned.kind == "blend"
    assert any(name.startswith("sparse-linear.") for name in tuned.trials[1].settings)
    assert tuned.fixed["sigmoid.factors"] == 4  # what names no part is the main part's, and searched no more
    assert "sigmoid.factors" not in tuned.trials[1].settings


def test_where_people_rebuy(baskets: Path) -> None:
    tuned = tune(baskets, kind="frequency", trials=3, repeats=True)
    assert tuned.repeats
    assert tuned.fingerprint
    assert "--repeats" in tuned.toml()
    assert {"popularity", "decay"} == set(tuned.trials[1].settings)
    blend = tune(baskets, trials=2, repeats=True, factors=4, epochs=2)
    assert "frequency" in blend.fixed["components"]


# how it ends


def test_the_same_seed_gives_the_same_result() -> None:
    first, second = (tune(interactions(), kind="edlae", trials=10) for _ in range(2))
    assert plain(first) == plain(second)
    assert dict(first.importance) == dict(second.importance)
    assert sum(first.importance.values()) == pytest.approx(1)
    assert first.toml() == second.toml()
    assert plain(tune(interactions(), kind="edlae", trials=4, seed=1)) != plain(first)[:4]
    assert plain(tune(interactions(), kind="edlae", trials=4)) == plain(first)[:4]


def test_interrupted_anywhere_it_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole = tune(interactions(), kind="edlae", trials=11, study=tmp_path / "whole.study")

    def interrupt(ended: TunedTrial, best: TunedTrial | None, trials: int) -> None:
        if ended.number in (1, 4, 9):
            raise KeyboardInterrupt

    study, resume = tmp_path / "cut.study", False
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt) as caught:
            tune(
                interactions(), kind="edlae", trials=11, study=study, resume=resume,
                progress=Progress(on_trial=interrupt),
            )  # fmt: skip
        (note,) = caught.value.__notes__
        assert "best of" in note
        assert "--resume goes on from there" in note
        resume = True
    tuned = tune(interactions(), kind="edlae", trials=11, study=study, resume=True)
    assert plain(tuned) == plain(whole)
    assert dict(tuned.importance) == dict(whole.importance)
    more = tune(interactions(), kind="edlae", trials=12, study=study, resume=True)
    assert plain(more)[:11] == plain(whole)
    assert tuned.seconds == pytest.approx(sum(trial.seconds for trial in tuned.trials))


def test_an_interruption_within_a_trial_costs_that_trial_only(tmp_path: Path) -> None:
    study, epochs = tmp_path / "a.study", itertools.count(1)

    def interrupt(epoch: Any) -> None:
        if next(epochs) == 8:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"kind": "sigmoid", "factors": 4, "epochs": 3, "study": study}
    with pytest.raises(KeyboardInterrupt):
        tune(interactions(), trials=4, progress=Progress(on_epoch=interrupt), **settings)
    tuned = tune(interactions(), trials=4, resume=True, **settings)
    settings["study"] = None
    assert plain(tuned) == plain(tune(interactions(), trials=4, **settings))


def test_a_budget_ends_it() -> None:
    done: list[TunedTrial] = []
    progress = Progress(on_trial=lambda ended, best, trials: done.append(ended))
    tune(interactions(), kind="sigmoid", trials=1, factors=4, epochs=2)  # its loops may have to be compiled
    tuned = tune(
        interactions(), kind="sigmoid", trials=100_000, budget=3.0, factors=4, epochs=2, progress=progress
    )
    assert tuned.ended == "budget"
    assert sum(trial.seconds for trial in tuned.trials[:-1]) < 3  # none begins later
    assert 1 <= len(tuned.trials) == len(done) < 100_000
    with pytest.raises(TrainingError, match="the budget ended before a trial did: give a longer --budget"):
        tune(interactions(), kind="sigmoid", budget=1, factors=4, epochs=100_000, patience=100_000)


def test_the_budget_counts_what_earlier_sessions_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "a.study"
    real = tuning.run_trial
    monkeypatch.setattr(
        tuning, "run_trial", lambda *args, **options: dataclasses.replace(real(*args, **options), seconds=2.0)
    )
    first = tune(interactions(), kind="edlae", trials=3, study=study)
    again = tune(interactions(), kind="edlae", trials=50, budget=5, study=study, resume=True)
    assert again.ended == "budget"
    assert again.seconds == 6
    assert plain(again) == plain(first)


def test_trials_that_lag_behind_are_pruned() -> None:
    tuned = tune(
        interactions(), kind="sigmoid", trials=16, factors=4, epochs=9, patience=9, metric="recall@5"
    )
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert pruned
    assert [trial.state for trial in tuned.trials[:4]] == ["complete"] * 4
    assert all(3 <= trial.epochs <= 9 and trial.value is not None for trial in pruned)
    assert tuned.best.state == "complete"


def test_a_trial_that_fails_is_one_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = tuning.fit_kind, itertools.count(1)
    raised = {2: TrainingError("the loss is not finite"), 3: MemoryError(), 5: ConfigError("too large")}

    def fit(*arguments: Any, **options: Any) -> Any:
        if error := raised.get(next(calls)):
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(tuning, "fit_kind", fit)
    tuned = tune(interactions(), kind="edlae", trials=6)
    assert [trial.state for trial in tuned.trials] == ["complete", "failed", "failed", "complete", "failed",
                                                       "complete"]  # fmt: skip
    assert [trial.reason for trial in tuned.trials if trial.reason] == [
        "the loss is not finite",
        "there is not enough memory for it",
        "too large",
    ]
    assert tuned.trials[1].value is None


def test_defaults_that_fail_leave_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = tuning.fit_kind, itertools.count(1)

    def fit(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 1:
            raise TrainingError("no memory for these")
        return real(*arguments, **options)

    monkeypatch.setattr(tuning, "fit_kind", fit)
    tuned = tune(interactions(), kind="edlae", trials=3)
    assert [trial.state for trial in tuned.trials] == ["failed", "complete", "complete"]
    assert "the defaults reached nothing" in tuned.toml()


def test_all_trials_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fit(*arguments: Any, **options: Any) -> Any:
        raise TrainingError("the loss is not finite")

    monkeypatch.setattr(tuning, "fit_kind", fit)
    study = tmp_path / "a.study"
    with pytest.raises(
        TrainingError, match="none of the 3 trials could be fitted; the last that failed: the loss"
    ):
        tune(interactions(), kind="edlae", trials=3, study=study)
    assert not study.exists()


def test_settings_that_were_tried_are_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = tuning.fit_kind, []

    def fit(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(tuning, "fit_kind", fit)
    tuned = tune(interactions(), kind="itemknn", trials=12, k=5)  # three weightings
    assert len(tuned.trials) == 12
    assert len(calls) == 3


# what it gives


@pytest.mark.parametrize("kind", ["edlae", "blend", "deep"])
def test_the_toml_is_what_train_takes(kind: str, tmp_path: Path) -> None:
    few: dict[str, Any] = {"blend": {"factors": 4, "epochs": 2}, "deep": {"epochs": 2}}.get(kind, {})
    tuned = tune(interactions(), kind=kind, trials=3, seed=5, **few)
    path = tmp_path / "best.toml"
    path.write_text(tuned.toml())
    settings = read_toml(path, kind, SETTINGS[kind], kinds=SETTINGS)
    assert toml_kind(path) == kind
    assert tomllib.loads(tuned.toml())["seed"] == 5
    recommender = train(interactions(), kind=kind, **settings)
    assert recommender.metadata["metrics"]["n_users"] == tuned.test_users
    if kind == "edlae":
        for name, value in tuned.best.settings.items():
            assert recommender.model.config()[name] == value


def test_the_source_is_named_in_one_line(tmp_path: Path) -> None:
    tuned = tune(interactions(), kind="itemknn", trials=1)
    assert "# purchases: 60 users × 24 items, fingerprint " in tuned.toml()
    assert "these are the defaults" in tuned.toml()
    odd = dataclasses.replace(tuned, source='a\n"b\x7f.csv')
    assert tomllib.loads(odd.toml())["kind"] == "itemknn"


def test_the_best_is_the_first_of_equals() -> None:
    trials = [
        TunedTrial(1, "failed", None, {}, 0, 0.0, "why"),
        TunedTrial(2, "pruned", 0.9, {}, 3, 0.0),
        TunedTrial(3, "complete", 0.5, {}, 3, 0.0),
        TunedTrial(4, "complete", 0.5, {}, 3, 0.0),
    ]
    assert best_of(trials) is trials[2]
    assert best_of(trials[:2]) is None
    assert trials[0].as_dict()["reason"] == "why"
    assert trials[2].as_dict()["reason"] is None
    assert trials[0].settings_in_words() == "the defaults"


def test_it_finds_what_the_data_ask_for() -> None:
    """Item-kNN of the sample, whose defaults are far off here, comes near to the best of an exhaustive search."""
    tuned = tune(SAMPLE, kind="itemknn", trials=12, budget="5m")
    assert tuned.best.value is not None
    assert tuned.trials[0].value is not None
    assert tuned.best.value >= tuned.trials[0].value
    assert tuned.n_users == 2000


# refusals


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"kind": "popularity"}, ConfigError, "popularity has no settings, so there is nothing to tune"),
        ({"kind": "auto"}, ConfigError, "auto tries several kinds by itself"),
        ({"kind": "frequency"}, ConfigError, "add --repeats"),
        ({"kind": "sigmod"}, ConfigError, "did you mean 'sigmoid'"),
        ({"kind": "itemknn", "k": 5, "weighting": "bm25"}, ConfigError, "all that is worth tuning of itemknn is set"),
        ({"kind": "ease", "l3": 5}, ConfigError, "ease has no setting 'l3'; choose one of l2"),
        ({"kind": "ease", "trials": 0}, ConfigError, "trials is a whole number from 1"),
        ({"kind": "ease", "budget": "soon"}, ConfigError, "'soon'"),
        ({"kind": "ease", "metric": "ndcg"}, ConfigError, "such as ndcg@20, found 'ndcg'"),
        ({"kind": "ease", "metric": "ndcg@0"}, ConfigError, "such as ndcg@20, found 'ndcg@0'"),
        ({"kind": "ease", "metric": "nscg@20"}, ConfigError, "nscg"),
        ({"kind": "ease", "repeats": True}, ConfigError, "Interactions do not hold"),
        ({"kind": "ease", "reading": ReadOptions(basket_column="b")}, ConfigError, "add --repeats"),
        ({"kind": "ease", "resume": True, "study": Path("nowhere.study")}, CheckpointError, "nowhere.study"),
    ],
)  # fmt: skip
def test_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        tune(interactions(), **options)


def test_too_few_users(tmp_path: Path) -> None:
    matrix = sp.csr_matrix(np.ones((2, 3), dtype=np.float32))
    few = Interactions(matrix, IdMap(["a", "b"]), IdMap(["x", "y", "z"]), None, np.ones(6, dtype=np.int32))
    with pytest.raises(DataError, match="three users with two items or more"):
        tune(few, kind="ease")
    path = events("user_id,item_id,order_number\na,x,1\nb,y,1\nc,x,1\nc,y,2\n", tmp_path / "few.csv")
    with pytest.raises(DataError, match="baskets"):
        tune(path, kind="frequency", repeats=True)


def test_metrics_are_parsed() -> None:
    assert parse_metric("ndcg@20") == ("ndcg", 20)
    assert parse_metric("recall@5") == ("recall", 5)
