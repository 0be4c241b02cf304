"""Tests of the fit on all users that follows the measurement: what is fitted, what is said, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae, tenth

import recae as package
from recae.errors import ConfigError, TrainingError
from recae.interactions import Interactions
from recae.modelfile import load
from recae.models import Blend, Ease
from recae.pipeline import train
from recae.recommender import TEST, Recommender
from recae.selection import refit as refitting
from recae.selection.fit import fit_simple, make_settings
from recae.selection.progress import Progress
from recae.splits.held_out import hold_out
from recae.training import checkpoint
from recae.training.callbacks import Hooks

SMALL: dict[str, Any] = {"factors": 8, "epochs": 4, "seed": 1}


def purchases(n_users: int = 90, n_items: int = 24, seed: int = 2) -> Interactions:
    """Users of three tastes."""
    rng = np.random.default_rng(seed)
    taste = np.arange(n_users)[:, None] % 3 == np.arange(n_items) % 3
    owned = rng.random((n_users, n_items)) < np.where(taste, 0.5, 0.1)
    owned[:, :2] |= owned.sum(1, keepdims=True) < 2
    return package.read(sp.csr_matrix(owned.astype(np.float32))).interactions


def learned_from(data: Interactions, seed: int = 1) -> sp.csr_matrix:
    """What the model that is measured has learned from: the learners, and what is not held out to choose on."""
    held_out = hold_out(data, seed)
    assert held_out.validation is not None
    return sp.vstack([data.matrix[held_out.learners], held_out.validation[0]], format="csr")


def measured(data: Interactions, **settings: Any) -> tuple[Recommender, list[str]]:
    """The model that was measured, which is written where the fit on all users fails; and the messages."""

    def fail(*_: Any, **__: Any) -> None:
        raise TrainingError("too little memory")

    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refitting, "fit_kind", fail)
        patch.setattr(refitting, "fit_parts", fail)
        return train(data, progress=Progress(on_message=told.append), **settings), told


def test_the_sigmoid_is_the_one_of_the_best_epoch_on_all_users() -> None:
    """The same steps over everybody as a training whose validation says that this epoch was the best."""
    data = purchases()
    found = train(data, kind="sigmoid", **SMALL)
    best = found.metadata["best_epochs"]["sigmoid"]
    recalls = [entry["recall@20"] for entry in found.metadata["history"]]
    assert recalls[best - 1] == max(recalls)
    assert recalls.index(max(recalls)) == best - 1
    asked: list[int] = []

    def peak(model: Any) -> float:
        asked.append(1)
        return float(len(asked) == best)

    values = {**found.model.config(), "patience": 100}
    expected, _ = fit_simple("sigmoid", data.matrix, make_settings("sigmoid", values), Hooks(validate=peak))
    assert len(asked) == 4
    for name, array in expected.arrays().items():
        # a validation in the middle consolidates the decoder, which rounds it once more
        np.testing.assert_allclose(found.model.arrays()[name], array, rtol=0, atol=5e-6)
    assert found.metadata["refit"] == {"users": 90}


def test_ease_is_the_inverse_over_all_users() -> None:
    data = purchases()
    model = train(data, kind="ease", seed=1).model
    assert isinstance(model, Ease)
    X = data.matrix.toarray().astype(np.float64)
    l2 = model.config()["l2"]
    assert isinstance(l2, float)
    learners, _ = measured(data, kind="ease", seed=1)
    assert learners.model.config() == model.config()  # by the purchases that were learned from
    assert l2 == round(20 * np.sqrt(learned_from(data).nnz / X.shape[1]), 2)
    P = np.linalg.inv(X.T @ X + l2 * np.eye(X.shape[1]))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    np.testing.assert_allclose(model.score(data.matrix), X @ B, atol=2e-5)
    assert np.abs(learners.model.score(data.matrix) - X @ B).max() > 1e-3


def test_a_blend_keeps_weights_and_spreads_and_the_figures_stay() -> None:
    data = purchases()
    settings = {**SMALL, "components": "sigmoid,itemknn,popularity"}
    (one, _), all_of_them = measured(data, **settings), train(data, **settings)
    assert one.metadata["metrics"] == all_of_them.metadata["metrics"]
    assert one.metadata["history"] == all_of_them.metadata["history"]
    assert "refit" not in one.metadata
    assert isinstance(one.model, Blend)
    assert isinstance(all_of_them.model, Blend)
    assert one.held_out is not None
    assert all_of_them.held_out is not None
    learned = int(
        (all_of_them.held_out != TEST).sum()
    )  # the others are those chosen on, which have taught it, too
    for before, after in zip(one.model.parts, all_of_them.model.parts, strict=True):
        assert before.model.kind == after.model.kind
        assert before.model.config() == after.model.config()
        assert before.weight == after.weight
        if before.model.kind == "popularity":  # counts of owners grow with the users
            ratio = after.model.arrays()["counts"].std() / before.model.arrays()["counts"].std()
            assert after.spread[0] == pytest.approx(before.spread[0] * ratio)
        else:
            assert before.spread == after.spread
        if before.model.kind != "sigmoid":
            alone, _ = fit_simple(
                after.model.kind, data.matrix, make_settings(after.model.kind, after.model.config())
            )
            np.testing.assert_array_equal(alone.score(data.matrix), after.model.score(data.matrix))
    assert learned < data.n_users
    np.testing.assert_array_equal(all_of_them.held_out, hold_out(data, 1).codes)
    assert one.learners is not None
    assert all_of_them.learners is not None
    assert (int(one.learners.sum()), int(all_of_them.learners.sum())) == (learned, data.n_users)


def test_confidence_is_that_of_all_users(tmp_path: Path) -> None:
    rows = ["user,item,time"]
    rows += [f"u{u},i{(u * k) % 17},2024-{1 + (u + k) % 12:02}-01" for u in range(40) for k in range(1, 7)]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    seen: list[tuple[int, float]] = []
    real = refitting.fit_kind

    def spy(kind: str, values: Any, matrix: Any, validation: Any = None, hooks: Any = None) -> Any:
        seen.append((matrix.nnz, float(hooks.confidence.mean())))
        return real(kind, values, matrix, validation, hooks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refitting, "fit_kind", spy)
        found = package.train(tmp_path / "t.csv", "ease", half_life=30)
    assert found.histories is not None
    assert seen == [(found.histories.nnz, pytest.approx(1, abs=1e-3))]


def test_everybodys_baskets_with_repeats(tmp_path: Path) -> None:
    rows = ["user,item,basket,time"]
    rows += [
        f"u{u},i{(u + k * b) % 9},b{u}-{b},2024-01-{b + 1:02}"
        for u in range(30)
        for b in range(4)
        for k in range(3)
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    found = package.train(tmp_path / "t.csv", "frequency", repeats=True, seed=1)
    assert found.histories is not None
    owners = np.bincount(found.histories.indices, minlength=len(found.items)) / len(found.users or ())
    np.testing.assert_allclose(found.model.arrays()["shares"], owners, rtol=1e-6)
    assert found.refitted


def test_nothing_is_fitted_again_where_nobody_is_held_out() -> None:
    found = train([("a", "x"), ("b", "y"), ("b", "x")], kind="popularity")
    assert found.metadata["metrics"] is None
    assert not found.refitted


def test_auto_writes_what_has_learned_from_all(tmp_path: Path) -> None:
    data = purchases()
    found = train(data, kind="auto", candidates="ease", budget=60, seed=1)
    kind = found.metadata["auto"]["chosen"]
    assert found.refitted
    expected, _ = fit_simple(kind, data.matrix, make_settings(kind, found.model.config()))
    np.testing.assert_array_equal(found.model.score(data.matrix), expected.score(data.matrix))


def test_a_failure_leaves_the_model_that_was_measured() -> None:
    data = purchases()
    found, told = measured(data, kind="ease", seed=1)
    assert told[-1].startswith(
        "warning: the fit on all users failed (too little memory); the model is the one that was"
    )
    assert not found.refitted
    expected, _ = fit_simple("ease", learned_from(data), make_settings("ease", found.model.config()))
    np.testing.assert_array_equal(found.model.score(data.matrix), expected.score(data.matrix))
    assert found.learners is not None
    assert found.learners.tolist() == (hold_out(data, 1).codes != TEST).tolist()


def test_without_the_fit_on_all_nobody_held_out_has_taught_it() -> None:
    data = purchases()
    found = train(data, kind="ease", seed=1, refit=False)
    learners = sp.csr_matrix(data.matrix[hold_out(data, 1).learners])
    expected, _ = fit_simple("ease", learners, make_settings("ease", found.model.config()))
    np.testing.assert_array_equal(found.model.score(data.matrix), expected.score(data.matrix))


def test_an_interrupted_fit_on_all_goes_on_to_the_same_file(tmp_path: Path) -> None:
    source = tmp_path / "purchases.csv"
    source.write_text(tenth())
    options = ("train", source, "--factors", "8", "--epochs", "3", "--seed", "1", "--set")
    options += ("components=sigmoid,popularity",)
    assert recae(*options, "--out", tmp_path / "straight.recae").exit_code == 0
    resumed = ("--out", tmp_path / "m.recae", "--checkpoint", tmp_path / "c", "--checkpoint-every", "90")
    save, paths = checkpoint.Checkpoints.save, []

    def interrupting(self: Any, *arguments: Any) -> None:
        save(self, *arguments)
        paths.append(self.path.name)
        if paths.count("c.refit") == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", interrupting)
        result = recae(*options, *resumed)
    assert result.exit_code == 130
    assert "c.refit' holds epoch 1 after" in result.stderr.splitlines()[-1]
    result = recae(*options, *resumed, "--resume")
    assert result.exit_code == 0
    assert [
        line
        for line in result.stderr.splitlines()
        if "going on from epoch 1 after" in line and "c.refit" in line
    ]
    assert (tmp_path / "m.recae").read_bytes() == (tmp_path / "straight.recae").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.recae", "purchases.csv", "straight.recae"]


def test_the_files_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("purchases.csv").write_text(tenth())
    for options, words, summary in (
        (
            (),
            "all users, once the figures were measured",
            "before it was fitted once more on all 200 users",
        ),
        (("--no-refit",), "the users not held out", "on 20 held-out users\n"),
    ):
        result = recae("train", "purchases.csv", "--kind", "popularity", *options)
        assert result.exit_code == 0
        assert ("fitted once more on all 200 users" in result.stderr.splitlines()[-2]) == (not options)
        assert f"learned from\t{words}\n" in recae("inspect").stdout
        assert summary in repr(load("model.recae"))


def test_figures_of_purchases_that_were_learned_from_are_refused() -> None:
    """With the histories given, held-out users of the measurement would look as if they were new."""
    data = purchases()
    parts = [(f"{u}", f"{i}") for u, i in zip(*data.matrix.nonzero(), strict=True)]
    seen, hidden = parts[::2], parts[1::2]
    refitted = train(data, kind="ease", seed=1)
    with pytest.raises(ConfigError, match=r"has learned from \d+ of the \d+ purchases .*--no-refit"):
        refitted.evaluate(hidden, histories=seen)
    new = [(f"new{u}", i) for u, i in parts]
    assert refitted.evaluate(new[1::2], histories=new[::2])
    before = train(data, kind="ease", seed=1, refit=False)
    assert before.users is not None
    assert before.learners is not None
    held = {before.users.id(row) for row in np.flatnonzero(~before.learners)}
    assert before.evaluate([p for p in hidden if p[0] in held], histories=[p for p in seen if p[0] in held])
