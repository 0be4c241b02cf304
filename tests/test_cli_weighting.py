"""--half-life and --quantity-as-confidence of train, tune and evaluate: what they change, keep, show and refuse."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from commands import recae, refused

from recae import train as recae_train
from recae.modelfile import load

EASE = ("--kind", "ease")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in. In shop.csv users who own "a" bought "old…" items long ago, and others "new…" of late."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["user,item,date,pieces"]
    for u in range(90):
        recent = u % 3 == 0  # a third of the users, so that without weights the old items win
        day = date(2024, 1, 1) + timedelta(days=int(rng.integers(0, 30)) + 700 * recent)
        bought = ["a", *rng.choice([f"{'new' if recent else 'old'}{n}" for n in range(4)], 3, replace=False)]
        bought += [f"x{n}" for n in rng.choice(12, 2, replace=False)]
        lines += [f"u{u:02},{item},{day},{1 if item.startswith('old') else 30}" for item in bought]
    Path("shop.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def refused_after_reading(result: Result, *parts: str) -> None:
    """The last line of stderr is one sentence, after what was said of the purchases; exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last


def best(model: str, n: int = 4) -> list[str]:
    return [found.item for found in load(model).recommend(items=["a"], n=n)]


@pytest.mark.some(2)
@pytest.mark.parametrize(
    "kind",
    [
        ("--kind", "ease"),
        ("--kind", "itemknn", "--set", "k=100"),
        ("--kind", "popularity"),
        ("--kind", "sigmoid", "--factors", "8", "--epochs", "40", "--set", "learning_rate=0.02"),
        ("--kind", "blend", "--set", "components=ease,itemknn"),
    ],
    ids=lambda kind: kind[1],
)
def test_where_taste_has_changed_a_half_life_lets_the_recent_items_win(
    shop: Path, kind: tuple[str, ...]
) -> None:
    for out, options in (("plain.recae", ()), ("weighted.recae", ("--half-life", "60"))):
        result = recae("train", "shop.csv", "--out", out, *kind, *options)
        assert result.exit_code == 0, result.stderr
    assert all(item.startswith("old") for item in best("plain.recae", 3))
    assert all(item.startswith("new") for item in best("weighted.recae", 3))


def test_quantities_count_as_confidence(shop: Path) -> None:
    result = recae("train", "shop.csv", *EASE, "--quantity-as-confidence")
    assert result.exit_code == 0, result.stderr
    recae("train", "shop.csv", *EASE, "--out", "plain.recae")
    weights = {out: load(out).model.arrays()["weights"] for out in ("model.recae", "plain.recae")}
    assert not np.array_equal(*weights.values())
    assert load("model.recae").metadata["weights"] == {"quantity_as_confidence": True}


def test_the_file_says_how_purchases_weighed(shop: Path) -> None:
    recae("train", "shop.csv", *EASE, "--half-life", "60", "--quantity-as-confidence")
    recae("train", "shop.csv", *EASE, "--out", "plain.recae")
    shown = recae("inspect", "model.recae").stdout
    assert "weights.half_life\t60.0\n" in shown
    assert "weights.quantity_as_confidence\tTrue\n" in shown
    assert "weights.half_life" not in recae("inspect", "plain.recae").stdout
    told = json.loads(recae("inspect", "model.recae", "--json").stdout)
    assert told["weights"] == {"half_life": 60.0, "quantity_as_confidence": True}
    toml = recae("inspect", "model.recae", "--toml").stdout
    assert toml.endswith("\n[weights]\nhalf_life = 60.0\nquantity_as_confidence = true\n")
    Path("best.toml").write_text(toml)
    again = recae("train", "shop.csv", "--config", "best.toml", "--out", "again.recae")
    assert again.exit_code == 0, again.stderr
    assert Path("again.recae").read_bytes() == Path("model.recae").read_bytes()
    recae("train", "shop.csv", "--config", "best.toml", "--out", "again.recae", "--half-life", "9")
    told = json.loads(recae("inspect", "again.recae", "--json").stdout)
    assert told["weights"] == {"half_life": 9.0, "quantity_as_confidence": True}  # options win, one by one


def test_a_date_of_another_age_and_the_moment_of_age_0(shop: Path) -> None:
    """One wrong date changes no other purchase's confidence, and is said; --as-of reaches every command and file."""
    lines = Path("shop.csv").read_text()
    Path("wrong.csv").write_text(f"{lines}u00,x99,2093-05-05,1\n")
    train = ("--kind", "popularity", "--half-life", "60")
    found = recae("train", "wrong.csv", *train, "--out", "wrong.recae")
    assert found.exit_code == 0, found.stderr
    said = "dated far later than all others, such as 2093-05-05: age is measured from 2025-12-"
    assert said in found.stderr
    assert all(item.startswith("new") for item in best("wrong.recae", 3))
    for command in (
        ("evaluate", "--protocol", "weak", "--baselines", "none", "--trials", "1"),
        ("tune", "--trials", "1"),
    ):
        kind = ("--kind", "itemknn", "--half-life", "60")
        result = recae(command[0], "wrong.csv", *command[1:], *kind)
        assert result.exit_code == 0, result.stderr
        assert said in result.stderr
    recae("train", "wrong.csv", *train, "--as-of", "2024-01-31T12:00", "--out", "then.recae")
    told = json.loads(recae("inspect", "then.recae", "--json").stdout)["weights"]
    assert told == {"half_life": 60.0, "as_of": "2024-01-31T12:00:00Z"}
    toml = recae("inspect", "then.recae", "--toml").stdout
    assert toml.endswith('\n[weights]\nas_of = "2024-01-31T12:00:00Z"\nhalf_life = 60.0\n')
    model = recae_train("wrong.csv", "popularity", half_life=60, as_of=datetime(2024, 1, 31, 12))
    assert model.metadata["weights"] == told
    refused(
        recae("train", "none.csv", "--as-of", "2024-01-01"),
        "--as-of says when age is 0",
        "with --half-life only",
    )
    refused(
        recae("train", "none.csv", "--half-life", "9", "--as-of", "soon"), "as_of is an ISO date", "'soon'"
    )
    refused_after_reading(
        recae("train", "shop.csv", *train, "--as-of", "1999-01-01"),
        "--as-of 1999-01-01, before all purchases",
    )
    # dates as seconds, and whatever the unit of the column
    recae("train", "shop.csv", *train, "--as-of", "2024-01-31", "--out", "dates.recae")
    rows = [line.split(",") for line in lines.splitlines()[1:]]
    for factor in (1, 1000):
        seconds = [int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) for _, _, day, _ in rows]
        body = "\n".join(f"{u},{i},{t * factor},1" for (u, i, _, _), t in zip(rows, seconds, strict=True))
        Path("epochs.csv").write_text(f"user,item,time,pieces\n{body}\n")
        for text in ("2024-01-31", "1706659200"):
            recae("train", "epochs.csv", *train, "--as-of", text, "--out", "epochs.recae")
            found = [load(path).model.arrays() for path in ("epochs.recae", "dates.recae")]
            assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("weights = 3", "weights is a table with lines such as half_life = 90, found 3"),
        (
            "[weights]\nhalflife = 3",
            "weights have no 'halflife'; choose one of half_life, quantity_as_confidence, as_of",
        ),
        ("[weights]\nhalf_life = -3", "half_life is a number of days above 0"),
        ("[weights]\nas_of = 2011-12-09", "without half_life age does not matter"),
        ("[weights]\nquantity_as_confidence = 3", "quantity_as_confidence is true or false"),
    ],
)
def test_a_wrong_table_of_weights(shop: Path, table: str, part: str) -> None:
    Path("wrong.toml").write_text(f'kind = "ease"\n{table}\n')
    refused(recae("train", "shop.csv", "--config", "wrong.toml"), "wrong.toml: ", part)


def test_what_is_asked_for_is_checked_before_or_while_reading(shop: Path) -> None:
    Path("bare.csv").write_text("user,item\na,x\na,y\nb,x\n")
    train = ("train", "bare.csv", *EASE)
    for command in (train, ("evaluate", "bare.csv")):
        refused(
            recae(*command, "--half-life", "9"),
            *("bare.csv", "--half-life needs the time", "--time-column", "found: 'user', 'item'"),
        )
    refused(
        recae(*train, "--quantity-as-confidence"), "bare.csv", "--quantity-column", "found: 'user', 'item'"
    )
    for text in ("0", "-3", "nan", "inf"):
        refused(recae("train", "nothing.csv", "--half-life", text), "half_life is a number of days above 0")
    refused(recae("train", "nothing.csv", "--half-life", "soon"), "--half-life is a number", "found 'soon'")
    for kind in ("bpr", "blend"):
        given = ("--set", "components=ease,bpr") if kind == "blend" else ()
        told = recae("train", "nothing.csv", "--kind", kind, *given, "--half-life", "9")
        refused(told, "bpr cannot weigh purchases", "leave out --half-life")
    refused(recae("tune", "nothing.csv", "--kind", "bpr", "--half-life", "9"), "bpr cannot weigh purchases")
    blend = ("--kind", "blend", "--set", "blend.components=ease,bpr", "--baselines", "none")
    refused(recae("evaluate", "nothing.csv", *blend, "--half-life", "9"), "bpr cannot weigh purchases")
    matrices = recae("evaluate", "x.npz", "--test", "y.npz", "--protocol", "pair", "--half-life", "9")
    refused(matrices, "--half-life 9 needs times or quantities, which matrices do not hold")


@pytest.mark.thorough
def test_a_checkpoint_of_other_weights_is_not_gone_on_with(shop: Path) -> None:
    from recae.confidence import Weighting
    from recae.pipeline import train
    from recae.selection.progress import Progress
    from recae.training.checkpoint import Checkpoints

    class StopError(Exception):
        pass

    def stop(epoch: object) -> None:
        raise StopError

    path = Path("m.checkpoint")
    with pytest.raises(StopError):
        train(
            "shop.csv", kind="sigmoid", factors=4, epochs=3, checkpoints=Checkpoints(path),
            confidence=Weighting(60), progress=Progress(on_epoch=stop),
        )  # fmt: skip
    again = ("train", "shop.csv", "--kind", "sigmoid", "--factors", "4", "--epochs", "3", "--resume")
    again += ("--checkpoint", str(path))
    refused_after_reading(recae(*again), "weights.half_life: was 60.0, is not there")
    refused_after_reading(recae(*again, "--half-life", "61"), "weights.half_life: was 60.0, is 61.0")
    assert recae(*again, "--half-life", "60").exit_code == 0


def test_repeats_and_weights_go_together(shop: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["user,item,date,pieces"]
    for u in range(40):
        for day in range(3):
            when = date(2024, 1, 1) + timedelta(days=int(200 * day + rng.integers(0, 100)))
            lines += [f"u{u:02},i{i},{when},{1 + i}" for i in rng.choice(9, 3, replace=False)]
    Path("baskets.csv").write_text("\n".join(lines) + "\n")
    settings = ("--set", "components=ease,frequency", "--repeats")
    for out, options in (("p.recae", ()), ("w.recae", ("--half-life", "60", "--quantity-as-confidence"))):
        result = recae("train", "baskets.csv", "--out", out, *settings, *options)
        assert result.exit_code == 0, result.stderr
    parts = [{part.model.kind: part.model for part in load(o).model.parts} for o in ("p.recae", "w.recae")]
    if all("frequency" in found for found in parts):
        np.testing.assert_array_equal(parts[0]["frequency"].owned_by, parts[1]["frequency"].owned_by)
    assert load("w.recae").repeats
    refused(
        recae("train", "baskets.csv", "--kind", "frequency", "--repeats", "--half-life", "9"),
        "frequency cannot weigh purchases, since personal frequency has a decay of its own",
    )


def test_tuning_tells_its_weights(shop: Path) -> None:
    pytest.importorskip("optuna")
    tune = ("tune", "shop.csv", "--kind", "edlae", "--trials", "2", "--study", "s.study")
    result = recae(*tune, "--half-life", "60")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("\n[weights]\nhalf_life = 60.0\n")
    refused_after_reading(recae(*tune, "--resume"), "weights.half_life", "was 60.0")
    told = json.loads(recae(*tune, "--half-life", "60", "--resume", "--json").stdout)
    assert told["weights"] == {"half_life": 60.0}
    plain = json.loads(recae("tune", "shop.csv", "--kind", "edlae", "--trials", "1", "--json").stdout)
    assert plain["weights"] is None


def test_evaluating_weighs_models_and_baselines_alike_and_says_for_whom_not(shop: Path) -> None:
    evaluate = ("evaluate", "shop.csv", *EASE, "--baselines", "popularity,bpr", "--trials", "1", "--json")
    evaluate += ("--set", "bpr.iterations=2", "--keep", "kept")
    plain = recae(*evaluate)
    weighted = recae(*evaluate, "--half-life", "60", "--quantity-as-confidence")
    assert weighted.exit_code == 0, weighted.stderr
    said = "weighted (half-life 60 days, quantity as confidence), but for BPR, which cannot weigh them"
    assert said in weighted.stderr
    reports = [json.loads(result.stdout) for result in (plain, weighted)]
    assert said in reports[1]["budget"]["text"]
    assert said not in reports[0]["budget"]["text"]
    recall = [{m["kind"]: m["metrics"]["recall@10"]["mean"] for m in report["models"]} for report in reports]
    assert recall[0]["bpr"] == recall[1]["bpr"]
    assert recall[0]["popularity"] != recall[1]["popularity"]
    assert recall[0]["ease"] != recall[1]["ease"]
