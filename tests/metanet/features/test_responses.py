"""Features of answers to noise: numbers against scipy, symmetry, options."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

import metanet
from metanet.errors import MetanetError
from metanet.features.responses import probe
from metanet.features.unions import FeatureMap
from metanet.generation.execution import Executor, noise_images
from metanet.testing import reordered
from metanet.zoo import Zoo, open_zoo, zoo_from_arrays


def test_quantiles_of_entropy_and_the_classes_named(grown: Zoo) -> None:
    view = grown.view()
    matrix, names = probe(view, view.weights(), view.layout, ["16"])
    assert matrix.shape == (len(view), len(names))
    assert np.isfinite(matrix).all()
    executor = Executor(grown, view.layout, view.frame.iloc[0].to_dict())
    images = torch.from_numpy(noise_images(16, executor.input_shape))
    for i in (0, 7):
        logits = (
            executor.run(torch.from_numpy(view.weights()[i : i + 1]), images, view.frame["hp.activation"][i]).logits[0].numpy()
        )
        share = softmax(logits.astype(float), axis=1)
        np.testing.assert_allclose(matrix[i, names.index("entropy.q50")], np.median(entropy(share, axis=1)), rtol=1e-5)
        np.testing.assert_allclose(matrix[i, names.index("top.q100")], share.max(), rtol=1e-5)
        named = np.sort(np.bincount(logits.argmax(1), minlength=10))[::-1] / 16
        np.testing.assert_allclose([matrix[i, names.index(f"named{k}")] for k in range(1, 11)], named, atol=1e-9)


def test_no_order_of_neurons_or_classes_is_seen(grown: Zoo) -> None:
    view = grown.view()
    before, _ = probe(view, view.weights(), view.layout)
    other = reordered(view)
    after, _ = probe(other, other.weights(), other.layout)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
    weights = view.weights().copy()
    named = view.layout.unflatten(weights)
    for tensor in ("dense.weight", "dense.bias"):
        named[tensor][:] = named[tensor][:, ::-1].copy()
    classes, _ = probe(view, weights, view.layout)
    np.testing.assert_allclose(classes, before, rtol=1e-3, atol=1e-3)


def test_the_union_says_its_access_and_a_model_reads_it(grown: Zoo, tmp_path: Path) -> None:
    assert FeatureMap("stats+probe:8").access == "F+W"
    model = metanet.create_model("gbm", features="stats+probe:8", max_trees=5).fit(grown.view())
    assert model.access == "F+W"
    model.save(tmp_path)
    assert np.array_equal(metanet.load_model(tmp_path).predict(grown.view()), model.predict(grown.view()))


def test_any_architecture_has_outputs_and_unknown_activations_are_run_both_ways(nws_zoos: dict[str, Path], grown: Zoo) -> None:
    mixed = open_zoo(nws_zoos["mixed"]).view()
    features = FeatureMap("probe:8+outputs").fit(mixed)
    assert np.isfinite(features.transform(mixed)).all()
    with pytest.raises(MetanetError, match="mixes architectures"):
        FeatureMap("probe:8").fit(mixed).transform(mixed)
    view = grown.view()
    blind, names = probe(view, view.weights(), view.layout, ["8", "blind"])
    silent = zoo_from_arrays(view.weights(), view.layout, view.frame.drop(columns="hp.activation"), header=grown.header).view()
    again, _ = probe(silent, silent.weights(), silent.layout, ["8", "blind"])
    np.testing.assert_array_equal(blind, again)
    sighted, own = probe(view, view.weights(), view.layout, ["8"])
    tanh = view.frame["hp.activation"].to_numpy() == "tanh"
    np.testing.assert_allclose(blind[tanh][:, names.index("tanh.entropy.q50")], sighted[tanh][:, own.index("entropy.q50")])


def test_unknown_options_are_named(grown: Zoo) -> None:
    with pytest.raises(MetanetError, match=r"probe:1: give a number of images from 2 up"):
        FeatureMap("probe:1").fit(grown.view())
