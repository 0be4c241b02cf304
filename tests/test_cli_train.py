"""Tests of `recae train` through real files: what it prints and what it writes."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import json
import os
import pty
import random
import re
import struct
import termios
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, names, recae, refused, start, table, trained

from recae.modelfile import describe, load


def test_train_in_a_pipe(folder: Path) -> None:
    result = trained("../purchases.csv")
    assert names(folder) == ["model.recae"]
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header == ["model", "recall@10", "recall@20", "recall@50", "ndcg@20"]
    assert [row[0] for row in rows][:2] == ["blend", "popularity"]
    assert rows[2][0].startswith("item-kNN (tf-idf, k=")
    assert all(re.fullmatch(r"[01]\.\d{4}", cell) for row in rows for cell in row[1:])
    # every line, so that nothing that a library has to say gets between them
    epoch = r"loss [\d.]+, recall@20 [01]\.\d{4}, .*[\d,]+ users/s.*"
    expected = [
        r"read 360 rows of \.\./purchases\.csv",
        r"columns: user 'user_id', item 'item_id'",
        r"kept 360 interactions of 60 users and 30 items, and 0 repeat purchases as counts",
        r"training on the CPU.*",
        r"fitting sigmoid",
        r"training on 54 users, at most 2 epochs.*",
        rf"epoch 1/2: {epoch}",
        rf"epoch 2/2: {epoch}",
        r"fitting sparse-linear",
        r"sparse-linear: item_power [\d.]+, owned_power [-\d.]+ and diagonal [\d.]+ are the best of 4 on .*",
        r"fitting ease",
        r"fitting spectral",
        r"spectral: .* are the best of \d+ on the validation users",
        r"fitting itemknn",
        r"item-kNN: k = \d+ is the best of 6 on the validation users",
        r"fitting popularity",
        r"choosing the weights of sigmoid ⊕ .* ⊕ popularity on 6 validation users",
        r"validation NDCG@20: sigmoid 0\.\d{4}, .*(; blended 0\.\d{4} with |; \S+ alone, ).*",
        r"measuring it beside popularity and item-kNN on 6 held-out users",
        r"fitting once more on all 60 users: about .* s; the figures stay those of the held-out users",
    ]
    last = [
        r"read, trained, measured and fitted once more on all 60 users in \d+\.\d s; the model is in model\.recae",
        r"next: recae recommend --user u0",
    ]
    lines = result.stderr.splitlines()
    again = lines[len(expected) : -len(last)]  # the parts that stayed
    for line, pattern in zip(
        [*lines[: len(expected)], *lines[-len(last) :]], [*expected, *last], strict=True
    ):
        assert re.fullmatch(pattern, line), line
    assert all(
        re.fullmatch(r"(fitting \S+|training on 60 users, .*|epoch \d/\d: .*)", line) for line in again
    )
    recommended = recae("recommend", "--user", "u7", "-n", "3", "--csv")
    assert recommended.exit_code == 0
    assert len(recommended.stdout.splitlines()) == 4


def test_train_json(folder: Path) -> None:
    answer = json.loads(trained("../purchases.csv", "--out", "m.recae", "--json").stdout)
    assert list(answer) == [
        "model",
        "kind",
        "seconds",
        "fingerprint",
        "n_users",
        "n_items",
        "metrics",
        "refit",
    ]
    assert answer["model"] == "m.recae"
    assert (answer["n_users"], answer["n_items"]) == (60, 30)
    assert 0 < answer["seconds"] < 60
    metadata = describe("m.recae")["metadata"]
    assert answer["metrics"] == metadata["metrics"]
    assert answer["fingerprint"] == metadata["fingerprint"]
    assert [row["model"] for row in answer["metrics"]["rows"]][:2] == ["blend", "popularity"]


def test_the_options_reach_the_model(folder: Path) -> None:
    given = {
        "factors": 3,
        "epochs": 2,
        "learning_rate": 0.03,
        "encoder_learning_rate": 0.2,
        "purchase_weight": 2.5,
        "input_power": 0.25,
        "dropout": 0.125,
        "fold_every": 7,
        "patience": 3,
        "seed": 9,
    }
    options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert recae("train", "../purchases.csv", "--kind", "sigmoid", *options).exit_code == 0
    config = describe("model.recae")["metadata"]["config"]
    assert given.items() <= config.items()
    # of the blend that is trained by default they are settings of its sigmoid part
    assert recae("train", "../purchases.csv", *options).exit_code == 0
    blend = describe("model.recae")["metadata"]["config"]
    assert blend.pop("seed") == given.pop("seed") == 9
    (config,) = [part["config"] for part in blend["parts"] if part["kind"] == "sigmoid"] or [
        {name.removeprefix("sigmoid."): value for name, value in blend.items()}  # where it is left out
    ]
    assert given.items() <= config.items()


def test_columns_given(folder: Path) -> None:
    rows = table().splitlines()[1:]
    text = "who;what;when;how many;called\n" + "".join(
        f"{row.replace(',', ';')};2024-01-{1 + n % 28:02d};{n % 5};thing {row.split(',')[1]}\n"
        for n, row in enumerate(rows)
    )
    Path("t.csv").write_text(text)
    given = [
        "--user-column",
        "who",
        "--item-column",
        "what",
        "--time-column",
        "when",
        "--name-column",
        "called",
        "--quantity-column",
    ]
    result = trained("t.csv", *given, "how many")
    assert (
        "columns: user 'who', item 'what', time 'when', quantity 'how many', name 'called'" in result.stderr
    )
    assert "dropped 72 rows: quantity is zero or less" in result.stderr
    assert "purchases from 2024-01-01 to 2024-01-28" in result.stderr
    found = json.loads(recae("recommend", "--user", "u1", "--json").stdout)["recommendations"]
    assert all(entry["name"] == f"thing {entry['item_id']}" for entry in found)
    # '' leaves a role out
    again = trained("t.csv", *given, "")
    assert "quantity" not in again.stderr
    assert "kept 360 interactions" in again.stderr


@pytest.mark.some(2)
@pytest.mark.parametrize("ending", [".csv.gz", ".csv.bz2", ".tsv", ".parquet"])
def test_every_kind_of_file(folder: Path, ending: str) -> None:
    text = table()
    path = Path("t" + ending)
    if ending == ".parquet":
        users, items = zip(*(line.split(",") for line in text.splitlines()[1:]), strict=True)
        pq.write_table(pa.table({"user_id": users, "item_id": items}), path)
    else:
        pack: dict[str, Callable[[bytes], bytes]] = {".csv.gz": gzip.compress, ".csv.bz2": bz2.compress}
        path.write_bytes(pack.get(ending, lambda data: data.replace(b",", b"\t"))(text.encode()))
    plain, packed = (
        json.loads(trained(source, "--json").stdout)["fingerprint"] for source in ("../purchases.csv", path)
    )
    assert plain == packed


def test_without_histories(folder: Path) -> None:
    result = trained("../purchases.csv", "--no-histories", "--json")
    assert json.loads(result.stdout)["n_users"] == 60
    assert describe("model.recae")["metadata"]["n_users"] is None
    refused(recae("recommend", "--user", "u1"), "without histories")
    assert recae("recommend", "--items", "i1,i2").exit_code == 0


def test_nothing_to_measure_on(folder: Path) -> None:
    Path("few.csv").write_text("user,item\na,x\nb,y\nb,x\n")
    result = trained("few.csv")
    assert result.stdout == ""
    assert "too few users with two items or more to hold any out" in result.stderr
    assert json.loads(trained("few.csv", "--json").stdout)["metrics"] is None


def test_ids_that_are_hard_to_hold(folder: Path) -> None:
    hard = [
        "\x01\x1b[31mred", "<script>alert(1)</script>", "😀", "x" * 10_240, "a\nb", "a\tb", 'q"q', "a,b", " lead",
        "trail ", "[bold]x[/bold]", "\u202eRTL", "=1+1", "-5", "NaN", "null", "007", "7",
    ]  # fmt: skip
    quoted = ['"' + text.replace('"', '""') + '"' for text in hard]
    rng = random.Random(1)
    rows = [f"{user},{item}" for user in quoted for item in rng.sample(quoted, 6)]
    Path("hard.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n", encoding="utf-8")
    nobody = {"NaN", "null"}  # how programs write that there is no id
    kept = [text for text in hard if text not in nobody]
    words = [row.split('",', 1) for row in rows]
    without = [user[1:] in nobody for user, _ in words], [item[1:-1] in nobody for _, item in words]
    items = sum(item and not user for user, item in zip(*without, strict=True))
    result = trained("hard.csv")
    assert f"dropped {sum(without[0]):,} rows: no user" in result.stderr
    assert f"dropped {items:,} rows: no item" in result.stderr
    recommender = load("model.recae")
    assert recommender.users is not None
    assert set(recommender.users) == set(recommender.items) == set(kept)
    for user in kept:
        answer = json.loads(
            recae("recommend", "--user", user, "--include-owned", "-n", "99", "--json").stdout
        )
        assert {entry["item_id"] for entry in answer["recommendations"]} == set(kept)
    plain = recae("recommend", "--user", "7", "--include-owned", "-n", "99").stdout
    assert len(plain.splitlines()) == 1 + len(kept)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", plain)
    missing = recae("recommend", "--user", "y" * 10_240)
    refused(missing, "(10,240 characters) in the model; nearest: ")
    assert len(missing.stderr) < 1000


def shop_of(kind: str) -> str:
    rows = {
        "two users": ["a,x", "b,y", "b,x"],
        "three users": ["a,x", "a,y", "b,x", "b,z", "c,y", "c,z"],
        "one item each": [f"u{n},i{n % 7}" for n in range(50)],
        "everybody owns everything": [f"u{u},i{i}" for u in range(20) for i in range(5)],
        "one owns everything": [f"all,i{n}" for n in range(30)] + table().splitlines()[1:],
        "one item bought by everybody": [f"u{n},pop" for n in range(60)] + table().splitlines()[1:],
        "more items than pairs can teach": [f"u{u},i{u * 100 + i}" for u in range(5) for i in range(100)],
    }[kind]
    return "\n".join(["user,item", *rows]) + "\n"


@pytest.mark.some(4)
@pytest.mark.parametrize(
    "kind",
    [
        "two users",
        "three users",
        "one item each",
        "everybody owns everything",
        "one owns everything",
        "one item bought by everybody",
        "more items than pairs can teach",
    ],
)
def test_odd_shops_are_trained_on(folder: Path, kind: str) -> None:
    Path("t.csv").write_text(shop_of(kind))
    trained("t.csv")
    result = recae("score", "--out", "r.csv", "-n", "3")
    assert result.exit_code == 0
    assert names(folder) == ["model.recae", "r.csv", "t.csv"]


def test_a_terminal_of_80_columns(folder: Path) -> None:
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = start(
        *("train", SAMPLE, "--out", folder / "m.recae", "--factors", "8", "--epochs", "12"),
        env=environment | {"TERM": "xterm"},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    data = b""
    try:
        while part := os.read(controller, 65_536):
            data += part
    except OSError:  # how Linux says that the other side has gone
        pass
    os.close(controller)
    assert process.wait() == 0
    text = data.decode()
    assert "━" in text  # the bar
    assert "──" in text  # the table
    assert "\t" not in text
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split("read, trained, measured")[0]
    drawn = shown.split("training on")[1]
    assert max(len(line) for line in re.split("[\r\n]", drawn)) <= 80
    assert names(folder) == ["m.recae"]
