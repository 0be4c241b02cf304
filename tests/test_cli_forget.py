"""Tests of `recae forget`: what is gone from file, earlier versions and journal, and what an interruption leaves."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import names, recae, refused
from test_forget import ALONE, ITEMS, USERS, WHO, blended, fitted, shop

from recae import modelfile
from recae.errors import OutputError
from recae.ids import IdMap
from recae.journal import Journal, Purchase
from recae.modelfile import load, save
from recae.updating import removal
from recae.updating.exclusive import changing
from recae.updating.removal import remove

NAME, OWN = "Customer-Zoë-839114", "only-theirs-774512"
"""Ids that occur nowhere else, not even in part."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that knows the customer."""
    users = [NAME if u == WHO else user for u, user in enumerate(USERS)]
    items = [OWN if i == ALONE else item for i, item in enumerate(ITEMS)]
    path = tmp_path / "model.recae"
    save(shop(blended(sigmoid=0.7, itemknn=0.3), users=IdMap(users), items=IdMap(items)), path)
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal that knows the customer, and somebody whom the model does not."""
    path = tmp_path / "purchases.db"
    with Journal.open(path) as opened:
        opened.add([Purchase(NAME, ITEMS[n], event=f"{NAME}-{n}") for n in range(3)])
        opened.add([Purchase("somebody-new", ITEMS[0]), Purchase(USERS[0], OWN)])
    return path


def held(folder: Path, text: str) -> list[str]:
    """Names of the files in which the bytes of a text are."""
    return [path.name for path in sorted(folder.iterdir()) if text.encode() in path.read_bytes()]


def test_no_byte_is_left_in_model_versions_and_journal(model: Path, journal: Path) -> None:
    folder = model.parent
    shutil.copy(model, folder / "model.recae.before-3")
    (folder / "model.recae.before-4").write_bytes(b"damaged")
    save(shop(fitted("popularity")), folder / "model.recae.before-5")  # which does not know them
    assert held(folder, NAME) == ["model.recae", "model.recae.before-3", "purchases.db"]
    result = recae("forget", model, "--user", NAME, "--journal", journal, "--json")
    assert result.exit_code == 0, result.stderr
    assert held(folder, NAME) == []
    assert held(folder, OWN) == ["purchases.db"]  # another customer's row
    said = json.loads(result.stdout)
    pairs = int(load(folder / "model.recae.before-5").histories[WHO].nnz)  # type: ignore[index]
    assert said.pop("seconds") > 0
    assert said == {
        "model": str(model),
        "users": [NAME],
        "in_the_model": True,
        "pairs": pairs,
        "events": 0,
        "items": [OWN],
        "held_out": {"validation_users": 0, "test_users": 1},
        "solved_again": ["itemknn"],
        "remembering": {"sigmoid": "it is trained in steps, and its weights stay until the next training"},
        "journal_rows": 3,
        "earlier_versions": ["model.recae.before-4", "model.recae.before-3"],
    }
    assert names(folder) == ["model.recae", "model.recae.before-5", "purchases.db"]
    with Journal.open(journal) as opened:
        assert opened.knows([NAME, "somebody-new"]) == {"somebody-new"}


def test_it_is_said_in_words(model: Path, tmp_path: Path) -> None:
    others = tmp_path / "gone.txt"
    others.write_text(f"{USERS[0]}\n{USERS[1]}\n")
    result = recae("forget", "--user", NAME, "--users", others, model=model)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "forgotten: 3 customers"
    assert lines[1].endswith("pairs of a customer and an item removed from the model")
    assert lines[2:] == [
        "1 mark removed of who was held out to measure on",
        "1 item that nobody else had bought left the model",
        "fitted again without them: itemknn",
        "sigmoid has learned from them: it is trained in steps, and its weights stay until the next training; "
        "--retrain trains it again now",
    ]
    assert NAME not in result.stderr
    said = recae("inspect", model).stdout
    assert "forgotten.users\t3\n" in said
    assert "forgotten.remembering\t['sigmoid']\n" in said
    assert result.stderr.endswith(f"the model is in {model}\n")


def test_who_is_in_the_journal_alone_leaves_the_model_as_it_is(model: Path, journal: Path) -> None:
    before = model.read_bytes()
    result = recae("forget", model, "--user", "somebody-new", "--journal", journal)
    assert result.stdout.splitlines() == [
        "forgotten: 1 customer",
        "the model did not know them; it stays as it is",
        "1 row of the journal removed, and its file written anew",
    ]
    assert model.read_bytes() == before
    assert held(model.parent, "somebody-new") == []


def test_refusals_change_nothing(model: Path, journal: Path, tmp_path: Path) -> None:
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    refused(
        recae("forget", model, "--user", "nobody"), "the model does not know 'nobody', and nothing is changed"
    )
    both = recae("forget", model, "--user", NAME, "--user", "nobody", "--journal", journal)
    refused(both, "neither the model nor the journal knows 'nobody', and nothing is changed")
    refused(recae("forget", model), "give --user ID, --users FILE or --journal PATH")
    refused(recae("forget", model, "--user", NAME, "--journal", tmp_path / "no.db"), "there is no journal")
    refused(recae("forget", tmp_path / "no.recae", "--user", NAME), "there is no model file")
    refused(recae("forget", model, "--user", NAME, "--out", tmp_path / "no" / "x"), "does not exist")
    refused(recae("forget", model, "--user", NAME, "--model", "other"), "leave one of them out")
    refused(recae("forget", model, "--user", NAME, "--journal", model), "journal")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_model_without_histories_says_that_it_cannot(model: Path, journal: Path) -> None:
    save(load(model), model, histories=False)
    refused(recae("forget", model, "--user", NAME), "saved without histories and holds no customers")
    result = recae("forget", model, "--user", NAME, "--journal", journal)
    assert "not known whether it has learned from them" in result.stdout
    assert result.exit_code == 0


def test_the_file_can_be_another_one(model: Path, tmp_path: Path) -> None:
    before, other = model.read_bytes(), tmp_path / "other.recae"
    result = recae("forget", model, "--user", NAME, "--out", other)
    assert result.exit_code == 0
    assert model.read_bytes() == before
    assert f"'{model}' still holds them" in result.stderr
    assert held(tmp_path, NAME) == ["model.recae"]


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "what", "fails"),
    [(modelfile, "write_tensors", full), (modelfile, "write_tensors", stopped), (Journal, "clean", stopped),
     (Path, "unlink", stopped), (Path, "replace", full), (removal, "forget", stopped)],
)  # fmt: skip
def test_wherever_it_ends_the_model_is_whole_and_it_can_be_done_again(
    model: Path, journal: Path, where: Any, what: str, fails: Callable[..., None]
) -> None:
    before, folder = model.read_bytes(), model.parent
    shutil.copy(model, folder / "model.recae.before-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, what, fails)
        with pytest.raises((KeyboardInterrupt, OutputError)):
            remove(model, [NAME], journal=journal)
    assert model.read_bytes() == before
    for left in folder.glob(".*.tmp"):  # what a kill would leave; a failure leaves none
        assert what == "unlink"
        left.unlink()
    assert remove(model, [NAME], journal=journal).model is not None
    assert held(folder, NAME) == []


def test_one_command_at_a_time(model: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    new.write_text(f"user_id,item_id\n{USERS[0]},{ITEMS[1]}\n{USERS[1]},{ITEMS[2]}\n")
    with changing(model):
        refused(recae("forget", model, "--user", NAME), "another command is changing the model file")
        refused(recae("update", model, new), "another command is changing the model file")
    assert recae("forget", model, "--user", NAME).exit_code == 0


def test_a_file_that_was_replaced_while_it_was_being_locked_is_locked_anew(
    model: Path, tmp_path: Path
) -> None:
    """The first of two replaces the file; the second must not go on with the lock of what is gone."""
    before, states = Path.stat, []

    def stat(path: Path, **options: Any) -> Any:
        found = before(path, **options)
        states.append(found.st_ino)
        if len(states) == 1:
            save(shop(fitted("popularity")), model)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        with changing(model):
            patch.undo()
            with pytest.raises(OutputError, match="try again"), changing(model):
                pass
    with changing(model):
        pass
