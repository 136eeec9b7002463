"""One quiet pl.Trainer for everything that metanet trains: no files, no bars, no advice."""

from __future__ import annotations

import inspect
import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.errors import MetanetError, did_you_mean
from metanet.interrupts import check
from metanet.registry import Registry

# What metanet decides itself, so that a run is quiet and leaves no files of Lightning's behind.
OWN_SETTINGS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def check_trainer(settings: dict[str, Any]) -> None:
    """Refuse a key of the ``trainer`` group that pl.Trainer does not take or that metanet sets itself.

    Raises:
        MetanetError: a setting is none of ``pl.Trainer``, or means nothing here.
    """
    known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self", "max_steps", "max_time", *OWN_SETTINGS}
    for key in settings:
        if key not in known:
            raise MetanetError(f"trainer has no setting '{key}' that can be given{did_you_mean(key, known)}")
    named_callbacks(settings.get("callbacks"))
    bound = settings.get("max_epochs")
    if bound is not None and (not isinstance(bound, int) or bound < 1):
        raise MetanetError(f"trainer.max_epochs={bound}: give a whole number from 1 up, or null for no bound")
    if settings.get("limit_val_batches") == 0:
        raise MetanetError("trainer.limit_val_batches=0: the validation part chooses the epoch; leave it some batches")
    for key in ("devices", "num_nodes"):
        given = settings.get(key, 1)
        if given not in (None, 1) and not (isinstance(given, list) and len(given) == 1):
            raise MetanetError(
                f"trainer.{key}={given}: a fit runs on one device; give trainer.devices=1, or [1] for the second GPU, and "
                "launcher.workers=2 where several fits are to run side by side"
            )
    limit = settings.get("limit_train_batches")
    if limit is not None:
        whole = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1
        if not whole and not (isinstance(limit, float) and 0 < limit <= 1):
            raise MetanetError(f"trainer.limit_train_batches={limit}: give a whole number from 1 up, or a share up to 1.0")


def _callback_homes() -> dict[str, str]:
    known = {name: getattr(pl.callbacks, name) for name in pl.callbacks.__all__}
    return {name: f"pytorch_lightning.callbacks:{name}" for name, found in known.items() if _is_callback(found)}


def _is_callback(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, pl.Callback) and found is not pl.Callback


CALLBACKS: Registry[type[pl.Callback]] = Registry(
    "callback", _callback_homes, _is_callback, "subclass of pytorch_lightning.Callback"
)


def named_callbacks(given: Any) -> list[pl.Callback]:
    """New callbacks of ``trainer.callbacks``, which see every training beside metanet's own.

    Args:
        given: a list of names, such as ``GradientAccumulationScheduler``, of paths ``./mine.py:MyCallback``, or of mappings of a
            ``name`` and the arguments of its constructor; None for no callback.

    Raises:
        MetanetError: no such callback, or not with these arguments.
    """
    made = []
    if given is not None and not isinstance(given, list):
        raise MetanetError(f"trainer.callbacks={given}: give a list, [NAME,./mine.py:NAME]")
    for one in given or []:
        arguments = dict(one) if isinstance(one, Mapping) else {"name": one}
        name = str(arguments.pop("name", "")) or "?"
        try:
            made.append(CALLBACKS.find(name)(**arguments))
        except (TypeError, ValueError, pl.utilities.exceptions.MisconfigurationException) as error:
            raise MetanetError(f"trainer.callbacks: {name}: {str(error).splitlines()[0]}") from None
    return made


@contextmanager
def quiet_trainer(
    settings: dict[str, Any], epochs: int, callbacks: Sequence[pl.Callback] = (), threads: int | None = None
) -> Iterator[pl.Trainer]:
    """A trainer for at most ``epochs`` epochs; torch's thread count holds while it lives.

    Args:
        settings: the ``trainer`` config group; ``max_epochs`` there is a bound.
        callbacks: seen by the training.
        threads: of torch.

    Raises:
        MetanetError: ``pl.Trainer`` refuses the settings.
        KeyboardInterrupt: Lightning was interrupted, which it does not hand on by itself.
    """
    check_trainer(settings)
    own: dict[str, Any] = OWN_SETTINGS | {"callbacks": [*callbacks, *named_callbacks(settings.get("callbacks"))]}
    bound = settings.get("max_epochs")
    own["max_epochs"] = epochs if bound is None else min(epochs, bound)
    on_interrupt = signal.getsignal(signal.SIGINT)
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch_threads(threads):
        warnings.filterwarnings("ignore", module=r"(lightning|pytorch_lightning|lightning_fabric|torch)\b.*")
        try:
            arguments: dict[str, Any] = {"accelerator": "auto", "devices": 1} | settings | own
            trainer = pl.Trainer(**arguments)
        except (ValueError, TypeError, pl.utilities.exceptions.MisconfigurationException) as error:
            raise MetanetError(f"trainer: {str(error).splitlines()[0]}") from None
        try:
            yield trainer
            check()
        except SystemExit:
            if not trainer.interrupted:
                raise
            # Lightning answers Ctrl-C by leaving the process; what was asked for is an interruption.
            signal.signal(signal.SIGINT, on_interrupt or signal.default_int_handler)
            raise KeyboardInterrupt from None


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute on so many threads within; None leaves it as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_of(settings: dict[str, Any] | None) -> torch.device:
    """Where a network predicts that was trained with these settings of ``trainer``: a GPU where there is one, but for
    ``accelerator=cpu``.
    """
    return torch.device("cuda" if torch.cuda.is_available() and (settings or {}).get("accelerator") != "cpu" else "cpu")


class KeepBest(pl.Callback):
    """Keeps the weights of the epoch with the lowest validation loss, in memory: those that were validated."""

    def __init__(self) -> None:
        self.best, self.epoch = float("inf"), 1
        self.state: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epoch": self.epoch, "state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.epoch, self.state = (state_dict[name] for name in ("best", "epoch", "state"))

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.best or not self.state:
            self.best, self.epoch = loss, trainer.current_epoch + 1
            self.state = {k.removeprefix("network."): v.detach().cpu().clone() for k, v in module.state_dict().items()}


class Losses(pl.Callback):
    """Keeps the mean training loss of each epoch, and the validation loss where there is a validation part."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []
        self._validation: float | None = None
        self._rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self._rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = list(state_dict["rows"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._steps.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)  # Lightning has divided it

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._validation = float(trainer.callback_metrics["validation_loss"])

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        row = {"epoch": trainer.current_epoch + 1, "training_loss": float(torch.stack(self._steps).mean())}
        if self._validation is not None:
            row["validation_loss"] = self._validation
        self._rows.append(row)
        self._steps.clear()
        self._validation = None

    @property
    def last(self) -> float:
        """The mean training loss of the last epoch."""
        return self._rows[-1]["training_loss"]

    def table(self) -> pd.DataFrame:
        """A row an epoch: training_loss, validation_loss; the index is called epoch."""
        return pd.DataFrame(self._rows).set_index("epoch")
