"""The plan: the table of all networks to train, drawn up front from one seed.

The plan is the reproducibility of a zoo: hyperparameters, seeds and groups of every network are
fixed before the first step, and a network does not depend on which group it is in.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from metanet.constraints import Count, Seed, check
from metanet.errors import MetanetError
from metanet.generation.engines import ENGINES, Engine
from metanet.generation.networks import SmallCNN, StackedNetwork
from metanet.generation.nws import NWSNetwork
from metanet.generation.recipes import SHARED, ModuleNetwork, Recipe
from metanet.zoo.header import DataFacts, ZooHeader
from metanet.zoo.layout import Layout

N = TypeVar("N", StackedNetwork, SmallCNN, ModuleNetwork, NWSNetwork)


@dataclass(frozen=True)
class Plan:
    """All networks of a zoo.

    Attributes:
        table: one row a network: network_id, layout_id, its seed, init_seed and dropout_seed (its own, or the recipe's where
            they are shared), group, ``hp.*``; sorted by network_id.
        networks: the base network of each layout; for a recipe of modules, of each network.
        layouts: by id.
        recipe: the protocol.
        seed: of the draw and of the data order.
        data: facts of the image set, its checksum among them.
        engine: name of what trains it, see :mod:`metanet.generation.engines`.
        trainer: arguments of pl.Trainer that change what a network becomes.
    """

    table: pd.DataFrame
    networks: dict[str, StackedNetwork | ModuleNetwork | NWSNetwork]
    layouts: dict[str, Layout]
    recipe: Recipe
    seed: int
    data: DataFacts
    group_size: int | None
    engine: str
    trainer: dict[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.table["group"].max()) + 1

    def group(self, index: int) -> pd.DataFrame:
        """The rows of one group, those of one optimizer side by side."""
        rows = self.table[self.table["group"] == index]
        return rows.sort_values(["hp.optimizer", "network_id"], ignore_index=True)

    def of(self, kind: type) -> bool:
        """Whether all its networks are of a kind."""
        return all(isinstance(network, kind) for network in self.networks.values())

    def networks_of(self, rows: pd.DataFrame, kind: type[N]) -> list[N]:
        """The base network of each row, which are of a kind."""
        keys = zip(rows["network_id"], rows["layout_id"], strict=True)
        found = [self.networks[own if own in self.networks else layout] for own, layout in keys]
        return [network for network in found if isinstance(network, kind)]

    def network(self, rows: pd.DataFrame, kind: type[N]) -> N:
        """The base network that the rows of one group share."""
        return self.networks_of(rows.head(1), kind)[0]

    def first_reason(self, check: Callable[[object], str | None]) -> str | None:
        """What a check says of the first network that it is not content with; None where it is with all."""
        return next((reason for network in self.networks.values() if (reason := check(network)) is not None), None)

    def for_engine(self, engine: str) -> Plan:
        """The same networks, their groups cut as suits an engine."""
        groups = _assign_groups(self.table, self.recipe, self.work, ENGINES.find(engine)(), self.group_size)
        return replace(self, table=self.table.assign(group=groups), engine=engine)

    @property
    def work(self) -> np.ndarray:
        """Multiply-adds of each network's training, (n,); images where its network does not count them."""
        images = images_per_epoch(self.table, self.recipe, self.data) * float(self.recipe.epochs)
        return images * np.array([3 * getattr(self.networks.get(i), "multiply_adds", 1) for i in self.table["layout_id"]])

    def header(self) -> ZooHeader:
        """What ``zoo.json`` says of the plan; ``plan_hash`` decides if two plans are one."""
        facts = {
            "n": len(self.table),
            "seed": self.seed,
            "group_size": self.group_size,
            "engine": self.engine,
            "recipe": self.recipe.to_json(),
            "data": self.data.to_json(),
            "trainer": self.trainer,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        # Groups decide nothing about a network, so a version that cuts them otherwise goes on with an older plan.
        digest.update(self.table.drop(columns="group").to_csv(index=False).encode())
        return ZooHeader.from_json(facts | {"plan_hash": digest.hexdigest()[:16], "columns": self.recipe.columns()})

    def network_images(self, rows: pd.DataFrame) -> int:
        """Training images times networks times epochs of some rows, the unit of the progress bar."""
        return int(images_per_epoch(rows, self.recipe, self.data).sum()) * self.recipe.epochs


def images_per_epoch(rows: pd.DataFrame, recipe: Recipe, data: DataFacts) -> np.ndarray:
    """Training images that each row's network sees in an epoch, shape (n,)."""
    sizes = {name: recipe.training_images(facts.n_train or 0) for name, facts in data.each.items()}
    available = rows["hp.dataset"].map(sizes).to_numpy()
    fraction = rows["hp.train_fraction"].to_numpy(float) if "hp.train_fraction" in rows else np.ones(len(rows))
    counts = np.maximum((fraction * available).astype(int), 1)
    batch = np.minimum(rows["hp.batch_size"].to_numpy(), counts)
    return counts // batch * batch


def make_plan(
    recipe: Recipe,
    data: DataFacts,
    n: int | None,
    seed: int = 0,
    group_size: int | None = None,
    trainer: dict[str, Any] | None = None,
    engine: str = "torch",
) -> Plan:
    """Draw the plan of a zoo.

    Args:
        recipe: what to draw.
        data: facts of the image set (:meth:`metanet.data_modules.images.ImageSet.facts`).
        n: number of networks; the first m networks do not depend on n. None: all of a recipe whose design lists them.
        seed: of the draw, of the networks' seeds and of the data order.
        group_size: most networks of a group; default: what suits the engine.
        trainer: arguments of pl.Trainer.
        engine: what trains it.

    Raises:
        MetanetError: a random design was given no number of networks.
    """
    check("seed", seed, Seed)
    if n is None:
        n = recipe.network_count()
        if n is None:
            raise MetanetError("n=null is for recipe.design=grid or a CSV; a random design needs a number of networks")
    for name, value in (("n", n), ("group_size", group_size)):
        check(name, value, Count | None)
    table = recipe.draw(n, seed, list(data.sets) or data.name)
    table.insert(0, "network_id", [f"{i:06d}" for i in range(n)])
    networks, layouts, layout_ids = _networks(recipe, table, data)
    table.insert(1, "layout_id", layout_ids)
    # Weyl sequence over 32 bits: distinct for all networks of a zoo, cheap, and free of n. Its start holds the
    # image set's name, so that two zoos of one seed share no initialisation.
    start = zlib.crc32(f"{data.name}/{seed}".encode())
    seeds = (np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B9) + np.uint64(start)) % np.uint64(2**32)
    table.insert(2, "seed", seeds.astype(np.int64))
    for place, what in enumerate(SHARED, 3):
        table.insert(place, f"{what}_seed", recipe.share_seed if what in recipe.share else table["seed"])
    if recipe.share == SHARED:
        _check_distinct(table)
    table.insert(5, "group", 0)
    decisive = {k: v for k, v in (trainer or {}).items() if k not in ("accelerator", "devices") and v is not None}
    return Plan(table, networks, layouts, recipe, seed, data, group_size, engine, decisive).for_engine(engine)


def _check_distinct(table: pd.DataFrame) -> None:
    """Refuse networks that nothing tells apart: those of one seed with the same hyperparameters."""
    drawn = table[[c for c in table if c.startswith("hp.")]]
    if (twice := drawn.duplicated(keep=False)).any():
        first = drawn[twice].iloc[0]
        twins = table.loc[(drawn == first).all(axis=1), "network_id"].tolist()
        raise MetanetError(
            f"networks {twins[0]} and {twins[1]} would be equal: they share initial weights and dropout (recipe.share) and have "
            "the same hyperparameters; give recipe.share=[] for a seed of its own for each network"
        )


def _networks(
    recipe: Recipe, table: pd.DataFrame, data: DataFacts
) -> tuple[dict[str, StackedNetwork | ModuleNetwork | NWSNetwork], dict[str, Layout], list[str]]:
    """Base networks by layout (modules: by network), layouts by id, and the layout of each row."""
    assert data.shape is not None
    assert data.classes is not None
    networks: dict[str, StackedNetwork | ModuleNetwork | NWSNetwork] = {}
    layouts: dict[str, Layout] = {}
    ids: list[str] = []
    made: dict[StackedNetwork | NWSNetwork, str] = {}
    for row in table.to_dict("records"):
        network = recipe.network(row, data.shape, data.classes)
        if isinstance(network, ModuleNetwork):
            networks[row["network_id"]] = network
            layout = Layout.from_module(network.module())
        elif network in made:
            ids.append(made[network])
            continue
        else:
            layout = network.layout
            networks[layout.id] = network
            made[network] = layout.id
        layouts[layout.id] = layout
        ids.append(layout.id)
    return networks, layouts, ids


def _assign_groups(table: pd.DataFrame, recipe: Recipe, work: np.ndarray, engine: Engine, group_size: int | None) -> np.ndarray:
    """Number the groups from the costliest on, so that parallel workers finish together."""
    keys = [key for key in recipe.group_keys if key in table]
    ordered = table.sort_values([*keys, "hp.optimizer", "network_id"])
    members: list[np.ndarray] = []
    for _, bucket in ordered.groupby(keys, sort=True):
        rows = bucket.index.to_numpy()
        size = group_size or engine.group_size(work[rows[0]])
        members += np.array_split(rows, -(-len(rows) // size))
    costs = [float(work[m].sum()) for m in members]
    groups = np.empty(len(table), np.int64)
    for number, i in enumerate(np.argsort(costs, kind="stable")[::-1]):
        groups[members[i]] = number
    return groups
