"""Meta-models: one file each, one contract, a registry."""

from metanet.models.base import MatrixModel, MetaModel
from metanet.models.registry import create_model, list_models, load_model
from metanet.models.target import Target

__all__ = ["MatrixModel", "MetaModel", "Target", "create_model", "list_models", "load_model"]
