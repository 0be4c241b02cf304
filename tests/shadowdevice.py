"""A CUDA device that is not there: tensors that say cuda:0 and compute on the CPU, and that refuse what a GPU refuses.

    with shadow_device() as shadow:
        model, epochs = fit_simple("deep", matrix, settings, Hooks(device="cuda"))
    shadow.launches, shadow.waits, shadow.float_atomics

Inside, `torch.cuda.is_available()` is true. A tensor that is put on "cuda" is wrapped; every operation on it is
computed by torch's own kernels for the CPU, once it is sure that a GPU would have done it: all tensors on the device
but numbers of no axis, generators of the device. Noted are operations, each a launch at least; waits of the host, such
as `.item()`, `.cpu()` and `nonzero`, and sums of floats at repeated places, whose order a GPU does not keep; all with
the line of recae that asked for them. It says nothing of speed, and a kernel's own faults it cannot see.

torch looks for a GPU once, when it is imported. So this module comes first, in a process of its own, and loads what
torch then finds in place of one: `built_guard`, which the machine's C++ compiler makes in some seconds, once for a
version of torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from shadowguard import built_guard, torch_folder


def _load() -> None:
    if "torch" in sys.modules:
        raise RuntimeError(
            "torch has looked for a GPU: import shadowdevice before it, in a process of its own"
        )
    libraries = torch_folder() / "lib"
    for library in (
        *sorted(libraries.glob("libgomp*")),
        libraries / "libc10.so",
        libraries / "libtorch_cpu.so",
    ):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(built_guard())).register_shadow_guard()


_load()

# torch asks for a GPU when it is loaded: not before the shadow is there
import torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_flatten, tree_map  # noqa: E402

DEVICE = torch.device("cuda:0")
GIGABYTES = 139


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VIEWS = _names(
    """view _unsafe_view reshape expand permute transpose t slice select unsqueeze squeeze split detach alias as_strided
    diagonal unbind narrow split_with_sizes chunk lift_fresh _reshape_alias unfold view_as expand_as"""
)
"""Operations that launch nothing."""

_WAITS = _names(
    """_local_scalar_dense nonzero masked_select unique_consecutive _unique2 unique_dim _unique is_nonzero equal
    bincount"""
)
"""Operations whose result, or its size, the host has to wait for."""

_ATOMICS = _names(
    """index_add_ index_add scatter_add_ scatter_add scatter_reduce put_ embedding_dense_backward bincount histc
    index_put_ _index_put_impl_ index_put cumsum"""
)
"""Operations that add up floats in any order on a GPU."""

_MAY_MIX = frozenset(["copy_", "_to_copy"])


@dataclass(frozen=True)
class Note:
    """An operation and where recae asked for it."""

    name: str
    line: str

    def __str__(self) -> str:
        return f"{self.name} at {self.line}"


@dataclass
class Shadow:
    """What was done on the device.

    Attributes:
        launches: operations, each of which launches a kernel at least.
        waits: of the host for the device.
        float_atomics: sums of floats at places that may repeat.
        copies: from the host to the device.
    """

    launches: list[Note] = field(default_factory=list)
    waits: list[Note] = field(default_factory=list)
    float_atomics: list[Note] = field(default_factory=list)
    copies: list[Note] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what was noted."""
        for notes in (self.launches, self.waits, self.float_atomics, self.copies):
            notes.clear()

    def most(self, notes: list[Note]) -> str:
        """Return what was noted most often, with lines, for a message."""
        return ", ".join(f"{count} × {note}" for note, count in Counter(notes).most_common(8))


class MixedError(RuntimeError):
    """What a GPU would have refused."""


class ShadowTensor(torch.Tensor):
    """A tensor that says that it is on the device; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> ShadowTensor:
        assert type(held) is torch.Tensor
        assert held.device.type == "cpu"
        made: ShadowTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise MixedError(f"{func} of a tensor on the shadow device, which is gone")

    def tolist(self) -> Any:
        """Wait for the device and return the numbers."""
        if _active:
            _active[-1].seen.waits.append(Note("tolist", _line()))
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        raise MixedError(f"a tensor on the device has no NumPy array, at {_line()}: .cpu() copies it")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"ShadowTensor({self.held})"


_active: list[_Mode] = []


def _line() -> str:
    """Return the innermost line of recae, such as training/exact/cuda.py:210."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if f"{os.sep}recae{os.sep}" in name and f"{os.sep}tests{os.sep}" not in name:
            return f"{name.rpartition(f'{os.sep}recae{os.sep}')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "a test"


class _Mode(TorchDispatchMode):
    def __init__(self, seen: Shadow) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.partition("::")[2]
        flat, _ = tree_flatten((args, kwargs))
        on_device = [one for one in flat if isinstance(one, ShadowTensor)]
        on_host = [one for one in flat if isinstance(one, torch.Tensor) and not isinstance(one, ShadowTensor)]
        asked = kwargs.get("device")
        target = None if asked is None else torch.device(asked)
        to_device = target is not None and target.type == "cuda"
        if not on_device and not to_device:
            return func(*args, **kwargs)
        if to_device and target is not None and target.index not in (None, 0):
            raise MixedError(f"there is one shadow device, cuda:0, and {name} at {_line()} asks for {target}")
        for generator in (one for one in flat if isinstance(one, _Generator)):
            if generator._cdata not in _of_device:
                raise MixedError(f"{name} at {_line()}: a generator of the CPU draws numbers on the device")
        held_args, held_kwargs = tree_map(_held, (args, kwargs))
        if "device" in held_kwargs:
            held_kwargs["device"] = torch.device("cpu")
        held_kwargs.pop("pin_memory", None)
        if not on_device:
            return self._arrived(func, name, held_args, held_kwargs, on_host)
        self._check(name, args, on_host)
        self._note(name, args, kwargs, on_device)
        if name == "copy_" and not isinstance(args[0], ShadowTensor):
            self.seen.waits.append(Note("copy_ to the CPU", _line()))
            func(*held_args, **held_kwargs)
            return args[0]
        if name == "_to_copy" and target is not None and target.type == "cpu":
            if not kwargs.get("non_blocking"):
                self.seen.waits.append(Note("to the CPU", _line()))
            return func(*held_args, **held_kwargs).clone()
        made = func(*held_args, **held_kwargs)
        return self._given_back(func, name, args, kwargs, made)

    def _arrived(self, func: Any, name: str, args: Any, kwargs: Any, on_host: list[torch.Tensor]) -> Any:
        """Make a tensor on the device, or copy one to it."""
        made = func(*args, **kwargs)
        (self.seen.copies if on_host else self.seen.launches).append(Note(name, _line()))
        if any(made is one for one in on_host):
            made = made.clone()
        return tree_map(_wrapped, made)

    def _check(self, name: str, args: Any, on_host: list[torch.Tensor]) -> None:
        """Refuse tensors of the host among those of the device, where a GPU would."""
        if name in _MAY_MIX:
            return
        for one in on_host:
            indexes = args[1] if name in ("index", "index_put_", "_index_put_impl_") else ()
            if any(one is index for index in indexes if index is not None):
                self.seen.waits.append(Note(f"{name} by an index of the CPU", _line()))
            elif one.dim():
                raise MixedError(
                    f"{name} at {_line()}: tensors of cuda:0 and of the CPU, of shape {tuple(one.shape)}"
                )

    def _note(self, name: str, args: Any, kwargs: Any, on_device: list[ShadowTensor]) -> None:
        if name in _WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            self.seen.waits.append(Note({"_local_scalar_dense": "item"}.get(name, name), _line()))
        if name in ("index", "index_put_", "_index_put_impl_"):
            marks = [one for one in args[1] if isinstance(one, torch.Tensor) and one.dtype == torch.bool]
            if marks:
                self.seen.waits.append(Note(f"{name} by marks", _line()))
        if name in _ATOMICS and any(one.is_floating_point() for one in on_device):
            puts = name.lstrip("_").startswith("index_put")
            if not puts or kwargs.get("accumulate", args[3] if len(args) > 3 else False):
                self.seen.float_atomics.append(Note(name, _line()))
        if name not in _VIEWS and name != "_local_scalar_dense":
            self.seen.launches.append(Note(name, _line()))

    def _given_back(self, func: Any, name: str, args: Any, kwargs: Any, made: Any) -> Any:
        """Wrap what was made; of an operation in place return the tensor that it changed."""
        schema = func._schema
        written = [
            n
            for n, one in enumerate(schema.arguments)
            if one.alias_info is not None and one.alias_info.is_write
        ]
        if written and name not in _VIEWS:
            if not schema.returns:
                return made
            place = written[0]
            changed = args[place] if place < len(args) else kwargs[schema.arguments[place].name]
            if (
                len(schema.returns) == 1
                and isinstance(changed, torch.Tensor)
                and isinstance(made, torch.Tensor)
            ):
                return changed
        return tree_map(_wrapped, made)


def _held(one: Any) -> Any:
    return one.held if isinstance(one, ShadowTensor) else one


def _wrapped(one: Any) -> Any:
    return ShadowTensor(one) if type(one) is torch.Tensor else one


class _Event:
    """An event of the device; waiting for it is a wait of the host."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.done = False

    def record(self, *_: Any) -> None:
        self.done = True

    def synchronize(self) -> None:
        if _active:
            _active[-1].seen.waits.append(Note("event.synchronize", _line()))


_Generator = torch.Generator


_of_device: dict[int, torch.Generator] = {}
"""Generators of the device by the address of their state, which torch hands an operation in another object. They are
held, so that no address comes to another one."""


class _ShadowGenerator(_Generator):
    """A generator that says which device it is of; its numbers are those of the CPU's."""

    on_device: bool

    def __new__(cls, device: Any = "cpu") -> _ShadowGenerator:
        made = _Generator.__new__(cls, "cpu")
        made.on_device = torch.device(device).type == "cuda"
        if made.on_device:
            _of_device[made._cdata] = made
        return made

    @property
    def device(self) -> torch.device:
        return DEVICE if self.on_device else torch.device("cpu")


@contextlib.contextmanager
def shadow_device(free: int = GIGABYTES * 2**30) -> Iterator[Shadow]:
    """Let torch have one CUDA device that is not there, with so many bytes free."""
    mode = _Mode(Shadow())
    plain = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        made = plain(data, **options)
        return made if device is None else made.to(device)

    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    patches = {
        "cuda._lazy_init": lambda: None,
        "cuda.is_available": lambda: True,
        "cuda.device_count": lambda: 1,
        "cuda.mem_get_info": lambda *_: (free, GIGABYTES * 2**30),
        "cuda.get_device_name": lambda *_: "a shadow",
        "cuda.Event": _Event,
        "Generator": _ShadowGenerator,
        "tensor": tensor,
    }
    with contextlib.ExitStack() as stack:
        for name, value in patches.items():
            stack.enter_context(mock.patch(f"torch.{name}", value))
        _active.append(mode)
        stack.callback(_active.pop)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        stack.enter_context(mode)
        yield mode.seen
