from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metanet.errors import MetanetError
from metanet.zoo import Layout

shapes = st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=4), min_size=1, max_size=6)


@given(shapes, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_flatten_and_unflatten_are_inverse(shapes: list[list[int]], seed: int) -> None:
    layout = Layout.build((f"t{i}", f"l{i // 2}", "kernel", s) for i, s in enumerate(shapes))
    rng = np.random.default_rng(seed)
    tensors = {f"t{i}": rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)}
    vector = layout.flatten(tensors)
    assert np.array_equal(vector, np.concatenate([t.ravel() for t in tensors.values()]))
    for name, value in layout.unflatten(vector).items():
        assert np.array_equal(value, tensors[name])
    stacked = layout.unflatten(np.stack([vector, 2 * vector]))
    assert all(np.array_equal(stacked[n][1], 2 * tensors[n]) for n in tensors)
    assert Layout.from_json(layout.to_json()) == layout
    assert Layout.from_json(layout.to_json()).id == layout.id


def test_layout_of_any_module_names_kinds_and_round_trips() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    layout = Layout.from_module(net)
    assert [(t.name, t.kind) for t in layout.tensors] == [
        ("0.weight", "kernel"),
        ("0.bias", "bias"),
        ("1.weight", "bn_scale"),
        ("1.bias", "bn_shift"),
        ("1.running_mean", "bn_mean"),
        ("1.running_var", "bn_var"),
        ("3.weight", "kernel"),
        ("3.bias", "bias"),
    ]
    vector = layout.flatten(net.state_dict())
    assert layout.size == len(vector) == 4 * 9 + 4 + 4 * 4 + 8 + 2
    assert np.array_equal(layout.unflatten(vector)["3.weight"], net[3].weight.detach().numpy())


def test_two_architectures_have_two_ids() -> None:
    a = Layout.build([("w", "l", "kernel", (2, 3))])
    b = Layout.build([("w", "l", "kernel", (3, 2))])
    assert a.id != b.id


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda layout: layout.flatten({"a.weight": np.zeros((2, 2))}), "no tensor 'a.bias'"),
        (lambda layout: layout.flatten({"a.weight": np.zeros(4), "a.bias": np.zeros(2)}), r"shape \(4,\)"),
        (lambda layout: layout.unflatten(np.zeros((3, 7))), "7 values"),
        (lambda layout: layout.select(["conv9"]), "no layer 'conv9'"),
        (lambda _: Layout.build([("x", "x", "weights", (1,))]), "kind 'weights'"),
        (lambda _: Layout.build([]), "at least one tensor"),
    ],
)
def test_mistakes_are_named(call, says: str) -> None:
    layout = Layout.build([("a.weight", "a", "kernel", (2, 2)), ("a.bias", "a", "bias", (2,))])
    with pytest.raises(MetanetError, match=says):
        call(layout)


def test_parts_are_the_convolutional_and_the_fully_connected_weights() -> None:
    from metanet.generation.nws import NWSNetwork

    layout = NWSNetwork().layout
    assert layout.part("conv") == (0, 16_880)  # as the paper counts the fixed architecture
    assert layout.part("fc") == (16_880, 92_868)
    assert layout.part("all") == (0, 92_868)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    assert Layout.from_module(module).part("conv") == (0, 20 + 8)  # the normalisation goes with the convolution before it
    mixed = Layout.build([("a", "a", "kernel", (2, 2, 3, 3)), ("b", "b", "kernel", (4, 4)), ("c", "c", "kernel", (2, 2, 1, 1))])
    with pytest.raises(MetanetError, match="lie in 2 places"):
        mixed.part("conv")
    with pytest.raises(MetanetError, match="has no fully connected layers"):
        Layout.build([("a", "a", "kernel", (2, 2, 3, 3))]).part("fc")
