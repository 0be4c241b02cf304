"""Checkpoints: interrupted and resumed gives the same bits; what cannot be gone on from is refused."""

import errno
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import table
from safetensors import safe_open

from recae.errors import CheckpointError, ConfigError, TrainingError
from recae.files import atomic_path
from recae.modelfile import save
from recae.models.sigmoid import SigmoidAutoencoder
from recae.pipeline import train
from recae.selection.progress import Progress
from recae.tensorfile import write_tensors
from recae.training.checkpoint import KEY, Checkpoints, Epoch
from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import make_trainer, train_sigmoid
from recae.training.loop import held_signals
from recae.training.trainer import Trainer

SMALL = SigmoidSettings(
    factors=8, epochs=5, learning_rate=0.3, purchase_weight=4.0, decoder_scale=0.3, fold_every=70, seed=3
)


def purchases(n_users: int = 90, n_items: int = 60, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.3 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    return sp.csr_matrix(dense.astype(np.float32))


class PowerCutError(Exception):
    """Stands for the power going away: nothing is written after it."""


def crash_after(blocks: int) -> Callable[[int], None]:
    calls = iter(range(blocks))

    def tell(done: int) -> None:
        if next(calls, None) is None:
            raise PowerCutError

    return tell


def interrupt_after(blocks: int, number: int = signal.SIGINT) -> Callable[[int], None]:
    calls = iter(range(blocks))

    def tell(done: int) -> None:
        if next(calls, 0) == blocks - 1:
            signal.raise_signal(number)

    return tell


def quality(model: SigmoidAutoencoder) -> float:
    """Some number that depends on all weights and does not only rise, so that the best epoch is not the last."""
    return float(np.abs(model.decoder).sum() * 1e3 % 1)


def same(
    found: tuple[SigmoidAutoencoder, list[Epoch]], expected: tuple[SigmoidAutoencoder, list[Epoch]]
) -> None:
    assert found[0].config() == expected[0].config()
    for name, array in expected[0].arrays().items():
        assert array.tobytes() == found[0].arrays()[name].tobytes(), name
    timeless = [[replace(e, seconds=0.0, users_per_second=0.0) for e in run[1]] for run in (found, expected)]
    assert timeless[0] == timeless[1]


CONFIGS = [SMALL, SMALL.updated(batch_size=16), SMALL.updated(batch_size=16, learning_rate=0.02)]


@pytest.mark.some(2)
@pytest.mark.parametrize("config", CONFIGS, ids=["per-user", "blocks", "blocks-slow"])
@pytest.mark.parametrize("validate", [None, quality], ids=["", "validated"])
def test_interrupted_at_any_block_and_resumed_gives_the_same_bits(
    config: SigmoidSettings, validate: Any, tmp_path: Path
) -> None:
    matrix = purchases()
    blocks: list[int] = []
    expected = train_sigmoid(matrix, config, validate=validate, on_users=blocks.append)
    if validate is not None:
        assert max(e.recall for e in expected[1]) > expected[1][-1].recall, "the best is not to be the last"
    for n in range(1, len(blocks) + 1, 1 if len(blocks) < 30 else 7):
        path = tmp_path / f"{n}.checkpoint"
        with pytest.raises(KeyboardInterrupt):
            train_sigmoid(
                matrix, config, validate=validate, checkpoints=Checkpoints(path), on_users=interrupt_after(n)
            )
        rest: list[int] = []
        resumed = train_sigmoid(
            matrix,
            config,
            validate=validate,
            checkpoints=Checkpoints(path, resume=True),
            on_users=rest.append,
        )
        same(resumed, expected)
        assert rest == blocks[n:], "work was lost, or done twice"


@pytest.mark.parametrize("crash", [3, 8, 14])
def test_a_crash_loses_no_more_than_the_users_between_two_checkpoints(crash: int, tmp_path: Path) -> None:
    matrix, path = purchases(), tmp_path / "c"
    blocks: list[int] = []
    expected = train_sigmoid(matrix, SMALL, on_users=blocks.append)
    with pytest.raises(PowerCutError):
        train_sigmoid(matrix, SMALL, checkpoints=Checkpoints(path, every=20), on_users=crash_after(crash))
    rest: list[int] = []
    same(
        train_sigmoid(matrix, SMALL, checkpoints=Checkpoints(path, resume=True), on_users=rest.append),
        expected,
    )
    lost = len(rest) - (len(blocks) - crash)
    assert 0 <= lost <= 1 + 20 // min(blocks)


def test_an_interruption_of_the_validation_repeats_it_and_no_step(tmp_path: Path) -> None:
    matrix, path = purchases(), tmp_path / "c"
    expected = train_sigmoid(matrix, SMALL, validate=quality)
    seen: list[float] = []

    def interrupted(model: SigmoidAutoencoder) -> float:
        seen.append(quality(model))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return seen[-1]

    with pytest.raises(KeyboardInterrupt):
        train_sigmoid(matrix, SMALL, validate=interrupted, checkpoints=Checkpoints(path))
    again: list[float] = []

    def validate(model: SigmoidAutoencoder) -> float:
        again.append(quality(model))
        return again[-1]

    same(
        train_sigmoid(matrix, SMALL, validate=validate, checkpoints=Checkpoints(path, resume=True)), expected
    )
    assert again[0] == seen[-1]
    assert len(again) == SMALL.epochs - 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_block_and_then_takes_its_course(number: int) -> None:
    log: list[Any] = []
    before = signal.signal(number, lambda *_: log.append("handled"))
    try:
        with held_signals() as waiting:
            assert not waiting()
            signal.raise_signal(number)
            log.append(waiting())
            signal.raise_signal(number)  # a second one is not held
            log.append("end")
        assert log == [True, "handled", "end", "handled"]
        assert signal.getsignal(number) != signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_signals() as waiting:
            signal.raise_signal(signal.SIGINT)
            assert not waiting()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A checkpoint of `purchases()` under SMALL, in epoch 1."""
    path = tmp_path / "c.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        train_sigmoid(
            purchases(), SMALL, checkpoints=Checkpoints(path, every=20), on_users=interrupt_after(2)
        )
    return path


def resume(
    path: Path, matrix: sp.csr_matrix | None = None, config: SigmoidSettings = SMALL, **more: Any
) -> str:
    checkpoints = Checkpoints(path, resume=True, **more)
    with pytest.raises(CheckpointError) as caught:
        train_sigmoid(purchases() if matrix is None else matrix, config, checkpoints=checkpoints)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert checkpoints.describe() == "", "it must not say that one can go on from there"
    return str(caught.value)


def test_another_configuration_is_refused_with_what_differs(written: Path) -> None:
    message = resume(written, config=SMALL.updated(learning_rate=0.2, factors=9))
    assert "learning_rate: was 0.3, is 0.2" in message
    assert "factors: was 8, is 9" in message
    assert "epochs" not in message


def test_other_data_are_refused_with_what_differs(written: Path) -> None:
    message = resume(written, purchases(91, 61))
    assert "data.users: was 90, is 91; data.items: was 60, is 61; data.interactions: was" in message
    assert "data.fingerprint: was not there, is abc" in resume(written, identity={"data.fingerprint": "abc"})


EPOCH = Epoch(1, loss=0.5, seconds=1.0, users_per_second=9.0, recall=None)


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        content = json.loads(file.metadata()[KEY])
    change(content, tensors)
    with path.open("wb") as file:
        write_tensors(file, tensors, KEY, json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: c.update(format_version=2), "format version 2, but this recae, .*, reads version 1"),
        (lambda c, t: c.pop("format_version"), "format_version"),
        (lambda c, t: c["position"].update(epoch=0), "outside the training"),
        (lambda c, t: c["position"].update(done=1000), "outside the training"),
        (lambda c, t: c.update(history=[{"x": 1}]), "damaged"),
        (lambda c, t: c.update(history=[asdict(EPOCH) | {"loss": "x"}]), "damaged.*loss"),
        (lambda c, t: c.pop("every"), "damaged.*every"),
        (lambda c, t: c.update(every=0), "its interval 0 is no whole number from 1"),
        (lambda c, t: c.update(every="often"), "its interval often is no whole number from 1"),
        (lambda c, t: c.pop("recae"), "damaged.*recae"),
        (lambda c, t: c.update(identity={}), "was not there, is 8"),
        (lambda c, t: t.pop("state.Q"), "state.Q"),
        (lambda c, t: t.update({"state.Q": t["state.Q"][:3]}), r"not float32 of shape \(9, 9\)"),
        (lambda c, t: t["state.Q"].fill(np.nan), "not finite"),
        (lambda c, t: t["state.pending"].fill(10**6), "damaged"),
        (lambda c, t: t["state.applied"].fill(-5), "damaged"),
    ],
)
def test_a_file_of_another_version_or_damaged(written: Path, change: Any, message: str) -> None:
    rewritten(written, change)
    with pytest.raises(CheckpointError, match=message):
        train_sigmoid(purchases(), SMALL, checkpoints=Checkpoints(written, resume=True))


@pytest.mark.parametrize("size", [0, 1, 8, 100, -1])
def test_a_truncated_file(written: Path, size: int) -> None:
    written.write_bytes(written.read_bytes()[:size])
    assert "truncated" in resume(written)


def test_foreign_files(tmp_path: Path, shop: Any) -> None:
    path = tmp_path / "x"
    assert "there is no checkpoint" in resume(path)
    path.write_text("user_id,item_id\n1,2\n" * 100)
    assert "no checkpoint" in resume(path)
    save(shop, path)
    assert "it is a model, not a checkpoint" in resume(path)
    path.unlink()
    path.mkdir()
    assert "no checkpoint" in resume(path)


@pytest.mark.parametrize("place", ["recae.tensorfile.np.empty", "recae.training.checkpoint._read_state"])
def test_short_memory_is_no_reason_to_remove_a_checkpoint(
    written: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(written, resume=True)
    trainer = make_trainer(purchases(), SMALL, "cpu")
    monkeypatch.setattr(place, no_memory)
    with pytest.raises(CheckpointError, match=r"which stays: .*memory.*[:;] end other") as caught:
        checkpoints.load(trainer, "cpu")
    assert "remove" not in str(caught.value)


def no_memory(*_: object, **__: object) -> Any:
    raise MemoryError


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("recae.tensorfile.TensorFile.take", broken)
    said = resume(written)
    assert "Input/output error; train without --resume" in said
    assert "remove" not in said


def test_an_interval_out_of_range() -> None:
    with pytest.raises(ConfigError, match="checkpoint_every is a whole number from 1"):
        Checkpoints(Path("c"), every=0)


def test_the_interval_is_remembered(written: Path) -> None:
    checkpoints = Checkpoints(written, resume=True)
    train_sigmoid(purchases(), SMALL, checkpoints=checkpoints)
    assert checkpoints.every == 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def check_full_disk(path: Path, fill: Callable[[], None]) -> None:
    """Trains, with the disk full from the end of the first epoch on."""
    expected, messages = train_sigmoid(purchases(), SMALL), []
    kept = b""

    def on_epoch(epoch: Epoch) -> None:
        nonlocal kept
        if epoch.epoch == 1:
            kept = path.read_bytes()
            fill()

    checkpoints = Checkpoints(path, every=20, on_message=messages.append)
    same(train_sigmoid(purchases(), SMALL, checkpoints=checkpoints, on_epoch=on_epoch), expected)
    assert len(messages) == 1, "a warning once"
    assert "No space left on device" in messages[0]
    assert f"the one of epoch 1 after {purchases().shape[0]} users stays; training goes on" in messages[0]
    assert path.read_bytes() == kept
    assert "epoch 1 after" in checkpoints.describe()
    same(train_sigmoid(purchases(), SMALL, checkpoints=Checkpoints(path, resume=True)), expected)


def test_a_full_disk_does_not_stop_training(small_disk: Path) -> None:
    def fill() -> None:
        with suppress(OSError), (small_disk / "full").open("wb", 0) as file:
            while True:
                file.write(b"x" * 1024)

    check_full_disk(small_disk / "c", fill)


def test_a_failing_write_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill() -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.fsync", fail)

    check_full_disk(tmp_path / "c", fill)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(
    with_checkpoint: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Trainer.advance

    def advance(self: Any) -> None:
        if self.epoch == 2 and self.done > 40:
            self.parameters.decoder.V[:] = np.nan
        steps(self)

    monkeypatch.setattr(Trainer, "advance", advance)
    checkpoints = Checkpoints(tmp_path / "c", every=10) if with_checkpoint else None
    with pytest.raises(TrainingError, match="the loss became nan in epoch 2 after") as caught:
        train_sigmoid(purchases(), SMALL, checkpoints=checkpoints)
    assert ("the last good checkpoint, of epoch 2 after" in str(caught.value)) == with_checkpoint
    if with_checkpoint:
        with safe_open(tmp_path / "c", framework="numpy") as file:
            assert np.isfinite(file.get_tensor("state.V")).all()


def test_the_whole_model_file_has_the_same_bytes(tmp_path: Path) -> None:
    """From purchases to the file: identity, held-out users, metrics and history."""
    source = tmp_path / "purchases.csv"
    source.write_text(table(200))
    settings = {"factors": 8, "epochs": 3, "seed": 1}
    save(train(source, **settings), tmp_path / "straight.recae")
    path, seen = tmp_path / "c", []
    stop = interrupt_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(source, checkpoints=Checkpoints(path), progress=Progress(on_users=stop), **settings)
    progress = Progress(on_message=seen.append)
    model = train(source, checkpoints=Checkpoints(path, resume=True), progress=progress, **settings)
    save(model, tmp_path / "resumed.recae")
    assert (tmp_path / "straight.recae").read_bytes() == (tmp_path / "resumed.recae").read_bytes()
    assert any(text.startswith("going on from epoch 2 ") for text in seen)
    with pytest.raises(CheckpointError, match=r"seed: was 1, is 2"):
        train(source, checkpoints=Checkpoints(path, resume=True), **{**settings, "seed": 2})


def test_the_path_is_checked_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="does not exist"):
        train(tmp_path / "missing.csv", checkpoints=Checkpoints(tmp_path / "nowhere" / "c"))


def test_an_aborted_write_leaves_the_checkpoint_before(written: Path) -> None:
    before = written.read_bytes()
    with suppress(KeyboardInterrupt), atomic_path(written) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [written.name]
