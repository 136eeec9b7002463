"""Engines: what trains a group. All take the same plan and give the same networks but for rounding and dropout bits.

    torch      K stacked networks in one pass; any device; the reference
    blocks     networks of convolution, normalisation and pooling, one after another; any device
    module     any nn.Module, one after another, through torch (recipes of your own)
    fused      one small CNN a core, the whole step out of its cache
    fused_cuda one small CNN a thread block of a GPU, out of its shared memory

``auto`` measures those that can train the plan for a moment and takes the fastest (:mod:`.choice`); a zoo records the choice.
An engine is one file here, ``<name>_engine.py``, with one class of :class:`Engine`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch

from metanet.registry import Registry

if TYPE_CHECKING:
    from metanet.generation.group import GroupModule
    from metanet.generation.plan import Plan

STACK = 32  # networks of a group that share a pass; more of them do not fit a cache


class Engine:
    """What an engine says of itself; every method is asked of an instance without state.

    Attributes:
        name: what ``engine=`` takes.
        measured_networks: how many networks of a group are trained when ``auto`` measures.
        threaded: whether one process trains on as many threads as there are workers.
    """

    name: ClassVar[str] = ""
    measured_networks: ClassVar[int] = STACK
    threaded: ClassVar[bool] = False

    def refusal(self, plan: Plan, trainer: dict[str, Any]) -> str | None:
        """Why it cannot train a plan with these arguments of pl.Trainer; None where it can."""
        raise NotImplementedError

    def group(self, plan: Plan, rows: pd.DataFrame, threads: int, *shared: Any) -> GroupModule:
        """The Lightning module of some rows of one group.

        Args:
            threads: networks that a threaded engine trains at once.
            shared: arguments of :class:`metanet.generation.group.GroupModule`.
        """
        raise NotImplementedError

    def group_size(self, work: float) -> int:
        """Most networks of a group, where the user gives none.

        Args:
            work: multiply-adds of the training of one of its networks, or images where a network does not count them.
        """
        return STACK

    def accelerator(self, trainer: dict[str, Any]) -> str:
        """``trainer.accelerator`` as this engine takes it."""
        return str(trainer.get("accelerator", "auto"))

    def on_gpu(self, trainer: dict[str, Any]) -> bool:
        """Whether it trains on a CUDA device here."""
        return self.accelerator(trainer) != "cpu" and torch.cuda.is_available()


def _homes() -> dict[str, str]:
    return {path.stem.removesuffix("_engine"): f"{__name__}.{path.stem}" for path in Path(__file__).parent.glob("*_engine.py")}


def _is_engine(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Engine)


ENGINES: Registry[type[Engine]] = Registry("engine", _homes, _is_engine, "subclass of metanet.generation.engines.Engine")
