"""What a run's fit has seen: its stored split, and the networks of other zoos that are twins of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from metanet.errors import MetanetError
from metanet.zoo.header import Origin
from metanet.zoo.identity import Seen, without
from metanet.zoo.split import Split
from metanet.zoo.zoo import View, Zoo

SPLITS, SEEN = "splits", "seen.json"  # of a zoo: its stored splits; of a run: the identities of the networks that its fit saw


def split_facts(path: Path) -> dict[str, Any]:
    """A run's ``split.json``: how its split was drawn, where it is stored, and of which zoo.

    Raises:
        MetanetError: the folder holds no split, or a damaged one.
    """
    try:
        facts = json.loads(path.read_text())
        Path(facts["stored"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetanetError(f"'{path}' is no split.json of a run ({error})") from None
    return facts


def stored_split(path: Path, zoo: Zoo | None = None) -> Split:
    """The split that a run's ``split.json`` points to; also where it was moved with its run, or with its zoo if that is given."""
    stored = Path(split_facts(path)["stored"])
    places = [stored, path.parent / stored.name]
    if zoo is not None and zoo.folder is not None:
        places.append(zoo.folder / SPLITS / stored.name)
    return Split.load(next((place for place in places if place.exists()), stored))


def store_split(zoo: Zoo, split: Split, folder: Path) -> Path:
    """Once per zoo, by hash; in the run folder where the zoo cannot be written."""
    if zoo.folder is not None:
        try:
            return split.save(zoo.folder.resolve() / SPLITS)
        except OSError:
            pass
    return split.save(folder)


def unseen(view: View, run: Path, part: str = "auto") -> View:
    """The networks of a view that a run may be scored on: none that its fit has seen, and no twin of one, in whatever zoo.

    Args:
        run: folder of ``metanet train``.
        part: ``auto``; ``test``, which refuses other zoos; ``all``, which leaves nothing out.

    Raises:
        MetanetError: none is left.
    """
    if part == "test" and not _trained_on(view.zoo, split_facts(run / "split.json")):
        raise MetanetError(f"part=test: the run was trained on another zoo than {view.zoo.name}; give part=auto or all")
    return view if part == "all" else without(view, seen_by(run, view))


def seen_by(run: Path, view: View) -> np.ndarray:
    """Whether each snapshot is of a network that a run's fit has seen, or of a twin of one, shape (N,) of bool.

    In its own zoo those of its training and validation part, and where its split parts no configuration also other seeds of
    theirs, by which the zoo has grown. A run of an older version knows no identities, so no twins are found in other zoos.
    """
    path = run / "split.json"
    facts = split_facts(path)
    if not _trained_on(view.zoo, facts):
        return Seen.load(run / facts["seen"]).twins(view) if "seen" in facts else np.zeros(len(view), bool)
    split, units = stored_split(path, view.zoo), view.zoo.units
    seen = {*split.train, *split.validation}
    if not split.parted(units.index.tolist(), units.tolist()):
        seen = set(units.index[units.isin(units[units.index.isin(seen)])])
    return view.frame["network_id"].isin(seen).to_numpy()


def _trained_on(zoo: Zoo, facts: dict[str, Any]) -> bool:
    """Whether a run was trained on a zoo, also where this was moved, copied or grown larger."""
    origin = Origin.from_json(facts.get("origin"))
    return origin is not None and zoo.header.origin == origin
