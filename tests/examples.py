"""How many examples Hypothesis makes in tests of which each example takes long, such as a reading of a table."""

from hypothesis import settings


def examples(quick: int, thorough: int) -> int:
    """The number in a quick run, or where `--thorough` is given; for `@settings(max_examples=...)`."""
    return quick if settings().max_examples < 100 else thorough
