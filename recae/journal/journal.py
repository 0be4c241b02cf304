"""`Journal`: purchases as they arrive, durable before `Journal.add` returns, and none of them twice.

The sequence of a purchase, a number that only rises, says what a model has: its metadata hold the journal's id and the
sequence up to which purchases are in its histories (`Journal.folding`). It is written with the histories, in one file,
so that an update which is killed at any moment folds nothing in twice, and a former model put back gets the later ones
from the journal again. Order goes by the sequence alone; a clock that goes back changes nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from recae.errors import JournalConflictError, JournalError
from recae.ids import shown
from recae.journal import database
from recae.journal.balance import balance
from recae.journal.database import Database

PURCHASE: Final = "purchase"
"""The kind of event that is a purchase. Others, which later versions may write, are counted and left alone."""

RETURN: Final = "return"
"""The kind of event by which something came back; its quantity is below 0."""

FORGET: Final = "forget"
"""The kind of event that asks for a customer to be forgotten; its user is `Journal.code` of the id, and not the id."""

METADATA: Final = "journal"
"""Where the metadata of a model say which purchases of a journal it has."""

_ROWS: Final = 65_536  # that are read together
_MOST: Final = 2**62  # sequences: SQLite has twice as many, and a file that says more is wrong

_SCHEMA: Final = pa.schema(
    [
        ("user", pa.large_string()),
        ("item", pa.large_string()),
        ("time", pa.timestamp("us", "UTC")),
        ("quantity", pa.float64()),
        ("event", pa.large_string()),
        ("sequence", pa.int64()),
    ]
)

_INSERT: Final = (
    "INSERT INTO events (event, user, item, time, arrived, quantity, kind) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_TOGETHER: Final = 256  # users and codes that one statement asks for
_SAME: Final = "SELECT user, item, time, quantity, kind FROM events WHERE event = ?"


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase, or a return.

    Attributes:
        user: id of the customer.
        item: id of the item.
        time: when it was bought, microseconds since 1970, UTC; None: when it arrives.
        quantity: how much was bought, above 0; below 0: how much came back, see `recae.journal.balance`.
        event: id of the purchase, by which it is known when it is sent again; None: one is made.
    """

    user: str
    item: str
    time: int | None = None
    quantity: float = 1.0
    event: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of purchases that were added together.

    Attributes:
        events: their ids, in their order.
        new: whether each was new, in their order; the others were there already.
    """

    events: list[str]
    new: list[bool]


@dataclass(frozen=True, slots=True)
class Bought:
    """What one user has bought, in the order of arrival, repeats included, without what came back.

    Attributes:
        items: ids.
        times: when each was bought, microseconds since 1970, UTC.
        returned: ids of items of which all that was bought before has come back, by whatever it is known.
        known: whether the journal has purchases or returns of the user, even if nothing is left of them.
        forgotten: whether the model is to forget the user, so that what it knows of them does not count.
    """

    items: tuple[str, ...]
    times: tuple[int, ...]
    forgotten: bool = False
    returned: tuple[str, ...] = ()
    known: bool = False


NOTHING: Final = Bought((), ())
"""What a user has bought who is not in the journal."""


@dataclass(frozen=True, eq=False)
class Unfolded:
    """Purchases and returns that a model does not have yet.

    Attributes:
        table: `user`, `item`, `time`, `quantity`, `event` and `sequence`, in the order of their arrival; of a
            return the quantity is below 0.
        sequence: of the last event of the journal when it was read: a model with these purchases has all up to it.
    """

    table: pa.Table
    sequence: int


@dataclass(frozen=True)
class Counts:
    """How much is in a journal.

    Attributes:
        purchases: all of them.
        unfolded: purchases and returns that a model does not have.
        users: that made purchases.
        others: events of other kinds, which are left alone, by kind.
        returns: all of them.
    """

    purchases: int
    unfolded: int
    users: int
    others: dict[str, int] = field(default_factory=dict)
    returns: int = 0


class Journal:
    """A journal of purchases; several threads and processes may use one at the same time.

    Args:
        opened: its database.
    """

    def __init__(self, opened: Database) -> None:
        """Use a database that is open."""
        self._database = opened
        self._beyond = 0
        self.path, self.id = opened.path, opened.id

    @classmethod
    def open(cls, path: str | Path, create: bool = True) -> Self:
        """Open a journal; one of an older format is brought up to the present one first, in one transaction.

        Args:
            path: of the file.
            create: make one where there is none.

        Raises:
            JournalError: the file is no journal, of a newer format, damaged, or cannot be written to.
        """
        return cls(Database(Path(path), create))

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections of this process; what is asked later opens them again."""
        self._database.close()

    def add(self, purchases: Purchase | Sequence[Purchase]) -> Added:
        """Add purchases, all or none of them; they are on the disk when this returns.

        Args:
            purchases: one or several. What is there already by its event's id changes nothing.

        Raises:
            JournalConflictError: an event's id is there with another purchase.
            JournalFullError: the disk is full.
            JournalBusyError: others have written for too long.
            JournalError: the journal cannot be used any more.
        """
        given = [purchases] if isinstance(purchases, Purchase) else purchases
        (result,) = self.add_together([given])
        if isinstance(result, JournalError):
            raise result
        return result

    def add_together(self, requests: Sequence[Sequence[Purchase]]) -> list[Added | JournalConflictError]:
        """Add the purchases of several requests in one transaction, which costs the disk one wait for all of them.

        Args:
            requests: each is added whole, or not at all where an event's id is there with another purchase.

        Raises:
            JournalError: as `add`; then nothing of any request was added.
        """
        arrived = database.now()
        results: list[Added | JournalConflictError] = []
        if len(requests) == 1:  # whose transaction is its own
            try:
                with self._numbering() as connection:
                    return [_insert(connection, requests[0], arrived)]
            except JournalConflictError as error:
                return [error]
        with self._numbering() as connection:
            for purchases in requests:
                connection.execute("SAVEPOINT request")
                try:
                    results.append(_insert(connection, purchases, arrived))
                except JournalConflictError as error:
                    connection.execute("ROLLBACK TO request")
                    results.append(error)
                connection.execute("RELEASE request")
        return results

    def number_beyond(self, sequence: int) -> None:
        """Let what is written by this object have sequences above one that a model has.

        They are so in any case, unless an earlier copy of the journal was put back: it would give numbers again that
        the model has seen, and what is bought under them would never count.

        Args:
            sequence: of `folded_up_to`.
        """
        self._beyond = max(self._beyond, sequence)

    @contextmanager
    def _numbering(self) -> Iterator[sqlite3.Connection]:
        with self._database.writing() as connection:
            if self._beyond:
                connection.execute(
                    "INSERT INTO sqlite_sequence SELECT 'events', 0 "
                    "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events')"
                )
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = ? WHERE name = 'events' AND seq < ?",
                    (self._beyond, self._beyond),
                )
            yield connection

    def bought_by(self, users: Sequence[str], after: int = 0, since: int | None = None) -> list[Bought]:
        """Return what users have bought beyond a sequence, as the journal is at one moment.

        Args:
            users: ids.
            after: the sequence up to which it is known already; 0: all is asked for.
            since: the time from which purchases count, microseconds since 1970, UTC; None: all do.
        """
        codes = [self.code(user) for user in users]
        found: dict[str, list[tuple[str, int, float]]] = {}
        gone: set[str] = set()
        asked = [*dict.fromkeys(users), *dict.fromkeys(codes)]
        for user, kind, item, time, quantity in self._events_of(asked, after):
            if kind in (PURCHASE, RETURN) and (since is None or time >= since):
                found.setdefault(user, []).append((item, time, quantity))
            elif kind == FORGET:
                gone.add(user)
        answers = []
        for user, code in zip(users, codes, strict=True):
            rows, forgotten = found.get(user, ()), code in gone
            answers.append(_bought(rows, forgotten) if rows or forgotten else NOTHING)
        return answers

    def _events_of(self, users: Sequence[str], after: int) -> list[tuple[str, str, str, int, float]]:
        """Return user, kind, item, time and quantity of the events of some users beyond a sequence, in its order.

        One statement asks for many, as the journal is at one moment: between statements a server's other threads take
        the interpreter's lock.
        """
        pieces = [users[start : start + _TOGETHER] for start in range(0, len(users), _TOGETHER)]
        if len(pieces) == 1:
            with self._database.telling():
                return _asked(self._database.connection, pieces[0], after)
        with self._database.reading() as connection:
            return [row for piece in pieces for row in _asked(connection, piece, after)]

    def code(self, user: str) -> str:
        """Return what stands for a user who is to be forgotten: a hash that is of this journal alone."""
        return hashlib.sha256(f"{self.id}\0{user}".encode()).hexdigest()

    def order_forgetting(self, user: str) -> int:
        """Remove what a user has bought, and note that models are to forget them; both at once.

        The bytes are overwritten where they stand; `clean` removes copies that SQLite may have left.

        Args:
            user: the id.

        Returns:
            How many events were removed.

        Raises:
            JournalError: as `add`.
        """
        arrived = database.now()
        with self._numbering() as connection:
            removed = connection.execute("DELETE FROM events WHERE user = ?", [user]).rowcount
            event = f"{FORGET}-{arrived // 1000:012x}{secrets.token_hex(8)}"
            connection.execute(_INSERT, (event, self.code(user), "", arrived, arrived, 1.0, FORGET))
        return removed

    def orders(self, after: int = 0) -> frozenset[str]:
        """Return the codes of the users who are to be forgotten, of orders beyond a sequence."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT user FROM events WHERE kind = ? AND sequence > ?", (FORGET, after)
            ).fetchall()
        return frozenset(code for (code,) in found)

    def _since(self, sequence: int) -> Iterator[pa.RecordBatch]:
        """Read purchases and returns beyond a sequence in batches, in the order of their arrival."""
        query = (
            "SELECT user, item, time, quantity, event, sequence FROM events WHERE sequence > ? AND kind IN (?, ?) "
            "ORDER BY sequence LIMIT ?"
        )
        while True:
            # a transaction a batch: one that stays open for long would keep the log from being cut
            with self._database.reading() as connection:
                rows = connection.execute(query, (sequence, PURCHASE, RETURN, _ROWS)).fetchall()
            if not rows:
                return
            sequence = rows[-1][-1]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(column, one.type)
                    for column, one in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
                ],
                schema=_SCHEMA,
            )

    def unfolded(self, metadata: Mapping[str, Any] | None = None) -> Unfolded:
        """Return the purchases that a model does not have yet.

        Args:
            metadata: of the model; None: all purchases are asked for.
        """
        after = 0 if metadata is None else self.folded_up_to(metadata)
        last = self.last()
        batches = []
        for batch in self._since(after):
            # what arrives while this is read is for the next time
            inside = int(np.searchsorted(batch.column("sequence").to_numpy(), last, side="right"))
            batches.append(batch.slice(0, inside))
            if inside < batch.num_rows:
                break
        return Unfolded(pa.Table.from_batches(batches, _SCHEMA), max(last, after))

    def last(self) -> int:
        """Return the sequence of the last event, 0 for an empty journal."""
        with self._database.reading() as connection:
            found: int | None = connection.execute("SELECT max(sequence) FROM events").fetchone()[0]
        return found or 0

    def folded_up_to(self, metadata: Mapping[str, Any]) -> int:
        """Return the sequence up to which a model has the purchases, 0 where it has none of this journal's.

        Args:
            metadata: of the model.
        """
        stored = metadata.get(METADATA)
        if not isinstance(stored, Mapping) or stored.get("id") != self.id:
            return 0
        sequence = stored.get("sequence")
        if not isinstance(sequence, int) or isinstance(sequence, bool) or not 0 <= sequence < _MOST:
            return 0
        return sequence

    def folding(self, sequence: int) -> dict[str, dict[str, str | int]]:
        """Return the entry for the metadata of a model that has the purchases up to a sequence."""
        return {METADATA: {"id": self.id, "sequence": sequence}}

    def mark_folded(self, fingerprint: str, sequence: int) -> None:
        """Note that the purchases up to a sequence are in a model, for `marks`; what counts is the model's own word.

        Args:
            fingerprint: of the model's histories.
            sequence: of the last purchase that it has.
        """
        with self._database.writing() as connection:
            known = connection.execute(
                "SELECT 1 FROM folded WHERE model = ? AND sequence = ?", (fingerprint, sequence)
            ).fetchone()
            if known is None:
                connection.execute(
                    "INSERT INTO folded VALUES (?, ?, ?)", (sequence, fingerprint, database.now())
                )

    def marks(self) -> list[tuple[str, int]]:
        """Return the fingerprints of the models that purchases were folded into, with their sequences, oldest first."""
        with self._database.reading() as connection:
            return connection.execute("SELECT model, sequence FROM folded ORDER BY rowid").fetchall()

    def knows(self, users: Iterable[str]) -> set[str]:
        """Return those of some users of whom the journal holds events of any kind."""
        with self._database.reading() as connection:
            query = "SELECT 1 FROM events WHERE user = ? LIMIT 1"
            return {user for user in users if connection.execute(query, [user]).fetchone() is not None}

    def remove_users(self, users: Iterable[str]) -> int:
        """Remove all that some users have done, so that no byte of it is left in the file or in the log beside it.

        The file is written anew, which takes some seconds for a million purchases; writers wait. It is so even where
        nothing was removed: an earlier removal may have ended before it came to that.

        Args:
            users: ids.

        Returns:
            How many events were removed.

        Raises:
            JournalError: as `add`; all rows are gone then, or all are there.
        """
        with self._database.writing() as connection:
            removed = connection.executemany(
                "DELETE FROM events WHERE user = ?", [[user] for user in users]
            ).rowcount
        self.clean()
        return max(removed, 0)

    def clean(self) -> None:
        """Write the file anew without what was removed, and empty the log.

        Pages that were split hold copies of rows beside those in use, which deleting does not overwrite.

        Raises:
            JournalBusyError: others were reading or writing all the time; what was removed may still be on the disk.
        """
        with self._database.telling():
            connection = self._database.connection
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise database.busy(self.path)

    def counts(self, metadata: Mapping[str, Any] | None = None) -> Counts:
        """Count what is in the journal, by looking at all of it.

        Args:
            metadata: of the model that may have some of it; None: none has.
        """
        after = 0 if metadata is None else self.folded_up_to(metadata)
        with self._database.reading() as connection:
            kinds = dict(connection.execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall())
            unfolded = connection.execute(
                "SELECT count(*) FROM events WHERE sequence > ? AND kind IN (?, ?)", (after, PURCHASE, RETURN)
            ).fetchone()[0]
            users = connection.execute(
                "SELECT count(DISTINCT user) FROM events WHERE kind = ?", [PURCHASE]
            ).fetchone()[0]
        return Counts(kinds.pop(PURCHASE, 0), unfolded, users, returns=kinds.pop(RETURN, 0), others=kinds)


def _bought(rows: Sequence[tuple[str, int, float]], forgotten: bool) -> Bought:
    """Return what is left of a user's events: item, time and quantity of each."""
    if all(quantity > 0 for _, _, quantity in rows):
        items, times = tuple(item for item, _, _ in rows), tuple(time for _, time, _ in rows)
        return Bought(items, times, forgotten, known=bool(rows))
    remains, taken = balance([item for item, _, _ in rows], [quantity for _, _, quantity in rows])
    left = [row for row, stays in zip(rows, remains, strict=True) if stays]
    items, times = tuple(item for item, _, _ in left), tuple(time for _, time, _ in left)
    return Bought(items, times, forgotten, tuple(taken), known=True)


def _asked(
    connection: sqlite3.Connection, users: Sequence[str], after: int
) -> list[tuple[str, str, str, int, float]]:
    """Return user, kind, item, time and quantity of the events of users beyond a sequence, in its order."""
    # a power of two of them, so that SQLite knows the statement from before; nobody's user is null
    size = 1 << max(len(users) - 1, 0).bit_length()
    values = ", ".join(["(?)"] * size)
    # without the name SQLite may walk the range of sequences instead of the users' own rows
    query = (
        f"WITH asked(user) AS (VALUES {values}) SELECT events.user, kind, item, time, quantity FROM asked "  # noqa: S608  # of marks
        "CROSS JOIN events INDEXED BY events_of_user ON events.user = asked.user AND sequence > ? ORDER BY sequence"
    )
    return connection.execute(query, (*users, *[None] * (size - len(users)), after)).fetchall()


def _insert(connection: sqlite3.Connection, purchases: Sequence[Purchase], arrived: int) -> Added:
    events, new = [], []
    for one in purchases:
        # made ids rise with time, so that the index grows at its end
        event = one.event or f"{arrived // 1000:012x}{secrets.token_hex(8)}"
        time = arrived if one.time is None else one.time
        kind = PURCHASE if one.quantity > 0 else RETURN
        values = (event, one.user, one.item, time, arrived, one.quantity, kind)
        # looked for first: an insertion that finds it there would use up a number of the sequence
        known = None if one.event is None else connection.execute(_SAME, [event]).fetchone()
        if known is None:
            connection.execute(_INSERT, values)
        else:
            user, item, stored, *rest = known
            same = (user, item, *rest) == (one.user, one.item, one.quantity, kind)
            if not same or one.time not in (None, stored):
                raise JournalConflictError(
                    f"the event {shown(event)} is in the journal with another purchase; give each purchase an id of "
                    "its own"
                )
        events.append(event)
        new.append(known is None)
    return Added(events, new)
