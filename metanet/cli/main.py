"""The command line: ``metanet VERB group=option key=value ...``.

Heavy libraries are imported by the verb that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from metanet import __version__
from metanet.cli.settings import plain
from metanet.config_files import config_root, first_sentence, opening, options
from metanet.constraints import Count, check
from metanet.errors import MetanetError, did_you_mean, printable
from metanet.interrupts import exit_code, stoppable
from metanet.verbs import NEEDED, keys_of, paragraphs


@dataclass(frozen=True)
class Verb:
    """One command: its module in ``metanet.cli``, and the key that words without ``=`` fill."""

    module: str
    summary: str
    positional: str | None = None
    grid: bool = False


VERBS = {
    "quickstart": Verb("quickstart", "from handwritten digits to a leaderboard and figures, in minutes"),
    "generate": Verb("generate", "grow a zoo of small networks"),
    "import": Verb("import_zoo", "make a zoo of published files"),
    "export": Verb("export_zoo", "write a zoo as published files"),
    "inspect": Verb("inspect_path", "what a zoo, a run or a checkpoint holds", positional="path"),
    "train": Verb("train", "train meta-models on a zoo and score them", grid=True),
    "evaluate": Verb("evaluate", "apply a fitted meta-model to other zoos"),
    "probe": Verb("probe", "maps of what the weights tell: where in the vector, when in training"),
    "sweeps": Verb("sweeps", "the sweep files that come with it, for W&B"),
    "reproduce": Verb("reproduce", "tables and figures of the papers from your zoos", positional="item"),
    "compare": Verb("compare", "the leaderboard of run folders", positional="runs"),
}

GO_ON = ("train", "probe", "reproduce")  # what an interruption leaves of these is found again by out=
LOST = "at most one epoch of a network's fit, or a few seconds"
OVERVIEW = """metanet {version}: meta-models on the raw weights of trained networks

  metanet VERB [group=option] [key=value] ...

{verbs}

Start with:          metanet quickstart
Keys of a verb:      metanet train --help
Settings of a model: metanet train model=dnn --help
Composed config:     metanet train zoo=zoos/digits --cfg
Parts of a group:    model=gbm model.num_leaves=15
A grid of runs:      model=gbm,dnn seed=0,1,2        ([a,b] is one value with members)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for a mistake that can be mended, 130 after Ctrl-C, 143 after SIGTERM."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stoppable():
            return _dispatch(words)
    except MetanetError as error:
        print(f"metanet: error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"metanet: interrupted{_kept(words, stop)}", file=sys.stderr)
        return exit_code()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _kept(words: list[str], stop: KeyboardInterrupt) -> str:
    """What an interruption leaves of a command whose fits go on, see :func:`metanet.runs.folder.folder_for`."""
    if not stop.args or words[0] not in GO_ON:
        return ""
    return f"; what was finished is kept, and the same command with out={stop.args[0]} goes on: {LOST}, is lost"


def _dispatch(words: list[str]) -> int:
    if words and words[0] == "--version":
        print(f"metanet {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name, *rest = words
    if name not in VERBS:
        raise MetanetError(f"no verb '{name}'{did_you_mean(name, VERBS)}")
    verb = VERBS[name]
    if "--help" in rest or "-h" in rest:
        of_class = [word.split("=", 1) for word in rest if re.match(r"(model|recipe)=[^,\[]", word)]
        print("\n\n".join(option_help(name, group, option) for group, option in of_class) or verb_help(name))
        return 0
    show = "--cfg" in rest
    rest = [word for word in rest if word != "--cfg"]
    if flags := [word for word in rest if word.startswith("-")]:
        raise MetanetError(f"no flag '{flags[0]}'{did_you_mean(flags[0], ['--help', '--cfg', '--version'])}")

    from metanet.cli.compose import compose, given_threads, parse_overrides
    from metanet.cli.grids import Grid

    loose = [word for word in rest if not re.match(r"[A-Za-z_][\w.]*=", word)]
    overrides = parse_overrides(word for word in rest if word not in loose)
    if loose:
        if verb.positional is None:
            raise MetanetError(f"'{loose[0]}' is not understood; give key=value, and {name} --help shows the keys")
        if len(loose) > 1 and verb.positional != "runs":
            raise MetanetError(f"{name} takes one {verb.positional}, not {len(loose)}: {' '.join(loose)}")
        if verb.positional in overrides:
            raise MetanetError(f"{verb.positional}= is given twice: {' '.join(loose)} and {','.join(overrides[verb.positional])}")
        several = [f"'{word}'" for word in loose if not word.startswith("[")]
        lists = [word.strip("[]") for word in loose if word.startswith("[")]
        overrides[verb.positional] = [f"[{','.join(several + lists)}]" if verb.positional == "runs" else loose[0]]
    grid = Grid.of(overrides)
    if len(grid.cells) > 1 and not verb.grid:
        key = next(k for k, v in overrides.items() if len(v) > 1)
        raise MetanetError(f"{name} takes one value of {key}, not {','.join(overrides[key])}; [a,b] is one value with members")
    if len(overrides.get("threads", [])) > 1:
        raise MetanetError("threads= takes one value; all runs of a grid share a process")
    if not show:
        set_threads(given_threads(name, grid.cells[0]))  # before composing imports a model's libraries
    configs = [compose(name, combination) for combination in grid.cells]
    if show:
        from omegaconf import OmegaConf

        print("---\n".join(OmegaConf.to_yaml(OmegaConf.create(config)) for config in configs), end="")
        return 0
    threads = set_threads(configs[0].get("threads"))
    module = importlib.import_module(f"metanet.cli.{verb.module}")
    for config in configs:
        if "threads" in config:
            config["threads"] = threads
    module.run(configs, grid) if verb.grid else module.run(configs[0])
    return 0


def set_threads(threads: int | None) -> int:
    """Give torch, LightGBM and BLAS the same number of threads; must come before they are imported."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads is not None:
        check("threads", threads, Count)
        count = threads
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(count)
    return count


def overview() -> str:
    """What ``metanet --help`` prints."""
    verbs = "\n".join(f"  {name:<12}{verb.summary}" for name, verb in VERBS.items())
    return OVERVIEW.format(version=__version__, verbs=verbs).rstrip()


def verb_help(name: str) -> str:
    """Help of one verb, read off its declaration, so that it cannot fall behind."""
    about, examples = paragraphs(name)
    groups, keys = [], []
    for key, own in keys_of(name).items():
        shown = "(needed)" if own.default == NEEDED else "" if own.default is None else plain(own.default)
        line = f"  {key + '=' + shown:<27} {own.meaning}"
        if own.over is None:
            keys.append(line)
            continue
        groups += [
            line,
            *(f"    {option:<26}{first_sentence(config_root() / key / f'{option}.yaml')}".rstrip() for option in options(key)),
        ]
        keys += [f"  {key}.{part}={plain(value)}" for part, value in own.over.items()]
    text = [f"metanet {name}: " + "\n".join(about), "", "Examples:", *(f"  {example}" for example in examples)]
    text += ["", "Groups (group=option; parts by dots, group.key=value):", *groups] if groups else []
    return "\n".join([*text, *(["", "Keys and defaults:", *keys] if keys else [])])


def option_help(verb: str, group: str, option: str) -> str:
    """Help of a model or a recipe: each setting with what it is here, what it means and what it may be."""
    from metanet.cli.compose import compose
    from metanet.cli.settings import described, settings_of

    config = compose(verb, {group: option})[group]
    known = settings_of(group, str(config["name"]))
    path = config_root() / group / f"{option}.yaml"
    text = [f"metanet {verb} {group}={option}"]
    if path.exists():
        text += [line for line in opening(path.read_text().splitlines()) if not line.startswith("example: ")]
    text += ["", f"Settings ({group}.KEY=VALUE):"]
    return "\n".join([*text, *(described(key, setting, config.get(key, setting.default)) for key, setting in known.items())])
