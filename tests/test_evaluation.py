"""evaluate: agrees with ranking one user at a time, whatever the blocks, and holds one block at a time."""

import json
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError, DataError
from recae.evaluation import METRICS, evaluate, measure
from recae.metrics import capped_recall, ndcg, recall
from recae.models import ItemKNN, Popularity
from recae.ranking import rank_histories
from recae.splits.parts import fold_in_split


@pytest.fixture(scope="module")
def data() -> tuple[sp.csr_matrix, sp.csr_matrix]:
    rng = np.random.default_rng(11)
    whole = sp.csr_matrix((rng.random((60, 30)) < rng.uniform(0.02, 0.5, 30)).astype(np.float32))
    return fold_in_split(whole, rng=rng)


class Spy:
    """A model that notes how many rows it was asked to score at a time."""

    def __init__(self, model):
        self.model, self.n_items, self.rows = model, model.n_items, []

    def score(self, histories):
        self.rows.append(histories.shape[0])
        return self.model.score(histories)


@pytest.mark.parametrize("exclude_owned", [True, False])
def test_agrees_with_one_user_at_a_time(data, exclude_owned):
    histories, held_out = data
    model = ItemKNN.fit(histories, k=10)
    result = evaluate(model, histories, held_out, (3, 5, 40), exclude_owned=exclude_owned)
    for user in range(histories.shape[0]):
        scores = model.score(histories[user])[0]
        owned = set(histories[user].indices) if exclude_owned else set()
        ranked = sorted((i for i in range(30) if i not in owned), key=lambda i: (-scores[i], i))
        ranked += [-1] * (40 - len(ranked))
        for name, metric in (("recall", recall), ("capped_recall", capped_recall), ("ndcg", ndcg)):
            for k in (3, 5, 40):
                wanted = metric(np.array([ranked]), held_out[user], k)[0]
                np.testing.assert_array_equal(result.values[f"{name}@{k}"][user], wanted)


def test_blocks_do_not_change_the_result_and_bound_the_scores(data):
    histories, held_out = data
    whole = evaluate(Popularity.fit(histories), histories, held_out)
    spy = Spy(Popularity.fit(histories))
    parts = evaluate(spy, histories, held_out, block_bytes=7 * 30 * 4)
    assert max(spy.rows) == 7
    assert sum(spy.rows) == whole.n_users
    for name, values in whole.values.items():
        np.testing.assert_array_equal(parts.values[name], values)


def test_users_with_nothing_held_out_are_left_alone(data):
    histories, held_out = data
    some = held_out.tolil()
    some[:50] = 0
    some = some.tocsr()
    some.eliminate_zeros()
    spy = Spy(Popularity.fit(histories))
    result = evaluate(spy, histories, some, (5,))
    n_users = int((np.diff(some.indptr) > 0).sum())
    assert result.n_users == sum(spy.rows) == n_users
    values = result.values["recall@5"]
    assert np.isnan(values[:50]).all()
    assert result.mean("recall@5") == pytest.approx(values[np.diff(some.indptr) > 0].mean())


EVERY = tuple(METRICS)


@pytest.mark.parametrize("exclude_owned", [True, False])
@pytest.mark.parametrize("per_block", [1, 7, 1000])
def test_measuring_ranked_lists_is_evaluating_their_model(data, exclude_owned, per_block):
    histories, held_out = data
    if not exclude_owned:  # some of it bought before
        held_out = sp.csr_matrix(held_out + histories.multiply(np.arange(30) % 3 == 0))
    some = held_out.tolil()
    some[::4] = 0
    held_out = some.tocsr()
    held_out.eliminate_zeros()
    model, asked = ItemKNN.fit(histories, k=10), {"block_bytes": per_block * 30 * 4}
    whole = evaluate(model, histories, held_out, (3, 40), metrics=EVERY, exclude_owned=exclude_owned, **asked)
    ranked = rank_histories(model, histories, 40, exclude_owned=exclude_owned, **asked).items
    parts = measure(
        ranked, held_out, (40, 3), metrics=EVERY, histories=histories, exclude_owned=exclude_owned
    )
    assert (ranked.dtype, ranked.shape) == (np.int32, (60, 40))
    assert parts.ks == whole.ks == (3, 40)
    assert list(parts.values) == list(whole.values)
    assert ("recall_repeat@3" in whole.values) is not exclude_owned
    for name, values in whole.values.items():
        np.testing.assert_array_equal(parts.values[name], values)
    assert np.isnan(parts.values["mrr@3"][::4]).all()


def test_only_the_metrics_asked_for(data):
    result = evaluate(Popularity.fit(data[0]), *data, (5, 1), metrics=("mrr", "map"))
    assert list(result.values) == ["mrr@1", "mrr@5", "map@1", "map@5"]


def test_ranking_holds_one_block_at_a_time_and_every_user(data):
    spy = Spy(Popularity.fit(data[0]))
    parts = rank_histories(spy, data[0], 5, block_bytes=7 * 30 * 4).items
    assert (max(spy.rows), sum(spy.rows)) == (7, 60)
    np.testing.assert_array_equal(parts, rank_histories(spy, data[0], 5).items)
    assert rank_histories(spy, data[0][:0], 5).items.shape == (0, 5)


class Given:
    """A model with the same scores for everybody."""

    def __init__(self, scores):
        self.scores, self.n_items = np.array(scores, dtype=np.float32), len(scores)

    def score(self, histories):
        return np.tile(self.scores, (histories.shape[0], 1))


def test_of_equal_scores_the_lower_item_number_comes_first():
    histories = sp.csr_matrix(np.array([[0, 0, 1, 0, 0]], dtype=np.float32))
    held_out = sp.csr_matrix(np.array([[0, 1, 0, 0, 1]], dtype=np.float32))
    model = Given([1, 1, 1, 1, 1])
    assert rank_histories(model, histories, 4).items.tolist() == [[0, 1, 3, 4]]
    result = evaluate(model, histories, held_out, (1, 2, 4), metrics=EVERY)
    assert result.mean("mrr@4") == 1 / 2
    assert [result.mean(f"recall@{k}") for k in (1, 2, 4)] == [0, 1 / 2, 1]
    assert result.mean("map@4") == (1 / 2 + 2 / 4) / 2


def test_k_larger_than_the_catalogue_counts_missing_places_as_misses():
    histories = sp.csr_matrix(np.array([[1, 0, 0]], dtype=np.float32))
    held_out = sp.csr_matrix(np.array([[0, 0, 1]], dtype=np.float32))
    model = Given([3, 2, 1])
    assert rank_histories(model, histories, 10).items.tolist() == [[1, 2, *[-1] * 8]]
    result = evaluate(model, histories, held_out, (10,), metrics=EVERY)
    wanted = {"recall": 1, "capped_recall": 1, "precision": 0.1, "hit_rate": 1, "map": 0.5, "mrr": 0.5}
    for name, value in wanted.items():
        assert result.mean(f"{name}@10") == value
    assert result.mean("ndcg@10") == pytest.approx(1 / np.log2(3))


def test_a_model_that_returns_fewer_than_k_items():
    nan = np.nan  # no score: not ranked, whereas -inf is
    histories = sp.csr_matrix((2, 5), dtype=np.float32)
    held_out = sp.csr_matrix(np.array([[0, 1, 0, 0, 0], [1, 0, 0, 1, 0]], dtype=np.float32))
    model = Given([nan, 2, nan, -np.inf, nan])
    assert rank_histories(model, histories, 4).items.tolist() == [[1, 3, -1, -1]] * 2
    result = evaluate(model, histories, held_out, (4,), metrics=EVERY)
    assert result.values["precision@4"].tolist() == [1 / 4, 1 / 4]
    assert result.values["recall@4"].tolist() == [1, 1 / 2]
    nothing = evaluate(Given([nan] * 5), histories, held_out, (4,), metrics=EVERY)
    assert set(nothing.means.values()) == {0.0}
    assert nothing.n_users == 2


def test_as_dict_is_json_with_means(data):
    result = evaluate(Popularity.fit(data[0]), *data, (10, 5, 10))
    assert result.ks == (5, 10)
    names = [f"{name}@{k}" for name in ("recall", "capped_recall", "ndcg") for k in (5, 10)]
    found = json.loads(json.dumps(result.as_dict()))
    assert list(found) == ["n_users", *names]
    assert found["recall@10"] == result.mean("recall@10") == result.means["recall@10"]
    with pytest.raises(ConfigError, match="'recall@7' was not measured"):
        result.mean("recall@7")


def test_what_is_bought_again_is_measured_apart(data):
    rng = np.random.default_rng(3)
    histories = data[0]
    held = sp.csr_matrix((rng.random(histories.shape) < 0.06).astype(np.float32))  # overlaps the histories
    model = ItemKNN.fit(histories, k=10)
    result = evaluate(model, histories, held, (3, 40), exclude_owned=False, block_bytes=7 * 30 * 4)
    owned, wanted = histories.toarray() > 0, held.toarray() > 0
    seen = set()
    for user in range(histories.shape[0]):
        scores = model.score(histories[user])[0]
        ranked = sorted(range(30), key=lambda i: (-scores[i], i))
        for k in (3, 40):
            for name, part in (("repeat", wanted & owned), ("new", wanted & ~owned)):
                items = set(np.flatnonzero(part[user]))
                share = len(items & set(ranked[:k])) / len(items) if items else np.nan
                np.testing.assert_array_equal(result.values[f"recall_{name}@{k}"][user], share)
                seen.add((name, bool(items)))
    assert len(seen) == 4  # users with and without each
    measured = result.values["recall_repeat@3"]
    assert result.mean("recall_repeat@3") == measured[np.isfinite(measured)].mean()
    assert result.n_users == int(wanted.any(axis=1).sum()) > np.isfinite(measured).sum()


def test_without_owned_items_nothing_is_bought_again(data):
    assert not [
        name for name in evaluate(Popularity.fit(data[0]), *data).values if "repeat" in name or "new" in name
    ]


def test_a_metric_that_nobody_has_is_null(data):
    result = evaluate(
        Popularity.fit(data[0]), *data, (5,), exclude_owned=False
    )  # held out: nothing of the history
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(result.mean("recall_repeat@5"))
        assert result.as_dict()["recall_repeat@5"] is None
    assert result.mean("recall_new@5") == result.mean("recall@5")


def test_bad_arguments(data):
    histories, held_out = data
    model = Popularity.fit(histories)
    for ks in ((), (0, 5)):
        with pytest.raises(ConfigError, match="list lengths k of at least 1"):
            evaluate(model, histories, held_out, ks)
    with pytest.raises(DataError, match="do not match"):
        evaluate(model, histories, held_out[:10])
    with pytest.raises(DataError, match="no user has an item held out"):
        evaluate(model, histories, sp.csr_matrix(histories.shape, dtype=np.float32))
    with pytest.raises(DataError, match="29"):
        evaluate(model, histories[:, :29], held_out[:, :29])
    for call in (
        evaluate,
        lambda model, h, o, **asked: measure(rank_histories(model, h, 50).items, o, **asked),
    ):
        with pytest.raises(ConfigError, match="no metric 'auc'; choose from recall"):
            call(model, histories, held_out, metrics=("auc",))
        with pytest.raises(ConfigError, match="needs a metric, but got none"):
            call(model, histories, held_out, metrics=())


def test_lists_that_cannot_be_measured(data):
    histories, held_out = data
    ranked = rank_histories(Popularity.fit(histories), histories, 5, exclude_owned=False).items
    with pytest.raises(ConfigError, match="list lengths k of at least 1"):
        measure(ranked, held_out, ())
    with pytest.raises(ConfigError, match="metrics at 6 need lists of 6 items, but they have 5"):
        measure(ranked, held_out, (5, 6))
    with pytest.raises(DataError, match="one list for each user"):
        measure(ranked[:-1], held_out, (5,))
    with pytest.raises(ConfigError, match="needs the histories"):
        measure(ranked, held_out, (5,), exclude_owned=False)
    with pytest.raises(DataError, match="do not match"):
        measure(ranked, held_out, (5,), histories=histories[:10], exclude_owned=False)
    with pytest.raises(DataError, match="no user has an item held out"):
        measure(ranked, sp.csr_matrix(histories.shape, dtype=np.float32), (5,))
    with pytest.raises(ConfigError, match="k must be at least 1"):
        rank_histories(Popularity.fit(histories), histories, 0)
    with pytest.raises(DataError, match="29"):
        rank_histories(Popularity.fit(histories), histories[:, :29], 5)
