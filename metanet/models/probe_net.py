"""Learned probes: a few dozen learned images are run through every network, and its answers are read (access F).

No order of hidden neurons, and no other symmetry of the weights, changes what a network answers (Kahana et al. 2025,
"Deep linear probe generators": a stack of linear layers makes better probes than free pixels). The images come from no data
set; the networks run as their zoo's recipe says.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metanet.constraints import Count, Interval
from metanet.data_modules.networks import NetworkPart, Networks
from metanet.errors import MetanetError
from metanet.generation.execution import Executor, executors, noise_images, on_scale
from metanet.models.encoder import Encoder, EncoderNetwork
from metanet.zoo.zoo import View

CODES = 64  # of a probe, where a generator makes it


class ProbeNet(Encoder):
    """Learned images, and what the networks answer to them.

    Args:
        probes: how many images.
        generator: linear layers that make the images of learned codes; 0 for free pixels.
        base: of :class:`metanet.models.encoder.Encoder`.
    """

    name = "probe_net"
    fixed: ClassVar[dict[str, Any]] = {"canonical": False}  # no scale and no sign changes an answer

    def __init__(self, probes: Count = 32, generator: Annotated[int, Interval(0)] = 2, **base: Any) -> None:
        super().__init__(**self.fixed, **base)
        self.probes, self.generator = probes, generator

    @property
    def access(self) -> str:
        return "F" if self.input is None else "+".join(sorted({"F", *self.input.access.split("+")}))

    def prepare(self, train: View, targets: list[str]) -> None:
        """Look at what runs the networks.

        Raises:
            MetanetError: the networks have not as many channels and classes, or their activation is the target.
        """
        if "hp.activation" in targets:
            raise MetanetError("probe_net runs every network with its activation, which is the target; take a model of weights")
        found = {(executor.input_shape, executor.classes) for executor in executors(train).values()}
        if len({shape[2] for shape, _ in found}) > 1 or len({classes for _, classes in found}) > 1:
            raise MetanetError(
                f"probe_net needs networks of as many channels and classes; {train.zoo.name} mixes {sorted(found)}"
            )
        (self.input_shape, self.outputs), *_ = sorted(found)
        super().prepare(train, targets)

    def networks(self, view: View) -> Networks:
        return Networks(view, self.slots, self.architectures, raw=True, contexts=executors(view))

    def create_encoder(self) -> EncoderNetwork:
        return ProbeNetwork(self.input_shape, self.outputs, self.probes, self.generator)

    def facts(self) -> dict[str, Any]:
        return {"input_shape": self.input_shape, "outputs": self.outputs}

    def restore(self, facts: dict[str, Any]) -> None:
        self.input_shape, self.outputs = tuple(facts["input_shape"]), facts["outputs"]


class ProbeNetwork(EncoderNetwork):
    """Answers to M probes: centred logits, shares, size, largest share, entropy; (b, D) -> (b, M (2 classes + 3))."""

    def __init__(self, shape: tuple[int, int, int], classes: int, probes: int, generator: int) -> None:
        super().__init__()
        self.shape, self.classes, self.width = shape, classes, probes * (2 * classes + 3)
        pixels = int(np.prod(shape))
        if generator:
            self.codes = nn.Parameter(torch.randn(probes, CODES))
            widths = [CODES, *[4 * CODES] * (generator - 1), pixels]
            self.made_by: nn.Module = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))
        else:
            self.codes = nn.Parameter(torch.from_numpy(noise_images(probes, shape)).atanh().clamp(-2, 2).flatten(1))
            self.made_by = nn.Identity()

    def images(self, side: tuple[int, int, int], low: float) -> Tensor:
        """The probes (M, H, W, C) from ``low`` to 1, resampled where networks take images of another size."""
        images = self.made_by(self.codes).tanh().view(-1, *self.shape)
        if side[:2] != self.shape[:2]:
            resized = functional.interpolate(images.permute(0, 3, 1, 2), side[:2], mode="bilinear", align_corners=False)
            images = resized.permute(0, 2, 3, 1)
        return on_scale(images, low)

    def forward(self, part: NetworkPart) -> Tensor:
        """Answers of the networks to the learned images, (b, width).

        Raises:
            MetanetError: the networks take other images than those that were learned.
        """
        executor: Executor = part.context
        if executor.classes != self.classes or executor.input_shape[2] != self.shape[2]:
            raise MetanetError(
                f"these networks take {executor.input_shape[2]} channels and give {executor.classes} classes; the probes were "
                f"learned for {self.shape[2]} and {self.classes}"
            )
        images = self.images(executor.input_shape, executor.low)
        order, runs = zip(*executor.stacks(part.weights, images, part.activations), strict=True)
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(part.weights.device)
        logits = torch.cat([run.logits for run in runs])[back]
        centred = logits - logits.mean(2, keepdim=True)
        shares = logits.softmax(2)
        size = torch.asinh(centred.square().mean(2).add(1e-12).sqrt())
        entropy = -(shares * shares.clamp_min(1e-12).log()).sum(2)
        read = (torch.asinh(centred).flatten(1), shares.flatten(1), size, shares.amax(2), entropy)
        return torch.cat(read, 1)
