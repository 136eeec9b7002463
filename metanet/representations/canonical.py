"""Canonical forms: the same function, written in one way where scales and signs of hidden neurons could be others.

A ReLU neuron may be scaled by any positive number, and a tanh neuron flipped in sign, if what reads it is divided by the same.
Here every ReLU neuron's fan-in has norm 1, and every tanh neuron's fan-in has a sum that is not negative. Networks of other
activations are left as they are. Signs pass through average pooling, not through max-pooling, which no layout shows.
"""

from __future__ import annotations

import numpy as np

from metanet.errors import MetanetError
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire


def canonical(weights: np.ndarray, layout: Layout, activations: np.ndarray) -> np.ndarray:
    """Weight vectors (N, D) -> the same functions' canonical ones, float32 (N, D).

    Args:
        activations: of each network, (N,).

    Raises:
        MetanetError: batch normalisation, residual connections or depthwise convolutions, whose scales are no neuron's own.

    Examples:
        >>> import numpy as np
        >>> from metanet import Layout
        >>> from metanet.representations.canonical import canonical
        >>> hidden = [("a.weight", "a", "kernel", (2, 3)), ("a.bias", "a", "bias", (2,))]
        >>> layout = Layout.build([*hidden, ("b.weight", "b", "kernel", (1, 2))])
        >>> weights = np.array([[3.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.5, -0.5, 1.0, 2.0]])  # one network
        >>> found = canonical(weights, layout, np.array(["relu"]))
        >>> np.linalg.norm(found[0, :6].reshape(2, 3), axis=1).round(3).tolist()  # what each hidden neuron reads
        [1.0, 1.0]
    """
    wiring = wire(layout)
    if wiring.added or any(e.depthwise for e in wiring.edges) or any(t.kind.startswith("bn") for t in layout.tensors):
        raise MetanetError(
            "a canonical form of scales and signs is known for layers in a row without batch normalisation; "
            f"these are {', '.join(layout.layers)}; give model.canonical=false"
        )
    relu, tanh = (np.flatnonzero(activations.astype(str) == name) for name in ("relu", "tanh"))
    done = weights.astype(np.float64)
    named = layout.unflatten(done)
    factors: np.ndarray | None = None  # what the neurons before were multiplied by, (N, neurons)
    for place, edge in enumerate(wiring.edges):
        kernel = named[edge.tensor.name].reshape(len(done), edge.tensor.shape[0], wiring.sizes[edge.source], -1)
        if factors is not None:
            kernel = kernel / factors[:, None, :, None]
        if place < len(wiring.edges) - 1:
            factors = np.ones(kernel.shape[:2])
            norms = np.sqrt(np.square(kernel[relu]).sum((2, 3)))
            factors[relu] = 1 / np.where(norms > 0, norms, 1.0)
            factors[tanh] = np.where(kernel[tanh].sum((2, 3)) < 0, -1.0, 1.0)
            kernel = kernel * factors[:, :, None, None]
            for tensor, owner in zip(layout.tensors, layout.owners, strict=True):
                if owner == edge.tensor.layer and tensor.kind == "bias":
                    done[:, tensor.start : tensor.stop] *= factors
        named[edge.tensor.name][...] = kernel.reshape(named[edge.tensor.name].shape)
    return done.astype(np.float32)
