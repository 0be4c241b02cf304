"""Events and columns of confidence: from a table of events to what a model learns from, stored with it and compared."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from commands import recae, refused

from recae.confidence import Facts, Weighting
from recae.errors import ConfigError
from recae.modelfile import load
from recae.pipeline import train
from recae.reading import ReadOptions, read
from recae.training.checkpoint import Checkpoints

WEIGHTS = {"view": 0.1, "transaction": 1.0}


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of 60 users: each views eight items, twice the first one, and buys three of them."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("events") / "events.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("visitor_id", "item_id", "event", "timestamp"))
        for user in range(60):
            items = rng.choice(30, size=8, replace=False)
            viewed = [items[0], *items]
            writer.writerows((user, i, "view", 1_700_000_000 + 100 * user + k) for k, i in enumerate(viewed))
            writer.writerows((user, i, "cart", 1_700_000_050 + 100 * user) for i in items[:4])
            writer.writerows((user, i, "transaction", 1_700_000_090 + 100 * user) for i in items[:3])
    return path


def test_purchases_alone_count_unless_weights_are_given(events: Path) -> None:
    found = read(events)
    assert found.interactions.n_interactions == 60 * 3
    assert found.interactions.confidences is None
    assert found.report.left_out == {"event 'view'": 60 * 9, "event 'cart'": 60 * 4}
    every = read(events, ReadOptions(where="true"))
    assert every.interactions.n_interactions == 60 * 8
    assert every.report.left_out == {}


def test_confidences_of_a_pair_add_up(events: Path) -> None:
    shop = read(events, ReadOptions.of({"event_weights": WEIGHTS})).interactions
    assert shop.confidences is not None
    values, numbers = np.unique(shop.confidences.round(4), return_counts=True)
    # viewed; viewed and bought; viewed twice and bought
    assert values.tolist() == pytest.approx([0.1, 1.1, 1.2])
    assert numbers.tolist() == [60 * 5, 60 * 2, 60]


def test_confidence_has_mean_one_and_keeps_the_proportions(events: Path) -> None:
    shop = read(events, ReadOptions.of({"event_weights": WEIGHTS})).interactions
    assert shop.confidences is not None
    found = Weighting().confidence(Facts.of(shop))
    assert found is not None
    assert found.mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(found / found[0], shop.confidences / shop.confidences[0], rtol=1e-5)
    assert Weighting().confidence(Facts.of(read(events).interactions)) is None


def test_training_learns_by_them_and_stores_them(events: Path, tmp_path: Path) -> None:
    options = ("--kind", "popularity", "--out", tmp_path / "m.recae")
    plain = recae("train", events, "--kind", "popularity", "--out", tmp_path / "plain.recae")
    weighed = recae("train", events, "--event-weights", "view=.1,transaction=1", *options)
    assert (plain.exit_code, weighed.exit_code) == (0, 0), weighed.stderr
    assert "event 'cart'" in weighed.stderr
    metadata = load(tmp_path / "m.recae").metadata
    assert metadata["reading"]["events"]["weights"] == WEIGHTS
    shown = recae("inspect", tmp_path / "m.recae")
    assert "rows\tevents in 'event': 'transaction', 'view' as 0.1" in shown.stdout


def test_a_kind_that_cannot_weigh_purchases_is_refused(events: Path) -> None:
    with pytest.raises(ConfigError, match="bpr cannot weigh purchases"):
        train(events, kind="bpr", reading=ReadOptions.of({"event_weights": WEIGHTS}))


def test_resuming_with_other_rows_is_refused(events: Path, tmp_path: Path) -> None:
    settings = ("--kind", "sigmoid", "--factors", "4", "--epochs", "2", "--patience", "2", "--seed", "1")
    to = ("--out", tmp_path / "m.recae", "--checkpoint", tmp_path / "c")
    options = ReadOptions(where="true")
    of_training = {"factors": 4, "epochs": 2, "patience": 2, "seed": 1}
    train(events, kind="sigmoid", reading=options, checkpoints=Checkpoints(tmp_path / "c"), **of_training)
    assert (tmp_path / "c").exists()
    other = recae("train", events, "--where", "event <> 'cart'", *settings, *to, "--resume")
    assert other.exit_code == 2
    assert "reading.where" in other.stderr.splitlines()[-1]
    assert recae("train", events, "--where", "true", *settings, *to, "--resume").exit_code == 0


def test_a_column_says_how_much_a_row_counts(tmp_path: Path) -> None:
    path = tmp_path / "plays.csv"
    path.write_text("user,item,hours\na,x,2\na,x,1\na,y,0\nb,x,.5\nb,y,4\nb,z,lots\n")
    found = read(path, ReadOptions(confidence_column="hours"))
    shop = found.interactions
    assert shop.confidences is not None
    assert shop.confidences.tolist() == pytest.approx([3, 0.5, 4])
    assert sum(found.report.left_out.values()) == 2
    refused(recae("train", path, "--confidence-column", "minutes"), "--confidence-column names 'minutes'")
