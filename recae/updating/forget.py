"""Forgetting of customers: a recommender without them, and what was removed, solved again or still knows of them.

What goes are their ids, histories, other events and held-out marks, and the items that nobody else has bought: a
training without these customers would not know them either, and the id of such an item can tell who bought it.

Parts in closed form are solved again with the settings they have, and are then exactly those of a training without the
customers. What is trained in steps has its parameters from all steps together: nothing can take single customers out of
them but another training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap, id_texts, shown
from recae.inputs import EventInputs
from recae.item_table import ItemTable
from recae.kinds import find
from recae.models import Model
from recae.recommender import REFIT, TEST, VALIDATION, Recommender
from recae.selection.fit import Pair, fit_kind, make_settings
from recae.selection.new_items import as_before
from recae.selection.refit import parts_of_model, refit
from recae.sparse import pattern, take_columns
from recae.training.callbacks import Hooks
from recae.training.checkpoint import BEST_EPOCHS, Epoch
from recae.updating.items import with_items
from recae.updating.union import fingerprint_of

FORGOTTEN: Final = "forgotten"
"""Entry of the metadata of a model that has forgotten customers: how many, and which parts still know of them."""

_NAMED_AT_MOST: Final = 5  # unknown customers that an error spells out


@dataclass(frozen=True)
class Forgotten:
    """What forgetting has removed from a model, and what it could not remove.

    Attributes:
        users: ids of the customers.
        pairs: of a customer and an item they had bought.
        events: of a customer and an item, such as views, beside the purchases.
        items: ids of those that nobody else had bought, which have left the model.
        validation_users: how many of the customers were held out to choose settings on.
        test_users: how many were held out to measure on.
        solved: kinds of the parts that were fitted again without them.
        remembering: kind → why this part is as it was, though it has learned from them.
    """

    users: tuple[str, ...]
    pairs: int
    events: int
    items: tuple[str, ...]
    validation_users: int
    test_users: int
    solved: tuple[str, ...]
    remembering: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "users": list(self.users),
            "pairs": self.pairs,
            "events": self.events,
            "items": list(self.items),
            "held_out": {"validation_users": self.validation_users, "test_users": self.test_users},
            "solved_again": list(self.solved),
            "remembering": dict(self.remembering),
        }


IN_STEPS: Final = "it is trained in steps, and its weights stay until the next training"
WEIGHED: Final = (
    "it has learned from purchases of different confidence, which the model file does not hold; train it again from "
    "the purchases"
)
"""Why a part is not fitted again."""

NO_CUSTOMERS: Final = (
    "the model was saved without histories and holds no customers: none can be forgotten, and whom it has learned from "
    "is not known; train it again without their purchases"
)


def forget(
    recommender: Recommender,
    users: Sequence[str | int],
    *,
    retrain: bool = False,
    hooks: Hooks | None = None,
) -> tuple[Recommender, Forgotten]:
    """Return a recommender without some customers, and what was removed.

    Args:
        recommender: with its histories.
        users: ids of the customers.
        retrain: whether what is trained in steps is fitted again, too, with its settings and its best epochs.
        hooks: of the fits, such as the device and callbacks; its confidence and inputs are not used.

    Raises:
        UnknownIdError: the model does not know one of them, or holds no users; nothing has changed then.
        ConfigError: none is given, or they are no ids.
        DataError: nobody would be left, or what is to be retrained has learned from confidences that the file lacks.
        TrainingError: a fit fails.
    """
    before, recommender = recommender, recommender.of_bought_items()
    rows = _rows(recommender, users)
    histories, known = recommender.histories, recommender.users
    if histories is None or known is None:
        raise AssertionError("looked up in them just now")
    others = np.setdiff1d(np.arange(len(known)), rows, assume_unique=True)
    owned = sp.csr_matrix(histories[rows])
    rest = sp.csr_matrix(histories[others])
    if not rest.nnz:
        raise DataError(
            f"the model knows the purchases of nobody beside {'these' if rows.size > 1 else 'this customer'}: remove "
            "the file instead"
        )
    gone = np.setdiff1d(np.unique(owned.indices), rest.indices)
    items = np.setdiff1d(np.arange(len(recommender.items)), gone, assume_unique=True)
    rest = take_columns(rest, items)
    days = None
    if recommender.days is not None:
        days = take_columns(sp.csr_matrix(recommender.days[others]), items).data.astype(np.int32)
    events, left_events = recommender.events, None
    if events is not None:
        left_events = events.rows(others).with_items(items)
    model, solved, remembering = _without(
        recommender, rows, others, items, rest, left_events, retrain, hooks or Hooks()
    )
    codes = recommender.held_out
    found = Forgotten(
        users=tuple(known.ids(rows).to_pylist()),
        pairs=int(owned.nnz),
        events=0 if events is None else int(events.rows(rows).matrix.nnz),
        items=tuple(recommender.items.ids(gone).to_pylist()),
        validation_users=0 if codes is None else int((codes[rows] == VALIDATION).sum()),
        test_users=0 if codes is None else int((codes[rows] == TEST).sum()),
        solved=solved,
        remembering=remembering,
    )
    names = recommender.item_names
    left_users, left_items = IdMap(known.ids(others)), IdMap(recommender.items.ids(items))
    left = Recommender(
        model=model,
        users=left_users,
        items=left_items,
        item_names=None if names is None else names.take(pa.array(items)),
        histories=rest,
        metadata=_metadata(recommender, found, rest, left_users, left_items),
        held_out=None if codes is None else codes[others],
        events=left_events,
        item_table=_item_table(recommender, gone),
        last_bought=days,
    )
    return as_before(left, before), found


def _item_table(recommender: Recommender, gone: NDArray[np.integer[Any]]) -> ItemTable | None:
    """Return the table of items, without those that nobody else has bought where it holds nothing but what was bought.

    Such a table may have been made of purchases, and then only the customer's own say that there is such an item.
    """
    table = recommender.item_table
    if table is None or not gone.size or table.unbought(recommender.items).size:
        return table
    left = IdMap(recommender.items.ids(gone)).rows(table.ids.ids(np.arange(len(table.ids)))) < 0
    return table.take(np.flatnonzero(left))


def _rows(recommender: Recommender, users: Sequence[str | int]) -> NDArray[np.int64]:
    """Return the rows of customers, rising, each once."""
    asked = list(dict.fromkeys(id_texts(users, "user")))
    if not asked:
        raise ConfigError("nobody is named to be forgotten: give the id of a customer")
    if recommender.users is None or recommender.histories is None:
        raise UnknownIdError(NO_CUSTOMERS)
    rows = recommender.users.rows(asked)
    unknown = [user for user, row in zip(asked, rows, strict=True) if row < 0]
    if unknown:
        raise UnknownIdError(unknown_sentence(unknown, recommender.users))
    return np.sort(rows).astype(np.int64)


def unknown_sentence(unknown: Sequence[str], users: IdMap, journal: bool = False) -> str:
    """Return the sentence on customers whom the model, and the journal where there is one, do not know."""
    named = ", ".join(map(shown, unknown[:_NAMED_AT_MOST]))
    more = f" and {len(unknown) - _NAMED_AT_MOST:,} more" if len(unknown) > _NAMED_AT_MOST else ""
    near = ", ".join(map(shown, users.nearest(unknown[0])))
    who = "neither the model nor the journal knows" if journal else "the model does not know"
    return f"{who} {named}{more}, and nothing is changed; nearest in the model to {shown(unknown[0])}: {near or 'none'}"


def weighed(metadata: Mapping[str, Any]) -> bool:
    """Return whether a model has learned from purchases of different confidence, which its file does not hold."""
    if metadata.get("weights"):
        return True
    reading = metadata.get("reading") or {}
    events = (reading.get("events") or {}).get("weights") or {}
    return "confidence" in reading or any(weight != 1 for weight in events.values())


def _without(
    recommender: Recommender,
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    items: NDArray[np.int64],
    rest: sp.csr_matrix,
    events: EventInputs | None,
    retrain: bool,
    hooks: Hooks,
) -> tuple[Model, tuple[str, ...], dict[str, str]]:
    """Return the model, the kinds of the parts fitted again, and which remember the customers and why.

    Args:
        recommender: with the customers.
        rows: theirs.
        others: all other rows.
        items: that stay.
        rest: (others, items) histories.
        events: of the others; None where the model reads none.
        retrain: whether parts trained in steps are fitted again, too.
        hooks: of the fits.
    """
    model, learners = recommender.model, recommender.learners
    taught = learners is None or bool(learners[rows].any())
    if not taught and items.size == len(recommender.items):
        return model, (), {}
    of_confidence = weighed(recommender.metadata)  # of which the file says no more
    if of_confidence and retrain:
        raise DataError(f"the model cannot be fitted again from its file: {WEIGHED}")
    stored: dict[str, Model] = {}
    remembering: dict[str, str] = {}
    for part in parts_of_model(model):
        kind, own = part.model.kind, part.model
        if retrain or not (own.trained or (of_confidence and _weighs(kind))):
            continue
        stored[kind] = with_items(own, items)
        if taught:
            remembering[kind] = IN_STEPS if own.trained else WEIGHED
    learned = np.ones(others.size, np.bool_) if learners is None else learners[others]
    if not rest[learned].nnz:
        raise DataError("nobody whom the model has learned from would be left: train another one")

    def fit(
        kind: str, values: Mapping[str, Any], matrix: sp.csr_matrix, validation: Pair | None, hooks: Hooks
    ) -> tuple[Model, list[Epoch]]:
        return (stored[kind], []) if kind in stored else fit_kind(kind, values, matrix, validation, hooks)

    def tell(text: str) -> None:
        if text not in {f"fitting {kind}" for kind in stored}:
            told(text)

    told = hooks.on_message
    hooks = replace(
        hooks,
        validate=None,
        checkpoints=None,
        confidence=None,
        inputs=None if events is None else events.rows(np.flatnonzero(learned)),
        judge=None,
        solved=None,
        neighbours=None,
        on_message=tell,
    )
    best: Mapping[str, int] = recommender.metadata.get(BEST_EPOCHS) or {}
    matrix = pattern(sp.csr_matrix(rest[learned]))
    seed = {name: value for name, value in model.config().items() if name == "seed"}
    fitted = refit(model, make_settings(model.kind, seed), best, matrix, hooks, fit)
    solved = tuple(part.model.kind for part in parts_of_model(model) if part.model.kind not in stored)
    return fitted, solved, remembering


def _weighs(kind: str) -> bool:
    """Return whether a kind learns from confidences where there are any."""
    return not find(kind).no_confidence


def _metadata(
    recommender: Recommender,
    found: Forgotten,
    histories: sp.csr_matrix,
    users: IdMap,
    items: IdMap,
) -> dict[str, Any]:
    """Return the metadata without what is of the customers: counts, figures and settings stay.

    The fingerprint was that of all purchases, which somebody who has those of all others could test a guess with. It
    becomes that of the histories that are left.
    """
    metadata = dict(recommender.metadata)
    if "fingerprint" in metadata:
        metadata["fingerprint"] = fingerprint_of(users, items, histories)
    if metadata.get(REFIT):
        metadata[REFIT] = {"users": len(users)}
    before = metadata.get(FORGOTTEN) or {}
    remembering = {*before.get("remembering", ()), *found.remembering} - {*found.solved}
    metadata[FORGOTTEN] = {
        "users": before.get("users", 0) + len(found.users),
        "remembering": sorted(remembering),
    }
    return metadata
