"""Batch scoring: recommendations for every user of a model, block by block, as a stream or as a file."""

from recae.scoring.batches import SCHEMA, score_batches
from recae.scoring.write import ENDINGS, check_output, write_scores

__all__ = ["ENDINGS", "SCHEMA", "check_output", "score_batches", "write_scores"]
