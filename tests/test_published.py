"""scripts/published.py: its figures against slow counts, what it says of published ones, its data and its errors."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from publishedfiles import (
    check_error,
    md5,
    of,
    published,
    published_data,
    published_split,
    published_tables,
    ratings,
    ratings_csv,
    results,
    run,
    serving,
    zipped,
)
from recalls import popularity, sets, slow

from recae.errors import TrainingError
from recae.evaluation import bootstrap_mean, evaluate
from recae.models import Ease, Popularity
from recae.selection.fit import fit_kind

ROWS = ratings()
ARCHIVE = ratings_csv(ROWS)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No test may download into the user's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def small(monkeypatch):
    """A function that puts changed fields into a data set's entry; ml-20m holds out 10 users, and no file is pinned."""

    def change(name: str, **fields) -> None:
        entry = replace(published_tables.DATASETS[name], **fields)
        monkeypatch.setitem(published.DATASETS, name, entry)

    change("ml-20m", held_out=10, remotes=())
    change("gowalla", remotes=())
    return change


@pytest.fixture
def movies(tmp_path, small) -> Path:
    folder = tmp_path / "ml-20m"
    folder.mkdir()
    (folder / "ratings.csv").write_bytes(ARCHIVE)
    return folder


@pytest.fixture
def lists(tmp_path, small) -> Path:
    """train.txt and test.txt of 60 users × 120 items; every seventh user has nothing to be found, some more than 20."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "gowalla"
    folder.mkdir()
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for user in range(60):
        items = rng.choice(120, size=rng.integers(4, 60), replace=False, p=np.arange(120, 0, -1) / 7260)
        items = np.append(items, 119) if user == 1 and 119 not in items else items
        n_test = 0 if user % 7 == 0 else int(rng.integers(1, len(items) - 1))
        for part, chosen in (("test", items[:n_test]), ("train", items[n_test:])):
            lines[part].append(" ".join(map(str, [user, *chosen])))
    for part, text in lines.items():
        (folder / f"{part}.txt").write_text("\n".join(text) + "\n")
    return folder


# figures


def test_popularity_by_lists(lists):
    found = results("lightgcn", "--data", "gowalla", "--from", lists, "--kind", "popularity")
    read = published_data.read_lists(lists)
    train, test = sets(read.train), sets(read.test)
    expected = slow(popularity(train, 120, 60), train, test, (20,))
    figures = of(found, "popularity")
    assert figures["Recall@20"]["mean"] == pytest.approx(expected["recall@20"], abs=1e-12)
    assert figures["NDCG@20"]["mean"] == pytest.approx(expected["ndcg@20"], abs=1e-12)
    assert expected["recall@20"] != pytest.approx(expected["capped_recall@20"])
    values = evaluate(Popularity.fit(read.train), read.train, read.test, (20,)).values["ndcg@20"]
    assert np.isnan(values).sum() == 9
    interval = bootstrap_mean(values)
    assert (figures["NDCG@20"]["low"], figures["NDCG@20"]["high"]) == (interval.low, interval.high)
    assert (found["users"], found["items"], found["test_users"]) == (60, 120, 60)
    assert found["interactions"] == read.train.nnz + read.test.nnz
    assert found["table"] == "lightgcn"
    assert found["source"] == [str(lists)]


def test_matrices_give_what_lists_give(lists, tmp_path):
    read = published_data.read_lists(lists)
    sp.save_npz(tmp_path / "train.npz", read.train)
    sp.save_npz(tmp_path / "test.npz", read.test)
    args = ("lightgcn", "--data", "gowalla", "--kind", "popularity", "--from")
    assert results(*args, tmp_path)["rows"][0]["figures"] == results(*args, lists)["rows"][0]["figures"]


def test_popularity_by_strong_generalisation(movies):
    found = results("mult-vae", "--data", "ml-20m", "--from", movies, "--kind", "popularity")
    split = published_split.strong_split(published_data.read_ratings(movies), 10, (5, 0))
    n_items, n_users = split.train.shape[1], split.test[0].shape[0]
    scores = popularity(sets(split.train), n_items, n_users)
    expected = slow(scores, *map(sets, split.test), (1, 3, 20, 50, 100))
    figures = of(found, "popularity")
    assert list(figures) == ["Recall@20", "Recall@50", "NDCG@100"]
    assert figures["Recall@20"]["mean"] == pytest.approx(expected["capped_recall@20"], abs=1e-12)
    assert figures["Recall@50"]["mean"] == pytest.approx(expected["capped_recall@50"], abs=1e-12)
    assert figures["NDCG@100"]["mean"] == pytest.approx(expected["ndcg@100"], abs=1e-12)
    assert found["test_users"] == n_users


def test_recall_of_liang_is_capped(movies, monkeypatch):
    monkeypatch.setitem(published.METRICS, "mult-vae", {"Recall@1": "capped_recall@1"})
    monkeypatch.setitem(
        published.DATASETS, "ml-20m", replace(published.DATASETS["ml-20m"], figures={}, others=())
    )
    found = results("mult-vae", "--data", "ml-20m", "--from", movies, "--kind", "popularity")
    split = published_split.strong_split(published_data.read_ratings(movies), 10, (5, 0))
    scores = popularity(sets(split.train), split.train.shape[1], split.test[0].shape[0])
    expected = slow(scores, *map(sets, split.test), (1,))
    assert expected["capped_recall@1"] > expected["recall@1"]
    assert of(found, "popularity")["Recall@1"]["mean"] == pytest.approx(
        expected["capped_recall@1"], abs=1e-12
    )
    assert of(found, "popularity")["Recall@1"]["published"] is None


def test_ease_with_its_published_settings(movies):
    found = results("mult-vae", "--data", "ml-20m", "--from", movies, "--kind", "ease")
    split = published_split.strong_split(published_data.read_ratings(movies), 10, (5, 0))
    model, _ = fit_kind("ease", {"l2": 500.0}, split.train)
    assert isinstance(model, Ease)
    expected = evaluate(model, *split.test, (100,)).mean("ndcg@100")
    assert of(found, "ease")["NDCG@100"]["mean"] == pytest.approx(expected, abs=1e-12)
    assert found["rows"][0]["settings"] == {"seed": 0, "l2": 500.0}


def test_settings_and_seed_win_over_the_published_ones(movies):
    args = ("mult-vae", "--data", "ml-20m", "--from", movies, "--kind", "ease", "--set", "ease.l2=3")
    assert results(*args, "--seed", 4)["rows"][0]["settings"] == {"seed": 4, "l2": 3.0}


def test_epochs_are_chosen_on_the_users_to_choose_on(movies, monkeypatch):
    given = {}
    fit = published.fit_settings

    def spy(kind, config, matrix, validation=None, hooks=None):
        given.update(matrix=matrix, validation=validation, hooks=hooks)
        return fit(kind, config, matrix, validation, hooks)

    monkeypatch.setattr(published, "fit_settings", spy)
    quick = [f"sigmoid.{setting}" for setting in ("factors=4", "epochs=2")]
    args = [part for setting in quick for part in ("--set", setting)]
    result = run("mult-vae", "--data", "ml-20m", "--from", movies, "--kind", "sigmoid", *args, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["rows"][0]["name"] is None
    split = published_split.strong_split(published_data.read_ratings(movies), 10, (5, 0))
    assert (given["matrix"] != split.train).nnz == 0
    assert all((a != b).nnz == 0 for a, b in zip(given["validation"], split.validation, strict=True))
    model = Popularity.fit(split.train)
    expected = evaluate(model, *split.validation, (100,)).mean("ndcg@100")
    assert given["hooks"].validate(model) == expected
    assert "epoch 2: loss" in result.stderr


def test_without_users_to_choose_on_the_test_part_chooses_nothing(lists, monkeypatch):
    given = {}
    fit = published.fit_settings
    monkeypatch.setattr(
        published,
        "fit_settings",
        lambda *args, **kwargs: given.update(args=args, **kwargs) or fit(*args, **kwargs),
    )
    args = ("--kind", "sigmoid", "--set", "sigmoid.factors=4", "--set", "sigmoid.epochs=2")
    results("lightgcn", "--data", "gowalla", "--from", lists, *args)
    assert len(given["args"]) == 3
    assert given["hooks"].validate is None


# beside the published ones


def test_what_is_said_of_a_published_figure(lists, small):
    args = ("lightgcn", "--data", "gowalla", "--from", lists, "--kind", "popularity")
    measured = of(results(*args), "popularity")
    near = tuple(each["mean"] + 0.0001 for each in measured.values())
    figure = published_tables.Figure("ItemPop", (near[0], 0.9), "a paper, Table 7", compared=False)
    small("gowalla", figures={"popularity": figure}, remotes=())
    first, second = of(results(*args), "popularity").values()
    assert (first["covered"], second["covered"]) == (True, False)
    assert first["difference"] == pytest.approx(-0.0001)
    assert second["difference"] == pytest.approx(measured["NDCG@20"]["mean"] - 0.9)
    assert (first["source"], first["compared"]) == ("a paper, Table 7", False)

    head, *lines = [line.split("\t") for line in run(*args).stdout.splitlines()]
    assert head == published.HEAD
    assert lines[0][:3] == ["popularity", "ItemPop", "Recall@20"]
    assert lines[0][5:] == [f"{near[0]:.4f}*", "-0.0001", "yes", "a paper, Table 7"]
    assert re.fullmatch(r"\[0\.\d{4}, 0\.\d{4}\]", lines[0][4])
    assert lines[1][5:8] == ["0.9000*", f"{second['difference']:+.4f}", "no"]
    others = [line for line in lines if line[0] == "–"]
    assert ["–", "LightGCN", "Recall@20", "–", "–", "0.1820", "–", "–", published_tables.BARS] in others


def test_a_kind_without_a_published_figure(lists):
    args = ("lightgcn", "--data", "gowalla", "--from", lists, "--kind", "edlae")
    figure = of(results(*args), "edlae")["NDCG@20"]
    assert [figure[key] for key in ("published", "difference", "covered", "source")] == [None] * 4
    line = run(*args).stdout.splitlines()[1].split("\t")
    assert line[:2] == ["edlae", "–"]
    assert line[5:] == ["–"] * 4


def test_the_graph_filter_beside_its_published_figure(lists):
    args = (
        "lightgcn",
        "--data",
        "gowalla",
        "--from",
        lists,
        "--kind",
        "spectral",
        "--set",
        "spectral.factors=8",
    )
    result = run(*args, "--json")
    (row,) = json.loads(result.stdout)["rows"]
    assert row["name"] == "ChebyCF"
    assert row["settings"]["filter"] == "chebyshev"
    assert [each["published"] for each in row["figures"]] == [0.1941, 0.1616]
    assert row["seconds"] > 0
    assert row["peak_bytes"] > 2**24
    assert " GiB at most" in result.stderr


def test_the_default_kinds(lists, monkeypatch):
    fitted = []
    monkeypatch.setattr(
        published,
        "fit",
        lambda kind, config, split, choice: fitted.append(kind) or Popularity.fit(split.train),
    )
    results("lightgcn", "--data", "gowalla", "--from", lists)
    assert fitted == list(published.KINDS["lightgcn"])


def test_data_that_are_not_the_published_ones(lists, small):
    args = ("lightgcn", "--data", "gowalla", "--from", lists, "--kind", "popularity")
    result = run(*args, "--json")
    found = json.loads(result.stdout)
    assert found["counts_as_published"] is False
    assert "warning: these are 60 users, 120 items and" in result.stderr
    assert "published are 29,858 users, 40,981 items and 1,027,370 interactions" in result.stderr
    small("gowalla", counts=(60, 120, round(found["interactions"], -1)), rounded=10, remotes=())
    result = run(*args, "--json")
    assert json.loads(result.stdout)["counts_as_published"] is True
    assert "warning" not in result.stderr


# data from a publisher


@pytest.mark.parametrize("broken", [False, True])
def test_ratings_from_a_publisher(small, tmp_path, broken):
    archive = zipped(tmp_path / "made.zip", **{"ml-20m__ratings_csv": ARCHIVE}).read_bytes()
    args = ("mult-vae", "--data", "ml-20m", "--kind", "popularity", "--cache", tmp_path / "cache")
    with serving({"ml-20m.zip": archive}, breaks_after=500 if broken else None) as server:
        small("ml-20m", held_out=10, remotes=(server.remote("ml-20m.zip", md5(archive)),))
        if broken:
            check_error(run(*args), "broke off after 500 of", "try again")
            server.breaks_after = None
        result = run(*args, "--json")
        assert len(server.asked) == 1 + broken
        assert json.loads(run(*args, "--json").stdout)["rows"][0]["figures"]  # kept: no third request
        assert len(server.asked) == 1 + broken
    found = json.loads(result.stdout)
    assert found["source"] == [str(tmp_path / "cache" / "ml-20m.zip")]
    assert "free for research, not for redistribution" in result.stderr
    assert not (tmp_path / "user").exists()
    local = zipped(tmp_path / "local.zip", **{"ml-20m__ratings_csv": ARCHIVE})
    assert found["rows"][0]["figures"] == results(*args, "--from", local)["rows"][0]["figures"]


def test_lists_from_a_publisher_into_the_users_folder(lists, small, tmp_path):
    contents = {f"gowalla-{part}.txt": (lists / f"{part}.txt").read_bytes() for part in ("train", "test")}
    args = ("lightgcn", "--data", "gowalla", "--kind", "popularity")
    with serving(contents) as server:
        small("gowalla", remotes=tuple(server.remote(name, md5(body)) for name, body in contents.items()))
        found = results(*args)
    assert found["source"] == [str(tmp_path / "user" / "recae" / name) for name in contents]
    assert found["rows"][0]["figures"] == results(*args, "--from", lists)["rows"][0]["figures"]


def test_an_archive_with_the_wrong_checksum_or_missing(small, tmp_path):
    args = ("mult-vae", "--data", "ml-20m", "--kind", "popularity", "--cache", tmp_path / "cache")
    with serving({"ml-20m.zip": ARCHIVE}) as server:
        small("ml-20m", remotes=(server.remote("ml-20m.zip", md5(b"")),))
        check_error(run(*args), "is not what the publisher states", "d41d8cd98f00b204e9800998ecf8427e")
        small("ml-20m", remotes=(server.remote("moved.zip"),))
        check_error(run(*args), "answers 404", "--from")


def test_netflix_is_not_downloaded():
    check_error(run("mult-vae", "--data", "netflix"), "may not redistribute", "--from")


# what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "popular"], ["no model of kind 'popular'", "popularity"]),
        (["--kind", "auto"], ["'auto'"]),
        (["--kind", "frequency"], ["'frequency'"]),
        (["--set", "ease.l2"], ["key=value"]),
        (["--set", "l2=3"], ["kind.key=value"]),
        (["--kind", "ease", "--set", "als.factors=3"], ["'als.factors=3'", "als is not among"]),
        (["--kind", "ease", "--set", "ease.l2=-1"], ["l2", "-1"]),
        (["--from", "nowhere"], ["there is no file or folder 'nowhere'"]),
    ],
)
def test_wrong_options_are_refused_before_anything_is_downloaded(small, monkeypatch, options, words):
    monkeypatch.setattr(published, "download", lambda *args: pytest.fail("downloaded"))
    check_error(run("mult-vae", "--data", "ml-20m", *options), *words)


def test_a_data_set_of_another_table():
    check_error(run("lightgcn", "--data", "msd"), "no data set 'msd'", "gowalla, yelp2018, amazon-book")


def test_a_kind_that_fails_leaves_a_line(lists, monkeypatch):
    fit = published.fit

    def fail(kind, *args):
        if kind == "ease":
            raise TrainingError("it does not fit")
        return fit(kind, *args)

    monkeypatch.setattr(published, "fit", fail)
    args = ("lightgcn", "--data", "gowalla", "--from", lists, "--kind", "ease", "--kind", "popularity")
    result = run(*args)
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[1].split("\t") == ["ease", "EASE", *["–"] * 6, "failed: it does not fit"]
    assert lines[2].startswith("popularity\tItemPop\tRecall@20\t0.")
    assert "ease failed: it does not fit" in result.stderr
    assert json.loads(run(*args, "--json").stdout)["rows"][0]["error"] == "it does not fit"


def test_an_interruption(lists, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(published, "fit", stop)
    result = run("lightgcn", "--data", "gowalla", "--from", lists)
    assert (result.exit_code, result.stdout) == (130, "")
