"""Journal: purchases as they arrive, in a database of SQLite, until they are folded into the model."""

from recae.journal.journal import Added, Counts, Journal, Purchase, Unfolded

__all__ = ["Added", "Counts", "Journal", "Purchase", "Unfolded"]
