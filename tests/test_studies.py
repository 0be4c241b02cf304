"""The file of a study: kept whole whatever happens, refused for anything else, and never used by two."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path
from typing import Any

import pytest
from jobs import interactions

from recae.errors import CheckpointError, ConfigError, OutputError
from recae.selection.space import TunedTrial
from recae.selection.study import RANDOM_TRIALS, UNPRUNED_TRIALS, check_optuna, check_study, open_study
from recae.selection.tune import tune

IDENTITY = {"kind": "edlae", "seed": 0, "searched": "l2 2 to 5"}


def tuned(study: Path, **options: Any) -> Any:
    return tune(interactions(), **{"kind": "edlae", "trials": 3, "study": study, **options})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The file of a study of three trials."""
    path = tmp_path / "a.study"
    tuned(path)
    return path


def test_it_is_one_json_object_a_line(study: Path) -> None:
    lines = study.read_text().splitlines()
    assert all("op_code" in json.loads(line) for line in lines)
    text = study.read_text()
    assert "u01" not in text  # no ids
    assert [path.name for path in study.parent.iterdir()] == ["a.study"]  # no lock file stays


def test_trials_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    one = TunedTrial(1, "complete", 0.5, {"l2": 3.0}, 4, 1.5)
    two = TunedTrial(2, "failed", None, {}, 0, 0.5, "why")
    with open_study(path, False, IDENTITY) as kept:
        kept.add(one, (), {}, {1: 0.3, 2: 0.5})
        kept.add(two, (), {}, {})
        assert kept.trials == [one, two]
    with open_study(path, True, IDENTITY) as again:
        assert again.trials == [one, two]
        assert again.importance() == {}
    assert RANDOM_TRIALS > UNPRUNED_TRIALS > 1


def test_a_study_without_a_complete_trial_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    with open_study(path, False, IDENTITY) as kept:
        kept.add(TunedTrial(1, "failed", None, {}, 0, 0.5, "why"), (), {}, {})
    assert not path.exists()


def test_what_differs_is_listed(study: Path) -> None:
    before = study.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        tuned(study, resume=True, seed=1, metric="recall@20")
    text = str(caught.value)
    assert "belongs to other data or other settings" in text
    assert "metric: was ndcg@20, is recall@20" in text
    assert "seed: was 0, is 1" in text
    assert "searched" not in text
    with pytest.raises(CheckpointError, match="kind: was edlae, is ease"):
        tuned(study, resume=True, kind="ease")
    with pytest.raises(CheckpointError, match="l2: was not there, is 3"):
        tuned(study, resume=True, l2=3.0)
    with pytest.raises(CheckpointError, match=r"data\.fingerprint: was "):
        tune(interactions(seed=1), kind="edlae", trials=3, study=study, resume=True)
    assert study.read_bytes() == before


def test_other_bounds_than_those_of_this_version_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    with open_study(path, False, IDENTITY) as kept:
        kept.add(TunedTrial(1, "complete", 0.5, {}, 0, 0.5), (), {}, {})
    with (
        pytest.raises(CheckpointError, match="searched: was l2 2 to 5, is l2 2 to 6"),
        open_study(path, True, {**IDENTITY, "searched": "l2 2 to 6"}),
    ):
        pass


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_was_being_written_is_taken_off(study: Path, cut: int) -> None:
    whole = tuned(study, resume=True, trials=4)
    content = study.read_bytes()
    study.write_bytes(content[:-cut])
    again = tuned(study, resume=True, trials=4)
    assert [t.value for t in again.trials] == [t.value for t in whole.trials]


@pytest.mark.parametrize(
    "content", [b"", b"no study\n", b'{"op_code": 99}\n', b"\xff\xfe\n", b"[1]\n", b'{"op_code": 0}\n{"x"']
)
def test_no_study(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="it is empty, damaged or no study of recae tune"):
        tuned(path, resume=True)
    assert path.read_bytes() == content or content.startswith(path.read_bytes())


def test_a_study_that_is_there_is_not_begun_anew(study: Path) -> None:
    before = study.read_bytes()
    with pytest.raises(OutputError, match="go on from it with --resume, remove it"):
        tuned(study)
    assert study.read_bytes() == before
    with pytest.raises(CheckpointError, match="there is no study"):
        check_study(study.with_name("b.study"), True)


def test_two_cannot_go_on_with_it_at_once(study: Path) -> None:
    identity = json.loads(next(line for line in study.read_text().splitlines() if '"identity"' in line))[
        "user_attr"
    ]["identity"]
    with open_study(study, True, identity), pytest.raises(CheckpointError, match="in use by another tuning"):
        tuned(study, resume=True)
    tuned(study, resume=True)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        check_study(tmp_path / "nowhere" / "a.study", False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.study"
    with open_study(path, False, IDENTITY) as kept:
        real = os.write, builtins.open

        def full(file: Any, *arguments: Any, **options: Any) -> Any:
            return real[1]("/dev/full" if str(file) == str(path) else file, *arguments, **options)

        monkeypatch.setattr(builtins, "open", full)
        with pytest.raises(OutputError, match=r"cannot write to the study .*free some space"):
            kept.add(TunedTrial(1, "complete", 0.5, {}, 0, 0.5), (), {}, {})
        monkeypatch.undo()


def test_without_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'recae\[tune\]'"):
        check_optuna()
