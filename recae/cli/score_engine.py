"""The options of `recae score` that say what computes: this process, or the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.scoring.cluster_job import Cluster

_Function = TypeVar("_Function", bound=Callable[..., Any])

ENGINE = ("engine", "address", "workers", "cpus_per_worker")
"""Names of the options' values."""


def engine_options(function: _Function) -> _Function:
    """Add --engine and what goes with it: what `cluster_of` takes."""
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
            help="Compute in this process, or on a Ray cluster.",
        ),
    ):
        function = option(function)
    return function


@contextmanager
def cluster_of(
    engine: str, address: str | None, workers: int | None, cpus_per_worker: int | None
) -> Iterator[Cluster | None]:
    """Connect to the cluster that the options name, and give its workers; None for --engine local.

    Raises:
        ConfigError: an option goes with --engine ray.
        ClusterError: the cluster cannot be used.
    """
    if engine != "ray":
        given = {"--address": address, "--workers": workers, "--cpus-per-worker": cpus_per_worker}
        for option, value in given.items():
            if value is not None:
                raise ConfigError(f"{option} goes with --engine ray; give that, too, or leave it out")
        yield None
        return
    from recae.cluster import connected
    from recae.scoring.cluster_job import Cluster

    with connected(address) as ray:
        yield Cluster.of(ray, workers, cpus_per_worker or 1)
