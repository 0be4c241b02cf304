"""Tensor files: arrays by name and a text, in the container of safetensors, read with nothing trusted.

The container is a header of JSON and the bytes of the arrays; `recae.modelfile` says what is where. It is read here
and not by the library of safetensors. That maps the file: who overwrites it meanwhile ends the process by SIGBUS, and
where memory is short its Rust code panics, which Python's `except Exception` does not catch. Here all bytes are read
into arrays of this process, after a check that there is room for them, and a file that changes meanwhile is refused.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from recae.memory import free_memory
from recae.text import human_bytes

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16",
    "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64",
}  # fmt: skip
"""The container's names of number types, and numpy's."""

_CODES = {name: code for code, name in DTYPES.items()}

_LONGEST_HEADER = 100_000_000  # bytes, the container's own limit
_OBJECTS = 30  # bytes that Python's objects take for a byte of JSON, at most: "[]," is a list of 56 bytes
_AXES = 32  # that numpy has in all its versions
_DEEPEST = 100  # objects and lists inside one another; what is written has some ten
_TICK = 0.012  # seconds, longer than the steps in which file systems of Linux count the time of a change
_MARGIN = 2**24  # bytes left free for what goes on beside

NO_ROOM = "there is not enough memory for it; end other programs, or raise the limit on memory"
"""What to say of a file where memory ends while it is used."""


class TensorFileError(ValueError):
    """A file is not whole, not of this format, changes while it is read, or does not fit into memory."""


class NotNowError(TensorFileError):
    """A file that may be whole changes while it is read, or does not fit into the memory that is free."""


class Tensor(NamedTuple):
    """What the header says of a tensor: its type by the container's name, its shape, and its bytes [begin, end)."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Tensors(Protocol):
    """Tensors by name with a text, from a file or from memory."""

    def text(self, key: str) -> str | None:
        """Return an entry of the metadata; None where there is none of this key."""
        ...

    def describe(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Return the type, by the container's name, and the shape of each tensor."""
        ...

    def take(self, name: str) -> NDArray[Any]:
        """Return a tensor; TensorFileError where it cannot be read."""
        ...


class TensorFile:
    """A tensor file that is open; its header has been read and checked against the size of the file.

    Args:
        path: of a regular file.

    Raises:
        TensorFileError: it is empty, truncated, damaged or of another kind.
        NotNowError: memory does not suffice.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        """Open it and read the header."""
        self._file = path.open("rb", buffering=0)
        try:
            self._status = self._resting()
            self._metadata, self._tensors, self._begin = self._header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it. What has gone wrong comes, where the file has changed meanwhile, from that.

        Raises:
            NotNowError: it has changed.
        """
        try:
            if error is None or isinstance(error, Exception):
                self._check_unchanged(error)
        finally:
            self._file.close()

    def text(self, key: str) -> str | None:
        """Return an entry of the metadata; None where there is none of this key."""
        return self._metadata.get(key)

    def describe(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the type, by the container's name, and the shape of each tensor."""
        return {name: (tensor.dtype, tensor.shape) for name, tensor in self._tensors.items()}

    def check_room(self, prefix: str = "") -> None:
        """Make sure that the tensors whose names begin with ``prefix`` can be held in memory.

        Raises:
            NotNowError: they cannot.
        """
        sizes = (
            tensor.end - tensor.begin for name, tensor in self._tensors.items() if name.startswith(prefix)
        )
        _check_room(sum(sizes))

    def take(self, name: str) -> NDArray[Any]:
        """Return a tensor, read into memory of its own.

        Raises:
            TensorFileError: there is none of this name, the file ends before it, or a truth value is neither 0 nor 1.
            NotNowError: memory does not suffice.
            OSError: it cannot be read.
        """
        if name not in self._tensors:
            raise TensorFileError(f"tensor {name!r:.80} is missing")
        tensor = self._tensors[name]
        if tensor.dtype not in DTYPES:
            raise TensorFileError(
                f"tensor {name!r:.80} is of the type {tensor.dtype!r:.20}, which is unknown"
            )
        kind = np.dtype(DTYPES[tensor.dtype])
        try:
            raw = np.empty(tensor.end - tensor.begin, np.uint8)
        except MemoryError as error:
            raise _no_room(tensor.end - tensor.begin) from error
        self._file.seek(self._begin + tensor.begin)
        if self._read_into(raw.data) != raw.size:
            raise TensorFileError(f"it ends before the end of tensor {name!r:.80}")
        if tensor.dtype == "BOOL" and raw.size and raw.max() > 1:
            raise TensorFileError(f"tensor {name!r:.80} holds truth values that are neither 0 nor 1")
        try:
            array = raw.view(kind.newbyteorder("<")).reshape(tensor.shape)
        except (ValueError, OverflowError) as error:  # an empty shape such as (0, 2^63)
            raise TensorFileError(f"tensor {name!r:.80} has an impossible shape ({error})") from error
        return array.astype(kind, copy=False)

    def _resting(self) -> os.stat_result:
        """Return the file's status, once a change from now on is bound to show in it."""
        status = os.fstat(self._file.fileno())
        if 0 <= time.time() - status.st_mtime < _TICK:
            time.sleep(_TICK)
            status = os.fstat(self._file.fileno())
        return status

    def _check_unchanged(self, error: Exception | None) -> None:
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise NotNowError("it has changed while it was read: wait until it is whole") from error

    def _header(self) -> tuple[dict[str, str], dict[str, Tensor], int]:
        size = self._status.st_size
        first = self._file.read(8) or b""
        length = int.from_bytes(first, "little")
        if len(first) < 8:
            raise TensorFileError(f"it has {size} bytes, and its header is missing")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise TensorFileError(f"its header should have {length:,} bytes, of {size:,} in all")
        _check_room(length * _OBJECTS)
        raw = bytearray(length)
        if self._read_into(memoryview(raw)) != length:
            raise TensorFileError("it ends within its header")
        header = parse_json(raw)
        if not isinstance(header, dict):
            raise TensorFileError("its header is not a JSON object")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise TensorFileError("the metadata of its header are not texts by name")
        tensors = {name: _tensor(name, entry) for name, entry in header.items()}
        end = 0
        for name, tensor in sorted(tensors.items(), key=lambda entry: entry[1][2:]):
            if tensor.begin != end:
                raise TensorFileError(
                    f"tensor {name!r:.80} begins at {tensor.begin}, not where the one before ends"
                )
            end = tensor.end
        if 8 + length + end != size:
            raise TensorFileError(f"its tensors end at byte {8 + length + end:,}, but it has {size:,}")
        return metadata, tensors, 8 + length

    def _read_into(self, view: memoryview) -> int:
        """Fill a view from where the file stands; returns how many bytes there were."""
        done = 0
        while done < len(view) and (count := self._file.readinto(view[done : done + 2**28])):
            done += count
        return done


class TensorsInMemory:
    """Tensors and a text as `write_tensors` takes them, to be looked at like those of a file.

    Args:
        tensors: arrays by name.
        key: of the only entry of the metadata.
        text: the entry.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], key: str, text: str) -> None:
        """Note them."""
        self._tensors, self._key, self._text = tensors, key, text

    def text(self, key: str) -> str | None:
        """Return an entry of the metadata; None where there is none of this key."""
        return self._text if key == self._key else None

    def describe(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the type, by the container's name, and the shape of each tensor."""
        return {name: (_CODES[array.dtype.name], array.shape) for name, array in self._tensors.items()}

    def take(self, name: str) -> NDArray[Any]:
        """Return a tensor, which is not to be changed."""
        return np.ascontiguousarray(self._tensors[name])


def parse_json(text: str | bytes | bytearray) -> Any:
    """Return the value of a JSON text from a file that is not trusted.

    Raises:
        TensorFileError: it is not JSON in UTF-8, has NaN or infinity, a key twice in an object, or is nested
            too deep to be written again.
    """
    try:
        if not isinstance(text, str):
            text = text.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"not valid JSON ({' '.join(str(error).split())[:200]})") from error
    if _too_deep(value):
        raise TensorFileError(f"not valid JSON (nested more than {_DEEPEST} deep)")
    return value


def write_tensors(file: BinaryIO, tensors: Mapping[str, NDArray[Any]], key: str, text: str) -> None:
    """Write arrays by name and ``text`` as the metadata's only entry ``key``; the same input gives the same bytes.

    The tensors lie by falling size of their elements and then by name, from a multiple of 8 bytes on.
    """
    # Not by safetensors' save_file, which makes a temporary file of its own, whose mode and removal are out
    # of our hands, nor by its save(), which holds every weight in memory a second and a third time.
    header: dict[str, Any] = {"__metadata__": {key: text}}
    ordered = sorted(tensors.items(), key=lambda entry: (-entry[1].dtype.itemsize, entry[0]))
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(len(raw).to_bytes(8, "little"))
    file.write(raw)
    for _, array in ordered:
        file.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)


def _check_room(need: int) -> None:
    free = free_memory()
    if free is not None and need > _MARGIN and need + _MARGIN > free:
        raise _no_room(need, free)


def _no_room(need: int, free: int | None = None) -> NotNowError:
    left = "" if free is None else f", and {human_bytes(free)} are free"
    return NotNowError(
        f"reading it needs {human_bytes(need)} of memory{left}: end other programs, or raise the limit"
    )


def _tensor(name: str, entry: object) -> Tensor:
    """Return what the header says of a tensor, once it agrees with itself."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise TensorFileError(f"the header does not give type, shape and place of tensor {name!r:.80}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise TensorFileError(f"the header gives no possible type, shape and place of tensor {name!r:.80}")
    if len(shape) > _AXES:
        raise TensorFileError(f"tensor {name!r:.80} has {len(shape)} axes, more than {_AXES}")
    begin, end = offsets
    if dtype in DTYPES and end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
        raise TensorFileError(f"tensor {name!r:.80} has another size than its shape and type")
    if end < begin:
        raise TensorFileError(f"tensor {name!r:.80} ends before it begins")
    return Tensor(dtype, tuple(shape), begin, end)


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 for value in values
    )


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _too_deep(value: object) -> bool:
    """Tell whether a value of JSON is nested deeper than is read, without recursion."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for item in level:
            inner.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
