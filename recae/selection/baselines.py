"""Models of a comparison: the kinds, the baselines that suit, and the settings that each tries."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from recae.errors import ConfigError, TrainingError
from recae.kinds import SETTINGS, Size, baselines, decay_setting, find, seconds_for, title
from recae.selection.fit import make_settings
from recae.selection.space import trials as spread_trials
from recae.selection.space import tunable
from recae.settings import parse_settings
from recae.splits.rows import taking
from recae.splits.tasks import Task

SECONDS: Final = 300.0
"""Longest time, in seconds, that all trials of a default baseline of items × items may be expected to take."""

Given = Mapping[str, Mapping[str, Any]]
"""Kind → its settings that are given."""


def choose_kinds(kinds: Sequence[str], repeats: bool) -> list[str]:
    """Return the kinds named, each once.

    Raises:
        ConfigError: a kind is unknown (the message names the nearest), or does not suit.
    """
    found = list(dict.fromkeys(find(kind).name for kind in kinds))
    _check_repeats(found, repeats)
    return found


def choose_baselines(
    asked: str | Sequence[str] | None, kinds: Sequence[str], tasks: Sequence[Task], trials: int
) -> tuple[list[str], list[str]]:
    """Return the baselines to run beside the kinds, and a sentence on each that is left out although it would suit.

    Args:
        asked: names of `recae.kinds.baselines`, or these joined by commas; "none": none; None: all that suit and fit.
        kinds: what is compared with them; a kind is no baseline of itself.
        tasks: of the comparison.
        trials: of each.

    Raises:
        ConfigError: a name is unknown (the message names the nearest), or does not suit.
    """
    repeats = not tasks[0].exclude_owned
    if asked is not None:
        named = check_baselines(asked, repeats)
        return [kind for kind in baselines() if kind in named and kind not in kinds], []
    suiting, left_out = [], []
    for kind in baselines():
        if kind in kinds or (find(kind).needs_repeats and not repeats):
            continue
        if reason := _why_not(kind, tasks, trials):
            left_out.append(
                f"{title(kind)} is left out: {reason}; --baselines …,{kind} asks for it all the same"
            )
        else:
            suiting.append(kind)
    return suiting, left_out


def check_baselines(asked: str | Sequence[str], repeats: bool) -> list[str]:
    """Return the names in `asked`; ConfigError as `choose_baselines`."""
    named = asked.split(",") if isinstance(asked, str) else asked
    found = [name.strip() for name in named if name.strip()]
    if found == ["none"]:
        return []
    known = baselines()
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "none"], n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ConfigError(
                f"there is no baseline '{name}'; {hint}choose some of {', '.join(known)} joined by commas, or none"
            )
    if not found:
        raise ConfigError(
            f"no baseline is named; choose some of {', '.join(known)} joined by commas, or none"
        )
    _check_repeats(found, repeats)
    return list(dict.fromkeys(found))


def _check_repeats(kinds: Iterable[str], repeats: bool) -> None:
    """Raise ConfigError for a kind that ranks what a user owns, where that is left out."""
    for kind in kinds:
        if find(kind).needs_repeats and not repeats:
            raise ConfigError(
                f"{title(kind)} ranks what a user owns, which is left out without repeat purchases: add --repeats "
                f"(repeats=True) with the protocol {' or '.join(taking('repeats'))}, or leave {kind} out"
            )


def _why_not(kind: str, tasks: Sequence[Task], trials: int) -> str | None:
    """Return why the solve of items × items, or users × users, is too much; None where it is not."""
    if not find(kind).memory:
        return None
    fit = max((task.fit for task in tasks), key=lambda matrix: matrix.shape[1])
    expected = len(tasks) * trials * seconds_for(kind, Size.of(fit, 0))
    if expected > SECONDS:
        return f"its {len(tasks) * trials} fits to {fit.shape[1]:,} items would take about {expected / 60:,.0f} minutes"
    if fit.shape[1] < 4096:  # the weights of 64 MiB fit anywhere
        return None
    from recae.training.device import memory_left  # which brings torch

    try:
        find(kind).check_memory(*fit.shape, fit.nnz, memory_left("cpu"))
    except TrainingError as error:
        return str(error)
    return None


def parse_assignments(assignments: Iterable[str], kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return {kind: {key: value}} of texts "kind.key=value".

    Raises:
        ConfigError: a text is none, or its kind is not among `kinds`.
    """
    texts: dict[str, list[str]] = {}
    for assignment in assignments:
        kind, dot, rest = assignment.partition(".")
        if not dot or "=" in kind:
            raise ConfigError(
                f"a setting is given as kind.key=value, as in sigmoid.factors=256, found '{assignment}'"
            )
        kind = find(kind.strip()).name
        if kind not in kinds:
            raise ConfigError(
                f"'{assignment}' sets nothing, since {kind} is not among what is evaluated ({', '.join(kinds)}): "
                f"add --kind {kind}, or leave it out"
            )
        texts.setdefault(kind, []).append(rest)
    return {
        kind: parse_settings(SETTINGS[kind], kind, found, kinds=SETTINGS) for kind, found in texts.items()
    }


def make_trials(
    kind: str,
    n: int,
    given: Mapping[str, Any],
    *,
    seed: int = 0,
    decay: float | None = None,
    choose: bool = True,
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return up to `n` settings that a kind tries: what is varied, and all of them as `make_settings` takes them.

    Args:
        kind: of model.
        n: number of trials.
        seed: of the settings tried, and of the models.
        given: settings that are not varied; the first trial is otherwise the defaults.
        decay: of the task's histories; None where they have none.
        choose: whether there are validation users; without them only the first trial makes sense.

    Raises:
        ConfigError: for a setting or value that the kind does not have, before anything is fitted.
    """
    fixed: dict[str, Any] = {"seed": seed}
    row = find(kind)
    if (decayed := decay_setting(kind)) in given:
        raise ConfigError(
            f"the histories are weighted by the protocol's decay, so that {kind}.{decayed} cannot be set apart: "
            "give --decay instead"
        )
    decayed = decay_setting(kind, given.get(row.parts))
    if decay is not None and decayed is not None:
        fixed[decayed] = decay
    fixed |= given
    make_settings(kind, fixed)
    varied: list[dict[str, Any]] = []
    # more are drawn than needed, since some differ in nothing but what is given
    drawn = spread_trials(kind, 8 * n, seed) if choose and n > 1 and tunable(kind) else [{}]
    for settings in drawn:
        left = {key: value for key, value in settings.items() if key not in fixed}
        if left not in varied and len(varied) < n:
            varied.append(left)
    found = [(left, {**left, **fixed}) for left in varied]
    for _, settings in found:
        make_settings(kind, settings)
    return found
