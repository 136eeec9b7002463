"""Encoders: meta-models that read raw weights and cannot see the order of hidden neurons.

:class:`Encoder` is their contract on a view: batches, training, choice of an epoch, prediction, saving. A subclass is one
file with a network that turns a batch of one architecture into vectors (B, H); heads read those, one a target.
"""

from __future__ import annotations

import copy
import itertools
import json
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metanet.constraints import Between, Count, NotNegative, Positive, Rate, Seed
from metanet.data_modules.networks import NetworkBatch, NetworkBatches, NetworkDataModule, NetworkPart, Networks
from metanet.errors import MetanetError
from metanet.lightning import device_of, torch_threads
from metanet.models.base import HeldOut, MetaModel
from metanet.models.inputs import MatrixInput
from metanet.models.losses import Epoch, ShareLoss, target_loss, target_output
from metanet.models.target import Target
from metanet.models.training import train_network
from metanet.representations.canonical import canonical
from metanet.representations.slots import Architecture, Slots
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire
from metanet.zoo.zoo import View

SAMPLED = 256  # training vectors of each layout that scales are read off


class EncoderNetwork(nn.Module):
    """What a subclass of :class:`Encoder` gives: networks of one architecture -> vectors.

    Attributes:
        width: H.
    """

    width: int

    def forward(self, part: NetworkPart) -> Tensor:
        """b networks of one architecture -> (b, H)."""
        raise NotImplementedError


class Heads(nn.Module):
    """An encoder, and what makes predictions of its vectors: two hidden layers, then one linear map a target."""

    def __init__(self, encoder: EncoderNetwork, beside: int, hidden: int, dropout: float, targets: list[Target]) -> None:
        super().__init__()
        self.encoder = encoder
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((encoder.width + beside, hidden, hidden)):
            layers += [nn.Dropout(dropout), nn.Linear(before, after), nn.ReLU()]
        self.trunk = nn.Sequential(nn.LayerNorm(encoder.width + beside), *layers, nn.Dropout(dropout))
        self.last = nn.ModuleList(nn.Linear(hidden, len(t.classes) or 1) for t in targets)

    def forward(self, batch: NetworkBatch) -> list[Tensor]:
        """Raw outputs (B, C) or (B, 1) of each target.

        Raises:
            MetanetError: the encoder's vectors have not the width that it says.
        """
        vectors = torch.cat([self.encoder(part) for part in batch.parts])
        if vectors.shape[1] != self.encoder.width:
            raise MetanetError(
                f"{type(self.encoder).__name__} gave vectors of {vectors.shape[1]} values, and its width is {self.encoder.width}"
            )
        if batch.beside is not None:
            vectors = torch.cat([vectors, batch.beside], 1)
        hidden = self.trunk(vectors)
        return [last(hidden) for last in self.last]


class Encoder(MetaModel):
    """What all encoders share: AdamW, one cycle of the learning rate, averaged weights, the epoch chosen on validation.

    Args:
        hidden: units of the two layers behind the encoder.
        dropout: before each of them and after.
        loss: of shares: ``cross_entropy`` or ``mse``.
        learning_rate: its height in the cycle (Smith and Topin 2018).
        l2: decoupled weight decay.
        ema: decay a step of the average of the weights that predicts; None for the weights themselves.
        batch_size: networks of a step.
        max_epochs: of the cycle; the validation part chooses one of them.
        refit: fit again on training and validation part, for the epochs found best.
        epoch: ``best`` on the validation part, or ``last``: nothing is chosen, and the validation part is learned from too.
        canonical: bring positive scales of ReLU neurons and signs of tanh neurons to one form first; needs the activations
            (access A), layers in a row and no batch normalisation.
        beside: features that the layers behind the encoder read too, such as ``stats+spectra``; None for none.
        trainer: further arguments of pl.Trainer.
    """

    own_input: ClassVar[str | None] = "weights"
    many_targets: ClassVar[bool] = True

    def __init__(
        self,
        hidden: Count = 256,
        dropout: Rate = 0.1,
        loss: ShareLoss = "cross_entropy",
        learning_rate: Positive = 6e-3,
        l2: NotNegative = 1e-2,
        ema: Between | None = 0.99,
        batch_size: Count = 32,
        max_epochs: Count = 40,
        refit: bool = True,
        epoch: Epoch = "best",
        canonical: bool = False,
        beside: str | list[str] | None = None,
        trainer: dict[str, Any] | None = None,
        seed: Seed = 0,
        threads: int = 1,
        features: str | list[str] = "weights",
    ) -> None:
        super().__init__(str(self.own_input), seed, threads)
        self.hidden, self.dropout, self.loss, self.ema = hidden, dropout, loss, ema
        self.learning_rate, self.l2, self.batch_size, self.max_epochs = learning_rate, l2, batch_size, max_epochs
        self.refit, self.canonical, self.beside, self.trainer = refit, canonical, beside, trainer
        self.epoch, self.chooses = epoch, epoch == "best"
        self.input = None if beside is None else MatrixInput(beside, threads)
        if beside is not None:
            self.features = f"{self.own_input}+{beside if isinstance(beside, str) else '+'.join(beside)}"
        self.rounds: int | None = None
        self.architectures: dict[str, Architecture] = {}
        self.targets: list[Target] = []

    @abstractmethod
    def create_encoder(self) -> EncoderNetwork:
        """The network for :attr:`slots`, not trained."""

    @property
    def access(self) -> str:
        own = {"A", "W"} if self.canonical else {"W"}
        return "+".join(sorted(own | set(self.input.access.split("+") if self.input else ())))

    def facts(self) -> dict[str, Any]:
        """What a subclass keeps of its training networks, beside the slots, to be the same again: plain values."""
        return {}

    def restore(self, facts: dict[str, Any]) -> None:
        """Take back :meth:`facts`."""

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> Encoder:
        self.fit_targets(train, [target], validation)
        return self

    def fit_targets(self, train: View, targets: list[str], validation: View | None = None) -> list[Encoder]:
        """One encoder for all targets, with a head each; of each target a copy that predicts it and shares the weights."""
        self.check_targets(targets)
        if not self.chooses:
            train, validation = train if validation is None else train.union(validation), None
        elif validation is None:
            split = train.draw_split(test=0.0, validation=0.2, seed=self.seed)
            train, validation = train.part(split, "train"), train.part(split, "validation")
        self.targets, self.held_out = [], None
        for name in targets:
            self.choose_target(train, name, validation)
            self.targets.append(self.target)
        self.prepare(train, targets)
        answers: list[HeldOut | None] = [None] * len(targets)
        if validation is None:
            self.rounds = None
            self.rounds = self._train(self.batches(train, self.seed), None)
        else:
            held_out = self.batches(validation, None)
            self.rounds = self._train(self.batches(train, self.seed), held_out)
            raw = self._outputs(held_out)
            answers = [HeldOut(validation, self._decoded(r, t), self.refit) for r, t in zip(raw, self.targets, strict=True)]
            if self.refit:
                self._train(self.batches(train.union(validation), self.seed), None)
        self.target, self.held_out = self.targets[0], answers[0]
        fitted = [copy.copy(self) for _ in targets]
        for own, target, known in zip(fitted, self.targets, answers, strict=True):
            own.target, own.held_out = target, known
        return fitted

    def check_view(self, view: View) -> None:
        """Refuse tensors that cannot be placed, and forms that are not known, before anything is fitted."""
        for layout, positions in view.by_layout():
            wire(layout)
            if self.canonical:
                _samples(view.take(positions[:1]), canonically=True)

    def prepare(self, train: View, targets: list[str]) -> None:
        """Read slots, scales and the features' spreads off the training part.

        Raises:
            MetanetError: the canonical form would read the target.
        """
        if self.canonical and "hp.activation" in targets:
            raise MetanetError("model.canonical=true uses hp.activation, which is the target; give model.canonical=false")
        self.architectures = {}
        self.slots = Slots.of(_samples(train, self.canonical))
        if self.input is not None:
            self.input.fit(train, targets)

    def networks(self, view: View) -> Networks:
        """The vectors of a view, as the encoder reads them."""
        return Networks(view, self.slots, self.architectures, canonical=self.canonical)

    def batches(self, view: View, seed: int | None, coded: bool = True) -> NetworkBatches:
        """Batches of a view with the codes of all targets, shuffled where there is a seed."""
        networks = self.networks(view)
        codes = {t.name: t.encode(view) for t in self.targets} if coded else {}
        beside = None if self.input is None else self.input.transform(view)
        return NetworkBatches(networks, codes, self.batch_size, seed, beside)

    def create_heads(self) -> Heads:
        """The encoder and its heads, not trained, initial weights by the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            beside = 0 if self.input is None else self.input.width
            return Heads(self.create_encoder(), beside, self.hidden, self.dropout, self.targets)

    def create_optimizer(self, network: Heads) -> torch.optim.Optimizer:
        """AdamW (Loshchilov and Hutter 2019)."""
        return torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.l2, fused=True)

    def _train(self, train: NetworkBatches, validation: NetworkBatches | None) -> int:
        """Train from the start; without a validation part for :attr:`rounds` epochs. Returns the epoch that is kept."""
        network = self.create_heads()
        epochs = self.max_epochs if validation is not None else self.rounds or self.max_epochs
        module = _Training(self, network, self.max_epochs * len(train))
        trained = train_network(
            network,
            module,
            NetworkDataModule(train, validation),
            epochs,
            validation is not None,
            self.seed,
            self.threads,
            self.trainer,
            self.ema,
            on_round=self.on_round,
            facts=[self.name, self.settings(), self.slots.to_json(), self.facts(), train.facts, validation and validation.facts],
        )
        self.network = network
        if validation is not None:
            self.curve = trained.curve
        return trained.epoch

    def output(self, view: View) -> np.ndarray:
        raw = self._outputs(self.batches(view, None, coded=False))
        return self._decoded(raw[self.targets.index(self.target)], self.target)

    @torch.no_grad()
    def _outputs(self, batches: NetworkBatches) -> list[Tensor]:
        device = device_of(self.trainer)
        network = self.network.to(device).eval()
        raw, order = [], []
        with torch_threads(self.threads):
            for batch in batches:
                raw.append([own.cpu() for own in network(batch.to(device))])
                order.append(batch.rows)
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        return [torch.cat(own)[back] for own in zip(*raw, strict=True)]

    @staticmethod
    def _decoded(raw: Tensor, target: Target) -> np.ndarray:
        output = target_output(raw, target).numpy()
        return output if target.classes else output.astype(np.float64)

    def save(self, folder: str | Path) -> None:
        folder = self.save_facts(
            folder,
            targets=[t.to_json() for t in self.targets],
            head=self.targets.index(self.target),
            slots=self.slots.to_json(),
            rounds=self.rounds,
            facts=self.facts(),
            beside=None if self.input is None else self.input.to_json(),
        )
        save_file({k: v.cpu().contiguous() for k, v in self.network.state_dict().items()}, folder / "network.safetensors")

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Encoder:
        values = json.loads((folder / "model.json").read_text())
        model = cls(**values["settings"], threads=threads)
        model.targets = [Target.from_json(t) for t in values["targets"]]
        model.target, model.slots = model.targets[values["head"]], Slots.from_json(values["slots"])
        model.rounds = values["rounds"]
        model.restore(values["facts"])
        if values["beside"] is not None:
            model.input = MatrixInput.from_json(values["beside"], threads)
        model.network = model.create_heads().eval()
        model.network.load_state_dict(load_file(folder / "network.safetensors"))
        return model


class _Training(pl.LightningModule):
    """The sum of the targets' losses."""

    def __init__(self, model: Encoder, network: Heads, steps: int) -> None:
        super().__init__()
        self.network, self.model, self.steps = network, model, steps

    def _loss(self, batch: NetworkBatch) -> Tensor:
        raw = self.network(batch)
        losses = [
            target_loss(own, batch.codes[t.name], t, self.model.loss) for own, t in zip(raw, self.model.targets, strict=True)
        ]
        return torch.stack(losses).sum()

    def training_step(self, batch: NetworkBatch, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: NetworkBatch, batch_idx: int) -> None:
        self.log("validation_loss", self._loss(batch), batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        optimizer = self.model.create_optimizer(self.network)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.model.learning_rate, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _samples(view: View, canonically: bool) -> list[tuple[Layout, np.ndarray]]:
    """Some vectors of every layout of a view, evenly taken, as the encoder will read them."""
    samples = []
    for layout, positions in view.by_layout():
        chosen = np.unique(positions[np.linspace(0, len(positions) - 1, min(len(positions), SAMPLED)).astype(int)])
        part = view.take(chosen)
        vectors = part.weights()
        if canonically:
            if "hp.activation" not in part.frame:
                raise MetanetError(f"model.canonical=true needs hp.activation, which {view.zoo.name} does not say")
            vectors = canonical(vectors, layout, part.frame["hp.activation"].to_numpy(str))
        samples.append((layout, vectors))
    return samples
