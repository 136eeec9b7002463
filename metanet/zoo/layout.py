"""Layout: what each position of a weight vector is.

A layout is frozen, serialisable and keyed by tensor name. It turns a set of named tensors into one
float32 vector and back, for a single network or for N networks at once, and is all that a
representation needs to know of an architecture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from metanet.errors import MetanetError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

KINDS = ("kernel", "bias", "bn_scale", "bn_shift", "bn_mean", "bn_var")


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor inside a weight vector: positions ``start`` to ``stop`` (exclusive).

    Attributes:
        axes: the order in which the axes of ``shape`` lie in the vector; None where it is their own.
    """

    name: str
    layer: str
    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int
    axes: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        """Short name for feature columns, e.g. ``conv1.kernel``."""
        return f"{self.layer}.{self.kind}"


@dataclass(frozen=True)
class Layout:
    """The ordered tensors of a weight vector of D values.

    Tensors lie end to end in the order given, each flattened in C order; convolution kernels are
    (out, in, kh, kw) and dense kernels (out, in), as in PyTorch. Vectors that other programs wrote may hold a tensor's
    axes in another order, which its ``axes`` says: tensors come out as in PyTorch all the same.

    Examples:
        >>> from torch import nn
        >>> from metanet import Layout
        >>> layout = Layout.from_module(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
        >>> layout.size, [(t.name, t.kind, t.start, t.stop) for t in layout.tensors[:2]]
        (11, [('0.weight', 'kernel', 0, 6), ('0.bias', 'bias', 6, 8)])
    """

    tensors: tuple[TensorSpec, ...]

    @classmethod
    def build(cls, parts: Iterable[tuple[str, str, str, Sequence[int]] | tuple[str, str, str, Sequence[int], Any]]) -> Layout:
        """From (name, layer, kind, shape), and axes where they differ, in vector order.

        Raises:
            MetanetError: there is no tensor, or one of an unknown kind or of axes that do not fit.
        """
        specs: list[TensorSpec] = []
        start = 0
        for name, layer, kind, shape, *rest in parts:
            if kind not in KINDS:
                raise MetanetError(f"tensor '{name}' has kind '{kind}'{did_you_mean(kind, KINDS)}")
            stop = start + prod(shape)
            axes = tuple(int(a) for a in rest[0]) if rest and rest[0] is not None else None
            if axes is not None and sorted(axes) != list(range(len(shape))):
                raise MetanetError(f"tensor '{name}' of shape {tuple(shape)} has axes {axes}; give each of its axes once")
            specs.append(TensorSpec(name, layer, kind, tuple(int(s) for s in shape), start, stop, axes))
            start = stop
        if not specs:
            raise MetanetError("a layout needs at least one tensor; none was given")
        return cls(tuple(specs))

    @classmethod
    def from_module(cls, module: nn.Module) -> Layout:
        """The layout of any ``nn.Module``: its parameters and floating buffers, in state_dict order.

        Kinds follow the module that owns a tensor: the weight and bias of a normalisation layer are
        ``bn_scale`` and ``bn_shift``, its running statistics ``bn_mean`` and ``bn_var``; elsewhere
        one-dimensional tensors that are not called weight are biases and all others kernels.
        """
        owners = dict(module.named_modules())
        parts = []
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            layer, _, leaf = name.rpartition(".")
            owner = owners.get(layer)
            parts.append((name, layer or "net", _kind(owner, leaf, tensor.ndim), tuple(tensor.shape)))
        return cls.build(parts)

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> Layout:
        """The inverse of :meth:`to_json`."""
        return cls.build((r["name"], r["layer"], r["kind"], r["shape"], r.get("axes")) for r in rows)

    def to_json(self) -> list[dict[str, Any]]:
        """One plain dict a tensor."""
        return [
            {"name": t.name, "layer": t.layer, "kind": t.kind, "shape": list(t.shape), "start": t.start, "stop": t.stop}
            | ({} if t.axes is None else {"axes": list(t.axes)})
            for t in self.tensors
        ]

    @property
    def size(self) -> int:
        """D, the number of values of a vector."""
        return self.tensors[-1].stop

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in vector order, each once."""
        return tuple(dict.fromkeys(t.layer for t in self.tensors))

    @cached_property
    def id(self) -> str:
        """Content hash: equal layouts have equal ids."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:12]

    def flatten(self, tensors: Mapping[str, Any]) -> np.ndarray:
        """Named tensors (numpy or torch) -> one float32 vector of shape (D,).

        Raises:
            MetanetError: a tensor is missing or of another shape.
        """
        vector = np.empty(self.size, np.float32)
        for spec in self.tensors:
            if spec.name not in tensors:
                raise MetanetError(f"no tensor '{spec.name}' was given{did_you_mean(spec.name, tensors)}")
            value = tensors[spec.name]
            array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
            if array.shape != spec.shape:
                raise MetanetError(f"tensor '{spec.name}' has shape {array.shape}, the layout says {spec.shape}")
            vector[spec.start : spec.stop] = (array if spec.axes is None else array.transpose(spec.axes)).ravel()
        return vector

    def unflatten(self, weights: Any) -> dict[str, Any]:
        """(..., D) array or torch tensor -> named views of shape (..., *shape); nothing is copied.

        Raises:
            MetanetError: the vectors have another length.
        """
        if weights.shape[-1] != self.size:
            raise MetanetError(
                f"vectors of {weights.shape[-1]} values were given, the layout has {self.size}; "
                "is this the layout of another architecture?"
            )
        lead = tuple(weights.shape[:-1])
        tensors = {}
        for t in self.tensors:
            if t.axes is None:
                tensors[t.name] = weights[..., t.start : t.stop].reshape(lead + t.shape)
                continue
            stored = weights[..., t.start : t.stop].reshape(lead + tuple(t.shape[a] for a in t.axes))
            order = (*range(len(lead)), *(len(lead) + int(a) for a in np.argsort(t.axes)))
            tensors[t.name] = stored.transpose(order) if isinstance(stored, np.ndarray) else stored.permute(order)
        return tensors

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The layer whose kernel each tensor goes with: its own, or that of the last kernel before it (before any: the first)."""
        kernels = [t.layer for t in self.tensors if t.kind == "kernel"]
        owner, owners = next(iter(kernels), ""), []
        for t in self.tensors:
            owner = t.layer if t.layer in kernels else owner
            owners.append(owner)
        return tuple(owners)

    def part(self, name: str) -> tuple[int, int]:
        """Start and stop of the convolutional (``conv``) or fully connected (``fc``) weights, or of ``all``.

        Biases and batch normalisation go with the kernel of their layer, or with the last kernel before them.

        Raises:
            MetanetError: the architecture has no such part, or not in one piece.
        """
        if name == "all":
            return 0, self.size
        if name not in ("conv", "fc"):
            raise MetanetError(f"part={name}: give all, conv or fc")
        convolutions = {t.layer for t in self.tensors if t.kind == "kernel" and len(t.shape) > 2}
        spans: list[tuple[int, int]] = []
        for t, owner in zip(self.tensors, self.owners, strict=True):
            if (owner in convolutions) == (name == "conv"):
                if spans and spans[-1][1] == t.start:
                    spans[-1] = (spans[-1][0], t.stop)
                else:
                    spans.append((t.start, t.stop))
        if not spans:
            words = {"conv": "convolutions", "fc": "fully connected layers"}
            raise MetanetError(
                f"part={name}: an architecture of layers {', '.join(self.layers)} has no {words[name]}; give part=all"
            )
        if len(spans) > 1:
            raise MetanetError(
                f"part={name}: these weights lie in {len(spans)} places of the vector, not end to end; give part=all"
            )
        return spans[0]

    def select(self, layers: Iterable[str]) -> tuple[TensorSpec, ...]:
        """The tensors of some layers; ``first`` and ``last`` name the ends.

        A layer that was chosen so is called so in the tensors' labels, whatever it is called here: the last layers of two
        architectures give columns of the same names.

        Raises:
            MetanetError: there is no such layer.
        """
        known = self.layers
        wanted = {}
        for layer in layers:
            name = {"first": known[0], "last": known[-1]}.get(layer, layer)
            if name not in known:
                raise MetanetError(f"no layer '{layer}' in this layout{did_you_mean(layer, (*known, 'first', 'last'))}")
            wanted[name] = layer
        return tuple(replace(t, layer=wanted[t.layer]) for t in self.tensors if t.layer in wanted)


def _kind(owner: Any, leaf: str, ndim: int) -> str:
    if leaf == "running_mean":
        return "bn_mean"
    if leaf == "running_var":
        return "bn_var"
    if owner is not None and "Norm" in type(owner).__name__:
        return "bn_scale" if leaf == "weight" else "bn_shift"
    return "bias" if ndim <= 1 and leaf != "weight" else "kernel"
