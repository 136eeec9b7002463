"""Tracking in W&B: one run a fit, offline without a login, and never a reason to lose a fit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.runs.folder import Run


def track(
    tracking: dict[str, Any],
    run: Run,
    config: dict[str, Any],
    metrics: dict[str, Any],
    job_type: str,
    curves: pd.DataFrame | None = None,
    tables: dict[str, pd.DataFrame] | None = None,
) -> None:
    """Send a finished run to the tracker that the config names; the run folder is complete before.

    Args:
        tracking: the ``tracking`` group: ``name`` none or wandb; ``project``, ``mode``.
        run: its folder takes W&B's offline files.
        config: the composed configuration as plain values.
        metrics: become the run's summary; figures in the run folder become images.
        job_type: the verb.
        curves: one column a curve, its index (with a name) the x axis; NaN where a curve has no point.
        tables: by name.
    """
    name = tracking.get("name", "none")
    if name == "none":
        return
    if name != "wandb":
        raise MetanetError(f"no tracking '{name}'{did_you_mean(name, ('none', 'wandb'))}")
    try:
        _to_wandb(tracking, run, config, metrics, job_type, curves, tables or {})
    except Exception as error:  # an outage of the tracker must not cost the run
        print(f"tracking: W&B failed ({type(error).__name__}: {error}); the run is whole in {run.folder}", file=sys.stderr)


def _to_wandb(
    tracking: dict[str, Any],
    run: Run,
    config: dict[str, Any],
    metrics: dict[str, Any],
    job_type: str,
    curves: pd.DataFrame | None,
    tables: dict[str, pd.DataFrame],
) -> None:
    import wandb

    mode = tracking.get("mode") or ("online" if wandb.api.api_key else "offline")
    with wandb.init(
        project=tracking.get("project", "metanet"),
        dir=str(run.folder),
        mode=mode,  # type: ignore[arg-type]
        name=run.folder.name,
        group=tracking.get("group"),
        job_type=job_type,
        config=config,
        settings=wandb.Settings(silent=True, init_timeout=30, console="off"),
    ) as logged:
        if curves is not None:
            logged.define_metric("*", step_metric=str(curves.index.name))
            for x, row in curves.iterrows():
                logged.log({str(curves.index.name): x} | row.dropna().to_dict())
        for picture in sorted(Path(run.folder, "figures").glob("*.png")):
            logged.log({f"figures/{picture.stem}": wandb.Image(str(picture))})
        for name, table in tables.items():
            logged.log({f"tables/{name}": wandb.Table(dataframe=table)})
        logged.summary.update({k: v for k, v in metrics.items() if isinstance(v, int | float | str)})
