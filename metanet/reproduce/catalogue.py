"""All tables and figures by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metanet.errors import MetanetError, did_you_mean
from metanet.plugins import is_path
from metanet.registry import Registry, entries
from metanet.reproduce.study import Exhibit, Study


@dataclass(frozen=True)
class Item:
    """One table or figure.

    Attributes:
        module, function: in ``metanet.reproduce``; (study, name) -> Exhibit.
        kind: of zoo that it needs, see :meth:`Study.zoos`; None for any.
        needs: what to grow where no such zoo was given.
        source: ``FILE.py:FUNCTION`` or the entry point of one of another package's.
    """

    module: str = ""
    function: str = ""
    kind: str | None = None
    needs: str = ""
    source: str = ""

    def make(self, study: Study, name: str) -> Exhibit:
        """The exhibit.

        Raises:
            MetanetError: no zoo fits.
        """
        if self.kind is not None and not study.zoos(self.kind):
            raise MetanetError(f"{name} needs {self.needs}")
        return EXHIBITS.find(self.source or name)(study, name)


_CNN = "a zoo of small CNNs: metanet generate recipe=small_cnn_mini data=mnist n=2000 out=zoos/mnist"
_MLP = "a zoo of MLPs: metanet generate recipe=mlp data=mnist n=1000 out=zoos/mnist_mlp"
_RESNET = "a zoo of another architecture: metanet generate recipe=resnet_mini data=cifar10_gs n=null out=zoos/resnet"
_NWS = "a zoo of the neural weight space: metanet generate recipe=nws_main_mini data=[mnist,digits,cifar10] n=300 out=zoos/nws"
_SEEDS = "a zoo of many seeds: metanet generate recipe=small_cnn_seeds data=mnist n=2000 seed=1 out=zoos/seeds"
_SHARED = (
    "zoos of small CNNs of the same hyperparameters that share other things: metanet generate recipe=small_cnn data=digits "
    "n=1000 recipe.epochs=20 recipe.batch_size=64 recipe.share=[] out=zoos/own, the same with recipe.share=[init] out=zoos/init, "
    "recipe.share=[dropout] out=zoos/dropout, recipe.share=[init,dropout] out=zoos/one, and that with recipe.share_seed=43 "
    "out=zoos/one_43"
)

ITEMS = {
    "table1": Item("inputs", "estimators_by_input", "cnn", _CNN),
    "table2": Item("inputs", "inputs_by_zoo", "cnn", _CNN),
    "table3": Item("transfer", "transfer_tau", "cnn", _CNN),
    "table4": Item("transfer", "other_architectures", "other", _RESNET),
    "table5": Item("inputs", "all_r2", "cnn", _CNN),
    "table6": Item("inputs", "all_mse", "cnn", _CNN),
    "table7": Item("inputs", "more_r2", "cnn", _CNN),
    "table8": Item("inputs", "more_mse", "cnn", _CNN),
    "table9": Item("inspection", "sensitivity_table", "cnn", _CNN),
    "table10": Item("mlps", "within_sizes", "mlp", _MLP),
    "table11": Item("mlps", "across_sizes", "mlp", _MLP),
    "fig2": Item("distributions", "accuracies", "cnn", _CNN),
    "fig3": Item("distributions", "bias_range_figure", "cnn", _CNN),
    "fig4": Item("transfer", "transfer_pairs", "cnn", _CNN),
    "fig5": Item("inspection", "importance_figure", "cnn", _CNN),
    "fig6": Item("transfer", "transfer_grid", "cnn", _CNN),
    "seeds": Item("beyond", "within_configurations", "seeds", _SEEDS),
    "early": Item("beyond", "early_prediction", "cnn", _CNN),
    "curve": Item("beyond", "learning_curve", "cnn", _CNN),
}
# Of Eilertsen et al. 2020.
NWS_ITEMS = {
    "nws_fig1": Item("neural_weight_space.regression", "regression", "nws", _NWS),
    "nws_fig6": Item("neural_weight_space.accuracies", "sizes_and_times", "nws", _NWS),
    "nws_fig7": Item("neural_weight_space.accuracies", "training_curves", "nws", _NWS),
    "nws_fig8": Item("neural_weight_space.accuracies", "accuracy_modes", "nws", _NWS),
    "nws_fig9": Item("neural_weight_space.pairs", "initialiser_and_activation", "nws", _NWS),
    "nws_fig10": Item("neural_weight_space.pairs", "initialiser_and_optimizer", "nws", _NWS),
    "nws_fig11": Item("neural_weight_space.pairs", "initialiser_and_augmentation", "nws", _NWS),
    "nws_fig12": Item("neural_weight_space.pairs", "activation_and_optimizer", "nws", _NWS),
    "nws_fig13": Item("neural_weight_space.embedding", "embedding", "nws", _NWS),
    "nws_fig14": Item("neural_weight_space.regression", "regression", "nws", _NWS),
    "nws_fig15": Item("neural_weight_space.regression", "regression", "nws", _NWS),
}
_FIXED = (
    "a zoo of its fixed architecture: metanet generate recipe=nws_fixed_mini data=[mnist,digits,cifar10] n=300 out=zoos/nws_fixed"
)
# Its meta-classifiers.
META_ITEMS = {
    "nws_fig2": Item("meta_classification.whole", "global_bars", "nws_fixed", _FIXED),
    "nws_fig3": Item("meta_classification.whole", "coefficient_norms", "nws_fixed", _FIXED),
    "nws_fig4": Item("meta_classification.slices", "local_bars", "nws", _NWS),
    "nws_fig5": Item("meta_classification.slices", "maps", "nws", _NWS),
    "nws_fig16": Item("meta_classification.whole", "coefficient_norms", "nws_fixed", _FIXED),
    "nws_fig17": Item("meta_classification.slices", "slice_coefficient_norms", "nws", _NWS),
    "nws_fig18": Item("meta_classification.slices", "subset_sizes", "nws", _NWS),
    "nws_fig19": Item("meta_classification.batch_norm", "batch_norm", "nws_fixed", _FIXED),
    "nws_fig20": Item("meta_classification.slices", "maps", "nws", _NWS),
    "nws_fig21": Item("meta_classification.slices", "maps", "nws", _NWS),
    "nws_votes": Item("meta_classification.slices", "votes", "nws", _NWS),
}
# Beyond both: one seed for all networks, or one of its own for each.
SEED_ITEMS = {"seed": Item("sharing", "seed_table", "cnn", _SHARED)}
# And encoders of raw weights.
ENCODER_ITEMS = {
    "encoder_table": Item("encoders", "encoder_table", "cnn", _CNN),
    "generalisation": Item("generalisation", "generalisation", "cnn", _CNN),
}
KNOWN = ITEMS | NWS_ITEMS | META_ITEMS | SEED_ITEMS | ENCODER_ITEMS
EXHIBITS: Registry[Callable[[Study, str], Exhibit]] = Registry(
    "exhibit",
    lambda: {name: f"{__package__}.{item.module}:{item.function}" for name, item in KNOWN.items()},
    callable,
    "function (study, name) -> metanet.reproduce.study.Exhibit",
)


def items(name: str) -> dict[str, Item]:
    """The item of a name or of ``FILE.py:FUNCTION``; ``all`` of Unterthiner et al., ``nws`` and ``meta`` of Eilertsen et al.,
    ``encoders``.

    ``seed`` is in none of these, for it needs zoos of its own.

    Raises:
        MetanetError: there is no such item.
    """
    if name == "all":
        return ITEMS
    if name == "nws":
        return {key: item for key, item in NWS_ITEMS.items() if key not in ("nws_fig14", "nws_fig15")}
    if name == "meta":
        return META_ITEMS
    if name == "encoders":
        return ENCODER_ITEMS
    if is_path(name) or name in entries(EXHIBITS.kind):
        EXHIBITS.find(name)  # a mistake is found before anything is fitted
        return {name.rpartition(":")[2]: Item(source=name)}
    if name not in KNOWN:
        raise MetanetError(f"no table or figure '{name}'{did_you_mean(name, [*KNOWN, 'all', 'nws', 'meta', 'encoders'])}")
    return {name: KNOWN[name]}
