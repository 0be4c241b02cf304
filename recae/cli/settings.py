"""`recae settings`: the kinds of model, and the settings of one with type, default, range and meaning."""

from __future__ import annotations

import sys
from typing import Any

import click

from recae.cli.help import under
from recae.cli.options import KindsCommand, complete_kinds
from recae.cli.output import print_json, print_table, write
from recae.errors import ConfigError
from recae.kinds import find, known


@click.command(cls=KindsCommand)
@click.argument("kind", metavar="[KIND]", required=False, shell_complete=complete_kinds)
@under(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option(
        "--toml", "as_toml", is_flag=True, help="Print a file for `recae train --config`, to be edited."
    ),
)
def settings(kind: str | None, as_json: bool, as_toml: bool) -> None:
    """List the settings of a KIND of model; without one, the kinds.

    \b
      recae settings
      recae settings deep
      recae settings sigmoid --toml > settings.toml

    A default of `none` is chosen from the data. `recae train --kind KIND --set key=value` takes each of them; kinds
    that are put together from others ({put_together}) take theirs as `--set sigmoid.factors=256`, too.
    """
    if kind is None:
        if as_toml:
            raise ConfigError(
                "--toml prints the settings of one kind: name it, as in recae settings deep --toml"
            )
        if as_json:
            print_json([{"kind": row.name, "about": row.about} for row in known().values()])
        else:
            print_table(["kind", "what it is"], [[row.name, row.about] for row in known().values()])
        return

    from recae.settings import settings_of

    found = settings_of(find(kind).settings_class()).values()
    if as_toml:
        lines = [f'kind = "{kind}"']
        for setting in found:
            lines += [f"\n# {setting.meaning or setting.name}: {setting.wanted}"]
            lines += [toml_line(setting.name, setting.default)]
        write("\n".join(lines) + "\n", sys.stdout)
    elif as_json:
        print_json(
            [{"name": s.name, "default": s.default, "value": s.wanted, "meaning": s.meaning} for s in found]
        )
    else:
        rows = [[s.name, text_of(s.default), s.wanted, s.meaning] for s in found]
        print_table(["setting", "default", "value", "meaning"], rows, title=f"Settings of {kind}")


def toml_line(name: str, value: Any) -> str:
    """Return the line of a TOML file that sets one value."""
    from recae.settings_toml import to_toml

    return to_toml("", {name: value}).splitlines()[1]


def text_of(value: Any) -> str:
    """Return a value as --set takes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
