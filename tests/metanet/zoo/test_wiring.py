"""Reordered neurons leave every network's function as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metanet.errors import MetanetError
from metanet.generation.nws import NWSNetwork
from metanet.generation.resnet import ResNetMini
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire


class Bottleneck(nn.Module):
    """A residual block with names as in common ResNets."""

    def __init__(self, inputs: int, width: int, outputs: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs)) if inputs != outputs else nn.Identity()
        )

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        return (self.bn3(self.conv3(out)) + self.downsample(x)).relu()


def common_resnet():
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 6, 3))
    net.add_module("bn1", nn.BatchNorm2d(6))
    net.add_module("layer1", nn.Sequential(Bottleneck(6, 4, 10), Bottleneck(10, 4, 10)))
    net.add_module("layer2", nn.Sequential(Bottleneck(10, 5, 12), Bottleneck(12, 6, 12)))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(12, 7))
    return net


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(4 * 16, 3)
    )


def randomised(net):
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.normal_(0, 0.5).abs_() if "var" in name else value.normal_(0, 0.5)
    return net.double().eval()


def unchanged(net, shape, seed):
    """Whether another order was drawn, and the greatest change of the outputs relative to them."""
    layout = Layout.from_module(net)
    vector = np.concatenate([t.numpy().ravel() for t in net.state_dict().values() if t.is_floating_point()])
    wiring = wire(layout)
    places = wiring.positions(wiring.draw(np.random.default_rng(seed)))
    assert sorted(places) == list(range(layout.size))
    images = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        before = net(images)
        named = layout.unflatten(torch.from_numpy(vector[places]))
        after = torch.func.functional_call(net, named, images)
    return (places != np.arange(layout.size)).mean(), ((before - after).abs().max() / before.abs().max()).item()


@settings(max_examples=25, deadline=None)
@given(
    depth=st.integers(3, 5),
    width=st.sampled_from([2, 3, 4]),
    dense=st.integers(1, 3),
    norm=st.booleans(),
    activation=st.sampled_from(["relu", "elu", "sigmoid", "tanh"]),
    seed=st.integers(0, 2**20),
)
def test_networks_in_a_row_keep_their_function(depth, width, dense, norm, activation, seed):
    network = NWSNetwork(
        (16, 16, 3), filter_size=3, conv_depth=depth, fc_depth=dense, conv_width=width, fc_width=8, batch_norm=norm
    )
    torch.manual_seed(seed)
    moved, change = unchanged(randomised(network.module(activation)), (3, 16, 16), seed)
    assert moved > 0.5
    assert change < 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("build", [lambda: ResNetMini(1, 4, 2, 10, 0.0), common_resnet, depthwise])
def test_residual_and_depthwise_networks_keep_their_function(build, seed):
    torch.manual_seed(seed)
    net = randomised(build())
    channels = next(iter(net.state_dict().values())).shape[1]
    moved, change = unchanged(net, (channels, 8, 8), seed)
    assert moved > 0.4
    assert change < 1e-9


def test_layers_that_are_added_share_their_neurons():
    wiring = wire(Layout.from_module(common_resnet()))
    assert wiring.sizes == (3, 6, 4, 4, 10, 4, 4, 5, 5, 12, 6, 6, 7)
    assert wiring.hidden == (False, *[True] * 11, False)
    at = {e.tensor.layer: e for e in wiring.edges}
    assert at["layer1.1.conv1"].reads == at["layer1.0.conv3"].writes
    assert at["layer1.0.downsample.0"].reads == at["conv1"].writes == at["layer1.0.conv1"].reads
    assert (at["layer1.0.downsample.0"].writes, at["layer1.0.conv3"].writes) in wiring.added
    assert (at["layer1.0.conv3"].writes, at["layer1.1.conv3"].writes) in wiring.added  # nothing changes what is added
    assert len(wiring.added) == 4


def test_a_wrong_order_changes_the_function():
    net = randomised(common_resnet())
    layout = Layout.from_module(net)
    wiring = wire(layout)
    orders = wiring.draw(np.random.default_rng(0))
    vector = np.concatenate([t.numpy().ravel() for t in net.state_dict().values() if t.is_floating_point()])
    places = wiring.positions(orders)
    first = layout.tensors[0]
    places[first.start : first.stop] = np.arange(first.start, first.stop)  # the first kernel alone stays
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        after = torch.func.functional_call(net, layout.unflatten(torch.from_numpy(vector[places])), images)
        assert (net(images) - after).abs().max() > 0.01


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_part_of_the_positions_is_cut_from_all_of_them(data):
    network = NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=3, fc_width=8)
    wiring = wire(network.layout)
    start = data.draw(st.integers(0, network.layout.size - 1))
    stop = data.draw(st.integers(start + 1, network.layout.size))
    orders = wiring.draw(np.random.default_rng(1))
    np.testing.assert_array_equal(wiring.positions(orders, start, stop), wiring.positions(orders)[start:stop])


def test_axes_that_lie_in_another_order_are_followed():
    shapes = [("a.weight", "a", "kernel", (4, 2, 3, 3)), ("a.bias", "a", "bias", (4,)), ("b.weight", "b", "kernel", (5, 4))]
    plain = Layout.build(shapes)
    foreign = Layout.build([(*shapes[0], (2, 3, 1, 0)), shapes[1], (*shapes[2], (1, 0))])
    rng = np.random.default_rng(0)
    vector = rng.standard_normal(plain.size)
    orders = wire(plain).draw(rng)
    ours = plain.unflatten(vector[wire(plain).positions(orders)])
    stored = foreign.flatten(plain.unflatten(vector)).astype(float)
    theirs = foreign.unflatten(stored[wire(foreign).positions(orders)])
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("a.w", "a", "kernel", (8, 3, 3, 3)), ("b.w", "b", "kernel", (4, 7, 3, 3))], "'b.w'.*reads 7.*8 neurons of 'a.w'"),
        ([("a.w", "a", "kernel", (8, 3)), ("a.b", "a", "bias", (5,))], "'a.b'.*8 outputs"),
        ([("a.b", "a", "bias", (5,))], "no kernel"),
        ([("a.w", "a", "kernel", (5,))], "'a.w'.*called a kernel"),
        (
            [
                ("x.w", "x", "kernel", (4, 3)),
                ("b1.c.w", "b1.c", "kernel", (5, 4)),
                ("b1.skip.w", "b1.skip", "kernel", (5, 4)),
                ("b2.c.w", "b2.c", "kernel", (6, 5)),
            ],
            "block 'b2' gives 6.*shortcut",
        ),
    ],
)
def test_what_does_not_fit_is_named(parts, words):
    with pytest.raises(MetanetError, match=words):
        wire(Layout.build(parts))
