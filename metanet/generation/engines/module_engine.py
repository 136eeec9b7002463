"""The torch engine for any ``nn.Module``: the networks of a group one after another, on any device.

Slower than stacks, and open to everything: modules are called through ``torch.func.functional_call`` with tensors that
are views of one (K, D) matrix. Running statistics of a module lie in its vector and are written back after each step;
noise of a module (its dropout) follows torch's generator, seeded by network and step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from metanet.data_modules.images import scale_pixels
from metanet.generation.dropout import mix
from metanet.generation.engines import Engine
from metanet.generation.group import StackedGroup
from metanet.generation.plan import Plan
from metanet.generation.recipes.module import ModuleNetwork
from metanet.zoo.layout import Layout

EVALUATION_BATCH = 1024


class ModuleEngine(Engine):
    """Any ``nn.Module``, one after another."""

    name = "module"

    def refusal(self, plan: Plan, trainer: dict[str, Any]) -> str | None:
        return None if plan.of(ModuleNetwork) else "it is for recipes of modules, such as your own by path"

    def group(self, plan: Plan, rows: pd.DataFrame, threads: int, *shared: Any) -> ModuleGroup:
        return ModuleGroup(plan.networks_of(rows, ModuleNetwork), plan.layouts[rows["layout_id"].iloc[0]], *shared)


class ModuleGroup(StackedGroup):
    """K modules that share one layout; see :class:`metanet.generation.group.StackedGroup` for the rest.

    Args:
        networks: K base networks.
        layout: of their vectors.
    """

    def __init__(
        self, networks: Sequence[ModuleNetwork], layout: Layout, table: pd.DataFrame, *arguments: Any, **settings: Any
    ) -> None:
        super().__init__(table, *arguments, **settings)
        self.layout = layout
        self.modules_of: list[nn.Module] = []
        vectors = []
        for network, seed in zip(networks, table["init_seed"], strict=True):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(seed))
                module = network.module()
            vectors.append(layout.flatten(module.state_dict()))
            self.modules_of.append(module)
        self.templates = nn.ModuleList(self.modules_of)  # so that Lightning moves them to the device
        self.weights = nn.Parameter(torch.from_numpy(np.stack(vectors)))

    def on_train_start(self) -> None:
        l2 = self.table["hp.l2reg"].to_numpy(float) if "hp.l2reg" in self.table else np.zeros(len(self.table))
        self._l2 = l2.tolist()
        super().on_train_start()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """One optimizer step of every network on one shared batch; returns the losses, shape (K,)."""
        images, labels = batch[0].permute(0, 3, 1, 2).contiguous(), batch[1]
        gradient, losses = self.weights.grad, torch.zeros_like(self.epoch_loss)
        assert gradient is not None
        learned = {name for name, _ in self.modules_of[0].named_parameters()}
        for k in np.flatnonzero(self.alive).tolist():
            module = self.modules_of[k].train()
            vector = self.weights.detach()[k]
            values = {
                name: view.requires_grad_() if name in learned else view
                for name, view in ((n, v.clone()) for n, v in self.layout.unflatten(vector).items())
            }
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(
                    int(mix(np.array([self.table["dropout_seed"].iloc[k]], np.uint64).astype(np.uint32))[0]) + self.steps
                )
                logits = functional_call(module, values, (images,))
            loss = functional.cross_entropy(logits, labels)
            decay = sum((values[t.name] ** 2).sum() for t in self.layout.tensors if t.kind == "kernel" and t.name in learned)
            names = [name for name in values if name in learned]
            total = loss + self._l2[k] * decay
            parts = torch.autograd.grad(total, [values[name] for name in names], allow_unused=True, materialize_grads=True)
            grads = dict(zip(names, parts, strict=True))
            for spec in self.layout.tensors:
                if spec.name in grads:
                    gradient[k, spec.start : spec.stop] = grads[spec.name].reshape(-1)
                else:
                    vector[spec.start : spec.stop] = values[spec.name].reshape(-1)
            losses[k] = loss.detach()
        self.optimizers().step()  # type: ignore[union-attr]
        self.epoch_loss += losses
        self.steps += 1
        return losses

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        correct, loss = np.zeros(len(self.table)), np.zeros(len(self.table))
        for start in range(0, len(labels), EVALUATION_BATCH):
            part = scale_pixels(images[start : start + EVALUATION_BATCH]).permute(0, 3, 1, 2).contiguous()
            answers = labels[start : start + EVALUATION_BATCH]
            for k in np.flatnonzero(self.alive).tolist():
                logits = functional_call(self.modules_of[k].eval(), self.layout.unflatten(self.weights.detach()[k]), (part,))
                correct[k] += int((logits.argmax(1) == answers).sum())
                loss[k] += float(functional.cross_entropy(logits, answers, reduction="sum"))
        return correct / len(labels), loss / len(labels)

    @torch.no_grad()
    def forget(self, rows: np.ndarray) -> None:
        broken = torch.from_numpy(rows).to(self.device)
        self.weights[broken] = 0.0
        assert self.weights.grad is not None
        self.weights.grad[broken] = 0.0
