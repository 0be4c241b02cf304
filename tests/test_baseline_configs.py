"""The baselines' configurations: ranges, what is chosen from the data, and what the model file keeps of them."""

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.kinds import find, model_class
from recae.models import ItemKNN, Popularity
from recae.selection.fit import fit_simple
from recae.training.callbacks import Hooks
from recae.training.kinds.baselines import (
    NEIGHBOURS,
    AlsSettings,
    BprSettings,
    ItemKNNSettings,
    PopularitySettings,
    fit_als,
    fit_bpr,
    fit_itemknn,
    resolve_als,
    resolve_bpr,
)

CONFIGS = {
    "popularity": PopularitySettings,
    "itemknn": ItemKNNSettings,
    "als": AlsSettings,
    "bpr": BprSettings,
}


@pytest.fixture(scope="module")
def purchases() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    return sp.csr_matrix((rng.random((60, 25)) < 0.25).astype(np.float32))


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (PopularitySettings, {"seed": (-1, 2**63, 0.5, True)}),
        (ItemKNNSettings, {"k": (0, 2.5, 100_001), "seed": (-1,)}),
        (
            AlsSettings,
            {
                "factors": (0, 5000, 1.5),
                "iterations": (0, 10_001),
                "regularization": (0, -1, float("nan"), float("inf")),
                "alpha": (0, 2e6, "1"),
                "seed": (-1,),
            },
        ),
        (
            BprSettings,
            {
                "factors": (0, 4097),
                "iterations": (0, 1e3),
                "learning_rate": (0, 11, float("nan")),
                "regularization": (0, 11),
                "others": (0, 2_000_000),
                "seed": (-1,),
            },
        ),
    ],
)
def test_values_out_of_range(config, values):
    for name, wrong in values.items():
        for value in wrong:
            with pytest.raises(ConfigError, match=f"^{name} is a (whole )?number .*, found "):
                config(**{name: value})


@pytest.mark.parametrize("weighting", ["BM25", "", None, 3])
def test_weightings_are_listed(weighting):
    with pytest.raises(ConfigError, match=r"weighting is one of bm25, tfidf, cosine, found "):
        ItemKNNSettings(weighting=weighting)


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_is_fitted_by_its_defaults(purchases, kind):
    assert find(kind).settings_class() is CONFIGS[kind]
    told = []
    model, epochs = fit_simple(kind, purchases, CONFIGS[kind](seed=7), Hooks(on_message=told.append))
    assert type(model) is model_class(kind)
    assert epochs == []
    config = model.config()
    assert config["seed"] == 7
    assert set(config) == set(CONFIGS[kind]().as_dict())
    assert None not in config.values()
    assert CONFIGS[kind](**config).as_dict() == config  # what was resolved can be asked for again
    again, _ = fit_simple(kind, purchases, CONFIGS[kind](**config))
    assert again.score(purchases).tobytes() == model.score(purchases).tobytes()
    restored = type(model).from_arrays(config, model.arrays(), 25)
    assert restored.config() == config


def test_what_is_not_given_is_chosen_and_what_is_given_stays(purchases):
    chosen = resolve_als(AlsSettings(), purchases)
    assert chosen.factors == 25  # no more than items
    assert chosen.regularization > 0
    assert chosen.alpha > 0
    wide = sp.csr_matrix((3, 5000), dtype=np.float32)
    assert resolve_als(AlsSettings(), wide).factors == resolve_als(AlsSettings(), wide[:, :1000]).factors > 25
    given = AlsSettings(factors=3, regularization=0.25, alpha=2.0, iterations=4, seed=1)
    assert resolve_als(given, purchases) == given
    assert resolve_bpr(BprSettings(), purchases).factors == 25
    assert resolve_bpr(BprSettings(), wide).factors > 25
    given = BprSettings(factors=3, regularization=0.25, learning_rate=0.1, iterations=4, seed=1)
    assert resolve_bpr(given, purchases) == given


def test_the_settings_reach_the_model(purchases):
    als, _ = fit_als(purchases, AlsSettings(factors=3, regularization=0.25, alpha=2.0), Hooks())
    assert (als.item_factors.shape, als.regularization, als.alpha) == ((25, 3), 0.25, 2.0)
    bpr, _ = fit_bpr(purchases, BprSettings(factors=3, regularization=0.25, others=11), Hooks())
    assert (bpr.item_factors.shape, bpr.regularization, bpr.others.shape) == ((25, 3), 0.25, (11,))
    knn, _ = fit_itemknn(purchases, ItemKNNSettings(k=4, weighting="bm25"), Hooks())
    assert (knn.k, knn.weighting) == (4, "bm25")
    assert (
        knn.score(purchases).tobytes()
        == ItemKNN.fit(purchases, k=4, weighting="bm25").score(purchases).tobytes()
    )
    for name, value in (
        ("factors", 3),
        ("iterations", 2),
        ("regularization", 0.5),
        ("alpha", 4.0),
        ("seed", 5),
    ):
        changed, _ = fit_als(purchases, AlsSettings(**{name: value}), Hooks())
        assert (
            changed.score(purchases).tobytes()
            != fit_als(purchases, AlsSettings(), Hooks())[0].score(purchases).tobytes()
        )
    for name, value in (
        ("factors", 3),
        ("iterations", 2),
        ("regularization", 0.5),
        ("learning_rate", 0.2),
        ("seed", 5),
    ):
        changed, _ = fit_bpr(purchases, BprSettings(**{name: value}), Hooks())
        assert (
            changed.score(purchases).tobytes()
            != fit_bpr(purchases, BprSettings(), Hooks())[0].score(purchases).tobytes()
        )


def test_k_is_chosen_by_what_validation_says(purchases):
    asked, told = [], []

    def validate(model):
        asked.append(model.k)
        return {10: 0.5, 50: 0.5}.get(model.k, 0.25)

    hooks = Hooks(validate=validate, on_message=told.append)
    model, _ = fit_itemknn(purchases, ItemKNNSettings(), hooks)
    assert asked == list(NEIGHBOURS)
    assert model.k == model.config()["k"] == 10  # the first of two that are equally good
    assert told == ["item-kNN: k = 10 is the best of 6 on the validation users"]
    asked.clear()
    assert fit_itemknn(purchases, ItemKNNSettings(k=3), hooks)[0].k == 3
    assert asked == []
    assert fit_itemknn(purchases, ItemKNNSettings(), Hooks())[0].config()["k"] == 20


def test_files_written_before_there_were_settings(purchases):
    knn = ItemKNN.fit(purchases, k=4)
    assert knn.config() == {"k": 4, "weighting": "tfidf"}
    old = ItemKNN.from_arrays({"k": 4, "weighting": "tfidf"}, knn.arrays(), 25)
    assert old.config() == {"k": 4, "weighting": "tfidf"}
    popularity = Popularity.fit(purchases)
    assert Popularity.from_arrays({}, popularity.arrays(), 25).config() == popularity.config() == {}


def test_blas_has_its_threads_back(purchases):
    from threadpoolctl import threadpool_info, threadpool_limits

    with threadpool_limits(2, user_api="blas"):
        before = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        fit_als(purchases, AlsSettings(factors=3), Hooks())
        after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert before == after


@pytest.mark.filterwarnings("error")
def test_fitting_warns_of_nothing(purchases, monkeypatch):
    import implicit.utils

    monkeypatch.setattr(implicit.utils, "_checked_blas_config", False)
    fit_als(purchases, AlsSettings(factors=3), Hooks())
    fit_bpr(purchases, BprSettings(factors=3), Hooks())
