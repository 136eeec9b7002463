"""Composition: a verb's keys (:mod:`metanet.verbs`), one option of each group, an experiment, the command line, in this order.

    metanet VERB group=option key=value part.key=value experiment=x

Everything is merged before any interpolation is resolved. What the YAML of a model or a recipe leaves out is its class's
default. A key that is not known is refused with the nearest one that is, and so is a value that it may not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metanet.cli.settings import settings_of
from metanet.config_files import config_root, options
from metanet.constraints import check, fits
from metanet.errors import MetanetError, did_you_mean
from metanet.plugins import is_path, of_target
from metanet.registry import entries
from metanet.verbs import OPTIONS, keys_of, texts

Config = dict[str, Any]

# Groups whose settings a class says.
OF_CLASSES = ("model", "recipe")
# Mappings of distributions, whose keys are free.
DISTRIBUTIONS = frozenset({"hyperparameters", "space"})
# Groups of which several options may be given.
SEVERAL = frozenset({"data"})
# Groups whose further keys are checked by the class that takes them.
CHECKED_BY_CLASS = frozenset({"trainer"})


def split_values(text: str) -> list[str]:
    """``a,b`` -> two values; commas within brackets, braces and quotes stay: ``[a,b]`` is one."""
    parts, depth, quote, current = [], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in ")}]":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        current += letter
    return [*parts, current]


def parse_overrides(arguments: Iterable[str]) -> dict[str, list[str]]:
    """``key=value`` words -> values of each key, more than one where a grid is asked for.

    Raises:
        MetanetError: a word is no ``key=value``.
    """
    overrides: dict[str, list[str]] = {}
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            raise MetanetError(f"'{word}' is not understood; give key=value, and --help to see the keys")
        overrides[key] = [value] if key in texts() else split_values(value)
    return overrides


def compose(verb: str, overrides: dict[str, str]) -> Config:
    """The configuration of one run as plain values, interpolations resolved.

    Raises:
        MetanetError: a key, group, option or value is unknown, or the whole cannot be resolved.
    """
    known = keys_of(verb)
    groups: dict[str, str] = {key: own.default for key, own in known.items() if own.over is not None}
    overrides = dict(overrides)
    source = overrides.pop("from", None) if "from" in known else None
    experiment: Config = {}
    if "experiment" in overrides:
        experiment = _load_option("experiment", overrides.pop("experiment"))
        for group, option in experiment.pop("defaults", {}).items():
            if group not in groups:
                raise MetanetError(f"the experiment names a group '{group}' that {verb} has not{did_you_mean(group, groups)}")
            groups[group] = option
    given_groups = {group: overrides.pop(group) for group in list(groups) if group in overrides}
    groups |= given_groups
    config: Config = {group: _load_options(group, option) for group, option in groups.items()}
    for key, own in known.items():
        for leaf, value in [(key, own.default)] if own.over is None else [(f"{key}.{k}", v) for k, v in own.over.items()]:
            _set(config, leaf, value)
    if source is not None:
        if experiment:
            raise MetanetError("from= and experiment= both say what is to be made; give one of them")
        _take_run(config, source, verb)
        config |= {group: _load_options(group, option) for group, option in given_groups.items()}
    given = dict(_leaves(experiment)) | {key: text if key in texts() else _parse(key, text) for key, text in overrides.items()}
    for key, value in given.items():
        _set(config, key, _check_key(config, verb, key, value))
    try:
        return OmegaConf.to_container(OmegaConf.create(config), resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise MetanetError(f"the configuration cannot be resolved: {str(error).splitlines()[0]}") from None


def given_threads(verb: str, overrides: dict[str, str]) -> Any:
    """``threads`` of a command, known before anything is imported that counts them."""
    kept = {key: overrides[key] for key in ("threads", "experiment", "from") if key in overrides}
    if "threads" in kept:
        return _parse("threads", kept["threads"])
    if "experiment" in kept:
        return _load_option("experiment", kept["experiment"]).get("threads")
    if kept.get("from"):
        from metanet.runs.folder import read_config

        return read_config(kept["from"]).get("threads")
    return None


def _take_run(config: Config, source: str, verb: str) -> None:
    """Put the config of a finished run in the place of the defaults; where it runs and lies, and tracking, stay as they are."""
    from metanet.runs.folder import read_config, read_metrics

    if not source:
        raise MetanetError("from= is empty; give the folder of a run, or leave it out")
    stored = read_config(source)
    if unknown := [key for key in stored if key not in config]:
        raise MetanetError(
            f"from={source}: its config has a key '{unknown[0]}' that {verb} has not; it was made by another verb or version"
        )
    if (heads := read_metrics(source).get("heads", 1)) > 1:
        raise MetanetError(
            f"from={source}: one of {heads} heads of one fit cannot be made alone; give target=[a,b] and its settings"
        )
    config |= {key: value for key, value in stored.items() if key not in ("out", "tracking", "launcher")} | {"from": source}


def required(config: Config, key: str, example: str) -> Any:
    """A value that has no default; an error with an example where it is missing.

    Raises:
        MetanetError: the key has no value.
    """
    if config.get(key) in (None, "???", [], ""):
        raise MetanetError(f"{key}= is needed, for example {example}")
    return config[key]


def _load(path: Path) -> Config:
    """A YAML mapping as plain values; interpolations stay text."""
    try:
        config = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise MetanetError(f"config '{path}' cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, DictConfig):
        raise MetanetError(f"config '{path}' is no mapping of keys to values")
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


def _load_options(group: str, option: str) -> Config:
    """One option of a group, or ``[a,b]``: values that differ stand by name, the names themselves in a list."""
    if not option.startswith("["):
        return _load_option(group, option)
    if group not in SEVERAL:
        raise MetanetError(f"{group}={option}: give one of {', '.join(options(group))}, not several")
    parts = [_load_option(group, word.strip()) for word in split_values(option.strip("[]"))]
    names = [part["name"] for part in parts]
    if len(set(names)) < len(names):
        raise MetanetError(f"{group}={option} names one of them twice")
    merged: Config = {"name": names}
    for key in (k for k in parts[0] if k != "name"):
        values = {name: part.get(key) for name, part in zip(names, parts, strict=True)}
        alike = all(value == parts[0][key] for value in values.values())
        merged[key] = parts[0][key] if alike else values
    return merged


def _load_option(group: str, option: str) -> Config:
    if is_path(option):
        return {"name": option}
    if option.endswith((".yaml", ".yml")):
        file = Path(option).expanduser()
        config = _load(file)
        if "_target_" in config:
            config = {"name": of_target(str(config.pop("_target_")), file.parent)} | config
        return _completed(group, config)
    path = config_root() / group / f"{option}.yaml"
    if not path.exists():
        if option in (installed := entries(group)):
            return {"name": option}
        raise MetanetError(f"no {group} '{option}'{did_you_mean(option, [*options(group), *installed])}")
    return _completed(group, _load(path))


def _completed(group: str, config: Config) -> Config:
    """A model or a recipe with what its class takes where the config says nothing."""
    name = str(config.get("name", ""))
    if group not in OF_CLASSES or _is_foreign(group, name):
        return config
    return {"name": name} | {key: s.default for key, s in settings_of(group, name).items() if not s.needed} | config


def _leaves(config: Config, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and the values that are no mappings."""
    leaves: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def _parse(key: str, text: str) -> Any:
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)
    except (YAMLError, OmegaConfBaseException) as error:
        raise MetanetError(f"{key}={text} is no YAML value: {str(error).splitlines()[0]}") from None
    return parsed["value"]  # type: ignore[index, call-overload]


def _set(config: Config, key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        if not isinstance(config.get(parent), dict):
            config[parent] = {}  # a distribution that was a value becomes a mapping
        config = config[parent]
    config[leaf] = value


def _check_key(config: Config, verb: str, key: str, value: Any) -> Any:
    """The value in the key's type; a key that is not there is refused."""
    parts = key.split(".")
    group = config.get(parts[0])
    by_class = parts[0] in CHECKED_BY_CLASS or (isinstance(group, dict) and _is_foreign(parts[0], str(group.get("name", ""))))
    node: Any = config
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or DISTRIBUTIONS & set(parts[:depth]):
            return value  # within a distribution; the recipe or the search checks it
        if part not in node:
            if by_class and depth == 1:
                return value
            where = ".".join(parts[:depth])
            known = [f"{where}.{k}" if where else str(k) for k in node] + ([] if where else ["experiment"])
            raise MetanetError(f"{verb} has no key '{key}'{did_you_mean(key, known)}")
        node = node[part]
    if isinstance(node, dict) and node and not isinstance(value, dict):
        raise MetanetError(f"{key}={value} is no value: {key} has parts, {', '.join(f'{key}.{part}' for part in node)}")
    return _of_kind(key, _kind(config, verb, parts), value)


def _kind(config: Config, verb: str, parts: list[str]) -> Any:
    """What a key may be: as the verb declares it, or the class or the option that takes it."""
    own = keys_of(verb).get(".".join(parts))
    if own is not None or len(parts) != 2:
        return Any if own is None else own.kind
    group, setting = parts
    if setting == "name":
        return str | list[str]
    if group not in OF_CLASSES:
        return OPTIONS.get(group, {}).get(setting, Any)
    name = str(config[group]["name"])
    return Any if _is_foreign(group, name) else settings_of(group, name)[setting].kind


def _of_kind(key: str, kind: Any, value: Any) -> Any:
    """The value, if it is of the kind: a number is a name where a name is wanted, and one name is a list of one."""
    unsaid = value is None and fits("", kind) and not key.endswith(".name")  # what needs the name says so, with an example
    if unsaid or (isinstance(value, str) and value.startswith("${")):
        return value
    if not key.endswith(".name") and not fits(value, kind):
        words = (
            [str(own) for own in value] if isinstance(value, list) else str(value) if isinstance(value, int | float) else value
        )
        number = kind == list[Any] and not isinstance(value, str)  # one of numbers is no list of a word
        value = next((own for own in (words, *([] if number else [[words]])) if fits(own, kind)), value)
    check(key, value, kind)
    return value


def _is_foreign(group: str, name: str) -> bool:
    """Whether what takes the settings is not of the package."""
    return is_path(name) or (group in OF_CLASSES and name in entries(group))
