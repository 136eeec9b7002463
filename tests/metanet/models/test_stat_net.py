"""The field's StatNN against a loop of torch.optim with the average written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import metanet
from metanet.data_modules.vectors import VectorBatches
from metanet.errors import MetanetError
from metanet.zoo import Zoo


@pytest.mark.parametrize("refit", [True, False])
def test_weights_are_the_average_along_a_one_cycle(known: Zoo, refit: bool) -> None:
    """Without a refit the epoch that validated best is kept, as it was validated: averaged."""
    train, test = known.view().split(test=0.3, seed=0)
    settings = {"layers": 1, "units": 8, "dropout": 0.0, "batch_size": 32, "max_epochs": 3, "ema": 0.8, "learning_rate": 0.02}
    model = metanet.create_model("stat_net", refit=refit, **settings).fit(train, validation=test)
    parts = [train, test] if refit else [train]
    x = np.concatenate([model.map.transform(part) for part in parts])
    y = np.concatenate([model.target.encode(part) for part in parts])
    size = np.median(np.abs(x), axis=0)
    squashed = np.arcsinh(x / np.where(size > 0, size, 1))
    spread = squashed.std(0)
    z = np.clip((squashed - squashed.mean(0)) / np.where(spread > 0, spread, 1), -5, 5).astype(np.float32)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(z.shape[1], 8), nn.ReLU(), nn.Linear(8, 1))
    batches = VectorBatches(torch.from_numpy(z), torch.from_numpy(y).float(), 32, 0)
    optimizer = torch.optim.AdamW(net.parameters(), 0.02, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 3 * len(batches))
    average = None
    epochs = []
    for _ in range(3):
        for inputs, codes in batches:
            loss = nn.functional.binary_cross_entropy_with_logits(net(inputs)[:, 0], codes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            now = [p.detach().clone() for p in net.parameters()]
            average = now if average is None else [0.8 * a + 0.2 * p for a, p in zip(average, now, strict=True)]
        epochs.append(average)
    assert model.rounds in (1, 2, 3)
    for found, expected in zip(model.network.parameters(), epochs[model.rounds - 1], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ema", [0.0, 1.0, -3])
def test_a_decay_that_is_none_is_refused(ema: float) -> None:
    with pytest.raises(MetanetError, match="above 0 up to, not including, 1"):
        metanet.create_model("stat_net", ema=ema)
