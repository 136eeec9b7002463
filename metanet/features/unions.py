"""Features: what a meta-model reads, named on the command line and fitted on the training part.

stats                    seven statistics of each layer, kernel and bias apart (56)
stats_global             seven statistics of the whole vector
stats:conv1+dense        of some layers; ``first`` and ``last`` name the ends
flat, flat:conv1         the weights
norms_l1, norms_l2       norms of each layer, kernel and bias apart (8)
measures                 16 measures of every kind of weight of each layer with batch normalisation, else of all layers
measures_global          16 measures of the whole vector (Eilertsen et al. 2020)
neurons                  distributions over each layer's neurons: norms, biases, cosines; no order of neurons changes them
spectra                  singular values of each layer's kernel
products                 spectra and entries of products of neighbouring layers, and of all
probe, probe:16          what networks answer to 64, or 16, fixed images of noise (access F); probe:outputs for any architecture,
                         probe:blind where the activation is not known
hyper                    all hyperparameters that vary; hyper:learning_rate for some
hyper_paper              the seven of Unterthiner et al.'s released code
metrics:test_accuracy    measured columns (for floors)
stats+norms_l2           unions
./mine.py:my_features    your function (weights, layout) -> (array, names)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metanet.errors import MetanetError, did_you_mean
from metanet.features.hyper import HYPER_PAPER, HyperEncoder
from metanet.plugins import absolute, is_path
from metanet.registry import Registry
from metanet.zoo.zoo import View

WEIGHT_FEATURES = {
    "stats": "metanet.representations.statistics:layer_statistics",
    "stats_global": "metanet.representations.statistics:global_statistics",
    "flat": "metanet.representations.flat:flat",
    "norms_l1": "metanet.representations.norms:norms_l1",
    "norms_l2": "metanet.representations.norms:norms_l2",
    "measures": "metanet.representations.measures:layer_measures",
    "measures_global": "metanet.representations.measures:global_measures",
    "neurons": "metanet.representations.neurons:neurons",
    "spectra": "metanet.representations.spectra:spectra",
    "products": "metanet.representations.products:products",
}
FRAME_FEATURES = {
    "hyper": "metanet.features.hyper:HyperEncoder",
    "hyper_paper": "metanet.features.hyper:HyperEncoder",
    "metrics": "metanet.features.unions:measured",
}
RESPONSE_FEATURES = {"probe": "metanet.features.responses:probe"}  # of networks that are run, not read
FEATURES: Registry[Callable[..., Any]] = Registry(
    "features",
    lambda: WEIGHT_FEATURES | FRAME_FEATURES | RESPONSE_FEATURES,
    callable,
    "function (weights, layout) -> (array, names)",
)


def list_features() -> list[str]:
    """Names that ``features=`` takes, alone or joined by ``+``.

    Examples:
        >>> import metanet
        >>> [name for name in metanet.list_features() if name.startswith("stats")]
        ['stats', 'stats_global']
    """
    return FEATURES.names()


def measured(view: View, columns: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Columns of a view's frame as they are, (N, F), and their names."""
    return np.stack([view.target(c).astype(np.float64) for c in columns], axis=1), list(columns)


@dataclass
class _Part:
    """One member of a union: a name and its arguments, with what was fitted."""

    name: str
    arguments: tuple[str, ...]
    encoder: HyperEncoder | None = None

    @property
    def access(self) -> str:
        """W weights, H hyperparameters, D measurements on real images, F forward passes on images that no data set gave."""
        return {"hyper": "H", "hyper_paper": "H", "metrics": "D", "probe": "F"}.get(self.name, "W")


def parse(spec: str | list[str]) -> list[_Part]:
    """``stats:first+last+hyper`` -> parts; a word that names no feature belongs to the list before it.

    Raises:
        MetanetError: the text names no features.
    """
    if not isinstance(spec, str) and not (isinstance(spec, list) and spec and all(isinstance(s, str) for s in spec)):
        raise MetanetError(f"features '{spec}' are no name and no list of names; choose from: {', '.join(list_features())}")
    text = "+".join(spec) if isinstance(spec, list) else spec
    parts: list[_Part] = []
    for word in text.split("+"):
        if is_path(word):
            parts.append(_Part(absolute(word), ()))
            continue
        name, _, argument = word.strip().partition(":")
        if name in FEATURES:
            if argument and name == "hyper_paper":
                raise MetanetError(f"features={word}: hyper_paper takes no names; use hyper:{argument}")
            parts.append(_Part(name, (argument,) if argument else ()))
        elif parts and parts[-1].arguments and not argument:
            parts[-1].arguments += (name,)
        else:
            raise MetanetError(f"no features '{name}'{did_you_mean(name, list_features())}")
    return parts


@dataclass
class FeatureMap:
    """Views -> matrices: a union of representations, with the encoders that were fitted on the training part.

    Attributes:
        spec: the features by name.
        names: of the F columns, set by :meth:`fit`.
    """

    spec: str | list[str]
    threads: int = 1
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = parse(self.spec)

    @property
    def access(self) -> str:
        """Access level of the union, e.g. ``W`` or ``H+W``."""
        return "+".join(sorted({part.access for part in self.parts}))

    @property
    def reads_weights(self) -> bool:
        """True unless all parts come from the frame."""
        return any(part.name not in FRAME_FEATURES for part in self.parts)

    def fit(self, view: View, target: str | None = None) -> FeatureMap:
        """Fit the encoders; ``target`` is never among the inputs.

        Raises:
            MetanetError: the features hold the target itself, or nothing beside it.
        """
        for part in self.parts:
            if part.name in ("hyper", "hyper_paper"):
                names = HYPER_PAPER if part.name == "hyper_paper" else part.arguments
                hidden = {target.removeprefix("hp.")} if target else set()
                part.encoder = HyperEncoder(names, hidden).fit(view.frame, view.zoo.columns)
            if part.name == "metrics" and (not part.arguments or target in part.arguments):
                raise MetanetError(f"features=metrics:... needs columns other than the target '{target}'")
            for column in part.arguments if part.name == "metrics" and target else ():
                if np.array_equal(view.target(column), view.target(str(target))):
                    raise MetanetError(
                        f"features=metrics:{column} is the target '{target}' itself in this view; take an earlier snapshot, "
                        "for example view.epoch=1"
                    )
        self.check_target(target)
        _, self.names = self._compute(view.take([0]))
        return self

    def check_target(self, target: str | None) -> None:
        """Refuse features that are made with what is to be predicted: answers of networks run with their own activation.

        Raises:
            MetanetError: the features read the target.
        """
        if target == "hp.activation" and any(p.name in RESPONSE_FEATURES and "blind" not in p.arguments for p in self.parts):
            raise MetanetError(
                f"features={self.spec} runs every network with its activation, which is the target; give probe:blind, which runs "
                "all with each"
            )

    def transform(self, view: View) -> np.ndarray:
        """Float array of shape (N, F), columns as in :attr:`names`.

        Raises:
            MetanetError: the zoo gives other columns than those that were fitted.
        """
        matrix, names = self._compute(view)
        if names != self.names and sorted(names) == sorted(self.names):
            column = {name: i for i, name in enumerate(names)}  # the same tensors in another order, as in released zoos
            return matrix[:, [column[name] for name in self.names]]
        if names != self.names:
            raise MetanetError(
                f"features={self.spec} gives {len(names)} columns for this zoo and gave {len(self.names)} in training: "
                "the architectures differ; take features that do not depend on the architecture, such as stats_global"
            )
        return matrix

    def _compute(self, view: View) -> tuple[np.ndarray, list[str]]:
        if not self.reads_weights:
            return self._frame_and_weights(view, None, None)
        pieces, names = [], None
        order = []
        for layout, positions in view.by_layout():
            own = view.take(positions)
            matrix, own_names = self._frame_and_weights(own, own.weights(), layout)
            if names is not None and own_names != names:
                raise MetanetError(
                    f"features={self.spec} cannot go with this view: it mixes architectures, whose columns differ "
                    f"({len(names)} and {len(own_names)}); take features=stats_global or a view of one architecture"
                )
            names = own_names
            pieces.append(matrix)
            order.append(positions)
        if names is None:
            raise MetanetError("an empty view has no features")
        if len(pieces) == 1:
            return pieces[0], names
        return np.concatenate(pieces)[np.argsort(np.concatenate(order))], names

    def _frame_and_weights(self, view: View, weights: np.ndarray | None, layout: Any) -> tuple[np.ndarray, list[str]]:
        matrices, names = [], []
        for part in self.parts:
            if part.encoder is not None:
                matrix, own = part.encoder.transform(view.frame)
            elif part.name == "metrics":
                matrix, own = measured(view, part.arguments)
            elif part.name in RESPONSE_FEATURES:
                matrix, own = FEATURES.find(part.name)(view, weights, layout, part.arguments, self.threads)
            else:
                matrix, own = self._of_weights(part, weights, layout)
            matrices.append(matrix)
            names += own
        return matrices[0] if len(matrices) == 1 else np.concatenate(matrices, axis=1), names

    def _of_weights(self, part: _Part, weights: Any, layout: Any) -> tuple[np.ndarray, list[str]]:
        function = FEATURES.find(part.name)
        if part.name in WEIGHT_FEATURES:
            extra = {"threads": self.threads} if "threads" in inspect.signature(function).parameters else {}
            matrix, names = function(weights, layout, part.arguments, **extra)
            if broken := int((~np.isfinite(matrix).all(axis=1)).sum()):
                raise MetanetError(
                    f"features={self.spec}: {broken} of {len(matrix)} networks have weights that are not finite; give them the "
                    "status 'nan' in the frame of the zoo, and no view will hold them"
                )
            return matrix, names
        try:
            answer = function(weights, layout)
        except Exception as error:  # whatever the user's code raises, its name and message help most
            raise MetanetError(f"features={part.name} failed: {type(error).__name__}: {error}") from error
        try:
            matrix, own = answer
            matrix, own = np.asarray(matrix), [str(name) for name in own]
        except (TypeError, ValueError):
            raise MetanetError(f"features={part.name} must return (array, names)") from None
        if matrix.shape != (len(weights), len(own)):
            raise MetanetError(
                f"features={part.name} returned an array of shape {matrix.shape} and {len(own)} names for "
                f"{len(weights)} networks; expected ({len(weights)}, F) and F names"
            )
        return matrix, own

    def to_json(self) -> dict[str, Any]:
        """Plain values for :meth:`from_json`."""
        fitted = [p.encoder.columns if p.encoder else None for p in self.parts]
        # by absolute path, so that a model of one's own features is found from any folder
        spec = "+".join(":".join([p.name, "+".join(p.arguments)]) if p.arguments else p.name for p in self.parts)
        return {"spec": spec, "names": self.names, "fitted": fitted}

    @classmethod
    def from_json(cls, values: dict[str, Any], threads: int = 1) -> FeatureMap:
        """A fitted map from what :meth:`to_json` gave."""
        features = cls(values["spec"], threads, values["names"])
        for part, columns in zip(features.parts, values["fitted"], strict=True):
            if columns is not None:
                part.encoder = HyperEncoder()
                part.encoder.columns = columns
        return features
