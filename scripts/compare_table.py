"""The table of scripts/compare.py: intervals, differences to the best baseline, and how they are printed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from recae.evaluation import bootstrap_mean, paired_difference

METRICS = ("recall@20", "ndcg@20")


def add_statistics(rows: list[dict[str, Any]], baselines: Sequence[str]) -> None:
    """Puts means, intervals and paired differences in the place of the users' figures."""
    measured = [row for row in rows if "error" not in row]
    values = {
        row["kind"]: {name: np.array(found, dtype=np.float64) for name, found in row.pop("by_user").items()}
        for row in measured
    }
    rivals = [row for row in measured if row["kind"] in baselines]
    best = max(rivals, key=lambda row: row["validation_ndcg@20"])["kind"] if rivals else None
    for row in measured:
        for name in METRICS:
            own = values[row["kind"]][name]
            row[name] = plain(asdict(bootstrap_mean(own)))
            if best is not None and row["kind"] != best:
                row[f"{name}_difference"] = plain(asdict(paired_difference(own, values[best][name]))) | {
                    "to": best
                }


def plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """NaN as null, which JSON has."""
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}


def table(results: Mapping[str, Any], markdown: bool) -> str:
    """The rows as aligned text or Markdown."""
    said = (
        f"{results['data']}: {results['protocol']}; fitted to {results['users']:,} users × {results['items']:,} items, "
        f"{results['interactions']:,} interactions; {results['test_users']:,} test users"
    )
    rivals = {row["ndcg@20_difference"]["to"] for row in results["rows"] if "ndcg@20_difference" in row}
    to = f" − {rivals.pop()}" if rivals else " difference"
    head = ["model", "Recall@20 [95 %]", "NDCG@20 [95 %]", f"Recall@20{to}", "p", f"NDCG@20{to}", "p"]
    lines = [[*head, "trials", "fit s", "peak MiB"], *map(cells, results["rows"])]
    if markdown:
        rule = "|".join(["", "---", *["---:"] * (len(lines[0]) - 1), ""])
        body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        return "\n".join([said, "", body[0], rule, *body[1:]])
    complete = [line for line in lines if any(line[2:])]  # a reason for failing may be longer than its column
    widths = [max(len(line[n]) for line in complete) for n in range(len(lines[0]))]
    widths[0] = max(len(line[0]) for line in lines)
    aligned = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join([said, "", *aligned])


def cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table."""
    if "error" in row:
        return [row["kind"], f"failed: {row['error']}", *[""] * 8]
    line = [row["kind"], *(interval(row[name]) for name in METRICS)]
    for name in METRICS:
        found = row.get(f"{name}_difference")
        line += ["", ""] if found is None else [interval(found, "+"), number(found["p"], ".3f")]
    return [
        *line,
        str(row["trials"]),
        f"{row['seconds']:.1f}",
        f"{row['peak_memory_bytes'] / 2**20:,.0f}",
    ]


def interval(found: Mapping[str, Any], sign: str = "") -> str:
    """Mean and bounds, such as .3129 [.3012, .3251]."""
    mean, low, high = (number(found[name], f"{sign}.4f") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def number(value: float | None, form: str) -> str:
    """Without the 0 before the point; a dash for what is not known."""
    return "–" if value is None else f"{value:{form}}".replace("0.", ".", 1)
