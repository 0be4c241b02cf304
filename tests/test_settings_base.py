"""The base class of settings: what a line of a class means, what is refused, and that nothing hangs on docstrings."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pytest
import scipy.sparse as sp
from commands import recae
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator
from safetensors import safe_open
from safetensors.numpy import save_file

from recae.errors import ConfigError
from recae.ids import IdMap
from recae.modelfile import describe, load, save
from recae.models import SigmoidAutoencoder
from recae.recommender import Recommender
from recae.renamed import current_names
from recae.selection.space import Dimension, TunedTrial
from recae.selection.study import open_study
from recae.settings import PARTS, Settings, in_words, redefined, setting, settings_of
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import train_sigmoid

ROOT = Path(__file__).resolve().parent.parent


class Base(Settings):
    """A setting of every form."""

    size: int | None = setting(None, "of the code", ge=1, le=100)
    rate: float = setting(0.5, "of a step", gt=0, lt=1)
    tied: bool = setting(False, "whether it is")
    norm: Literal["l1", "l2"] = setting("l2", "of the code")
    start: Literal["svd", "random"] | None = setting(None, "how it begins")
    layers: str = setting("8", "of it", wanted="a list such as '8,4'")
    parts: Mapping[str, Any] = setting({}, "of others", wanted=PARTS)

    @model_validator(mode="after")
    def _suits(self) -> Self:
        if self.tied and self.norm == "l1":
            raise ConfigError("tied goes with l2, found l1: leave one out")
        return self


class Derived(Base):
    """The same with another default, and one more."""

    rate: float = redefined(Base, "rate", 0.25)
    more: int = setting(3, "of it", ge=0)


def refusal(values: Mapping[str, Any], settings_class: type[Settings] = Base) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_class(**values)
    return str(caught.value)


# what is taken


def test_what_is_not_given_has_its_default() -> None:
    assert Base().as_dict() == {
        "size": None, "rate": 0.5, "tied": False, "norm": "l2", "start": None, "layers": "8", "parts": {},
    }  # fmt: skip


def test_a_whole_number_is_taken_for_a_number() -> None:
    found = Derived(rate=0.5, more=2).updated(rate=0.125)
    assert (found.rate, found.more) == (0.125, 2)

    class Wide(Settings):
        rate: float = setting(0.5, "", ge=0, le=9)

    assert (Wide(rate=3).rate, type(Wide(rate=3).rate)) == (3.0, float)


def test_settings_are_frozen_alike_when_equal_and_travel_to_other_processes() -> None:
    found = Derived(size=3)
    with pytest.raises(Exception, match="frozen"):
        found.size = 4  # type: ignore[misc]
    assert found == Derived(size=3) != Derived(size=4)
    assert pickle.loads(pickle.dumps(found)) == found

    class Plain(Settings):
        size: int = setting(1, "")

    assert hash(Plain(size=3)) == hash(Plain(size=3))  # as the key of what was fitted already


def test_defaults_are_not_shared() -> None:
    one: Any = Base().parts
    one["sigmoid.factors"] = 3
    assert Base().parts == {}


def test_updated_is_checked_like_new_ones() -> None:
    assert Base(size=3).updated(size=4) == Base(size=4)
    with pytest.raises(ConfigError, match="size is a whole number from 1 to 100, found 0"):
        Base(size=3).updated(size=0)
    with pytest.raises(ConfigError, match="tied goes with l2"):
        Base(norm="l1").updated(tied=True)
    with pytest.raises(ConfigError, match="Base has no setting 'sise'"):
        Base().updated(sise=3)


def test_filled_leaves_what_is_given() -> None:
    assert Base(size=3).filled(size=4, start="svd") == Base(size=3, start="svd")


# what is refused


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": 0}, "size is a whole number from 1 to 100, found 0: give one in that range"),
        ({"size": 101}, "size is a whole number from 1 to 100, found 101: give one in that range"),
        ({"size": 2.0}, "size is a whole number from 1 to 100 or 'none', found 2.0: give one"),
        ({"size": "2"}, "size is a whole number from 1 to 100 or 'none', found '2': give one"),
        ({"size": True}, "size is a whole number from 1 to 100 or 'none', found True: give one"),
        ({"rate": 0}, "rate is a number above 0 and below 1, found 0: give one in that range"),
        ({"rate": 1.0}, "rate is a number above 0 and below 1, found 1.0: give one in that range"),
        ({"rate": float("nan")}, "rate is a number above 0 and below 1, found nan: give one in that range"),
        ({"rate": float("inf")}, "rate is a number above 0 and below 1, found inf: give one in that range"),
        ({"rate": None}, "rate is a number above 0 and below 1, found None: give one"),
        ({"rate": True}, "rate is a number above 0 and below 1, found True: give one"),
        ({"tied": 1}, "tied is true or false, found 1: give one"),
        ({"norm": "l3"}, "norm is one of l1, l2, found 'l3': choose one of these"),
        ({"norm": 1}, "norm is one of l1, l2, found 1: choose one of these"),
        ({"start": "pca"}, "start is one of svd, random, found 'pca': choose one of these"),
        ({"layers": 8}, "layers is a list such as '8,4', found 8: give one"),
        ({"parts": 3}, f"parts is {PARTS}, found 3: give one"),
        ({"siez": 3}, "Base has no setting 'siez'; did you mean 'size' (a whole number from 1 to 100 or 'none')?"),
        ({"zzz": 3}, "Base has no setting 'zzz'; choose one of size, rate, tied, norm, start, layers"),
        ({"tied": True, "norm": "l1"}, "tied goes with l2, found l1: leave one out"),
    ],
)  # fmt: skip
def test_the_sentence_says_what_was_wanted_and_found(values: dict[str, Any], sentence: str) -> None:
    assert refusal(values) == sentence


def test_a_name_of_earlier_versions_leads_to_the_name_of_today() -> None:
    class Hiding(Settings):
        dropout: float = setting(0.5, "", ge=0, lt=1)

    expected = "Hiding has no setting 'noise'; did you mean 'dropout' (a number from 0 and below 1)?"
    assert refusal({"noise": 0.3}, Hiding) == expected


@given(
    st.integers(-5, 105) | st.floats(-1, 2, allow_nan=False) | st.none() | st.booleans() | st.text(max_size=3)
)
def test_a_range_holds_for_whatever_is_given(value: Any) -> None:
    whole = type(value) is int and 1 <= value <= 100
    if whole or value is None:
        assert Base(size=value).size == value
    else:
        assert refusal({"size": value}).startswith("size is a whole number from 1 to 100")


# what is known of a setting


def test_what_people_are_told_comes_from_the_line() -> None:
    found = settings_of(Derived)
    assert list(found) == ["size", "rate", "tied", "norm", "start", "layers", "more"]
    assert (found["size"].wanted, found["size"].limits) == (
        "a whole number from 1 to 100 or 'none'",
        "a whole number from 1 to 100",
    )
    assert (found["rate"].wanted, found["rate"].meaning) == ("a number above 0 and below 1", "of a step")
    assert (found["rate"].default, settings_of(Base)["rate"].default) == (0.25, 0.5)
    assert found["start"].wanted == "one of svd, random or 'none'"
    assert found["layers"].wanted == "a list such as '8,4'"
    assert found["more"].wanted == "a whole number from 0"


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({}, "a number"),
        ({"ge": 0}, "a number from 0"),
        ({"gt": 0}, "a number above 0"),
        ({"le": 2}, "a number up to 2"),
        ({"lt": 2}, "a number below 2"),
        ({"gt": 0, "le": 0.5}, "a number above 0 to 0.5"),
        ({"ge": 0, "lt": 1e6}, "a number from 0 and below 1000000"),
    ],
)
def test_ranges_in_words(bounds: dict[str, float], words: str) -> None:
    assert in_words(whole=False, **bounds) == words


def test_python_without_docstrings_knows_as_much() -> None:
    command = [sys.executable, "-OO", "-m", "recae", "settings", "deep", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout)
    assert found == json.loads(recae("settings", "deep", "--json").stdout)
    assert {row["name"]: row["meaning"] for row in found}["batch_size"] == "users of one step"


def test_what_people_type_first_waits_neither_for_pydantic_nor_for_torch() -> None:
    def loaded(code: str) -> str:
        names = "import sys; print(*(name for name in ('pydantic', 'torch') if name in sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; {names}"], capture_output=True, text=True, check=True, cwd=ROOT
        )
        return done.stdout.strip()

    kinds = (ROOT / "recae" / "training" / "kinds").glob("*.py")
    every = "; ".join(f"import recae.training.kinds.{path.stem}" for path in kinds if path.stem != "__init__")
    assert loaded("import recae, recae.cli") == ""
    assert loaded(f"import recae.kinds, recae.settings; {every}") == "pydantic"


# files of earlier versions


def test_settings_of_earlier_versions_have_their_names_of_today() -> None:
    assert current_names({"noise": 0.3, "seed": 1}) == {"dropout": 0.3, "seed": 1}
    assert current_names({"dropout": 0.5, "noise": None}) == {"dropout": 0.5}
    assert current_names({"dropout": 0.5, "noise": 0.3}) == {"dropout": 0.3}  # which replaced it
    assert current_names({"sigmoid.noise": 0.3}) == {"sigmoid.dropout": 0.3}
    blend = {"components": "deep,ease", "parts": [{"kind": "deep", "config": {"noise": 0.1}}, "damaged"]}
    assert current_names(blend) == {
        "components": "deep,ease",
        "parts": [{"kind": "deep", "config": {"dropout": 0.1}}, "damaged"],
    }
    today = {"dropout": 0.3, "parts": None, "noisy": 1}
    assert current_names(today) == today


def test_a_model_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.recae"
    matrix = sp.csr_matrix(np.eye(4, 3, dtype=np.float32))
    arrays = {
        "encoder": np.ones((3, 2), np.float32), "encoder_bias": np.zeros(2, np.float32),
        "decoder": np.ones((3, 2), np.float32), "decoder_bias": np.zeros(3, np.float32),
    }  # fmt: skip
    settings = {"input_power": 0.5, "noise": 0.3, "dropout": 0.3}
    model = SigmoidAutoencoder.from_arrays(settings, arrays, 3)
    users, items = IdMap(["a", "b", "c", "d"]), IdMap(["x", "y", "z"])
    save(Recommender(model, users, items, None, matrix, {}), path)
    assert b"noise" in path.read_bytes()
    found = load(path)
    assert (
        found.model.config() == describe(path)["metadata"]["config"] == {"input_power": 0.5, "dropout": 0.3}
    )
    assert found.model.score(matrix).tobytes() == model.score(matrix).tobytes()


def test_a_checkpoint_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "old.checkpoint"
    matrix = sp.csr_matrix(
        np.eye(12, 6, dtype=np.float32)[np.arange(12) % 6] + np.eye(12, 6, 1, dtype=np.float32)
    )
    config = SigmoidSettings(factors=2, epochs=2, dropout=0.3)

    class StoppedError(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise StoppedError

    expected, _ = train_sigmoid(matrix, config)
    with pytest.raises(StoppedError):
        train_sigmoid(matrix, config, checkpoints=Checkpoints(path, every=6), on_epoch=stop)
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
        content = json.loads(file.metadata()["recae_checkpoint"])
    content["identity"]["noise"] = content["identity"]["dropout"]  # as sigmoid had it under both names
    save_file(tensors, path, {"recae_checkpoint": json.dumps(content)})
    found, _ = train_sigmoid(matrix, config, checkpoints=Checkpoints(path, resume=True))
    assert found.decoder.tobytes() == expected.decoder.tobytes()


def test_a_study_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "old.study"
    identity = {"kind": "deep", "emphasis": 2.0, "searched": "dropout 0.2 to 0.8"}
    dimension = Dimension("dropout", "float", 0.2, 0.8)
    trial = TunedTrial(1, "complete", 0.5, {"dropout": 0.3}, 4, 1.5)
    with open_study(path, False, identity) as study:
        study.add(trial, (dimension,), {"dropout": 0.3}, {})
        asked = study.ask((dimension,), 2, 0)
        study.finish(asked, TunedTrial(2, "complete", 0.4, {"dropout": 0.6}, 4, 1.5))
        expected = study.trials
    path.write_text(path.read_text().replace("dropout", "noise"))
    with open_study(path, True, identity) as study:
        assert study.trials == expected
        assert [set(found.params) for found in study._study.trials] == [{"dropout"}, {"dropout"}]
    assert "noise" not in path.read_text()
    whole = path.read_bytes()
    with open_study(path, True, identity):
        pass
    assert path.read_bytes() == whole  # a study of today is left as it is
