"""`Served`: one loaded model with everything that answers are made from; a request uses one of them to its end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import shown
from recae.models import find_encoder
from recae.models.base import reads_values
from recae.ranking import rows_per_block, top_k
from recae.recommender import Recommender
from recae.serving.mapping import Map
from recae.serving.problems import Problem
from recae.serving.search import ItemSearch, UserSearch

if TYPE_CHECKING:
    from recae.insight.neighbours import BoughtTogether

_REMEMBERED = 2**18  # users whose rows are kept at hand: some 30 MB
_WARM = 64  # rows, as many as are scored together


@dataclass(frozen=True, eq=False)
class Served:
    """A model as it is served.

    Attributes:
        recommender: the model with its ids, names and histories.
        version: the first 16 hexadecimal digits of the SHA-256 of its file.
        loaded_at: when it was loaded, UTC.
        items: finds items by words.
        users: finds users by their id; None where there are no histories.
        together: what is bought together; None where there are no histories.
        map: the picture of the items; None where the model has no codes.
    """

    recommender: Recommender
    version: str
    loaded_at: datetime
    items: ItemSearch
    users: UserSearch | None
    together: BoughtTogether | None
    map: Map | None = field(repr=False)
    _user_rows: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def owners(self) -> NDArray[np.int64] | None:
        """How many users own each item, (I,); None without histories."""
        return None if self.together is None else self.together.owners

    def ids_and_names(self, rows: NDArray[np.integer[Any]]) -> tuple[list[str], list[str | None]]:
        """Return the ids and names of many items, in the order of the rows."""
        ids = self.recommender.items.ids(rows).to_pylist()
        names = self.recommender.item_names
        return ids, [None] * len(ids) if names is None else names.take(pa.array(rows)).to_pylist()

    def item(self, item_id: str) -> int:
        """Return an item's row; a 404 problem with the nearest ids where it is unknown."""
        row = int(self.recommender.items.rows([item_id])[0])
        if row < 0:
            raise unknown("item", item_id, self.recommender.items.nearest(item_id))
        return row

    def user(self, user_id: str) -> tuple[int, NDArray[np.integer[Any]]]:
        """Return a user's row and the rows of the items owned; a 404 problem where there is none.

        The nearest ids are not in it: to find them takes a pass over all ids.
        """
        users, histories = self.recommender.users, self.recommender.histories
        if users is None or histories is None:
            raise without_histories()
        row = self._user_rows.get(user_id, -1)
        if row < 0:
            row = int(users.rows([user_id])[0])
            if row < 0:
                raise unknown("user", user_id)
            # whoever comes back is found a hundred times as fast, without the interpreter's lock held that long
            if len(self._user_rows) < _REMEMBERED:
                self._user_rows[user_id] = row
        return row, histories.indices[histories.indptr[row] : histories.indptr[row + 1]]

    def values(self, row: int) -> NDArray[np.float32] | None:
        """Return how often and lately a user bought each item owned; None unless the model reads it."""
        histories = self.recommender.histories
        if histories is None or not reads_values(self.recommender.model):
            return None
        values: NDArray[np.float32] = histories.data[histories.indptr[row] : histories.indptr[row + 1]]
        return values


def unknown(what: str, id: str, nearest: list[str] | None = None) -> Problem:  # noqa: A002  # the word of the field
    """Return the 404 problem of an id that the model does not know."""
    near = f"; nearest: {', '.join(map(shown, nearest))}" if nearest else ""
    return Problem(f"unknown-{what}", 404, f"no {what} {shown(id)} in the model{near}", nearest=nearest or [])


def without_histories() -> Problem:
    """Return the 404 problem of a question about users to a model that came without them."""
    return Problem(
        "no-histories",
        404,
        "users cannot be looked up, since this model was saved without histories; send a basket of items instead",
    )


def load_served(path: Path) -> Served:
    """Load a model file, prepare what requests need, and warm up, so that the first request is not a slow one.

    Args:
        path: the model file.

    Raises:
        ModelFileError: as `recae.modelfile.load`.
    """
    from recae.insight.neighbours import BoughtTogether
    from recae.modelfile import load

    recommender = load(path)
    with path.open("rb") as file:
        version = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    histories = recommender.histories
    together = None if histories is None else BoughtTogether(histories)
    owners = None if together is None else together.owners
    _warm_up(recommender)
    users = None if recommender.users is None or histories is None else UserSearch(recommender.users)
    searched = ItemSearch(recommender.items, recommender.item_names, owners)
    coded = find_encoder(recommender.model) is not None and len(recommender.items) > 0
    picture = Map(recommender, owners, version) if coded else None
    return Served(recommender, version, datetime.now(UTC), searched, users, together, picture)


def _warm_up(recommender: Recommender) -> None:
    """Score and rank once: memory is touched, BLAS has its threads, and the kernel is compiled."""
    n_items = len(recommender.items)
    if not n_items:
        return
    none = np.zeros(0, np.int32)
    for rows in (1, min(_WARM, rows_per_block(n_items))):
        indptr = np.zeros(rows + 1, np.int32)
        nobody = sp.csr_matrix((np.zeros(0, np.float32), none, indptr), shape=(rows, n_items))
        top_k(recommender.model.score(nobody), 10, exclude=nobody, threads=1)
