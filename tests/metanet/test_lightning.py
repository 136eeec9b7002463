"""The trainer that everything is trained by, and what it keeps."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from metanet.lightning import KeepBest


def test_of_equal_losses_the_first_epoch_is_kept() -> None:
    keeper, module = KeepBest(), torch.nn.Linear(1, 1)
    for epoch, loss in enumerate((0.5, 0.5, 0.7, 0.5)):
        with torch.no_grad():
            module.weight.fill_(epoch)
        trainer = SimpleNamespace(callback_metrics={"validation_loss": torch.tensor(loss)}, current_epoch=epoch)
        keeper.on_validation_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert keeper.epoch == 1
    assert keeper.state["weight"].item() == 0


def test_a_lower_loss_takes_its_place() -> None:
    keeper, module = KeepBest(), torch.nn.Linear(1, 1)
    for epoch, loss in enumerate((0.5, 0.4)):
        trainer = SimpleNamespace(callback_metrics={"validation_loss": torch.tensor(loss)}, current_epoch=epoch)
        keeper.on_validation_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert (keeper.epoch, keeper.best) == (2, torch.tensor(0.4).item())
