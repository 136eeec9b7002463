"""Tracking in W&B: one run a fit, a search, a generation or a comparison; offline without a login. An outage costs no run."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.runs.folder import RunFolder

if TYPE_CHECKING:
    from metanet.zoo.zoo import Zoo

# Which end of a metric is the better one; W&B sorts and summarises by it.
LARGEST = ("r2", "tau", "accuracy", "balanced_accuracy", "r2_trained", "tau_trained", "r2_beyond_hyper", "r2_validation")
SMALLEST = ("mse", "mad", "training_loss", "validation_loss", "mse_validation")
TAGS = ("zoo", "features", "model", "target", "recipe", "data")  # keys of a config whose values tag a run
MOST_ROWS = 20_000  # of a table; W&B shows no more than some ten thousands
LONGEST_TAG = 64
IDENTITY = "wandb-run.json"  # of a run's id in W&B, in its folder
INIT_SECONDS, FINISH_SECONDS = 30, 60  # that an unreachable server may hold a run up, before and after it is sent

_unreachable = False  # in this process

Artifacts = dict[str, tuple[str, list[Path]]]


def track(
    tracking: dict[str, Any],
    run: RunFolder,
    config: dict[str, Any],
    metrics: dict[str, Any],
    job_type: str,
    curves: pd.DataFrame | None = None,
    tables: dict[str, pd.DataFrame] | None = None,
    artifacts: Artifacts | None = None,
) -> None:
    """Send a finished run to the tracker that the config names; the run folder is complete before.

    The same folder is the same run in W&B however often it is sent. An agent of a W&B sweep names the run itself.

    Args:
        tracking: the ``tracking`` group: ``name`` none or wandb; ``project``, ``group``, ``mode``.
        run: its folder takes W&B's offline files; its figures become images.
        config: the composed configuration as plain values.
        metrics: become the run's summary.
        job_type: the verb.
        curves: one column a curve, its index (with a name) the x axis; NaN where a curve has no point.
        tables: by name; at most :data:`MOST_ROWS` rows of each are sent.
        artifacts: type and files of each, by name; files that are not there are left out.

    Raises:
        MetanetError: there is no such tracker.
    """
    name = tracking.get("name", "none")
    if name == "none":
        return
    if name != "wandb":
        raise MetanetError(f"no tracking '{name}'{did_you_mean(name, ('none', 'wandb'))}")
    global _unreachable
    asked = tracking.get("mode") or os.environ.get("WANDB_MODE")
    modes = [asked] if asked else ["online", "offline"] if not _unreachable and _logged_in() else ["offline"]
    for mode in modes:
        try:
            _to_wandb(tracking | {"mode": mode}, run, config, metrics, job_type, curves, tables or {}, artifacts or {})
            return
        except Exception as error:  # an outage of the tracker must not cost the run
            again = mode != modes[-1]
            then = "from now on runs are written offline" if again else f"the run is whole in {run.folder}"
            words = str(error).splitlines()[0] if str(error) else ""
            print(f"tracking: W&B failed ({type(error).__name__}: {words}); {then}", file=sys.stderr)
            if again:
                _unreachable = True
                _forget(run)


def card_of(zoo: Zoo) -> Artifacts:
    """The card and the header of a zoo, as an artifact; nothing for one in memory."""
    if zoo.folder is None:
        return {}
    return {f"zoo-{zoo.folder.resolve().name}": ("zoo", [zoo.folder / "README.md", zoo.folder / "zoo.json"])}


def _to_wandb(
    tracking: dict[str, Any],
    run: RunFolder,
    config: dict[str, Any],
    metrics: dict[str, Any],
    job_type: str,
    curves: pd.DataFrame | None,
    tables: dict[str, pd.DataFrame],
    artifacts: Artifacts,
) -> None:
    import wandb

    swept = "WANDB_SWEEP_ID" in os.environ
    settings = wandb.Settings(
        silent=True,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        console="off",
        disable_git=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
    )
    with wandb.init(
        project=tracking.get("project", "metanet"),
        dir=str(run.folder),
        mode=tracking["mode"],
        id=os.environ.get("WANDB_RUN_ID") if swept else _identity(run),
        resume="allow" if tracking["mode"] == "online" and not swept else None,
        name=run.folder.name,
        group=tracking.get("group"),
        job_type=job_type,
        tags=_tags(config),
        config=config,
        settings=settings,
        reinit="finish_previous",
    ) as logged:
        logged.summary.update({k: v for k, v in metrics.items() if isinstance(v, int | float | str)})
        by_curve = {} if curves is None else {str(name): str(curves.index.name) for name in curves}
        for metric in dict.fromkeys(metrics) | by_curve:
            end = "max" if metric in LARGEST else "min" if metric in SMALLEST else None
            if end or by_curve.get(metric):
                logged.define_metric(metric, summary=end, step_metric=by_curve.get(metric))
        if curves is not None:
            for x, row in curves.iterrows():
                logged.log({str(curves.index.name): x} | row.dropna().to_dict())
        shown: dict[str, Any] = {}
        for picture in sorted(Path(run.folder, "figures").glob("*.png")):
            shown[f"figures/{picture.stem}"] = wandb.Image(str(picture))
        for name, table in tables.items():
            shown[f"tables/{name}"] = wandb.Table(dataframe=_plain(table))
        if shown:
            logged.log(shown)
        for name, (kind, files) in artifacts.items():
            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]+", "-", name), kind)
            for file in files:
                if file.exists():
                    artifact.add_file(str(file))
            logged.log_artifact(artifact)


def _forget(run: RunFolder) -> None:
    """End W&B's own process, which still holds the run that failed, and its id with it."""
    import wandb

    wandb.teardown()
    (run.folder / IDENTITY).unlink(missing_ok=True)


def _logged_in() -> bool:
    """Whether credentials are at hand; nothing is asked of the network."""
    try:
        import wandb

        return bool(wandb.login(prompt=False, verify=False))
    except Exception:  # one that cannot even say so is not asked to send
        return False


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """At most :data:`MOST_ROWS` rows, those of the test part first; a column of several types as text."""
    if "part" in table:
        table = table.sort_values("part", key=lambda part: part != "test", kind="stable")
    table = table.head(MOST_ROWS)
    return table.astype({c: str for c in table if table[c].dtype == object})


def _identity(run: RunFolder) -> str:
    """The run's id in W&B, kept in its folder."""
    path = run.folder / IDENTITY
    if path.exists():
        return str(json.loads(path.read_text())["id"])
    identity = secrets.token_hex(4)
    path.write_text(json.dumps({"id": identity}))
    return identity


def _tags(config: dict[str, Any]) -> list[str]:
    """Names of zoo, features, model and target; of a generation recipe and images."""
    tags = []
    for key in TAGS:
        value = config.get(key)
        value = value.get("name") if isinstance(value, dict) else value
        for word in value if isinstance(value, list) else [value]:
            tags.append(str(Path(str(word)).resolve().name if key == "zoo" else word)[-LONGEST_TAG:] if word else "")
    return [tag for tag in dict.fromkeys(tags) if tag]
