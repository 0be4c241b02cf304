"""`recae inspect`: the metadata of a model file."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from recae.cli.help import Command, under
from recae.cli.options import model_option, output_path, positional_model
from recae.cli.output import human_bytes, message, print_gap, print_json, print_metrics, print_table, write
from recae.text import updates_words

_LONGEST_RULE = 200
_IDS = 5  # ids that are shown; --json has them all


def settings_toml(
    kind: str, config: Mapping[str, Any], filters: Mapping[str, Any], weighting: Mapping[str, Any]
) -> str:
    """Return a model's settings as a file for `recae train --config`.

    Filters, weighting and the parts of a blend are tables.
    """
    from recae.kinds import SETTINGS
    from recae.settings import settings_of
    from recae.settings_toml import FILTERS, WEIGHTING, to_toml

    def of(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
        known = settings_of(SETTINGS[kind]) if kind in SETTINGS else {}
        return {name: config[name] for name in known if name in config}

    values = of(kind, config)
    for name, value in config.items():  # of parts that were left out
        part, dot, own = name.partition(".")
        if dot:
            values.setdefault(part, {})[own] = value
    parts = config.get("parts")
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Mapping) and isinstance(part.get("config"), Mapping):
            values[str(part.get("kind"))] = of(str(part.get("kind")), part["config"])
    if filters:
        values[FILTERS] = filters
    if weighting:
        values[WEIGHTING] = weighting
    return to_toml(kind, values)


def with_shortened_ids(filters: object) -> object:
    """Return filters in which a long list of excluded items is shortened to its beginning and its length."""
    if not isinstance(filters, Mapping) or not isinstance(filters.get("exclude_items"), list):
        return filters
    ids = filters["exclude_items"]
    more = f" and {len(ids) - _IDS:,} more" if len(ids) > _IDS else ""
    return {**filters, "exclude_items": f"{', '.join(map(str, ids[:_IDS]))}{more}"}


def with_parts(config: object) -> object:
    """Return a configuration with the settings of a blend's parts as entries such as `sigmoid.factors`."""
    parts = config.get("parts") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(parts, list):
        return config
    found = {name: value for name, value in config.items() if name != "parts"}
    for part in parts:
        if isinstance(part, Mapping):
            kind, own = part.get("kind"), part.get("config")
            found[f"{kind}.weight"] = part.get("weight")
            if isinstance(own, Mapping):
                found |= {f"{kind}.{name}": value for name, value in own.items()}
    return found


def print_auto(report: Mapping[str, Any]) -> None:
    """Print what --kind auto tried, best first, what it skipped, and why it chose what it chose."""
    tried = [row for row in report.get("tried") or [] if isinstance(row, Mapping)]
    skipped = [row for row in report.get("skipped") or [] if isinstance(row, Mapping)]
    tried.sort(key=lambda row: -value if isinstance(value := row.get("ndcg@20"), int | float) else 1)
    rows = [
        [
            str(row.get("kind", "-")),
            _figure(row.get("ndcg@20")),
            _interval(row.get("interval")),
            "chosen" if row.get("kind") == report.get("chosen") else "tried",
            str(row.get("note", "")),
        ]
        for row in tried
    ]
    rows += [[str(row.get("kind", "-")), "-", "-", "left out", str(row.get("reason", ""))] for row in skipped]
    n_users = report.get("n_users")
    title = f"Tried by auto, on {n_users} validation users" if n_users else "Tried by auto"
    print_table(["kind", "ndcg@20", "95 %", "what", "note"], rows, title=title)
    message(f"auto: {report.get('why')}")
    print_gap()


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _interval(value: object) -> str:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value):
        return f"{value[0]:.4f} to {value[1]:.4f}"
    return "-"


def plot_path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Return the path of a figure to write, None without one."""
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=Command)
@click.argument("positional", metavar="[MODEL]", type=click.Path(path_type=Path), required=False)
@model_option
@under(
    "Output",
    click.option(
        "--plot",
        metavar="PATH",
        callback=plot_path,
        help="Draw loss and validation recall@20 of each epoch: .png, .svg or .pdf; needs pip install 'recae[plot]'.",
    ),
    click.option(
        "--toml", "as_toml", is_flag=True, help="Print the settings as a file for `recae train --config`."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option(
        "--live",
        metavar="URL",
        help="Say, too, how the model does in the server there: whether customers buy what is recommended.",
    ),
)
def inspect(
    positional: Path | None,
    model_path: Path,
    plot: Path | None,
    as_toml: bool,
    as_json: bool,
    live: str | None,
) -> None:
    """Say what is in a model file, without loading its weights.

    \b
      recae inspect
      recae inspect --model orders.recae
      recae inspect --toml > settings.toml
      recae inspect --live http://localhost:8000

    With --live, a table says which model the server there uses, how old its file is, how many customers bought
    from their last list within a day, and how many purchases are of items that it has not seen, all since the server
    was started with --journal. Its token is taken from $RECAE_TOKEN.

    MODEL is another way to give --model.
    """
    model_path = positional_model(positional, model_path)
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
        "held_out": {**_object(metadata.get("held_out")), **(content["held_out"] or {})},
        "item_table": content["item_table"],
        "tensors": tensors,
    }
    if plot is not None:
        from recae.plots import plot_history

        history = summary["history"]
        plot_history(history if isinstance(history, list) else [], plot, model_path.name)
        message(f"the plot is in {plot}")
    if as_toml:
        found = (summary.get(name) for name in ("config", "filters", "weights"))
        tables = map(_object, found)
        write(settings_toml(str(summary["kind"]), *tables), sys.stdout)
        return
    found_live = None
    if live is not None:
        from recae.cli.live import ask

        found_live = ask(live)
    if as_json:
        print_json(summary if found_live is None else {**summary, "live": found_live.as_dict()})
        return
    if found_live is not None:
        with model_path.open("rb") as file:
            version = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        print_table(["since its start", "value"], found_live.rows(version), title=f"Server at {live}")
        print_gap()
    print_table(["property", "value"], _properties(summary), title=f"Model file {model_path}")
    print_gap()
    metrics = summary["metrics"]
    if isinstance(metrics, Mapping) and isinstance(metrics.get("rows"), list):
        print_metrics(metrics, summary.get("refit"))
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

    history = summary["history"]
    return [
        ["kind", str(summary["kind"])],
        count("n_users"),
        count("n_items"),
        count("n_interactions"),
        ["epochs", str(len(history)) if isinstance(history, list) else "-"],
        count("fingerprint", "-"),
        count("format_version"),
        ["file size", human_bytes(summary["bytes"])],
        *_entries("held_out", summary["held_out"]),
        *([["learned from", learned]] if (learned := _learned_from(summary)) else []),
        *_table_of_items(summary["item_table"]),
        *_new_items(summary.get("new_items")),
        *_entries("filters", with_shortened_ids(summary["filters"])),
        *([["rows", "; ".join(words)]] if (words := _rows_chosen(summary.get("reading"))) else []),
        *_worth(summary.get("inputs")),
        *_entries("weights", summary.get("weights")),
        *_entries("rules", _shortened(summary.get("rules"))),
        *_entries("forgotten", summary.get("forgotten")),
        *_entries("config", with_parts(summary["config"])),
        *_entries("version", summary["versions"]),
    ]


def _table_of_items(found: Mapping[str, Any] | None) -> list[list[str]]:
    """Return how many items the table of items has, and of how many each of its columns is known."""
    if found is None:
        return []
    rows = [[f"items.{name:.40}", f"known of {known:,}"] for name, known in found["columns"].items()]
    return [["items", f"a table of {found['items']:,}"], *rows]


def _new_items(judged: object) -> list[list[str]]:
    """Return by what it was judged that items which nobody has bought are scored, where they are."""
    if not isinstance(judged, dict):
        return []
    figures = [judged.get("ndcg@20"), judged.get("popularity_ndcg@20")]
    if not all(isinstance(figure, int | float) for figure in figures):
        return [["new items", "scored by what is known of them"]]
    ours, theirs = figures
    return [
        ["new items", f"scored; NDCG@20 {ours:.4f} on items held out whole, their category's {theirs:.4f}"]
    ]


def _learned_from(summary: Mapping[str, Any]) -> str:
    """Return whom the model has learned from, where some users were held out."""
    updated = updates_words(summary.get("updates"))
    if _object(summary.get("refit")):
        return "all users, once the figures were measured" + (updated and f"; {updated}")
    return "the users not held out" if summary["held_out"] else ""


def _rows_chosen(reading: object) -> list[str]:
    """Return which rows of the table counted, in words; a file may hold anything."""
    if not isinstance(reading, Mapping) or not reading:
        return []
    from recae.reading.counting import chosen_words

    try:
        return chosen_words(reading)
    except (AttributeError, KeyError, TypeError, ValueError):
        return [str(dict(reading))]


def _worth(inputs: object) -> list[list[str]]:
    """Return what other events brought on the validation users, a row each; a file may hold anything."""
    worth = _object(inputs).get("worth")
    rows = []
    for entry in map(_object, worth if isinstance(worth, list) else ()):
        gain, low, high = (entry.get(name) for name in ("gain", "low", "high"))
        if all(isinstance(number, int | float) for number in (gain, low, high)):
            used = "used" if entry.get("used") else "left out"
            said = f"{gain:+.4f} NDCG@20 (95 % interval {low:+.4f} to {high:+.4f}), {used}"
            rows.append([f"event {entry.get('event')}", said])
    return rows


def _shortened(rules: object) -> dict[str, str]:
    """Return each rule that is stored with a model as text, a long one by its beginning."""
    texts = {name: json.dumps(rule, ensure_ascii=False) for name, rule in _object(rules).items()}
    return {
        name: text if len(text) <= _LONGEST_RULE else f"{text[:_LONGEST_RULE]} … ({len(text):,} characters)"
        for name, text in texts.items()
    }


def _object(value: object) -> Mapping[str, Any]:
    """Return a JSON object of a file's metadata; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def _entries(prefix: str, values: object) -> list[list[str]]:
    if not isinstance(values, Mapping):
        return []
    return [[f"{prefix}.{name}", "-" if value is None else str(value)] for name, value in values.items()]
