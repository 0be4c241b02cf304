#!/usr/bin/env python3
"""Handwritten digits by the networks that recommend: they fit any matrix with values in [0, 1].

\b
  digits.py --out digits.png
  digits.py --validate            measures on the part that the settings in this file were chosen on

The 1,797 digits of scikit-learn, 8 × 8 pixels each, are users, their pixels items, and the ink, from 0 to 1, is what
was bought. Deep autoencoders with codes of 8, 16, 32 and 49 numbers learn to reconstruct the digits, one more with 49
to reconstruct them from the half of their pixels that masking noise leaves (Vincent et al., 2010). They are measured on
a fifth of the digits, which had no part in fitting or in choosing settings:

\b
  reconstruction  against PCA with as many components as the code has numbers.
  denoising       half of the pixels are set to 0; the network is not told which.
  filling in      the lower half is set to 0; the same network, and the error is that of the lower half alone.

The last two are held against PCA with 49 components, and against the best linear map from noisy digits to clean ones
(Chen et al., 2012, arXiv:1206.4683), to which the same pixels are hidden. An error is the sum of the squared errors of
the pixels measured, a mean over the digits.

stdout carries the figures, stderr messages; the picture goes to --out (.png, .svg or .pdf). It needs scikit-learn and
matplotlib: pip install 'recae[map,plot]'. Exit codes: 0 done, 2 an error.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for those who load this file by its path
from digits_linear import Flags, Floats, Linear, Pca, error_of

from recae.errors import ConfigError, RecaeError
from recae.files import atomic_path, check_writable
from recae.models import DeepAutoencoder
from recae.plots import check_plot

SIDE = 8  # pixels
SIZES = (8, 16, 32, 49)
NOISE = 0.5

# Chosen by the error on the validation part, digits 1,257 to 1,436 in the order of seed 0.
COMMON = {"loss": "squared", "tied": True, "purchase_weight": 1.0, "input_power": 0.0, "dropout": 0.0}
DEEP = {**COMMON, "activation": "silu", "epochs": 60, "batch_size": 32, "learning_rate": 0.003}
SETTINGS: dict[int, dict[str, Any]] = {
    **{size: {**DEEP, "layers": f"256,{size}"} for size in SIZES[:-1]},
    49: {**DEEP, "activation": "selu", "layers": "49", "learning_rate": 0.01},
}
DENOISING = {
    **DEEP,
    "layers": "256,49",
    "dropout": NOISE,
    "epochs": 80,
    "batch_size": 64,
    "learning_rate": 0.005,
}


def fit(
    name: str, digits: Floats, settings: dict[str, Any], epochs: int | None, seed: int
) -> DeepAutoencoder:
    """The deep autoencoder of digits (n, 64)."""
    from recae.training.callbacks import Hooks
    from recae.training.kinds.deep import DeepSettings, fit_deep

    given = {
        **settings,
        "epochs": epochs or settings["epochs"],
        "batch_size": min(settings["batch_size"], len(digits)),
        "seed": seed,
    }
    started = time.perf_counter()
    model, history = fit_deep(sp.csr_matrix(digits), DeepSettings(**given), Hooks())
    assert isinstance(model, DeepAutoencoder)  # noqa: S101 (what fit_deep makes)
    seconds = time.perf_counter() - started
    click.echo(f"{name}: {len(history)} epochs in {seconds:.1f} s, error {history[-1].loss:.3g}", err=True)
    return model


def restore(model: DeepAutoencoder, digits: Floats, seen: Flags) -> Floats:
    """What the denoising network makes of what is seen of the digits (n, 64)."""
    # as in training, where what noise leaves is enlarged so that the sum of the pixels is the same on average
    return model.reconstruct(sp.csr_matrix(digits * seen / np.float32(1 - NOISE)))


def read_digits(at_most: int | None, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Digits (n, 64) with ink in [0, 1] and what they say (n,), in random order."""
    from sklearn.datasets import load_digits

    pixels, meant = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(pixels))[:at_most]
    return (pixels[order] / 16).astype(np.float32), meant[order]


def check(out: Path) -> None:
    """Raises ConfigError when a library is missing, OutputError when the picture could not be written."""
    for name, module in (("scikit-learn", "sklearn.datasets"), ("matplotlib", "matplotlib")):
        try:
            __import__(module)
        except ImportError as error:
            raise ConfigError(
                f"the digits need {name}, which is not installed: pip install 'recae[map,plot]'"
            ) from error
    check_plot(out)
    check_writable(out)


def better_of(errors: Sequence[tuple[int, float, float]]) -> str:
    """Which of PCA and the autoencoder has the smaller error at which size, in words; rows of size and both errors."""
    pca = [str(size) for size, linear, deep in errors if linear < deep]
    deep = [str(size) for size, linear, deep in errors if deep < linear]

    def at(sizes: list[str]) -> str:
        return " and ".join(filter(None, [", ".join(sizes[:-1]), sizes[-1]]))

    said = [
        f"{who} is better at {at(sizes)}" for who, sizes in (("the autoencoder", deep), ("PCA", pca)) if sizes
    ]
    return "; ".join(said) or "both are the same"


def draw(rows: Sequence[tuple[str, Floats, Flags | None]], title: str, path: Path) -> None:
    """A labelled row of pictures for each of `rows`: its name, digits (n, 64), and which of their pixels are seen."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(rows[0][1])
    figure = Figure(figsize=(3 + 0.8 * columns, 0.6 + 0.8 * len(rows)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot: no global state, no screen
    ink = colormaps["gray_r"].with_extremes(bad="#a8c8ec")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, digits, seen) in zip(grid, rows, strict=True):
        hidden = np.zeros_like(digits, dtype=bool) if seen is None else ~seen
        for panel, digit, gone in zip(axes, digits, hidden, strict=True):
            picture = np.ma.array(digit, mask=gone).reshape(SIDE, SIDE)
            panel.imshow(picture, cmap=ink, vmin=0, vmax=1, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11, labelpad=8)
    figure.suptitle(title, fontsize=12)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower().removeprefix("."))


def measure(out: Path, epochs: int | None, at_most: int | None, validate: bool, seed: int) -> str:
    """Fits, measures and draws; the figures as text."""
    check(out)
    started = time.perf_counter()
    digits, meant = read_digits(at_most, seed)
    first, second = int(0.7 * len(digits)), int(0.8 * len(digits))
    asked = slice(first, second) if validate else slice(second, None)
    known, x, meant = digits[: asked.start], digits[asked], meant[asked]

    found: dict[int, tuple[Floats, Floats]] = {}
    for size in SIZES:
        network = fit(f"autoencoder, {size}", known, SETTINGS[size], epochs, seed)
        found[size] = Pca.of(known, size).reconstruct(x), network.reconstruct(sp.csr_matrix(x))
    errors = [(size, error_of(linear, x), error_of(deep, x)) for size, (linear, deep) in found.items()]

    network = fit("denoising autoencoder, 49", known, DENOISING, epochs, seed)
    lower = np.broadcast_to(np.arange(SIDE * SIDE) >= SIDE * SIDE // 2, x.shape)
    noisy = np.random.default_rng([seed, 1]).random(x.shape) >= NOISE
    denoised, guessed = restore(network, x, noisy), restore(network, x, ~lower)
    pca, best = Pca.of(known, 49), Linear.of(known, NOISE)
    ways = {
        "nothing done": (x * noisy, x * ~lower),
        "the mean digit": (np.broadcast_to(known.mean(axis=0), x.shape),) * 2,
        "PCA, 49": (pca.reconstruct(x * noisy), pca.reconstruct(x * ~lower)),
        "best linear map": (best.reconstruct(x * noisy), best.reconstruct(x * ~lower)),
        "autoencoder, 49": (denoised, guessed),
    }

    shown = [int(np.flatnonzero(meant == digit)[0]) for digit in np.unique(meant)]
    rows: list[tuple[str, Floats, Flags | None]] = [("original", x, None)]
    for size in (SIZES[-1], SIZES[0]):
        rows += [
            (f"reconstruction, {size} numbers", found[size][1], None),
            (f"PCA, {size}", found[size][0], None),
        ]
    rows += [("noisy (blue: hidden)", x, noisy), ("denoised", denoised, None)]
    rows += [("lower half hidden", x, ~lower), ("filled in", np.where(lower, guessed, x), None)]
    picked = [(name, made[shown], None if seen is None else seen[shown]) for name, made, seen in rows]
    draw(picked, f"{len(x)} digits were held out; the first of each kind", out)

    part = "of the validation part" if validate else "held out"
    lines = [f"squared error a digit, {len(x):,} digits {part}, {len(known):,} to learn from", ""]
    lines += [f"{'code':<17}{'PCA':>12}{'autoencoder':>14}"]
    lines += [f"{size:<17}{linear:>12.4f}{deep:>14.4f}" for size, linear, deep in errors]
    lines += [
        "",
        f"In reconstruction {better_of(errors)}.",
        "",
        f"{'':<17}{'denoising':>12}{'filling in':>14}",
    ]
    for name, (all_over, below) in ways.items():
        lines.append(f"{name:<17}{error_of(all_over, x):>12.4f}{error_of(below, x, lower):>14.4f}")
    return "\n".join([*lines, "", f"{out} written; {time.perf_counter() - started:.0f} s in all"])


@click.command(help=__doc__, context_settings={"max_content_width": 118})
@click.option(
    "--out", type=click.Path(path_type=Path), default="digits.png", show_default=True, help="The picture."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Of every network, in place of those chosen.")
@click.option("--digits", "at_most", type=click.IntRange(min=100), metavar="N", help="Use N of them.")
@click.option("--validate", is_flag=True, help="Measure on the validation part.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of parts, weights and noise."
)
def main(**options: Any) -> None:
    """Runs `measure` and prints the figures, or the error in one line."""
    try:
        with threadpool_limits(1):  # networks this small only lose by more threads
            text = measure(**options)
    except RecaeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(text)


if __name__ == "__main__":
    main()
