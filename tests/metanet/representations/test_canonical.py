"""Canonical forms: functions stay, scales and signs go."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import metanet
from metanet.errors import MetanetError
from metanet.generation.execution import Executor, noise_images
from metanet.representations.canonical import canonical
from metanet.zoo import Zoo, open_zoo, zoo_from_arrays
from metanet.zoo.layout import Layout


def moved(weights: np.ndarray, layout: Layout, activations: np.ndarray, seed: int = 0) -> np.ndarray:
    """Each hidden neuron of a row of convolutions scaled or flipped, by a loop over layers."""
    rng = np.random.default_rng(seed)
    out = weights.astype(np.float64).copy()
    named = layout.unflatten(out)
    kernels = [t for t in layout.tensors if t.kind == "kernel"]
    for before, after in itertools.pairwise(kernels):
        bias = next(t for t in layout.tensors if t.layer == before.layer and t.kind == "bias")
        for i, activation in enumerate(activations):
            n = before.shape[0]
            by = np.exp(rng.normal(size=n)) if activation == "relu" else rng.choice([-1.0, 1.0], n)
            named[before.name][i] *= by.reshape(-1, *[1] * (len(before.shape) - 1))
            named[bias.name][i] *= by
            named[after.name][i] /= by.reshape(1, -1, *[1] * (len(after.shape) - 2))
    return out


def test_functions_stay_and_scales_and_signs_go(grown: Zoo) -> None:
    view = grown.view()
    activations = view.frame["hp.activation"].to_numpy(str)
    assert set(activations) == {"relu", "tanh"}
    weights = view.weights()
    other = moved(weights, view.layout, activations)
    assert np.abs(other - weights).max() > 0.1
    form = canonical(weights, view.layout, activations)
    np.testing.assert_allclose(canonical(other, view.layout, activations), form, rtol=1e-4, atol=1e-5)
    executor = Executor(grown, view.layout, view.frame.iloc[0].to_dict())
    images = torch.from_numpy(noise_images(5, executor.input_shape))
    for i, activation in enumerate(activations):
        before, after = (executor.run(torch.from_numpy(w[i : i + 1]), images, activation).logits for w in (weights, form))
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_an_encoder_of_canonical_forms_sees_neither(grown: Zoo) -> None:
    view = grown.view()
    activations = view.frame["hp.activation"].to_numpy(str)
    other = zoo_from_arrays(moved(view.weights(), view.layout, activations), view.layout, view.frame).view()
    settings = {"max_epochs": 2, "channels": 4, "hidden": 8}
    seen = metanet.create_model("deepsets", **settings).fit(view)
    assert seen.access == "W"
    assert np.abs(seen.output(other) - seen.output(view)).max() > 1e-3
    model = metanet.create_model("deepsets", canonical=True, **settings).fit(view)
    assert model.access == "A+W"
    np.testing.assert_allclose(model.output(other), model.output(view), atol=1e-4)


def test_what_has_no_canonical_form_is_refused(nws_zoos: dict[str, Path], known: Zoo) -> None:
    with pytest.raises(MetanetError, match=r"without batch normalisation.*canonical=false"):
        metanet.create_model("deepsets", canonical=True).fit(open_zoo(nws_zoos["fixed"]).view())
    silent = zoo_from_arrays(known.view().weights(), known.view().layout, known.view().frame[["test_accuracy"]])
    with pytest.raises(MetanetError, match=r"needs hp\.activation"):
        metanet.create_model("deepsets", canonical=True).fit(silent.view())
