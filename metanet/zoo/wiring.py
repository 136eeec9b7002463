"""Wiring: which axes of which tensors belong to the same neurons, read from a layout alone.

Neurons are output channels of convolutions and units of fully connected layers. Hidden ones may change places without the
network's function changing, if they do so in every tensor that knows them: their layer's kernel, bias and batch
normalisation, and the fan-in of the layers that read them (Hecht-Nielsen 1990).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from metanet.errors import MetanetError
from metanet.zoo.layout import Layout, TensorSpec

KINDS = ("convolution", "dense", "depthwise")  # of kernels
SHORTCUTS = frozenset({"skip", "shortcut", "downsample"})


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor and the neurons along it, each with ``each`` entries in a row (the positions of a flattened map)."""

    neurons: int
    each: int = 1


@dataclass(frozen=True)
class Edge:
    """A kernel, and the neurons between which it lies.

    Attributes:
        source, target: kinds of the neurons that it reads and gives.
        reads, writes: stages of them.
        each: entries in a row along its fan-in that belong to one source neuron.
        depthwise: each neuron reads one source neuron, of the same number.
    """

    tensor: TensorSpec
    source: int
    target: int
    reads: int
    writes: int
    each: int
    depthwise: bool

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`."""
        return "depthwise" if self.depthwise else "convolution" if len(self.tensor.shape) > 2 else "dense"

    @property
    def fan_in(self) -> int:
        """How many neurons each neuron reads."""
        return 1 if self.depthwise else self.tensor.shape[1] // self.each


@dataclass(frozen=True)
class Wiring:
    """The neurons of an architecture.

    Attributes:
        layout: whose tensors they are.
        sizes: how many neurons there are of each kind; layers that a residual connection adds share one kind.
        hidden: of each kind, whether its neurons may change places: not inputs and not outputs.
        axes: of each tensor, what lies along its axes; None where that has no neurons (the sides of a filter).
        stages: the kind of what each kernel gives, in order; stage 0 is the inputs.
        edges: the kernels in the vector's order.
        added: pairs of stages of which residual connections add the first to the second.
    """

    layout: Layout
    sizes: tuple[int, ...]
    hidden: tuple[bool, ...]
    axes: tuple[tuple[Axis | None, ...], ...]
    stages: tuple[int, ...]
    edges: tuple[Edge, ...]
    added: tuple[tuple[int, int], ...]

    @property
    def widths(self) -> list[int]:
        """Neurons of each stage."""
        return [self.sizes[kind] for kind in self.stages]

    @property
    def outputs(self) -> int:
        """The stage of the outputs: the last that nothing reads."""
        read = {e.reads for e in self.edges} | {a for a, _ in self.added}
        return max(stage for stage in range(len(self.stages)) if stage not in read)

    def vectors(self) -> list[tuple[TensorSpec, int]]:
        """The tensors that are no kernels, each with the stage whose neurons carry it."""
        written = {e.tensor.layer: e.writes for e in self.edges}
        owned = zip(self.layout.tensors, self.layout.owners, strict=True)
        return [(tensor, written[owner]) for tensor, owner in owned if tensor.kind != "kernel"]

    def ends(self) -> list[np.ndarray]:
        """Pairs of neurons, numbered over all stages, that each kernel connects in the order of its rows, then those that each
        residual connection adds: (2, E_i) sources and targets.
        """
        first = np.cumsum([0, *self.widths])
        pairs = []
        for e in self.edges:
            outputs, inputs = np.arange(e.tensor.shape[0]), np.arange(e.fan_in)
            sources = outputs if e.depthwise else np.tile(inputs, len(outputs))
            pairs.append(np.stack([first[e.reads] + sources, first[e.writes] + np.repeat(outputs, e.fan_in)]))
        return pairs + [np.stack([first[a], first[b]])[:, None] + np.arange(self.widths[a]) for a, b in self.added]

    def edges_of(self, layers: Iterable[str]) -> tuple[Edge, ...]:
        """The kernels of some layers (``first`` and ``last`` name the ends), called so; of all where none is named."""
        chosen = {t.name: t for t in self.layout.select(layers or self.layout.layers)}
        return tuple(replace(e, tensor=chosen[e.tensor.name]) for e in self.edges if e.tensor.name in chosen)

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """A random order of the neurons of each kind; inputs and outputs keep theirs."""
        pairs = zip(self.sizes, self.hidden, strict=True)
        return [rng.permutation(size) if hidden else np.arange(size) for size, hidden in pairs]

    def positions(self, orders: list[np.ndarray], start: int = 0, stop: int | None = None) -> np.ndarray:
        """Where in a vector the values of the reordered network's positions ``start`` to ``stop`` lie: int64 (stop - start,).

        ``vector[wiring.positions(wiring.draw(rng))]`` is the same network with its hidden neurons in another order.
        """
        stop = self.layout.size if stop is None else stop
        parts = []
        for tensor, axes in zip(self.layout.tensors, self.axes, strict=True):
            if tensor.start < stop and start < tensor.stop:
                parts.append(_places(tensor, axes, orders, max(start, tensor.start), min(stop, tensor.stop)))
        return np.concatenate(parts)


def _places(tensor: TensorSpec, axes: tuple[Axis | None, ...], orders: list[np.ndarray], start: int, stop: int) -> np.ndarray:
    """Positions in the vector of the entries of one tensor that lie from start to stop once its neurons are reordered."""
    stored = tensor.axes or tuple(range(len(tensor.shape)))
    inner = np.zeros(1, np.int64)
    stride = 1
    for a in reversed(stored[1:]):
        inner = (_along(axes[a], tensor.shape[a], orders)[:, None] * stride + inner).ravel()
        stride *= tensor.shape[a]
    first, last = (start - tensor.start) // stride, -(-(stop - tensor.start) // stride)
    rows = _along(axes[stored[0]], tensor.shape[stored[0]], orders)[first:last] * stride + tensor.start
    places = (rows[:, None] + inner).ravel()
    begin = start - tensor.start - first * stride
    return places[begin : begin + stop - start]


def _along(axis: Axis | None, length: int, orders: list[np.ndarray]) -> np.ndarray:
    if axis is None:
        return np.arange(length)
    order = orders[axis.neurons]
    return order if axis.each == 1 else (order[:, None] * axis.each + np.arange(axis.each)).ravel()


def wire(layout: Layout) -> Wiring:
    """Follow the layers from the inputs to the outputs.

    Kernels are taken in the vector's order, each reading the one before it. Residual blocks are known by the layers called
    ``skip``, ``shortcut`` or ``downsample`` in one of them: what its last kernel gives is added to what the shortcut gives,
    or to what the block was given; blocks of the same name but for its numbers are residual too. A fan-in that is a multiple of
    the neurons before it is a flattened map, channel by channel; a fan-in of one after several is a depthwise convolution.

    Raises:
        MetanetError: a tensor does not fit what lies before it; the message names both.
    """
    return _Walk(layout).wiring()


class _Walk:
    """The state of :func:`wire`: stages, whose neurons are joined to kinds where a residual connection adds them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.sizes: list[int] = []
        self.parents: list[int] = []
        self.outputs: dict[str, int] = {}  # the stage of each layer with a kernel
        self.edges: list[Edge] = []  # their kinds are stages still
        self.added: list[tuple[int, int]] = []
        self.axes: dict[str, tuple[Axis | None, ...]] = {}
        kernels = [t for t in layout.tensors if t.kind == "kernel"]
        if not kernels:
            raise MetanetError(f"the layers {', '.join(layout.layers)} have no kernel, so nothing says how they are connected")
        families = {_family(block) for t in kernels if (block := _shortcut_block(t.layer)) is not None}
        self.stream = self.inputs = self._new(self._shape(kernels[0])[1])
        self.before = "the inputs"
        block, entry, added = None, self.stream, None
        for t in kernels:
            own = _block(t.layer, families)
            if own != block:
                self._close(block, entry, added)
                block, entry, added = own, self.stream, None
            if _shortcut_block(t.layer) is not None:
                added = self._read(t, entry)
            else:
                self.stream = self._read(t, self.stream)
                self.before = f"'{t.name}'"
        self._close(block, entry, added)
        for t, owner in zip(layout.tensors, layout.owners, strict=True):
            if t.kind != "kernel":
                neurons = self.outputs[owner]
                if t.shape != (self.sizes[neurons],):
                    raise MetanetError(
                        f"the tensor '{t.name}' of shape {t.shape} does not fit the {self.sizes[neurons]} outputs of "
                        f"'{owner}', which it follows; a layout gives each layer's vectors after its kernel"
                    )
                self.axes[t.name] = (Axis(neurons),)

    def _shape(self, t: TensorSpec) -> tuple[int, ...]:
        if len(t.shape) < 2:
            raise MetanetError(
                f"the tensor '{t.name}' of shape {t.shape} is called a kernel; one has (out, in) axes and perhaps sides"
            )
        return t.shape

    def _new(self, size: int) -> int:
        self.sizes.append(size)
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def _root(self, neurons: int) -> int:
        while self.parents[neurons] != neurons:
            neurons = self.parents[neurons]
        return neurons

    def _read(self, t: TensorSpec, source: int) -> int:
        """Connect a kernel to the neurons that it reads; returns those that it gives."""
        outputs, fan_in, *sides = self._shape(t)
        before = self.sizes[source]
        depthwise = fan_in == 1 and before > 1 and outputs == before and bool(sides)
        if not depthwise and (fan_in % before or (fan_in != before and sides)):
            raise MetanetError(
                f"the tensor '{t.name}' of shape {t.shape} reads {fan_in} values, which does not fit the {before} neurons of "
                f"{self.before} before it; known are layers in a row, and residual blocks whose shortcuts are called "
                f"{', '.join(sorted(SHORTCUTS))}"
            )
        target, each = self._new(outputs), 1 if depthwise else fan_in // before
        if depthwise:
            self._join(source, target)
        self.outputs[t.layer] = target
        self.axes[t.name] = (Axis(target), None if depthwise else Axis(source, each), *(None for _ in sides))
        self.edges.append(Edge(t, source, target, source, target, each, depthwise))
        return target

    def _join(self, one: int, other: int) -> None:
        self.parents[self._root(other)] = self._root(one)

    def _close(self, block: str | None, entry: int, added: int | None) -> None:
        """Join what a residual block gives with what is added to it."""
        if block is None:
            return
        other = entry if added is None else added
        if self.sizes[other] != self.sizes[self.stream]:
            raise MetanetError(
                f"the block '{block}' gives {self.sizes[self.stream]} values, to which {self.sizes[other]} cannot be added; "
                f"a shortcut's kernel is missing from the layout (one called {', '.join(sorted(SHORTCUTS))})"
            )
        self._join(other, self.stream)
        self.added.append((other, self.stream))

    def wiring(self) -> Wiring:
        """What was found, kinds numbered from the inputs on."""
        roots = [self._root(i) for i in range(len(self.sizes))]
        numbers = {root: i for i, root in enumerate(dict.fromkeys(roots))}
        fixed = {roots[self.inputs], roots[self.stream]}
        kinds = tuple(numbers[root] for root in roots)
        return Wiring(
            self.layout,
            sizes=tuple(self.sizes[root] for root in numbers),
            hidden=tuple(root not in fixed for root in numbers),
            axes=tuple(tuple(a and Axis(kinds[a.neurons], a.each) for a in self.axes[t.name]) for t in self.layout.tensors),
            stages=kinds,
            edges=tuple(replace(e, source=kinds[e.source], target=kinds[e.target]) for e in self.edges),
            added=tuple(self.added),
        )


def _shortcut_block(layer: str) -> str | None:
    """The block that a shortcut's layer belongs to, None for any other layer."""
    parts = layer.split(".")
    at = next((i for i, part in enumerate(parts) if part in SHORTCUTS), None)
    return None if at is None else ".".join(parts[:at])


def _family(block: str) -> str:
    return re.sub(r"\d+", "#", block)


def _block(layer: str, families: set[str]) -> str | None:
    parts = layer.split(".")
    prefixes = (".".join(parts[:n]) for n in range(1, len(parts)))
    return next((prefix for prefix in prefixes if _family(prefix) in families), None)
