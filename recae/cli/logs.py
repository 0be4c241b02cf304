"""Which messages there are on stderr (-v, -q), and in which form (--log-format), for every command alike."""

from __future__ import annotations

from typing import Any, Final

import click

FORMATS: Final = ("text", "plain", "json")
"""Forms of a line: with the time where nobody watches, without it, and a JSON object."""

ENVIRONMENT: Final = "RECAE_LOG_FORMAT"
"""The environment variable that stands for --log-format."""

APPLY: Final = f"{__name__}.apply"
"""Key in the meta of a context under which `recae.cli.handler` leaves what does as the options say."""

_DEBUG, _WARNING = 10, 30
"""Levels of `logging`, which is imported where a command runs: its import takes a tenth of `recae --help`."""


def log_options(environment: bool = False) -> list[click.Option]:
    """Return -v, -q and --log-format, which take effect when they are read and pass no value to the command.

    Args:
        environment: whether --log-format falls back on the environment variable.
    """
    options = [
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=lambda ctx, parameter, value: _choose(ctx, "level", _DEBUG if value else None),
            help="Say more: how long each step takes, and where an error comes from.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=lambda ctx, parameter, value: _choose(ctx, "level", _WARNING if value else None),
            help="Say warnings and errors only.",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(FORMATS),
            envvar=ENVIRONMENT if environment else None,
            expose_value=False,
            is_eager=True,
            callback=lambda ctx, parameter, value: _choose(ctx, "form", value),
            help="Messages as text, with the time where stderr is no terminal; as plain text without it; or as a "
            f"JSON object a line.  [default: ${ENVIRONMENT}, else text]",
        ),
    ]
    for option in options:
        vars(option)["heading"] = "Messages"
    return options


def _choose(ctx: click.Context, name: str, value: Any) -> None:
    if value is None or ctx.resilient_parsing:
        return
    key = f"{__name__}.{name}"
    if name == "level" and ctx.meta.get(key, value) != value:
        raise click.UsageError("-v says more and -q says less: leave one of them out", ctx)
    ctx.meta[key] = value
    apply = ctx.meta.get(APPLY)
    if apply is not None:  # the command runs already
        apply(ctx)


def chosen_in(ctx: click.Context) -> dict[str, Any]:
    """Return what the options say that were read so far: a "level" of logging, and a "form"."""
    return {name: value for name in ("level", "form") if (value := ctx.meta.get(f"{__name__}.{name}"))}
