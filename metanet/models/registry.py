"""The registry of meta-models: names for the command line, and files from outside the package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from metanet.config_files import options
from metanet.errors import MetanetError
from metanet.models.base import MetaModel, check_settings, constructor_arguments
from metanet.plugins import absolute, is_path
from metanet.registry import Registry

# Models whose file has another name than they have; each other one is in the file of its name. A model is known by its YAML
# in configs/model and imported on first use, so that `import metanet` stays light.
FILES = {
    "svm_linear": "svm",
    "svm_rbf": "svm",
    "dmc_global": "dmc",
    "dmc_global_mini": "dmc",
    "dmc_local": "dmc",
    "dmc_local_mini": "dmc",
}


def _homes() -> dict[str, str]:
    return {name: f"{__package__}.{FILES.get(name, name)}" for name in options("model")}


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and (issubclass(found, MetaModel) or _is_module(found))


def _is_module(found: type) -> bool:
    """Whether a class is a plain ``nn.Module``; nothing is one while torch is not loaded."""
    return "torch" in sys.modules and issubclass(found, sys.modules["torch"].nn.Module)


MODELS: Registry[type[MetaModel]] = Registry(
    "model", _homes, _is_model, "meta-model; make it a subclass of metanet.models.MatrixModel or MetaModel, or an nn.Module"
)


def list_models() -> list[str]:
    """Names that ``model=`` takes.

    Examples:
        >>> import metanet
        >>> [name for name in metanet.list_models() if name.startswith("dmc")]
        ['dmc_global', 'dmc_global_mini', 'dmc_local', 'dmc_local_mini']
    """
    return MODELS.names()


def model_class(name: str) -> type[MetaModel]:
    """The class of a name in :data:`MODELS` or of ``FILE.py:CLASS``.

    Raises:
        MetanetError: there is no such name or file, or it is no meta-model.
    """
    cls = MODELS.find(name)
    if _is_module(cls):
        from metanet.models.adapter import adapted

        cls = adapted(cls)  # type: ignore[arg-type]
    if is_path(name):
        cls.source = absolute(name)  # type: ignore[attr-defined]
    return cls


def titled(title: str) -> tuple[str, dict[str, Any]]:
    """``MODEL`` or ``MODEL:FEATURES`` -> a model's name and settings; what takes no features reads them beside its own input.

    Raises:
        MetanetError: the model takes no features.
    """
    parts = title.split(":")
    count = 2 if is_path(":".join(parts[:2])) else 1
    name, features = ":".join(parts[:count]), ":".join(parts[count:])
    cls = model_class(name)
    if not features:
        return name, {}
    if cls.own_input is None:
        return name, {"features": features}
    if "beside" not in constructor_arguments(cls):
        raise MetanetError(f"{title}: {name} reads {cls.own_input} and takes no features such as '{features}'")
    return name, {"beside": features}


def create_model(name: str, **settings: Any) -> MetaModel:
    """A meta-model that is not fitted yet.

    Args:
        name: see :func:`list_models`, or ``./mine.py:MyModel``.
        settings: ``features``, ``seed``, ``threads`` and what the class itself takes.

    Examples:
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> model = metanet.create_model("gbm", features="norms_l2", max_trees=5).fit(zoo.view())
        >>> model.predict(zoo.view()).shape
        (40,)
    """
    cls = model_class(name)
    check_settings(cls, settings)
    return cls(**settings)


def load_model(folder: str | Path, threads: int = 1) -> MetaModel:
    """A fitted meta-model from the folder that its ``save`` wrote.

    Raises:
        MetanetError: the folder holds no meta-model that this version reads.

    Examples:
        >>> import tempfile
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> model = metanet.create_model("gbm", features="norms_l2", max_trees=5).fit(zoo.view())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder)
        ...     again = metanet.load_model(folder)
        >>> bool((again.predict(zoo.view()) == model.predict(zoo.view())).all())
        True
    """
    folder = Path(folder).expanduser()
    path = folder / "model.json"
    try:
        name = json.loads(path.read_text())["model"]
    except (OSError, ValueError, KeyError) as error:
        raise MetanetError(f"'{folder}' holds no meta-model ({error}); give the model folder of a run") from None
    try:
        return model_class(name).load(folder, threads)
    except (KeyError, TypeError, RuntimeError) as error:  # other settings or tensors than this version has
        raise MetanetError(
            f"'{folder}' cannot be read: it was fitted by another version of metanet, or is damaged "
            f"({str(error).splitlines()[0]}); fit it again, for example with metanet train from=RUN"
        ) from error
