"""The columns of what a batch job gives."""

from typing import Final

import pyarrow as pa

SCHEMA: Final = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("rank", pa.int32()), ("score", pa.float32())]
)
"""A row for each recommendation, by user in the order of the job, then by rank from 1."""
