"""The ``.recae`` model file: one self-contained safetensors file, written whole and validated when read.

**Format, version 5.**

The container is safetensors (https://github.com/huggingface/safetensors). All numbers are little-endian.

=============  ==========================================================================================
bytes          what
=============  ==========================================================================================
0 .. 7         unsigned 64-bit length N of the header
8 .. 7 + N     header: UTF-8 JSON, padded with spaces so that the data begin at a multiple of 8. It maps
               ``__metadata__`` to ``{"recae": text}`` and each tensor's name to its ``dtype``, ``shape`` and
               ``data_offsets`` ``[begin, end)``, counted from the end of the header
8 + N .. end   the tensors, C-contiguous, without gaps, by falling size of their elements and then by name
=============  ==========================================================================================

The text under ``recae`` is a JSON object: ASCII, keys sorted, no spaces, null in place of NaN and infinity:

* ``format_version``: 5 with the days of last purchases or fractions of items, else 4 with a table of items, else 3 with
  other events than purchases, else 2. A reader refuses a greater one than it knows. Version 1 lacks ``users.held_out``
  and is read like version 2.
* ``kind``: the model's name in the registry; ``config``: its configuration, an object.
* ``n_items``; ``n_users``: the number of user ids in the file, null if there are none.
* every other key is the recommender's own metadata: ``fingerprint``, ``filters``, ``metrics``, ``history``, …

Tensors, for U users and I items; a list of text is its UTF-8 bytes end to end and where each begins:

=======================  ======  ========  ================================================================
name                     dtype   shape     what
=======================  ======  ========  ================================================================
``items.data``           U8      (bytes)   item ids, distinct, in the model's order
``items.offsets``        I64     (I + 1)   first 0, never falling, last = number of bytes
``names.data``           U8      (bytes)   item names
``names.offsets``        I64     (I + 1)   likewise; the three ``names`` tensors are all there or none is
``names.valid``          U8      (I)       1 where the item has a name, 0 where it has none
``users.data``           U8      (bytes)   user ids, distinct; absent if the histories were left out
``users.offsets``        I64     (U + 1)   likewise
``users.held_out``       U8      (U)       0 for a user learned from, 1 for one held out to choose settings on, 2 for
                                           one held out to measure on; absent where that is not known
``histories.indptr``     I64     (U + 1)   first 0, never falling, last = number of indices
``histories.indices``    I32     (pairs)   items of user u at ``indptr[u] .. indptr[u + 1]``, rising
``histories.values``     F32     (pairs)   how often and lately u bought each, finite, above 0; there where the
                                           model reads the values of a history, and only there
``histories.last``       I32     (pairs)   the day since 1970-01-01 UTC on which u bought each last, the least number
                                           where that is not known; absent where no rule needs it
``events.indptr``        I64     (U + 1)   first 0, never falling, last = number of indices; only where the model reads
                                           K other events than purchases
``events.indices``       I32     (pairs)   rising within a user; b · I + i: the event b, from 0, of item i
``table.ids.data``       U8      (bytes)   ids of the T items of the table, distinct; absent where there is no table,
                                           like all that follow of it
``table.ids.offsets``    I64     (T + 1)   likewise
``table.columns.data``   U8      (bytes)   names of the C columns of the table, distinct
``table.columns.offsets``  I64   (C + 1)   likewise
``table.<c>.data``       U8, F64  any      column c, from 0, of the table: the bytes of its texts; of the column
                                           ``price`` numbers, F64 (T); of ``available`` 0 or 1, U8 (T)
``table.<c>.offsets``    I64     (T + 1)   of a column of text, likewise
``table.<c>.valid``      U8      (T)       1 where it is known, 0 where it is not
``new_items.indptr``     I64     (I + 1)   features of the items, sparse: first 0, never falling, last the number;
                                           only where the model scores items that nobody has bought. These come last,
                                           and the model's parameters are of the others, I₀ items
``new_items.indices``    I32     (values)  columns, below the width
``new_items.data``       F32     (values)  values
``new_items.weights``    F32     (I₀)      of the items that were bought, at least 0
``new_items.own``        F32     (I₀)      the fraction of the model's own score in that of each, above 0 up to 1;
                                           absent where it is 1 for all
``new_items.ridge``      F64     (2)       the ridge above 0, and the width
``model.<name>``         any     any       the model's parameters, finite
=======================  ======  ========  ================================================================

There is no other tensor. The same recommender gives the same bytes. Nothing in a file is ever executed, and
no number in it decides about memory before it has been checked against the file's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.arguments import check_path
from recae.errors import ConfigError, DataError, ModelFileError, RecaeError
from recae.files import atomic_path, json_text
from recae.ids import IdMap
from recae.inputs import EventInputs, inputs_of
from recae.kinds import has_models, model_class, model_kinds
from recae.models import Model
from recae.models.base import reads_values
from recae.models.new_items import NewItems
from recae.recommender import TEST, VALIDATION, Recommender
from recae.renamed import current_names
from recae.table_tensors import (
    check_offsets,
    damaged,
    read_table,
    read_texts,
    table_names,
    table_summary,
    table_tensors,
    text_tensors,
)
from recae.tensorfile import (
    DTYPES,
    NO_ROOM,
    NotNowError,
    TensorFile,
    TensorFileError,
    Tensors,
    TensorsInMemory,
    parse_json,
    write_tensors,
)
from recae.text import brief

FORMAT_VERSION = 5
_WITHOUT_DAYS = 4  # so that older readers read what they can
_WITHOUT_TABLE = 3
_WITHOUT_EVENTS = 2
KEY = "recae"
OWN_KEYS = ("config", "format_version", "kind", "n_items", "n_users")
FIXED = {
    "items.data": "U8", "items.offsets": "I64",
    "names.data": "U8", "names.offsets": "I64", "names.valid": "U8",
    "users.data": "U8", "users.offsets": "I64", "users.held_out": "U8",
    "histories.indptr": "I64", "histories.indices": "I32", "histories.values": "F32",
    "histories.last": "I32",
    "events.indptr": "I64", "events.indices": "I32",
    "new_items.indptr": "I64", "new_items.indices": "I32", "new_items.data": "F32",
    "new_items.weights": "F32", "new_items.own": "F32", "new_items.ridge": "F64",
    "table.ids.data": "U8", "table.ids.offsets": "I64",
    "table.columns.data": "U8", "table.columns.offsets": "I64",
}  # fmt: skip
VALUES = "histories.values"  # the rest of its group does without it, as without the next
LAST = "histories.last"
HELD_OUT = "users.held_out"
EVENTS = "events.indptr"
WEIGHTS = "new_items.weights"
OWN = "new_items.own"
TABLE = "table.ids.data"


def load(path: Path | str) -> Recommender:
    """Read a recommender; `save` is its inverse.

    Raises:
        ModelFileError: there is no such file, or it is not a whole, consistent recae model of this version.
    """
    check_path("the path of a model", path)
    with _opened(path) as file:
        file.check_room()
        return _assembled(file)


def _assembled(file: Tensors) -> Recommender:
    """Return the recommender of checked tensors."""
    metadata = _read_metadata(file)
    names = _check_names(file)
    items = _read_ids(file, "items", metadata["n_items"])
    users = _read_ids(file, "users", metadata["n_users"]) if "users.data" in names else None
    if users is None and metadata["n_users"] is not None:
        raise damaged("its metadata counts users, but it holds no user ids")
    item_names = _read_names(file, len(items)) if "names.data" in names else None
    held_out = _read_held_out(file, len(users)) if users is not None and HELD_OUT in names else None
    histories = None
    if users is not None and "histories.indptr" in names:
        histories = _read_histories(file, len(users), len(items), VALUES in names)
    pairs = _read_pairs(file, "events", len(users)) if users is not None and EVENTS in names else None
    parameters = {
        name.removeprefix("model."): _take(file, name) for name in names if name.startswith("model.")
    }
    model = _extended(file, names, metadata, parameters, len(items))
    if histories is not None and reads_values(model) and VALUES not in names:
        raise damaged(f"tensor '{VALUES}' is missing, which its kind of model reads")
    if VALUES in names and not reads_values(model):
        raise damaged(f"it holds '{VALUES}', which its kind of model does not read")
    events = None if pairs is None else _events(pairs, inputs_of(model), len(items))
    own = {key: value for key, value in metadata.items() if key not in OWN_KEYS}
    table = read_table(partial(_take, file), file.describe()) if TABLE in names else None
    last = None if histories is None or LAST not in names else _read_last(file, histories.nnz)
    return Recommender(model, users, items, item_names, histories, own, held_out, events, table, last)


def describe(path: Path | str) -> dict[str, Any]:
    """Return what a model file says of itself, without reading its weights.

    Returns:
        ``path``: text; ``bytes``: the file's size; ``metadata``: the JSON object under ``recae``;
        ``tensors``: a list by name of ``name``, ``dtype`` (as in the format), ``shape`` and ``bytes``;
        ``held_out``: ``validation_users`` and ``test_users``, how many users were held out to choose on and to
        measure on; None where that is not known;
        ``item_table``: ``items``, how many its table of items has, and ``columns``, column to of how many it is
        known; None where there is none.

    Raises:
        ModelFileError: as `load`, as far as the header tells.
    """
    with _opened(path) as file:
        metadata, names = _read_metadata(file), _check_names(file)
        tensors = []
        for name, (code, shape) in sorted(file.describe().items()):
            size = math.prod(shape) * np.dtype(DTYPES[code]).itemsize
            tensors.append({"name": name, "dtype": code, "shape": list(shape), "bytes": size})
        codes = _read_held_out(file, metadata["n_users"]) if HELD_OUT in names else None
        counts = [int((codes == code).sum()) for code in (VALIDATION, TEST)] if codes is not None else []
        return {
            "path": str(path),
            "bytes": Path(path).stat().st_size,
            "metadata": metadata,
            "tensors": tensors,
            "item_table": table_summary(partial(_take, file)) if TABLE in names else None,
            "held_out": dict(zip(("validation_users", "test_users"), counts, strict=True))
            if counts
            else None,
        }


@contextmanager
def _opened(path: Path | str) -> Iterator[TensorFile]:
    """Open a model file; whatever is wrong with it leaves as one ModelFileError that names the path."""
    path = Path(path)
    wanted = "train one with 'recae train' or give the path of another"
    try:
        if not path.exists():
            raise FileNotFoundError
        if not path.is_file():  # a pipe would block
            raise ModelFileError(f"the model file '{path}' is not a regular file; {wanted}")
        file = TensorFile(path)
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model file '{path}'; {wanted}") from error
    except OSError as error:
        reason = _one_line(error.strerror or error)
        raise ModelFileError(f"cannot open the model file '{path}': {reason}; {wanted}") from error
    except (NotNowError, MemoryError) as error:
        raise _not_now(path, error) from error
    except ValueError as error:  # also of a path with a zero in it
        raise ModelFileError(
            f"the model file '{path}' is empty, truncated, damaged or of another kind "
            f"({_one_line(error)}); {wanted}"
        ) from error
    try:
        with file:
            yield file
    except (NotNowError, MemoryError) as error:
        raise _not_now(path, error) from error
    except TensorFileError as error:
        raise ModelFileError(f"cannot use the model file '{path}': {_one_line(error)}; {wanted}") from error
    except OSError as error:
        reason = _one_line(error.strerror or error)
        raise ModelFileError(f"cannot read the model file '{path}': {reason}; {wanted}") from error
    except RecaeError as error:
        raise ModelFileError(f"cannot use the model file '{path}': {_one_line(error, 500)}") from error


def _not_now(path: Path, error: NotNowError | MemoryError) -> ModelFileError:
    """Return the error of a file that may be whole, which is without the advice to train another."""
    said = _one_line(error) if isinstance(error, NotNowError) else NO_ROOM
    return ModelFileError(f"cannot use the model file '{path}': {said}")


def _read_metadata(file: Tensors) -> dict[str, Any]:
    """Return the checked JSON object of the key `recae`."""
    text = file.text(KEY)
    if text is None:
        raise ModelFileError(
            "it is a safetensors file without the metadata key 'recae', so recae did not write it; "
            "give the path of a model that 'recae train' wrote"
        )
    try:
        metadata = parse_json(text)
    except TensorFileError as error:
        raise damaged(f"its metadata is {_one_line(error)}") from error
    if not isinstance(metadata, dict):
        raise damaged("its metadata is not a JSON object")
    version: Any = metadata.get("format_version")
    if not _is_count(version) or version < 1:
        raise damaged(f"its format_version is {_short(version)}, not a whole number from 1")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"it has format version {_short(version)}, but this recae reads versions up to {FORMAT_VERSION}; "
            "update recae or train the model again"
        )
    kind, config = metadata.get("kind"), metadata.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise damaged("its metadata lacks the model's kind or configuration")
    if not has_models(kind):
        raise ModelFileError(
            f"it holds a model of kind {_short(kind)}, but this recae knows {', '.join(sorted(model_kinds()))}; "
            "update recae, install the plugin that brings this kind, or train the model again"
        )
    if not _is_count(metadata.get("n_items")):
        raise damaged(f"n_items is {_short(metadata.get('n_items'))}, not a whole number")
    if not (metadata.get("n_users", ...) is None or _is_count(metadata.get("n_users"))):
        raise damaged(f"n_users is {_short(metadata.get('n_users'))}, not a whole number")
    return {**metadata, "config": current_names(config)}


def _check_names(file: Tensors) -> list[str]:
    """Return the tensors' names in order; a foreign, missing or wrongly typed tensor is a ModelFileError."""
    tensors = file.describe()
    names = sorted(tensors)
    codes = FIXED | table_names(names)
    for name in names:
        code = tensors[name][0]
        if name not in codes and not name.startswith("model."):
            raise damaged(f"it holds an unknown tensor {_short(name)}")
        if code not in DTYPES or code not in codes.get(name, code).split(" or "):
            wanted = codes.get(name, "a plain number type")
            raise damaged(f"tensor {_short(name)} should be {wanted}, but is {code}")
    optional = {OWN} if WEIGHTS in names else set()
    optional |= {VALUES, LAST} if "histories.indptr" in names else set()
    optional |= {HELD_OUT} if "users.data" in names else set()
    for group in ("items", "names", "users", "histories", "events", "table", "new_items"):
        whole = {name for name in FIXED if name.startswith(group)}
        missing = sorted(whole.difference(names, optional))
        if missing and (group == "items" or len(missing) < len(whole)):
            raise damaged(f"tensor '{missing[0]}' is missing")
    if "histories.indptr" in names and "users.data" not in names:
        raise damaged("it holds histories without user ids")
    if EVENTS in names and "histories.indptr" not in names:
        raise damaged("it holds other events without histories")
    if len(codes) > len(FIXED) and TABLE not in names:
        raise damaged(f"tensor '{TABLE}' is missing")
    return names


def _take(file: Tensors, name: str) -> NDArray[Any]:
    """Return a tensor, checked to be a vector where the format has vectors, and finite."""
    array = file.take(name)
    if not name.startswith("model.") and array.ndim != 1:
        raise damaged(f"tensor '{name}' should have one axis, but has {array.ndim}")
    if array.dtype.kind == "f":
        flat, step = array.reshape(-1), 2**22  # in pieces: the mask of all weights would be a quarter of them
        if not all(np.isfinite(flat[i : i + step]).all() for i in range(0, flat.size, step)):
            raise damaged(f"tensor {_short(name)} holds numbers that are not finite")
    return array


def _read_ids(file: Tensors, what: str, n: int | None) -> IdMap:
    data, offsets = _take(file, f"{what}.data"), _take(file, f"{what}.offsets")
    if n != offsets.size - 1:
        said = "no" if n is None else _short(n)
        raise damaged(f"its metadata counts {said} {what}, but '{what}.offsets' holds {offsets.size:,}")
    check_offsets(f"{what}.offsets", offsets, n, data.size)
    try:
        return IdMap.from_arrays(data, offsets)
    except DataError as error:
        raise damaged(f"its {what} cannot be used: {_one_line(error)}") from error


def _read_names(file: Tensors, n_items: int) -> pa.LargeStringArray:
    return read_texts(partial(_take, file), "names", n_items, "item names")


def _read_held_out(file: Tensors, n_users: int | None) -> NDArray[np.uint8]:
    codes: NDArray[np.uint8] = _take(file, HELD_OUT)
    if codes.size != n_users or (codes > TEST).any():
        raise damaged(f"'{HELD_OUT}' does not hold a 0, 1 or 2 for each of {_short(n_users)} users")
    return codes


def _read_histories(file: Tensors, n_users: int, n_items: int, with_values: bool) -> sp.csr_matrix:
    indptr, indices = _read_pairs(file, "histories", n_users)
    if indices.size and not 0 <= indices.min() <= indices.max() < n_items:
        raise damaged(f"'histories.indices' holds items outside 0 .. {n_items - 1}")
    values = _take(file, VALUES) if with_values else np.ones(indices.size, dtype=np.float32)
    if values.size != indices.size or not (values > 0).all():
        raise damaged(f"'{VALUES}' does not hold a number above 0 for each of {indices.size:,} purchases")
    histories = sp.csr_matrix((values, indices, indptr), shape=(n_users, n_items))
    histories.has_canonical_format = True
    return histories


def _read_last(file: Tensors, pairs: int) -> NDArray[np.int32]:
    days: NDArray[np.int32] = _take(file, LAST)
    if days.size != pairs:
        raise damaged(f"'{LAST}' holds {days.size:,} days for {pairs:,} purchases")
    return days


def _read_pairs(file: Tensors, what: str, n_users: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return where each user's entries begin, and their columns, which rise within a user."""
    indptr, indices = _take(file, f"{what}.indptr"), _take(file, f"{what}.indices")
    check_offsets(f"{what}.indptr", indptr, n_users, indices.size)
    rises = indices[1:] > indices[:-1]
    begins = indptr[1:-1]
    rises[begins[(begins > 0) & (begins < indices.size)] - 1] = True  # a new user may begin lower
    if not rises.all():
        raise damaged(f"'{what}.indices' does not rise within each user")
    return indptr, indices


def _events(
    pairs: tuple[NDArray[np.int64], NDArray[np.int32]], names: tuple[str, ...], n_items: int
) -> EventInputs:
    """Return the events of the users that a model reads."""
    indptr, indices = pairs
    width = len(names) * n_items
    if not names:
        raise damaged("it holds other events, which its kind of model does not read")
    if indices.size and not 0 <= indices.min() <= indices.max() < width:
        raise damaged(f"'events.indices' holds columns outside 0 .. {width - 1}")
    ones = np.ones(indices.size, dtype=np.float32)
    matrix = sp.csr_matrix((ones, indices, indptr), shape=(indptr.size - 1, width))
    matrix.has_canonical_format = True
    return EventInputs(names, matrix)


def _extended(
    file: Tensors,
    names: list[str],
    metadata: Mapping[str, Any],
    parameters: Mapping[str, NDArray[Any]],
    n_items: int,
) -> Model:
    """Return the model, with the items that nobody has bought where it scores such."""
    if WEIGHTS not in names:
        return _build_model(metadata, parameters, n_items)
    own = {
        name.removeprefix("new_items."): _take(file, name)
        for name in FIXED
        if name.startswith("new_items") and name in names
    }
    extended = NewItems.extending(_build_model(metadata, parameters, own["weights"].size), own, n_items)
    return cast(Model, extended)


def _build_model(metadata: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], n_items: int) -> Model:
    try:
        model: Model = model_class(metadata["kind"]).from_arrays(metadata["config"], arrays, n_items)
        return model
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A configuration of the wrong types is the file's fault, however a model stumbles over it.
        raise damaged(f"its configuration does not describe a model ({_one_line(error)})") from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _one_line(value: object, at_most: int = 200) -> str:
    return " ".join(str(value).split())[:at_most]


def _short(value: object) -> str:
    """Return a value from the file as text that cannot flood an error message."""
    return repr(value)[:80]


def save(recommender: Recommender, path: Path | str, *, histories: bool = True) -> None:
    """Write a recommender to one file; the file appears whole or not at all.

    Args:
        recommender: what to write.
        path: where to; an existing file is replaced.
        histories: False leaves out the histories and with them the user ids, which are personal data and of
            no use without them; the model then answers for baskets only.

    Raises:
        OutputError: the file cannot be written.
        ConfigError: the metadata or configuration is not JSON, or the metadata uses a key of the format.
        DataError: the model reads the values of histories, and one is not finite and above 0 in float32.
        ModelFileError: what would be written could not be read again.
    """
    check_path("the path of a model", path)
    if not isinstance(recommender, Recommender):
        raise ConfigError(
            f"what is saved is a Recommender, as recae.train returns it, found {brief(recommender)}: give the model "
            "first, then the path"
        )
    users = recommender.users if histories else None
    text = _metadata_text(recommender, users)
    tensors = _tensors(recommender, users, histories)
    _check_readable(tensors, text, path)
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        write_tensors(file, tensors, KEY, text)


def _check_readable(tensors: Mapping[str, NDArray[Any]], text: str, path: Path | str) -> None:
    """Make sure that what is about to be written can be read again: it may replace a model that can."""
    try:
        _assembled(TensorsInMemory(tensors, KEY, text))
    except (TensorFileError, RecaeError) as error:
        raise ModelFileError(
            f"the model is not written to '{path}', since it could not be read again: {_one_line(error, 500)}"
        ) from error


def _metadata_text(recommender: Recommender, users: IdMap | None) -> str:
    taken = sorted(set(recommender.metadata) & set(OWN_KEYS))
    if taken:
        raise ConfigError(
            f"the metadata key '{taken[0]}' belongs to the model file's format; use another name"
        )
    content = {
        **recommender.metadata,
        "format_version": _version(recommender, users),
        "kind": recommender.model.kind,
        "config": recommender.model.config(),
        "n_items": len(recommender.items),
        "n_users": None if users is None else len(users),
    }
    return json_text(content, "metadata")


def _version(recommender: Recommender, users: IdMap | None) -> int:
    model = recommender.model
    if isinstance(model, NewItems) and (model.own is not None or model.known == model.n_items):
        return FORMAT_VERSION
    if users is not None and recommender.last_bought is not None:
        return FORMAT_VERSION
    if recommender.item_table is not None or isinstance(recommender.model, NewItems):
        return _WITHOUT_DAYS
    return _WITHOUT_EVENTS if users is None or recommender.events is None else _WITHOUT_TABLE


def _tensors(recommender: Recommender, users: IdMap | None, histories: bool) -> dict[str, NDArray[Any]]:
    tensors = {f"model.{name}": array for name, array in recommender.model.arrays().items()}
    if isinstance(recommender.model, NewItems):
        tensors |= {f"new_items.{name}": array for name, array in recommender.model.own_arrays().items()}
    tensors["items.data"], tensors["items.offsets"] = recommender.items.to_arrays()
    if users is not None:
        tensors["users.data"], tensors["users.offsets"] = users.to_arrays()
        if recommender.held_out is not None:
            tensors[HELD_OUT] = recommender.held_out
    if recommender.item_names is not None:
        tensors |= text_tensors("names", recommender.item_names)
    if recommender.item_table is not None:
        tensors |= table_tensors(recommender.item_table)
    if histories and recommender.histories is not None:
        canonical = recommender.histories
        if recommender.last_bought is not None:
            if not canonical.has_canonical_format:
                raise DataError(
                    "histories with days of last purchases hold each pair once, in rising order: call sum_duplicates "
                    "first"
                )
            tensors[LAST] = recommender.last_bought
        if not canonical.has_canonical_format:
            canonical = canonical.copy()  # the caller's matrix stays as it is
            canonical.sum_duplicates()
        tensors["histories.indptr"] = canonical.indptr.astype(np.int64)
        tensors["histories.indices"] = canonical.indices.astype(np.int32)
        if reads_values(recommender.model):
            tensors[VALUES] = _values(canonical)
        if recommender.events is not None:
            tensors[EVENTS] = recommender.events.matrix.indptr.astype(np.int64)
            tensors["events.indices"] = recommender.events.matrix.indices.astype(np.int32)
    return tensors


def _values(histories: sp.csr_matrix) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what overflows is refused
        values = histories.data.astype(np.float32)
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataError(
            "the values of the histories must be finite and above 0, but one is not; "
            "weight them with Events.weights, or give ones"
        )
    return values


__all__ = ["FORMAT_VERSION", "describe", "load", "save"]
