"""From purchases to recommendations: who is held out, how a model of any kind is fitted, what is measured."""

from recae.workflow.evaluating import Evaluated, EvaluationProgress, evaluate_purchases
from recae.workflow.fitting import CONFIGS, DEFAULT_KIND, fit_config, fit_kind, make_config
from recae.workflow.holdout import HeldOut, hold_out, learners_of
from recae.workflow.measure import measure
from recae.workflow.pipeline import Progress, train

__all__ = [
    "CONFIGS",
    "DEFAULT_KIND",
    "Evaluated",
    "EvaluationProgress",
    "HeldOut",
    "Progress",
    "evaluate_purchases",
    "fit_config",
    "fit_kind",
    "hold_out",
    "learners_of",
    "make_config",
    "measure",
    "train",
]
