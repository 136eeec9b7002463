from __future__ import annotations

import numpy as np
import pytest
import torch

import metanet
from metanet.errors import MetanetError


def test_a_module_is_described_tensor_by_tensor() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    table = metanet.describe(net).set_index("tensor")
    assert "1.num_batches_tracked" not in table.index
    kernel = net[0].weight.detach().numpy()
    assert table.loc["0.weight", "shape"] == "2x1x3x3"
    assert table.loc["0.weight", "mean"] == pytest.approx(kernel.mean(), rel=1e-5)
    assert table.loc["0.weight", "q75"] == pytest.approx(np.percentile(kernel, 75), rel=1e-5)
    assert metanet.describe(net.state_dict()).equals(metanet.describe(net))
    with pytest.raises(MetanetError, match="no tensor"):
        metanet.describe({})


def test_values_that_are_not_finite_are_counted_and_never_ordered_among_the_others() -> None:
    columns = ["mean", "var", "min", "q25", "median", "q75", "max"]
    nan = metanet.describe({"w": torch.tensor([1.0, 2.0, float("nan"), 4.0, 5.0])})
    assert nan[columns].isna().all(axis=None)
    assert nan["not_finite"].tolist() == [1]
    infinite = metanet.describe({"w": torch.tensor([1.0, 2.0, float("inf"), 4.0, 5.0])})
    assert infinite.loc[0, "max"] == np.inf
    assert infinite.loc[0, ["q25", "median"]].tolist() == [2.0, 4.0]


def test_doubles_are_described_in_double_precision() -> None:
    values = np.random.default_rng(0).standard_normal(1000) * 1e-3 + 12345.678
    row = metanet.describe({"w": torch.from_numpy(values)}).loc[0]
    assert row["var"] == pytest.approx(values.var(), rel=1e-9)
    assert metanet.describe({"w": torch.tensor([1e60, 2e60], dtype=torch.float64)}).loc[0, "max"] == 2e60


def test_what_has_no_row_is_said() -> None:
    table = metanet.describe({"l.scales": torch.rand(2), "l.qweight": torch.ones(2, 2, dtype=torch.int32)})
    assert table.attrs["left_out"] == "1 tensor (int32) is not shown: l.qweight"
    with pytest.raises(MetanetError, match=r"no tensor of floating numbers; 1 tensor \(int32\)"):
        metanet.describe({"l.qweight": torch.ones(2, 2, dtype=torch.int32)})
    with pytest.raises(MetanetError, match="a int is neither a file"):
        metanet.describe(3)
