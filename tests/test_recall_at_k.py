"""scripts/recall_at_k.py: its figures against a slow count, its settings, and its one-line errors."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from recalls import (
    QUICK,
    ROOT,
    SCRIPT,
    check_error,
    make_pair,
    make_purchases,
    matrix_of,
    popularity,
    results,
    run,
    script,
    slow,
)

from recae.kinds import SETTINGS
from recae.models import ItemKNN
from recae.training.config import SigmoidSettings, resolve
from recae.training.kinds.sigmoid import train_sigmoid


@pytest.fixture
def pair(tmp_path):
    return make_pair(tmp_path)


@pytest.fixture
def purchases(tmp_path):
    return make_purchases(tmp_path)


# figures


@pytest.mark.parametrize("as_folder", [True, False])
def test_popularity_of_a_pair(pair, as_folder):
    train, test, n_items, folder = pair
    data = [folder] if as_folder else ["--train", folder / "train.npz", "--test", folder / "test.npz"]
    found = results(*data, "--kind", "popularity", "-k", 3, "-k", 10, "-k", 100)
    expected = slow(popularity(train, n_items, 60), train, test, (3, 10, 100))
    assert found["metrics"] == pytest.approx(expected, abs=1e-12)
    assert len(set(expected.values())) > 6  # the definitions differ on this input
    assert found["n_users"] == sum(map(bool, test)) < 60
    assert found["data"] == {
        "rule": "train and test matrices",
        "users": 60,
        "items": n_items,
        "interactions": sum(map(len, train)),
        "held_out": sum(map(len, test)),
    }
    assert found["seconds_per_epoch"] is None
    assert found["config"] == {"seed": 0}


def test_item_knn_of_a_pair(pair):
    train, test, n_items, folder = pair
    found = results(folder, "--kind", "itemknn", "--set", "k=7", "--set", "weighting=cosine", "-k", 5)
    matrix = matrix_of(train, n_items).astype(np.float32)
    scores = ItemKNN.fit(matrix, k=7, weighting="cosine").score(matrix)
    assert found["metrics"] == pytest.approx(slow(scores.tolist(), train, test, (5,)), abs=1e-12)
    assert found["config"] == {"k": 7, "weighting": "cosine", "seed": 0}


def test_sigmoid_of_a_pair(pair):
    train, test, n_items, folder = pair
    settings = [
        "--factors",
        6,
        "--epochs",
        3,
        "--seed",
        5,
        "--set",
        "dropout=0.25",
        "--set",
        "learning_rate=0.05",
    ]
    found = results(folder, *settings)
    config = SigmoidSettings(factors=6, epochs=3, seed=5, dropout=0.25, learning_rate=0.05)
    matrix = matrix_of(train, n_items).astype(np.float32)
    scores = train_sigmoid(matrix, config)[0].score(matrix)
    assert found["metrics"] == pytest.approx(slow(scores.tolist(), train, test, (10, 20, 50)), abs=1e-12)
    assert found["config"] == resolve(config, matrix).as_dict()
    assert found["training_seconds"] >= found["seconds_per_epoch"] > 0
    assert 2**20 < found["peak_memory_bytes"] < 2**40


def test_the_resolved_number_of_epochs_is_reported(pair):
    train, _, n_items, folder = pair
    chosen = resolve(SigmoidSettings(), matrix_of(train, n_items)).epochs
    assert results(folder, "--factors", 2, "--set", "epochs=none")["config"]["epochs"] == chosen


def test_the_printed_table(pair):
    train, test, n_items, folder = pair
    result = run(folder, "--factors", 3, "--epochs", 4, "-k", 10)
    assert result.exit_code == 0
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in result.stdout.splitlines())
    assert set(lines) >= {"recall@10", "capped_recall@10", "ndcg@10", "peak memory", "config.dropout"}
    assert "recall@20" not in lines
    assert lines["users evaluated"] == str(sum(map(bool, test)))
    assert lines["config.factors"] == "3"
    assert re.fullmatch(r"\d+\.\d\d s", lines["training"])
    assert re.fullmatch(r"\d+\.\d\d s \(median\)", lines["an epoch"])
    epochs = re.findall(r"^epoch (\d): loss \S+, [\d.]+ s, [\d,]+ users/s$", result.stderr, re.MULTILINE)
    assert epochs == ["1", "2", "3", "4"]

    printed = run(folder, "--kind", "popularity", "-k", 10).stdout
    for name, value in slow(popularity(train, n_items, 60), train, test, (10,)).items():
        assert re.search(rf"^{re.escape(name)} +{value:.5f}$", printed, re.MULTILINE)


# settings


def test_every_kind_but_auto_can_be_measured():
    assert set(script.KINDS) == set(SETTINGS) - {"auto"}


def test_a_blend_with_settings_of_its_parts(pair):
    parts = ["--set", "components=sigmoid,itemknn", "--set", "sigmoid.factors=4", "--set", "sigmoid.epochs=2"]
    config = results(pair[3], "--kind", "blend", *parts, "--set", "itemknn.k=3", "-k", 5)["config"]
    used = {part["kind"]: part["config"] for part in config["parts"]}
    assert used
    assert used.get("sigmoid", {"factors": 4})["factors"] == 4
    assert used.get("itemknn", {"k": 3})["k"] == 3


def test_intervals(pair):
    found = results(pair[3], "--kind", "popularity", "-k", 5, "--intervals")
    assert set(found["intervals"]) == set(found["metrics"])
    for name, (low, high) in found["intervals"].items():
        assert low < found["metrics"][name] < high
    assert "intervals" not in results(pair[3], "--kind", "popularity", "-k", 5)
    low, high = found["intervals"]["ndcg@5"]
    printed = run(pair[3], "--kind", "popularity", "-k", 5, "--intervals").stdout
    assert f"  [{low:.5f}, {high:.5f}]" in printed


def test_patience_is_said_to_do_nothing(pair):
    result = run(pair[3], *QUICK, "--set", "patience=3")
    assert result.exit_code == 0
    assert "patience has no effect" in result.stderr


# errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "factor=8"], ["no setting 'factor'", "'factors'"]),
        (["--set", "zzz=8"], ["no setting 'zzz'", "choose one of factors, epochs"]),
        (["--set", "factors"], ["key=value", "'factors'"]),
        (["--set", "factors=1.5"], ["factors is a whole number", "'1.5'"]),
        (["--factors", "many"], ["factors is a whole number", "'many'"]),
        (["--epochs", "few"], ["epochs is a whole number from 1 to 100000 or 'none'", "'few'"]),
        (["--set", "dropout=half"], ["dropout is a number", "'half'"]),
        (["--set", "dropout=1.5"], ["dropout", "1.5"]),
        (["--set", "dropout=nan"], ["dropout", "nan"]),
        (["--set", "dtype=int8"], ["dtype", "int8"]),
        (["--factors", "8", "--set", "factors=9"], ["'factors' is given twice"]),
        (["--kind", "auto"], ["no model of kind 'auto'"]),
        (["--kind", "sigmoids"], ["'sigmoids'", "did you mean 'sigmoid'?"]),
        (["--kind", "popularity", "--epochs", "1"], ["popularity has no setting 'epochs'", "sigmoid"]),
        (["--kind", "itemknn", "--set", "weights=bm25"], ["no setting 'weights'", "'weighting'"]),
        (["--kind", "itemknn", "--set", "k=0"], ["k is a whole number from 1"]),
        (["--kind", "itemknn", "--set", "weighting=bm52"], ["bm52", "bm25"]),
        (["-k", "10", "-k", "0"], ["at least 1", "is 0"]),
        (["-k", "-3"], ["at least 1", "is -3"]),
        (["--validate", "1"], ["between 0 and 1", "1.0"]),
        (["--split", "items"], ["--split is for tables"]),
        (["--cut", "2021-10-06"], ["--cut is for tables"]),
        (["--user-column", "who"], ["--user-column is for tables"]),
        (["--train", "other.npz"], ["one or the other"]),
    ],
)
def test_wrong_options(pair, options, words):
    check_error(run(pair[3], *options), *words)


# as a program


def program(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_as_a_program(pair):
    done = program(pair[3], "--kind", "popularity", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["kind"] == "popularity"
    check_error(run(pair[3] / "nowhere.csv", "--split", "last"))
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")


def test_the_definitions_are_in_the_help():
    text = run("--help").stdout
    for formula in ("|L_u ∩ T_u| / |T_u|", "|L_u ∩ T_u| / min(k, |T_u|)", "/ log2(i+1)"):
        assert formula in text


def test_popularity_on_gowalla():
    folder = Path(os.environ.get("RECAE_DATA", "")) / "gowalla"
    if not os.environ.get("RECAE_DATA") or not folder.is_dir():
        pytest.skip("the Gowalla matrices are not here: RECAE_DATA does not name a folder with gowalla/")
    found = results(folder, "--kind", "popularity", "-k", 20)
    # dict: an npz file decompresses a member anew at every access
    train, test = (dict(np.load(folder / f"{part}.npz")) for part in ("train", "test"))
    by_owners = [
        item for item, _ in sorted(Counter(train["indices"].tolist()).items(), key=lambda p: (-p[1], p[0]))
    ]
    recalls = []
    for user in range(len(train["indptr"]) - 1):
        history, held = (
            set(part["indices"][part["indptr"][user] : part["indptr"][user + 1]].tolist())
            for part in (train, test)
        )
        if held:
            best: list[int] = []
            for item in by_owners:
                if item not in history:
                    best.append(item)
                if len(best) == 20:
                    break
            recalls.append(len(held.intersection(best)) / len(held))
    assert found["metrics"]["recall@20"] == pytest.approx(sum(recalls) / len(recalls), abs=1e-12)
    assert found["n_users"] == len(recalls) == 29_858
