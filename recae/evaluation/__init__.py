"""How good a model is: what it ranks for histories, compared with the items held out of them."""

from recae.evaluation.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
