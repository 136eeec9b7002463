"""The proofs of symmetry that users may call: they pass where they should, and fail where they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import metanet
from metanet.generation.resnet import ResNetMini
from metanet.models.encoder import Encoder
from metanet.models.registry import model_class
from metanet.testing import assert_function_unchanged, assert_permutation_invariant, reordered
from metanet.zoo import Zoo, open_zoo

QUICK = {"max_epochs": 2, "hidden": 16, "batch_size": 16}
ENCODERS = [n for n in metanet.list_models() if issubclass(model_class(n), Encoder)]


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_do_not_see_the_order_of_neurons(name: str, known: Zoo, grown: Zoo, nws_zoos: dict[str, Path]) -> None:
    for zoo in (known, grown):
        model = metanet.create_model(name, **QUICK).fit(zoo.view())
        assert_permutation_invariant(model, zoo.view())
    mixed = open_zoo(nws_zoos["mixed"]).view()
    model = metanet.create_model(name, **QUICK).fit(mixed, "hp.optimizer")
    assert_permutation_invariant(model, mixed)


def test_a_model_of_flat_weights_fails(known: Zoo) -> None:
    model = metanet.create_model("dnn", features="flat", max_epochs=5).fit(known.view())
    with pytest.raises(AssertionError, match="dnn sees the order of hidden neurons"):
        assert_permutation_invariant(model, known.view())


def test_features_that_are_invariant_pass(known: Zoo) -> None:
    model = metanet.create_model("stat_net", features="neurons+spectra", max_epochs=5).fit(known.view())
    assert_permutation_invariant(model, known.view())


def test_reordered_networks_hold_the_same_numbers(grown: Zoo) -> None:
    view = grown.view()
    other = reordered(view, seed=1)
    assert list(other.network_ids) == list(view.network_ids)
    np.testing.assert_array_equal(np.sort(other.weights(), 1), np.sort(view.weights(), 1))
    assert (other.weights() != view.weights()).mean() > 0.5
    np.testing.assert_array_equal(other.target("test_accuracy"), view.target("test_accuracy"))


def test_networks_keep_their_function_and_a_wrong_wiring_is_found() -> None:
    torch.manual_seed(0)
    assert_function_unchanged(ResNetMini(1, 4, 1, 10, 0.0), (1, 8, 8))

    class Ordered(nn.Module):
        """Its outputs depend on the order of hidden units, which no layout can say."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x) * torch.arange(8, dtype=x.dtype))

    with pytest.raises(AssertionError, match="outputs change"):
        assert_function_unchanged(Ordered(), (4,))
