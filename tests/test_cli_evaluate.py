"""Tests of `recae evaluate` through real files and processes: every protocol, every output, interruptions."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from click.testing import CliRunner, Result
from commands import PATIENCE, recae, refused, start
from jobs import interactions
from reports import full_report

from recae import evaluate as recae_evaluate
from recae.cli import main
from recae.kinds import evaluated as evaluated_kinds
from recae.modelfile import describe
from recae.selection.evaluate import evaluate_purchases
from recae.selection.executor import InProcess
from recae.selection.jobs import Outcome

CHEAP = ("--kind", "itemknn", "--baselines", "popularity", "--trials", "2")
DAY = 86_400


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache is an empty folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with shop.csv: purchases with a time, a basket number and a name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    matrix = interactions().matrix
    lines = ["user_id,item_id,time,order_number,product_name"]
    for user in range(matrix.shape[0]):
        owned = rng.permutation(matrix[user].indices)
        for n, item in enumerate(
            [*owned, *owned[:2]]
        ):  # two are bought again in the last basket, with a new one
            basket = min(n // 3, 3) if n < len(owned) - 1 else 4
            moment = time.strftime(
                "%Y-%m-%d %H:%M", time.gmtime(1_600_000_000 + (basket * 30 + user % 7) * DAY)
            )
            lines.append(f"u{user:02d},i{item:02d},{moment},{basket},Thing {item}")
    Path("shop.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def evaluated(*arguments: str | Path) -> Result:
    result = recae("evaluate", *arguments)
    assert result.exit_code == 0, result.stderr
    return result


def models(*arguments: str | Path) -> dict[str, dict[str, Any]]:
    report = json.loads(evaluated(*arguments, "--json").stdout)
    return {model["name"]: model for model in report["models"]}


# protocols


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("strong", ("--test-users", "0.2")),
        ("weak", ("--held-out", "0.3")),
        ("last-out", ()),
        ("time", ("--cut", "2020-12-01")),
        ("next-basket", ()),
        ("k-fold", ("--folds", "3")),
    ],
)
def test_every_protocol(shop: Path, protocol: str, options: tuple[str, ...]) -> None:
    report = json.loads(evaluated("shop.csv", "--protocol", protocol, *options, *CHEAP, "--json").stdout)
    assert report["protocol"]["name"] == protocol
    assert {model["name"] for model in report["models"]} == {"popularity", "item-kNN"}
    for model in report["models"]:
        assert model["failed"] is None
        assert 0 <= model["metrics"]["ndcg@20"]["mean"] <= 1
    assert report["protocol"]["n_test_users"] > 0


def test_repeats(shop: Path) -> None:
    options = ("--protocol", "next-basket", "--repeats", "--baselines", "popularity,frequency")
    found = models("shop.csv", *options, "--kind", "itemknn", "--trials", "1")
    assert set(found) == {"popularity", "personal frequency", "item-kNN"}
    frequency = found["personal frequency"]
    assert frequency["metrics"]["recall_repeat@20"]["mean"] > 0.9  # what is bought again is all that it knows
    assert frequency["slices"]["repeat"]


def test_a_given_pair_of_tables(shop: Path) -> None:
    lines = Path("shop.csv").read_text().splitlines()
    train = [line for line in lines[1:] if line.split(",")[3] != "4"]
    bought = {tuple(line.split(",")[:2]) for line in train}
    test = [f"u{n:02d},i{m:02d},2021-01-01,9,Thing {m}" for n in range(60) for m in range(24)
            if (f"u{n:02d}", f"i{m:02d}") not in bought and (n + m) % 5 == 0]  # fmt: skip
    for name, rows in (("train.csv", train), ("test.csv", test)):
        Path(name).write_text("\n".join([lines[0], *rows]) + "\n")
    report = json.loads(
        evaluated("train.csv", "--protocol", "pair", "--test", "test.csv", *CHEAP, "--json").stdout
    )
    assert report["protocol"]["n_held_out"] == len(test)
    Path("more.csv").write_text("\n".join([lines[0], *test, "nobody,i01,2021-01-01,9,x"]) + "\n")
    result = evaluated("train.csv", "--protocol", "pair", "--test", "more.csv", *CHEAP, "--json")
    again = json.loads(result.stdout)
    said = "left out: 1 interaction of the test part, of users or items that the training part does not know: 1 of its"
    assert said in result.stderr
    assert said in again["protocol"]["rule"]
    assert again["protocol"]["counts"]["unknown_test_interactions"] == 1
    assert again["protocol"]["n_held_out"] == len(test)
    figures = [[model["metrics"] for model in found["models"]] for found in (report, again)]
    assert figures[0] == figures[1]


def test_ties(shop: Path) -> None:
    rules = {}
    for ties in ("random", "moment"):
        options = ("--protocol", "last-out", "--ties", ties, *CHEAP, "--json")
        protocol = json.loads(evaluated("shop.csv", *options).stdout)["protocol"]
        rules[ties] = protocol["rule"]
        assert protocol["counts"]["users_with_ties"] > 0
    assert "is chosen at random" in rules["random"]
    assert "all of these are held out" in rules["moment"]
    found = recae_evaluate(
        "shop.csv", protocol="last-out", ties="moment", kind="popularity", baselines="none"
    )
    assert found.tasks[0].rule == rules["moment"]


def test_a_given_pair_of_matrices(shop: Path) -> None:
    whole = interactions().matrix.tocoo()
    test = (whole.row + whole.col) % 4 == 0
    for name, part in (("train", ~test), ("test", test)):
        Path("pair").mkdir(exist_ok=True)
        matrix = sp.coo_matrix((whole.data[part], (whole.row[part], whole.col[part])), shape=whole.shape)
        sp.save_npz(f"pair/{name}.npz", matrix.tocsr())
    folder = evaluated("pair", "--protocol", "pair", *CHEAP)
    files = evaluated("pair/train.npz", "--protocol", "pair", "--test", "pair/test.npz", *CHEAP)
    assert files.stdout == folder.stdout
    assert "stored by an earlier run" in files.stderr

    products = [f"{n},{'Bags' if n % 3 else 'Mugs'},{n + 1}" for n in range(whole.shape[1])]
    Path("products.csv").write_text("\n".join(["id,category,price", *products]) + "\n")
    described = evaluated("pair", "--protocol", "pair", *CHEAP, "--items", "products.csv", "--json")
    slices = json.loads(described.stdout)["models"][0]["slices"]
    assert {part["name"] for part in slices["category"]} == {"Bags", "Mugs"}


def test_a_table_of_products(shop: Path) -> None:
    plain = json.loads(evaluated("shop.csv", *CHEAP, "--json").stdout)
    assert "value@20" not in plain["models"][0]["metrics"]
    assert list(plain["models"][0]["slices"]) == ["history", "popularity"]
    products = [f"i{n:02d},{'Bags' if n % 3 else 'Mugs'},{n + 1},Named {n}" for n in range(20)]  # others lack
    Path("products.csv").write_text(
        "\n".join(["id,category,price,name", *products, "x,Toys,9,Unbought"]) + "\n"
    )
    result = evaluated("shop.csv", *CHEAP, "--items", "products.csv", "--json")
    report = json.loads(result.stdout)
    assert "21 items in 21 rows of 'products.csv'" in result.stderr
    for model in report["models"]:
        without = next(other for other in plain["models"] if other["name"] == model["name"])
        assert {name: model["metrics"][name] for name in without["metrics"]} == without["metrics"]
        assert {"Bags", "Mugs", "no category"} == {part["name"] for part in model["slices"]["category"]}
        assert model["slices"]["price"][-1]["name"] == "no price"
        assert model["metrics"]["value@20"]["mean"] > 0
    counts = report["protocol"]["counts"]
    assert counts["held_out_without_price"] == counts["held_out_without_category"] > 0
    shown = [item for e in report["failures"]["examples"] for item in [*e["history"], *e["held_out"]]]
    for item in shown:  # the table's name, else that of the purchases
        number = int(item["item"][1:])
        assert item["name"] == (f"Named {number}" if number < 20 else f"Thing {number}")
    assert len({item["name"][:5] for item in shown}) == 2
    assert (
        "The hits in 1,000 recommendations are worth"
        in evaluated("shop.csv", *CHEAP, "--items", "products.csv").stdout
    )
    found = recae_evaluate(
        pd.read_csv("shop.csv"),
        items=pd.read_csv("products.csv"),
        kind="itemknn",
        baselines="popularity",
        trials=2,
    )
    ours = found.report.to_json()["models"]
    assert [model["metrics"] for model in ours] == [model["metrics"] for model in report["models"]]


def test_the_price_of_diversity(shop: Path) -> None:
    result = evaluated("shop.csv", *CHEAP, "--diversity", "0.5,0.2")
    assert "The lists of item-kNN have a diversity of 0." in result.stdout
    assert "--diversity 0.2 changes NDCG@20 by " in result.stdout


def test_columns_of_the_purchases_that_belong_to_the_items(shop: Path) -> None:
    lines = Path("shop.csv").read_text().splitlines()
    priced = [f"{line},{int(line.split(',')[1][1:]) + 0.5}" for line in lines[1:]]
    Path("priced.csv").write_text("\n".join([f"{lines[0]},price", *priced]) + "\n")
    result = evaluated("priced.csv", *CHEAP, "--json")
    assert (
        "columns that belong to the items, by which figures are given, too: price 'price' (the median)"
        in result.stderr
    )
    report = json.loads(result.stdout)
    assert report["protocol"]["counts"]["held_out_without_price"] == 0
    assert report["models"][0]["metrics"]["value@20"]["mean"] > 0


# what is measured


def test_the_table_equals_what_the_commands_give_alone(shop: Path) -> None:
    together = models(
        "shop.csv", "--kind", "itemknn", "--kind", "ease", "--baselines", "popularity", "--trials", "1"
    )
    alone = models("shop.csv", "--kind", "itemknn", "--baselines", "none", "--trials", "1", "--fresh")
    assert alone["item-kNN"]["metrics"] == together["item-kNN"]["metrics"]
    for kind, name in (("popularity", "popularity"), ("itemknn", "item-kNN"), ("ease", "EASE")):
        # the model of the comparison learns from the learners alone, as one does that is not fitted once more
        result = recae("train", "shop.csv", "--kind", kind, "--no-refit", "--json")
        trained = json.loads(result.stdout)["metrics"]
        assert trained["n_users"] == 6
        row = trained["rows"][0]
        if kind == "itemknn":  # train chooses the number of neighbours, too
            row = next(r for r in trained["rows"] if r["model"] == "itemknn")
            k = describe("model.recae")["metadata"]["config"]["k"]
            (found,) = models(
                "shop.csv",
                "--kind",
                "itemknn",
                "--set",
                f"itemknn.k={k}",
                "--baselines",
                "none",
                "--trials",
                "1",
            ).values()
        else:
            found = together[name]
        for metric in ("recall@10", "recall@20", "ndcg@20"):
            assert found["metrics"][metric]["mean"] == pytest.approx(row[metric], abs=1e-12)


def test_without_options_the_default_and_the_autoencoder_stand_beside_all_baselines(shop: Path) -> None:
    small = [
        part
        for kind in evaluated_kinds()
        for part in ("--set", f"{kind}.factors=4", "--set", f"{kind}.epochs=2")
    ]
    result = evaluated(
        "shop.csv", "--trials", "1", *small, "--set", "bpr.iterations=2", "--set", "als.factors=4"
    )
    header, *rows = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    assert header[:2] == ["model", "role"]
    assert {row[0] for row in rows} == {"blend", "sigmoid", "popularity", "item-kNN", "ALS", "BPR", "EASE"}
    assert "every model and baseline tries up to 1 setting, the defaults first" in result.stderr
    assert result.stdout.strip().splitlines()[-1].count(". ") >= 1  # the verdict, in sentences


def test_a_program_that_calls_the_command_says_where_models_are_fitted(shop: Path) -> None:
    class Here(InProcess):
        jobs = 0

        def run(self, *arguments: Any, **options: Any) -> Outcome:
            self.jobs += 1
            return super().run(*arguments, **options)

    here = Here()
    result = CliRunner().invoke(main, ["evaluate", "shop.csv", *CHEAP, "--fresh"], obj=here)
    assert here.jobs == 2
    assert result.stdout == evaluated("shop.csv", *CHEAP).stdout


def test_the_budget_is_printed_and_held(shop: Path) -> None:
    result = evaluated("shop.csv", *CHEAP, "--budget", "1h")
    assert "tries up to 2 settings" in result.stderr
    assert "within 1h in all" in result.stderr
    report = json.loads(evaluated("shop.csv", *CHEAP, "--budget", "1h", "--json").stdout)
    assert "within 1h in all" in report["budget"]["text"]
    alone = ("--kind", "sigmoid", "--baselines", "none", "--trials", "1")
    evaluated("shop.csv", *alone, "--set", "sigmoid.epochs=1")  # its loops may have to be compiled
    long = ("--set", "sigmoid.epochs=100000", "--set", "sigmoid.patience=100000")
    cut = evaluated("shop.csv", *alone, *long, "--budget", "4s")
    assert "stopped by the end of its share of the budget" in cut.stderr


def test_a_model_that_fails_has_a_line_and_the_exit_code_says_so(shop: Path) -> None:
    wrong = ("--set", "sigmoid.purchase_weight=5", "--set", "sigmoid.learning_rate=.9")
    result = recae(
        "evaluate", "shop.csv", "--kind", "sigmoid", *wrong, "--baselines", "popularity", "--trials", "1"
    )
    assert result.exit_code == 2
    assert "sigmoid failed: " in result.stderr
    assert "popularity" in result.stdout
    assert "learning_rate" in result.stdout


# what is written


def test_every_output(shop: Path) -> None:
    outputs = (
        "--csv",
        "all.csv",
        "--users-out",
        "users.parquet",
        "--report",
        "report.html",
        "--plots",
        "plots",
    )
    result = evaluated("shop.csv", *CHEAP, *outputs, "-k", "5,20", "--metric", "recall@5")
    with Path("all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"popularity", "item-kNN"}
    assert {"recall@5", "ndcg@20", "map@5", "mrr@20", "hit_rate@5", "precision@20"} <= {
        row["metric"] for row in rows
    }
    users = pq.read_table("users.parquet").to_pandas()
    assert set(users.columns) == {"user_id", "model", "metric", "value"}
    mean = users[(users.model == "item-kNN") & (users.metric == "recall@5")].value.mean()
    found = next(r for r in rows if (r["model"], r["metric"], r["part"]) == ("item-kNN", "recall@5", ""))
    assert float(found["mean"]) == pytest.approx(mean)
    page = Path("report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "recae evaluate shop.csv --kind itemknn" in page.replace("<span>", "").replace("</span>", "")
    assert sorted(path.suffix for path in Path("plots").iterdir())[0] == ".png"
    for name in ("all.csv", "users.parquet", "report.html", "plots"):
        assert name in result.stderr
    report = json.loads(evaluated("shop.csv", *CHEAP, "--json").stdout)
    assert set(report) == set(full_report())
    assert set(report["models"][0]) == set(full_report()["models"][0])
    assert (
        report["command"] == "recae evaluate shop.csv --kind itemknn --baselines popularity --trials 2 --json"
    )


def test_python(shop: Path) -> None:
    found = evaluate_purchases("shop.csv", kinds=["itemknn"], baselines="popularity", trials=2)
    report = json.loads(evaluated("shop.csv", *CHEAP, "--json").stdout)
    for ours, theirs in zip(found.report.to_json()["models"], report["models"], strict=True):
        assert ours["metrics"] == theirs["metrics"]
    assert [run.kind for run in found.runs] == ["popularity", "itemknn"]


# going on


def test_a_second_run_takes_what_is_kept(shop: Path, cache: Path) -> None:
    first = evaluated("shop.csv", *CHEAP, "--keep", "kept")
    second = evaluated("shop.csv", *CHEAP, "--keep", "kept")
    assert second.stdout == first.stdout
    assert second.stderr.count("stored by an earlier run") == 2
    assert list(cache.iterdir()) == []
    fresh = evaluated("shop.csv", *CHEAP, "--keep", "kept", "--fresh")
    assert "stored by an earlier run" not in fresh.stderr


def test_ctrl_c_keeps_what_is_finished(shop: Path) -> None:
    long = ("--kind", "sigmoid", "--set", "sigmoid.epochs=100000", "--set", "sigmoid.patience=100000")
    process = start(
        "evaluate", shop / "shop.csv", *long, "--baselines", "popularity", "--trials", "1", "--keep", shop / "kept",
        stdout=-1, stderr=-1, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    while not list((shop / "kept").glob("popularity-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # a terminal tells the whole group
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert out == b""
    assert b"interrupted: 1 of 2 models is finished and stored in" in err
    assert b"Traceback" not in err
    again = recae("evaluate", "shop.csv", "--kind", "popularity", "--baselines", "none", "--trials", "1",
                  "--keep", "kept")  # fmt: skip
    assert again.exit_code == 0
    assert "stored by an earlier run" in again.stderr


# refusals


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--protocol stong", ("'stong'", "did you mean 'strong'?")),
        ("--kind sigmod", ("'sigmod'", "did you mean 'sigmoid'?")),
        ("--baselines item-knn", ("'item-knn'", "did you mean 'itemknn'?")),
        ("-k 0", ("k is a whole number from 1", "found 0")),
        ("-k ten", ("-k takes whole numbers", "'ten'")),
        ("-k 10 --metric ndcg@20", ("'ndcg@20' is not measured", "add 20 to -k")),
        ("--metric nonsense@20", ("'nonsense",)),
        ("--trials 0", ("trials is a whole number from 1",)),
        ("--budget soon", ("budget", "'soon'")),
        ("--protocol time --cut yesterday", ("--cut is an ISO date", "'yesterday'")),
        ("--cut 2020-12-01", ("--cut is for the protocol time",)),
        ("--folds 3", ("--folds is for the protocol k-fold",)),
        ("--test other.csv", ("add --protocol pair",)),
        ("--protocol pair", ("give it with --test",)),
        ("--repeats", ("repeats count with the protocols time and next-basket",)),
        ("--baselines frequency", ("add --repeats",)),
        ("--set sigmoid.factros=3", ("did you mean 'factors'",)),
        ("--set edlae.l2=3", ("add --kind edlae",)),
        ("--report missing/r.html", ("missing",)),
        ("--csv a.csv --report a.csv", ("both",)),
        ("--csv purchases.csv", ("purchases.csv",)),
        ("--test-users many", ("--test-users is a number", "'many'")),
        ("--diversity 0", ("numbers above 0 up to 1", "'0'")),
        ("--diversity 0.3,much", ("numbers above 0 up to 1", "'0.3,much'")),
        ("--diversity 0.3 --protocol cold-items", ("leave one of them out",)),
    ],
)
def test_refused_before_anything_is_read(shop: Path, options: str, parts: tuple[str, ...]) -> None:
    before = sorted(path.name for path in shop.iterdir())
    refused(recae("evaluate", "purchases.csv", *options.split()), *parts)  # which is not there
    assert sorted(path.name for path in shop.iterdir()) == before


ONE_MOMENT = "user_id,item_id,time\na,x,2020-01-01\na,y,2020-01-01\nb,x,2020-01-01\n"
TWO_UNITS = "user_id,item_id,time\na,x,1600000000\na,y,1600000001000\nb,x,1600000000\nb,y,1600000003000\n"


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("user_id,item_id\na,x\nb,y\na,y\n", ("--protocol", "time"), ("time",)),
        (ONE_MOMENT, ("--protocol", "time"), ("all 3 known times are",)),
        (TWO_UNITS, ("--protocol", "time"), ("unit",)),
        ("user_id,item_id\na,x\nb,y\n", (), ("of 2 users 0 are such",)),
    ],
)
def test_purchases_that_cannot_be_parted(
    shop: Path, text: str, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    Path("few.csv").write_text(text)
    result = recae("evaluate", "few.csv", *options, *CHEAP)
    assert result.exit_code == 2
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    for part in parts:
        assert part in error
