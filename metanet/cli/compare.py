"""``metanet compare``: the leaderboard of run folders."""

from __future__ import annotations

from typing import Any

from metanet.cli.compose import required
from metanet.cli.terminal import print_leaderboard, print_run
from metanet.errors import MetanetError
from metanet.runs.folder import Run, choose_folder
from metanet.runs.leaderboard import compare_runs
from metanet.zoo.view import query_mask


def run(config: dict[str, Any]) -> None:
    """Print the table and write ``leaderboard.csv``."""
    folders = required(config, "runs", "metanet compare runs/train")
    table = compare_runs(folders if isinstance(folders, list) else [folders])
    if config["where"]:
        table = table[query_mask(table, config["where"])].reset_index(drop=True)
        if table.empty:
            raise MetanetError(f"no run is left by where={config['where']}")
    print_leaderboard(table)
    record = Run(choose_folder(config["out"], "compare", "leaderboard"))
    table.to_csv(record.folder / "leaderboard.csv", index=False)
    print_run(record.folder)
