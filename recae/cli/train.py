"""`recae train`: from a table of purchases to a model file, with a table of how good it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.options import DEFAULT_MODEL, output_path
from recae.cli.output import is_terminal, message, print_json, print_metrics
from recae.errors import OutputError

if TYPE_CHECKING:
    from recae.ingest import IngestReport
    from recae.training import Checkpoints, Epoch


@click.command()
@click.argument("source", metavar="PURCHASES", type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="PATH",
    callback=output_path,
    default=DEFAULT_MODEL,
    show_default=True,
    help="The model file to write.",
)
@click.option("--kind", default="sigmoid", show_default=True, help="The model: sigmoid.")
@click.option("--user-column", metavar="NAME", help="The column of users.  [default: by its name]")
@click.option("--item-column", metavar="NAME", help="The column of items.  [default: by its name]")
@click.option(
    "--time-column", metavar="NAME", help="The column of times, '' for none.  [default: by its name]"
)
@click.option(
    "--quantity-column", metavar="NAME", help="The column of quantities, '' for none.  [default: by its name]"
)
@click.option(
    "--name-column", metavar="NAME", help="The column of item names, '' for none.  [default: by its name]"
)
@click.option("--factors", type=int, help="Size of the code.")
@click.option("--epochs", type=int, help="Passes over the users, at most.")
@click.option("--learning-rate", type=float, help="Step of the decoder, relative to ‖h‖², below 1.")
@click.option("--encoder-learning-rate", type=float, help="Step of the encoder, before AdaGrad.")
@click.option("--purchase-weight", type=float, help="α: weight of a purchase's error, 1 or more.")
@click.option("--input-power", type=float, help="p: a history of m items enters as x/m^p, 0 to 1.")
@click.option("--dropout", type=float, help="Share of each history hidden from the encoder.")
@click.option("--fold-every", type=int, help="Users between two folds, at most.")
@click.option("--patience", type=int, help="Epochs without a better validation recall@20 before it stops.")
@click.option(
    "--batch-size",
    type=int,
    help="Users whose codes are computed together; 1: one after the other, the exact per-user step.",
)
@click.option("--seed", type=int, help="Of everything random; the same seed gives the same model.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--checkpoint-every",
    type=int,
    metavar="USERS",
    help="Write a checkpoint after so many users, at each epoch's end, and on Ctrl-C or SIGTERM.",
)
@click.option(
    "--checkpoint",
    metavar="PATH",
    help="The checkpoint; alone: at each epoch's end and on Ctrl-C or SIGTERM.  [default: <out>.checkpoint]",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint, to the same bits as uninterrupted.")
@click.option("--no-histories", is_flag=True, help="Leave users and their histories out of the file.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def train(
    source: Path,
    out: Path,
    kind: str,
    device: str,
    checkpoint_every: int | None,
    checkpoint: str | None,
    resume: bool,
    no_histories: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on PURCHASES, a table of them: CSV (also .gz, .zst, .bz2) or Parquet.

    \b
      recae train purchases.csv
      recae train orders.parquet --user-column buyer --item-column sku --out orders.recae
      recae train purchases.csv --checkpoint-every 50000
      recae train purchases.csv --resume

    Needs no option: columns are recognised by their names, settings that are not given suit the size of the
    data. A tenth of the users choose when to stop; the table at the end is measured on another tenth, for
    the model, for popularity and for item-kNN. Ctrl-C leaves no partial file.

    With --checkpoint-every, --checkpoint or --resume, an interrupted training leaves a checkpoint; a second
    Ctrl-C does not wait for it. --resume goes on with the same data and settings, and is refused with the list
    of what differs. The checkpoint is removed once the model is written.

    \b
    --json prints one object:
      {"model": "model.recae", "fingerprint": "…", "n_users": 2000, "n_items": 600,
       "seconds": 12.3,                                    from reading to writing
       "metrics": {"n_users": 200, "validation_users": 200, "ks": [10, 20, 50],
                   "rows": [{"model": "sigmoid", "recall@10": …, "recall@20": …, "recall@50": …,
                             "ndcg@20": …}, …]}}           metrics is null if nobody could be held out
    """
    from recae.files import check_writable

    check_writable(out, source)  # before the training, not after it
    checkpoints = None
    if resume or checkpoint is not None or checkpoint_every is not None:
        checkpoints = _checkpoints(source, out, checkpoint, checkpoint_every, resume)

    from recae.modelfile import save
    from recae.workflow import Progress
    from recae.workflow import train as run

    columns = {name: options.pop(name) for name in list(options) if name.endswith("_column")}
    settings = {name: value for name, value in options.items() if value is not None}
    started = time.perf_counter()
    with _Display() as display, _telling_how_to_go_on(checkpoints):
        recommender = run(
            source,
            kind=kind,
            device=device,
            columns=columns,
            checkpoints=checkpoints,
            progress=Progress(
                on_report=_print_report,
                on_start=display.start,
                on_users=display.users,
                on_epoch=display.epoch,
                on_message=display.say,
            ),
            **settings,
        )
        save(recommender, out, histories=not no_histories)
    if checkpoints is not None:
        checkpoints.path.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    metadata = recommender.metadata
    if as_json:
        print_json(
            {
                "model": str(out),
                "seconds": seconds,
                "fingerprint": metadata["fingerprint"],
                "n_users": None if recommender.users is None else len(recommender.users),
                "n_items": len(recommender.items),
                "metrics": metadata["metrics"],
            }
        )
    elif metadata["metrics"] is not None:
        print_metrics(metadata["metrics"])
    message(f"read, trained and measured in {seconds:.1f} s; the model is in {out}")


def _checkpoints(source: Path, out: Path, given: str | None, every: int | None, resume: bool) -> Checkpoints:
    """Return where checkpoints go; OutputError when they cannot be written there."""
    from recae.files import check_writable
    from recae.training import Checkpoints

    path = out.with_name(f"{out.name}.checkpoint")
    if given is not None:
        path = output_path(click.get_current_context(), click.Option(["--checkpoint"]), given)
    checkpoints = Checkpoints(path, every, resume)
    check_writable(path, source)
    if path.resolve() == out.resolve():
        raise OutputError(f"cannot write a checkpoint to '{path}': the model goes there; choose another path")
    if path.exists() and not resume:
        message(f"'{path}' is there already and will be replaced; --resume would go on from it")
    return checkpoints


@contextmanager
def _telling_how_to_go_on(checkpoints: Checkpoints | None) -> Iterator[None]:
    """Note on what stops a training what it has left."""
    try:
        yield
    except BaseException as error:
        left = "" if checkpoints is None else checkpoints.describe()
        if left and isinstance(error, OutputError):
            message(left)  # the model could not be written; the training is not lost
        elif left:
            error.add_note(left)
        raise


def _print_report(report: IngestReport) -> None:
    for line in report.lines():
        message(line)


class _Display:
    """How far the training is, on stderr: a bar on a terminal, else a line an epoch."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._epochs, self._epoch, self._n_users = 0, 0, 0
        self._figures = ""  # of the last epoch
        # when this session's first users were done, and how many that were
        self._first: tuple[float, int] | None = None
        self._shown = 0.0

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def start(self, epochs: int, n_users: int) -> None:
        self._epochs, self._n_users = epochs, n_users
        self.say(f"training on {n_users:,} users, at most {epochs} epochs")
        if is_terminal(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TimeRemainingColumn(),
                console=Console(file=sys.stderr),
                transient=True,
            )
            self._task = self._bar.add_task("epoch 1", total=epochs * n_users)
            self._bar.start()

    def users(self, done: int) -> None:
        done += self._epoch * self._n_users
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        if self._bar is not None and now - self._shown >= 0.1:
            self._shown = now
            speed = (done - self._first[1]) / max(now - self._first[0], 1e-9)
            text = f"epoch {self._epoch + 1}/{self._epochs}{self._figures}, {speed:,.0f} users/s"
            self._bar.update(self._task, completed=done, description=text)

    def epoch(self, epoch: Epoch) -> None:
        self._epoch = epoch.epoch
        recall = "" if epoch.recall is None else f", recall@20 {epoch.recall:.4f}"
        self._figures = f": loss {epoch.loss:.2f}{recall}"
        speed = f"{epoch.users_per_second:,.0f} users/s"
        if self._bar is None:
            self.say(f"epoch {epoch.epoch}/{self._epochs}{self._figures}, {speed}{self._left()}")

    def _left(self) -> str:
        """How long it will take at most, judged by this session; nothing after the last epoch or before the first."""
        if self._first is None or self._epoch == self._epochs:
            return ""
        began, before = self._first
        done, total = self._epoch * self._n_users, self._epochs * self._n_users
        seconds = (time.monotonic() - began) * (total - done) / max(done - before, 1)
        return f", at most {timedelta(seconds=round(seconds))} left"

    def say(self, text: str) -> None:
        if self._bar is not None and self._epoch:
            self._close()  # training is over: what comes next are messages
        message(text)
