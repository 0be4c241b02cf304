"""Several processes that train together, against one that does it by itself; that one is held against autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from groups import together
from test_blocks import SMALL, purchases, run_epoch

from recae.errors import CheckpointError, ConfigError, RankLostError, TrainingError
from recae.pipeline import train as train_on
from recae.training.callbacks import Hooks, check_kind
from recae.training.checkpoint import Checkpoints
from recae.training.config import SigmoidSettings
from recae.training.distributed.torchrun import RankZeroTrainer, follow, rank_zero
from recae.training.exact.blocks import BlockTrainer
from recae.training.exact.group import Group
from recae.training.exact.ranks import ALONE, ROWS, Ranks
from recae.training.exact.shards import cut
from recae.training.kinds import sigmoid as choice
from recae.training.loop import train

EPOCHS = 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that play processes would otherwise set one another's number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(trainer: BlockTrainer) -> tuple[list[float], dict[str, np.ndarray]]:
    """The losses of some epochs, and the state after them."""
    losses = [run_epoch(trainer) for _ in range(EPOCHS)]
    return losses, {name: array.copy() for name, array in trainer.state().items()}


def weights(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a state means, whatever way its factors have: encoder, bias, and V U with V's missed rescalings applied."""
    return {name: state[name] for name in ("encoder", "encoder_bias", "encoder_norms", "Q")}


def models_differ(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest relative difference of two sets of arrays."""
    return max(float(np.abs(one[n] - other[n]).max() / np.abs(one[n]).max()) for n in one)


def no_odd_items(matrix: sp.csr_matrix) -> sp.csr_matrix:
    dense = matrix.toarray()
    dense[:, 1::2] = 0
    dense[:, 0] = 1
    return sp.csr_matrix(dense)


CHANGES: list[tuple[int, dict[str, Any]]] = [
    (2, {}),
    (2, {"purchase_weight": 1.0, "dropout": 0.0}),
    (3, {"dropout": 0.9, "fold_every": 40}),
    (2, {"batch_size": 64, "learning_rate": 0.4}),  # U is rescaled on the way
    (3, {"encoder_start": "svd", "batch_size": 89}),
    (5, {"factors": 2}),  # more processes than columns of the small matrices
]


@pytest.mark.some(3)
@pytest.mark.parametrize(
    ("size", "change"), CHANGES, ids=lambda value: str(value).strip("{}").replace("'", "")
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_several_processes_make_the_model_of_one(
    size: int, change: dict[str, Any], dtype: str, tolerance: float
) -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(dtype=dtype, **change)

    def run(trainer: BlockTrainer) -> Any:
        losses, state = trained(trainer)
        encoder, decoder = trainer.parameters.collect()
        return losses, {**weights(state), "encoder": encoder, "decoder": decoder}

    losses, alone = run(BlockTrainer(matrix, config))
    found = together(size, lambda group: run(BlockTrainer(matrix, config, ranks=group)))
    assert found[0][0] == pytest.approx(losses, rel=tolerance)
    assert models_differ(alone, found[0][1]) < tolerance


def test_a_process_without_a_purchase_among_its_items() -> None:
    matrix = no_odd_items(purchases(60, 20))
    alone = BlockTrainer(matrix, SMALL)
    for _ in range(EPOCHS):
        run_epoch(alone)

    def run(group: Group) -> Any:
        trainer = BlockTrainer(matrix, SMALL, ranks=group)
        for _ in range(EPOCHS):
            run_epoch(trainer)
        return trainer.parameters.collect()

    encoder, decoder = together(2, run)[0]
    expected = alone.parameters.collect()
    np.testing.assert_allclose(encoder, expected[0], atol=1e-4 * np.abs(expected[0]).max())
    np.testing.assert_allclose(decoder, expected[1], atol=1e-4 * np.abs(expected[1]).max())


def led(matrix: sp.csr_matrix, config: SigmoidSettings, hooks: Hooks) -> Callable[[Group], Any]:
    def run(group: Group) -> Any:
        with rank_zero(group):
            return train(RankZeroTrainer(matrix, config, group), hooks)

    return run


def test_the_same_number_of_processes_gives_the_same_bits() -> None:
    matrix = purchases(90, 60)
    first, second = (together(2, led(matrix, SMALL, Hooks()), follow)[0] for _ in range(2))
    assert [epoch.loss for epoch in first[1]] == [epoch.loss for epoch in second[1]]
    for name, array in first[0].arrays().items():
        assert array.tobytes() == second[0].arrays()[name].tobytes(), name


class StopError(Exception):
    """Stands for an interruption."""


def stop_after(blocks: int) -> Callable[[int], None]:
    calls = iter(range(blocks))

    def tell(done: int) -> None:
        if next(calls, None) is None:
            raise StopError

    return tell


def run_with(size: int, matrix: sp.csr_matrix, config: SigmoidSettings, hooks: Hooks) -> Any:
    if size == 1:
        return train(choice.make_trainer(matrix, config, "cpu"), hooks)

    def others(group: Group) -> None:
        with pytest.raises(RankLostError) if hooks.on_users else nullcontext():
            follow(group)

    return together(size, led(matrix, config, hooks), others)[0]


@pytest.mark.some(1)
@pytest.mark.parametrize(("before", "after"), [(2, 2), (1, 2), (2, 1), (3, 2)])
def test_a_checkpoint_goes_on_in_any_number_of_processes(before: int, after: int, tmp_path: Path) -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(fold_every=70, learning_rate=0.3, dtype="float64")
    path = tmp_path / "checkpoint"

    def quality(model: Any) -> float:
        return float(np.abs(model.decoder).sum())  # rises, so that the last epoch is the best

    straight, history = run_with(after, matrix, config, Hooks(validate=quality))
    with pytest.raises(StopError):
        # in the second epoch, whose six blocks have a checkpoint after three
        run_with(
            before,
            matrix,
            config,
            Hooks(validate=quality, checkpoints=Checkpoints(path, 48), on_users=stop_after(10)),
        )
    model, again = run_with(
        after, matrix, config, Hooks(validate=quality, checkpoints=Checkpoints(path, 48, resume=True))
    )
    assert [e.epoch for e in again] == [e.epoch for e in history]
    assert [e.loss for e in again] == pytest.approx([e.loss for e in history], rel=1e-9)
    for name, array in straight.arrays().items():
        found = model.arrays()[name]
        if before == after:
            assert array.tobytes() == found.tobytes(), name
        np.testing.assert_allclose(found, array, atol=1e-6 * np.abs(array).max())


def test_a_damaged_checkpoint_ends_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"x")
    hooks = Hooks(checkpoints=Checkpoints(tmp_path / "c", resume=True))

    def others(group: Group) -> None:
        with pytest.raises(RankLostError, match="has gone or does not answer"):
            follow(group)

    with pytest.raises(CheckpointError, match="empty, truncated, damaged"):
        together(2, led(purchases(90, 60), SMALL, hooks), others)


def test_the_death_of_a_process_ends_the_others() -> None:
    def die(group: Group) -> None:
        assert group.hear()[0] == "begin"
        group.close()

    with pytest.raises(RankLostError, match="start the training again, with --resume"):
        together(2, led(purchases(90, 60), SMALL, Hooks()), die)


def test_a_loss_that_is_not_finite_is_said_once() -> None:
    """The other processes leave it to process 0, and learn that it has gone."""
    matrix = purchases(90, 60)

    def lead(group: Group) -> None:
        with rank_zero(group):
            trainer = RankZeroTrainer(matrix, SMALL, group)
            trainer.parameters.encoder[:] = float("nan")
            run_epoch(trainer)

    def others(group: Group) -> None:
        with pytest.raises(RankLostError):
            follow(group)

    with pytest.raises(TrainingError, match="the loss became nan"):
        together(2, lead, others)


def test_too_little_memory_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, left = purchases(90, 60), [10**9, 1]
    monkeypatch.setattr("recae.training.device.memory_left", lambda device: left.pop(0))

    def others(group: Group) -> None:
        try:
            with pytest.raises(TrainingError, match=r"in process 1 of 2 needs .* of memory"):
                follow(group)
        finally:
            group.close()

    with pytest.raises(RankLostError):
        together(2, led(matrix, SMALL, Hooks()), others)


def test_memory_of_each_process_falls_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(choice, "check_memory", lambda need, *rest: asked.append(need))
    matrix = sp.csr_matrix((1000, 4_000_000), dtype=np.float32)
    config = choice.resolve(SigmoidSettings(batch_size=64, factors=256), matrix)
    ranks = Ranks()
    choice.check_fits(config, matrix, "cpu", ranks)
    ranks.size = 8
    choice.check_fits(config, matrix, "cpu", ranks)
    ranks.rank = 1
    choice.check_fits(config, matrix, "cpu", ranks)
    alone, first, other = asked
    assert alone / 8 < other < alone / 7.5
    assert other < first < alone


def test_more_processes_than_items_are_refused() -> None:
    matrix = sp.csr_matrix(np.ones((90, 2), np.float32))

    def others(group: Group) -> None:
        with pytest.raises(RankLostError):
            follow(group)

    with pytest.raises(
        ConfigError, match="3 processes share the items out among them, and there are 2 items"
    ):
        together(3, led(matrix, SMALL, Hooks()), others)


class Refused:
    """An engine that is never to be asked."""

    def describe(self) -> str:
        raise AssertionError

    def fit(self, *arguments: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "found kind blend: add --kind sigmoid --batch-size 256"),
        ({"kind": "auto"}, "found kind auto"),
        ({"kind": "deep", "batch_size": 64}, "found kind deep"),
        ({"kind": "sigmoid"}, "found batch_size 1, which is one user after the other: add --batch-size 256"),
        (
            {"kind": "sigmoid", "batch_size": 64, "tied": True},
            "found tied, emphasis, code_penalty or pretrain",
        ),
        ({"kind": "sigmoid", "batch_size": 64, "device": "cuda"}, "found --device cuda: leave it out"),
    ],
)
def test_what_several_processes_do_not_train(settings: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        train_on("no-such-file.csv", engine=Refused(), **settings)  # refused before anything is read


def test_purchases_that_do_not_weigh_alike_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave out --half-life and --quantity-as-confidence"):
        check_kind("sigmoid", SigmoidSettings(batch_size=2), "auto", weighted=True)


def test_what_they_do_train_is_not_refused() -> None:
    check_kind("sigmoid", SigmoidSettings(batch_size=2), "auto")


# the parts


def test_rows_are_drawn_as_by_one_process() -> None:
    n_items, dtype = 3 * ROWS + 5, np.dtype("float32")
    expected = np.random.default_rng(7).standard_normal((n_items, 3), dtype=dtype)
    assert ALONE.normal_rows(np.random.default_rng(7), n_items, 3, dtype).tobytes() == expected.tobytes()
    for rank in range(2):
        ranks = Ranks()
        ranks.rank, ranks.size = rank, 2
        rows = ranks.normal_rows(np.random.default_rng(7), n_items, 3, dtype)
        assert rows.tobytes() == expected[rank::2].tobytes()


def test_shares_are_the_purchases_once_each() -> None:
    matrix = purchases(90, 61)
    rebuilt = np.zeros(matrix.shape, np.int64)
    for rank in range(3):
        share = cut(matrix, rank, 3)
        for user in range(90):
            mine = slice(share.indptr[user], share.indptr[user + 1])
            items = share.items[mine] * 3 + rank
            rebuilt[user, items] += 1
            history = matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]
            assert history[share.places[mine]].tolist() == items.tolist()
    assert (rebuilt == matrix.toarray()).all()


def test_what_a_group_sends_arrives() -> None:
    rows = np.random.default_rng(0).random((2 * ROWS * 3 + 7, 2))
    small = np.arange(35.0).reshape(7, 5)

    def run(group: Group) -> None:
        mine = np.empty((group.count(len(rows)), 2))
        group.scatter(rows if group.rank == 0 else None, mine)
        assert (mine == rows[group.rank :: 3]).all()
        every = group.gather(mine, len(rows))
        assert (every == (rows if group.rank == 0 else mine)).all()
        known = np.full_like(small, -1)
        known[group.range(7)] = small[group.range(7)]
        group.join_rows(known)
        assert (known == small).all()
        total = np.full(3, float(group.rank))
        group.sum(total)
        assert total.tolist() == [3, 3, 3]
        group.agree(total := np.full(2, group.rank))
        assert total.tolist() == [0, 0]
        if group.rank == 0:
            group.tell("word", number=5)
            for other in (1, 2):
                group.hand_over(np.arange(10), other)
        else:
            assert group.hear() == ("word", {"number": 5})
            assert group.take_over(np.int64).tolist() == list(range(10))

    together(3, run)
