"""Batch scoring: recommendations for many users, block by block, as a stream, files or a table of a database."""

from recae.scoring.schema import SCHEMA
from recae.scoring.stream import score

__all__ = ["SCHEMA", "score"]
