"""One quiet pl.Trainer for everything that metanet trains: no files, no bars, no advice."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch

from metanet.errors import MetanetError, did_you_mean


@contextmanager
def quiet_trainer(
    settings: dict[str, Any], epochs: int, callbacks: Sequence[pl.Callback] = (), threads: int | None = None
) -> Iterator[pl.Trainer]:
    """A trainer for at most ``epochs`` epochs; torch's thread count holds while it lives.

    Args:
        settings: the ``trainer`` config group; ``max_epochs`` there is a bound.
        callbacks: seen by the training.
        threads: of torch.
    """
    known = inspect.signature(pl.Trainer.__init__).parameters
    for key in settings:
        if key not in known:
            raise MetanetError(f"pl.Trainer has no argument '{key}'{did_you_mean(key, known)}")
    bound = settings.get("max_epochs")
    arguments: dict[str, Any] = {"accelerator": "auto", "devices": 1} | settings
    arguments |= {
        "max_epochs": epochs if bound is None else min(epochs, bound),
        "callbacks": list(callbacks),
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    before = torch.get_num_threads()
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(lightning|pytorch_lightning|lightning_fabric|torch)\b.*")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield pl.Trainer(**arguments)
        except pl.utilities.exceptions.MisconfigurationException as error:
            raise MetanetError(f"trainer: {str(error).splitlines()[0]}") from None
        finally:
            torch.set_num_threads(before)
