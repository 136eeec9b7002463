"""A plain ``nn.Module`` as a meta-model: ``model=./mine.py:Net`` is enough.

A module on vectors takes the widths of its input and output as arguments ``inputs`` and ``outputs`` (or by another name in
:data:`WIDTHS`) and maps (B, inputs) to raw outputs (B, outputs): logits of classes, or one number. What else its constructor
takes are settings of the model, beside those of the training, which is that of :class:`metanet.models.dnn.DNN`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import nn

from metanet.errors import MetanetError
from metanet.models.base import MatrixModel, constructor_arguments
from metanet.models.dnn import DNN

WIDTHS = (
    ("inputs", "in_features", "input_size", "in_dim"),
    ("outputs", "out_features", "output_size", "out_dim", "num_classes"),
)
SHAPE = ("layers", "units", "dropout", "w_init", "init_std")  # of DNN's own network, which is not made


@functools.cache
def adapted(module: type[nn.Module]) -> type[MatrixModel]:
    """The meta-model of a module's class.

    Raises:
        MetanetError: its constructor does not take the widths, takes any arguments, or one that the training has too.
    """
    parameters = dict(list(inspect.signature(module.__init__).parameters.items())[1:])
    widths = [next((name for name in names if name in parameters), None) for names in WIDTHS]
    if None in widths:
        missing = WIDTHS[widths.index(None)]
        raise MetanetError(
            f"{module.__name__} takes no argument {missing[0]!r} (or {', '.join(missing[1:])}), the width that its "
            f"{'input' if missing is WIDTHS[0] else 'output'} has; a module that is to be a meta-model takes inputs and outputs"
        )
    if loose := [p.name for p in parameters.values() if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]:
        raise MetanetError(f"{module.__name__} takes any arguments (*{loose[0]}); name them, so that settings can be checked")
    own = {name: p for name, p in parameters.items() if name not in widths}
    taken = constructor_arguments(DNN).keys() - set(SHAPE)
    if both := sorted(own.keys() & taken):
        raise MetanetError(
            f"{module.__name__} takes an argument '{both[0]}', which is a setting of its training; call it otherwise"
        )

    def construct(self: Any, features: str | list[str] = "flat", **settings: Any) -> None:
        if needed := [name for name, p in own.items() if p.default is p.empty and name not in settings]:
            raise MetanetError(
                f"model {module.__name__} needs model.{needed[0]}=, an argument of its constructor without a default"
            )
        mine = {name: settings.pop(name, p.default) for name, p in own.items()}
        DNN.__init__(self, features=features, **settings)
        vars(self).update(mine)

    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()]
    signature = inspect.signature(construct)
    first, chosen, rest = signature.parameters.values()
    construct.__signature__ = signature.replace(parameters=[first, chosen, *keywords, rest])  # type: ignore[attr-defined]
    body = {
        "__init__": construct,
        "__doc__": module.__doc__,
        "__module__": module.__module__,
        "name": module.__name__,
        "fixed": {name: None for name in SHAPE if name not in own},
        "_network": functools.partialmethod(_network, module, widths, tuple(own)),
    }
    return type(module.__name__, (DNN,), body)


def _network(self: Any, module: type[nn.Module], widths: list[str], own: tuple[str, ...], inputs: int) -> nn.Module:
    """The module, its initial weights by the seed; refused where it does not do what it should."""
    name, outputs = module.__name__, self.classes or 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(self.seed)
        try:
            network = module(**dict(zip(widths, (inputs, outputs), strict=True)), **{key: getattr(self, key) for key in own})
            answer = network.eval()(torch.zeros(2, inputs))
        except MetanetError:
            raise
        except Exception as error:  # of the user's code, whatever it is
            words = str(error).splitlines()[0] if str(error) else "no message"
            raise MetanetError(f"{name} failed for vectors of {inputs} values: {type(error).__name__}: {words}") from error
    shape = tuple(getattr(answer, "shape", ()))
    if shape != (2, outputs):
        raise MetanetError(
            f"{name} maps (2, {inputs}) to {shape or type(answer).__name__}; wanted is (2, {outputs}), raw outputs"
        )
    return network.train()
