"""Small recommenders with every part there is, their files, and files made of chosen parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.item_table import TEXT, ItemTable
from recae.modelfile import save
from recae.models import ItemKNN, Popularity
from recae.recommender import Recommender

HISTORIES = np.array(
    [[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [1, 0, 0, 1, 1]], dtype=np.float32
)  # (U, I) = (4, 5); user 1 owns nothing
USERS = ["42", "007", " a b ", "Zoë"]
ITEMS = ["85123A", "0", "P,1", "☕", "x" * 30]
NAMES = ["Mug", None, "", "Kaffee ☕", "Spoon\n"]
HELD_OUT = [0, 0, 1, 2]
METADATA = {"fingerprint": "ab12", "metrics": {"recall@20": 0.25}, "history": [{"epoch": 1, "loss": 0.5}]}
TABLE = ItemTable(
    IdMap(["☕", "0", "never bought"]),
    pa.table(
        {
            "category": pa.array(["Home > Cups", None, ""], TEXT),
            "price": pa.array([None, 12.5, 0.0], pa.float64()),
            "available": pa.array([True, None, False], pa.bool_()),
            "färg": pa.array([None, "röd", None], TEXT),
        }
    ),
)


def recommender(**changes: Any) -> Recommender:
    matrix = sp.csr_matrix(HISTORIES)
    parts: dict[str, Any] = {
        "model": ItemKNN.fit(matrix, k=3, weighting="cosine"),
        "users": IdMap(USERS),
        "items": IdMap(ITEMS),
        "item_names": pa.array(NAMES, pa.large_string()),
        "histories": matrix,
        "metadata": METADATA,
        "held_out": None if "users" in changes else np.array(HELD_OUT, dtype=np.uint8),
    }
    return Recommender(**(parts | changes))


def popular(**changes: Any) -> Recommender:
    return recommender(model=Popularity.fit(sp.csr_matrix(HISTORIES)), **changes)


def saved(tmp_path: Path, what: Recommender, **options: Any) -> bytes:
    path = tmp_path / "saved.recae"
    save(what, path, **options)
    return path.read_bytes()


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a file apart as the written format says, without recae and without safetensors."""
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n].decode("utf-8"))
    metadata = json.loads(header.pop("__metadata__")["recae"])
    kinds = {"U8": "<u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(data[8 + n + begin : 8 + n + end], dtype=kinds[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return metadata, tensors


def pack(metadata: object, tensors: dict[str, NDArray[Any]]) -> bytes:
    """Build a file with safetensors' own writer; text metadata is taken as it is."""
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    return safetensors.numpy.save(tensors, metadata={"recae": text})
