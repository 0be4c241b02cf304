"""The training loop: what it tells, what it refuses, and what a learning rate may be."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError, TrainingError
from recae.training.checkpoint import Epoch
from recae.training.config import SigmoidSettings, resolve
from recae.training.exact.cuda import DeviceBlockTrainer
from recae.training.exact.decoder import MAX_DRIFT, MAX_HASTE, FactoredDecoder
from recae.training.exact.per_user import PerUserTrainer
from recae.training.kinds.sigmoid import train_sigmoid


def purchases(n_users: int = 300, n_items: int = 60, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.3 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    return sp.csr_matrix(dense.astype(np.float32))


SMALL = SigmoidSettings(factors=8, epochs=3, learning_rate=0.1, purchase_weight=4.0, seed=1)


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("batch_size", "learning_rate", "purchase_weight"),
    [
        (1, 0.99, 1),
        (1, 0.9, 2.2),
        (1, 0.5, 3.9),
        (1, 0.1, 19.9),
        (1, 0.01, 199),
        (32, 0.5, 3.9),
        (32, 0.1, 19.9),
        (32, 0.01, 199),
    ],
)
def test_below_the_bound_no_step_diverges(
    batch_size: int, learning_rate: float, purchase_weight: float
) -> None:
    config = SMALL.updated(
        epochs=20,
        learning_rate=learning_rate,
        purchase_weight=purchase_weight,
        batch_size=batch_size,
        fold_every=100_000,
    )
    start = float(purchase_weight * purchases().nnz / 300)  # the loss of a reconstruction of nothing
    _, history = train_sigmoid(purchases(), config)
    assert all(epoch.loss < 3 * start for epoch in history)
    assert history[-1].loss < history[0].loss


@pytest.mark.parametrize("excess", [1.02, 3.0])
def test_beyond_the_bound_a_step_enlarges_the_error_it_should_reduce(excess: float) -> None:
    """One customer over and over: the error of a purchase is multiplied by 1 − α·learning_rate at each step."""
    matrix = sp.csr_matrix(np.array([[1, 1, 0, 0]], dtype=np.float32))
    for share, diverges in ((0.98, False), (excess, True)):
        config = SMALL.updated(epochs=400, encoder_learning_rate=0.0, dropout=0.0, dtype="float64")
        trainer = PerUserTrainer(matrix, config)
        # set behind the check, and at a constant rate
        resolved = trainer.config.updated(learning_rate=0.1, purchase_weight=share * 2 / 0.1, epochs=100_000)
        trainer.config = resolved
        losses = []
        for _ in range(60):
            trainer.advance()
            losses.append(trainer.end_epoch())
        # the items that were not bought have an error of their own, which shrinks by 1 − learning_rate
        growth = losses[-1] / losses[-2]
        assert (growth > 1) == diverges
        if diverges:
            assert growth == pytest.approx((1 - 0.1 * resolved.purchase_weight) ** 2, rel=1e-2)


def test_beyond_the_bound_training_is_refused() -> None:
    config = SMALL.updated(learning_rate=0.5, purchase_weight=4.0)
    with pytest.raises(ConfigError, match=r"below 2, .* found 4 × 0.5 = 2: choose a learning_rate below 0.5"):
        train_sigmoid(purchases(), config)
    resolve(config.updated(learning_rate=0.499), purchases())


@pytest.mark.parametrize("purchase_weight", [1, 50, 1000, 1e6])
def test_the_chosen_learning_rate_is_within_the_bound(purchase_weight: float) -> None:
    chosen = resolve(SMALL.updated(learning_rate=None, purchase_weight=purchase_weight), purchases())
    assert 0 < chosen.learning_rate * chosen.purchase_weight <= 1


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float64", 1e-12)])
def test_the_drift_of_q_is_kept_an_epoch(dtype: str, bound: float) -> None:
    _, history = train_sigmoid(purchases(), SMALL.updated(dtype=dtype), validate=lambda model: 0.0)
    assert all(0 < epoch.drift < bound for epoch in history)


def test_drift_makes_folds_more_frequent() -> None:
    rng = np.random.default_rng(0)
    decoder = FactoredDecoder.from_weights(rng.standard_normal((50, 5)).astype(np.float32))
    assert (decoder.drift, decoder.haste) == (0.0, 1)
    decoder.consolidate()
    assert decoder.drift < MAX_DRIFT
    assert decoder.haste == 1
    decoder.Q *= 1 + 3 * MAX_DRIFT
    decoder.consolidate()
    assert decoder.drift == pytest.approx(3 * MAX_DRIFT, rel=1e-2)
    assert decoder.haste == 2
    decoder.consolidate()
    assert decoder.haste == 2, "a single bad stretch is not held against it twice"
    for _ in range(20):
        decoder.Q[:] = 0
        decoder.consolidate()
    assert decoder.haste == MAX_HASTE
    decoder.Q[:] = np.nan
    decoder.consolidate()
    decoder.consolidate()
    assert np.isnan(decoder.drift), "what was not a number is not forgotten"


@pytest.mark.parametrize("batch_size", [1, 32])
def test_haste_divides_the_interval_between_folds(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    consolidate = FactoredDecoder.consolidate

    def counted(self: FactoredDecoder) -> None:
        calls.append(1)
        self.drift = 0.0
        consolidate(self)

    monkeypatch.setattr(FactoredDecoder, "consolidate", counted)
    config = SMALL.updated(epochs=8, fold_every=100 if batch_size == 1 else 128, batch_size=batch_size)
    train_sigmoid(purchases(), config)
    seldom = len(calls)
    calls.clear()
    monkeypatch.setattr("recae.training.exact.decoder.MAX_DRIFT", 0.0)
    train_sigmoid(purchases(), config)
    assert len(calls) > 2 * seldom


def test_haste_divides_the_interval_on_a_device_too(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    consolidate = DeviceBlockTrainer._consolidate

    def counted(self: DeviceBlockTrainer) -> None:
        calls.append(1)
        consolidate(self)

    monkeypatch.setattr(DeviceBlockTrainer, "_consolidate", counted)
    numbers = []
    for limit in (MAX_DRIFT, 0.0):
        monkeypatch.setattr("recae.training.exact.cuda.MAX_DRIFT", limit)
        trainer = DeviceBlockTrainer(
            purchases(), SMALL.updated(fold_every=128, batch_size=32, learning_rate=0.01, epochs=8), "cpu"
        )
        for _ in range(60):
            trainer.advance()
            if trainer.done == trainer.n_users:
                trainer.end_epoch()
        numbers.append(len(calls))
        calls.clear()
    assert numbers[1] > 2 * numbers[0]


def test_weights_that_are_not_finite_at_the_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is that before each step, so that the last step's damage does not show in it."""
    end = PerUserTrainer.end_epoch

    def spoil(self: Any) -> float:
        self.parameters.encoder[3, 2] = np.inf
        return end(self)

    monkeypatch.setattr(PerUserTrainer, "end_epoch", spoil)
    for validate in (None, lambda model: 0.0):
        with pytest.raises(TrainingError, match=r"the encoder is no longer finite at the end of epoch"):
            train_sigmoid(purchases(), SMALL.updated(epochs=1), validate=validate)


def test_what_an_epoch_tells() -> None:
    told: list[Epoch] = []
    users: list[int] = []
    starts: list[tuple[int, int]] = []
    model, history = train_sigmoid(
        purchases(),
        SMALL,
        validate=lambda model: 0.25,
        on_start=lambda epochs, n: starts.append((epochs, n)),
        on_users=users.append,
        on_epoch=told.append,
    )
    assert told == history
    assert starts == [(3, 300)]
    assert users.count(300) == 3
    assert all(e.recall == 0.25 and e.seconds > 0 for e in told)
    assert all(e.users_per_second == pytest.approx(300 / e.seconds) for e in told)
    assert model.n_items == 60
