"""Fully connected network on features (Unterthiner et al. 2020, section 4.2), trained by Lightning."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metanet.constraints import Count, Interval, NotNegative, OneOf, Positive, Rate
from metanet.data_modules.vectors import VectorDataModule
from metanet.distributions import Distribution
from metanet.generation.initializers import INITIALIZERS
from metanet.lightning import torch_threads
from metanet.models.base import MatrixModel
from metanet.models.losses import ShareLoss, target_loss, target_output
from metanet.models.training import train_network

# Of Supplement A.4: the five of the base networks.
PAPER_INITIALIZERS = ("glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal")
Optimizer = Annotated[str, OneOf("adam", "adamw", "sgd")]


class DNN(MatrixModel):
    """ReLU layers with dropout; sigmoid output for accuracies, softmax for categories.

    The epoch with the best validation loss is kept; with ``refit`` the final network is trained on
    training and validation part for that many epochs.

    Args:
        layers, units: hidden layers and their width.
        dropout: after each hidden layer.
        loss: for accuracies ``mse`` (the paper's) or ``cross_entropy``.
        optimizer: ``adam``, ``adamw`` (whose l2 is decoupled weight decay) or ``sgd``.
        learning_rate, l2: of the optimizer.
        batch_size, max_epochs, patience: training stops after ``patience`` epochs without gain.
        trainer: further arguments of pl.Trainer.
        w_init: of the kernels, biases then being zero: one of the five initialisers of Supplement A.4, or ``default``, which is
            torch's (without a hidden layer: zero).
        init_std: of ``normal`` and ``truncated_normal``.
        clip: bound on standardised inputs, in standard deviations.
    """

    name = "dnn"
    one_cycle: ClassVar[bool] = False
    linear: type[nn.Linear] = nn.Linear
    ema: float | None = None
    standardise: ClassVar[bool] = True
    rounds_setting: ClassVar[str | None] = "max_epochs"

    @classmethod
    def space(cls, columns: int) -> dict[str, Distribution]:
        """Supplement A.4; ends that the paper's text lost are read off its released configurations."""
        return {
            "layers": {"integer": [3, 9]},
            "units": {"integer": [256, 511]},
            "dropout": {"uniform": [0.0, 0.2]},
            "l2": {"log_uniform": [1e-8, 1e-3]},
            "learning_rate": {"log_uniform": [1e-3, 0.5]},
            "init_std": {"log_uniform": [1e-3, 1e-1]},
            "optimizer": ["adam", "sgd"],
            "batch_size": [64, 128, 256, 512],
            "w_init": list(PAPER_INITIALIZERS),
            "max_epochs": 300,
            "patience": 10,
        }

    def __init__(
        self,
        layers: Annotated[int, Interval(0)] = 3,
        units: Count = 256,
        dropout: Rate = 0.1,
        loss: ShareLoss = "mse",
        optimizer: Optimizer = "adam",
        learning_rate: Positive = 1e-3,
        l2: NotNegative = 1e-5,
        batch_size: Count = 64,
        max_epochs: Count = 300,
        patience: Count = 30,
        w_init: Annotated[str, OneOf("default", *PAPER_INITIALIZERS)] = "default",
        init_std: NotNegative = 0.05,
        trainer: dict[str, Any] | None = None,
        clip: Positive | None = 5.0,
        **base: Any,
    ) -> None:
        super().__init__(clip=clip, **base)
        self.layers, self.units, self.dropout, self.loss, self.optimizer = layers, units, dropout, loss, optimizer
        self.learning_rate, self.l2, self.batch_size = learning_rate, l2, batch_size
        self.max_epochs, self.patience, self.trainer = max_epochs, patience, trainer
        self.w_init, self.init_std = w_init, init_std

    def fit_matrix(
        self, x: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None, rounds: int | None
    ) -> int:
        network = self._network(x.shape[1])
        steps = self.max_epochs * -(-len(y) // self.batch_size)
        module = _Regression(network, self, steps)
        data = VectorDataModule(x, y, validation, self.batch_size, self.seed)
        stop = pl.callbacks.EarlyStopping("validation_loss", patience=self.patience)
        epochs = self.max_epochs if rounds is None else rounds
        trained = train_network(
            network,
            module,
            data,
            epochs,
            validation is not None,
            self.seed,
            self.threads,
            self.trainer,
            self.ema,
            [stop] if validation else [],
            self.on_round,
            facts=[self.name, self.settings(), self.target.to_json(), x, y, validation],
        )
        self.network = network
        if validation:
            self.curve = trained.curve
        return trained.epoch

    def _network(self, inputs: int) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            widths = [inputs] + [self.units] * self.layers
            blocks: list[nn.Module] = []
            for a, b in itertools.pairwise(widths):
                blocks += [self.linear(a, b), nn.ReLU(), nn.Dropout(self.dropout)]
            last = self.linear(widths[-1], self.classes or 1)
            network = nn.Sequential(*blocks, last)
            if self.w_init != "default":
                generator = torch.Generator().manual_seed(self.seed)
                for layer in network:
                    if isinstance(layer, nn.Linear):
                        INITIALIZERS[self.w_init](layer.weight.detach(), self.init_std, generator)
                        nn.init.zeros_(layer.bias)
            elif not blocks:  # a convex problem: start at zero, so that unused inputs add no noise
                nn.init.zeros_(last.weight)
            return network

    @torch.no_grad()
    def output_matrix(self, x: np.ndarray) -> np.ndarray:
        self.network.eval()
        with torch_threads(self.threads):
            raw = self.network(torch.from_numpy(np.ascontiguousarray(x, np.float32)))
        output = target_output(raw, self.target).numpy()
        return output if self.classes else output.astype(np.float64)

    def save_estimator(self, folder: Path) -> None:
        save_file(dict(self.network.state_dict()), folder / "network.safetensors")

    def load_estimator(self, folder: Path) -> None:
        self.network = self._network(len(self.map.names))
        self.network.load_state_dict(load_file(folder / "network.safetensors"))


class _Regression(pl.LightningModule):
    """One network on feature vectors; also a classification, by its loss."""

    def __init__(self, network: nn.Module, model: DNN, steps: int) -> None:
        super().__init__()
        self.network = network
        self.model = model
        self.steps = steps

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return target_loss(self.network(x), y, self.model.target, self.model.loss)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("validation_loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        model = self.model
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[model.optimizer]
        optimizer = kind(self.network.parameters(), model.learning_rate, weight_decay=model.l2)
        if not model.one_cycle:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, model.learning_rate, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
