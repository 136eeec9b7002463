"""What networks answer to noise: forward passes on fixed images that no data set gave (access F).

Summaries that neither the order of hidden neurons nor of classes changes, nor the scale of ReLU neurons or the sign of tanh
neurons (but for networks that are run blindly, with another activation than theirs): quantiles over images of the softmax's
entropy, largest probability and margin; how often each class is named, sorted; spectra of the centred logits and of what the
last layer reads; and of each hidden layer, quantiles over its neurons of what they do over images and positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metanet.errors import MetanetError
from metanet.generation.execution import Responses, executors, noise_images
from metanet.representations.neurons import QUANTILES, TINY
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View

IMAGES = 64
SPECTRUM = 10
BOUNDED = ("tanh", "sigmoid")  # whose neurons have no scale of their own
SATURATED = 0.95
PRECISION = 1e-4  # of singular values, as shares of their sum
OPTIONS = ("outputs", "blind")


def probe(
    view: View, weights: np.ndarray, layout: Layout, arguments: Sequence[str] = (), threads: int = 1
) -> tuple[np.ndarray, list[str]]:
    """Summaries of responses to noise: (N, D) -> float64 (N, F).

    Args:
        view: the same N snapshots, whose hyperparameters say the activation.
        arguments: a number of images (default 64); ``outputs`` for what does not depend on the architecture; ``blind`` to run
            every network with ReLU and with tanh, as if its activation were unknown.
    """
    count, outputs_only, blind = _options(arguments)
    frame = view.frame
    if "hp.activation" in frame and not blind:
        runs = [("", frame["hp.activation"].to_numpy(object))]
    elif blind:
        runs = [(f"{name}.", np.full(len(view), name, object)) for name in ("relu", "tanh")]
    else:
        runs = [("", np.full(len(view), None))]
    executor = executors(view)[layout.id]
    images = torch.from_numpy(noise_images(count, executor.input_shape, low=executor.low))
    names: list[str] = []
    matrices = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for prefix, activations in runs:
            order, blocks = [], []
            with torch.no_grad():
                for part, responses in executor.stacks(weights, images, activations):
                    values, own = _summary(responses, activations[part[0]] in BOUNDED, outputs_only)
                    order.append(part)
                    blocks.append(values)
            names += [prefix + name for name in own]
            matrices.append(np.concatenate(blocks)[np.argsort(np.concatenate(order))])
    finally:
        torch.set_num_threads(before)
    return np.concatenate(matrices, 1), names


def _options(arguments: Sequence[str]) -> tuple[int, bool, bool]:
    count = IMAGES
    for word in arguments:
        if word.isdigit() and int(word) > 1:
            count = int(word)
        elif word not in OPTIONS:
            raise MetanetError(f"features=probe:{word}: give a number of images from 2 up, {' or '.join(OPTIONS)}")
    return count, "outputs" in arguments, "blind" in arguments


def _summary(responses: Responses, bounded: bool, outputs_only: bool) -> tuple[np.ndarray, list[str]]:
    """Of K networks: float64 (K, F) and names."""
    logits = responses.logits.double()
    columns: dict[str, Tensor] = {}
    share = logits.softmax(2)
    top = share.topk(2, 2).values
    entropy = -(share * share.clamp_min(TINY).log()).sum(2)
    for name, values in (("entropy", entropy), ("top", top[..., 0]), ("margin", top[..., 0] - top[..., 1])):
        columns |= _quantiles(name, values)
    ranked = logits.topk(2, 2).values
    columns |= _quantiles("logit_margin", (ranked[..., 0] - ranked[..., 1]).clamp_min(TINY).log())
    named = torch.nn.functional.one_hot(logits.argmax(2), logits.shape[2]).double().mean(1)
    for name, values in (("named", named), ("mean_share", share.mean(1))):
        columns |= {f"{name}{i + 1}": own for i, own in enumerate(values.sort(1, descending=True).values.T)}
    centred = logits - logits.mean(2, keepdim=True)
    columns |= _spectrum("logits", centred - centred.mean(1, keepdim=True), scaled=True)
    if not outputs_only:
        columns["bounded"] = torch.full((len(logits),), float(bounded), dtype=torch.float64)
        for i, hidden in enumerate(responses.hidden, 1):
            flat = hidden.flatten(1, 2)  # (K, M * positions, units)
            mean, spread = flat.mean(1).double(), flat.std(1, correction=0).double()
            columns |= _quantiles(f"layer{i}.steadiness", (mean.abs() / (spread + TINY)).clamp_max(1e3).log1p())
            columns |= _quantiles(f"layer{i}.zero", (flat == 0).double().mean(1))
            level = spread if bounded else torch.zeros_like(spread)
            columns |= _quantiles(f"layer{i}.spread", level)
            saturated = (flat.abs() > SATURATED).double().mean(1)
            columns |= _quantiles(f"layer{i}.saturated", saturated if bounded else torch.zeros_like(saturated))
        if responses.hidden:
            read = responses.hidden[-1].mean(2).double()
            columns |= _spectrum("read", read - read.mean(1, keepdim=True), scaled=bounded)
    return torch.stack(list(columns.values()), 1).numpy(), list(columns)


def _quantiles(name: str, values: Tensor) -> dict[str, Tensor]:
    """Over the last axis: (K, n) -> (K,) each."""
    found = torch.quantile(values, torch.tensor(QUANTILES, dtype=values.dtype), dim=1)
    return {f"{name}.q{round(100 * q)}": own for q, own in zip(QUANTILES, found, strict=True)}


def _spectrum(name: str, matrices: Tensor, scaled: bool) -> dict[str, Tensor]:
    """Log singular values, as shares of their sum; with their common scale where it means something: (K, m, n) -> (K,) each."""
    values = torch.linalg.svdvals(matrices)[:, :SPECTRUM]
    total = values.sum(1, keepdim=True) + TINY
    found = {f"{name}.sv{i + 1}": (own + PRECISION).log() for i, own in enumerate((values / total).T)}
    return found | {f"{name}.size": total[:, 0].log() if scaled else torch.zeros_like(total[:, 0])}
