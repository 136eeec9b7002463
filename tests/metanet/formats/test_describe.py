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
