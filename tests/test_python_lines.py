"""Lines that a data scientist types after `import recae`: each works, or is refused with a sentence on what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp

import recae
from recae.errors import RecaeError
from recae.selection.executor import InProcess

N_USERS, N_ITEMS = 50, 15


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What stands in the notebook already."""
    folder = tmp_path_factory.mktemp("lines")
    dense = np.random.default_rng(5).random((N_USERS, N_ITEMS)) < 0.35
    users, items = np.nonzero(dense)
    df = pd.DataFrame(
        {
            "customer_id": users + 1,
            "product": [f"P{item}" for item in items],
            "price": items + 0.5,
            "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(users.size) % 90, "D"),
        }
    )
    df.to_csv(folder / "purchases.csv", index=False)
    model = recae.train(df, "sigmoid", factors=4, epochs=2)
    model.save(folder / "model.recae")
    return {
        "recae": recae,
        "pd": pd,
        "pl": pl,
        "pa": pa,
        "np": np,
        "sp": sp,
        "Path": Path,
        "df": df,
        "polars_df": pl.from_pandas(df),
        "arrow": pa.Table.from_pandas(df),
        "matrix": sp.csr_matrix(dense.astype(np.float64)),
        "user_ids": [f"u{n}" for n in range(N_USERS)],
        "item_ids": list(range(1000, 1000 + N_ITEMS)),
        "path": str(folder / "purchases.csv"),
        "folder": folder,
        "model": model,
        "model_path": str(folder / "model.recae"),
        "later": df.sample(60, random_state=1).assign(product=[f"P{n % N_ITEMS}" for n in range(60)]),
        "here": InProcess(),
        "purchases": recae.read(df),
    }


WORKS = """
recae.__version__
recae.read(df)
recae.read(path).interactions
recae.read(df, user_column="customer_id", item_column="product")
recae.read(df, where="price > 3").interactions.n_items
recae.read(df, since="2024-02-01", min_user_purchases=2)
recae.read_interactions(polars_df)
recae.train(path, "popularity")
recae.train(Path(path), "popularity")
recae.train(df, "popularity")
recae.train(polars_df, kind="popularity")
recae.train(polars_df.lazy(), kind="popularity")
recae.train(arrow, "popularity")
recae.train(df[["customer_id", "product"]].values.tolist(), "popularity")
recae.train(list(zip(df.customer_id, df["product"])), "popularity")
recae.train(df.to_dict("records"), "popularity")
recae.train({"user": df.customer_id, "item": df["product"]}, "popularity")
recae.train(matrix, "popularity")
recae.train(matrix, "ease", users=user_ids, items=item_ids).recommend("u3", 2)
recae.train(matrix, "ease", users=np.array(user_ids), items=pd.Index(item_ids)).recommend("u3", 2)
recae.train(matrix.tocoo(), "popularity", items=item_ids)
recae.train(purchases, "popularity")
recae.train(purchases.interactions, "popularity")
recae.train(df.rename(columns={"customer_id": "buyer"}), "popularity", user_column="buyer")
recae.train(df, "ease", l2=100, seed=1)
recae.train(df, "ease", half_life=30)
recae.train(df, "popularity", progress=False)
recae.train(df, "popularity", time_column="date", since="2024-01-15", until="2024-03-01")
model.recommend(42)
model.recommend("42")
model.recommend(np.int64(42))
model.recommend(df.customer_id.iloc[0])
model.recommend(42, 5)
model.recommend(user=42, n=5)
model.recommend(42, exclude=["P1", "P2"])
model.recommend(42, only=["P1", "P2", "P3"])
model.recommend(42, exclude_owned=False)
model.recommend(items=["P1", "P2"])
model.recommend(42)[0].item_id
model.recommend(42)[0].score
model.recommend(42)[:3]
[r.item for r in model.recommend(42)]
len(model.recommend(42))
model.recommend(42).to_pandas()
model.recommend(42).to_polars()
model.recommend(42).to_arrow()
model.recommend(42)["item_id"]
pd.DataFrame(model.recommend(42))
print(model.recommend(42))
model.recommend(42)._repr_html_()
model.recommend(42).save(folder / "list.csv")
model.recommend("somebody new", fallback="popular")
model.recommend(items=[], fallback="popular")
model.recommend_many([1, 2, 3])
model.recommend_many(df.customer_id.unique(), n=3)
model.recommend_many(["1", "nobody"], fallback="popular")
model.recommend_many(n=2).to_pandas()
model.recommend_many(histories=df, n=2)
model.score_pairs(df)
model.score_pairs(df.head()).to_pandas()
model.score_pairs([(42, "P1"), (42, "P2")])
model.similar_items("P1")
model.bought_together("P1", 3)
model.similar_users(42, n=5)
model.users_for("P1", 10)
model.explain(42, "P1")
model.explain(42, item="P1").to_pandas()
model.evaluate(later)
model.evaluate(later, k=5)
model.evaluate(later, k=[5, 10], metrics=["recall", "ndcg", "mrr"])
model.embed("users").to_pandas().shape
model.embed("items").to_polars()
model.embed("users", ids=[1, 2])
model.owned(42)
model.metrics
model.metrics.to_pandas()
model.history
model.history.to_pandas()
42 in model.users
"P1" in model.items
42.5 in model.users
len(model.users), list(model.items)[:3]
model.save(folder / "again.recae")
recae.save(model, folder / "again.recae")
recae.load(model_path)
recae.Recommender.load(model_path).recommend(42)
next(recae.score(model, n=3))
recae.score(model, n=3).to_pandas()
recae.score(model_path, df, n=3).to_polars()
recae.score(model, df, n=3, user_column="customer_id").to_arrow()
recae.score(model, n=3).save(folder / "recs.parquet")
recae.score(model, n=3, exclude_items=["P1"]).to_pandas()
recae.doctor(df)
recae.doctor(df).table.to_pandas()
recae.doctor(path, user_column="customer_id").findings
recae.evaluate(df, "ease", baselines="popularity", trials=1, executor=here).table
recae.evaluate(df, ["ease", "itemknn"], baselines="none", trials=1, k=5, executor=here).table.to_pandas()
recae.tune(df, "ease", trials=1).table
recae.tune(df, "ease", trials=1).config
repr(model), repr(purchases), repr(model.users)
""".strip().splitlines()

REFUSED = {
    "recae.train()": "TypeError",  # Python says it
    "recae.train(None)": "found None: give one of these",
    "recae.train(42)": "found 42: give one of these",
    "recae.train('')": "give the path of a table",
    "recae.train('purchase.csv')": "purchase.csv",
    "recae.train(df['product'])": "give the data frame",
    "recae.train(df.values)": "wrap a matrix of users",
    "recae.train(df.head(0))": "fewer|no row|empty|at least|needed",
    "recae.train(matrix.toarray())": "scipy.sparse.csr_matrix",
    "recae.train(matrix * np.nan)": "not finite",
    "recae.train(-matrix)": "negative values.*leave returns and dislikes out",
    "recae.train(matrix, users=user_ids[:3])": "give one each, in order",
    "recae.train(df, users=user_ids)": "name the column of users with user_column",
    "recae.train(df, user='customer_id')": "did you mean user_column",
    "recae.train(df, user_col='customer_id')": "did you mean user_column",
    "recae.train(df, user_column='customer')": "found: 'customer_id'",
    "recae.train(df, user_column=df.customer_id)": "give the name as text",
    "recae.train(df, 'autoencoder')": "choose one of sigmoid",
    "recae.train(df, kind=3)": "give a name",
    "recae.train(df, epoch=3)": "epochs",
    "recae.train(df, 'sigmoid', factors='many')": "factors is",
    "recae.train(df, device='gpu')": "cuda",
    "recae.train(df, progress='bar')": "progress is True, False",
    "recae.train(df, where=df.price > 3)": "where is text",
    "recae.train(df, where='prize > 3')": "price",
    "recae.train(df, since='yesterday')": "2010-12-01",
    "recae.read(df, strickt=True)": "did you mean strict",
    "model.recommend()": "give either a user or a basket",
    "model.recommend(None)": "give either a user or a basket",
    "model.recommend(['1', '2'])": "recommend_many",
    "model.recommend(df)": "found a DataFrame: give one id",
    "model.recommend(True)": "write it as text",
    "model.recommend(1.5)": "write it as text",
    "model.recommend(float('nan'))": "leave out rows without one",
    "model.recommend('nobody')": "nearest",
    "model.recommend(42, n=0)": "from 1 on",
    "model.recommend(42, n='ten')": "a whole number",
    "model.recommend(42, items=['P1'])": "exactly one",
    "model.recommend(items='P1')": r"write \['P1'\]",
    "model.recommend(items=[])": "at least one item",
    "model.recommend(items=['nothing'])": "nearest",
    "model.recommend(42, exclude='P1')": r"write \['P1'\]",
    "model.recommend(42, only=['nothing'])": "loosen one of them",
    "model.recommend(42, fallback='random')": "give one of them",
    "model.recommend_many(42)": "give a list",
    "model.recommend_many(df)": "histories=",
    "model.recommend_many([1, 'nobody'])": "leave them out, or ask for fallback",
    "model.score_pairs(df, user_column='who')": "found: 'customer_id'",
    "model.score_pairs(42)": "found 42",
    "model.similar_items('nothing')": "nearest",
    "model.similar_items(['P1'])": "one id",
    "model.users_for('nothing')": "nearest",
    "model.explain(42)": "give item=",
    "model.evaluate()": "recae.evaluate compares kinds",
    "model.evaluate(df)": "did not own before",
    "model.embed('customers')": "ask for one of them",
    "model.metrics['recall']": "choose one of model",
    "model.save(folder / 'no' / 'such' / 'model.recae')": "folder|directory",
    "model.recommend(42).save(folder / 'list.xlsx')": "choose another name",
    "recae.load('no.recae')": "recae train",
    "recae.load(path)": "recae train",
    "recae.score(df)": "give the model first",
    "recae.score(model, n=0)": "one item a user or more",
    "recae.score('no.recae')": "recae train",
    "recae.doctor(42)": "give one of these",
    "recae.doctor(purchases)": "give the table itself",
    "recae.evaluate(df, 'esae')": "choose one of|did you mean",
    "recae.evaluate(df, protocol='random')": "did you mean|choose one of",
    "recae.evaluate(df, k='ten')": "whole number",
    "recae.evaluate(df, epochs=3)": "no option 'epochs'",
    "recae.tune(df, 'popularity')": "name another kind",
    "recae.tune(df, 'ease', trials=0)": "trials",
    "recae.tune(df, 'ease', metric='accuracy')": "ndcg@20",
}


def test_there_are_enough_of_them() -> None:
    assert len(WORKS) == len(set(WORKS)) >= 90
    assert len(REFUSED) >= 70


@pytest.mark.some(30)
@pytest.mark.parametrize("line", WORKS)
def test_the_line_works(names: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = eval(line, names)
    assert found is not NotImplemented
    text = repr(found)
    assert len(text) < 20_000
    assert text.count("\n") <= 40


@pytest.mark.parametrize("line", REFUSED)
def test_the_line_is_refused_with_the_way_out(names: dict[str, Any], line: str) -> None:
    message = REFUSED[line]
    if message == "TypeError":
        with pytest.raises(TypeError, match="required positional argument"):
            eval(line, names)
        return
    with pytest.raises(RecaeError, match=message) as caught:
        eval(line, names)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 700


@pytest.mark.parametrize("line", ["recae.trian", "recae.recommend", "recae.fit"])
def test_names_that_are_not_there_are_attribute_errors_as_of_any_module(
    names: dict[str, Any], line: str
) -> None:
    with pytest.raises(AttributeError, match="module 'recae' has no attribute"):
        eval(line, names)
