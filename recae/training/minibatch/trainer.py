"""Mini-batch trainer: a network, an output layer with its loss, and an optimiser."""

from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recae.models import Model
from recae.settings import Settings, setting
from recae.training.batches import make_batch
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.device import check_memory
from recae.training.exact.head import ExactHead
from recae.training.loop import train
from recae.training.minibatch.losses import BLOCK_BYTES, Sampler
from recae.training.minibatch.networks import Context, Network
from recae.training.minibatch.optimisers import Optimiser
from recae.training.minibatch.outputs import ExactOutput, FullOutput, Output, SampledOutput
from recae.training.trainer import Trainer


class MinibatchSettings(Settings):
    """Settings of mini-batch training, named as in the kinds that have them; all are given."""

    loss: Literal["squared", "logistic", "multinomial"] = setting("multinomial", "what is to be small")
    learning_rate: float = setting(1e-3, "step of Adam")
    row_learning_rate: float = setting(0.04, "step of the row-wise AdaGrad")
    output_learning_rate: float = setting(0.02, "decoder step ‖h‖²η of the exact output layer, in (0, 1)")
    l2: float = setting(0.0, "weight decay a unit of learning rate; the exact output layer has none")
    purchase_weight: float = setting(
        1.0, "α ≥ 1, the factor on the loss of a purchase (not for the multinomial loss)"
    )
    dropout: float = setting(0.0, "fraction of a history hidden from the network at each step")
    emphasis: float = setting(1.0, "factor on the loss of what is hidden")
    input_power: float = setting(0.5, "p: a history of m items enters as x/m^p")
    tied: bool = setting(False, "whether the output layer's weights are those of the first layer")
    sampled: int | None = setting(
        None,
        "items drawn for the loss of a step besides the batch's own; None or 0: all items. Not for the squared loss, "
        "whose steps read no others anyway, nor for tied weights",
    )
    fold_every: int = setting(50_000, "users after which the exact output layer is consolidated")
    decoder_scale: float = setting(0.01, "standard deviation of the output layer's first weights, times √D")
    dtype: Literal["float32", "float64"] = setting("float32", "float32 or float64")

    @classmethod
    def of(cls, config: Settings, **others: Any) -> Self:
        """Return the settings that a kind has under the same name, and others."""
        return cls(**{name: value for name, value in config if name in cls.model_fields} | others)


MakeNetwork = Callable[[int, Any, torch.Generator], Network]
"""Makes a network on the CPU from the number of items, the settings and the generator of its first weights."""

LOOK_EVERY = 16
"""Steps between two looks at the loss on a GPU."""


class MinibatchTrainer(Trainer):
    """One step of everything for each `batch_size` users; what moves is up to the phases of the network."""

    def __init__(
        self,
        matrix: sp.csr_matrix,
        config: Any,
        device: str,
        make_network: MakeNetwork,
        settings: MinibatchSettings | None = None,
        confidence: NDArray[np.float32] | None = None,
    ) -> None:
        """Make network, output layer and optimiser.

        Args:
            matrix: (U, I) CSR, purchases or values in [0, 1].
            config: settings of the kind, resolved.
            device: "cpu" or "cuda".
            make_network: makes the network of these settings.
            settings: what it is trained by.
            confidence: in each entry, (nnz,) in the order of the matrix; None: 1.

        Raises:
            TrainingError: there is nothing to learn from, or the parameters do not fit in the device's memory; before
                they are allocated.
        """
        super().__init__(matrix, config, config.batch_size)
        self.settings = settings or MinibatchSettings.of(config)
        self._entry_weights = confidence
        n_items = matrix.shape[1]
        check_memory(
            self._memory_needed(make_network),
            device,
            f"training this network for {n_items:,} items",
            lower="its layers or batch_size",
        )
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, self.settings.dtype)
        self._look_every = 1 if device == "cpu" else LOOK_EVERY
        draw = torch.Generator().manual_seed(self._word(0))
        self.network = make_network(n_items, config, draw).to(self._device)
        self.output = self._make_output(draw).to(self._device)
        self.judged_from = self.network.pretraining + 1
        named = [("network", self.network), ("output", self.output)]
        self._parts: dict[str, torch.nn.Module] = dict(named)
        trained = {
            f"{part}.{name}": p
            for part, module in named
            for name, p in module.named_parameters()
            if p.requires_grad
        }
        self._trained = trained
        tables = {
            f"{part}.{name}.weight"
            for part, module in named
            for name, table in module.named_modules()
            if isinstance(table, torch.nn.Embedding | torch.nn.EmbeddingBag) and table.sparse
        }
        self._optimiser = Optimiser(
            trained,
            tables,
            learning_rate=self.settings.learning_rate,
            row_learning_rate=self.settings.row_learning_rate,
            l2=self.settings.l2,
        )
        factored = [f"output.{name}" for name in ("V", "U", "U_inv", "Q")]
        self.weights = (*trained, *(name for name in factored if name in self.state()))
        steps = -(-self.n_users // self._block)
        self._context = Context(self.epochs, steps, self.n_users)
        self.network.begin_epoch(1, self._context)

    @property
    def epochs(self) -> int:
        """Passes over the users, those of pre-training included."""
        return int(self.config.epochs) + self.network.pretraining

    def model(self) -> Model:
        """Return the model as trained so far."""
        return self.network.to_model(*self.output.weights(), self.config.as_dict())

    def take_drift(self) -> float:
        """Return the drift of the exact output layer."""
        return self.output.take_drift()

    def end_epoch(self) -> float:
        """Begin the next epoch; return the mean loss a user, with penalties, of the one that ended."""
        loss = super().end_epoch()
        if self.epoch <= self.epochs:
            self.network.begin_epoch(self.epoch, self._context)
        return loss

    def settings_to_lower(self) -> str:
        """Return the learning rates that have a part in it."""
        s = self.settings
        rates = [f"learning_rate ({s.learning_rate:g})"]
        if self._exact():
            rates.append(f"output_learning_rate ({s.output_learning_rate:g})")
        if s.purchase_weight > 1:
            rates.append(f"purchase_weight ({s.purchase_weight:g})")
        return " or ".join(rates)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return parameters and buffers, the optimiser's state, and the factors of an exact output layer."""
        state = {name: tensor.detach().cpu().numpy() for name, tensor in self._tensors().items()}
        state |= {f"output.{name}": array for name, array in self.output.more_state().items()}
        return state | {f"optimiser.{name}": array for name, array in self._optimiser.state().items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` gave."""
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(torch.from_numpy(np.array(state[name])))
        self.output.restore({name: state[f"output.{name}"] for name in self.output.more_state()})
        self._optimiser.restore({name: state[f"optimiser.{name}"] for name in self._optimiser.state()})

    def _draw(self) -> tuple[NDArray[np.int64], np.random.Generator]:
        """Return the users of the next batch, and the source of its random numbers."""
        return self._order[self.done : self.done + self._block], self._numbers()

    def _steps(self, users: NDArray[np.int64], drawn: np.random.Generator, rate: float) -> torch.Tensor:
        s, phase = self.settings, self.network.phase(self.epoch)
        self._set_trained(phase.network, phase.output)
        batch = make_batch(
            self.matrix,
            users,
            dropout=s.dropout if phase.dropout else 0.0,
            input_power=s.input_power,
            emphasis=s.emphasis,
            entry_weights=self._entry_weights,
            rng=drawn,
            dtype=self._dtype,
            device=self._device,
            epoch=self.epoch,
            step=(self.epoch - 1) * self._context.steps + self.done // self._block,
        )
        self.network.generator = torch.Generator(self._device).manual_seed(self._word(self.epoch, self.done))
        self.network.train()
        H, penalty = self.network(batch)
        value: torch.Tensor = penalty.detach().double()
        total = penalty
        if phase.loss:
            self.output.begin_step(batch, drawn)
            loss, like_loss = self.output.loss(H, batch, rate)
            value, total = value + loss.double(), total + like_loss
        if total.requires_grad:
            # the mean over the users, so that penalties and weight decay weigh alike in batches of any size
            (total / len(users)).backward()
            self._optimiser.step(rate)
        return value

    def _set_trained(self, network: bool, output: bool) -> None:
        for name, p in self._trained.items():
            p.requires_grad_(network if name.startswith("network.") else output)

    def _make_output(self, draw: torch.Generator) -> Output:
        s, n_items, size = self.settings, self.matrix.shape[1], self.network.size
        if self._exact():
            head = ExactHead(
                n_items,
                size,
                learning_rate=s.output_learning_rate,
                purchase_weight=s.purchase_weight,
                fold_every=s.fold_every,
                decoder_scale=s.decoder_scale,
                dtype=s.dtype,
                device=self._device,
                rng=np.random.default_rng([self.config.seed, 0]),
            )
            return ExactOutput(head)
        if s.tied:
            return FullOutput(s.loss, s.purchase_weight, n_items, None, self.network.tied_weight())
        W = torch.empty(n_items, size, dtype=self._dtype)
        W.normal_(0, s.decoder_scale / size**0.5, generator=draw)
        if s.sampled:
            popularity = np.bincount(self.matrix.indices, minlength=n_items)
            return SampledOutput(s.loss, s.purchase_weight, W, Sampler(popularity, s.sampled))
        return FullOutput(s.loss, s.purchase_weight, n_items, torch.nn.Parameter(W), None)

    def _exact(self) -> bool:
        return self.settings.loss == "squared" and not self.settings.tied

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {
            f"{part}.{name}": tensor
            for part, module in self._parts.items()
            for name, tensor in module.state_dict().items()
        }

    def _word(self, *words: int) -> int:
        """Return a seed of the configuration's and these numbers, apart from those of the order and of dropout."""
        seed = np.random.SeedSequence([self.config.seed, *words], spawn_key=(1,))
        return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _memory_needed(self, make_network: MakeNetwork) -> int:
        """Return the bytes that training takes, about: parameters, gradients, Adam's two means, and a batch."""
        s, (n_users, n_items) = self.settings, self.matrix.shape
        size = np.dtype(s.dtype).itemsize
        with torch.device("meta"):  # shapes without memory
            network = make_network(n_items, self.config, torch.Generator())
        numbers = 4 * sum(p.numel() for p in network.parameters())
        numbers += (2 if self._exact() else 4) * n_items * (network.size + 1) * (not s.tied)
        entries = -(-self.matrix.nnz * self._block // max(n_users, 1))
        numbers += self._block * network.size * 16 + entries * network.size
        logits = 0 if s.loss == "squared" else 2 * BLOCK_BYTES
        return numbers * size + logits + entries * 40


def fit_minibatch(
    matrix: sp.csr_matrix,
    config: Settings,
    hooks: Hooks,
    make_network: MakeNetwork,
    settings: MinibatchSettings | None = None,
) -> tuple[Model, list[Epoch]]:
    """Train a network on the rows of a matrix; returns and raises what `train` does.

    Args:
        matrix: (U, I) CSR, purchases or values in [0, 1].
        config: settings of the kind, with nothing left to choose; among them epochs, batch_size, patience and seed.
        hooks: see `Hooks`.
        make_network: makes the network of these settings.
        settings: what it is trained by; None: the settings of the kind that have the same names.
    """
    trainer = MinibatchTrainer(matrix, config, hooks.device, make_network, settings, hooks.confidence)
    return train(trainer, hooks)
