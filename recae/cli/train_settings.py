"""Which kind of model `recae train` was asked for, and its settings: from options, --set and a TOML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])

SHORTCUTS = {
    "factors": ("N", "Size of the code."),
    "layers": ("N,N,…", "Sizes of the hidden layers, down to the code."),
    "epochs": ("N", "Passes over the users, at most."),
    "learning_rate": ("X", "Step of the decoder."),
    "encoder_learning_rate": ("X", "Step of the encoder, before AdaGrad."),
    "purchase_weight": ("X", "α: weight of a purchase's error, 1 or more."),
    "input_power": ("X", "p: a history of m items enters as x/m^p, 0 to 1."),
    "dropout": ("X", "Share of each history hidden from the encoder."),
    "fold_every": ("N", "Users between two folds, at most."),
    "patience": ("N", "Epochs without a better validation recall@20 before it stops."),
    "batch_size": (
        "N",
        "Users whose codes are computed together; sigmoid with 1: one after the other, the exact per-user step.",
    ),
    "seed": ("N", "Of everything random; the same seed gives the same model."),
    "budget": ("TIME", "With --kind auto: 90s, 10m, 1h; what does not fit is not tried.  [default: 10m]"),
}
"""Settings with an option of their own: what stands for the value, and the help."""


def settings_options(function: _Function) -> _Function:
    """Add an option for each of `SHORTCUTS`, and --kind, --set and --config."""
    for name, (metavar, text) in reversed(SHORTCUTS.items()):
        function = click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)(function)
    function = click.option(
        "--config",
        "config_path",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help='TOML file: kind = "deep" and settings; options win over it.',
    )(function)
    function = click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="Any setting of the kind; repeatable. `recae settings KIND` lists them.",
    )(function)
    return click.option("--kind", metavar="NAME", help="The model, see below.  [default: blend]")(function)


def read_settings(
    kind: str | None,
    config_path: Path | None,
    assignments: Sequence[str],
    options: dict[str, str | None],
) -> tuple[str, dict[str, Any]]:
    """The kind and its settings; ConfigError for what the kind does not have or what is no value of it."""
    from recae.training.settings import build_config, choose_kind, parse_settings, read_toml, toml_kind
    from recae.workflow import CONFIGS, DEFAULT_KIND

    if kind is None and config_path is not None:
        kind = toml_kind(config_path)
    kind = choose_kind(DEFAULT_KIND if kind is None else kind, CONFIGS)
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    explicit = parse_settings(CONFIGS[kind], kind, [*given, *assignments], kinds=CONFIGS)
    values = {} if config_path is None else read_toml(config_path, kind, CONFIGS[kind], kinds=CONFIGS)
    values |= explicit
    build_config(kind, CONFIGS[kind], values, kinds=CONFIGS)
    return kind, values
