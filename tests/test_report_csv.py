"""A comparison as tables: every figure of a model, and of every user, read back by pandas and pyarrow."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from comparisons import FAILED, comparison

from recae.cli.output import print_csv
from recae.errors import OutputError
from recae.evaluation.comparison import Comparison, compare_runs
from recae.evaluation.report.csv import COLUMNS, USER_SCHEMA, csv_rows, write_csv, write_users

HOSTILE = 'a "quoted", name\nof two lines'


def close(value: Any) -> Any:
    """To what pandas' reading of digits may lose."""
    return pytest.approx(value, rel=1e-14, nan_ok=True)


@pytest.fixture(scope="module")
def found() -> Comparison:
    tasks, runs = comparison("next-basket", True)
    named = [replace(runs[0], name=HOSTILE), *runs[1:]]
    return compare_runs(tasks, named, ks=(5, 10), metric="ndcg@10", seed=1)


@pytest.fixture(scope="module")
def table(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, found)
    return pd.read_csv(path)


def test_a_row_for_each_model_and_metric(found: Comparison, table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    assert list(table["model"].unique()) == [HOSTILE, "popularity", "item-kNN", "BPR"]
    assert table["baseline"].dtype == bool
    for model in found.models[:3]:
        rows = table[(table["model"] == model.run.name) & table["part"].isna()].set_index("metric")
        curve = {f"recall@{k}": mean for k, mean in model.curve.items()}
        assert sorted(rows.index) == sorted({*model.metrics, *curve, *model.sets})  # each once
        for name, mean in {**model.metrics, **curve}.items():
            row = rows.loc[name]
            assert [row["mean"], row["low"], row["high"]] == close([mean.mean, mean.low, mean.high])
            if name in model.values:
                assert row["n_users"] == np.isfinite(model.values[name]).sum()
            else:
                assert row["n_users"] == 20
        for name, value in model.sets.items():
            assert rows.loc[name, "mean"] == close(value)
            assert rows.loc[name, ["low", "high"]].isna().all()
    # who buys something again are fewer than all
    assert set(table[table["metric"] == "recall_repeat@5"]["n_users"]) != {20}


def test_a_row_for_each_part(found: Comparison, table: pd.DataFrame) -> None:
    for model in found.models[:3]:
        rows = table[(table["model"] == model.run.name) & table["part"].notna()]
        assert set(rows["metric"]) == {"ndcg@10"}
        expected = [
            (f"{kind}: {part.name}", part.n_users, part.interval.mean)
            for kind, parts in model.slices.items()
            for part in parts
        ]
        assert [row[:2] for row in expected] == list(zip(rows["part"], rows["n_users"], strict=True))
        assert rows["mean"].tolist() == pytest.approx([row[2] for row in expected], nan_ok=True)


def test_differences_stand_with_the_metric_that_decides(found: Comparison, table: pd.DataFrame) -> None:
    told = table[table["difference"].notna()]
    assert set(told["metric"]) == {"ndcg@10"}
    assert told["part"].isna().all()
    for model in found.models[:3]:
        rows = told[told["model"] == model.run.name]
        if model.difference is None:
            assert model.run.name == found.best_baseline
            assert rows.empty
            continue
        (row,) = rows.to_dict("records")
        gap = model.difference
        paired = gap.paired
        assert row["difference_to"] == gap.to
        assert [row[f"difference{part}"] for part in ("", "_low", "_high")] == close(
            [paired.mean, paired.low, paired.high]
        )
        assert [row["p"], row["p_corrected"]] == close([paired.p, gap.p_corrected])


def test_a_model_that_failed_has_one_row_and_the_reason(table: pd.DataFrame) -> None:
    (row,) = table[table["model"] == "BPR"].to_dict("records")
    assert row["failed"] == FAILED.failed
    assert row["baseline"]
    assert {key for key, value in row.items() if value == value} == {"model", "kind", "baseline", "failed"}


def test_the_command_line_prints_the_same(
    found: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "table.csv", found)
    print_csv(COLUMNS, csv_rows(found))
    assert capsys.readouterr().out.encode() == (tmp_path / "table.csv").read_bytes()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_user(found: Comparison, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"users.{ending}"
    n_rows = write_users(path, found)
    if ending == "csv":
        read = pd.read_csv(io.StringIO(path.read_text()), dtype={"user_id": str})
    else:
        assert pq.read_schema(path).equals(USER_SCHEMA)
        read = pd.read_parquet(path)
    assert len(read) == n_rows == sum(np.isfinite(v).sum() for m in found.models for v in m.values.values())
    assert list(read.columns) == USER_SCHEMA.names
    for model in found.models[:3]:
        for name, values in model.values.items():
            rows = read[(read["model"] == model.run.name) & (read["metric"] == name)]
            known = np.isfinite(values)
            assert rows["value"].tolist() == close(values[known].tolist())
            assert rows["user_id"].tolist() == [u for u, k in zip(found.test_users, known, strict=True) if k]
    assert "BPR" not in set(read["model"])


def test_what_cannot_be_written(found: Comparison, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must be one of \.parquet"):
        write_users(tmp_path / "users.txt", found)
    with pytest.raises(OutputError, match="does not exist"):
        write_csv(tmp_path / "no" / "table.csv", found)
