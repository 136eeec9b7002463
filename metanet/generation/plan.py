"""The plan: the table of all networks to train, drawn up front from one seed.

The plan is the reproducibility of a zoo: hyperparameters, seeds and groups of every network are
fixed before the first step, and a network does not depend on which group it is in.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, check_seed
from metanet.generation.networks import SmallCNN
from metanet.generation.recipes import SmallCNNRecipe

# Networks of a group share batches and one activation function, so these must agree.
GROUP_KEYS = ["layout_id", "hp.dataset", "hp.batch_size", "hp.train_fraction", "hp.activation"]


@dataclass(frozen=True)
class Plan:
    """All networks of a zoo.

    Attributes:
        table: one row a network: network_id, layout_id, group, seed, ``hp.*``; sorted by network_id.
        network: the base network (one architecture).
        recipe: the protocol.
        seed: of the draw and of the data order.
        data: facts of the image set, its checksum among them.
        trainer: arguments of pl.Trainer that change what a network becomes.
    """

    table: pd.DataFrame
    network: SmallCNN
    recipe: SmallCNNRecipe
    seed: int
    data: dict[str, Any]
    group_size: int
    trainer: dict[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.table["group"].max()) + 1

    def group(self, index: int) -> pd.DataFrame:
        """The rows of one group, those of one optimizer side by side."""
        rows = self.table[self.table["group"] == index]
        return rows.sort_values(["hp.optimizer", "network_id"], ignore_index=True)

    def header(self) -> dict[str, Any]:
        """What ``zoo.json`` says of the plan; ``plan_hash`` decides if two plans are one."""
        facts = {
            "n": len(self.table),
            "seed": self.seed,
            "group_size": self.group_size,
            "recipe": self.recipe.to_json(),
            "data": self.data,
            "trainer": self.trainer,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(self.table.to_csv(index=False).encode())
        return facts | {"plan_hash": digest.hexdigest()[:16]}

    def network_images(self, rows: pd.DataFrame) -> int:
        """Training images times networks times epochs of some rows, the unit of the progress bar."""
        counts = (rows["hp.train_fraction"] * self.data["n_train"]).astype(int)
        batch = np.minimum(rows["hp.batch_size"], counts)
        return int((counts // batch * batch).sum()) * self.recipe.epochs


def make_plan(
    recipe: SmallCNNRecipe,
    data: dict[str, Any],
    n: int,
    seed: int = 0,
    group_size: int = 32,
    trainer: dict[str, Any] | None = None,
) -> Plan:
    """Draw the plan of a zoo.

    Args:
        recipe: what to draw.
        data: facts of the image set (:meth:`data_modules.images.ImageSet.facts`).
        n: number of networks; the first m networks do not depend on n.
        seed: of the draw, of the networks' seeds and of the data order.
        group_size: most networks that train in one pass.
        trainer: arguments of pl.Trainer.
    """
    check_seed("seed", seed)
    for name, value in (("n", n), ("group_size", group_size)):
        if value < 1:
            raise MetanetError(f"{name}={value}: give a whole number from 1 up")
    network = recipe.network(tuple(data["shape"]), data["classes"])
    table = recipe.draw(n, seed, data["name"])
    table.insert(0, "network_id", [f"{i:06d}" for i in range(n)])
    table.insert(1, "layout_id", network.layout.id)
    # Weyl sequence over 32 bits: distinct for all networks of a zoo, cheap, and free of n. Its start holds the
    # image set's name, so that two zoos of one seed share no initialisation.
    start = zlib.crc32(f"{data['name']}/{seed}".encode())
    seeds = (np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B9) + np.uint64(start)) % np.uint64(2**32)
    table.insert(2, "seed", seeds.astype(np.int64))
    table.insert(3, "group", _assign_groups(table, group_size))
    decisive = {k: v for k, v in (trainer or {}).items() if k not in ("accelerator", "devices") and v is not None}
    return Plan(table, network, recipe, seed, data, group_size, decisive)


def _assign_groups(table: pd.DataFrame, group_size: int) -> np.ndarray:
    """Number the groups from the costliest on, so that parallel workers finish together."""
    ordered = table.sort_values([*GROUP_KEYS, "hp.optimizer", "network_id"])
    members: list[np.ndarray] = []
    for _, bucket in ordered.groupby(GROUP_KEYS, sort=True):
        members += np.array_split(bucket.index.to_numpy(), -(-len(bucket) // group_size))
    cost = [float(table.loc[m, "hp.train_fraction"].sum()) for m in members]
    groups = np.empty(len(table), np.int64)
    for number, i in enumerate(np.argsort(cost, kind="stable")[::-1]):
        groups[members[i]] = number
    return groups
