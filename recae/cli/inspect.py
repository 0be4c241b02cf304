"""`recae inspect`: what a model file says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from recae.cli.inspect_settings import print_auto, settings_toml, with_few_ids, with_parts
from recae.cli.options import DEFAULT_MODEL, output_path
from recae.cli.output import human_bytes, message, print_gap, print_json, print_metrics, print_table


def plot_path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Return the path of a figure to write, None without one."""
    return None if value is None else output_path(ctx, parameter, value)


@click.command()
@click.argument(
    "model_path",
    metavar="[MODEL]",
    type=click.Path(path_type=Path),
    envvar="RECAE_MODEL",
    default=DEFAULT_MODEL,
)
@click.option(
    "--plot",
    metavar="PATH",
    callback=plot_path,
    help="Draw loss and validation recall@20 of each epoch: .png, .svg or .pdf; needs pip install 'recae[plot]'.",
)
@click.option(
    "--toml", "as_toml", is_flag=True, help="Print the settings as a file for `recae train --config`."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (below).")
def inspect(model_path: Path, plot: Path | None, as_toml: bool, as_json: bool) -> None:
    """Say what is in a model file, without loading its weights.

    MODEL is the model file; without it, $RECAE_MODEL, else model.recae.

    \b
    --json prints one object:
      {"path": "model.recae", "bytes": 123456, "format_version": 1,
       "kind": "sigmoid", "config": {...},
       "n_users": 2000,            null where the model was saved without histories
       "n_items": 600,
       "n_interactions": 40000,    pairs in the histories, or null likewise
       "fingerprint": "...",       SHA-256 of the purchases it was trained on
       "filters": {...},           which of the purchases counted: "since", "until", "min_user_purchases",
                                   "min_item_purchases", "exclude_items"; only what was set
       "metrics": {...},           null where nothing was measured, else
                                   {"n_users", "validation_users", "ks", "rows": [{"model", "recall@10", ...}]}
       "history": [...],           an object an epoch
       "auto": {...},              with --kind auto: {"tried": [{"kind", "settings", "ndcg@20", "interval", ...}],
                                   "skipped": [{"kind", "reason"}], "chosen", "why", "n_users", "budget"}
       "weights": {...},           with --half-life or --quantity-as-confidence: {"half_life": 90.0,
                                   "quantity_as_confidence": true}, what is given of them
       "versions": {...},          of recae and what it was trained with
       "tensors": [{"name": "items.data", "dtype": "U8", "shape": [2400], "bytes": 2400}]}
    and whatever else the file's metadata holds.
    """
    if plot is not None:
        from recae.files import check_writable
        from recae.plots import check_plot

        check_plot(plot)
        check_writable(plot, model_path)

    from recae.modelfile import describe

    content = describe(model_path)
    metadata, tensors = content["metadata"], content["tensors"]
    pairs = [
        tensor["shape"][0] for tensor in tensors if tensor["name"] == "histories.indices" and tensor["shape"]
    ]
    known: dict[str, Any] = {
        "fingerprint": None,
        "filters": {},
        "metrics": None,
        "history": [],
        "versions": {},
    }
    summary = {
        **known,
        **metadata,
        "path": content["path"],
        "bytes": content["bytes"],
        "n_interactions": pairs[0] if pairs else None,
        "tensors": tensors,
    }
    if plot is not None:
        from recae.plots import plot_history

        history = summary["history"]
        plot_history(history if isinstance(history, list) else [], plot, model_path.name)
        message(f"the plot is in {plot}")
    if as_toml:
        found = (summary.get(name) for name in ("config", "filters", "weights"))
        tables = (table if isinstance(table, Mapping) else {} for table in found)
        click.echo(settings_toml(str(summary["kind"]), *tables), nl=False)
        return
    if as_json:
        print_json(summary)
        return
    print_table(["property", "value"], _properties(summary), title=f"Model file {model_path}")
    print_gap()
    metrics = summary["metrics"]
    if isinstance(metrics, Mapping) and isinstance(metrics.get("rows"), list):
        print_metrics(metrics)
        print_gap()
    if isinstance(summary.get("auto"), Mapping):
        print_auto(summary["auto"])
    print_table(
        ["tensor", "dtype", "shape", "size"],
        (
            [t["name"], t["dtype"], " × ".join(map(str, t["shape"])) or "scalar", human_bytes(t["bytes"])]
            for t in tensors
        ),
        title="Tensors",
        right=("size",),
    )


def _properties(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the first table: what is one value each."""

    def count(name: str, without: str = "not in the file") -> list[str]:
        value = summary[name]
        return [name, without if value is None else str(value)]

    history, metrics = summary["history"], summary["metrics"]
    return [
        ["kind", str(summary["kind"])],
        count("n_users"),
        count("n_items"),
        count("n_interactions"),
        ["epochs", str(len(history)) if isinstance(history, list) else "-"],
        count("fingerprint", "-"),
        count("format_version"),
        ["file size", human_bytes(summary["bytes"])],
        *([["held_out_users", str(metrics.get("n_users", "-"))]] if isinstance(metrics, Mapping) else []),
        *_entries("filters", with_few_ids(summary["filters"])),
        *_entries("weights", summary.get("weights")),
        *_entries("config", with_parts(summary["config"])),
        *_entries("version", summary["versions"]),
    ]


def _entries(prefix: str, values: object) -> list[list[str]]:
    if not isinstance(values, Mapping):
        return []
    return [[f"{prefix}.{name}", "-" if value is None else str(value)] for name, value in values.items()]
