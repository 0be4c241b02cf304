"""Which processes `recae train` trains in: this one, those that torchrun started, or workers of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.training.engines import Engine

_Function = TypeVar("_Function", bound=Callable[..., Any])


def engine_options(function: _Function) -> _Function:
    """Add --engine, --address, --workers and --cpus-per-worker, as `where`, `address`, `workers` and `cpus`."""
    for option in reversed(
        [
            click.option(
                "--engine",
                "where",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help="ray: by workers of a Ray cluster, with --kind sigmoid and a --batch-size of 2 or more.",
            ),
            click.option(
                "--address",
                metavar="HOST:PORT",
                help="With --engine ray: the cluster's head node, or auto.  [default: $RAY_ADDRESS, else this machine]",
            ),
            click.option(
                "--workers",
                metavar="N",
                type=click.IntRange(1),
                help="With --engine ray: how many, at most.  [default: as many as there are processors for]",
            ),
            click.option(
                "--cpus-per-worker",
                "cpus",
                metavar="N",
                type=click.IntRange(1),
                help="With --engine ray: processors, and so threads, of each worker.  [default: 1]",
            ),
        ]
    ):
        function = option(function)
    return function


def check_engine(where: str, place: tuple[int, int] | None, **given: Any) -> None:
    """Raise ConfigError for options of a cluster that is not asked for, and for a cluster under torchrun."""
    if where == "ray" and place is not None:
        raise ConfigError(
            "torchrun has started several processes, and --engine ray starts workers of its own: run it without "
            "torchrun, or leave --engine out"
        )
    if where == "local" and (named := [name for name, value in given.items() if value is not None]):
        option = f"--{'cpus-per-worker' if named[0] == 'cpus' else named[0]}"
        raise ConfigError(
            f"{option} is for a cluster, found --engine local: add --engine ray, or leave it out"
        )


@contextmanager
def engine_of(
    where: str, place: tuple[int, int] | None, address: str | None, workers: int | None, cpus: int | None
) -> Iterator[Engine | None]:
    """Yield the other processes that train; None where this one trains by itself."""
    if where == "ray":
        from recae.cluster import connected
        from recae.training.on_ray import OnRay

        # Ray prints on stdout, which is for results, what it has to say of workers that die
        with connected(address) as ray, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield OnRay(ray, workers, cpus or 1)
    elif place is not None:
        from recae.training.torchrun import launched

        with launched(place[1]) as engine:
            yield engine
    else:
        yield None
