"""The 16 measures against scipy and numpy, value by value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import skew
from torch import nn

from metanet.generation.nws import NWSNetwork
from metanet.representations.measures import eight_measures, global_measures, layer_measures, sixteen_measures
from metanet.zoo import Layout


def expected(values: np.ndarray) -> np.ndarray:
    x = values.astype(np.float64)
    return np.concatenate([[x.mean(), x.var(), skew(x)], np.percentile(x, [1, 25, 50, 75, 99])])


def test_eight_measures_equal_scipy() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=(20, 137)).astype(np.float32)
    np.testing.assert_allclose(eight_measures(x), np.stack([expected(row) for row in x]), rtol=1e-4, atol=1e-6)
    both = sixteen_measures(x)
    np.testing.assert_allclose(both[:, 8:], np.stack([expected(np.diff(row)) for row in x]), rtol=1e-4, atol=1e-5)


def test_constant_and_single_values_have_no_skewness() -> None:
    np.testing.assert_array_equal(eight_measures(np.full((2, 50), 0.1, np.float32))[:, 1:3], 0)
    one = sixteen_measures(np.array([[3.0]], np.float32))[0]
    assert one.tolist() == [3, 0, 0, 3, 3, 3, 3, 3] + [0] * 8


def test_the_fixed_architecture_has_480() -> None:
    layout = NWSNetwork().layout
    weights = np.random.default_rng(1).standard_normal((3, layout.size)).astype(np.float32)
    matrix, names = layer_measures(weights, layout, threads=2)
    assert matrix.shape == (3, 480)
    assert len(set(names)) == 480
    tensor = next(t for t in layout.tensors if t.name == "conv2.weight")
    column = names.index("conv2.kernel.skew_d")
    np.testing.assert_allclose(matrix[:, column], skew(np.diff(weights[:, tensor.start : tensor.stop]), axis=1), rtol=1e-3)
    assert layer_measures(weights, layout, ["last"])[0].shape == (3, 32)


def test_without_batch_normalisation_all_layers_are_taken() -> None:
    layout = NWSNetwork(batch_norm=False).layout
    weights = np.zeros((1, layout.size), np.float32)
    assert layer_measures(weights, layout)[0].shape == (1, 16 * len(layout.tensors))


def test_normalisation_in_a_layer_of_its_own_goes_with_the_kernel_before_it() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    layout = Layout.from_module(module)
    names = layer_measures(np.zeros((1, layout.size), np.float32), layout)[1]
    assert {name.rpartition(".")[0] for name in names} == {
        "0.kernel",
        "0.bias",
        "1.bn_scale",
        "1.bn_shift",
        "1.bn_mean",
        "1.bn_var",
    }


def test_global_differences_are_within_tensors() -> None:
    layout = Layout.build([("a", "a", "kernel", (5, 4)), ("b", "b", "kernel", (7, 3))])
    weights = np.random.default_rng(2).standard_normal((2, 41)).astype(np.float32)
    matrix, names = global_measures(weights, layout)
    steps = np.concatenate([np.diff(weights[:, :20]), np.diff(weights[:, 20:])], axis=1)
    np.testing.assert_allclose(matrix[:, 8:], np.stack([expected(row) for row in steps]), rtol=1e-4, atol=1e-5)
    assert names[0] == "mean"
    assert names[-1] == "p99_d"


@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_and_threads_change_nothing(threads: int) -> None:
    layout = Layout.build([("a", "a", "kernel", (100, 100))])
    weights = np.random.default_rng(3).standard_normal((90, 10_000)).astype(np.float32)
    np.testing.assert_array_equal(global_measures(weights, layout, threads=threads)[0], global_measures(weights, layout)[0])
