"""Tests of the slim route: what works without torch, and the sentence that says where it is needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from commands import PATIENCE, ROOT, start, table

from recae.errors import TrainingError
from recae.training.kinds import linear

HIDE = "import sys; sys.modules['torch'] = None"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slim")
    (folder / "p.csv").write_text(table())
    return folder


def slim(line: str, folder: Path) -> tuple[int, str, str]:
    """Run a command in a process that has no torch."""
    arguments = [part.replace("@", f"{folder}/") for part in line.split()]
    process = start(*arguments, first=f"{HIDE}\n{UNLOADED}", text=True, stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=PATIENCE)
    return process.wait(), out, err


# The process that tests fork from has torch loaded, and what was imported with it.
UNLOADED = (
    "for name in list(sys.modules):\n"
    "    if name.partition('.')[0] in ('recae', 'torch') and name != 'torch': del sys.modules[name]"
)


@pytest.mark.parametrize("kind", ["blend", "sigmoid", "ease", "edlae", "als", "itemknn"])
def test_kinds_that_train_without_it(kind: str, folder: Path) -> None:
    small = " --factors 4 --epochs 2" if kind in ("blend", "sigmoid") else ""
    code, out, err = slim(f"train @p.csv --kind {kind} --out @{kind}.recae{small}", folder)
    assert code == 0, err
    assert out.startswith("model\trecall@10")


def test_what_a_model_is_for_works_without_it(folder: Path) -> None:
    assert slim("train @p.csv --factors 4 --epochs 2 --out @m.recae", folder)[0] == 0
    for line, lines in (
        ("recommend --user u7 --model @m.recae", 11),
        ("recommend --items i1,i2 --explain --model @m.recae", None),
        ("score --out @recs.csv --model @m.recae", 0),
        ("inspect @m.recae", None),
        ("anomalies --model @m.recae -n 3", 4),
    ):
        code, out, err = slim(line, folder)
        assert code == 0, (line, err)
        assert lines is None or len(out.splitlines()) == lines, line
    assert (folder / "recs.csv").read_text().startswith("user_id,item_id,rank,score\n")


def test_serving_works_without_it(folder: Path) -> None:
    code = (
        f"{HIDE}\n{UNLOADED}\n"
        "from fastapi.testclient import TestClient\n"
        "from recae.serving.app import create_app\n"
        "from recae.serving.metrics import Metrics\n"
        "from recae.serving.routes import ServeSettings\n"
        "from recae.serving.served import ModelReloader\n"
        "from pathlib import Path\n"
        "metrics = Metrics()\n"
        f"models = ModelReloader(Path({str(folder / 'm.recae')!r}), metrics)\n"
        "with TestClient(create_app(models, metrics, ServeSettings())) as client:\n"
        "    print(client.post('/recommend', json={'user': 'u7', 'n': 3}).status_code)\n"
        "    print(client.post('/recommend', json={'items': ['i1', 'i2'], 'n': 3}).status_code)\n"
    )
    assert slim("train @p.csv --factors 4 --epochs 2 --out @m.recae", folder)[0] == 0
    process = start("--version", first=code, text=True, stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=PATIENCE)
    assert out.splitlines()[:2] == ["200", "200"], err


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("--kind deep", "the kind 'deep'"),
        ("--kind multvae", "the kind 'multvae'"),
        ("--kind sigmoid --batch-size 16", "training by blocks of users (--batch-size above 1)"),
        (
            "--kind sigmoid --set tied=true",
            "training by mini-batches (tied, emphasis, code_penalty or pretrain)",
        ),
        ("--kind sigmoid --device cuda", "--device cuda"),
    ],
)
def test_what_needs_it_says_which_install_brings_it(options: str, what: str, folder: Path) -> None:
    code, out, err = slim(f"train @p.csv --out @none.recae {options}", folder)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith(
        f"error: {what} needs torch, which is not installed: run pip install torch"
    )
    assert not (folder / "none.recae").exists()


def test_the_inverse_of_scipy_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    X = rng.random((300, 130), dtype=np.float32)
    G = X.T @ X / 50 + np.eye(130, dtype=np.float32)
    expected = np.linalg.inv(G.astype(np.float64))
    monkeypatch.setattr(linear, "BLOCK", 32)
    by_scipy = linear._inverse(G.copy())
    monkeypatch.setattr(linear, "SCIPY_AT_MOST", 100)
    by_torch = linear._inverse(G.copy())
    monkeypatch.setattr(linear, "find_spec", lambda name: None)
    assert np.array_equal(linear._inverse(G.copy()), by_scipy)
    for found in (by_torch, by_scipy):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.array_equal(by_scipy, by_scipy.T)
    with pytest.raises(TrainingError, match="give a larger l2"):
        linear._inverse(np.array([[1, 2], [2, 1]], dtype=np.float32))


def test_the_slim_list_is_what_recae_needs_but_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *extras["serve"], *extras["sql"]}
    lines = (ROOT / "deploy" / "slim.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    assert wanted - listed == {line for line in wanted if re.match("torch[^a-z]", line)}
    assert listed <= wanted
