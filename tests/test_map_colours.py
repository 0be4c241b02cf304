"""The colours of the categories: far enough apart for every kind of colour vision, on both grounds."""

import re
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray

CSS = (files("recae.insight") / "assets" / "map.css").read_text("utf-8")
# What somebody sees who lacks one kind of cone entirely: Machado, Oliveira and Fernandes 2009, table of severity 1.
VISION = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def colours(dark: bool) -> dict[str, NDArray[np.float64]]:
    """The colours of one scheme in linear light."""
    found = re.findall(r"--recae-map-([\w]+): #(\w{6});", CSS)
    values = dict(found[len(found) // 2 :] if dark else found[: len(found) // 2])
    assert len(values) * 2 == len(found)
    srgb = {
        name: np.array([int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)]) for name, text in values.items()
    }
    return {n: np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for n, c in srgb.items()}


def oklab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Björn Ottosson's perceptual space, https://bottosson.github.io/posts/oklab/."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    space = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(space @ np.cbrt(cones @ np.clip(linear, 0, 1)))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("dark", [False, True])
def test_no_two_categories_look_alike(dark: bool, vision: str) -> None:
    scheme = colours(dark)
    seen = {
        name: oklab(np.array(VISION[vision]) @ scheme[name])
        for name in [*map(str, range(12)), "other", "background"]
    }
    apart = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a in seen for b in seen if a < b}
    closest = min(apart, key=lambda pair: apart[pair])
    assert apart[closest] > 0.07, closest  # about three times what is just noticeable


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable(dark: bool) -> None:
    """WCAG 2: a contrast of 4.5 for text."""
    luminance = {name: float(np.dot([0.2126, 0.7152, 0.0722], c)) for name, c in colours(dark).items()}
    for ground in ("background", "panel"):
        for ink in ("ink", "soft"):
            low, high = sorted((luminance[ground], luminance[ink]))
            assert (high + 0.05) / (low + 0.05) > 4.5, (ground, ink)
