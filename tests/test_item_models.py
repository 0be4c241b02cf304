"""Tests of a table of items in a model: given in training, replaced later, shown, and what it and purchases share."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import recae, refused
from shopserver import client

import recae as package
from recae.errors import ColumnError, SourceError
from recae.insight.categories import categories_of
from recae.insight.items import ItemSource, describe_items, with_item_table
from recae.modelfile import describe, load
from recae.recommender import Recommender
from recae.serving.served import load_served

N_ITEMS, SOLD = 12, 10
PURCHASES = [(f"u{u}", f"i{i}") for u in range(30) for i in range(SOLD) if (u * 7 + i * 3) % 5 < 2]
PRODUCTS = pd.DataFrame(
    {
        "id": [f"i{i}" for i in range(2, N_ITEMS)],
        "title": [f"<b>Thing</b> {i}" for i in range(2, N_ITEMS)],
        "category": [f"Home > {'Mugs' if i % 2 else 'Pots'}" for i in range(2, N_ITEMS)],
        "price": [f"{i},50 €" for i in range(2, N_ITEMS)],
        "image": [f"https://x.de/{i}.png" for i in range(2, N_ITEMS)],
        "link": ["javascript:alert(1)", *[f"https://x.de/{i}" for i in range(3, N_ITEMS)]],
    }
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    pd.DataFrame(PURCHASES, columns=["user_id", "item_id"]).to_csv(folder / "purchases.csv", index=False)
    PRODUCTS.to_csv(folder / "products.csv", index=False)
    done = recae(
        "train", folder / "purchases.csv", "--items", folder / "products.csv", "--kind", "ease", "--no-refit",
        "--out", folder / "model.recae",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (folder / "said.txt").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def model(shop: Path) -> Recommender:
    return load(shop / "model.recae")


def test_training_stores_the_table_and_says_what_it_and_the_purchases_do_not_share(
    shop: Path, model: Recommender
) -> None:
    assert model.item_table is not None
    assert len(model.item_table.ids) == N_ITEMS - 2
    of = model.item_table.of(model.items)
    assert of.column("price").to_pylist()[:4] == [None, None, 2.5, 3.5]
    assert of.column("link").to_pylist()[2] is None
    assert model.item_names is not None
    assert model.item_names.to_pylist()[:3] == [None, None, "<b>Thing</b> 2"]
    said = (shop / "said.txt").read_text()
    lacking = sum(item in ("i0", "i1") for _, item in PURCHASES)
    assert f"2 of {SOLD} items that were bought are not in the table, with {lacking} purchases" in said
    assert f"{N_ITEMS - SOLD} items of the table occur in no purchase" in said
    assert "left out: 1 links that do not begin with http:// or https://" in said


def test_inspect_shows_the_columns(shop: Path) -> None:
    assert describe(shop / "model.recae")["item_table"] == {
        "items": 10,
        "columns": {"name": 10, "category": 10, "price": 10, "image": 10, "link": 9},
    }
    out = recae("inspect", shop / "model.recae").stdout
    assert "items\ta table of 10" in out
    assert "items.link\tknown of 9" in out
    assert json.loads(recae("inspect", shop / "model.recae", "--json").stdout)["item_table"]["items"] == 10


def test_the_table_is_replaced_without_a_training(shop: Path, model: Recommender, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("sku,name,net,grün\ni0,Nought,1.5,ja\ni0,Zero,2.5,nein\ni99,Never,1,ja\n")
    out = tmp_path / "newer.recae"
    done = recae("items", shop / "model.recae", other, "--items-columns", "price=net", "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["items"], said["doubled"], said["not_bought"]) == (3, 2, 1, 1)
    assert said["not_in_the_table"]["items"] == SOLD - 1
    found = load(out)
    assert found.item_table is not None
    assert found.item_table.columns.to_pylist()[0] == {"name": "Zero", "price": 2.5, "grün": "nein"}
    assert found.item_names is not None
    assert found.item_names.to_pylist()[:3] == ["Zero", None, "<b>Thing</b> 2"]
    np.testing.assert_array_equal(found.model.arrays()["weights"], model.model.arrays()["weights"])
    again = tmp_path / "again.recae"
    assert recae("items", out, other, "--items-columns", "price=net", "--out", again).exit_code == 0
    assert again.read_bytes() == out.read_bytes()
    before = out.read_bytes()
    refused(recae("items", out, shop / "products.csv", "--items-columns", "price"), "is WHAT=NAME")
    refused(recae("items", out, shop / "purchases.csv"), "says nothing of items but their ids")
    assert out.read_bytes() == before
    assert recae("items", out, shop / "products.csv").exit_code == 0
    assert load(out).item_table is not None
    assert describe(out)["item_table"]["items"] == 10


def test_an_update_takes_another_table(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("user_id,item_id\nu0,i0\nu1,i11\nu2,i11\n")
    (tmp_path / "items.csv").write_text("id,name,price\ni0,Zero,1\ni11,Eleven,2\n")
    out = tmp_path / "updated.recae"
    done = recae(
        "update", shop / "model.recae", tmp_path / "new.csv", "--items", tmp_path / "items.csv", "--out", out
    )
    assert done.exit_code == 0, done.stderr
    found = load(out)
    assert found.item_table is not None
    assert len(found.item_table.ids) == 2
    assert found.id_and_name(found.items.row("i11")) == ("i11", "Eleven")
    # without a table of its own an update names new items by the one that the model has
    done = recae("update", shop / "model.recae", tmp_path / "new.csv", "--out", out)
    assert done.exit_code == 0, done.stderr
    found = load(out)
    assert found.id_and_name(found.items.row("i11")) == ("i11", "<b>Thing</b> 11")


def test_python_takes_frames_dictionaries_and_tables(model: Recommender) -> None:
    frame = pd.DataFrame({"id": ["i0"], "name": ["Zero"], "cost": [3.0]})
    purchases = pd.DataFrame(PURCHASES, columns=["user_id", "item_id"])
    trained = package.train(
        purchases, "popularity", items=frame, items_columns={"price": "cost"}, progress=False
    )
    assert trained.item_table is not None
    assert trained.item_table.column("price").to_pylist() == [3.0]
    for source in (frame, {"id": ["i0"], "name": ["Zero"], "cost": [3.0]}, trained.item_table):
        found = model.with_items(source, {"price": "cost"})
        assert found.item_table is not None
        assert found.item_table.column("name").to_pylist() == ["Zero"]
        assert found.id_and_name(0)[1] == "Zero"
    assert model.id_and_name(0)[1] is None


def test_what_is_shared_is_counted_by_hand(model: Recommender) -> None:
    assert model.item_table is not None
    table = model.item_table.take(np.array([0, 5, 9]))
    shared = describe_items(model, table).shared
    ids, items = set(table.ids), list(model.items)
    assert shared.unbought == len(ids - set(items))
    assert shared.undescribed == len(set(items) - ids)
    assert shared.their_purchases == sum(item not in ids for _, item in PURCHASES)
    assert with_item_table(model, None) is model


def test_reading_takes_the_columns_that_are_named() -> None:
    purchases = pd.DataFrame(PURCHASES, columns=["user_id", "item_id"])
    items = pd.DataFrame({"key": ["i0"], "i": ["x"], "name": ["One"], "other": ["Other"]})
    found = package.read(purchases, items=items, items_columns={"id": "key", "name": "other"})
    assert found.interactions.item_names is not None
    assert found.interactions.item_names[0].as_py() == "Other"
    found = package.read(purchases, items=items, items_columns={"name": []})
    assert found.interactions.item_names is None or found.interactions.item_names[0].as_py() is None
    with pytest.raises(ColumnError, match="--items-columns names 'nothing' as id"):
        package.read(purchases, items=items, items_columns={"id": "nothing"})


def test_items_columns_go_with_items(shop: Path) -> None:
    done = recae("train", shop / "purchases.csv", "--items-columns", "price=net")
    refused(done, "--items-columns names columns of the table of items: give --items, too")


# lists


def test_lists_show_category_and_price(model: Recommender, shop: Path) -> None:
    found = model.recommend("u1", 10, exclude_owned=False)
    assert found.columns == ["rank", "item_id", "name", "score", "category", "price"]
    known = {row["id"]: row for row in PRODUCTS.to_dict("records")}
    for row in found:
        product = known.get(row.item_id, {})
        assert row.category == product.get("category")
        assert row.price == (float(row.item_id[1:]) + 0.5 if product else None)
    alike = model.recommend("nobody", 10, fallback="popular")
    assert alike.columns == ["rank", "item_id", "name", "score", "source", "category", "price"]
    assert (alike[0].source, len(alike)) == ("popular", 10)
    many = model.recommend_many(["u1"], 10, exclude_owned=False)
    assert many["category"].tolist() == found["category"].tolist()
    done = recae("recommend", "--user", "u1", "--csv", "--include-owned", model=shop / "model.recae")
    assert done.stdout.splitlines()[0] == "rank,item_id,name,score,category,price"
    assert any(line.endswith(",Home > Pots,2.5") for line in done.stdout.splitlines())
    done = recae("recommend", "--user", "u1", "--json", "--include-owned", model=shop / "model.recae")
    answers = {answer["item_id"]: answer for answer in json.loads(done.stdout)["recommendations"]}
    assert answers["i3"] == answers["i3"] | {
        "category": "Home > Mugs", "price": 3.5, "image": "https://x.de/3.png", "link": "https://x.de/3",
    }  # fmt: skip
    assert answers["i2"]["link"] is None
    assert answers["i0"]["price"] is None


def test_a_terminal_of_80_columns_shows_them(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recae.cli.recommend.is_terminal", lambda stream: True)
    monkeypatch.setattr("recae.cli.output.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = recae(
        "recommend", "--user", "u1", "--include-owned", model=shop / "model.recae"
    ).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("Home > Pots" in line and "2.50" in line and "<b>Thing</b> 2" in line for line in lines)


def test_the_service_answers_with_what_is_known(model: Recommender, tmp_path: Path) -> None:
    with client(model, tmp_path) as api:
        body = {"user": "u1", "n": 10, "exclude_owned": False}
        listed = {r["item_id"]: r for r in api.post("/recommend", json=body).json()["recommendations"]}
        explained = api.post("/recommend", json=body | {"explain": True}).json()["recommendations"]
        found = {item["item_id"]: item for item in api.get("/items").json()["items"]}
        owned = {item["item_id"]: item for item in api.get("/users/u1/items").json()["items"]}
        similar = {item["item_id"]: item for item in api.get("/similar/i3").json()["similar"]}
    details = {"category": "Home > Pots", "price": 2.5, "image": "https://x.de/2.png"}
    for answers in (listed, {r["item_id"]: r for r in explained}, found, similar):
        assert answers["i2"] == answers["i2"] | details
        assert "link" not in answers["i2"]
        assert "brand" not in answers["i2"]
        assert "price" not in answers["i0"]
    assert set(owned) == {item for user, item in PURCHASES if user == "u1"}
    assert all(("price" in item) == (item["item_id"] not in ("i0", "i1")) for item in owned.values())


# batches


def test_batches_have_the_columns_that_are_asked_for(model: Recommender, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    done = recae(
        "score", "--out", out, "-n", "4", "--columns", "name,category,price", model=shop / "model.recae"
    )
    assert done.exit_code == 0, done.stderr
    frame = pd.read_parquet(out)
    assert list(frame) == ["user_id", "item_id", "rank", "score", "name", "category", "price"]
    plain = package.score(model, n=4, progress=False).to_pandas()
    pd.testing.assert_frame_equal(frame[list(plain)], plain)
    known = {row["id"]: row for row in PRODUCTS.to_dict("records")}
    for row in pq.read_table(out).to_pylist():
        product = known.get(row["item_id"], {})
        assert row["category"] == product.get("category")
        assert row["name"] == product.get("title")
        assert row["price"] == (float(row["item_id"][1:]) + 0.5 if product else None)
    stream = package.score(model, n=4, details="image", fallback="popular", progress=False).to_pandas()
    assert list(stream)[4:] == ["source", "image"]


def test_a_database_and_a_folder_have_them_too(shop: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    arguments = ("score", "--out", url, "--table", "recs", "-n", "3", "--columns", "name,price")
    for _ in range(2):  # the second one replaces a table that has these columns
        done = recae(*arguments, model=shop / "model.recae")
        assert done.exit_code == 0, done.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        rows = connection.execute("select item_id, name, price from recs").fetchall()
        connection.execute("create table own (user_id text, item_id text, rank int, score real, mine text)")
        connection.commit()
    assert all(price == (None if name is None else float(item[1:]) + 0.5) for item, name, price in rows)
    own = (*arguments[:4], "own", *arguments[5:])
    refused(recae(*own, model=shop / "model.recae"), "the table own is there already")
    folder = f"{tmp_path / 'recs'}/"
    assert recae("score", "--out", folder, "--columns", "price", model=shop / "model.recae").exit_code == 0
    settings = json.loads((tmp_path / "recs" / "_manifest.json").read_text())["settings"]
    assert settings["columns"] == ["price"]
    done = recae("score", "--out", folder, "--columns", "name", "--resume", model=shop / "model.recae")
    refused(done, "columns")


def test_a_run_takes_another_table(model: Recommender, shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("sku,title,net\ni0,Zero,9\n")
    out, table = tmp_path / "recs.csv", ("--items", other, "--items-columns", "price=net")
    done = recae(
        "score", "--out", out, "-n", "10", "--columns", "name,price", *table, model=shop / "model.recae"
    )
    assert done.exit_code == 0, done.stderr
    assert "9 of 10 items that were bought are not in the table" in done.stderr
    rows = pd.read_csv(out).query("item_id == 'i0'")
    assert len(rows)
    assert set(zip(rows["name"], rows["price"], strict=True)) == {("Zero", 9.0)}
    served = load_served(shop / "model.recae", items=ItemSource(str(other), {"price": ["net"]}))
    assert served.details(np.array([0, 2])) == [{"price": 9.0}, {}]
    refused(
        recae("score", "--out", out, "--items-columns", "price=net", model=shop / "model.recae"),
        "give --items, too",
    )
    with pytest.raises(SourceError, match=r"nothing\.csv"):
        load_served(shop / "model.recae", items=ItemSource(str(tmp_path / "nothing.csv"), {}))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("colour", "does not know 'colour' of its items; it knows name, category, price, image, link"),
        ("price,price", "two columns 'price'"),
    ],
)
def test_columns_that_cannot_be_written(shop: Path, tmp_path: Path, columns: str, said: str) -> None:
    done = recae("score", "--out", tmp_path / "x.csv", "--columns", columns, model=shop / "model.recae")
    refused(done, said)


# categories


def test_the_table_gives_categories_to_rules_and_the_map(
    model: Recommender, shop: Path, tmp_path: Path
) -> None:
    found = categories_of(model)
    assert found is not None
    assert found.names == ["Home > Mugs", "Home > Pots"]
    known = {row["id"]: row["category"] for row in PRODUCTS.to_dict("records")}
    assert [found.names[code] if code >= 0 else None for code in found.codes] == [
        known.get(i) for i in model.items
    ]
    top = categories_of(model, 1)
    assert top is not None
    assert top.names == ["Home"]
    out = tmp_path / "recs.csv"
    done = recae("score", "--out", out, "--only-categories", "Home > Pots", model=shop / "model.recae")
    assert done.exit_code == 0, done.stderr
    assert {known[item] for item in pd.read_csv(out)["item_id"]} == {"Home > Pots"}
    bare = dataclasses.replace(model, item_table=None)
    assert categories_of(bare) is None
    bare.save(tmp_path / "bare.recae")
    done = recae("score", "--out", out, "--only-categories", "Home", model=tmp_path / "bare.recae")
    refused(done, "give the model a table of products with 'recae items'")
    page = tmp_path / "map.html"
    done = recae("map", "--out", page, "--method", "pca", "--json", model=shop / "model.recae")
    assert done.exit_code == 0, done.stderr
    assert "Home > Mugs" in page.read_text() or "Home \\u003e Mugs" in page.read_text()
