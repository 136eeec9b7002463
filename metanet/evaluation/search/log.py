"""What a search has found so far, on disk: ``search.json`` says what is searched, ``trials.jsonl`` has a line a trial."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.search.trials import Trial


class TrialLog:
    """The trials of one search, by rung and number; each is on disk before the next counts.

    Args:
        folder: made where it is not there; a search that lies there goes on.
        facts: what makes the search this search, plain values.

    Raises:
        MetanetError: another search lies in the folder, and has trials.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self._path = folder, folder / "trials.jsonl"
        self.trials: dict[tuple[int, int], Trial] = {}
        facts, head = json.loads(json.dumps(facts)), folder / "search.json"
        folder.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text() if self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a line that was cut short by a kill is tried again
        if whole:
            self._compare(json.loads(head.read_text()), facts)
        else:  # nothing was found yet, so whatever was begun here may be begun anew
            new = head.with_suffix(".new")
            new.write_text(json.dumps(facts, indent=1))
            new.replace(head)
        for line in whole.splitlines():
            trial = Trial(**json.loads(line))
            self.trials[trial.rung, trial.number] = trial
        if whole != text:
            self._path.write_text(whole)

    def _compare(self, stored: dict[str, Any], facts: dict[str, Any]) -> None:
        differing = sorted(k for k in facts.keys() | stored.keys() if facts.get(k) != stored.get(k))
        if not differing:
            return
        key = differing[0]
        before, now = stored.get(key), facts.get(key)
        if isinstance(before, dict) and isinstance(now, dict):  # a space: only what differs in it
            own = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))[0]
            key, before, now = f"{key}.{own}", before.get(own), now.get(own)
        raise MetanetError(
            f"'{self.folder}' holds a search with another {key} ({before}, now {now}); its trials are kept: "
            "choose another out=, or search the same again"
        )

    def append(self, trial: Trial) -> None:
        """Write one down, to the disk."""
        with open(self._path, "a") as file:
            file.write(json.dumps(vars(trial)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.trials[trial.rung, trial.number] = trial

    def table(self) -> pd.DataFrame:
        """One row a trial: number, rung, loss, its spread over folds, rounds, seconds and the settings; best first."""
        rows = [
            {
                "trial": t.number,
                "rung": t.rung,
                "loss": t.loss,
                "loss_sd": float(np.std(t.losses)),
                "rounds": t.median_rounds,
                "seconds": t.seconds,
                **t.settings,
            }
            for t in self.trials.values()
        ]
        return pd.DataFrame(rows).sort_values(["rung", "loss", "trial"], ascending=[False, True, True], ignore_index=True)
