"""scripts/digits.py: its figures against plain NumPy, its picture, what it refuses, and that parts stay apart."""

import importlib.util
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("--digits", 120, "--epochs", 1)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits", ROOT / "scripts" / "digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["digits"] = module
    spec.loader.exec_module(module)
    return module


script = _load()


def run(out: Path, *args: object) -> Result:
    """Runs the script in this process; an exception that it should have caught fails the test."""
    result = CliRunner().invoke(script.main, ["--out", str(out), *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def figures(result: Result) -> dict[str, list[float]]:
    """The two figures of each line that has them, by what it begins with."""
    assert result.exit_code == 0, result.stderr
    found = {}
    for line in filter(None, result.stdout.splitlines()):
        name, *values = line.rsplit(maxsplit=2)
        if len(values) == 2 and all("." in value and value.replace(".", "").isdigit() for value in values):
            found[name] = [float(value) for value in values]
    return found


def digits(n: int, seed: int = 0) -> np.ndarray:
    """The first of them in the order of a seed."""
    from sklearn.datasets import load_digits

    pixels = load_digits().data
    return pixels[np.random.default_rng(seed).permutation(len(pixels))[:n]] / 16


def slow_pca(known: np.ndarray, asked: np.ndarray, size: int) -> float:
    """The error of PCA from the eigenvectors of the covariance, one digit at a time."""
    mean = sum(known) / len(known)
    covariance = sum(np.outer(digit - mean, digit - mean) for digit in known)
    vectors = np.linalg.eigh(covariance)[1][:, ::-1][:, :size]
    total = 0.0
    for digit in asked:
        rebuilt = mean.copy()
        for vector in vectors.T:
            rebuilt += vector * float(vector @ (digit - mean))
        total += sum((min(max(r, 0.0), 1.0) - p) ** 2 for r, p in zip(rebuilt, digit, strict=True))
    return total / len(asked)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path, dict[str, tuple]]:
    """What a run said, its picture, and the rows that the picture was drawn of."""
    out, rows = tmp_path_factory.mktemp("digits") / "digits.png", {}
    draw = script.draw

    def noting(drawn: list[tuple], title: str, path: Path) -> None:
        rows.update({row[0]: row[1:] for row in drawn})
        draw(drawn, title, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "draw", noting)
        return run(out, *QUICK), out, rows


# figures


@pytest.mark.thorough
def test_the_errors_of_pca_are_those_of_plain_numpy(finished: tuple[Result, Path, dict]) -> None:
    found, x = figures(finished[0]), digits(120)
    for size in (8, 16, 32, 49):
        assert found[str(size)][0] == pytest.approx(slow_pca(x[:96], x[96:], size), abs=6e-5)
    assert len({found[str(size)][0] for size in (8, 16, 32, 49)}) == 4


def test_the_errors_of_doing_nothing_and_of_the_mean_digit(finished: tuple[Result, Path, dict]) -> None:
    found, x = figures(finished[0]), digits(120)
    asked, mean = x[96:], x[:96].mean(axis=0)
    assert found["nothing done"][1] == pytest.approx((asked[:, 32:] ** 2).sum(axis=1).mean(), abs=6e-5)
    below = ((asked - mean)[:, 32:] ** 2).sum(axis=1).mean()
    assert found["the mean digit"] == pytest.approx([((asked - mean) ** 2).sum(1).mean(), below], abs=6e-5)
    # about half of the squared ink is hidden
    assert 0.4 < found["nothing done"][0] / (asked**2).sum(axis=1).mean() < 0.6


def test_every_way_is_measured_and_named(finished: tuple[Result, Path, dict]) -> None:
    result, out, _ = finished
    names = ["nothing done", "the mean digit", "PCA, 49", "best linear map", "autoencoder, 49"]
    assert list(figures(result)) == ["8", "16", "32", "49", *names]
    assert "24 digits held out, 96 to learn from" in result.stdout
    assert "PCA is better at" in result.stdout  # after one epoch it is
    assert f"{out} written" in result.stdout
    assert result.stderr.count(": 1 epochs in ") == 5


def test_the_error_is_clipped_summed_and_averaged() -> None:
    found = np.array([[1.5, 0.25], [-0.5, 0.5]], dtype=np.float32)
    asked = np.array([[1.0, 0.75], [0.25, 0.5]], dtype=np.float32)
    assert script.error_of(found, asked) == (0.5**2 + 0.25**2) / 2
    assert script.error_of(found, asked, np.array([[False, True], [False, True]])) == 0.5**2 / 2


def test_the_best_linear_map_is_that_of_all_ways_to_hide() -> None:
    rng = np.random.default_rng(3)
    known = rng.random((7, 3)).astype(np.float32)
    inputs, targets, weights = [], [], []
    for digit, seen in product(known, product((0, 1), repeat=3)):
        inputs.append([*(digit * seen), 1])
        targets.append(digit)
        weights.append(np.prod([0.7 if s else 0.3 for s in seen]) ** 0.5)
    w = np.array(weights)[:, None]
    A = np.linalg.lstsq(np.array(inputs) * w, np.array(targets) * w, rcond=None)[0]
    found = script.Linear.of(known, 0.3)
    np.testing.assert_allclose(found.weights, A[:3], atol=1e-8)
    np.testing.assert_allclose(found.constant, A[3], atol=1e-8)
    np.testing.assert_allclose(found.reconstruct(known), known @ A[:3] + A[3], atol=1e-5)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ([(8, 2.0, 1.0), (16, 2.0, 1.0), (32, 2.0, 1.0), (49, 1.0, 2.0)],
         "the autoencoder is better at 8, 16 and 32; PCA is better at 49"),
        ([(8, 1.0, 2.0), (49, 1.0, 2.0)], "PCA is better at 8 and 49"),
        ([(8, 2.0, 1.0)], "the autoencoder is better at 8"),
        ([(8, 1.0, 1.0)], "both are the same"),
    ],
)  # fmt: skip
def test_who_is_better_in_words(errors: list[tuple[int, float, float]], words: str) -> None:
    assert script.better_of(errors) == words


# networks


def test_a_network_learns_the_values_of_digits() -> None:
    x = digits(200).astype(np.float32)
    network = script.fit("49", x, script.SETTINGS[49], 30, 0)
    rebuilt = network.reconstruct(script.sp.csr_matrix(x))
    assert script.error_of(rebuilt, x) < 0.5 * script.error_of(np.tile(x.mean(axis=0), (200, 1)), x)
    # grey is grey: a network of the pattern alone would give all inked pixels the same
    grey, black = (x > 0.3) & (x < 0.6), x == 1
    assert rebuilt[grey].mean() < rebuilt[black].mean() - 0.2


def test_what_is_seen_is_enlarged_as_in_training() -> None:
    class Network:
        def reconstruct(self, matrix: script.sp.csr_matrix) -> np.ndarray:
            return np.asarray(matrix.todense())

    x, seen = np.array([[0.25, 0.5, 1.0]], dtype=np.float32), np.array([[True, False, True]])
    np.testing.assert_array_equal(script.restore(Network(), x, seen), [[0.5, 0, 2]])
    assert script.DENOISING["dropout"] == script.NOISE == 0.5
    assert all(settings["dropout"] == 0 for settings in script.SETTINGS.values())


def test_the_codes_have_the_sizes_that_are_said() -> None:
    from recae.training.kinds.deep import DeepSettings

    for size, settings in {**script.SETTINGS, "denoising": script.DENOISING}.items():
        assert DeepSettings(**settings).sizes[-1] == (49 if size == "denoising" else size)


# parts


@pytest.mark.parametrize("validate", [False, True])
def test_validation_does_not_look_at_what_is_held_out(
    validate: bool, finished: tuple[Result, Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = script.read_digits

    def other_test_part(at_most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, meant = read(at_most, seed)
        pixels[96:] = 1 - pixels[96:]
        return pixels, meant

    out, options = tmp_path / "digits.png", [*QUICK, *(["--validate"] if validate else [])]
    monkeypatch.setattr(script, "draw", lambda *_: None)
    before = figures(run(out, *options) if validate else finished[0])
    monkeypatch.setattr(script, "read_digits", other_test_part)
    after = figures(run(out, *options))
    # the same seed gives the same figures, as long as the digits measured are the same
    assert (before == after) is validate


# picture


def test_the_picture(finished: tuple[Result, Path, dict]) -> None:
    from matplotlib.image import imread

    assert [path.name for path in finished[1].parent.iterdir()] == ["digits.png"]
    picture = imread(finished[1])
    assert picture.shape[0] > 500
    assert picture.shape[1] > 500
    blue = np.abs(picture[:, :, :3] - np.array([0xA8, 0xC8, 0xEC]) / 255).max(axis=2) < 0.01
    rows = np.flatnonzero(blue.any(axis=1))
    # half of the pixels of two of the nine rows, and nothing of the others
    assert 0.02 < blue.mean() < 0.11
    assert rows.min() > 0.5 * len(picture)


def test_rows_of_the_picture(finished: tuple[Result, Path, dict]) -> None:
    seen = finished[2]
    assert list(seen) == [
        "original",
        "reconstruction, 49 numbers",
        "PCA, 49",
        "reconstruction, 8 numbers",
        "PCA, 8",
        "noisy (blue: hidden)",
        "denoised",
        "lower half hidden",
        "filled in",
    ]
    original = seen["original"][0]
    assert 8 <= len(original) <= 10
    np.testing.assert_array_equal(seen["filled in"][0][:, :32], original[:, :32])
    assert np.abs(seen["filled in"][0][:, 32:] - original[:, 32:]).max() > 0.1
    np.testing.assert_array_equal(
        seen["lower half hidden"][1], np.arange(64) < np.full((len(original), 1), 32)
    )
    assert 0.3 < seen["noisy (blue: hidden)"][1].mean() < 0.7


# refusals


@pytest.mark.parametrize(
    ("module", "name"), [("sklearn.datasets", "scikit-learn"), ("matplotlib", "matplotlib")]
)
def test_a_missing_library_is_one_sentence(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refused(
        run(tmp_path / "digits.png"),
        tmp_path,
        f"{name}, which is not installed: pip install 'recae[map,plot]'",
    )


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("missing/digits.png", "does not exist"),
        ("digits.docx", "ends in none of .png, .svg, .pdf"),
        (".", "cannot"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_training(
    out: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(script, "fit")
    refused(run(tmp_path / out), tmp_path, words)


def refused(result: Result, folder: Path, words: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert list(folder.iterdir()) == []
