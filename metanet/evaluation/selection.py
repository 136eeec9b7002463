"""What a config selects of a zoo: snapshots, a split, and further snapshots to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metanet.errors import MetanetError
from metanet.evaluation.seen import stored_split
from metanet.formats.released_splits import fetch_nfn_permutation, permutation_split, read_permutation
from metanet.zoo.split import Split
from metanet.zoo.zoo import View, Zoo

PUBLISHED = "nfn"  # the split file that is fetched


def is_converged_view(zoo: Zoo, config: dict[str, Any]) -> bool:
    """Whether converged networks alone are asked for: as given, and by default for the neural weight space.

    Raises:
        MetanetError: ``view.converged`` is neither true, false nor null.
    """
    given = config["view"]["converged"]
    if given is not None and not isinstance(given, bool):
        raise MetanetError(f"view.converged={given}: give true or false, or null for the recipe's own")
    return zoo.header.recipe.name == "nws" if given is None else given


def view_of(zoo: Zoo, config: dict[str, Any]) -> View:
    """The snapshots that a config selects.

    Raises:
        MetanetError: none is left.
    """
    view = zoo.view(epoch=config["view"]["epoch"], where=config["where"], converged=is_converged_view(zoo, config))
    if len(view) == 0:
        raise MetanetError(f"no snapshot of {zoo.name} is left by where={config['where']} view={config['view']}; loosen them")
    return view


def filter_note(view: View, config: dict[str, Any]) -> str | None:
    """How many networks a filter left; None without one."""
    if not config["where"] and not is_converged_view(view.zoo, config):
        return None
    return f"{len(set(view.network_ids))} of {len(view.zoo.networks)} networks are left by the filter"


def split_of(view: View, config: dict[str, Any]) -> Split:
    """Draw the split of a config, or read the one it names.

    Raises:
        MetanetError: a split that is named is of other networks, or has networks of one configuration in two parts; the
            published permutation alone is taken as it is, see :func:`split_note`.
    """
    if not config["file"]:
        return view.draw_split(config["test"], config["validation"], config["seed"])
    if config["file"] == PUBLISHED:
        path = fetch_nfn_permutation(view.zoo.data.name)
    else:
        path = Path(config["file"]).expanduser()
    split = permutation_split(view.zoo, read_permutation(path)) if path.suffix == ".csv" else _read_split(path, view)
    if config["file"] != PUBLISHED and (parted := _parted(view, split)):
        raise MetanetError(
            f"{_parted_words(config, parted)} (such as {parted[0]}): seeds of what was trained on would be tested; leave "
            "split.file= out to draw by configuration"
        )
    return split


def split_note(view: View, split: Split, config: dict[str, Any]) -> str | None:
    """What the published split parts that others may not; None where there is nothing to say."""
    if config["file"] != PUBLISHED or not (parted := _parted(view, split)):
        return None
    return f"{_parted_words(config, parted)}; the published permutation is taken as it is"


def _parted(view: View, split: Split) -> list[str]:
    return split.parted(view.network_ids.tolist(), view.units.tolist())


def _parted_words(config: dict[str, Any], parted: list[str]) -> str:
    return f"split.file={config['file']} has networks of one configuration in two parts, {len(parted)} configurations in all"


def _read_split(path: Path, view: View) -> Split:
    """A stored split, or that of a run, which is of the networks of a view."""
    split = stored_split(path) if path.name == "split.json" and path.exists() else Split.load(path)
    known, drawn = set(view.zoo.networks["network_id"]), {*split.train, *split.validation, *split.test}
    if drawn - known or (homeless := set(view.network_ids) - drawn):
        count = len(drawn - known or homeless)
        raise MetanetError(
            f"split.file={path} was drawn for other networks than those of {view.zoo.name}: {count} do not match; "
            "give the split of a run on this zoo and view"
        )
    return split


def more_snapshots(view: View, which: str | int) -> View | None:
    """All snapshots of a view's networks, or the last so many, where ``train.snapshots`` asks for them; else None.

    Raises:
        MetanetError: ``train.snapshots`` is none that can be taken here.
    """
    if which == "last":
        return None
    whole = view.zoo.view(epoch="all").of_networks(view.network_ids)
    if which == "all":
        return whole
    if not isinstance(which, int) or isinstance(which, bool) or which < 1:
        raise MetanetError(f"train.snapshots={which}: give last, all, or how many of the last ones")
    place = whole.frame.groupby("network_id")["epoch"].rank(ascending=False).to_numpy()
    return whole.take(np.flatnonzero(place <= which))
