"""Deep meta-classifiers: 1-D CNNs on raw weights (Eilertsen et al. 2020, sections 5.1 to 5.3, supplement F).

The global one reads the whole vector of one architecture, the local one slices of any. Every layer but the last is followed
by ReLU and batch normalisation, the fully connected ones then by dropout. Beyond the paper: regressions, and a
learned attention over the slices of a network (Ilse et al. 2018, attention-based multiple instance learning).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metanet.constraints import Count, Interval, OneOf, Positive, Rate
from metanet.data_modules.slices import SliceBatches, SliceDataModule, Slices
from metanet.errors import MetanetError
from metanet.lightning import device_of, torch_threads
from metanet.models.local import Balance, SliceModel
from metanet.models.losses import target_loss
from metanet.models.training import train_network
from metanet.zoo.zoo import View

# Channels of each convolution. P: a max-pooling by 2 follows; p: it does while more than 50 positions are left.
GLOBAL = "8p 16p 32p 64p 128p 128p 128p 128p 128p 128 256p 256 256p 256 256P"
LOCAL = "8P 16P 32 64P 128 256p 256p 256p 256p 256p 256p 256P"
DENSE = (1024, 1024, 1024, 1024, 64)
POOL_ABOVE = 50
DECAY, DECAYS = 0.95, 50
SQUASH = 20.0
Augment = Annotated[str, OneOf("none", "permute")]
Divide = Annotated[int, OneOf(1, 2, 4, 8)]  # what divides the channels of every layer


class DMCNetwork(nn.Module):
    """The network of a deep meta-classifier.

    Shapes: (B, M, S) bags of M slices -> (B, outputs); with M = 1 the paper's network. Its convolutions are two-dimensional
    ones over images one pixel high: with channels last they take half the time of one-dimensional ones on a CPU.

    Args:
        convolutions: :data:`GLOBAL` or :data:`LOCAL`.
        length: S.
        outputs: classes, or 1.
        divide: of all channels and widths, for a network that a laptop trains; convolutions and pools stay.
        dropout: after every hidden fully connected layer.
        attention: pool the slices of a bag by learned weights; else the outputs of the slices are averaged.
        squash: pass each value through asinh(20 x): about linear for small weights, logarithmic for large values.

    Raises:
        MetanetError: the slices are too short.
    """

    def __init__(
        self,
        convolutions: str,
        length: int,
        outputs: int,
        divide: int = 1,
        dropout: float = 0.5,
        attention: bool = False,
        squash: bool = False,
    ) -> None:
        super().__init__()
        self.squash = squash
        layers: list[nn.Module] = []
        channels = 1
        for word in convolutions.split():
            after = int(word.rstrip("Pp")) // divide
            layers += [nn.Conv2d(channels, after, (1, 5), padding=(0, 2)), nn.ReLU(), nn.BatchNorm2d(after)]
            channels = after
            if word.endswith("P") or (word.endswith("p") and length > POOL_ABOVE):
                layers.append(nn.MaxPool2d((1, 2)))
                length //= 2
        if length < 1:
            raise MetanetError("a slice this short leaves nothing to pool; give one of at least 16 values")
        layers.append(nn.Flatten())
        width = channels * length
        for after in (w // divide for w in DENSE):
            layers += [nn.Linear(width, after), nn.ReLU(), nn.BatchNorm1d(after), nn.Dropout(dropout)]
            width = after
        self.embedding = nn.Sequential(*layers)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)) if attention else None
        self.last = nn.Linear(width, outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, bags: Tensor) -> Tensor:
        count, members, length = bags.shape
        if self.squash:
            bags = squashed(bags)
        rows = bags.reshape(count * members, 1, 1, length).contiguous(memory_format=torch.channels_last)
        embedded = self.embedding(rows).view(count, members, -1)  # (B, M, 64)
        if self.attention is not None:
            embedded = (self.attention(embedded).softmax(1) * embedded).sum(1, keepdim=True)  # (B, 1, 64)
        return self.last(embedded).mean(1)


def squashed(values: Tensor) -> Tensor:
    """asinh(20 x), written so that a processor computes several at once (torch.asinh takes more than twice as long)."""
    size = (SQUASH * values).abs()
    inverse = size.reciprocal()
    return torch.copysign(torch.log1p(size + size / (inverse + inverse.square().add_(1).sqrt_())), values)


class DMC(SliceModel):
    """What the global and the local deep meta-classifier share: Adam, learning rate x 0.95 fifty times over the run.

    Args:
        epochs: passes over the training vectors, each with new slices.
        batch_size: vectors of a batch.
        learning_rate: at the start.
        dropout: of the hidden fully connected layers.
        divide: of channels and widths.
        squash: compress the values before the first layer; False is the paper's. The running variances of batch normalisation
            reach 1e4 where kernels are about 0.05: one such slice in a batch spoils the meta-classifier's own batch statistics,
            and what it learned in training is gone in evaluation.
        augment: ``permute`` shows each training vector with its network's hidden neurons in ever another order, which changes
            nothing that the network does; ``none`` is the paper's. A few hundred networks are else known by heart.
        trainer: further arguments of pl.Trainer.
        base: of :class:`metanet.models.local.SliceModel`.
    """

    convolutions: ClassVar[str]

    def __init__(
        self,
        epochs: Count = 500,
        batch_size: Annotated[int, Interval(2)] = 64,
        learning_rate: Positive = 1e-3,
        dropout: Rate = 0.5,
        divide: Divide = 1,
        squash: bool = True,
        augment: Augment = "none",
        trainer: dict[str, Any] | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.epochs, self.batch_size, self.learning_rate, self.dropout = epochs, batch_size, learning_rate, dropout
        self.divide, self.squash, self.augment, self.trainer, self.attention = divide, squash, augment, trainer, False

    @property
    def members(self) -> int:
        """Slices of a training example."""
        return 1

    def create_network(self) -> DMCNetwork:
        """The network, its initial weights by the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return DMCNetwork(
                self.convolutions, self.length, self.classes or 1, self.divide, self.dropout, self.attention, self.squash
            )

    def fit_slices(self, slices: Slices, codes: np.ndarray) -> None:
        self.network = self.create_network()
        batches = SliceBatches(slices, codes, self.batch_size, self.members, self.seed, self.draws, self.augment == "permute")
        module = _Training(self, len(batches))
        self.curve = train_network(
            self.network,
            module,
            SliceDataModule(batches),
            self.epochs,
            False,
            self.seed,
            self.threads,
            self.trainer,
            on_round=self.on_round,
            facts=[self.name, self.settings(), self.length, codes, slices.view.frame],
        ).curve

    @torch.inference_mode()
    def logits(self, values: np.ndarray) -> np.ndarray:
        return self._forward(torch.from_numpy(values)[:, None])

    def _judge(self, values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._forward(torch.from_numpy(values)[None])[0]

    def _forward(self, bags: Tensor) -> np.ndarray:
        """Bags (B, M, S) -> (B, C), where the trainer's accelerator is."""
        device = device_of(self.trainer)
        network = self.network.to(device).eval()
        with torch_threads(self.threads):
            raw = network(bags.to(device))
        if not self.classes and self.target.kind == "share":
            raw = raw.sigmoid()
        return raw.cpu().numpy()

    def save_estimator(self, folder: Path) -> None:
        save_file({k: v.cpu().contiguous() for k, v in self.network.state_dict().items()}, folder / "network.safetensors")

    def load_estimator(self, folder: Path) -> None:
        self.network = self.create_network()
        self.network.load_state_dict(load_file(folder / "network.safetensors"))
        self.network.eval()


class DMCGlobal(DMC):
    """The global deep meta-classifier: 15 convolutions over the whole vector, of one architecture.

    Args:
        epochs: the paper's 100, over the last four snapshots of each network (``train.snapshots=4``).
        base: of :class:`DMC`.
    """

    name = "dmc_global"
    own_input: ClassVar[str | None] = "vector"
    local: ClassVar[bool] = False
    convolutions: ClassVar[str] = GLOBAL
    fixed: ClassVar[dict[str, Any]] = {"slice": None, "part": "all", "short": "run_on", "votes": 1}

    def __init__(self, epochs: Count = 100, **base: Any) -> None:
        super().__init__(epochs=epochs, **self.fixed, **base)

    def choose_length(self, view: View) -> int:
        return view.layout.size

    def slices(self, view: View) -> Slices:
        """Whole vectors, as one slice each.

        Raises:
            MetanetError: they have not the length of those that it was trained on.
        """
        if view.layout.size != self.length:
            raise MetanetError(
                f"vectors of {view.layout.size} values were given, the model was trained on {self.length}; take dmc_local, which "
                "reads networks of any size"
            )
        return super().slices(view)


class DMCLocal(DMC):
    """The local deep meta-classifier: 12 convolutions over a slice.

    Args:
        attention: train on bags of slices of one network, pooled by learned weights; else on single slices.
        bag: slices of a bag.
        base: of :class:`DMC`; the paper trains 500 epochs on the last two snapshots (``train.snapshots=2``).
    """

    name = "dmc_local"
    convolutions: ClassVar[str] = LOCAL

    def __init__(self, attention: bool = False, bag: Count = 8, **base: Any) -> None:
        super().__init__(**base)
        self.attention, self.bag = attention, bag

    @property
    def members(self) -> int:
        """Slices of a training example."""
        return self.bag if self.attention else 1


class DMCGlobalMini(DMCGlobal):
    """The global one with an eighth of the channels and widths.

    Args:
        divide: of channels and widths.
        balance: of the training classes; small zoos have too few networks of a rare class to drop the others.
        dropout: half of the eight units of its narrowest layer would be too few to learn through.
        augment: of the training vectors; the few networks of small zoos would be known by heart without.
        base: of :class:`DMCGlobal`.
    """

    name = "dmc_global_mini"

    def __init__(
        self, divide: Divide = 8, balance: Balance = "draw", dropout: Rate = 0.1, augment: Augment = "permute", **base: Any
    ) -> None:
        super().__init__(divide=divide, balance=balance, dropout=dropout, augment=augment, **base)


class DMCLocalMini(DMCLocal):
    """The local one with an eighth of the channels and widths.

    Args:
        divide: of channels and widths.
        balance: of the training classes; small zoos have too few networks of a rare class to drop the others.
        dropout: half of the eight units of its narrowest layer would be too few to learn through.
        augment: of the training vectors; the few networks of small zoos would be known by heart without.
        base: of :class:`DMCLocal`.
    """

    name = "dmc_local_mini"

    def __init__(
        self, divide: Divide = 8, balance: Balance = "draw", dropout: Rate = 0.1, augment: Augment = "permute", **base: Any
    ) -> None:
        super().__init__(divide=divide, balance=balance, dropout=dropout, augment=augment, **base)


class _Training(pl.LightningModule):
    """Cross-entropy for categories, squared error for numbers."""

    def __init__(self, model: DMC, batches: int) -> None:
        super().__init__()
        self.network, self.model, self.steps = model.network, model, batches * model.epochs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        bags, codes = batch
        return target_loss(self.network(bags), codes, self.model.target)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.network.parameters(), self.model.learning_rate)
        steps = self.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: DECAY ** (DECAYS * step // steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
