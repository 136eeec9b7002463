"""One training of a network by Lightning, as all deep meta-models do it; it goes on where it was stopped.

Within :func:`kept_in` each training keeps a checkpoint in a folder: network, optimizer, schedule, averages, the best epoch so
far, losses and the state of every random generator, so that what goes on is what an undisturbed training gives, bit by bit at
equal threads. A training is known by what decides its outcome. A fit of several trainings, of several members, or of folds
therefore finds each of its own again, and those that were finished are not trained again.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import nn

from metanet.lightning import KeepBest, Losses, quiet_trainer
from metanet.machine import versions

SHARE = 0.01  # of the time of a training that writing checkpoints may take
FIRST = 3.0  # seconds that a training lasts before one is written


@dataclass(frozen=True)
class Trained:
    """What came of a training: the epoch that is kept, from 1 up, and the losses of all of them."""

    epoch: int
    curve: pd.DataFrame


@dataclass
class Kept:
    """Where the trainings of one fit are kept, and for how many seconds those lasted that were not trained again."""

    folder: Path
    seconds: float = 0.0


_KEPT: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def kept_in(folder: str | Path) -> Iterator[Kept]:
    """Let the fits within keep their trainings in a folder while they last.

    An interruption leaves the folder, and the same fits within the same folder go on from there; at most one epoch is lost, or
    where epochs are short a few seconds. It is removed when the fits are done, and after an error.
    """
    kept = Kept(Path(folder))
    token = _KEPT.set(kept)
    try:
        yield kept
    except Exception:
        _remove(kept.folder)
        raise
    else:
        _remove(kept.folder)
    finally:
        _KEPT.reset(token)


def seconds_before() -> float:
    """How long the trainings of the present fit had lasted before it was stopped; 0 where it never was."""
    kept = _KEPT.get()
    return 0.0 if kept is None else kept.seconds


def _remove(folder: Path) -> None:
    """Take a folder away, and the one it lies in where nothing else does."""
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def train_network(
    network: nn.Module,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    epochs: int,
    validated: bool,
    seed: int,
    threads: int = 1,
    trainer: dict[str, Any] | None = None,
    ema: float | None = None,
    callbacks: Sequence[pl.Callback] = (),
    on_round: Callable[[int, int, float], None] | None = None,
    facts: Any = None,
) -> Trained:
    """Train ``module.network``, which is ``network``; it then lies on the CPU, in evaluation.

    Args:
        epochs: at most; ``trainer.max_epochs`` is a bound too.
        validated: whether there is a validation part; the weights of the epoch with its lowest loss are then kept.
        seed: of dropout.
        trainer: further arguments of pl.Trainer.
        ema: decay a step of an average of the weights that takes their place.
        callbacks: more of them.
        on_round: told of each epoch that is done, of ``epochs``, and of its mean training loss.
        facts: what decides the outcome beside the arguments and the initial network: settings, and the training data.
    """
    keeper, losses = KeepBest(), Losses()
    own: list[pl.Callback] = [*([keeper] if validated else []), losses, *callbacks]
    if on_round is not None:
        own.append(Report(on_round, epochs, losses))
    if ema is not None:
        own.append(pl.callbacks.EMAWeightAveraging(decay=ema))
    kept = _KEPT.get()
    key = None if kept is None else _key(network, facts, epochs, validated, seed, trainer, ema)
    if kept is not None and (done := _read(kept.folder / f"{key}.done")):
        network.load_state_dict(done["network"])
        network.eval()
        losses.load_state_dict(done["losses"])
        kept.seconds += done["seconds"]
        return Trained(done["epoch"], losses.table())
    saver = None if kept is None else KeepTraining(kept.folder / f"{key}.ckpt")
    before = None if saver is None or kept is None else saver.before()
    with quiet_trainer(trainer or {}, epochs, own + ([saver] if saver else []), threads) as lightning, torch.random.fork_rng():
        torch.manual_seed(seed)
        lightning.fit(module, datamodule=data, ckpt_path=before, weights_only=True)
    if validated:
        network.load_state_dict(keeper.state)
    network.cpu().eval()
    epoch = keeper.epoch if validated else lightning.current_epoch
    if saver is not None and kept is not None:
        kept.seconds += saver.earlier
        saver.finish({"network": network.state_dict(), "epoch": epoch, "losses": losses.state_dict()})
    return Trained(epoch, losses.table())


class Report(pl.Callback):
    """Tells ``on_round`` of every epoch."""

    def __init__(self, on_round: Callable[[int, int, float], None], epochs: int, losses: Losses) -> None:
        self.on_round, self.epochs, self.losses = on_round, epochs, losses

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.on_round(trainer.current_epoch + 1, self.epochs, self.losses.last)


class KeepTraining(pl.Callback):
    """Writes a training's checkpoint as an epoch begins, but so seldom that it takes under a hundredth of the time.

    Args:
        path: of the checkpoint.

    Attributes:
        earlier: seconds that the training had lasted when it was stopped.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.earlier = path, 0.0
        self.began, self.cost, self.saved = time.monotonic(), 0.0, 0.0
        self.random: dict[str, Any] = {}

    def before(self) -> Path | None:
        """The checkpoint that is there; None where there is none, or it cannot be read."""
        return self.path if _read(self.path) else None

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"seconds": self.seconds, "torch": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.earlier, self.random = state_dict["seconds"], state_dict

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the epoch that begins be trained from its first batch: Lightning's counters still say that one was just done."""
        loop = checkpoint["loops"]["fit_loop"]
        batches, validation = loop["epoch_loop.batch_progress"], loop["epoch_loop.val_loop.batch_progress"]
        for counter in (batches["current"], validation["current"], validation["total"]):
            counter.update(dict.fromkeys(counter, 0))
        batches["is_last_batch"] = validation["is_last_batch"] = False

    @property
    def seconds(self) -> float:
        """How long the training has lasted, what was done before a stop included."""
        return self.earlier + time.monotonic() - self.began

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.random:
            torch.set_rng_state(self.random["torch"].cpu())
            if self.random["cuda"]:
                torch.cuda.set_rng_state_all([state.cpu() for state in self.random["cuda"]])

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        since = self.seconds - self.saved
        if trainer.strategy.broadcast(trainer.current_epoch > 0 and since > FIRST and self.cost <= SHARE * since):
            began = time.monotonic()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(self.path.with_suffix(".new"))
            self.path.with_suffix(".new").replace(self.path)
            self.saved, self.cost = self.seconds, time.monotonic() - began

    def finish(self, values: dict[str, Any]) -> None:
        """Put what came of the training in the place of its checkpoint, where it took a while."""
        if self.seconds > FIRST:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(values | {"seconds": self.seconds}, self.path.with_suffix(".new"))
            self.path.with_suffix(".new").replace(self.path.with_suffix(".done"))
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """What :func:`torch.save` wrote, read without unpickling any object; None where it is not there, or damaged."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        return None


def _key(network: nn.Module, *facts: Any) -> str:
    """A name of what decides a training's outcome: its initial network, settings and data, and the versions of libraries."""
    digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    for name, values in network.state_dict().items():
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    _update(digest, facts)
    return digest.hexdigest()[:16]


def _update(digest: Any, fact: Any) -> None:
    """Take a fact into a digest: arrays and tables by all of their values, the rest as it is written."""
    if isinstance(fact, np.ndarray) and fact.dtype != object:
        digest.update(str((fact.shape, fact.dtype)).encode() + np.ascontiguousarray(fact).tobytes())
    elif isinstance(fact, np.ndarray):  # what is written of a long one leaves its middle out
        _update(digest, fact.tolist())
    elif isinstance(fact, pd.DataFrame):
        _update(digest, fact.to_dict("list"))
    elif isinstance(fact, Mapping):
        _update(digest, [item for pair in sorted(fact.items()) for item in pair])
    elif isinstance(fact, list | tuple):
        digest.update(str(len(fact)).encode())
        for part in fact:
            _update(digest, part)
    else:
        digest.update(repr(fact).encode())
