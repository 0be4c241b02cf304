"""The registry: recae's own kinds, those of installed plugins, and those that are registered from Python."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from recae.errors import ConfigError
from recae.kinds.cost import Size
from recae.kinds.kind import Kind, one_line
from recae.kinds.rows import BUILT_IN, DEFAULT
from recae.messages import LOGGER

GROUP: Final = "recae.kinds"
"""Group of the entry points by which plugins register."""


class Registry:
    """The rows: those of recae, those of installed plugins, and those that were registered from Python."""

    def __init__(self) -> None:
        """Begin with recae's own rows; plugins are looked for when they are first asked for."""
        self._built_in = {row.name: row for row in BUILT_IN}
        self._registered: dict[str, Kind] = {}
        self._plugins: dict[str, Kind] | None = None  # None: not looked for yet
        self._broken: dict[str, str] = {}

    def rows(self) -> Mapping[str, Kind]:
        """Return all rows by name, in the order of the help."""
        return MappingProxyType(self._built_in | self._of_plugins() | self._registered)

    def get(self, name: str) -> Kind | None:
        """Return the row of that name; None where there is none. Plugins are looked for only where it is not ours."""
        return self._built_in.get(name) or self._registered.get(name) or self._of_plugins().get(name)

    def find(self, name: str) -> Kind:
        """Return the row of that name; ConfigError, with the nearest name, where there is none."""
        row = self.get(name)
        if row is not None:
            return row
        raise ConfigError(
            self._broken.get(name) or f"there is no model of kind '{name}'; {nearest(name, self.rows())}"
        )

    def register(self, kind: Kind) -> None:
        """Add a row; ConfigError where another kind has its name."""
        if self.rows().get(kind.name, kind) != kind:
            raise ConfigError(f"there is a kind '{kind.name}' already: give the new one another name")
        self._registered[kind.name] = kind

    def registered(self) -> tuple[Kind, ...]:
        """Return the rows that were registered from Python, in their order."""
        return tuple(self._registered.values())

    def _of_plugins(self) -> dict[str, Kind]:
        if self._plugins is None:
            from importlib.metadata import entry_points  # takes a moment

            self._plugins = {}
            for point in entry_points(group=GROUP):
                where = (
                    f"the distribution {point.dist.name} {point.dist.version}" if point.dist else point.value
                )
                try:
                    row = point.load()
                    self._check(point.name, row)
                except Exception as error:
                    self._broken[point.name] = (
                        f"the kind '{point.name}' of {where} cannot be used ({one_line(error)}): "
                        "mend or uninstall that distribution"
                    )
                    LOGGER.warning("%s", self._broken[point.name])
                else:
                    self._plugins[row.name] = row
        return self._plugins

    def _check(self, name: str, row: object) -> None:
        if not isinstance(row, Kind):
            raise TypeError(f"it should be a recae.kinds.Kind, and is a {type(row).__name__}")
        if row.name != name:
            raise ValueError(f"its entry point should be named '{row.name}', as the kind is")
        if name in self._built_in or name in (self._plugins or {}):
            raise ValueError("there is a kind of that name already")


_registry = Registry()


def known() -> Mapping[str, Kind]:
    """Return the rows of all kinds by name, in the order of the help; plugins are looked for when this is first asked.

    A plugin that cannot be loaded is left out, with a warning to the logger `recae` that names its distribution.
    """
    return _registry.rows()


def find(kind: str) -> Kind:
    """Return the row of a kind; ConfigError, with the nearest name, where there is none."""
    return _registry.find(kind)


def register(kind: Kind) -> None:
    """Add a kind, for this process and those that it starts; ConfigError where there is another of its name.

    Processes that fit models are handed the row, whose classes and functions they must be able to import. The workers
    of a Ray cluster know the kinds of installed plugins only.
    """
    _registry.register(kind)


def hand_over() -> bytes:
    """Return the kinds that `register` added, for `take_over` in a process that this one starts.

    Raises:
        ConfigError: One holds a class or function that another process cannot import.
    """
    found = []
    for kind in _registry.registered():
        try:
            found.append(pickle.dumps(kind))
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise ConfigError(
                f"the kind '{kind.name}' cannot be handed to the processes that fit models ({one_line(error)}): give "
                "its classes and functions as 'module:name', or define them in a module"
            ) from error
    return pickle.dumps(found)


def take_over(kinds: bytes) -> None:
    """Register what `hand_over` gave in the process that started this one; ConfigError where it cannot be imported."""
    for kind in pickle.loads(kinds):  # noqa: S301  from the process that started this one
        try:
            register(pickle.loads(kind))  # noqa: S301  likewise
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"a kind that was registered cannot be used in another process ({one_line(error)}): define it in a "
                "module that can be imported there"
            ) from error


def is_simple(kind: str) -> bool:
    """Return whether a kind is known and not put together from others."""
    row = _registry.get(kind)
    return row is not None and not row.parts


def has_models(kind: str) -> bool:
    """Return whether a kind is known and model files are of it."""
    row = _registry.get(kind)
    return row is not None and bool(row.model)


def simple_kinds() -> tuple[str, ...]:
    """Return the kinds that are not put together from others."""
    return tuple(row.name for row in known().values() if not row.parts)


def baselines() -> tuple[str, ...]:
    """Return the baselines in the order in which they are run, the simplest first."""
    return tuple(row.name for row in reversed(tuple(known().values())) if row.baseline)


def evaluated() -> tuple[str, ...]:
    """Return the kinds that `evaluate` compares where none are named, what `train` trains first."""
    named = [row.name for row in known().values() if row.evaluated]
    return tuple(sorted(named, key=lambda name: name != DEFAULT))


def title(kind: str) -> str:
    """Return what tables call a kind; the name itself of one that is not known."""
    row = _registry.get(kind)
    return kind if row is None else row.title


def parts_of(kind: str, named: str | None, repeats: bool, inputs: bool = False) -> tuple[str, ...]:
    """Return the kinds that a kind is put together from: those named, joined by commas, or else its default ones.

    Of the default ones those that need repeat purchases are left out without `repeats`, and those that need other
    events without `inputs`. Empty for a kind by itself.
    """
    row = find(kind)
    if not row.parts:
        return ()
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip())
    rows = map(find, row.default_parts)
    return tuple(
        part.name
        for part in rows
        if (repeats or not part.needs_repeats) and (inputs or not part.needs_inputs)
    )


def decay_setting(kind: str, named: str | None = None) -> str | None:
    """Return the setting by which histories decay, dotted where it is that of a part; None without one.

    Args:
        kind: Of model.
        named: The parts where some are named; see `parts_of`.
    """
    if own := find(kind).decay:
        return own
    rows = map(_registry.get, parts_of(kind, named, repeats=True))
    return next((f"{row.name}.{row.decay}" for row in rows if row is not None and row.decay), None)


def model_class(kind: str) -> type[Any]:
    """Return the class of a kind of model; ConfigError, with the nearest name, where no model is of that kind."""
    row = find(kind)
    if not row.model:
        raise ConfigError(f"there is no model of kind '{kind}'; {nearest(kind, model_kinds())}")
    return row.model_class()


def model_kinds() -> tuple[str, ...]:
    """Return the kinds that models, and so model files, are of."""
    return tuple(row.name for row in known().values() if row.model)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the nearest names, and all there are, as the end of an error message."""
    listed = list(names)
    near = difflib.get_close_matches(name, listed, n=1)
    return (f"did you mean '{near[0]}'? " if near else "") + f"choose one of {', '.join(listed)}"


class _Settings(Mapping[str, type[Any]]):
    """Kind → class of its settings, imported when it is asked for."""

    def __getitem__(self, kind: str) -> type[Any]:
        row = _registry.get(kind)
        if row is None:
            raise KeyError(kind)
        return row.settings_class()

    def __iter__(self) -> Iterator[str]:
        for row in known().values():
            if row not in BUILT_IN:
                try:
                    row.settings_class()
                except ConfigError:  # which is said where that kind is asked for
                    continue
            yield row.name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, kind: object) -> bool:
        return isinstance(kind, str) and _registry.get(kind) is not None


SETTINGS: Final[Mapping[str, type[Any]]] = _Settings()
"""Kind → class of its settings, imported when it is asked for."""


def seconds_for(kind: str, size: Size) -> float:
    """Return the seconds that fitting a kind at its defaults takes on two ordinary processors, within a small factor.

    A rule of thumb in the number of operations, the same for the same data, so that what is decided by it is decided
    alike again. Of a kind whose row states no cost it expects the worst.
    """
    row = _registry.get(kind)
    if row is not None and row.cost is not None:
        return row.cost(size)
    return max(each.cost(size) for each in BUILT_IN if each.cost is not None)
