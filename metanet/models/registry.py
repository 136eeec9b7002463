"""The registry of meta-models: names for the command line, and files from outside the package."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from metanet.errors import MetanetError, did_you_mean
from metanet.models.base import MetaModel, check_settings
from metanet.plugins import absolute, is_path, load_object

# name -> module and class; imported on first use, so that `import metanet` stays light
MODELS = {
    "constant": ("metanet.models.constant", "Constant"),
    "logit_linear": ("metanet.models.logit_linear", "LogitLinear"),
    "gbm": ("metanet.models.gbm", "GBM"),
    "dnn": ("metanet.models.dnn", "DNN"),
    "stat_net": ("metanet.models.stat_net", "StatNet"),
    "nf_invariant": ("metanet.models.nf_invariant", "NFInvariant"),
    "gnn": ("metanet.models.gnn", "GNN"),
    "graph_transformer": ("metanet.models.graph_transformer", "GraphTransformer"),
    "probe_net": ("metanet.models.probe_net", "ProbeNet"),
    "stack": ("metanet.models.stack", "Stack"),
    "deepsets": ("metanet.models.deepsets", "DeepSets"),
    "random_forest": ("metanet.models.random_forest", "RandomForest"),
    "svm_linear": ("metanet.models.svm", "SVMLinear"),
    "svm_rbf": ("metanet.models.svm", "SVMRBF"),
    "logistic": ("metanet.models.logistic", "Logistic"),
    "local": ("metanet.models.local", "Local"),
    "dmc_global": ("metanet.models.dmc", "DMCGlobal"),
    "dmc_global_mini": ("metanet.models.dmc", "DMCGlobalMini"),
    "dmc_local": ("metanet.models.dmc", "DMCLocal"),
    "dmc_local_mini": ("metanet.models.dmc", "DMCLocalMini"),
}


def list_models() -> list[str]:
    """Names that ``model=`` takes."""
    return sorted(MODELS)


def model_class(name: str) -> type[MetaModel]:
    """The class of a registered name or of ``FILE.py:CLASS``."""
    if is_path(name):
        cls = load_object(name)
        if not (isinstance(cls, type) and issubclass(cls, MetaModel)):
            raise MetanetError(f"model={name} is no meta-model; make it a subclass of metanet.models.MatrixModel or MetaModel")
        cls.source = absolute(name)  # type: ignore[attr-defined]
        return cls
    if name not in MODELS:
        raise MetanetError(f"no model '{name}'{did_you_mean(name, MODELS)}")
    module, attribute = MODELS[name]
    return getattr(importlib.import_module(module), attribute)


def create_model(name: str, **settings: Any) -> MetaModel:
    """A meta-model that is not fitted yet.

    Args:
        name: see :func:`list_models`, or ``./mine.py:MyModel``.
        settings: ``features``, ``seed``, ``threads`` and what the class itself takes.
    """
    cls = model_class(name)
    check_settings(cls, settings)
    return cls(**settings)


def load_model(folder: str | Path, threads: int = 1) -> MetaModel:
    """A fitted meta-model from the folder that its ``save`` wrote."""
    folder = Path(folder).expanduser()
    path = folder / "model.json"
    try:
        name = json.loads(path.read_text())["model"]
    except (OSError, ValueError, KeyError) as error:
        raise MetanetError(f"'{folder}' holds no meta-model ({error}); give the model folder of a run") from None
    return model_class(name).load(folder, threads)
