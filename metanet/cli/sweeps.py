"""``metanet sweeps``: the sweep files that come with metanet, and how W&B takes them."""

from __future__ import annotations

from typing import Any

from metanet.config_files import config_root, first_sentence, options


def run(config: dict[str, Any]) -> None:
    """A line and the path of each."""
    folder = config_root() / "sweep"
    for name in options("sweep"):
        print(f"{name:<10}{first_sentence(folder / f'{name}.yaml')}\n{'':<10}{folder / f'{name}.yaml'}")
    print(f"""
A sweep is begun with its file, or a copy that you changed; agents on any machine then fit what it proposes:
  wandb sweep {folder / f"{options('sweep')[0]}.yaml"}
  METANET_ZOO=zoos/digits wandb agent ENTITY/metanet/SWEEP""")
