"""A Ray cluster of several nodes on this machine, for the tests of what is spread over one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from commands import PATIENCE

MEMORY = 80 * 2**20  # of each node's object store, in bytes: little, since /dev/shm is small in a container

LOOKS = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
"""A node that is gone is dead after three seconds instead of fifteen; one that is slow to answer, after 30."""


@contextmanager
def cluster(nodes: int = 2) -> Iterator[Any]:
    """A head node without processors for work, and so many nodes of one processor each."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # read by the head node as it starts
        # Ray's workers let every other process go first, so that a busy machine would starve them.
        patch.setenv("RAY_worker_niceness", "0")
        # Nor are workers started that no test may come to need, which import for a second or more each.
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        patch.setenv("RAY_enable_worker_prestart", "0")
        made = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": MEMORY,
                "include_dashboard": False,
                "_system_config": LOOKS,
            },
        )
        try:
            for _ in range(nodes):
                add_node(made)
            made.wait_for_nodes(timeout=PATIENCE)
            yield made
        finally:
            ray.shutdown()  # after a test that failed; without a connection it does nothing
            made.shutdown()


def add_node(to: Any) -> Any:
    """Add a node of one processor, and return it."""
    return to.add_node(num_cpus=1, object_store_memory=MEMORY)
