"""The header of a zoo: what ``zoo.json`` says of its networks, their images, its columns and its files.

Two versions of the format are read, the second is written. The first said nothing of columns: what kind a hyperparameter is
stood in the shape of its distribution (a list, ``{log_uniform: ..}``), which is read off once, here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from metanet.distributions import drawn_kind
from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.layout import Layout

FORMAT_VERSION = 2
COLUMN_KINDS = ("number", "share", "log", "category")
TABLES = ("networks", "snapshots", "history")
NEEDED = ("status", "groups", "layouts", "shards", "plan_hash")  # of a zoo on disk


@dataclass(frozen=True)
class DataFacts:
    """What is known of the images that networks were trained on; None where it is not.

    Attributes:
        name: of the image set; of several, joined by +.
        shape: (H, W, C).
        n_train, n_test: numbers of images.
        chance: test accuracy of the best constant answer.
        crc32: of all images and labels.
        converged: test accuracy above which a network counts as converged; by image set where there are several.
        sets: of each image set, where there are several.
        more: facts under names of one's own.
    """

    name: str = ""
    shape: tuple[int, int, int] | None = None
    classes: int | None = None
    n_train: int | None = None
    n_test: int | None = None
    chance: float | None = None
    crc32: int | None = None
    converged: float | dict[str, float] | None = None
    sets: dict[str, DataFacts] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def each(self) -> dict[str, DataFacts]:
        """The facts of each image set, by name: of the one, or of the several."""
        return self.sets or {self.name: self}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataFacts:
        """The inverse of :meth:`to_json`.

        Raises:
            MetanetError: a fact has another type than it can have.
        """
        found = _read(cls, "data", values, "more")
        sets = {name: cls.from_json(own) for name, own in (found.pop("sets", None) or {}).items()}
        shape = found.pop("shape", None)
        return cls(**found, shape=None if shape is None else tuple(shape), sets=sets)

    def to_json(self) -> dict[str, Any]:
        """What is known, as plain values."""
        sets = {name: own.to_json() for name, own in self.sets.items()}
        shape = None if self.shape is None else list(self.shape)
        return self.more | _known(self, "more") | ({"shape": shape} if shape else {}) | ({"sets": sets} if sets else {})


@dataclass(frozen=True)
class RecipeFacts:
    """What is known of how networks were drawn and trained.

    Attributes:
        name: of the recipe; empty where it is not known.
        imported: whether the networks were trained elsewhere.
        losses_include_l2: whether stored losses include the l2 penalty; None where that is not known.
        hyperparameters: the distribution of each, see :mod:`metanet.distributions`.
        seeds: networks of each configuration.
        crc32: of the file of a recipe of one's own.
        settings: everything else that the recipe was made with.
    """

    name: str = ""
    imported: bool = False
    losses_include_l2: bool | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    crc32: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name and not self.imported and self.losses_include_l2 is None:
            object.__setattr__(self, "losses_include_l2", False)  # recipes of this package store plain losses

    @property
    def arguments(self) -> dict[str, Any]:
        """What the recipe's class takes, beside its name."""
        own = {"hyperparameters": self.hyperparameters, "seeds": self.seeds}
        return self.settings | {name: value for name, value in own.items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RecipeFacts:
        """The inverse of :meth:`to_json`, and of a recipe's own.

        Raises:
            MetanetError: a fact has another type than it can have.
        """
        found = _read(cls, "recipe", values, "settings")
        found["settings"] = {k: list(v) if isinstance(v, tuple) else v for k, v in found["settings"].items()}
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        """What is known, as plain values."""
        known = _known(self, "settings")
        return self.settings | {k: v for k, v in known.items() if not (k == "imported" and not v)}


@dataclass(frozen=True)
class SharedSeed:
    """What all networks of a zoo draw from one seed.

    Attributes:
        of: ``init``, ``dropout``, both; empty where each network has a seed of its own.
        seed: the one seed; None where it is not known or nothing is shared.
    """

    of: tuple[str, ...] = ()
    seed: int | None = None

    @classmethod
    def of_recipe(cls, settings: Mapping[str, Any]) -> SharedSeed:
        """As a recipe's settings say; recipes from before they shared anything have seeds of their own."""
        share = tuple(settings.get("share") or ())
        return cls(share, settings.get("share_seed") if share else None)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"of": list(self.of), "seed": self.seed}


@dataclass(frozen=True)
class FileFacts:
    """A file of a finished zoo as it was written.

    Attributes:
        crc32: of all its bytes.
        bytes: how many; None in zoos of the first version.
    """

    crc32: int
    bytes: int | None = None


@dataclass(frozen=True)
class Origin:
    """What decides a network of a given number: zoos that agree in it share networks, whatever their sizes."""

    recipe: RecipeFacts
    data: DataFacts
    seed: int | None = None
    trainer: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | list[Any] | None) -> Origin | None:
        """What a run has stored; None where that is nothing. Runs of 0.1.0 hold the four by position.

        Raises:
            MetanetError: it is none.
        """
        if not values:
            return None
        try:
            named = dict(zip(("recipe", "data", "seed", "trainer"), values, strict=True)) if isinstance(values, list) else values
            recipe, data = RecipeFacts.from_json(named["recipe"] or {}), DataFacts.from_json(named["data"] or {})
            return cls(recipe, data, named.get("seed"), named.get("trainer") or {})
        except (KeyError, TypeError, ValueError) as error:
            raise MetanetError(f"the origin of a run's networks is damaged ({error}); make the run again") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"recipe": self.recipe.to_json(), "data": self.data.to_json(), "seed": self.seed, "trainer": self.trainer}


@dataclass(frozen=True)
class ZooHeader:
    """What a zoo says of itself.

    Attributes:
        recipe, data: how its networks were trained, and on what.
        columns: the kind of each column that can be predicted, one of :data:`COLUMN_KINDS`: a number, a share from 0 to 1, a
            number above 0 that is read and scored in log10, a category.
        identity: the columns that tell its networks from others, see :func:`metanet.zoo.identity.drawn`; None where the tables
            decide.
        shared: what its networks draw from one seed.
        wiring: by layout id and tensor name the group of neurons along each axis, None for an axis without; empty where the
            layouts decide, see :mod:`metanet.zoo.wiring`.
        seed: of the plan; None for networks from elsewhere.
        trainer: arguments of pl.Trainer that decide what a network becomes.
        plan_hash: of all that was to be trained, by which runs know their zoo; None of a zoo in memory.
        engine, group_size, n: how it was grown, and how many networks were asked for.
        status: ``growing`` or ``complete``; empty of a zoo in memory.
        groups: how many; each has a shard.
        layouts: by id.
        shards: values of each.
        files: path of each shard that lies elsewhere, by its number.
        checksums: of each file of the finished zoo, by its name, or by its path where it lies elsewhere.
        more: everything else: when and where it was grown, and facts of one's own.
    """

    recipe: RecipeFacts = field(default_factory=RecipeFacts)
    data: DataFacts = field(default_factory=DataFacts)
    columns: dict[str, str] = field(default_factory=dict)
    identity: tuple[str, ...] | None = None
    shared: SharedSeed = field(default_factory=SharedSeed)
    wiring: dict[str, dict[str, list[str | None]]] = field(default_factory=dict)
    seed: int | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    plan_hash: str | None = None
    engine: str | None = None
    group_size: int | None = None
    n: int | None = None
    status: str = ""
    groups: int = 0
    layouts: dict[str, Layout] = field(default_factory=dict)
    shards: tuple[int, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, FileFacts] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the zoo is finished."""
        return self.status == "complete"

    @property
    def origin(self) -> Origin | None:
        """What decides its networks; None where nothing is known of them."""
        known = self.recipe != RecipeFacts()
        return Origin(self.recipe, self.data, self.seed, self.trainer) if known else None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ZooHeader:
        """The inverse of :meth:`to_json`; also of the first version, and of facts that are given for a zoo in memory.

        Raises:
            MetanetError: a fact has another type or value than it can have.
            KeyError, TypeError, ValueError: the JSON has not the form of a header.
        """
        found = _read(cls, "header", values, "more")
        version = found["more"].pop("format_version", FORMAT_VERSION)
        tables = found["more"].pop("tables", None) or {}
        found["recipe"], found["data"] = (
            RecipeFacts.from_json(found.get("recipe", {})),
            DataFacts.from_json(found.get("data", {})),
        )
        found["layouts"] = {name: _layout(name, rows) for name, rows in found.get("layouts", {}).items()}
        found["shards"] = tuple(found.get("shards", ()))
        found["checksums"] = {name: FileFacts(**own) for name, own in found.get("checksums", {}).items()}
        if version == 1:
            found["columns"] = drawn_kinds(found["recipe"].hyperparameters)
            found["checksums"] = {f"{table}.parquet": FileFacts(crc32) for table, crc32 in tables.items()}
        if "shared" in found:
            found["shared"] = SharedSeed(tuple(found["shared"]["of"]), found["shared"].get("seed"))
        else:
            found["shared"] = SharedSeed.of_recipe(found["recipe"].settings)
        if found.get("identity") is not None:
            found["identity"] = tuple(found["identity"])
        check_kinds(found.get("columns", {}))
        return cls(**found)

    @classmethod
    def of(cls, given: ZooHeader | Mapping[str, Any] | None) -> ZooHeader:
        """A header, or one of facts with the names of ``zoo.json``."""
        return given if isinstance(given, ZooHeader) else cls.from_json(given or {})

    def to_json(self) -> dict[str, Any]:
        """The JSON of ``zoo.json``, as plain values."""
        values: dict[str, Any] = {"format_version": FORMAT_VERSION} | _known(self, "more") | self.more
        values |= {
            "recipe": self.recipe.to_json(),
            "data": self.data.to_json(),
            "shared": self.shared.to_json(),
            "seed": self.seed,
        }
        values["layouts"] = {name: layout.to_json() for name, layout in self.layouts.items()}
        values["shards"] = list(self.shards)
        values["checksums"] = {name: {"bytes": own.bytes, "crc32": own.crc32} for name, own in self.checksums.items()}
        if self.identity is not None:
            values["identity"] = list(self.identity)
        return values


def drawn_kinds(hyperparameters: Mapping[str, Any]) -> dict[str, str]:
    """The kinds that distributions give to their ``hp.*`` columns; constants and ranges are left to their values."""
    kinds = {f"hp.{name}": drawn_kind(distribution) for name, distribution in hyperparameters.items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def check_kinds(columns: Mapping[str, str]) -> None:
    """Refuse kinds of columns that there are not.

    Raises:
        MetanetError: names the column and the kind.
    """
    for name, kind in columns.items():
        if kind not in COLUMN_KINDS:
            raise MetanetError(f"column '{name}' cannot be of kind '{kind}'{did_you_mean(str(kind), COLUMN_KINDS)}")


def _layout(name: str, rows: list[dict[str, Any]]) -> Layout:
    layout = Layout.from_json(rows)
    if layout.id != name:
        raise ValueError(f"layout {name} is not what was written: its tensors make {layout.id}")
    return layout


_WHOLE, _NAMES, _LIST = ((int,), "a whole number"), ((Mapping,), "names and values"), ((list, tuple), "a list")
# What a fact can be, where that is plain, and in words.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "plan_hash", "status"), ((str,), "text")),
    **dict.fromkeys(("classes", "n_train", "n_test", "crc32", "seeds", "groups"), _WHOLE),
    **dict.fromkeys(("imported", "losses_include_l2"), ((bool,), "true or false")),
    **dict.fromkeys(("recipe", "data", "columns", "hyperparameters", "sets", "shared", "wiring", "layouts", "files"), _NAMES),
    **dict.fromkeys(("shape", "shards", "identity"), _LIST),
    "chance": ((int, float), "a number"),
}


def _read(cls: type, section: str, values: Mapping[str, Any], rest: str) -> dict[str, Any]:
    """The fields of a dataclass among some values, their types checked, and what is left under the name ``rest``."""
    if not isinstance(values, Mapping):
        raise MetanetError(f"{section}={values!r}: give names and values")
    known = {f.name for f in fields(cls)} - {rest}
    found: dict[str, Any] = {}
    for name in known & set(values):
        value = values[name].item() if hasattr(values[name], "item") else values[name]  # numpy's numbers
        types, words = _TYPES.get(name, ((object,), ""))
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and int in types)):
            raise MetanetError(f"{section}.{name}={value!r}: give {words}")
        found |= {} if value is None else {name: value}
    return found | {rest: {name: value for name, value in values.items() if name not in known}}


def _known(facts: Any, rest: str) -> dict[str, Any]:
    """The fields of a dataclass that are known, without those that have a form of their own in JSON."""
    own = {f.name: getattr(facts, f.name) for f in fields(facts) if f.name != rest}
    return {name: value for name, value in own.items() if value not in (None, "", (), {})}
