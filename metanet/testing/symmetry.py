"""Proofs of symmetry for your own networks and meta-models.

>>> from metanet.testing import assert_function_unchanged
>>> from torch import nn
>>> assert_function_unchanged(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), (4,))
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from metanet.models.base import MetaModel
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire
from metanet.zoo.zoo import View


def reordered(view: View, seed: int = 0) -> View:
    """The same networks with the hidden neurons of each in an order of its own: a zoo in memory, rows as in ``view``.

    Kernels, biases and batch normalisation move with their neurons, and the fan-in of what reads them.
    """
    rng = np.random.default_rng(seed)
    layouts = [view.zoo.layouts[i] for i in view.frame["layout_id"]]
    wirings = {layout.id: wire(layout) for layout in layouts}
    vectors = []
    for vector, layout in zip(view.vectors(), layouts, strict=True):
        wiring = wirings[layout.id]
        vectors.append(np.asarray(vector)[wiring.positions(wiring.draw(rng))])
    return zoo_from_arrays(vectors, layouts, view.frame, view.zoo.name, view.zoo.header).view(epoch="all", status=None)


def assert_permutation_invariant(model: MetaModel, view: View, seed: int = 0, tolerance: float = 1e-4) -> None:
    """Fail unless a fitted meta-model answers alike when the hidden neurons of every network change places.

    Args:
        view: networks to judge.
        seed: of the orders.
        tolerance: greatest change of an output, in units of the largest one.

    Raises:
        AssertionError: says which network's output changed most, and by how much.
    """
    before, after = model.output(view), model.output(reordered(view, seed))
    change = np.abs(after - before).reshape(len(view), -1).max(1) / max(float(np.abs(before).max()), 1e-12)
    worst = int(change.argmax())
    if change[worst] > tolerance:
        raise AssertionError(
            f"{model.name} sees the order of hidden neurons: its output for network {view.network_ids[worst]} changes by "
            f"{change[worst]:.2g} of the largest output, tolerated are {tolerance:g}"
        )


def assert_function_unchanged(module: nn.Module, shape: Sequence[int], seed: int = 0, tolerance: float = 1e-9) -> None:
    """Fail unless a network's own function stays the same when its hidden neurons change places, as its layout says.

    The test of a wiring: it computes in float64, in evaluation, on random inputs (8, *shape).

    Args:
        module: any network that :meth:`metanet.zoo.layout.Layout.from_module` and the wiring know.
        shape: of one input.

    Raises:
        AssertionError: says how much the outputs change.
    """
    layout, module = Layout.from_module(module), copy.deepcopy(module).double().eval()
    wiring = wire(layout)
    places = torch.from_numpy(wiring.positions(wiring.draw(np.random.default_rng(seed))))
    vector = torch.cat([t.flatten() for t in module.state_dict().values() if t.is_floating_point()])
    inputs = torch.randn(8, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        before = module(inputs)
        after = torch.func.functional_call(module, layout.unflatten(vector[places]), (inputs,))
    change = float((after - before).abs().max() / before.abs().max())
    if change > tolerance:
        raise AssertionError(f"the network's outputs change by {change:.2g} of the largest one, tolerated are {tolerance:g}")
