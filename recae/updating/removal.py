"""Removal of customers from wherever they are: a model file, its earlier versions, and a journal.

The model file is the last to change. Whatever ends the work before that, the customers are still in it, and the same
command takes up all of it again; nothing that is left brings back whom the model has forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recae.errors import ConfigError, RecaeError, UnknownIdError
from recae.files import atomic_path, check_writable
from recae.ids import id_texts
from recae.journal import Journal
from recae.messages import say
from recae.modelfile import load, save
from recae.recommender import Recommender
from recae.training.callbacks import Hooks
from recae.training.device import choose_device
from recae.updating.exclusive import changing
from recae.updating.forget import IN_STEPS, NO_CUSTOMERS, Forgotten, forget, unknown_sentence
from recae.updating.orders import ordered_users
from recae.updating.versions import versions_of


@dataclass(frozen=True)
class Removed:
    """What was removed, from where.

    Attributes:
        users: ids of the customers.
        model: what has left the model; None where it did not know them.
        journal_rows: how many rows have left the journal; None without one.
        versions: names of the earlier versions of the file that are gone, since they held one of the customers.
        nameless: whether the model file holds no customers at all, so that whom it has learned from is not known.
    """

    users: tuple[str, ...]
    model: Forgotten | None
    journal_rows: int | None
    versions: tuple[str, ...]
    nameless: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        nothing = Forgotten((), 0, 0, (), 0, 0, (), {})
        return {
            **(self.model or nothing).as_dict(),
            "users": list(self.users),
            "in_the_model": self.model is not None,
            "journal_rows": self.journal_rows,
            "earlier_versions": list(self.versions),
        }

    def lines(self) -> list[str]:
        """Return it in words."""
        found = [f"forgotten: {_number(len(self.users), 'customer')}"]
        if not self.users:
            found = ["nobody is to be forgotten; the model stays as it is"]
        elif self.model is None:
            why = "holds no customers, so that it is not known whether it has learned from them"
            found.append(f"the model {why if self.nameless else 'did not know them'}; it stays as it is")
        else:
            found += _lines(self.model)
        if self.journal_rows is not None:
            found.append(
                f"{_number(self.journal_rows, 'row')} of the journal removed, and its file written anew"
            )
        if self.versions:
            found.append(
                f"earlier versions that held them are removed: {', '.join(self.versions)}; --rollback cannot go back "
                "to these"
            )
        return found


def _lines(model: Forgotten) -> list[str]:
    events = f" and {_number(model.events, 'other event')}" if model.events else ""
    found = [f"{_number(model.pairs, 'pair')} of a customer and an item{events} removed from the model"]
    for count, why in ((model.validation_users, "choose settings on"), (model.test_users, "measure on")):
        if count:
            found.append(f"{_number(count, 'mark')} removed of who was held out to {why}")
    if model.items:
        found.append(f"{_number(len(model.items), 'item')} that nobody else had bought left the model")
    if model.solved:
        found.append(f"fitted again without them: {', '.join(model.solved)}")
    for kind, why in model.remembering.items():
        way = "; --retrain trains it again now" if why == IN_STEPS else ""
        found.append(f"{kind} has learned from them: {why}{way}")
    if not model.solved and not model.remembering:
        found.append("no part of the model had learned from them")
    return found


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def remove(
    path: Path,
    users: Sequence[str | int],
    *,
    out: Path | None = None,
    journal: Path | None = None,
    retrain: bool = False,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> Removed:
    """Remove customers from a model file, its earlier versions, and a journal.

    Args:
        path: of the model file.
        users: ids of the customers; those whom the journal orders to forget are forgotten as well.
        out: where the model without them is written; None: in the place of the file. The file stays otherwise.
        journal: path of a journal whose rows go, too; None: there is none.
        retrain: whether what is trained in steps is trained again.
        device: "auto", "cpu" or "cuda", for what is fitted again.
        tell: is given sentences on what is being done.

    Raises:
        UnknownIdError: one of them is nowhere; nothing is changed then.
        ConfigError, DataError, TrainingError: as `forget`; nothing is changed then.
        JournalError: the journal cannot be used, and the model is as it was.
        OutputError: the file cannot be written.
    """
    asked = list(dict.fromkeys(id_texts(users, "user")))
    if not asked and journal is None:
        raise ConfigError("nobody is named to be forgotten: give the id of a customer, or a journal")
    target = path if out is None else out
    check_writable(target)
    with _opened(journal) as opened, changing(path):
        recommender = load(path)
        here = _known(recommender, asked)
        there = (
            {} if out is not None else {version: _known_in(version, asked) for version in versions_of(path)}
        )
        somewhere = {*here, *(user for users in there.values() for user in users or ())}
        if opened is not None:
            somewhere |= opened.knows(asked)
        if unknown := [user for user in asked if user not in somewhere]:
            if recommender.users is None or recommender.histories is None:
                raise UnknownIdError(NO_CUSTOMERS)
            raise UnknownIdError(unknown_sentence(unknown, recommender.users, opened is not None))
        ordered = [] if opened is None else ordered_users(recommender, opened)
        here = list(dict.fromkeys([*here, *ordered]))
        everybody = list(dict.fromkeys([*asked, *ordered]))
        if ordered and out is None:
            there = {version: _known_in(version, everybody) for version in there}
        left, found = recommender, None
        if here:
            hooks = Hooks(device=choose_device(device, 1), on_message=tell or (lambda text: None))
            left, found = forget(recommender, here, retrain=retrain, hooks=hooks)
        gone = [version for version, known in there.items() if known is None or known]
        with _replaced(target, left if here or out is not None else None):
            rows = None if opened is None else opened.remove_users(asked) if everybody else 0
            for version in gone:
                version.unlink(missing_ok=True)
    nobody = recommender.users is None
    return Removed(tuple(everybody), found, rows, tuple(version.name for version in gone), nobody)


def carry_out(path: Path, journal: Journal, *, device: str = "auto") -> Removed | None:
    """Forget the customers whom a journal orders to forget, before anything else is done with it; None: there are none.

    Args:
        path: of the model file.
        journal: with the orders.
        device: "auto", "cpu" or "cuda", for what is fitted again.

    Raises:
        DataError, TrainingError, JournalError, OutputError: as `remove`.
    """
    if not journal.orders() or not ordered_users(load(path), journal):
        return None
    found = remove(path, [], journal=journal.path, device=device, tell=say)
    for line in found.lines():
        say(line)
    return found


@contextmanager
def _opened(path: Path | None) -> Iterator[Journal | None]:
    if path is None:
        yield None
        return
    with Journal.open(path, create=False) as journal:
        yield journal


@contextmanager
def _replaced(path: Path, recommender: Recommender | None) -> Iterator[None]:
    """Write a recommender beside its place, run a block, and put it there when the block has ended well.

    So a full disk is known before anything else changes, and the file changes last. None: there is nothing to write.
    """
    if recommender is None:
        yield
        return
    with atomic_path(path) as temporary:
        save(recommender, temporary, histories=recommender.histories is not None)
        yield


def _known(recommender: Recommender, users: Sequence[str]) -> list[str]:
    """Return those of some customers whom a model knows."""
    if recommender.users is None or recommender.histories is None:
        return []
    rows = recommender.users.rows(users)
    return [user for user, row in zip(users, rows, strict=True) if row >= 0]


def _known_in(version: Path, users: Sequence[str]) -> list[str] | None:
    """Return those whom an earlier version knows; None where it cannot be read, so that nobody can tell."""
    try:
        return _known(load(version), users)
    except RecaeError:
        return None
