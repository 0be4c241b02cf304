"""What a worker of a cluster is sent: once what all users share, then some users' histories at a time.

Both are plain arrays, so that Ray keeps them once a machine, in shared memory, however many workers map them there; and
so that a worker needs to see neither the model file nor the source of the histories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.models import JSON, model_class
from recae.recommender import Recommender
from recae.scoring.audience import Audience, rejects
from recae.scoring.work import Work

Ids = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Ids as `IdMap.to_arrays` gives them."""


@dataclass(frozen=True, eq=False)
class Common:
    """A job without its users; the attributes are those of `Work`, the model by its kind, configuration and arrays."""

    kind: str
    config: Mapping[str, JSON]
    arrays: Mapping[str, NDArray[Any]]
    items: Ids
    n: int
    exclude_owned: bool
    barred: NDArray[np.bool_] | None
    block_users: int

    @classmethod
    def of(cls, work: Work) -> Common:
        """Return what is common to all users of a job."""
        model = work.recommender.model
        return cls(
            kind=model.kind,
            config=model.config(),
            arrays=model.arrays(),
            items=work.recommender.items.to_arrays(),
            n=work.n,
            exclude_owned=work.exclude_owned,
            barred=work.barred,
            block_users=work.block_users,
        )

    def recommender(self) -> Recommender:
        """Rebuild the recommender, without users."""
        items = IdMap.from_arrays(*self.items)
        return Recommender(
            model_class(self.kind).from_arrays(self.config, self.arrays, len(items)), None, items
        )


@dataclass(frozen=True, eq=False)
class Part:
    """Some users, and their histories as the arrays of a csr_matrix of shape (users, items)."""

    users: Ids
    indptr: NDArray[np.integer[Any]]
    indices: NDArray[np.integer[Any]]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, work: Work, start: int, stop: int) -> Part:
        """Return the users of a job from ``start`` to before ``stop``."""
        ids, histories = work.audience.part(start, stop)
        return cls(IdMap(ids).to_arrays(), histories.indptr, histories.indices, histories.data)

    def work(self, common: Common, recommender: Recommender, threads: int) -> Work:
        """Return these users' part of the job, whose blocks and bits are those of the whole job.

        Args:
            common: what they share with the others.
            recommender: what `Common.recommender` gave, once for all parts.
            threads: most threads to use.
        """
        users = IdMap.from_arrays(*self.users)
        shape = (len(users), len(recommender.items))
        histories = sp.csr_matrix((self.values, self.indices, self.indptr), shape=shape)
        audience = Audience(users, histories, np.arange(len(users)), rejects())
        return Work(
            recommender,
            audience,
            common.n,
            common.exclude_owned,
            common.barred,
            common.block_users,
            threads,
        )
