"""`recae demo`: a training on the purchases of a made-up shop, which come with recae, and what can be done next."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import click

from recae.cli.help import Command, under
from recae.cli.output import message
from recae.errors import OutputError, SourceError

_USER = "42"  # who likes the kitchen


def sample() -> Path:
    """Return the purchases that come with recae: in an installed one within the package, in a clone beside it.

    Raises:
        SourceError: they are in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    for path in (package / "sample" / "purchases.csv", package.parent / "data" / "purchases.csv"):
        if path.is_file():
            return path
    raise SourceError(
        "the sample is not installed with recae; install recae anew, or train on a table of your own"
    )


@click.command(cls=Command)
@under(
    "Output",
    click.option(
        "--out",
        "folder",
        metavar="FOLDER",
        default="recae-demo",
        show_default=True,
        type=click.Path(path_type=Path),
        help="Where the purchases and the model go; it is made where it is not there.",
    ),
)
def demo(folder: Path) -> None:
    """Train a model on the purchases of a made-up shop, and recommend items to one of its users.

    \b
      recae demo
      recae demo --out /tmp/demo

    The shop has 2,000 users, 600 items and two years of purchases. Each command is printed on stderr before it runs.
    """
    from recae.cli.recommend import recommend
    from recae.cli.train import train

    source = sample()
    purchases, model = folder / "purchases.csv", folder / "model.recae"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, purchases)
    except OSError as error:
        raise OutputError(
            f"cannot write to the folder '{folder}': {error.strerror or error}; choose another one with --out"
        ) from error
    ctx = click.get_current_context()
    steps = [
        (train, [str(purchases), "--out", str(model)]),
        (recommend, ["--user", _USER, "--model", str(model)]),
    ]
    for command, arguments in steps:
        message(f"$ recae {command.name} {shlex.join(arguments)}")
        with command.make_context(command.name, arguments, parent=ctx) as step:
            command.invoke(step)
    place = shlex.quote(str(model))
    message(f"$ recae recommend --user {_USER} --explain --model {place}   # and why these")
    message(
        f"$ recae map --out {shlex.quote(str(folder / 'map.html'))} --model {place}   # what is bought together"
    )
    message(f"$ recae serve --model {place}   # a page and an API; needs pip install 'recae[serve]'")
    message("$ recae train your-purchases.csv   # any table with a column of users and one of items")
