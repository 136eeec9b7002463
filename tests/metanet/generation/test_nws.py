"""The architectures of the neural weight space."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from metanet.errors import MetanetError
from metanet.generation.nws import NWSNetwork

SETTINGS = list(itertools.product((3, 5, 7), (3, 4, 5), (2, 3, 4), (4, 8, 12), (64, 128, 192)))


def by_hand(s: int, dc: int, df: int, w: int, wf: int) -> nn.Sequential:
    """Algorithm 1 line by line: every layer's values in a state_dict."""
    layers: list[nn.Module] = [nn.Conv2d(3, w, s), nn.BatchNorm2d(w)]
    layers += [nn.Conv2d(w, 2 * w, s), nn.BatchNorm2d(2 * w)]
    if dc > 4:
        layers += [nn.Conv2d(2 * w, 2 * w, s), nn.BatchNorm2d(2 * w)]
    layers += [nn.Conv2d(2 * w, 4 * w, s), nn.BatchNorm2d(4 * w)]
    if dc > 3:
        layers += [nn.Conv2d(4 * w, 4 * w, s), nn.BatchNorm2d(4 * w)]
    width = 4 * w * 4 * 4  # 32x32, pooled three times
    for c in range(1, df + 1):
        units = int(2 ** (-c + 1) * wf)
        layers += [nn.Linear(width, units), nn.BatchNorm1d(units)]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, 20))


def values(module: nn.Module, kinds: tuple[type, ...] = (nn.Module,)) -> int:
    parts = [m for m in module if isinstance(m, kinds)]  # type: ignore[attr-defined]
    return sum(t.numel() for m in parts for t in m.state_dict().values() if t.is_floating_point())


def test_all_243_have_as_many_values_as_layers_built_by_hand() -> None:
    convolutional = []
    for setting in SETTINGS:
        network, expected = NWSNetwork((32, 32, 3), *setting), by_hand(*setting)
        assert network.layout.size == values(expected)
        own = sum(t.stop - t.start for t in network.layout.tensors if t.layer.startswith("conv"))
        assert own == values(expected, (nn.Conv2d, nn.BatchNorm2d))
        convolutional.append(own)
    assert len(SETTINGS) == 243
    assert min(convolutional) == 1688  # RECIPES of the paper's code: the least, and 36 below 5,000
    assert sum(c < 5000 for c in convolutional) == 36


def test_the_fixed_architecture_is_the_papers() -> None:
    layout = NWSNetwork().layout
    conv = sum(t.stop - t.start for t in layout.tensors if t.layer.startswith("conv"))
    assert (layout.size, conv, layout.size - conv) == (92_868, 16_880, 75_988)
    assert [t.label for t in layout.tensors[:6]] == [
        *("conv1.kernel", "conv1.bias", "conv1.bn_shift", "conv1.bn_scale", "conv1.bn_mean", "conv1.bn_var")
    ]
    plain = NWSNetwork(batch_norm=False).layout
    assert plain.size == layout.size - 4 * (8 + 16 + 32 + 128 + 64)


@pytest.mark.parametrize("setting", [SETTINGS[0], SETTINGS[100], SETTINGS[-1]])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_modules_state_fits_the_layout_and_runs(setting: tuple[int, ...], batch_norm: bool) -> None:
    network = NWSNetwork((32, 32, 3), *setting, batch_norm=batch_norm)
    module = network.module("elu")
    assert network.layout.flatten(module.state_dict()).shape == (network.layout.size,)
    assert module(torch.rand(2, 3, 32, 32)).shape == (2, 20)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"conv_depth": 6}, "3, 4 or 5"), ({"filter_size": 4}, "odd"), ({"fc_width": 70, "fc_depth": 3}, "halved"),
     ({"input_shape": (28, 28, 1)}, "multiples of 8")],
)  # fmt: skip
def test_impossible_architectures_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(MetanetError, match=message):
        NWSNetwork(**wrong)
