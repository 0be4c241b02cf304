"""Journal: purchases as they arrive, in a database of SQLite, until they are folded into the model."""

from recae.journal.journal import NOTHING, Added, Bought, Counts, Journal, Purchase, Unfolded

__all__ = ["NOTHING", "Added", "Bought", "Counts", "Journal", "Purchase", "Unfolded"]
