"""Neural functional networks of other authors (Zhou et al. 2023), trained as they published them for the Small CNN Zoo.

Needs the extra ``[bench]``. Three equivariant layers of 16, 16 and 5 channels, mean pooling, two hidden layers of 1,000;
cross-entropy of shares, Adam at 1e-3, batches of 8. Weights are standardised tensor by tensor. The epoch is chosen by the
validation part.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from nfn import layers
from nfn.common import WeightSpaceFeatures, network_spec_from_wsfeat
from torch import Tensor, nn
from torch.nn import functional

from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View

CHANNELS, HIDDEN, BATCH, RATE = (16, 16, 5), 1000, 8, 1e-3
PEERS = {"nfn_np": (layers.NPLinear, layers.NPPool), "nfn_hnp": (layers.HNPLinear, layers.HNPPool)}


@dataclass
class Peer:
    """One of :data:`PEERS`; after :meth:`fit` it predicts shares.

    Attributes:
        curve: (seconds of the processor in training, validation loss, test predictions) after every epoch.
    """

    name: str
    seed: int = 0
    curve: list[tuple[float, float, np.ndarray]] = field(default_factory=list)

    def fit(self, train: View, validation: View, test: View, target: str, epochs: int = 50, seconds: float | None = None) -> None:
        """Train for so many epochs, or for so many seconds of the processor where they are more."""
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        self.layout = train.layout
        weights, codes = _standardised(train, train), torch.from_numpy(train.target(target)).float()
        held, unseen = _standardised(validation, train), _standardised(test, train)
        held_codes = torch.from_numpy(validation.target(target)).float()
        network = self.network(weights[:2])
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        spent = 0.0
        for epoch in itertools.count():
            if epoch >= epochs and (seconds is None or spent >= seconds):
                break
            began = time.process_time()
            for batch in np.array_split(rng.permutation(len(codes)), -(-len(codes) // BATCH)):
                loss = functional.binary_cross_entropy_with_logits(network(_features(self.layout, weights[batch])), codes[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            spent += time.process_time() - began
            judged = float(functional.binary_cross_entropy_with_logits(self._judge(network, held), held_codes))
            if not self.curve or judged < min(row[1] for row in self.curve):  # no other epoch is ever chosen
                predicted = self._judge(network, unseen).sigmoid().double().numpy()
            self.curve.append((spent, judged, predicted))

    @torch.no_grad()
    def _judge(self, network: nn.Module, weights: Tensor) -> Tensor:
        return torch.cat([network(_features(self.layout, part)) for part in weights.split(64)])

    def network(self, sample: Tensor) -> nn.Module:
        """The published network for weights like these, not trained."""
        features = _features(self.layout, sample)
        whole = network_spec_from_wsfeat(features, set_all_dims=True)
        linear, pool = PEERS[self.name]
        spec = whole if self.name == "nfn_np" else network_spec_from_wsfeat(features)
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise((1, *CHANNELS)):
            blocks += [linear(spec, before, after), layers.TupleOp(nn.ReLU())]
        width = pool.get_num_outs(whole) * CHANNELS[-1]
        head = [nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Flatten(0)]
        return nn.Sequential(*blocks, pool(whole), nn.Flatten(1), *head)


def training_steps(name: str, view: View) -> Iterator[int]:
    """Steps without an end, each forward, backward and Adam on a batch: how many networks it held."""
    peer = Peer(name)
    peer.layout = view.layout
    weights, codes = _standardised(view, view), torch.from_numpy(view.target("test_accuracy")).float()
    network = peer.network(weights[:2])
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    rng = np.random.default_rng(0)
    while True:
        batch = rng.integers(0, len(codes), BATCH)
        loss = functional.binary_cross_entropy_with_logits(network(_features(peer.layout, weights[batch])), codes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(batch)


def _features(layout: Layout, weights: Tensor) -> WeightSpaceFeatures:
    tensors = layout.unflatten(weights)
    kinds = {kind: [tensors[t.name][:, None] for t in layout.tensors if t.kind == kind] for kind in ("kernel", "bias")}
    return WeightSpaceFeatures(kinds["kernel"], kinds["bias"])


def _standardised(view: View, of: View) -> Tensor:
    """Weights (N, D), each tensor by mean and standard deviation of its training values."""
    weights, reference = view.weights().copy(), of.weights()
    for t in view.layout.tensors:
        own = reference[:, t.start : t.stop]
        weights[:, t.start : t.stop] = (weights[:, t.start : t.stop] - own.mean()) / (own.std() + 1e-12)
    return torch.from_numpy(weights)
