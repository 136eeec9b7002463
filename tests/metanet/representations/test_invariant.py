"""Features that no order of neurons changes: against plain loops over one network, and under reordering."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from metanet.features.unions import FEATURES
from metanet.generation.nws import NWSNetwork
from metanet.generation.resnet import ResNetMini
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire

INVARIANT = ("neurons", "spectra", "products")
ARCHITECTURES = {
    "row": NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=3, fc_width=8).layout,
    "residual": Layout.from_module(ResNetMini(1, 4, 2, 10, 0.0)),
    "depthwise": Layout.from_module(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(16, 3))
    ),
}


def drawn(layout: Layout, count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, layout.size)).astype(np.float32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", INVARIANT)
def test_other_orders_of_neurons_change_nothing(name: str, architecture: str) -> None:
    layout = ARCHITECTURES[architecture]
    weights = drawn(layout)
    wiring = wire(layout)
    places = wiring.positions(wiring.draw(np.random.default_rng(1)))
    before, names = FEATURES.find(name)(weights, layout)
    after, _ = FEATURES.find(name)(weights[:, places], layout)
    assert before.shape == (5, len(names))
    assert len(set(names)) == len(names)
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)


def test_the_measures_of_differences_do_change() -> None:
    layout = ARCHITECTURES["row"]
    weights, wiring = drawn(layout), wire(layout)
    places = wiring.positions(wiring.draw(np.random.default_rng(1)))
    before, _ = FEATURES.find("measures")(weights, layout)
    after, _ = FEATURES.find("measures")(weights[:, places], layout)
    assert np.abs(before - after).max() > 0.01


@pytest.mark.parametrize("name", INVARIANT)
def test_some_layers_give_their_columns_of_all(name: str) -> None:
    layout = ARCHITECTURES["row"]
    weights = drawn(layout)
    every, names = FEATURES.find(name)(weights, layout)
    some, own = FEATURES.find(name)(weights, layout, ["fc1", "fc2"])
    np.testing.assert_array_equal(some, every[:, [names.index(n) for n in own]])
    last, own = FEATURES.find(name)(weights, layout, ["last"]) if name != "products" else (some, own)
    assert last.shape == (5, len(own))


def test_neurons_are_what_loops_find() -> None:
    layout = ARCHITECTURES["row"]
    weights = drawn(layout, 1)
    values, names = FEATURES.find("neurons")(weights, layout)
    found = dict(zip(names, values[0], strict=True))
    named = {name: tensor.astype(float) for name, tensor in layout.unflatten(weights[0]).items()}
    kernel, reader = named["conv3.weight"], named["fc1.weight"]  # 12 filters; a flattened map of 12 x 2 x 2
    norms = [np.linalg.norm(kernel[i]) for i in range(12)]
    out = [np.linalg.norm(reader[:, 4 * i : 4 * i + 4]) for i in range(12)]
    bias = [named["conv3.bias"][i] / norms[i] for i in range(12)]
    dc = [abs(kernel[i].sum()) / (norms[i] * np.sqrt(kernel[i].size)) for i in range(12)]
    cosines = [np.vdot(kernel[i], kernel[j]) / (norms[i] * norms[j]) for i in range(12) for j in range(i)]
    assert found["conv3.in.q25"] == pytest.approx(np.quantile(np.log(norms), 0.25))
    assert found["conv3.out.q90"] == pytest.approx(np.quantile(np.log(out), 0.9))
    assert found["conv3.in_out.q50"] == pytest.approx(np.quantile(np.log(norms) + np.log(out), 0.5))
    assert found["conv3.bias.q10"] == pytest.approx(np.quantile(bias, 0.1))
    assert found["conv3.dc.q75"] == pytest.approx(np.quantile(dc, 0.75))
    assert found["conv3.cosine.q0"] == pytest.approx(min(cosines))
    assert found["conv3.out.r"] == pytest.approx(np.corrcoef(np.log(norms), np.log(out))[0, 1])
    assert found["conv3.bn_mean.q100"] == pytest.approx(named["conv3_norm.running_mean"].max())
    assert "out.out.q50" not in found  # nothing reads the outputs


def test_spectra_are_those_of_a_singular_value_decomposition() -> None:
    layout = ARCHITECTURES["row"]
    weights = drawn(layout, 1)
    values, names = FEATURES.find("spectra")(weights, layout)
    found = dict(zip(names, values[0], strict=True))
    for layer in ("conv1", "conv3", "fc1", "out"):
        kernel = layout.unflatten(weights[0])[f"{layer}.weight"].astype(float)
        exact = np.linalg.svd(kernel.reshape(len(kernel), -1), compute_uv=False)
        for i, value in enumerate(exact[:16]):
            assert found[f"{layer}.sv{i + 1}"] == pytest.approx(np.log(value), abs=1e-5)
        share = exact**2 / (exact**2).sum()
        assert found[f"{layer}.sv_entropy"] == pytest.approx(-(share * np.log(share)).sum())
        assert found[f"{layer}.stable_rank"] == pytest.approx((exact**2).sum() / exact[0] ** 2)
        assert found[f"{layer}.frobenius"] == pytest.approx(np.log(np.linalg.norm(kernel)))


def test_products_are_matrix_products_of_summed_kernels() -> None:
    layout = ARCHITECTURES["row"]
    weights = drawn(layout, 1)
    values, names = FEATURES.find("products")(weights, layout)
    found = dict(zip(names, values[0], strict=True))
    named = {name: tensor.astype(float) for name, tensor in layout.unflatten(weights[0]).items() if tensor.ndim > 1}
    named["fc1.weight"] = named["fc1.weight"].reshape(8, 12, 4)
    matrices = {name: t.reshape(*t.shape[:2], -1).sum(2) for name, t in named.items()}
    pair = matrices["fc1.weight"] @ matrices["conv3.weight"]
    assert found["conv3>fc1.sv1"] == pytest.approx(np.log(np.linalg.norm(pair, 2)))
    assert found["conv3>fc1.q75"] == pytest.approx(np.quantile(pair, 0.75))
    through, paths = np.eye(3), np.eye(3)
    for name, tensor in named.items():
        through = matrices[name] @ through
        paths = (tensor**2).reshape(*tensor.shape[:2], -1).sum(2) @ paths
    through -= through.mean(0)
    assert found["inputs>outputs.frobenius"] == pytest.approx(np.log(np.linalg.norm(through)))
    assert found["path_norm"] == pytest.approx(0.5 * np.log(paths.sum()))


def test_released_axes_give_the_same() -> None:
    shapes = [("a.weight", "a", "kernel", (4, 2, 3, 3)), ("a.bias", "a", "bias", (4,)), ("b.weight", "b", "kernel", (5, 4))]
    plain = Layout.build(shapes)
    foreign = Layout.build([(*shapes[0], (2, 3, 1, 0)), shapes[1], (*shapes[2], (1, 0))])
    weights = drawn(plain)
    stored = np.stack([foreign.flatten(plain.unflatten(w)) for w in weights])
    for name in INVARIANT:
        np.testing.assert_allclose(FEATURES.find(name)(stored, foreign)[0], FEATURES.find(name)(weights, plain)[0], rtol=1e-6)
