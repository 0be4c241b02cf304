"""How good a model is: what it ranks for histories, compared with the items held out of them."""

from recae.evaluation.evaluate import Evaluation, evaluate
from recae.evaluation.intervals import Interval, Paired, bootstrap_mean, paired_difference

__all__ = ["Evaluation", "Interval", "Paired", "bootstrap_mean", "evaluate", "paired_difference"]
