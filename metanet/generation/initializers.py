"""Weight initialisers with Keras' constants, drawn for one network from a seed.

Glorot and He normal are truncated normals whose standard deviation is corrected for the cut at two
standard deviations (Keras' 0.87962566); ``truncated_normal`` is not corrected; biases are zero, and batch
normalisation begins with variance one and a scale about one. From one seed (``recipe.share=[init]``) the three truncated
normals of a layer map the same uniform numbers, so they differ by scale alone; ``normal`` and ``orthogonal`` come from the
same bits: the draw itself, and the QR factor of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.layout import Layout

TRUNCATION_CORRECTION = 0.87962566103423978
CONSTANT = 0.1  # of the initialiser ``constant`` (Eilertsen et al. 2020, supplement A.1)


def _truncated(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std, generator=generator)


def _fans(tensor: Tensor) -> tuple[int, int]:
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def _glorot_normal(tensor: Tensor, _std: float, generator: torch.Generator) -> None:
    fan_in, fan_out = _fans(tensor)
    _truncated(tensor, math.sqrt(2.0 / (fan_in + fan_out)) / TRUNCATION_CORRECTION, generator)


def _glorot_uniform(tensor: Tensor, _std: float, generator: torch.Generator) -> None:
    bound = math.sqrt(6.0 / sum(_fans(tensor)))
    nn.init.uniform_(tensor, -bound, bound, generator=generator)


def _constant(tensor: Tensor, _std: float, _generator: torch.Generator) -> None:
    nn.init.constant_(tensor, CONSTANT)


def _he_normal(tensor: Tensor, _std: float, generator: torch.Generator) -> None:
    _truncated(tensor, math.sqrt(2.0 / _fans(tensor)[0]) / TRUNCATION_CORRECTION, generator)


def _orthogonal(tensor: Tensor, _std: float, generator: torch.Generator) -> None:
    nn.init.orthogonal_(tensor, generator=generator)


def _normal(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    nn.init.normal_(tensor, std=std, generator=generator)


INITIALIZERS: dict[str, Callable[[Tensor, float, torch.Generator], None]] = {
    "glorot_normal": _glorot_normal,
    "glorot_uniform": _glorot_uniform,
    "he_normal": _he_normal,
    "orthogonal": _orthogonal,
    "normal": _normal,
    "truncated_normal": _truncated,
    "constant": _constant,
}


def initial_weights(layout: Layout, w_init: str, init_std: float, seed: int, bn_scale_std: float = 0.0) -> np.ndarray:
    """The weight vector of one network before training, float32 of shape (D,).

    Args:
        layout: kernels and scales of batch normalisation are drawn; its variances are one, all else zero.
        w_init: a name in :data:`INITIALIZERS`.
        init_std: standard deviation for ``normal`` and ``truncated_normal``; the others ignore it.
        seed: of the draws.
        bn_scale_std: standard deviation of the scales of batch normalisation, whose mean is one.

    Raises:
        MetanetError: there is no such initialiser.
    """
    if w_init not in INITIALIZERS:
        raise MetanetError(f"no initialiser '{w_init}'{did_you_mean(w_init, INITIALIZERS)}")
    generator = torch.Generator().manual_seed(seed)
    scales = torch.Generator().manual_seed(seed + 2**32)  # seeds of networks have 32 bits
    vector = torch.zeros(layout.size)
    for spec, tensor in zip(layout.tensors, layout.unflatten(vector).values(), strict=True):
        if spec.kind == "kernel":
            INITIALIZERS[w_init](tensor, init_std, generator)
        elif spec.kind == "bn_scale":
            tensor.normal_(1.0, bn_scale_std, generator=scales)
        elif spec.kind == "bn_var":
            tensor.fill_(1.0)
    return vector.numpy()
