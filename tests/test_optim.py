"""The optimiser of mini-batches: row-wise AdaGrad for tables (Adam is held against its formulas in test_minibatch)."""

import numpy as np
import torch

from recae.training.minibatch.optimisers import EPSILON, Optimiser


def test_row_wise_adagrad_touches_only_the_rows_of_a_step() -> None:
    rng = np.random.default_rng(0)
    table = torch.nn.Parameter(torch.from_numpy(rng.standard_normal((6, 3))))
    start = table.detach().clone().numpy()
    optimiser = Optimiser({"t": table}, {"t"}, learning_rate=1.0, row_learning_rate=0.5, l2=0.1)
    norms, expected = np.zeros(6), start.copy()
    for rate in (1.0, 0.5):
        values = rng.standard_normal((3, 3))
        rows = torch.tensor([[4, 1, 4]])
        table.grad = torch.sparse_coo_tensor(rows, torch.from_numpy(values), (6, 3))
        optimiser.step(rate)
        for j, g in ((1, values[1]), (4, values[0] + values[2])):
            norms[j] += (g**2).mean()
            expected[j] = expected[j] * (1 - 0.05 * rate) - 0.5 * rate / (norms[j] ** 0.5 + EPSILON) * g
    np.testing.assert_allclose(table.detach().numpy(), expected, rtol=1e-12)
    optimiser.step(1.0)  # no gradient, no step
    np.testing.assert_allclose(table.detach().numpy(), expected, rtol=1e-12)
    assert set(optimiser.state()) == {"norms.t"}
