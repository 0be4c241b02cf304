"""Evaluation: the lists that models rank for histories, measured against the held-out items."""

from recae.evaluation.evaluate import Evaluation, evaluate, measure
from recae.evaluation.intervals import Interval, Paired, bootstrap_mean, paired_difference
from recae.evaluation.sets import set_figures
from recae.evaluation.slices import Slice, slices
from recae.metrics import METRICS

__all__ = [
    "METRICS",
    "Evaluation",
    "Interval",
    "Paired",
    "Slice",
    "bootstrap_mean",
    "evaluate",
    "measure",
    "paired_difference",
    "set_figures",
    "slices",
]
