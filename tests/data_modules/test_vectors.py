from __future__ import annotations

import numpy as np

from metanet.data_modules.vectors import VectorDataModule


def test_every_row_comes_once_an_epoch_and_keeps_its_target() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10.0)
    data = VectorDataModule(x, y, (x[:3], y[:3]), batch_size=4, seed=0)
    batches = list(data.train_dataloader())
    assert [len(b[1]) for b in batches] == [4, 4, 2] == [4] * (len(data.train_dataloader()) - 1) + [2]
    for a, b in batches:
        assert np.array_equal(a[:, 0].numpy(), 2 * b.numpy())
    assert sorted(v for b in batches for v in b[1].tolist()) == y.tolist()
    (held_out,) = data.val_dataloader()
    assert held_out[1].tolist() == [0, 1, 2]
    assert VectorDataModule(x, y).val_dataloader() == []


def test_classes_stay_whole_numbers() -> None:
    batch = next(iter(VectorDataModule(np.zeros((3, 2)), np.array([0, 1, 2])).train_dataloader()))
    assert str(batch[1].dtype) == "torch.int64"
