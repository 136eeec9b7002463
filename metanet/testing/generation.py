"""What every recipe and every engine must do, shown on networks that are grown in a second."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.config_files import config_root, options
from metanet.data_modules.images import load_images
from metanet.generation.engines import ENGINES, Engine
from metanet.generation.engines.choice import able_engines, refusal
from metanet.generation.plan import Plan, make_plan
from metanet.generation.recipes import Recipe, create_recipe
from metanet.generation.runner import generate
from metanet.plugins import is_path
from metanet.testing.contracts import require

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 16, "train_images": 64, "test_images": 32, "exports": 2, "snapshots": []}
CPU = {"accelerator": "cpu"}
REFERENCES = ("torch", "blocks", "module")  # of which each recipe is trained by one
NEAR = 2e-3  # that engines may differ by, of the largest weight


def check_recipe(recipe: str, data: str = "digits", **settings: Any) -> None:
    """Raise unless a recipe keeps its contract: it draws, says what it drew, and its networks grow, the same in any group.

    Args:
        recipe: an option of ``recipe=``, or ``FILE.py:CLASS``.
        data: an image set.
        settings: of the recipe; what makes growing long is cut where none is given.

    Raises:
        AssertionError: says which contract was broken, and by what.
    """
    made, title = _made(recipe, settings), recipe.rpartition("/")[2]
    stored = {k: v for k, v in made.to_json().items() if k in {f.name for f in fields(made)}}
    stored["name"] = recipe if is_path(recipe) else made.name
    require(create_recipe(**stored) == made, title, "is another recipe when it is made of its to_json()")
    plan = _plan(made, data, 2)
    missing = [name for name in made.distributions() if f"hp.{name}" not in plan.table]
    require(not missing, title, f"{missing[:1]} is among its distributions, and not among what was drawn")
    engine = next((name for name in REFERENCES if name in able_engines(plan, CPU)), None)
    require(engine is not None, title, "is trained by no engine")
    together, alone = (_grown(made, data, 2, str(engine), size) for size in (2, 1))
    _check_zoo(together, title, 2)
    drawn = [c for c in together.networks if c.startswith("hp.")]
    same = together.networks[drawn].equals(alone.networks[drawn])
    require(same, title, "draws other hyperparameters for other groups of networks")
    require(_gap(together, alone) < NEAR, title, "its networks become others in other groups")


def check_engine(engine: str, data: str = "digits") -> str | None:
    """Raise unless an engine keeps its contract: it trains what it says that it can, to what the reference engine gives.

    Args:
        engine: a name in :data:`metanet.generation.engines.ENGINES`, or ``FILE.py:CLASS``.

    Returns:
        Why nothing could be trained by it on this machine; None where something was.

    Raises:
        AssertionError: says which contract was broken, and by what.
    """
    title = engine.rpartition("/")[2]
    own: Engine = ENGINES.find(engine)()
    require(own.name, title, "has no class attribute 'name', a text")
    size = own.group_size(1e9)
    require(isinstance(size, int) and size >= 1, title, f"group_size gave {size!r}; a whole number from 1 up is wanted")
    reasons = []
    for name in ("small_cnn_mini", "mlp", "nws_fixed_mini", "resnet_mini"):
        made = _made(name, {})
        space = {k: v for k, v in made.hyperparameters.items() if k != "dropout"}
        settings = {"hyperparameters": space | ({"dropout": 0.0} if "dropout" in made.hyperparameters else {})}
        made = _made(name, settings)
        plan = _plan(made, data, 2)
        reason = refusal(plan, engine, CPU)
        text = reason is None or (isinstance(reason, str) and reason)
        require(text, title, f"refusal gave {reason!r}; None, or a text that says why, is wanted")
        if reason is None:
            reference = next(known for known in REFERENCES if refusal(plan, known, CPU) is None)
            ours, theirs = (_grown(made, data, 2, who, 2) for who in (engine, reference))
            _check_zoo(ours, title, 2)
            gap = _gap(ours, theirs)
            words = (
                f"recipe={name}: weights differ from those of engine={reference} by {gap:.2g} of the largest, allowed is {NEAR}"
            )
            require(gap < NEAR, title, words)
            return None
        reasons.append(f"{name}: {reason}")
    return "; ".join(reasons)


def _made(recipe: str, settings: dict[str, Any]) -> Recipe:
    given: dict[str, Any] = {"name": recipe}
    if recipe in options("recipe"):
        from omegaconf import OmegaConf

        given = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "recipe" / f"{recipe}.yaml")))  # type: ignore[arg-type]
    known = {f.name for f in fields(create_recipe(**given))}
    return create_recipe(**given | {k: v for k, v in QUICK.items() if k in known} | settings)


def _plan(recipe: Recipe, data: str, n: int) -> Plan:
    return make_plan(recipe, recipe.prepare(load_images(data)).facts(), n, 0, None, CPU)


@dataclass(frozen=True)
class _Grown:
    """What is compared of a small zoo: its networks, the last metrics, and the last weights of those that stayed finite."""

    networks: pd.DataFrame
    frame: pd.DataFrame
    vectors: list[np.ndarray]


def _grown(recipe: Recipe, data: str, n: int, engine: str, group_size: int) -> _Grown:
    with tempfile.TemporaryDirectory() as folder:
        zoo = generate(recipe, data, n=n, out=Path(folder) / "zoo", engine=engine, group_size=group_size, trainer=CPU)
        assert zoo is not None
        last = zoo.view(epoch="last")
        return _Grown(zoo.networks, last.frame, [np.array(vector) for vector in last.vectors()])


def _check_zoo(zoo: _Grown, title: str, n: int) -> None:
    require(len(zoo.networks) == n, title, f"{n} networks were to be grown, {len(zoo.networks)} are there")
    require(len(zoo.vectors) > 0, title, "no network stayed finite")
    finite = all(np.isfinite(vector).all() for vector in zoo.vectors)
    require(finite, title, "a network of status ok has weights that are no finite numbers")
    inside = zoo.frame["test_accuracy"].between(0, 1).all()
    require(inside, title, "test accuracies leave 0 to 1")


def _gap(a: _Grown, b: _Grown) -> float:
    """The largest difference of weights after training, of the largest weight."""
    pairs = zip(a.vectors, b.vectors, strict=True)
    return max(float(np.abs(x - y).max() / np.abs(y).max()) for x, y in pairs)
