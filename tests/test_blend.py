"""Blends: the weighted sum, its file, how the weights are chosen, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recae.cli.inspect import settings_toml
from recae.errors import ConfigError, ModelFileError, TrainingError
from recae.evaluation import evaluate
from recae.ids import IdMap
from recae.kinds import SETTINGS
from recae.modelfile import load, save
from recae.models import Blend, ItemKNN, Model, Popularity, find_encoder
from recae.models.blend import Part, learned_part
from recae.recommender import Recommender
from recae.selection.blend import BlendSettings, choose_components, fit_blend
from recae.selection.fit import fit_kind, make_settings
from recae.selection.weights import STEPS, Candidates, _steps, fit_spread
from recae.settings_toml import read_toml
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints
from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import train_sigmoid

put_together = partial(fit_blend, fit=fit_kind)
QUICK = {"components": "sigmoid,itemknn", "sigmoid.factors": 8, "sigmoid.epochs": 4, "itemknn.k": 5}


def purchases(n_users: int = 120, n_items: int = 40, seed: int = 0) -> sp.csr_matrix:
    """Users of four tastes, each with a quarter of the items and some noise."""
    rng = np.random.default_rng(seed)
    taste = np.arange(n_users)[:, None] % 4 == np.arange(n_items) % 4
    owned = rng.random((n_users, n_items)) < np.where(taste, 0.5, 0.04)
    owned[:, 0] |= owned.sum(1) < 2
    owned[:, 1] |= owned.sum(1) < 2
    return sp.csr_matrix(owned.astype(np.float32))


def pair(seed: int = 5) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    from recae.splits.parts import fold_in_split

    return fold_in_split(purchases(60, seed=seed), 0.3, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def parts() -> list[Model]:
    matrix = purchases()
    model, _ = train_sigmoid(matrix, SigmoidSettings(factors=8, epochs=6, seed=1))
    return [model, ItemKNN.fit(matrix, k=5), Popularity.fit(matrix)]


def test_score_is_the_weighted_sum_of_what_each_part_says(parts: list[Model]) -> None:
    weights, spreads = [0.5, 0.3, 0.2], [(0.7, 0.4), (2.0, -0.3), (5.0, 0.0)]
    model = Blend(tuple(Part(*part) for part in zip(parts, weights, spreads, strict=True)), {})
    histories = purchases(9, seed=3)
    histories = sp.vstack([histories, sp.csr_matrix((1, 40), dtype=np.float32)]).tocsr()
    scores = model.score(histories)
    for row in range(10):
        history = sp.csr_matrix(histories[row])
        m = max(history.nnz, 1)
        expected = sum(
            weight * part.score(history)[0].astype(np.float64) / (a * m**b)
            for part, weight, (a, b) in zip(parts, weights, spreads, strict=True)
        )
        np.testing.assert_allclose(scores[row], expected, rtol=2e-5, atol=1e-5)


def test_a_file_brings_the_blend_back(parts: list[Model], tmp_path: Path) -> None:
    model = Blend((Part(parts[0], 0.6, (0.5, 0.1)), Part(parts[1], 0.4, (1.5, 0.2))), {"seed": 3})
    recommender = Recommender(model, None, IdMap([f"i{n:02}" for n in range(40)]))
    save(recommender, tmp_path / "blend.recae")
    again = load(tmp_path / "blend.recae").model
    histories = purchases(7, seed=8)
    assert again.score(histories).tobytes() == model.score(histories).tobytes()
    assert again.config() == model.config()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": []}, "lists no parts"),
        ({"parts": "sigmoid"}, "lists no parts"),
        ({"parts": [7]}, "part 0 .* of no known kind"),
        ({"parts": [{"kind": "blend", "config": {}, "weight": 1.0, "spread": [1.0, 0.0]}]}, "no known kind"),
        ({"parts": [{"kind": "popularity", "weight": 1.0, "spread": [1.0, 0.0]}]}, "lacks its configuration"),
        ({"parts": [{"kind": "popularity", "config": {}, "weight": 1.0, "spread": 2}]}, "or spread"),
        ({"parts": [{"kind": "popularity", "config": {}, "weight": -1.0, "spread": [1.0, 0.0]}]}, "'weight'"),
        ({"parts": [{"kind": "popularity", "config": {}, "weight": 1.0, "spread": [0.0, 0.0]}]}, "'0'"),
    ],
)
def test_a_damaged_configuration_is_refused(parts: list[Model], change: dict[str, Any], message: str) -> None:
    model = Blend((Part(parts[2], 1.0, (1.0, 0.0)),), {})
    with pytest.raises(ModelFileError, match=message):
        Blend.from_arrays(model.config() | change, model.arrays(), 40)


def test_a_blend_has_the_codes_of_its_autoencoder(parts: list[Model]) -> None:
    with_codes = Blend((Part(parts[1], 0.5, (1.0, 0.0)), Part(parts[0], 0.5, (1.0, 0.0))), {})
    assert find_encoder(with_codes) is parts[0]
    assert find_encoder(parts[0]) is parts[0]
    assert find_encoder(Blend((Part(parts[1], 1.0, (1.0, 0.0)),), {})) is None
    assert find_encoder(parts[2]) is None


def test_the_epochs_of_a_blend_are_those_of_its_trained_part(parts: list[Model]) -> None:
    blend = Blend((Part(parts[1], 0.5, (1.0, 0.0)), Part(parts[0], 0.5, (1.0, 0.0))), {})
    assert learned_part(blend) is parts[0]
    assert learned_part(parts[0]) is parts[0]
    counted = Blend((Part(parts[1], 1.0, (1.0, 0.0)),), {})
    assert learned_part(counted) is None
    history = {"history": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]}
    for model, said in ((blend, "sigmoid part: 2 epochs"), (counted, None)):
        ids = IdMap([f"i{n}" for n in range(model.n_items)])
        facts = dict(Recommender(model, None, ids, metadata=history).summary().facts)
        assert facts.get("trained", "").startswith(said) if said else "trained" not in facts


class _Spread(Popularity):
    """Scores with a deviation of 3·m^0.7."""

    def score(self, histories: sp.csr_matrix) -> np.ndarray:
        rows = np.random.default_rng(1).standard_normal((histories.shape[0], self.n_items))
        rows = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
        return (rows * 3 * np.diff(histories.indptr)[:, None] ** 0.7).astype(np.float32)


def test_the_spread_is_found() -> None:
    model = _Spread.fit(purchases())
    a, b = fit_spread(model, purchases(50, seed=2))
    assert (a, b) == (pytest.approx(3, rel=1e-4), pytest.approx(0.7, rel=1e-3))
    alike = sp.csr_matrix(np.tile(purchases(1, seed=2).toarray(), (4, 1)))
    m = alike[:1].nnz
    assert fit_spread(model, alike) == (pytest.approx(3 * m**0.7, rel=1e-4), 0.0)
    assert fit_spread(model, sp.csr_matrix((3, 40), dtype=np.float32)) == (1.0, 0.0)


def test_the_candidates_measure_what_the_evaluation_does(parts: list[Model]) -> None:
    candidates = Candidates.of(parts, pair())
    assert candidates.spreads == tuple(fit_spread(part, pair()[0]) for part in parts)
    for weights in ([1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]):
        together = zip(parts, weights, candidates.spreads, strict=True)
        blend = Blend(tuple(Part(*part) for part in together if part[1]), {})
        expected = evaluate(blend, *pair(), (20,)).values["ndcg@20"]
        np.testing.assert_allclose(candidates.values(np.array(weights)), expected, atol=1e-6)


def made_up(scores: np.ndarray, hits: np.ndarray) -> Candidates:
    """Candidates whose scores (P, B, C) and held-out items (B, C) are given."""
    ideal = np.cumsum(1 / np.log2(np.arange(2, 22)))[np.clip(hits.sum(1), 1, 20) - 1]
    spreads = ((1.0, 0.0),) * len(scores)
    return Candidates(scores.astype(np.float32), hits, ideal, spreads)


def noisy(n_users: int, deviations: list[float], seed: int = 0) -> Candidates:
    """Models that see what is wanted through noise of their own, and some held-out items of each user."""
    rng = np.random.default_rng(seed)
    hits = rng.random((n_users, 60)) < 0.1
    hits[:, 0] |= ~hits.any(axis=1)
    noise = rng.standard_normal((len(deviations), n_users, 60))
    return made_up(hits + noise * np.array(deviations)[:, None, None], hits)


def test_two_that_see_different_things_are_blended_nearly_alike() -> None:
    weights = noisy(600, [1.0, 1.0]).choose()
    assert weights.sum() == pytest.approx(1, abs=1e-3)
    assert weights == pytest.approx([0.5, 0.5], abs=0.12)


def test_the_choice_is_nearly_as_good_as_the_best_of_a_grid() -> None:
    candidates = noisy(600, [0.8, 1.2, 1.0])
    grid = [np.array([a, b, 1 - a - b]) for a in np.linspace(0, 1, 11) for b in np.linspace(0, 1 - a, 6)]
    best = max(candidates.ndcg(np.maximum(weights, 0)) for weights in grid)
    assert candidates.ndcg(candidates.choose()) >= best - 0.01


def test_what_brings_nothing_is_left_out() -> None:
    """Pure noise beside a good model: neither on many users nor on a small number is it taken."""
    for n_users in (40, 600):
        for seed in range(5):
            weights = noisy(n_users, [0.5, 1e6], seed).choose()
            assert weights.tolist() == [1.0, 0.0]


def test_a_copy_of_the_best_part_brings_nothing() -> None:
    one = noisy(300, [1.0])
    both = made_up(np.concatenate([one.scores, one.scores]), one.hits)
    assert sorted(both.choose().tolist()) == [0.0, 1.0]


def test_the_weight_of_a_step_is_in_units_of_the_others() -> None:
    candidates, others = noisy(10, [1.0, 1.0, 1.0]), np.array([0.6, 0.4, 0.0])
    found = candidates._with(others, 2, _steps(others, 2, None)[-1])
    assert found == pytest.approx(np.array([0.6, 0.4, STEPS[-1] * 0.5]) / (1 + STEPS[-1] * 0.5))


def test_the_weight_of_step_1_is_the_present_one_where_there_is_one() -> None:
    candidates, present = noisy(10, [1.0, 1.0, 1.0]), np.array([0.5, 0.3, 0.2])
    for part in range(3):
        others = candidates._without(present, part)
        same = candidates._with(others, part, _steps(others, part, present)[STEPS.index(1.0)])
        assert same == pytest.approx(present)


def test_fitted_on_validation_users() -> None:
    told: list[str] = []
    model, epochs, report = put_together(
        purchases(), make_settings("blend", QUICK), pair(), Hooks(on_message=told.append)
    )
    assert isinstance(model, Blend)
    assert epochs
    assert epochs[0].recall is not None
    reached = report["blend"]["validation_ndcg@20"]
    assert reached["blend"] >= max(reached["sigmoid"], reached["itemknn"])
    assert evaluate(model, *pair(), (20,)).mean("ndcg@20") == pytest.approx(reached["blend"], abs=1e-4)
    assert any("fitting sigmoid" in line for line in told)
    assert told[-1].startswith("validation NDCG@20: sigmoid 0.")


def test_without_validation_users_some_purchases_are_held_out() -> None:
    seen: list[sp.csr_matrix] = []

    def spy(kind: str, settings: Any, matrix: sp.csr_matrix, validation: Any, hooks: Hooks) -> Any:
        seen.append(matrix)
        assert hooks.validate is None
        return fit_kind(kind, settings, matrix, validation, hooks)

    matrix = purchases()
    fit_blend(matrix, make_settings("blend", QUICK), None, Hooks(), fit=spy)
    first, last = seen[0], seen[-1]
    assert last is matrix
    assert 0.7 * matrix.nnz < first.nnz < 0.85 * matrix.nnz
    assert ((first - matrix) > 0).nnz == 0  # nothing that was not bought


def test_a_part_without_weight_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Candidates, "choose", lambda self: np.array([0.0, 1.0]))
    settings = {"components": "ease,itemknn", "itemknn.k": 5}
    model, _ = fit_kind("blend", settings, purchases(), pair())
    assert isinstance(model, Blend)
    assert [part.model.kind for part in model.parts] == ["itemknn"]
    model, _ = fit_kind("blend", settings, purchases())
    assert [part["kind"] for part in _described(model)] == ["itemknn"]


@pytest.mark.parametrize("validation", [True, False])
def test_what_was_given_for_a_part_that_is_left_out_stays(
    validation: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another l2 might give EASE a weight, so that the settings would train another blend without it."""
    monkeypatch.setattr(Candidates, "choose", lambda self: np.array([0.0, 1.0]))
    settings = {"components": "ease,itemknn", "ease.l2": 9.0, "itemknn.k": 5}
    model, _ = fit_kind("blend", settings, purchases(), pair() if validation else None)
    found = {name: value for name, value in model.config().items() if name != "parts"}
    assert found == {"components": "ease,itemknn", "seed": 0, "ease.l2": 9.0}
    text = settings_toml("blend", model.config(), {}, {})
    (tmp_path / "s.toml").write_text(text)
    given = read_toml(tmp_path / "s.toml", "blend", SETTINGS["blend"], kinds=SETTINGS)
    assert given.items() >= settings.items()


def _described(model: Model) -> list[Mapping[str, Any]]:
    described = model.config()["parts"]
    assert isinstance(described, list)
    return [part for part in described if isinstance(part, dict)]


def test_the_same_seed_gives_the_same_bits() -> None:
    one, _ = fit_kind("blend", QUICK, purchases(), pair())
    two, _ = fit_kind("blend", QUICK, purchases(), pair())
    assert one.score(pair()[0]).tobytes() == two.score(pair()[0]).tobytes()
    assert one.config() == two.config()


def test_the_parts_of_a_blend_that_chooses_them() -> None:
    new, again = choose_components(False), choose_components(True)
    assert new == ("sigmoid", "sparse-linear", "ease", "spectral", "itemknn", "popularity")
    assert again == (*new, "frequency")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": "sigmoid"}, "two or more different kinds"),
        ({"components": "sigmoid,sigmoid"}, "two or more different kinds"),
        ({"components": "sigmoid,nonsense"}, "found 'nonsense'"),
        ({"components": "sigmoid,itemknn", "popularity.seed": 1}, "sets nothing"),
        ({"sigmoid.nonsense": 1}, "sigmoid has no setting 'nonsense'"),
        ({"nonsense.factors": 1}, "no part 'nonsense'"),
        ({"components": "sigmoid,itemknn", "sigmoid.factors": -1}, "factors"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings("blend", settings)


def test_settings_of_a_part_that_was_not_chosen_are_refused() -> None:
    with pytest.raises(ConfigError, match="sets nothing"):
        BlendSettings(parts={"als.seed": 3})
    config = BlendSettings(parts={"frequency.decay": 0.5})  # a part for repeat purchases
    with pytest.raises(ConfigError, match="sets nothing"):
        put_together(purchases(), config, pair(), Hooks())


def test_checkpoints_hold_one_training(tmp_path: Path) -> None:
    config = make_settings("blend", {"components": "itemknn,popularity"})
    with pytest.raises(ConfigError, match="0 parts of this blend"):
        put_together(purchases(), config, pair(), Hooks(checkpoints=Checkpoints(tmp_path / "c")))


def test_with_nobody_to_choose_on_the_parts_weigh_the_same() -> None:
    said: list[str] = []
    alone = sp.csr_matrix(sp.identity(6, dtype=np.float32))
    model, epochs, report = put_together(
        alone, make_settings("blend", QUICK), None, Hooks(on_message=said.append)
    )
    assert [part["weight"] for part in _described(model)] == [0.5, 0.5]
    assert len(epochs) == 4
    assert report["blend"]["weights"] == {"sigmoid": 0.5, "itemknn": 0.5}
    assert np.isfinite(model.score(alone)).all()
    assert any("weigh the same" in line for line in said)


def test_settings_without_a_part_are_those_of_the_sigmoid() -> None:
    config = make_settings("blend", {"factors": 7, "epochs": 2, "seed": 4, "itemknn.k": 3})
    assert config.parts == {"sigmoid.factors": 7, "sigmoid.epochs": 2, "itemknn.k": 3}
    assert config.seed == 4
    with pytest.raises(ConfigError, match=r"'sigmoid\.factors' is given twice, once as 'factors'"):
        make_settings("blend", {"factors": 7, "sigmoid.factors": 8})
    with pytest.raises(ConfigError, match="blend has no setting 'factros'; did you mean 'factors'"):
        make_settings("blend", {"factros": 7})
    with pytest.raises(ConfigError, match="sets nothing"):
        make_settings("blend", {"components": "itemknn,ease", "factors": 7})


def test_parts_fitted_beside_the_sigmoid_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same messages, in the same order, whether or not there is a second processor."""
    found = []
    for number in (1, 2):
        monkeypatch.setattr("recae.selection.beside.processors", lambda number=number: number)
        told: list[str] = []
        settings = make_settings("blend", {**QUICK, "components": "sigmoid,ease,spectral,itemknn"})
        model, _, _ = put_together(purchases(), settings, pair(), Hooks(on_message=told.append))
        found.append((model.score(pair()[0]).tobytes(), told))
    assert found[0] == found[1]


def test_what_fails_beside_is_raised_and_what_need_not_be_there_is_left_out() -> None:
    def fit(kind: str, *arguments: Any) -> Any:
        if kind == "spectral":
            raise TrainingError("too little memory")
        return fit_kind(kind, *arguments)

    settings = {"sigmoid.factors": 4, "sigmoid.epochs": 1}
    told: list[str] = []
    model, _, report = fit_blend(
        purchases(), make_settings("blend", settings), pair(), Hooks(on_message=told.append), fit=fit
    )
    assert "spectral" not in str(model.config()["components"]).split(
        ","
    )  # or its settings could not train it again
    assert "spectral is left out: too little memory" in told
    assert set(report["blend"]["validation_ndcg@20"]) == {
        "sigmoid",
        "sparse-linear",
        "ease",
        "itemknn",
        "popularity",
        "blend",
    }
    named = make_settings("blend", {**settings, "components": "sigmoid,spectral"})
    with pytest.raises(TrainingError, match="too little memory"):
        fit_blend(purchases(), named, pair(), Hooks(), fit=fit)


def test_the_exact_part_is_a_candidate_where_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"sigmoid.factors": 4, "sigmoid.epochs": 1}
    monkeypatch.setattr("recae.selection.blend.EXACT_BYTES_AT_MOST", 4 * 40**2 - 1)
    told: list[str] = []
    hooks = Hooks(on_message=told.append)
    model, _ = fit_kind("blend", settings, purchases(), pair(), hooks)
    assert "ease" not in str(model.config()["components"]).split(",")
    assert not any("ease" in line for line in told)
    fit_kind("blend", {**settings, "ease.l2": 9.0}, purchases(), pair(), hooks)
    assert any(
        line.startswith("ease would take too long") and "ease.l2 sets nothing" in line for line in told
    )
    monkeypatch.setattr("recae.selection.blend.EXACT_BYTES_AT_MOST", 4 * 40**2)
    model, _ = fit_kind("blend", settings, purchases(), pair())
    assert "ease" in str(model.config()["components"]).split(",")


def test_no_checkpoint_of_what_is_fitted_only_to_choose_weights(tmp_path: Path) -> None:
    seen: list[int] = []

    def on_start(*facts: Any) -> None:
        seen.append(int((tmp_path / "c").exists()))

    hooks = Hooks(checkpoints=Checkpoints(tmp_path / "c"), on_start=on_start)
    put_together(purchases(), make_settings("blend", QUICK), None, hooks)
    assert seen == [0, 0]  # two trainings began, and there was none when the second did
    assert (tmp_path / "c").exists()


def test_what_is_solved_already_is_not_solved_again() -> None:
    fitted: list[str] = []

    def fit(kind: str, *arguments: Any) -> Any:
        fitted.append(kind)
        return fit_kind(kind, *arguments)

    put_together = partial(fit_blend, fit=fit)
    matrix, solved = purchases(), Hooks(solved={})
    config, other = (make_settings("blend", {**QUICK, "sigmoid.epochs": epochs}) for epochs in (4, 3))
    put_together(matrix, config, pair(), solved)
    again, _, _ = put_together(matrix, other, pair(), solved)
    assert sorted(fitted[:2]) == ["itemknn", "sigmoid"]  # one beside the other
    assert fitted[2:] == ["sigmoid"]
    fresh, _, _ = put_together(matrix, other, pair(), Hooks())
    np.testing.assert_array_equal(again.score(matrix), fresh.score(matrix))
    assert again.config() == fresh.config()
    put_together(matrix, make_settings("blend", {**QUICK, "itemknn.k": 6}), pair(), solved)
    assert sorted(fitted[-2:]) == ["itemknn", "sigmoid"]
