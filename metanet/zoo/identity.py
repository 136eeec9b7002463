"""What two networks have in common: the configuration, which splits may not part, and the identity, by which twins are known.

A configuration is a set of hyperparameters. Networks of one configuration that differ in their seed alone are nearly as
accurate as each other, so a split that has them on both sides scores a memory of the configuration (Unterthiner et al. 2020,
section 4.1): where networks share a configuration, it is the unit of splits, folds, validation parts and resamples.

The identity of a network is its own seed and its drawn hyperparameters, without what a recipe or a study fixes and without the
images. Networks of equal identity are twins, whatever their widths or images: one drawn from the same seed at twice the width
begins from the same filters and is trained alike, so a fit that has seen the one is not scored on the other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.zoo.header import ZooHeader

if TYPE_CHECKING:
    from metanet.zoo.zoo import View

# Fewer different hyperparameters neither make parts of a half and a fifth that say anything, nor tell networks apart.
FEWEST = 20
# Sizes and images: what studies vary while all else stays as it was drawn.
SIZES_AND_IMAGES = frozenset(
    {"hp.dataset", "hp.num_units", "hp.conv_depth", "hp.fc_depth", "hp.filter_size", "hp.conv_width", "hp.fc_width"}
    | {"hp.batch_norm"}
)
SEED = "seed"
TWINS = "twins of such (equal drawn hyperparameters, and seeds where each has its own)"


def units_of(networks: pd.DataFrame, header: ZooHeader) -> tuple[pd.Series, str]:
    """The unit of splitting of each network, by network_id, and a sentence where that is not plainly the network.

    A column ``configuration`` decides. Without one, networks whose ``hp.*`` are all equal are one unit, named by the first of
    them, as in an imported zoo of many seeds; where networks have no seeds of their own, so that hyperparameters are their
    identity, twins that differ in size are one too. But where these are fewer than :data:`FEWEST`, too few to split, each
    network is a unit, and the sentence says so. Of networks that are all of one configuration each is a unit: nothing but
    seeds tells them apart.

    Args:
        networks: one row a network: network_id, ``hp.*``, perhaps configuration and seed.
        header: of their zoo.
    """
    ids = networks["network_id"].to_numpy(object)
    given = "configuration" in networks
    if given:
        named = networks["configuration"]
        units = np.where(named.isna(), ids, named.astype(str).to_numpy(object))
    else:
        units = ids[_alike(networks, [c for c in networks if c.startswith("hp.")])]
        twins = ids[_alike(networks, _drawn(networks, header))]
        if not _own_seeds(networks, header) and len(set(twins)) >= FEWEST:
            units = twins
    count, note = len(set(units)), ""
    if count in (1, len(ids)):
        units = ids
    elif given or count >= FEWEST:
        note = f"{len(ids)} networks share {count} configurations, so configurations are split and resampled, not networks"
    else:
        units = ids
        note = (
            f"{len(ids)} networks have only {count} different hyperparameters, too few to split by, so networks are split one by "
            "one; where some are seeds of one configuration, a column `configuration` keeps these together"
        )
    return pd.Series(units, index=ids, dtype=object), note


def _alike(networks: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """The position of the first network with the same values, for each, shape (N,); without columns all are alike."""
    if not columns:
        return np.zeros(len(networks), np.int64)
    codes = np.stack([pd.factorize(networks[c], use_na_sentinel=False)[0] for c in columns], axis=1)
    _, first, of_row = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    return first[of_row.ravel()]


def _drawn(networks: pd.DataFrame, header: ZooHeader) -> list[str]:
    """The hyperparameters that a recipe draws or that vary, neither sizes nor images, sorted."""
    recipe = header.recipe.hyperparameters
    columns = sorted(c for c in networks if c.startswith("hp.") and c not in SIZES_AND_IMAGES)
    return [c for c in columns if _varies(recipe.get(c.removeprefix("hp."))) or networks[c].nunique(dropna=False) > 1]


def drawn(networks: pd.DataFrame, header: ZooHeader) -> tuple[str, ...]:
    """The columns that make an identity: hyperparameters that were drawn, neither sizes nor images; sorted.

    As the header says; where it does not, drawn is what the recipe draws or what varies. Where that tells too few networks
    apart to know one by it (fewer than :data:`FEWEST`, and not all), the seed is among them; of a zoo without own seeds nothing
    is left then.

    Args:
        networks, header: of a zoo.
    """
    if header.identity is not None and set(header.identity) <= set(networks):
        return header.identity
    names = _drawn(networks, header)
    different = len(set(_alike(networks, names))) if names else 0
    if different < FEWEST and different < units_of(networks, header)[0].nunique():
        names = [*names, SEED] if _own_seeds(networks, header) else []
    return tuple(names)


def identities(networks: pd.DataFrame, header: ZooHeader, names: Iterable[str] | None = None) -> pd.Series:
    """The identity of each network, by network_id: a hexadecimal number of its configuration, and after a dash its own seed.

    The seed is left out where all networks begin from one on purpose (``shared`` of the header has ``init``), where a column
    ``configuration`` says that networks are seeds of one configuration, and where it is not known, as of imported files. None
    where nothing that was drawn is known.

    Numbers are compared as float64 of twelve digits, which survive a CSV file and another processor's exponential.

    Args:
        networks, header: of a zoo.
        names: the columns that count, see :func:`drawn`, which is the default; those of a fit's own zoo, to find twins of its
            networks in another.
    """
    names = drawn(networks, header) if names is None else tuple(names)
    ids = networks["network_id"].to_numpy(object)
    found = pd.Series([None] * len(ids), index=ids, dtype=object)
    if not names or not set(names) <= set(networks):
        return found
    words = zip(*([f"{name}={_written(v)}" for v in networks[name].tolist()] for name in names), strict=True)
    found[:] = [hashlib.sha256("\n".join(own).encode()).hexdigest()[:16] for own in words]
    if _own_seeds(networks, header) and "configuration" not in networks:
        found += [f"-{int(seed):08x}" for seed in networks[SEED]]
    return found


def _own_seeds(networks: pd.DataFrame, header: ZooHeader) -> bool:
    return SEED in networks and "init" not in header.shared.of


def _varies(distribution: Any) -> bool:
    """Whether draws from a recipe's distribution can differ, see :mod:`metanet.distributions`."""
    if isinstance(distribution, dict):
        (distribution,) = distribution.values()
    return isinstance(distribution, list) and len(set(map(str, distribution))) > 1


def _written(value: Any) -> str:
    """A hyperparameter as text that is the same for equal values of whatever type."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.number):
        return "" if math.isnan(value) else f"{value + 0:.12g}"  # + 0: minus zero is zero
    return "" if value is None else str(value)


@dataclass(frozen=True)
class Seen:
    """The networks that a fit has seen, so that their twins are known elsewhere.

    Attributes:
        names: the columns that make their identities, see :func:`drawn`; empty where they have none.
        identities: see :func:`identities`.
    """

    names: tuple[str, ...]
    identities: frozenset[str]

    @classmethod
    def of(cls, view: View, network_ids: Iterable[str] | None = None) -> Seen:
        """Of the networks of a view, or of some of its zoo."""
        zoo = view.zoo
        names = drawn(zoo.networks, zoo.header)
        own = identities(zoo.networks, zoo.header, names)
        known = own[list(set(view.network_ids if network_ids is None else network_ids))].dropna()
        return cls(names, frozenset(known))

    def twins(self, view: View) -> np.ndarray:
        """Whether each snapshot is of a network that was seen or of a twin of one, shape (N,) of bool.

        Where one of two has no seed of its own, equal hyperparameters make them twins.
        """
        theirs = identities(view.zoo.networks, view.zoo.header, self.names).dropna()
        configurations, alone = {i.partition("-")[0] for i in self.identities}, {i for i in self.identities if "-" not in i}
        same = [i in self.identities or i.partition("-")[0] in (alone if "-" in i else configurations) for i in theirs.tolist()]
        return np.isin(view.network_ids.astype(str), theirs.index[same].to_numpy(str))

    def rest(self, view: View) -> View:
        """The snapshots of a view whose networks were not seen and are no twins, see :func:`without`."""
        return without(view, self.twins(view))

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps({"names": self.names, "identities": sorted(self.identities)}, indent=0))

    @classmethod
    def load(cls, path: Path) -> Seen:
        """Read what :meth:`save` wrote.

        Raises:
            MetanetError: the file is not there or damaged.
        """
        try:
            values = json.loads(path.read_text())
            return cls(tuple(values["names"]), frozenset(values["identities"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetanetError(f"'{path}' does not say which networks the run has seen ({error}); make the run again") from None


def without(view: View, seen: np.ndarray) -> View:
    """The snapshots of a view that a fit may be scored on; the view itself where it has seen none of them.

    Args:
        seen: whether a fit has seen the network of each snapshot or a twin of it, shape (N,) of bool.

    Raises:
        MetanetError: it has seen all.
    """
    if len(view) and seen.all():
        raise MetanetError(
            f"all {len(set(view.network_ids))} networks of {view.zoo.name} are ones that the fit has seen, or {TWINS}, so none "
            "is left to score it on; grow a zoo with another seed="
        )
    return view.take(np.flatnonzero(~seen)) if seen.any() else view


def left_out(whole: View, rest: View) -> str:
    """A sentence that counts the networks that a fit is not scored on; empty where it is scored on all."""
    every, kept = (len(set(view.network_ids)) for view in (whole, rest))
    if every == kept:
        return ""
    return (
        f"{whole.zoo.name}: {every - kept} of {every} networks are ones that the fit has seen, or {TWINS}, and are left out; "
        f"scored on the {kept} networks it never saw"
    )
