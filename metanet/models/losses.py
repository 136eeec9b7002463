"""What a network's raw outputs mean for a target: the loss that trains them, and the predictions that they make."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional

from metanet.constraints import OneOf
from metanet.models.target import Target

ShareLoss = Annotated[str, OneOf("mse", "cross_entropy")]
Epoch = Annotated[str, OneOf("best", "last")]  # which one of a training is kept: the best on the validation part, or its end


def target_loss(raw: Tensor, codes: Tensor, target: Target, share: str = "mse") -> Tensor:
    """Mean loss of raw outputs (N, C) or (N, 1) for codes (N,).

    Categories take the cross-entropy of softmax, numbers the squared error. Shares such as accuracies pass a sigmoid and take
    what ``share`` says: the squared error, or the cross-entropy.
    """
    if target.task == "classification":
        return functional.cross_entropy(raw, codes)
    raw = raw[:, 0]
    if target.kind != "share":
        return functional.mse_loss(raw, codes)
    if share == "cross_entropy":
        return functional.binary_cross_entropy_with_logits(raw, codes)
    return functional.mse_loss(raw.sigmoid(), codes)


def target_output(raw: Tensor, target: Target) -> Tensor:
    """Raw outputs -> class probabilities (N, C), or codes (N,)."""
    if target.task == "classification":
        return raw.softmax(1)
    return (raw.sigmoid() if target.kind == "share" else raw)[:, 0]
