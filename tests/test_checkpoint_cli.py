"""`recae train` with checkpoints: real signals, how to go on, and what is left afterwards."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import PATIENCE, SAMPLE, recae, start, table

LONG = ("--factors", "8", "--epochs", "1000", "--patience", "1000", "--seed", "1")


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 100 users, of whom 90 are trained on before all of them are."""
    path = tmp_path_factory.mktemp("table") / "purchases.csv"
    path.write_text(table(100))
    return path


def stopped(number: int, folder: Path, *options: str) -> tuple[int, str]:
    """Starts a long training and sends it a signal once an epoch has ended; its exit code and stderr."""
    process = start(
        "train", SAMPLE, "--out", folder / "m.recae", *LONG, *options, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 2/"):
            time.sleep(0.02)
            process.send_signal(number)
            break
    _, rest = process.communicate(timeout=PATIENCE)
    return process.returncode, "".join(lines) + rest


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(
    number: int, code: int, word: str, tmp_path: Path
) -> None:
    returned, stderr = stopped(number, tmp_path, "--checkpoint-every", "500")
    assert returned == code
    last = stderr.splitlines()[-1]
    assert re.fullmatch(
        rf"{word}: '.*m\.recae\.checkpoint' holds epoch \d+ after [\d,]+ users; "
        "the same command with --resume goes on from there",
        last,
    )
    assert [p.name for p in tmp_path.iterdir()] == ["m.recae.checkpoint"]

    result = recae("train", SAMPLE, "--out", tmp_path / "m.recae", *LONG[:-1], "2", "--resume")
    assert result.exit_code == 2
    assert "seed: was 1, is 2" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["m.recae.checkpoint"]


def test_without_checkpoints_a_signal_leaves_nothing(tmp_path: Path) -> None:
    returned, stderr = stopped(signal.SIGINT, tmp_path)
    assert (returned, stderr.splitlines()[-1]) == (130, "interrupted: no partial file is left")
    assert not list(tmp_path.iterdir())


def test_the_resumed_model_is_the_same_file_and_the_checkpoint_goes(tmp_path: Path, small: Path) -> None:
    options = ("train", small, "--factors", "8", "--epochs", "4", "--seed", "1")
    recae(*options, "--out", tmp_path / "straight.recae")
    resumed = ("--out", tmp_path / "m.recae", "--checkpoint", tmp_path / "c")
    from recae.training import checkpoint

    saves: list[int] = []
    save = checkpoint.Checkpoints.save

    def interrupting(self: object, *arguments: object) -> None:
        save(self, *arguments)  # type: ignore[arg-type]  # whatever it takes is handed on
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", interrupting)
        result = recae(*options, *resumed)
    assert result.exit_code == 130
    assert "holds epoch 2 after 90 users; the same command with --resume" in result.stderr
    result = recae(*options, *resumed, "--resume")
    assert result.exit_code == 0
    assert "going on from epoch 2 after 90 users" in result.stderr
    assert (tmp_path / "m.recae").read_bytes() == (tmp_path / "straight.recae").read_bytes()
    assert not (tmp_path / "c").exists()


def test_a_model_that_cannot_be_written_leaves_the_checkpoint(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recae.errors import OutputError

    def fail(*_: object, **__: object) -> None:
        raise OutputError("cannot write 'm.recae': No space left on device")

    monkeypatch.setattr("recae.modelfile.save", fail)
    options = ("--kind", "sigmoid", "--factors", "4", "--epochs", "1", "--checkpoint", tmp_path / "c")
    result = recae("train", small, "--out", tmp_path / "m.recae", *options)
    assert result.exit_code == 2
    assert "c.refit' holds epoch 1 after 100 users; the same command with --resume" in result.stderr
    assert (tmp_path / "c").exists()
    assert (tmp_path / "c.refit").exists()


def test_refusals_before_any_work(tmp_path: Path, small: Path) -> None:
    for options, part in (
        (("--checkpoint-every", "0"), "checkpoint_every is a whole number from 1"),
        (("--checkpoint", tmp_path / "m.recae"), "the model goes there"),
        (("--checkpoint", tmp_path / "nowhere" / "c"), "does not exist"),
        (("--checkpoint", ""), "names no file"),
        (("--resume",), "there is no checkpoint"),
    ):
        result = recae("train", small, "--out", tmp_path / "m.recae", *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert part in result.stderr.splitlines()[-1]
        assert not list(tmp_path.iterdir())


def test_an_old_checkpoint_is_not_replaced_in_silence(tmp_path: Path, small: Path) -> None:
    (tmp_path / "c").write_text("old")
    options = ("--factors", "4", "--epochs", "1", "--checkpoint", tmp_path / "c")
    result = recae("train", small, "--out", tmp_path / "m.recae", *options)
    assert result.exit_code == 0
    assert "is there already and will be replaced; --resume would go on from it" in result.stderr


@pytest.mark.thorough
def test_time_left_and_batches(tmp_path: Path) -> None:
    options = ("--factors", "4", "--epochs", "3", "--batch-size", "64")
    lines = recae("train", SAMPLE, "--out", tmp_path / "m.recae", *options).stderr.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    pattern = r"epoch \d/3: loss \d+\.\d\d, recall@20 0\.\d{4}, [\d,]+ users/s(, at most 0:00:\d\d left)?"
    assert [line for line in lines if "fitting once more" in line]
    epochs, again = epochs[:3], epochs[3:]
    assert all(
        re.fullmatch(pattern.replace(r", recall@20 0\.\d{4}", "").replace("/3", r"/\d"), line)
        for line in again
    )
    assert [re.fullmatch(pattern, line)[1] is not None for line in epochs] == [True, True, False]
