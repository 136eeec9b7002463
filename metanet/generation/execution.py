"""Running the networks of a zoo on images of one's own: what they answer, and what their neurons do.

Weights alone do not say where a network strides and pools, nor its activation: the zoo's recipe and hyperparameters do. Small
CNNs and MLPs run in stacks, other networks one by one, as their recipe's modules. All can be differentiated by the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from metanet.errors import MetanetError
from metanet.generation.networks import ACTIVATIONS, SmallCNN, StackedNetwork
from metanet.generation.nws import OUTPUTS, NWSNetwork
from metanet.generation.recipes import ModuleNetwork, create_recipe
from metanet.plugins import is_path
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View, Zoo

SIDES = {"mnist": 28, "fashion_mnist": 28, "cifar10_gs": 32, "cifar10": 32, "svhn_gs": 32, "svhn": 32}  # of released zoos
STACK = 8  # networks of one pass, whose activations stay in a core's cache
# Hyperparameters of the training alone: networks that differ in no others do the same with the same weights.
OF_TRAINING = frozenset(
    [
        "optimizer",
        "learning_rate",
        "l2reg",
        "dropout",
        "w_init",
        "init_std",
        "train_fraction",
        "batch_size",
        "augmentation",
        "dataset",
    ]
)
MODULES = (*ACTIVATIONS.values(), nn.ELU, nn.Sigmoid)


@dataclass(frozen=True)
class Responses:
    """What K networks do with M images.

    Attributes:
        logits: (K, M, classes).
        hidden: of each hidden layer, from the inputs on, behind its activation: (K, M, positions, units).
    """

    logits: Tensor
    hidden: list[Tensor]


class Executor:
    """Runs networks of one architecture.

    Args:
        zoo: whose recipe says how its networks work.
        layout: of their weights.
        hyper: ``hp.*`` of one of these networks.

    Attributes:
        input_shape: (H, W, C) of the images, on the recipe's scale.

    Raises:
        MetanetError: nothing says how these networks work.
    """

    def __init__(self, zoo: Zoo, layout: Layout, hyper: Mapping[str, Any]) -> None:
        facts, data = zoo.header.recipe, zoo.data
        channels = next((t.shape[1] for t in layout.tensors if t.kind == "kernel"), 1)
        side = SIDES.get(data.name)
        shape = data.shape or ((side, side, channels) if side else None)
        self.network: Any = None
        if shape is not None and facts.imported and facts.name == "small_cnn":
            kernels = [t.shape for t in layout.tensors if t.kind == "kernel"]
            self.network = SmallCNN(shape, len(kernels) - 1, kernels[0][0], kernels[0][2], classes=kernels[-1][0])
        elif shape is not None and data.classes is not None and facts.name and not facts.imported:
            if is_path(facts.name) and not Path(facts.name.rpartition(":")[0]).exists():
                raise MetanetError(
                    f"{zoo.name} was grown by a recipe of your own, {facts.name}, which is not in this folder, so its "
                    "networks cannot be run; give the command in that file's folder"
                )
            self.network = create_recipe(facts.name, **facts.arguments).network(hyper, shape, data.classes)
        if self.network is None:
            raise MetanetError(
                f"{zoo.name} does not say how its networks work (no recipe and no shape of images), so they cannot be run; "
                "take meta-models and features that read weights alone"
            )
        self.layout = layout
        self._modules: dict[str | None, nn.Module] = {}
        self.input_shape: tuple[int, int, int] = self.network.input_shape
        if isinstance(self.network, StackedNetwork):
            theirs = {t.name: t.shape for t in self.network.layout.tensors}
            if {t.name: t.shape for t in layout.tensors} != theirs:
                raise MetanetError(f"the recipe of {zoo.name} does not make networks of layers {', '.join(layout.layers)}")

    @property
    def classes(self) -> int:
        """Number of logits."""
        return OUTPUTS if isinstance(self.network, NWSNetwork) else int(self.network.classes)

    @property
    def low(self) -> float:
        """The darkest pixel on the scale that these networks were trained on; the brightest is 1."""
        return 0.0 if isinstance(self.network, NWSNetwork) else -1.0

    def run(self, weights: Tensor, images: Tensor, activation: str | None) -> Responses:
        """Weights (K, D) and images (M, H, W, C) -> responses.

        Args:
            activation: of all of these networks; None for recipes of one's own, which know theirs.
        """
        if isinstance(self.network, StackedNetwork):
            return self._stacked(weights, images, str(activation))
        runs = [self._one(vector, images, activation) for vector in weights]
        hidden = [torch.stack(own) for own in zip(*(r.hidden for r in runs), strict=True)]
        return Responses(torch.stack([r.logits for r in runs]), hidden)

    def stacks(
        self, weights: Tensor | np.ndarray, images: Tensor, activations: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Responses]]:
        """Weights (N, D) a few at a time, those of one activation together: positions in N, and their responses.

        Args:
            activations: of each network, (N,).
        """
        for activation in dict.fromkeys(activations.tolist()):
            members = np.flatnonzero(activations == activation)
            for start in range(0, len(members), STACK):
                part = members[start : start + STACK]
                yield part, self.run(torch.as_tensor(weights[part]), images, activation)

    def _stacked(self, weights: Tensor, images: Tensor, activation: str) -> Responses:
        if activation not in ACTIVATIONS:
            raise MetanetError(
                f"these networks' activation (hp.activation) is {activation}, and only {', '.join(ACTIVATIONS)} can be run; "
                "where it is not known, features=probe:blind runs networks with each"
            )
        named = self.layout.unflatten(weights)
        layers = list(self.network.layers(named, self.network.prepare(images), activation, None))
        return Responses(self.network.dense(named, layers[-1]), [layer.flatten(2, 3) for layer in layers])

    def _one(self, vector: Tensor, images: Tensor, activation: str | None) -> Responses:
        """One network's (M, classes) and (M, positions, units)."""
        module = self._module(activation)
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen.append(output[:, None] if output.ndim == 2 else output.flatten(2).transpose(1, 2))

        hooks = [m.register_forward_hook(keep) for m in module.modules() if isinstance(m, MODULES)]
        try:
            logits = functional_call(module, self.layout.unflatten(vector), (images.permute(0, 3, 1, 2),))
        finally:
            for hook in hooks:
                hook.remove()
        return Responses(logits, seen)

    def _module(self, activation: str | None) -> nn.Module:
        """The network as a module in evaluation, built once an activation."""
        if activation not in self._modules:
            own = self.network.module() if isinstance(self.network, ModuleNetwork) else self.network.module(str(activation))
            self._modules[activation] = own.eval().requires_grad_(False)
        return self._modules[activation]


def executors(view: View) -> dict[str, Executor]:
    """An executor for each layout of a view, by id.

    Raises:
        MetanetError: networks of one layout differ in more than their training, as those of a recipe of one's own may.
    """
    found = {}
    for layout_id, part in view.frame.groupby("layout_id", sort=False):
        executor = Executor(view.zoo, view.zoo.layouts[str(layout_id)], part.iloc[0].to_dict())
        if isinstance(executor.network, ModuleNetwork):
            varying = [c for c in part if c.startswith("hp.") and part[c].nunique() > 1]
            if other := sorted({c.removeprefix("hp.") for c in varying} - OF_TRAINING):
                raise MetanetError(
                    f"networks of {view.zoo.name} with the same weights may differ in {', '.join(other)}, and a recipe of your "
                    "own does not say how; run those of one value by where="
                )
        found[str(layout_id)] = executor
    return found


def noise_images(count: int, shape: tuple[int, int, int], seed: int = 0, low: float = -1.0) -> np.ndarray:
    """Images that no data set gave: noise of spectra 1 / f^a, a from 0 to 2, of random contrast and offset, in [low, 1].

    Returns:
        float32 (count, H, W, C).
    """
    rng = np.random.default_rng([seed, *shape])
    height, width, channels = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    exponents = np.linspace(0, 2, count)
    images = np.empty((count, height, width, channels), np.float32)
    for image, exponent in zip(images, exponents, strict=True):
        white = np.fft.rfft2(rng.normal(size=(height, width, channels)), axes=(0, 1))
        field = np.fft.irfft2(white / frequency[..., None] ** exponent, (height, width), axes=(0, 1))
        field = (field - field.mean()) / field.std()
        image[:] = np.tanh(rng.uniform(0.3, 2.0) * field + rng.uniform(-1.5, 1.5))
    return on_scale(images, low)


def on_scale(images: Any, low: float) -> Any:
    """Pixels from -1 to 1 (array or tensor) -> from ``low`` to 1."""
    return images if low == -1.0 else (images + 1) / 2 * (1 - low) + low
