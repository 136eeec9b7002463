"""scikit-learn's habits: plain ``X, y``, parameters, clones, class probabilities, and a representation that can be read.

A model on features takes any matrix (N, F) and reads its columns as they are; what reads weights itself takes weight vectors
(N, D) and their ``layout``. A vector ``y`` of floating-point numbers is a regression; integers, booleans and text are classes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View

if TYPE_CHECKING:
    from metanet.models.target import Target

Y = "y"  # the column that a plain y becomes


class Tabular:
    """What every meta-model has of an estimator of scikit-learn.

    Attributes:
        layout: of the vectors that a plain ``X`` holds; of a model on features, its columns.
        labels: classes as they were given, by the text that stands for them; empty for a regression.
    """

    own_input: ClassVar[str | None]
    target: Target
    layout: Layout | None = None
    labels: dict[str, Any] | None = None

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "fit" in vars(cls):
            cls.fit = _taking_arrays(vars(cls)["fit"])  # type: ignore[attr-defined]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name; ``deep`` changes nothing, for none is an estimator."""
        return {name: getattr(self, name) for name in self._arguments()}

    def set_params(self, **params: Any) -> Any:
        """Change settings; what was fitted with others is no longer there. Returns the model.

        Raises:
            MetanetError: there is no such setting, or not with such a value.
        """
        for name in params:
            if name not in self._arguments():
                known = did_you_mean(name, self._arguments())
                raise MetanetError(f"model {type(self).__name__} has no setting '{name}'{known}")
        fresh = type(self)(**self.get_params() | params)
        self.__dict__.clear()
        self.__dict__.update(fresh.__dict__)
        return self

    def __repr__(self) -> str:
        defaults = self._arguments()
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name].default]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _arguments(self) -> dict[str, Any]:
        from metanet.models.base import constructor_arguments

        known = constructor_arguments(type(self))
        return {name: p for name, p in known.items() if name != "features" or self.own_input is None}

    def networks_of(self, networks: View | np.ndarray) -> View:
        """A view as it is; a matrix (N, F) of the columns, or (N, D) of the vectors, that the model was fitted on, as a view.

        Raises:
            MetanetError: the matrix has other columns, or the vectors' layout is not known.
        """
        if isinstance(networks, View):
            return networks
        x = _matrix(networks)
        layout = _columns(x.shape[1]) if self.own_input is None and self.layout is None else self.layout
        if layout is None:
            raise MetanetError(f"{self!r} was fitted on networks of a zoo; give it a view, or set its layout for plain vectors")
        if x.shape[1] != layout.size:
            raise MetanetError(f"X has {x.shape[1]} columns, the model was fitted on {layout.size}")
        return _view(x, layout, None)

    def labelled(self, predicted: np.ndarray) -> np.ndarray:
        """Predictions in the words of the ``y`` that was given."""
        if not self.labels:
            return predicted
        return np.array([self.labels[word] for word in predicted.tolist()])

    @property
    def classes_(self) -> np.ndarray:
        """The classes in the order of :meth:`predict_proba`'s columns, shape (C,).

        Raises:
            MetanetError: the model predicts numbers.
        """
        if not self.target.classes:
            raise MetanetError(f"{self!r} predicts {self.target.name}, a number; only categories have classes")
        return self.labelled(np.array(self.target.classes))

    def predict_proba(self, networks: View | np.ndarray) -> np.ndarray:
        """Class probabilities (N, C), columns as in :attr:`classes_`.

        Raises:
            MetanetError: the model predicts numbers.
        """
        assert len(self.classes_)
        return self.output(self.networks_of(networks))  # type: ignore[attr-defined]


def _taking_arrays(fit: Any) -> Any:
    """A ``fit`` of views that takes ``X, y`` too."""

    @functools.wraps(fit)
    def wrapped(
        self: Any, train: Any, target: Any = "test_accuracy", validation: Any = None, layout: Layout | None = None
    ) -> Any:
        if isinstance(train, View):
            if layout is not None:
                raise MetanetError("layout= goes with plain vectors; a view knows its own")
            self.layout = self.labels = None
            return fit(self, train, target, validation)
        view, layout, labels = _training_view(self, train, target, layout)
        held_out = None if validation is None else _training_view(self, validation[0], validation[1], layout)[0]
        features = self.features
        if self.own_input is None:
            self.features = "flat"
        try:
            fitted = fit(self, view, Y, held_out)
        finally:
            self.features = features
        self.layout, self.labels = layout, labels  # last: a fit within the fit was of a view
        return fitted

    return wrapped


def _training_view(model: Tabular, x: Any, y: Any, layout: Layout | None) -> tuple[View, Layout, dict[str, Any]]:
    if isinstance(y, str):
        raise MetanetError(f"fit(X, y): target={y} names a column of a zoo; with a plain X give y, an array of its N values")
    x, y = _matrix(x), np.asarray(y)
    if y.shape != (len(x),):
        raise MetanetError(f"fit(X, y): y has shape {y.shape}; X has {len(x)} rows, so ({len(x)},) is wanted")
    if layout is None:
        if model.own_input is not None:
            raise MetanetError(
                f"{model!r} reads {model.own_input} of networks, and X does not say what its {x.shape[1]} values are; give "
                "layout=, such as metanet.Layout.from_module(network)"
            )
        layout = _columns(x.shape[1])
    if x.shape[1] != layout.size:
        raise MetanetError(f"fit(X, y): X has {x.shape[1]} columns, its layout has {layout.size} values")
    labels = {} if y.dtype.kind == "f" else {str(value): value for value in np.unique(y).tolist()}
    return _view(x, layout, y if y.dtype.kind == "f" else np.array([str(value) for value in y.tolist()])), layout, labels


def _matrix(x: Any) -> np.ndarray:
    try:
        values = np.asarray(x, np.float32)
    except (TypeError, ValueError) as error:
        raise MetanetError(f"X is no matrix of numbers: {str(error).splitlines()[0]}") from None
    if values.ndim != 2 or not values.size:
        raise MetanetError(f"X has shape {values.shape}; a matrix (N, F) of at least one row and column is wanted")
    return values


def _columns(count: int) -> Layout:
    """The layout of a plain matrix: one row of values."""
    return Layout.build([("x", "x", "kernel", (1, count))])


def _view(x: np.ndarray, layout: Layout, y: np.ndarray | None) -> View:
    frame = pd.DataFrame(index=range(len(x))) if y is None else pd.DataFrame({Y: y})
    return zoo_from_arrays(x, layout, frame, "X").view(epoch="all", status=None)
