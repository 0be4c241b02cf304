"""Updates of a model: histories and ids are those of reading all at once, closed forms those of a fit to all."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import recae, refused, start
from modelfiles import HISTORIES, METADATA, TABLE, pack, parts, recommender, saved
from threadpoolctl import threadpool_limits

import recae as package
from recae.errors import ColumnError, ConfigError
from recae.modelfile import load, save
from recae.recency import last_purchase
from recae.recommender import LEARNED, Recommender
from recae.selection.fit import fit_simple, make_settings
from recae.updating.update import Updated
from recae.updating.update import update as updated


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The last bits of a solve may depend on how BLAS parts it among threads."""
    with threadpool_limits(1):
        yield


NAMES = {"1": "Mug", "02": "Saucer", "Ö": "Öl", "x,y": "Comma"}


def rows(seed: int = 0, n: int = 900, users: int = 40) -> pd.DataFrame:
    """Purchases in the order of their times, of users and items with ids of all kinds; the later half knows more."""
    rng = np.random.default_rng(seed)
    later = np.arange(n) / n
    user = (rng.random(n) * (users / 2 + users / 2 * later)).astype(int)
    item = (rng.random(n) ** 2 * (20 + 15 * later)).astype(int)
    ids = np.array([*NAMES, *(f"i{k}" for k in range(40))])
    return pd.DataFrame(
        {
            "user_id": np.where(user % 3 == 0, user.astype(str), np.char.add("u", user.astype(str))),
            "item_id": ids[item],
            "item_name": [NAMES.get(i, f"name of {i}") for i in ids[item]],
            "quantity": 1,
            "timestamp": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n) * 97, "m"),
        }
    )


def csv(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def known(source: Any, kind: str = "popularity", decay: float | None = None, **options: Any) -> Recommender:
    """What training on these purchases gives, without the figures, which take longest."""
    found = package.read(source, package.ReadOptions.of({**options, "baskets": decay is not None}))
    bought, events = found.interactions, found.events
    metadata: dict[str, Any] = {"reading": dict(found.report.counting), **last_purchase(bought.times)}
    if bought.filters is not None:
        metadata["filters"] = bought.filters.as_dict()
    settings = {} if decay is None else {"decay": decay}
    model, _ = fit_simple(kind, bought.matrix.copy(), make_settings(kind, settings))
    histories = bought.matrix if events is None or decay is None else events.weights(decay)
    return Recommender(model, bought.users, bought.items, bought.item_names, histories, metadata)


def same(one: Recommender, other: Recommender) -> None:
    """Ids, names and histories are the same, to the last bit and in the same order."""
    assert one.users == other.users
    assert one.items == other.items
    assert one.histories is not None
    assert other.histories is not None
    for array in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one.histories, array), getattr(other.histories, array))
    if other.item_names is not None:
        assert one.item_names is not None
        assert one.item_names.to_pylist() == other.item_names.to_pylist()


def test_ids_and_histories_are_those_of_one_table(tmp_path: Path) -> None:
    frame = rows()
    whole = known(csv(frame, tmp_path / "all.csv"))
    found = known(csv(frame[:500], tmp_path / "0.csv"))
    first = found
    for k, (begin, end) in enumerate(((480, 700), (700, 701), (600, 900))):  # which overlap
        found = found.update(csv(frame[begin:end], tmp_path / f"{k + 1}.csv"))
    same(found, whole)
    assert first.users is not None
    assert whole.users is not None
    assert len(first.users) < len(whole.users)
    assert len(first.items) < len(whole.items)
    at_once = first.update(frame[500:])
    same(at_once, whole)
    assert at_once.metadata["fingerprint"] == found.metadata["fingerprint"]
    assert found.metadata["updates"]["number"] == 3
    assert at_once.metadata["updates"] == found.metadata["updates"] | {"number": 1}
    assert found.metadata["last_purchase"] == whole.metadata["last_purchase"]
    assert found.metadata["refit"] == {"users": len(whole.users)}


def test_a_matrix_whose_ids_are_in_no_order_grows_at_its_end() -> None:
    old = recommender()
    found = old.update([("Zoë", "new"), ("a", "0"), ("42", "0")], take_back=False)
    assert found.users is not None
    assert list(found.users) == ["42", "007", " a b ", "Zoë", "a"]
    assert list(found.items) == [*old.items, "new"]
    expected = np.zeros((5, 6), np.float32)
    expected[:4, :5] = HISTORIES
    expected[3, 5] = expected[4, 1] = expected[0, 1] = 1
    assert found.histories is not None
    np.testing.assert_array_equal(found.histories.toarray(), expected)
    assert found.held_out is not None
    assert list(found.held_out) == [0, 0, 1, 2, LEARNED]
    assert found.item_names is not None
    assert found.item_names.to_pylist() == [*old.item_names.to_pylist(), None]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["popularity", "itemknn", "ease"])
def test_closed_forms_are_those_of_a_fit_to_all_purchases(kind: str) -> None:
    frame = rows()
    old = known(frame[:600], kind)
    found = old.update(frame[600:])
    settings = make_settings(
        kind, old.model.config()
    )  # those that were chosen from the purchases of the training
    expected, _ = fit_simple(kind, package.read(frame).interactions.matrix.copy(), settings)
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.model.arrays()[name], array)
    assert found.model.config() == expected.config()


def test_the_same_purchases_twice_change_nothing(tmp_path: Path) -> None:
    frame = rows()
    save(known(frame[:600]), tmp_path / "m.recae")
    new = csv(frame[600:], tmp_path / "new.csv")
    first = json.loads(recae("update", tmp_path / "m.recae", new, "--json").stdout)
    assert first["changed"]
    assert first["pairs"]["new"] > 0
    assert first["parts"] == {"popularity": "solved again"}
    before = (tmp_path / "m.recae").stat()
    result = recae("update", tmp_path / "m.recae", new, "--json")
    second = json.loads(result.stdout)
    assert not second["changed"]
    assert second["pairs"] == {
        "new": 0,
        "known": first["pairs"]["new"] + first["pairs"]["known"],
        "taken_back": 0,
    }
    assert second["fingerprint"] == first["fingerprint"]
    after = (tmp_path / "m.recae").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "stays as it is" in result.stderr
    # somewhere else it is written all the same
    assert recae("update", tmp_path / "m.recae", new, "--out", tmp_path / "other.recae").exit_code == 0
    assert (tmp_path / "other.recae").read_bytes() == (tmp_path / "m.recae").read_bytes()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    frame = rows()
    save(known(frame[:600], "itemknn"), tmp_path / "m.recae")
    new = csv(frame[600:], tmp_path / "new.csv")
    for name in ("a", "b"):
        assert recae("update", tmp_path / "m.recae", new, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_returns_take_purchases_back() -> None:
    old = known([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("c", "y"), ("c", "z")])
    new = pd.DataFrame(
        [("a", "x", -1), ("b", "x", -2), ("b", "x", 3), ("c", "y", 0), ("d", "x", -1), ("c", "w", 1)],
        columns=["user_id", "item_id", "quantity"],
    )
    told: list[str] = []
    found = updated(old, new, progress=package.Progress(on_message=told.append))
    assert (found.added, found.known, found.taken_back, found.new_items) == (1, 1, 1, 1)
    assert [row.item_id for row in found.recommender.owned("a")] == ["y"]
    assert [row.item_id for row in found.recommender.owned("b")] == ["x", "y"]  # it was bought again
    assert [row.item_id for row in found.recommender.owned("c")] == ["w", "x", "y", "z"]  # 0 is no return
    assert any("1 taken back" in line for line in told)
    again = updated(found.recommender, new)
    assert not again.changed
    assert again.recommender is found.recommender
    stays = old.update(new, take_back=False)
    assert [row.item_id for row in stays.owned("a")] == ["x", "y"]


def test_a_table_of_nothing_new_is_no_error(tmp_path: Path) -> None:
    old = known(rows())
    for text in ("user_id,item_id\n", "user_id,item_id,quantity\nu1,1,-0\n"):
        (tmp_path / "none.csv").write_text(text)
        assert not updated(old, tmp_path / "none.csv").changed


def repeats(frame: pd.DataFrame, decay: float = 0.8) -> Recommender:
    return known(frame, "frequency", decay)


def test_repeat_purchases_count_as_in_one_table() -> None:
    frame = rows(n=600)
    old = repeats(frame[:400])
    new = frame[350:]  # which overlaps: only what is later counts
    found = updated(old, new)
    whole = repeats(frame)
    same_values(found.recommender, whole)
    np.testing.assert_array_equal(found.recommender.model.arrays()["shares"], whole.model.arrays()["shares"])
    assert not updated(found.recommender, new).changed
    once = old.update(frame[400:500]).update(frame[500:])
    same_values(once, whole)


def same_values(one: Recommender, other: Recommender) -> None:
    """As `same`, but for the rounding of values."""
    assert one.users == other.users
    assert one.items == other.items
    assert one.histories is not None
    assert other.histories is not None
    np.testing.assert_array_equal(one.histories.indptr, other.histories.indptr)
    np.testing.assert_array_equal(one.histories.indices, other.histories.indices)
    np.testing.assert_allclose(one.histories.data, other.histories.data, rtol=1e-5)


def late(user: str, item: str, when: str) -> pd.DataFrame:
    return pd.DataFrame([(user, item, 1, when)], columns=["user_id", "item_id", "quantity", "timestamp"])


def test_a_purchase_of_2099_hides_none_that_comes_later() -> None:
    frame = rows(n=300)
    for old in (known(frame), repeats(frame)):
        last = old.metadata["last_purchase"]
        wrong = old.update(pd.concat([late("u1", "i0", "2099-01-01"), late("u2", "i1", "2024-03-01")]))
        assert wrong.metadata["last_purchase"] == pd.Timestamp("2024-03-01").timestamp() > last
        right = wrong.update(late("u2", "i2", "2024-03-02"), since_last=True)
        assert right is not wrong
        assert "i2" in [row.item_id for row in right.owned("u2")]
    alone = known(frame).update(late("u1", "i0", "2099-01-01"))
    assert alone.metadata["last_purchase"] == last


def test_only_rows_since_the_last_purchase_are_read() -> None:
    frame = rows()
    old = known(frame[:600])
    # what is dated before is not read, though the model does not know it
    missed = frame[600:].assign(timestamp=lambda f: f.timestamp - pd.Timedelta(days=3650))
    assert updated(old, missed).added > 0
    assert not updated(old, missed, since_last=True).changed
    assert updated(old, frame[590:], since_last=True).known < updated(old, frame[590:]).known
    with pytest.raises(ColumnError, match=r"no column of times.*--time-column, or leave --since-last out"):
        updated(old, frame[["user_id", "item_id"]], since_last=True)
    silent = known(frame[["user_id", "item_id"]])
    assert "last_purchase" not in silent.metadata
    with pytest.raises(ConfigError, match="does not say when its last purchase was"):
        updated(silent, frame, since_last=True)
    with pytest.raises(ConfigError, match="while a table is read"):
        updated(old, package.read(frame).interactions, since_last=True)


def test_filters_and_chosen_rows_are_those_of_the_training() -> None:
    frame = rows().assign(rating=lambda f: 1 + np.arange(len(f)) % 5)
    filters = package.Filters(exclude_items=["i0"], since="2024-01-05", until="2024-01-20")
    later = package.Filters(exclude_items=["i0"], since="2024-01-05")
    old = known(frame[:600], filters=filters, min_rating=4)
    found = old.update(frame)  # which goes on after the end of the period
    whole = known(frame, filters=later, min_rating=4)
    same(found, whole)
    assert found.metadata["filters"] == later.as_dict()
    other = {"where": "rating < 4"}
    same(known(frame[:600], **other).update(frame[600:]), known(frame, **other))


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"filters": {"min_user_purchases": 2}}, "minimums .*need all purchases.*recae train"),
        ({"weights": {"half_life": 30}}, "count by their age or quantity.*without --half-life"),
        ({"reading": {"confidence": "sure"}}, "some events count more.*--confidence-column"),
        (
            {"reading": {"events": {"weights": {"view": 0.1, "buy": 1}}}},
            "some events count more.*--event-weights",
        ),
    ],
)
def test_models_that_need_all_purchases_are_refused(metadata: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recommender(metadata=metadata).update([("a", "b")])


def test_new_purchases_that_count_unequally_are_refused() -> None:
    frame = rows(n=60).assign(event=["view", "purchase"] * 30)
    for options in ({"event_weights": {"view": 0.1, "purchase": 1}}, {"confidence_column": "quantity"}):
        with pytest.raises(ConfigError, match="some of the new purchases count more than others"):
            recommender().update(frame, **options)
    found = recommender().update(frame, event_weights={"view": 1, "purchase": 1})
    assert found.metadata["updates"]["pairs"] == len(frame[["user_id", "item_id"]].drop_duplicates())


def test_metadata_of_a_training_is_what_refusals_look_at() -> None:
    found = package.train(rows(n=300), "popularity", progress=False, half_life=30, min_user_purchases=2)
    assert found.metadata["weights"]
    assert found.metadata["filters"] == {"min_user_purchases": 2}


def test_refusals_on_the_command_line(tmp_path: Path) -> None:
    save(recommender(), tmp_path / "bare.recae", histories=False)
    save(recommender(), tmp_path / "m.recae")
    new = csv(rows(n=50), tmp_path / "new.csv")
    before = (tmp_path / "m.recae").read_bytes()
    refused(recae("update", tmp_path / "bare.recae", new), "saved without histories", "recae train")
    refused(recae("update", tmp_path / "none.recae", new), "there is no model file")
    refused(recae("update", tmp_path / "m.recae", tmp_path / "none.csv"), "none.csv")
    refused(recae("update", tmp_path / "m.recae", new, "--min-user-purchases", "2"), "minimums")
    refused(recae("update", tmp_path / "m.recae", new, "--out", new), "it is also the input")
    refused(recae("update", tmp_path / "m.recae", new, "--device", "tpu"), "device is one of")
    assert (tmp_path / "m.recae").read_bytes() == before
    with pytest.raises(ConfigError, match=r"recae\.update has no option 'colour'"):
        recommender().update([("a", "b")], colour=1)


def test_a_model_of_format_1_is_updated(tmp_path: Path) -> None:
    metadata, tensors = parts(saved(tmp_path, recommender()))
    del tensors["users.held_out"]
    (tmp_path / "old.recae").write_bytes(pack(metadata | {"format_version": 1}, tensors))
    new = tmp_path / "new.csv"
    new.write_text("user_id,item_id\n42,P\n42,85123A\n")
    assert recae("update", tmp_path / "old.recae", new).exit_code == 0
    found = load(tmp_path / "old.recae")
    assert found.metadata["metrics"] == METADATA["metrics"]
    assert found.held_out is None
    assert [row.item_id for row in found.owned("42")] == ["85123A", "0", "x" * 30, "P"]


def test_ids_with_control_characters_are_ids_like_others(tmp_path: Path) -> None:
    strange = ["a\tb", "line\nbreak", "\x1b[31mred", "\u202eturned", "nul\x00"]
    frame = pd.DataFrame({"user_id": [*strange, "z"], "item_id": [*strange[::-1], "z"]})
    plain = [("a", "x"), ("b", "y"), ("a", "y")]
    found = known(plain).update(frame)
    whole = known([*plain, *frame.itertuples(index=False, name=None)])
    same(found, whole)
    save(found, tmp_path / "m.recae")
    same(load(tmp_path / "m.recae"), whole)


def test_absurd_quantities_are_one_purchase() -> None:
    old = known(rows(n=300))
    new = io.StringIO("user_id,item_id,quantity\nu1,q1,1e308\nu1,q2,-1e308\nu1,q3,1e999\nu1,q1,1e308\n")
    found = updated(old, pd.read_csv(new, dtype=str), reading=package.ReadOptions(quantity_column="quantity"))
    assert isinstance(found, Updated)
    assert found.added == 1
    assert "q1" in found.recommender.items


def test_what_stops_the_writing_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.recae"
    save(recommender(), path)
    before = path.read_bytes()
    new = tmp_path / "new.csv"
    new.write_text("user_id,item_id\n42,P\n")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    result = recae("update", path, new)
    assert result.exit_code == 130
    assert "no partial file is left" in result.stderr
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.recae", "new.csv"]


@pytest.mark.thorough
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs pidfd_open")
def test_a_kill_at_any_moment_leaves_a_whole_model(tmp_path: Path) -> None:
    frame, path = rows(), tmp_path / "m.recae"
    save(known(frame[:600], "itemknn"), path)
    before, new = path.read_bytes(), csv(frame[600:], tmp_path / "new.csv")

    def run(kill_after: float | None = None) -> int:
        process = start("update", path, new, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    began = time.monotonic()
    assert run() == 0
    took, after = time.monotonic() - began, path.read_bytes()
    assert after != before
    rng, killed = random.Random(0), 0
    while killed < 6:
        path.write_bytes(before)
        killed += run(rng.uniform(0, 1.05) * took) == -9
        assert path.read_bytes() in (before, after)
    path.write_bytes(before)
    assert run() == 0
    assert path.read_bytes() == after


def test_how_often_a_model_was_updated_is_said(tmp_path: Path) -> None:
    found = recommender().update([("42", "P")]).update([("42", "Q"), ("new", "P")])
    assert "updated 2 times since then, by 3 pairs" in str(found.summary())
    save(found, tmp_path / "m.recae")
    assert "updated 2 times since then, by 3 pairs" in recae("inspect", tmp_path / "m.recae").stdout
    broken = {"updates": {"number": "x", "pairs": None}}
    assert "updated" not in str(recommender(metadata=broken).summary())
    assert recommender(metadata=broken).update([("42", "P")]).metadata["updates"]["number"] == 1


def test_a_table_of_items_stays() -> None:
    old, later = rows(n=300), rows(seed=1, n=300)
    model = dataclasses.replace(known(old), item_table=TABLE)
    assert updated(model, later).recommender.item_table is TABLE
