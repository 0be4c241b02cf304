"""The options that say what computes: this process, or the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.scoring.cluster_job import Cluster
    from recae.training.engines import Engine

_Function = TypeVar("_Function", bound=Callable[..., Any])

ENGINE = ("engine", "address", "workers", "cpus_per_worker")
"""Names of the options' values."""


def engine_options(needs: str = "") -> Callable[[_Function], _Function]:
    """Add --engine and what goes with it; `needs` says what else has to be given with ray."""

    def add(function: _Function) -> _Function:
        for option in (
            click.option(
                "--cpus-per-worker",
                type=click.IntRange(min=1),
                metavar="N",
                help="With ray: processors, and threads, of each worker.  [default: 1]",
            ),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                metavar="N",
                help="With ray: workers at most.  [default: as many as the cluster has processors for]",
            ),
            click.option(
                "--address",
                metavar="HOST:PORT",
                help="With ray: the cluster's head node, or auto.  [default: RAY_ADDRESS, else this machine alone]",
            ),
            click.option(
                "--engine",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help=f"Compute in this process, or on a Ray cluster{needs}.",
            ),
        ):
            function = option(function)
        return function

    return add


def check_engine(engine: str, address: str | None, workers: int | None, cpus_per_worker: int | None) -> None:
    """Raise ConfigError for an option that goes with --engine ray where that is not given."""
    given = {"--address": address, "--workers": workers, "--cpus-per-worker": cpus_per_worker}
    for option, value in given.items():
        if engine != "ray" and value is not None:
            raise ConfigError(f"{option} goes with --engine ray; give that, too, or leave it out")


@contextmanager
def scoring_cluster(
    engine: str, address: str | None, workers: int | None, cpus_per_worker: int | None
) -> Iterator[Cluster | None]:
    """Connect to the cluster that the options name, and give its workers; None for --engine local.

    Raises:
        ConfigError: as `check_engine`.
        ClusterError: the cluster cannot be used.
    """
    check_engine(engine, address, workers, cpus_per_worker)
    if engine != "ray":
        yield None
        return
    from recae.cluster import connected
    from recae.scoring.cluster_job import Cluster

    with connected(address) as ray:
        yield Cluster.of(ray, workers, cpus_per_worker or 1)


@contextmanager
def training_engine(
    place: tuple[int, int] | None,
    engine: str,
    address: str | None,
    workers: int | None,
    cpus_per_worker: int | None,
) -> Iterator[Engine | None]:
    """Yield the other processes that train; None where this one trains by itself.

    Args:
        place: number of this process and how many torchrun has started; None without it.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    if engine == "ray":
        from recae.cluster import connected
        from recae.training.on_ray import OnRay

        with connected(address) as ray:
            yield OnRay(ray, workers, cpus_per_worker or 1)
    elif place is not None:
        from recae.training.torchrun import launched

        with launched(place[1]) as others:
            yield others
    else:
        yield None
