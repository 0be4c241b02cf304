"""The functions of `import recae`: whatever holds purchases, with the command line's options as keywords."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp

import recae
from recae.errors import ColumnError, ConfigError, DataError, RecaeError, SourceError
from recae.interactions import Interactions
from recae.interface.functions import _seconds
from recae.models import Popularity
from recae.selection.executor import InProcess

RNG = np.random.default_rng(3)
DENSE = (RNG.random((40, 12)) < 0.4).astype(int)
USERS, ITEMS = np.nonzero(DENSE)
FRAME = pd.DataFrame({"user": USERS + 100, "item": [f"i{n}" for n in ITEMS]})


@pytest.fixture(scope="module")
def expected() -> Interactions:
    return recae.read(FRAME).interactions


@pytest.mark.parametrize(
    "source",
    [
        pl.from_pandas(FRAME),
        pa.Table.from_pandas(FRAME),
        FRAME.to_dict("list"),
        FRAME.to_dict("records"),
        list(FRAME.itertuples(index=False, name=None)),
        FRAME.rename(columns={"user": "buyer id"}).set_index("buyer id"),
    ],
    ids=["polars", "arrow", "columns", "records", "tuples", "index"],
)
def test_all_kinds_of_tables_are_the_same_purchases(source: Any, expected: Interactions) -> None:
    words = {"user_column": "buyer id"} if isinstance(source, pd.DataFrame) else {}
    assert recae.read_interactions(source, **words).fingerprint == expected.fingerprint


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil"])
def test_a_matrix_with_ids_is_the_same_purchases(kind: str, expected: Interactions) -> None:
    matrix = sp.csr_matrix(DENSE).asformat(kind)
    users, items = range(100, 140), np.array([f"i{n}" for n in range(12)])
    found = recae.read_interactions(matrix, users=users, items=items)
    assert found.fingerprint == expected.fingerprint
    by_number = recae.read_interactions(matrix, users=pd.Series(users))
    assert list(by_number.items) == sorted(map(str, range(12)))
    assert list(by_number.users) == list(expected.users)


def test_the_entries_of_a_matrix_are_checked() -> None:
    rows, columns = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 0])
    matrix = sp.coo_matrix((np.array([1.0, 1.0, 0.0, 2.0, 1.0, 1.0]), (rows, columns)), shape=(3, 3))
    found = recae.read(matrix, users=["a", "b", "c"], items=["x", "y", "z"])
    assert found.interactions.matrix.toarray().tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    assert [note.text for note in found.report.notes][-4:] == [
        "a matrix of 3 users × 3 items",
        "its values other than 1 count as 1, one purchase each",
        "its 1 stored zero is no purchase",
        "1 entry repeats a pair of a user and an item: each pair counts once",
    ]
    for value, message in (
        (-1.0, "1 negative value, which is no purchase; leave returns"),
        (np.nan, "not finite"),
    ):
        broken = matrix.copy()
        broken.data[3] = value
        with pytest.raises(SourceError, match=message):
            recae.read(broken)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"users": ["a"]}, "users are the ids of the matrix's 40 rows, found 1: give one each"),
        ({"items": ["a"] * 12}, "items: ids must be distinct, but 'a' occurs twice"),
        ({"users": [*range(39), None]}, "the id of a user is text or a whole number, found None"),
        ({"users": [*range(39), 1.5]}, "found 1.5"),
        ({"items": "catalogue.csv"}, "items of a matrix are a list of ids, found 'catalogue.csv'"),
        ({"users": 7}, "given as a list, found 7"),
    ],
)
def test_ids_that_do_not_fit_a_matrix(ids: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recae.read(sp.csr_matrix(DENSE), **ids)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "found None"),
        (7, "found 7"),
        (b"purchases.csv", "found b'purchases"),
        ("", "an empty text"),
        (DENSE, r"a NumPy array of shape \(40, 12\): wrap a matrix"),
        ({"user": ["a", "b"], "item": ["x"]}, "'user' 2, 'item' 1"),
        ({"user": "a"}, r"holds a list a column, but 'user' is 'a'"),
        (pl.from_pandas(FRAME)["item"], r"found one column \(Series\)"),
        (FRAME["user"], r"found one column \(Series\); give the data frame"),
        (lambda: 1, "found function"),
    ],
)
def test_what_is_no_purchases(source: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        recae.read(source)
    with pytest.raises(SourceError, match=message):
        recae.train(source, "popularity")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"user_col": "user"}, "no option 'user_col'; did you mean user_column"),
        ({"user": "user"}, "no option 'user'; did you mean user_column"),
        ({"item_id": "item"}, "did you mean item_column"),
        ({"wher": "true"}, "did you mean where"),
        ({"min_purchases": 5}, "did you mean min_(user|item)_purchases"),
        ({"xyzzy": 1}, "no option 'xyzzy'; help"),
        ({"user_column": 1.5}, "user_column is the name of a column, found 1.5"),
        ({"where": 7}, "where is text, found 7"),
        ({"columns": 7}, "columns lists what the columns hold"),
        ({"min_rating": "many"}, "min_rating is a number, found 'many'"),
        ({"header": "yes"}, "header is True or False"),
        ({"event_weights": "view"}, "event_weights says how much each event counts"),
        ({"memory_limit": "a lot"}, "a size such as 2GB"),
        ({"since": "soon"}, "an ISO date"),
        ({"options": 7}, "reading is a recae.ReadOptions, found 7"),
        ({"users": ["a"]}, "the purchases are no scipy matrix"),
        ({"items": ["a"]}, "the purchases are no scipy matrix"),
        ({"bad_lines": "maybe"}, "stop or skip"),
        ({"half_life": 30}, "no option 'half_life'"),
    ],
)
def test_keywords_that_say_nothing(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recae.read(FRAME, **words)


def test_keywords_are_the_options_of_the_command_line() -> None:
    table = FRAME.assign(at=pd.Timestamp("2024-03-01"), price=ITEMS, what="buy")
    table.loc[:99, "at"] = pd.Timestamp("2024-01-01")
    found = recae.read(
        table,
        item_column="item",
        time_column="at",
        where="price < 9",
        event_weights={"buy": 0.5},
        event_column="what",
        since=dt.date(2024, 2, 1),
        exclude_items=["i3"],
    )
    left = table[(table.price < 9) & (table["at"] > "2024-02-01") & (table["item"] != "i3")]
    assert found.interactions.n_interactions == len(left)
    assert set(found.interactions.items) == set(left["item"])
    assert (
        recae.read(FRAME, recae.ReadOptions(user_column="user"), item_column="item").interactions.n_items
        == 12
    )
    by_number = recae.read(pd.DataFrame(FRAME.to_numpy()), user_column=0, item_column=1)
    assert by_number.report.columns.user == "0"


def test_training_takes_options_and_settings() -> None:
    table = FRAME.rename(columns={"user": "buyer"}).assign(time=dt.datetime(2024, 1, 1))
    model = recae.train(table, "itemknn", user_column="buyer", k=3, half_life=30, min_user_purchases=2)
    assert model.model.kind == "itemknn"
    assert model.model.config()["k"] == 3
    assert model.metadata["weights"] == {"half_life": 30.0}
    assert model.metadata["filters"] == {"min_user_purchases": 2}
    assert 100 in model.users  # type: ignore[operator]
    again = recae.train(recae.read(FRAME), kind="itemknn", k=3)
    assert again.recommend(101, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"epochs": 3}, "itemknn has no setting 'epochs', which sigmoid"),
        ({"user_colum": "user"}, "no option or setting 'user_colum'; did you mean user_column"),
        ({"kk": 3}, "itemknn has no setting 'kk'"),
        ({"k": "many"}, "k is a whole number"),
        ({"device": "gpu"}, "device"),
        ({"progress": 7}, "progress is True, False"),
        ({"filters": {"since": "2024"}}, "filters is a recae.Filters"),
        ({"confidence": 7}, "confidence is a recae.Weighting"),
        (
            {"filters": recae.Filters(since="2024-01-01"), "until": "2024-02-01"},
            "filters and until are both given",
        ),
    ],
)
def test_trainings_that_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(RecaeError, match=message):
        recae.train(FRAME, "itemknn", **words)


def test_kinds_that_are_none() -> None:
    with pytest.raises(ConfigError, match="no model of kind 'esae'"):
        recae.train(FRAME, "esae")
    with pytest.raises(ConfigError, match="kind is the name of a kind of model"):
        recae.train(FRAME, FRAME)  # type: ignore[arg-type]  # wrong on purpose


def test_what_was_read_already_takes_no_options() -> None:
    purchases = recae.read(FRAME)
    with pytest.raises(ConfigError, match="were read already, so that options on reading come too late"):
        recae.train(purchases, "popularity", user_column="user")
    with pytest.raises(ConfigError, match="the doctor checks rows of a table"):
        recae.doctor(purchases)
    with pytest.raises(ConfigError, match="read already: use them as they are"):
        recae.read(purchases.interactions)


def test_evaluate_compares_models_in_a_table() -> None:
    done = recae.evaluate(
        FRAME, "ease", baselines="popularity", trials=1, k=[5], test_users=8, executor=InProcess(), seed=2
    )
    table = done.table
    assert table["kind"].tolist() == [found.run.kind for found in done.comparison.models]
    assert set(table["kind"]) == {"ease", "popularity"}
    assert {"recall@5", "ndcg@5", "difference", "seconds", "failed"} <= set(table.columns)
    for row, found in zip(table, done.comparison.models, strict=True):
        values = found.values["recall@5"]
        assert row.recall_5 == pytest.approx(values[np.isfinite(values)].mean())
        assert row.baseline == (row.kind == "popularity")
        assert row.failed is None
    figures = done.figures.to_pandas()
    (of_ease,) = figures[
        (figures.kind == "ease") & (figures.metric == "ndcg@5") & figures.part.isna()
    ].itertuples()
    assert of_ease.low <= of_ease.mean <= of_ease.high
    assert of_ease.n_users == 8


def test_evaluate_takes_a_pair_of_tables() -> None:
    for train, test in (
        (FRAME[::2], FRAME[1::2]),
        (sp.csr_matrix(np.tril(DENSE)), sp.csr_matrix(np.triu(DENSE, 1))),
    ):
        done = recae.evaluate(
            train, "popularity", baselines="none", test=test, protocol="pair", trials=1, executor=InProcess()
        )
        assert len(done.table) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"protocol": "stron"}, "did you mean 'strong'"),
        ({"epochs": 3}, "recae.evaluate has no option 'epochs'"),
        ({"tests": 3}, "did you mean test"),
        ({"cut": "yesterday", "protocol": "time"}, "cut is a date such as 2011-11-09"),
        ({"cut": 1.5, "protocol": "time"}, "cut is a date"),
        ({"k": 0}, "k is a whole number"),
        ({"baselines": ["popular"]}, "no baseline 'popular'"),
        ({"metric": "accuracy@5"}, "accuracy"),
    ],
)
def test_evaluations_that_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recae.evaluate(FRAME, "popularity", executor=InProcess(), **words)


@pytest.mark.parametrize(
    "cut",
    [1_320_796_800, "2011-11-09", "2011-11-09T00:00Z", dt.date(2011, 11, 9), pd.Timestamp("2011-11-09")],
)
def test_a_cut_is_a_moment_in_any_form(cut: Any) -> None:
    assert _seconds(cut) == 1_320_796_800


def test_tune_lists_its_trials() -> None:
    tuned = recae.tune(FRAME, "ease", trials=2, metric="ndcg@5", budget=60)
    table = tuned.table
    assert table["trial"].tolist() == [1, 2]
    assert table["ndcg@5"].tolist() == [trial.value for trial in tuned.trials]
    assert table["l2"].tolist() == [trial.settings["l2"] for trial in tuned.trials]
    assert tuned.source == ""
    best = recae.train(FRAME, tuned.kind, **tuned.config)
    assert best.model.config()["l2"] == tuned.config["l2"]
    with pytest.raises(ConfigError, match="'trial'; did you mean trials"):
        recae.tune(FRAME, "ease", trial=2)


def test_doctor_lists_its_findings(tmp_path: Path) -> None:
    found = recae.doctor(FRAME.assign(user=[f"{user}.0" for user in USERS]))
    assert len(found.table) == len(found.findings)
    row = next(row for row in found.table if row.code.startswith("ids"))
    assert (row.severity, row.column) in {(f.severity.value, f.column) for f in found.findings}
    with pytest.raises(ColumnError, match="nope"):
        recae.doctor(FRAME, user_column="nope")
    with pytest.raises(DataError, match="no file"):
        recae.doctor(str(tmp_path / "missing.csv"))


def test_scoring_takes_the_model_first() -> None:
    model = recae.train(FRAME, "popularity")
    with pytest.raises(ConfigError, match="give the model first, then the histories"):
        recae.score(FRAME, model)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ConfigError, match="did you mean fallback"):
        recae.score(model, falback="popular")
    matrix = sp.csr_matrix(DENSE[:3])
    by_ids = recae.score(model, matrix, 2, users=["a", "b", "c"], items=[f"i{n}" for n in range(12)]).table()
    order = [int(item[1:]) for item in model.items]
    by_columns = recae.score(model, matrix[:, order], 2, users=["a", "b", "c"]).table()
    assert by_ids == by_columns
    assert set(by_ids["user_id"]) == {"a", "b", "c"}


def test_names_of_the_package() -> None:
    assert set(recae.__all__) <= set(dir(recae))
    assert recae.__version__
    with pytest.raises(AttributeError, match=r"did you mean recae\.train"):
        recae.trian  # noqa: B018
    for name in recae.__all__:
        assert getattr(recae, name) is not None


ODD: list[Any] = [
    1.5,
    b"x",
    {"a": 1},
    FRAME,
    FRAME["user"],
    np.arange(3),
    object(),
    sp.eye(3, format="csr"),
    (),
]
"""Values that no option takes, though some parameters do."""


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_wrong_types_are_refused_in_a_sentence(value: Any) -> None:
    model = recae.Recommender(
        Popularity(np.arange(3, dtype=np.float32)),
        ["a", "b", "c"],
        ["x", "y", "z"],
        None,
        sp.eye(3, format="csr"),  # type: ignore[arg-type]
    )
    calls = [
        lambda: model.recommend("a", value),
        lambda: model.recommend("a", exclude_owned=value),
        lambda: model.recommend("a", fallback=value),
        lambda: model.recommend_many(["a"], exclude_owned=value),
        lambda: model.users_for("x", exclude_owned=value),
        lambda: model.users_for(value),
        lambda: model.bought_together(value),
        lambda: model.owned(value),
        lambda: model.explain("a", value),
        lambda: model.embed(value),
        lambda: model.score_pairs([("a", "x")], user_column=value),
        lambda: model.save(value),
        lambda: model.evaluate([("a", "y")], k=value if np.ndim(value) == 0 else 1.5),
        lambda: model.evaluate([("a", "y")], exclude_owned=value),
        lambda: model.evaluate([("a", "y")], seed=value),
        lambda: recae.load(value),
        lambda: recae.save(value, "x.recae"),
        lambda: recae.score(model, n=value),
        lambda: recae.score(value),
        lambda: recae.train(FRAME, value),
        lambda: recae.train(FRAME, device=value),
        lambda: recae.train(FRAME, repeats=value),
        lambda: recae.train(FRAME, checkpoints=value),
        lambda: recae.tune(FRAME, "ease", metric=value),
        lambda: recae.tune(FRAME, "ease", study=value),
        lambda: recae.evaluate(FRAME, protocol=value),
        lambda: recae.evaluate(FRAME, metric=value),
        lambda: recae.evaluate(FRAME, keep=value),
        lambda: recae.evaluate(FRAME, seed=value),
        lambda: recae.evaluate(FRAME, cut=value),
        lambda: recae.evaluate(FRAME, settings=[value]),  # type: ignore[arg-type]
        lambda: recae.evaluate(FRAME, validation_users=[value]),
        lambda: recae.read(FRAME, user_column=[value]),
        lambda: recae.read(FRAME, where=value),
    ]
    for call in calls:
        with pytest.raises(RecaeError) as caught:
            call()
        assert "\n" not in str(caught.value)
