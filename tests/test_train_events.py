"""Training with other events as inputs: what is measured, used and stored, and that lists are made from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from commands import recae as command
from commands import refused
from eventshops import event_rows
from pyarrow.csv import write_csv
from shopserver import client

import recae
from recae import pipeline
from recae.errors import ConfigError, DataError, ModelFileError, UnknownIdError
from recae.ids import IdMap
from recae.inputs import EventInputs
from recae.modelfile import describe
from recae.models import Ease, EventLinear
from recae.models.blend import Blend, Part
from recae.models.frequency import Frequency
from recae.recommender import TEST, VALIDATION, Recommender
from recae.selection.fit import fit_settings
from recae.selection.progress import Progress
from recae.splits.held_out import hold_out, with_inputs
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def messages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def trained(messages: list[str]) -> Recommender:
    return recae.train(
        event_rows(), kind="event-linear", inputs="cart,view", progress=Progress(on_message=messages.append)
    )


@pytest.fixture(scope="module")
def saved(trained: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "model.recae"
    recae.save(trained, path)
    return path


def test_carts_that_tell_what_is_bought_are_used_and_views_that_tell_nothing_are_not(
    trained: Recommender, messages: list[str]
) -> None:
    told = trained.metadata["inputs"]
    assert told["used"] == ["cart"]
    cart, view = told["worth"]
    assert cart["low"] > 0
    assert view["low"] <= 0
    assert trained.events is not None
    assert trained.events.names == ("cart",)
    assert any("the event 'cart' brings +" in line for line in messages)
    assert any("'view'" in line and "left out" in line for line in messages)
    plain = recae.train(event_rows(), kind="edlae", progress=False)
    ours, theirs = trained.metrics["ndcg@20"][0], plain.metrics["ndcg@20"][0]
    assert ours > theirs


@pytest.mark.parametrize("code", [VALIDATION, TEST])
def test_the_events_of_held_out_purchases_are_not_seen(code: int) -> None:
    found = recae.read(event_rows(), inputs="cart,view")
    assert found.inputs is not None
    plain = hold_out(found.interactions, 0)
    held_out = with_inputs(plain, found.inputs)
    pair, plain_pair = (one.test if code == TEST else one.validation for one in (held_out, plain))
    assert pair is not None
    assert plain_pair is not None
    histories, wanted = pair
    n_items = found.interactions.n_items
    users = np.flatnonzero(plain.codes == code)
    assert np.array_equal(histories[:, :n_items].toarray(), plain_pair[0].toarray())
    for block, name in enumerate(found.inputs.names, start=1):
        seen = histories[:, block * n_items : (block + 1) * n_items].toarray()
        assert not (seen * wanted.toarray()).any()
        assert np.array_equal(seen, found.inputs.block(name)[users].toarray() * (1 - wanted.toarray()))


def test_a_resumed_training_sees_no_events_of_held_out_purchases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(event_rows(60), tmp_path / "events.csv")
    found = recae.read(event_rows(60), inputs="cart")
    assert found.inputs is not None
    carts, held_out = found.inputs.block("cart"), hold_out(found.interactions, 0)
    assert held_out.validation is not None
    users = np.flatnonzero(held_out.codes == VALIDATION)
    wanted = held_out.validation[1].toarray() > 0
    assert (carts[users].toarray()[wanted] > 0).any()  # there is something to hide
    hidden = carts[users].toarray() * ~wanted
    seen: list[sp.csr_matrix] = []

    def fit(kind: str, config: Any, matrix: Any, validation: Any, hooks: Hooks, **words: Any) -> Any:
        if hooks.inputs is not None and validation is not None:  # not the fit on all users
            seen.extend([hooks.inputs.block("cart"), validation[0]])
        return fit_settings(kind, config, matrix, validation, hooks, **words)

    monkeypatch.setattr(pipeline, "fit_settings", fit)
    save = Checkpoints.save

    def interrupting(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        raise KeyboardInterrupt

    options = (
        "train",
        tmp_path / "events.csv",
        "--inputs",
        "cart",
        "--kind",
        "blend",
        "--checkpoint",
        tmp_path / "c",
    )
    options += ("--set", "components=sigmoid,event-linear", "--factors", "4", "--epochs", "2")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupting)
        assert command(*options, "--out", tmp_path / "m.recae").exit_code == 130
    result = command(*options, "--out", tmp_path / "m.recae", "--resume")
    assert result.exit_code == 0, result.stderr
    assert "going on from epoch 1" in result.stderr
    assert len(seen) == 4
    learners = carts[held_out.learners].toarray()
    for taught, histories in (seen[:2], seen[2:]):
        assert np.array_equal(taught.toarray(), np.vstack([learners, hidden]))
        assert np.array_equal(histories.toarray()[:, found.interactions.n_items :], hidden)


def test_the_file_holds_the_events_and_older_files_have_none(
    trained: Recommender, saved: Path, tmp_path: Path
) -> None:
    again = recae.load(saved)
    assert again.events is not None
    assert trained.events is not None
    assert again.events.names == ("cart",)
    assert (again.events.matrix != trained.events.matrix).nnz == 0
    for user in ("u000", "u123"):
        assert again.recommend(user).to_pandas().equals(trained.recommend(user).to_pandas())
    assert describe(saved)["metadata"]["format_version"] == 3
    recae.save(trained, tmp_path / "anonymous.recae", histories=False)
    assert recae.load(tmp_path / "anonymous.recae").events is None
    assert describe(tmp_path / "anonymous.recae")["metadata"]["format_version"] == 2


def test_lists_are_made_from_the_events_wherever_they_are_made(trained: Recommender) -> None:
    assert trained.events is not None
    assert trained.histories is not None
    assert trained.users is not None
    row = trained.users.row("u007")
    wide = trained.events.rows(np.array([row])).beside(sp.csr_matrix(trained.histories[row]))
    scores = trained.model.score(wide)[0]
    assert not np.allclose(scores, trained.model.score(trained.histories[row])[0])
    one = trained.recommend("u007", 5).to_pandas()
    owned = set(trained.histories[row].indices)
    best = [int(item) for item in np.argsort(-scores, kind="stable") if item not in owned][:5]
    assert trained.items.rows(one["item_id"]).tolist() == best
    many = trained.recommend_many(["u007", "u008"], 5).to_pandas()
    assert many[many.user_id == "u007"]["item_id"].tolist() == one["item_id"].tolist()
    pair = trained.score_pairs([("u007", one["item_id"][0])]).to_pandas()
    assert pair["score"][0] == pytest.approx(one["score"][0], rel=1e-5)
    whom = trained.users_for(one["item_id"][0], 300, exclude_owned=False).to_pandas()
    assert whom[whom.user_id == "u007"]["score"].item() == pytest.approx(one["score"][0], rel=1e-5)
    assert set(trained.owned("u007").to_pandas()["item_id"]) == set(
        trained.items.ids(np.array(sorted(owned))).to_pylist()
    )
    assert len(trained.similar_items(one["item_id"][0], 3).to_pandas()) == 3


def test_events_are_reasons_and_the_sum_is_the_score(trained: Recommender) -> None:
    item = trained.recommend("u007", 1).to_pandas()["item_id"][0]
    found = trained.explain("u007", item, 50).to_pandas()
    assert set(found["part"]) == {"base", "owned", "cart", "score"}
    assert found["value"][:-1].sum() == pytest.approx(found["value"].iloc[-1], abs=1e-9)
    carted = found[found.part == "cart"]["item_id"]
    assert trained.events is not None
    assert trained.users is not None
    columns = trained.events.block("cart")[trained.users.row("u007")].indices
    assert set(carted) == set(trained.items.ids(columns).to_pylist())


def test_somebody_new_brings_events_along(trained: Recommender) -> None:
    only = trained.recommend(events={"cart": ["i00", "i01", "nobody's"]}, n=4).to_pandas()
    both = trained.recommend(items=["i02"], events={"cart": ["i00", "i01"]}, n=4).to_pandas()
    assert set(only["item_id"]) <= {f"i{item:02}" for item in range(6)}
    assert "i02" not in set(both["item_id"])
    with pytest.raises(ConfigError, match="names 'view', but the model reads cart"):
        trained.recommend(events={"view": ["i00"]})
    with pytest.raises(ConfigError, match="stored with the model"):
        trained.recommend("u000", events={"cart": ["i00"]})
    with pytest.raises(ConfigError, match="lists of item ids by event"):
        trained.recommend(events=["i00"])  # type: ignore[arg-type]
    with pytest.raises(UnknownIdError, match="no item of the basket or of the events"):
        trained.recommend(events={"cart": ["nobody's"]})


def test_a_table_of_histories_brings_events_along(
    trained: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    table = event_rows()
    own = trained.recommend_many(["u003", "u201"], 5).to_pandas()
    with caplog.at_level("WARNING", logger="recae"):
        folded = trained.recommend_many(histories=table, inputs="cart", n=5).to_pandas()
    assert "name those that" not in caplog.text
    found = folded[folded.user_id.isin(["u003", "u201"])]
    assert found["item_id"].tolist() == own["item_id"].tolist()
    with caplog.at_level("WARNING", logger="recae"):
        without = trained.recommend_many(histories=table, n=5).to_pandas()
    assert without["score"].tolist() != folded["score"].tolist()
    assert "such as --inputs cart (inputs='cart')" in caplog.text
    with pytest.raises(
        ConfigError, match="names 'view', but of other events than purchases the model reads cart"
    ):
        trained.recommend_many(histories=table, inputs="view")


def test_the_server_reads_events(trained: Recommender, tmp_path: Path) -> None:
    model = trained
    with client(trained, tmp_path) as opened:

        def ask(**body: Any) -> Any:
            return opened.post("/recommend", json=body)

        found = ask(user="u007", n=5, explain=True).json()["recommendations"]
        assert [one["item_id"] for one in found] == model.recommend("u007", 5).to_pandas()["item_id"].tolist()
        assert any(reason.get("event") == "cart" for one in found for reason in one["because"])
        assert all(reason.get("event", "cart") == "cart" for one in found for reason in one["because"])
        session = ask(items=[], events={"cart": ["i00", "i01"]}, n=4).json()["recommendations"]
        expected = model.recommend(events={"cart": ["i00", "i01"]}, n=4).to_pandas()
        assert [one["item_id"] for one in session] == expected["item_id"].tolist()
        assert ask(items=["i00"], events={"like": ["i01"]}).status_code == 404
        assert ask(user="u007", events={"cart": ["i01"]}).status_code == 422
        assert ask(items=[], events={"cart": ["nobody's"]}).status_code == 404


def test_the_server_reads_events_and_values_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users, items = 20, 9
    histories = sp.random(users, items, 0.4, format="csr", dtype=np.float32, random_state=1)
    carts = sp.csr_matrix((rng.random((users, items)) < 0.3).astype(np.float32))
    own = np.tile(np.eye(items, dtype=np.bool_), (2, 1))
    weights = np.where(own, 0, rng.normal(size=own.shape)).astype(np.float32)
    parts = (
        Part(Frequency.fit(histories), 1.0, (0.3, 0.0)),
        Part(EventLinear(weights, ("cart",), (0,), {}), 0.5, (1.0, 0.0)),
    )
    ids = [[f"{letter}{n}" for n in range(size)] for letter, size in (("u", users), ("i", items))]
    events = EventInputs.of(("cart",), [carts])
    model = Recommender(Blend(parts, {}), IdMap(ids[0]), IdMap(ids[1]), histories=histories, events=events)
    with client(model, tmp_path) as opened:
        asked = {"requests": [{"user": user, "exclude_owned": False, "n": items} for user in ids[0]]}
        answers = opened.post("/recommend/batch", json=asked).json()["results"]
    for user, answer in zip(ids[0], answers, strict=True):
        expected = model.recommend(user, n=items, exclude_owned=False).to_pandas()
        found = answer["recommendations"]
        assert [one["item_id"] for one in found] == expected["item_id"].tolist()
        np.testing.assert_allclose([one["score"] for one in found], expected["score"], rtol=1e-5)


def test_a_table_of_histories_has_events_of_items_that_nobody_bought_there(trained: Recommender) -> None:
    rows = [
        ("a", "i00", "purchase"),
        ("a", "i01", "add_to_cart"),
        ("b", "new", "purchase"),
        ("b", "i09", "add_to_cart"),
        ("c", "i02", "add_to_cart"),
    ]
    names = ("user_id", "item_id", "event_type")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    found = trained.recommend_many(histories=table, inputs="cart", n=3).to_pandas()
    for user, items, carted in (("a", ["i00"], "i01"), ("b", [], "i09")):
        alone = trained.recommend(items=items, events={"cart": [carted]}, n=3).to_pandas()
        own = found[found.user_id == user]
        assert own["item_id"].tolist() == alone["item_id"].tolist()
        assert own["score"].tolist() == alone["score"].tolist()
    assert set(found["user_id"]) == {"a", "b"}


def test_the_default_blend_has_a_part_that_reads_events(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"factors": 4, "epochs": 1, "sparse-linear.neighbours": 5}
    model = recae.train(event_rows(), inputs="cart", progress=False, **quick)
    assert "event-linear" in model.metadata["blend"]["validation_ndcg@20"]
    monkeypatch.setattr("recae.selection.blend.EVENT_BYTES_AT_MOST", 4 * (2 * 48) ** 2 - 1)
    said: list[str] = []
    without = recae.train(event_rows(), inputs="cart", progress=Progress(on_message=said.append), **quick)
    assert "event-linear" not in without.metadata["blend"]["validation_ndcg@20"]
    assert without.events is None
    assert any(line.startswith("event-linear is left out: 4 solves of 96 inputs") for line in said)


def test_a_blend_of_named_parts_may_have_one_that_reads_events() -> None:
    settings = {"components": "popularity,event-linear"}
    model = recae.train(event_rows(), kind="blend", inputs="cart", progress=False, **settings)
    assert model.events is not None
    assert "event-linear" in model.metadata["blend"]["weights"]
    assert model.recommend("u000", 3).to_pandas()["item_id"].size == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"kind": "ease", "inputs": "cart"}, "ease reads none"),
        ({"kind": "blend", "components": "ease,popularity", "inputs": "cart"}, "blend reads none"),
        ({"kind": "event-linear"}, "add --inputs cart,view"),
        ({"kind": "event-linear", "inputs": "cart", "repeats": True}, "leave out --inputs or --repeats"),
        ({"kind": "auto", "inputs": "cart"}, "auto reads none"),
    ],
)
def test_what_reads_no_events_is_not_given_any(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recae.train(event_rows(20), progress=False, **words)


def test_what_reads_purchases_alone_refuses_events(trained: Recommender) -> None:
    table = event_rows(20)
    with pytest.raises(ConfigError, match="tune learns from purchases alone"):
        recae.tune(table, "ease", inputs="cart", trials=1, progress=False)
    with pytest.raises(ConfigError, match="evaluate learns from purchases alone"):
        recae.evaluate(table, "ease", inputs="cart", progress=False)
    with pytest.raises(
        ConfigError, match=r"event-linear reads other events.*tune learns from purchases alone"
    ):
        recae.tune(table, "event-linear", trials=1, progress=False)
    with pytest.raises(ConfigError, match=r"event-linear reads other events.*evaluate learns from purchases"):
        recae.evaluate(table, "event-linear", progress=False)
    named = {"blend": {"components": "event-linear,popularity"}}
    with pytest.raises(ConfigError, match=r"event-linear reads other events.*evaluate learns from purchases"):
        recae.evaluate(table, "blend", settings=named, progress=False)
    with pytest.raises(ConfigError, match="the model's own users are in its file"):
        trained.evaluate(table, histories=table, inputs="cart")
    with pytest.raises(ConfigError, match="give the table itself"):
        recae.train(recae.read(table, inputs="cart"), kind="event-linear", progress=False)


def test_events_of_a_damaged_file_are_refused(trained: Recommender, tmp_path: Path) -> None:
    assert trained.events is not None
    assert trained.histories is not None
    n_items = trained.model.n_items
    with pytest.raises(DataError, match="do not fit a model that reads cart"):
        Recommender(
            trained.model,
            trained.users,
            trained.items,
            histories=trained.histories,
            events=EventInputs(("view",), trained.events.matrix),
        )
    plain = Ease(np.zeros((n_items, n_items), np.float32), {})
    with pytest.raises(DataError, match="reads none"):
        Recommender(plain, trained.users, trained.items, histories=trained.histories, events=trained.events)
    wrong = trained.events.matrix.copy()
    wrong.indices[wrong.indptr[1] - 1] = n_items
    with pytest.raises(ModelFileError, match=r"'events\.indices' holds columns outside"):
        recae.save(replace(trained, events=EventInputs(("cart",), wrong)), tmp_path / "wrong.recae")


def test_the_command_line(tmp_path: Path) -> None:
    import pyarrow.csv as pv

    table, model = tmp_path / "events.csv", tmp_path / "model.recae"
    pv.write_csv(event_rows(), table)
    run = command("train", table, "--inputs", "cart,view", "--kind", "event-linear", "--out", model)
    assert "the event 'cart' brings" in run.stderr
    explained = command("explain", "--model", model, "--user", "u007", "--item", "i01")
    assert "\ncart\t" in explained.stdout
    assert "event cart" in command("inspect", model).stdout
    own, folded = tmp_path / "own.csv", tmp_path / "folded.csv"
    command("score", "--model", model, "--out", own, "-n", "3")
    command("score", "--model", model, "--out", folded, "-n", "3", "--histories", table, "--inputs", "cart")
    assert own.read_text() == folded.read_text()
    alone = command("score", "--model", model, "--out", own, "--inputs", "cart")
    refused(alone, "--inputs names events of --histories")
