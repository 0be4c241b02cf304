"""Batch scoring: recommendations for many users, block by block, as a stream, files or a table of a database."""

from recae.scoring.work import SCHEMA, score

__all__ = ["SCHEMA", "score"]
