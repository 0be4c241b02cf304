"""Optimiser of mini-batches: Adam, and row-wise AdaGrad for tables with sparse gradients."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.adamw import adamw

EPSILON = 1e-8
BETAS = (0.9, 0.999)


class Optimiser:
    """Adam with decoupled weight decay (arXiv:1412.6980, arXiv:1711.05101) for parameters with dense gradients.

    A table with sparse gradients moves by row-wise AdaGrad: with g_j the gradient at row j, of d numbers,

        n_j ← n_j + ‖g_j‖²/d,    row_j ← row_j − rate / (√n_j + ε) · g_j,

    which reads and writes the rows of the step alone; weight decay, too, reaches a row only when a step does.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        tables: Collection[str] = (),
        *,
        learning_rate: float,
        row_learning_rate: float,
        l2: float = 0.0,
    ) -> None:
        """Make the state of the optimiser.

        Args:
            parameters: by name.
            tables: names of those with sparse gradients.
            learning_rate: of Adam.
            row_learning_rate: of AdaGrad.
            l2: weight decay a unit of learning rate.
        """
        self._parameters = dict(parameters)
        self._rates = (learning_rate, row_learning_rate, l2)
        self._norms: dict[str, Tensor] = {}
        for name in sorted(tables):
            table = self._parameters[name]
            self._norms[name] = torch.zeros(len(table), dtype=table.dtype, device=table.device)
        self._adam = {  # made now, since a checkpoint is read into it
            name: {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(p, requires_grad=False),
            }
            for name, p in self._parameters.items()
            if name not in tables
        }

    def step(self, rate: float) -> None:
        """Move the parameters that have a gradient, with the learning rates times `rate`; clear the gradients."""
        learning_rate, row_learning_rate, l2 = self._rates
        for name, norms in self._norms.items():
            self._move_rows(self._parameters[name], norms, row_learning_rate * rate, l2)
        self._move_dense(learning_rate * rate, l2)
        for p in self._parameters.values():
            p.grad = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what steps change besides the parameters, by name, not copied where it lies on the host."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self._tensors().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `state` gave."""
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(np.array(state[name])))

    def _move_dense(self, rate: float, l2: float) -> None:
        # PyTorch's function and not its class, which imports the whole of torch.compile (some two seconds) when it is
        # made, and asks it at each step whether it is being compiled.
        moved = [name for name in self._adam if self._parameters[name].grad is not None]
        parameters = [self._parameters[name] for name in moved]
        steps, averages, squares = (
            [self._adam[name][key] for name in moved] for key in ("step", "exp_avg", "exp_avg_sq")
        )
        with torch.no_grad():
            adamw(
                parameters,  # type: ignore[arg-type]  # a list of a narrower type, which it only reads
                [p.grad for p in parameters],  # type: ignore[misc]  # none is None, see `moved`
                averages,
                squares,
                [],
                steps,
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=rate,
                weight_decay=l2,
                eps=EPSILON,
                maximize=False,
            )

    @staticmethod
    def _move_rows(table: nn.Parameter, norms: Tensor, rate: float, l2: float) -> None:
        if table.grad is None:
            return
        gradient = table.grad.coalesce()
        rows, g = gradient.indices()[0], gradient.values()
        norms[rows] += (g * g).mean(1)
        step = rate / (norms[rows].sqrt() + EPSILON)
        with torch.no_grad():
            old = table[rows]
            table[rows] = old * (1 - rate * l2) - step[:, None] * g

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"norms.{name}": norms for name, norms in self._norms.items()}
        for name, averages in self._adam.items():
            for key, tensor in averages.items():
                tensors[f"adam.{name}.{key}"] = tensor
        return tensors
