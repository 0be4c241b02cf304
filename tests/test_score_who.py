"""Whom to score and what may be recommended: lists of ids, new histories, unknown ids, rules; `recae.score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from scorejobs import ITEMS, ODD_IDS, USERS, assert_same, by_hand, purchases, rows_of, shop, work_of

import recae
from recae.errors import ColumnError, ConfigError, DataError, SourceError
from recae.ids import IdMap
from recae.insight.categories import Categories
from recae.interactions import Interactions
from recae.modelfile import save
from recae.models import Frequency, Popularity
from recae.models.blend import Blend, Part
from recae.reading import ReadOptions
from recae.scoring.audience import (
    NO_ITEM,
    NO_KNOWN_ITEM,
    NO_USER,
    Audience,
    every_user,
    fold_in,
    new_histories,
    read_ids,
    rejects,
    some_users,
)
from recae.scoring.rules import barred_items
from recae.scoring.work import SCHEMA


def owned(audience: Audience, recommender: recae.Recommender) -> dict[str, dict[str, float]]:
    """Each user's history: item id to value."""
    ids, matrix = audience.part(0, len(audience))
    return {
        user: dict(zip(recommender.items.ids(row.indices).to_pylist(), row.data.tolist(), strict=True))
        for user, row in zip(ids.to_pylist(), matrix, strict=True)
    }


def rejected(audience: Audience) -> list[tuple[str, str]]:
    return [(row["id"], row["reason"]) for row in audience.rejected.to_pylist()]


# lists of ids


def test_one_id_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes('\ufeff007\r\na,b\n\n  \nsay "x"\n space \n007\n7'.encode())
    assert read_ids(path, "user").to_pylist() == ["007", "a,b", 'say "x"', " space ", "7"]
    path.rename(tmp_path / "ids")  # without an ending, too
    assert len(read_ids(tmp_path / "ids", "item")) == 5
    path.write_bytes(b"")
    assert read_ids(path, "user").to_pylist() == []


def test_a_column_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("city,Customer ID,sku\nX,007,a\nY,7,b\nX,007,b\nZ, ,c\n")
    assert read_ids(tmp_path / "ids.csv", "user").to_pylist() == ["007", "7"]
    assert read_ids(tmp_path / "ids.csv", "item").to_pylist() == ["a", "b", "c"]
    assert read_ids(tmp_path / "ids.csv", "user", "city").to_pylist() == ["X", "Y", "Z"]
    pq.write_table(pa.table({"user": [3.0, None, 5.0]}), tmp_path / "ids.parquet")
    assert read_ids(tmp_path / "ids.parquet", "user").to_pylist() == ["3", "5"]
    (tmp_path / "points.csv").write_text("user\n17.0\n18.0\n")
    assert read_ids(tmp_path / "points.csv", "user").to_pylist() == ["17", "18"]
    (tmp_path / "names.txt").write_text("user\tcity\nu1\tX\n")
    assert read_ids(tmp_path / "names.txt", "user", "user").to_pylist() == ["u1"]  # a column says: a table


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"abc\n\xff\n")
    with pytest.raises(SourceError, match="one id a line in UTF-8, but byte 4 is not"):
        read_ids(tmp_path / "ids.txt", "user")
    with pytest.raises(SourceError, match=r"nobody\.txt"):
        read_ids(tmp_path / "nobody.txt", "user")
    (tmp_path / "ids.csv").write_text("a\nb\n")
    with pytest.raises(ColumnError, match=r"no column is recognised as the user; name it with --user-column"):
        read_ids(tmp_path / "ids.csv", "user")


def test_a_list_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ids.txt").write_text("a")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SourceError, match="cannot be read: Permission denied"):
        read_ids(tmp_path / "ids.txt", "user")


# users of the model


def test_everybody() -> None:
    recommender = shop()
    audience = every_user(recommender)
    assert len(audience) == USERS
    ids, matrix = audience.part(3, 9)
    assert ids.to_pylist() == list(recommender.users or [])[3:9]
    assert (matrix != purchases()[3:9]).nnz == 0
    for without in (shop(histories=None), shop(histories=None, users=None)):
        with pytest.raises(DataError, match="without histories"):
            every_user(without)


def test_some_users_in_the_order_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("u3\nnobody\n a,b\na,b\nu3\nu1\nNobody\n")
    recommender = shop()
    audience = some_users(recommender, tmp_path / "ids.txt")
    assert audience.part(0, 3)[0].to_pylist() == ["u3", "a,b", "u1"]
    assert rejected(audience) == [("nobody", NO_USER), (" a,b", NO_USER), ("Nobody", NO_USER)]
    everybody = owned(every_user(recommender), recommender)
    assert owned(audience, recommender) == {user: everybody[user] for user in ("u3", "a,b", "u1")}
    assert_same(
        rows_of(pa.Table.from_batches([batch for _, batch in work_of(audience=audience).batches()])),
        by_hand(work_of(audience=audience)),
    )


@given(st.lists(st.one_of(st.sampled_from([*ODD_IDS, "u1", "u2"]), st.text()), max_size=20))
def test_any_list_is_parted_into_known_and_unknown(ids: list[str]) -> None:
    import tempfile

    lines = [text for text in ids if text.strip() and not {"\n", "\r"} & set(text) and text.isprintable()]
    recommender = shop()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ids.txt"
        path.write_text("\n".join(lines), encoding="utf-8")
        audience = some_users(recommender, path)
    users = set(recommender.users or [])
    distinct = list(dict.fromkeys(lines))
    assert audience.part(0, len(audience))[0].to_pylist() == [text for text in distinct if text in users]
    assert [text for text, _ in rejected(audience)] == [text for text in distinct if text not in users]


# new histories


def test_new_histories_are_folded_in(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text(
        'user_id,item_id,quantity\nnew,i3,1\nnew,i1,1\nnew,i3,2\nnew,gone,1\n"b,c","a,b",1\nlost,gone,1\nback,i1,-1\n'
    )
    recommender = shop()
    audience = new_histories(recommender, path)
    assert owned(audience, recommender) == {"b,c": {"a,b": 1}, "new": {"i1": 1, "i3": 1}}
    assert rejected(audience) == [("gone", NO_ITEM), ("lost", NO_KNOWN_ITEM)]
    without = shop(users=None, histories=None)  # a model that remembers nobody does as well
    assert owned(new_histories(without, path), without) == owned(audience, recommender)
    work = work_of(audience=audience)
    assert_same(rows_of(pa.Table.from_batches([batch for _, batch in work.batches()])), by_hand(work))


def test_one_user_is_enough(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("who,what\nme,i1\n")
    audience = new_histories(shop(), tmp_path / "h.csv", ReadOptions(user_column="who", item_column="what"))
    assert owned(audience, shop()) == {"me": {"i1": 1}}
    with pytest.raises(ColumnError, match=r"h\.csv"):
        new_histories(shop(), tmp_path / "h.csv")
    (tmp_path / "h.csv").write_text("user,item\n")
    with pytest.raises(DataError, match="no rows"):
        new_histories(shop(), tmp_path / "h.csv")


def frequency() -> recae.Recommender:
    return shop(Frequency.fit(purchases(), decay=0.5), metadata={"repeats": True})


def blended() -> recae.Recommender:
    parts = (
        Part(Popularity.fit(purchases()), 0.5, (1, 0)),
        Part(Frequency.fit(purchases(), decay=0.5), 0.5, (1, 0)),
    )
    return shop(Blend(parts, {"components": "popularity,frequency", "seed": 1}), metadata={"repeats": True})


@pytest.mark.parametrize("make", [frequency, blended])
def test_histories_are_weighted_as_in_training(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text(
        "user,item,date\nme,i1,2024-01-01\nme,i2,2024-01-01\nme,i1,2024-01-05\nme,gone,2024-01-07\nme,i3,2024-01-09\n"
    )
    # four baskets, the last of which weighs 1
    assert owned(new_histories(make(), path), make()) == {"me": {"i1": 0.125 + 0.25, "i2": 0.125, "i3": 1}}
    path.write_text("user,item,order\nme,i1,1\nme,i1,2\n")
    assert owned(new_histories(make(), path), make()) == {"me": {"i1": 1.5}}
    path.write_text("user,item\nme,i1\nme,i1\nme,i2\n")  # nothing tells when: how often
    assert owned(new_histories(make(), path), make()) == {"me": {"i1": 2, "i2": 1}}


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12))
def test_items_find_their_places(seed: int, n_users: int, n_items: int) -> None:
    rng = np.random.default_rng(seed)
    recommender = shop()
    names = rng.permutation(
        [*(recommender.items.id(int(i)) for i in rng.permutation(ITEMS)[:8]), "x", "y", "z", "w"]
    )
    items = IdMap(names[:n_items].tolist())
    dense = (rng.random((n_users, n_items)) < 0.4) * rng.integers(1, 9, (n_users, n_items)).astype(np.float32)
    audience = fold_in(recommender, sp.csr_matrix(dense), IdMap(map(str, range(n_users))), items)
    expected, lost = {}, []
    for user, row in enumerate(dense):
        history = {item: float(value) for item, value in zip(items, row, strict=True) if value}
        known = {item: value for item, value in history.items() if item in recommender.items}
        if history and not known:
            lost.append(str(user))
        else:
            expected[str(user)] = known
    assert owned(audience, recommender) == expected
    assert audience.histories.has_sorted_indices
    assert [text for text, why in rejected(audience) if why == NO_KNOWN_ITEM] == lost
    assert [text for text, why in rejected(audience) if why == NO_ITEM] == [
        i for i in items if i not in recommender.items
    ]


def test_the_fingerprint_tells_audiences_apart() -> None:
    matrix, users = purchases(), IdMap([f"u{n}" for n in range(USERS)])
    rows = np.arange(USERS)
    same = Audience(users, matrix, rows, rejects())
    more = matrix.copy()
    more.data[3] = 2
    others = [
        Audience(users, matrix, rows[::-1].copy(), rejects()),
        Audience(users, matrix, rows[:-1], rejects()),
        Audience(IdMap([f"v{n}" for n in range(USERS)]), matrix, rows, rejects()),
        Audience(users, purchases(6), rows, rejects()),
        Audience(users, more, rows, rejects()),
    ]
    found = {audience.fingerprint for audience in (same, *others)}
    assert len(found) == 6
    wide = sp.csr_matrix((matrix.data, matrix.indices, matrix.indptr.astype(np.int64)), shape=matrix.shape)
    assert Audience(users, wide, rows, rejects()).fingerprint == same.fingerprint


# rules

KINDS = Categories(["tea", "toys"], np.array([0, 0, 1, 1, -1], np.int32))
FIVE = IdMap(["a", "b", "c", "d", "e"])


@pytest.mark.parametrize(
    ("rules", "left", "unknown"),
    [
        ({"exclude": ["a", "x", "x", "e"]}, "bcd", ["x"]),
        ({"only": pa.array(["b", "a", "y"])}, "ab", ["y"]),
        ({"only": ["a", "b", "z"], "exclude": ["b", "z"]}, "a", ["z"]),
        ({"exclude": []}, "abcde", []),
        ({"exclude_categories": ["tea"], "categories": KINDS}, "cde", []),
        ({"only_categories": ["tea", "toys"], "categories": KINDS}, "abcd", []),
        ({"only_categories": ["tea"], "exclude": ["a"], "categories": KINDS}, "b", []),
    ],
)
def test_rules(rules: dict[str, Any], left: str, unknown: list[str]) -> None:
    barred, found = barred_items(FIVE, **rules)
    assert barred is not None
    assert "".join(FIVE.ids(np.flatnonzero(~barred)).to_pylist()) == left
    assert found == unknown


def test_rules_that_cannot_be() -> None:
    assert barred_items(FIVE, categories=KINDS) == (None, [])
    for rules in ({"only": []}, {"only": ["x"]}, {"exclude": list("abcde")}):
        with pytest.raises(ConfigError, match="leave none of the model's 5 items"):
            barred_items(FIVE, **rules)
    with pytest.raises(ConfigError, match=r"category 'toy'; did you mean 'toys'\?; found: 'tea', 'toys'"):
        barred_items(FIVE, categories=KINDS, only_categories=["toy"])
    many = Categories([f"c{n:02}" for n in range(25)], np.arange(5, dtype=np.int32))
    with pytest.raises(ConfigError, match=r"'c19' and 5 more$"):
        barred_items(FIVE, categories=many, exclude_categories=["%"])
    with pytest.raises(ConfigError, match="give a table of them"):
        barred_items(FIVE, only_categories=["tea"])


# recae.score


def lists(*arguments: Any, **options: Any) -> list[Any]:
    return rows_of(pa.Table.from_batches(recae.score(*arguments, **options), SCHEMA))


def test_score_everybody(tmp_path: Path) -> None:
    recommender = shop()
    expected = by_hand(work_of(recommender))
    assert_same(lists(recommender, n=5), expected)
    save(recommender, tmp_path / "m.recae")
    assert_same(lists(tmp_path / "m.recae", None, 5), expected)
    assert_same(lists(str(tmp_path / "m.recae"), n=5), expected)
    assert {row[1] for row in lists(recommender, n=3, only_items=["i1", "a,b"])} == {"i1", "a,b"}
    assert "i1" not in {
        row[1] for row in lists(recommender, n=ITEMS, exclude_items=["i1"], exclude_owned=False)
    }
    assert_same(
        lists(recommender, n=5, exclude_owned=False), by_hand(work_of(recommender, exclude_owned=False))
    )


def test_the_same_histories_in_every_form(tmp_path: Path) -> None:
    recommender = shop()
    (tmp_path / "h.csv").write_text("user,item\nme,i1\nme,i3\nyou,a\n" + 'you,"a,b"\n')
    expected = lists(recommender, tmp_path / "h.csv", 4)
    assert {row[0] for row in expected} == {"me", "you"}
    table = pa.table({"user": ["me", "me", "you", "you"], "item": ["i1", "i3", "a", "a,b"]})
    assert lists(recommender, table, 4) == expected
    assert lists(recommender, str(tmp_path / "h.csv"), 4) == expected
    read = recae.read_interactions(tmp_path / "h.csv")
    assert isinstance(read, Interactions)
    assert lists(recommender, read, 4) == expected
    dense = np.zeros((2, ITEMS), np.float32)
    dense[0, recommender.items.rows(["i1", "i3"])] = 1
    dense[1, recommender.items.rows(["a,b"])] = 1
    assert lists(recommender, (sp.csr_matrix(dense), ["me", "you"]), 4) == expected


def test_what_score_refuses() -> None:
    recommender = shop()
    with pytest.raises(
        DataError, match=r"shape \(57, 40\), but there are 1 user ids, and the model has 40 items"
    ):
        recae.score(recommender, (purchases(), ["a"]))
    with pytest.raises(ConfigError, match="n must be at least 1"):
        recae.score(recommender, n=0)
    with pytest.raises(DataError, match="without histories"):
        recae.score(shop(histories=None))
    with pytest.raises(
        ColumnError, match=r"'Arrow table': no column is recognised as the user \(who bought\) and the item"
    ):
        recae.score(recommender, pa.table({"a": [1], "b": [2]}))
    with pytest.raises(ConfigError, match="leave none"):
        recae.score(recommender, only_items=[])


def test_a_stream_that_is_left_early_ends() -> None:
    stream = recae.score(shop(), n=3)
    assert next(stream).num_rows > 0
    stream.close()  # type: ignore[attr-defined]
