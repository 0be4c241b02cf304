"""Rows of the registry: one a kind of model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

from recae.errors import ConfigError
from recae.kinds.cost import Size
from recae.kinds.space import Dimension

Reference = str | Callable[..., Any]
"""A class or function, or "module:name", by which it is imported when it is first used."""

RESERVED: Final = ("filters", "kind", "none", "weights")
"""Names that no kind may have, since they mean something else in a settings file or among the baselines."""


@dataclass(frozen=True)
class Candidate:
    """Settings of the kind `auto` for a candidate.

    Attributes:
        always: Tried however short the budget.
        promise: What may be hoped for, relative to 1: the candidates are tried in the order of it per second.
        turn: Those of a lower turn come first, whatever their promise.
        instead_of: Kind that this one approximates; left out where that one could be fitted, unless it is asked for.
    """

    always: bool = False
    promise: float = 1.0
    turn: int = 0
    instead_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of model: its row in the registry.

    Attributes:
        name: As `--kind` takes it and the model file has it: lower-case letters, digits and hyphens.
        title: What tables and the report call it.
        about: What it is, in a line.
        settings: Class of its settings.
        fit: Function (matrix (U, I), settings, hooks) → (model, epochs). With `parts`: (matrix, settings, validation,
            hooks, exclude_owned=…, fit=…) → (model, epochs, report), where `fit` fits another kind (see
            `recae.selection.fit.fit_kind`).
        model: Class of its models; empty where each is of another kind, as those of `auto`.
        update: Function (model, matrix (U, I), growth, hooks) → model, which goes on from a fitted model where
            purchases have changed, see `recae.training.growth`, or None where it cannot; empty: the kind is fitted
            again.
        of_items: Names of its models' arrays with a row for each item; None: not known, so that no item can leave them.
        between_items: "dense" for an array `weights` with a column for each item, and a row or, for each event, a block
            of rows; "sparse" for a sparse matrix of items by items; empty for neither.
        no_confidence: Why it cannot take confidence, how much a purchase counts; empty: it can.
        baseline: Whether other models are compared with it unless other baselines are named.
        evaluated: Whether `evaluate` compares it where no kind is named.
        parts: The setting that names the kinds that it is put together from; empty for a kind by itself.
        default_parts: These kinds where none are named; those that need repeat purchases or other events only with
            these.
        needs_repeats: Whether it ranks what a user owns, and is of use only where that may be recommended.
        needs_inputs: Whether it reads other events than purchases, and is of use only where they are given.
        decay: The setting by which the values of histories decay basket by basket; empty: it reads no values.
        personal: Whether its lists depend on the history; False: all users get the same.
        resumable: Whether its training can write checkpoints and go on from them.
        one_processor: Whether it takes most of its time for steps after single users, which one thread does.
        memory: Function (users, items, interactions, bytes left) that raises TrainingError where memory is short, of
            a kind whose cost grows with the cube of the items; empty: it fits wherever the purchases do.
        cost: Seconds that a fit at the defaults takes, by the `Size`; None: unknown, so the worst is expected.
        space: Settings worth searching, the ones that matter most first.
        presets: Settings known to do well, tried before any others, in the order of promise.
        only_presets: Whether a comparison tries nothing beyond these.
        auto: How `auto` treats it.
        warmed: Options of trainings that use all of its loops, for `recae warmup`; empty: it has none of its own.
        warmed_by_torch: Those that need torch.
    """

    name: str
    title: str
    about: str
    settings: Reference
    fit: Reference
    model: Reference = ""
    update: Reference = ""
    of_items: tuple[str, ...] | None = None
    between_items: Literal["", "dense", "sparse"] = ""
    no_confidence: str = ""
    baseline: bool = False
    evaluated: bool = False
    parts: str = ""
    default_parts: tuple[str, ...] = ()
    needs_repeats: bool = False
    needs_inputs: bool = False
    decay: str = ""
    personal: bool = True
    resumable: bool = True
    one_processor: bool = False
    memory: Reference = ""
    cost: Callable[[Size], float] | None = None
    space: tuple[Dimension, ...] = ()
    presets: tuple[Mapping[str, Any], ...] = ()
    only_presets: bool = False
    auto: Candidate = Candidate()
    warmed: tuple[Mapping[str, Any], ...] = ()
    warmed_by_torch: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Check the name, and that there is a class of models."""
        if not re.fullmatch("[a-z][a-z0-9-]*", self.name) or self.name in RESERVED:
            raise ConfigError(
                "the name of a kind is lower-case letters, digits and hyphens, such as 'my-kind', and none of "
                f"{', '.join(RESERVED)}, found {self.name!r}: give it another"
            )
        if not self.model and not self.parts:
            raise ConfigError(
                f"the kind '{self.name}' names no class of models: give model, as in 'module:Class'"
            )

    def settings_class(self) -> type[Any]:
        """Return the class of its settings, imported now."""
        found: type[Any] = self._resolve(self.settings)
        return found

    def model_class(self) -> type[Any]:
        """Return the class of its models, imported now."""
        found: type[Any] = self._resolve(self.model)
        return found

    def fit_function(self) -> Callable[..., Any]:
        """Return the function that fits it, imported now."""
        found: Callable[..., Any] = self._resolve(self.fit)
        return found

    def update_function(self) -> Callable[..., Any] | None:
        """Return the function that goes on from a fitted model, imported now; None where there is none."""
        if not self.update:
            return None
        found: Callable[..., Any] = self._resolve(self.update)
        return found

    def check_memory(self, users: int, items: int, interactions: int, left: int | None) -> None:
        """Raise TrainingError where the kind needs more than the bytes left, as far as known; None: not known."""
        if self.memory:
            self._resolve(self.memory)(users, items, interactions, left)

    def _resolve(self, reference: Reference) -> Any:
        try:
            return _imported(reference)
        except (ImportError, AttributeError) as error:
            if isinstance(reference, str) and reference.startswith(
                "recae."
            ):  # our own fault: a traceback, please
                raise
            raise ConfigError(
                f"the kind '{self.name}' cannot be used, since {reference!r} cannot be imported "
                f"({one_line(error)}): install what it needs"
            ) from error


def _imported(reference: Reference) -> Any:
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def one_line(error: BaseException) -> str:
    """Return type and message of an exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
