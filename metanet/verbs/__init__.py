"""The keys of every verb: what stands where nothing is given, what it may be, and what it means.

A verb is a dataclass. Its docstring is its help, with an example on each line that begins so; a field is a key of the command
line, an option of a config group, or a part with keys of its own, which the command line names by dots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from metanet.constraints import Count, Seed, kinds_of
from metanet.verbs import commands
from metanet.verbs.keys import NEEDED, VERBATIM, AtLeastTwo, Key
from metanet.verbs.reproduction import Reproduce

__all__ = ["CONFIGS", "NEEDED", "OPTIONS", "Key", "keys_of", "paragraphs", "texts", "verb_keys"]

CONFIGS: dict[str, type] = {
    "quickstart": commands.Quickstart,
    "generate": commands.Generate,
    "import": commands.Import,
    "export": commands.Export,
    "inspect": commands.Inspect,
    "train": commands.Train,
    "evaluate": commands.Evaluate,
    "probe": commands.Probe,
    "sweeps": commands.Sweeps,
    "reproduce": Reproduce,
    "compare": commands.Compare,
}
# What may be given of a group's option, beside its name; models and recipes say it themselves (metanet.cli.settings).
OPTIONS: dict[str, dict[str, Any]] = {
    "data": {"root": str | None, "train_limit": Count | None, "size": Count | None, "converged": float},
    "search": {"n": Count, "folds": AtLeastTwo, "seed": Seed, "halving": AtLeastTwo | None, "sampler": str},
    "launcher": {"workers": Count | None, "address": str | None},
    "tracking": {"project": str, "group": str | None, "mode": str | None},
    "trainer": {"accelerator": str, "max_epochs": Count | None},
}


def keys_of(verb: str) -> dict[str, Key]:
    """All keys of a verb by their dotted names; groups come by their own."""
    return dict(_keys(CONFIGS[verb]()))


def _keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Key]]:
    kinds = kinds_of(config.__class__)
    for f in fields(config):
        value, name = getattr(config, f.name), prefix + (f.metadata.get("name") or f.name)
        if is_dataclass(value):
            yield from _keys(value, f"{name}.")
        else:
            yield name, Key(value, kinds[f.name], f.metadata["meaning"], f.metadata.get("over"))


def verb_keys(verb: str) -> set[str]:
    """Keys of the config of a verb, groups and parts included."""
    return {name.partition(".")[0] for name in keys_of(verb)}


@cache
def texts() -> frozenset[str]:
    """Keys of any verb whose words are taken as they are."""
    every = ((name, own) for verb in CONFIGS for name, own in keys_of(verb).items())
    return frozenset(name for name, own in every if VERBATIM in repr(own.kind))


def paragraphs(verb: str) -> tuple[list[str], list[str]]:
    """What a verb is for, line by line, and its examples."""
    lines = [line.removeprefix("    ") for line in (CONFIGS[verb].__doc__ or "").strip().splitlines()]
    examples = [line.removeprefix("example: ") for line in lines if line.startswith("example: ")]
    return [line for line in lines if line and not line.startswith("example: ")], examples
