"""Released files of the neural weight space, written here by other code than reads them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.formats import import_zoo, nws
from metanet.generation.nws import NWSNetwork
from metanet.zoo import build

META = {
    **{"dataset": "Fashion-MNIST", "lrate": 0.0013, "batch_size": 64, "batch_norm": 1, "augmentation": 0, "optimizer": 2},
    **{"activation": 1, "initialization": 3, "filter_size": 3, "depth_conv": 4, "depth_fc": 2, "width_conv": 4, "width_fc": 64},
}


def values_in_released_order(module: nn.Module, side: int) -> list[float]:
    """Variables in creation order, kernels filter by filter, the first fully connected layer's inputs as (h, w, c)."""
    out: list[float] = []
    children = dict(module.named_children())
    first = True
    for name, layer in children.items():
        if isinstance(layer, nn.Conv2d):
            for o in range(layer.out_channels):
                for i in range(layer.in_channels):
                    out += layer.weight[o, i].flatten().tolist()
            out += layer.bias.tolist()
        elif isinstance(layer, nn.Linear):
            for o in range(layer.out_features):
                row = layer.weight[o].tolist()
                if first:
                    channels = layer.in_features // side**2
                    row = [row[c * side * side + h * side + w] for h in range(side) for w in range(side) for c in range(channels)]
                out += row
            first = False
            out += layer.bias.tolist()
        norm = children.get(f"{name}_norm")
        if norm is not None:
            out += norm.bias.tolist() + norm.weight.tolist() + norm.running_mean.tolist() + norm.running_var.tolist()
    return out


def write_run(folder: Path, evaluations: int = 33, snapshots: int = 20, **changes: Any) -> list[nn.Module]:
    meta = META | changes
    network = NWSNetwork(
        (32, 32, 3), meta["filter_size"], meta["depth_conv"], meta["depth_fc"], meta["width_conv"], meta["width_fc"],
        bool(meta["batch_norm"]),
    )  # fmt: skip
    (folder / "weights").mkdir(parents=True)
    (folder / "meta.csv").write_text(",".join(meta) + "\n" + ",".join(map(str, meta.values())) + "\n")
    modules = []
    for k in range(1, snapshots + 1):
        torch.manual_seed(k)
        module = network.module("elu").eval()
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand_like(tensor))
        values = values_in_released_order(module, 4)
        (folder / "weights" / f"{k:03d}.bin").write_bytes(struct.pack(f"<{len(values)}d", *values))
        modules.append(module)
    rows = [(10.0 * e, 90 - e, 91 - e, 92 - 2 * e, 91.5 - e) for e in range(evaluations)]
    (folder / "error.bin").write_bytes(struct.pack(f"<{5 * evaluations}d", *(v for row in rows for v in row)))
    (folder / "stat.bin").write_bytes(struct.pack("<4d", evaluations, 10 * evaluations, evaluations, 12.5))
    return modules


def test_imported_networks_compute_what_the_released_ones_did(tmp_path: Path) -> None:
    modules = write_run(tmp_path / "files" / "run_a")
    others = write_run(tmp_path / "files" / "run_b", dataset="cifar10", width_conv=8, depth_conv=3, batch_norm=0, evaluations=21)
    zoo = import_zoo("nws", tmp_path / "files", tmp_path / "zoo")
    assert len(zoo.networks) == 2
    assert len(zoo.snapshots) == 40
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for number, expected in (("000000", modules), ("000001", others)):
        view = zoo.view(epoch="all").of_networks([number])
        layout = view.layout
        for k in (0, len(expected) - 1):
            row = zoo.networks.set_index("network_id").loc[number]
            network = NWSNetwork((32, 32, 3), *(int(row[f"hp.{name}"]) for name in nws.ARCHITECTURE), bool(row["hp.batch_norm"]))
            module = network.module("elu").eval()
            state = layout.unflatten(torch.from_numpy(np.array(list(view.vectors())[k])))
            module.load_state_dict(state, strict=False)
            torch.testing.assert_close(module(images), expected[k](images), rtol=1e-4, atol=1e-4)


def test_hyperparameters_epochs_and_accuracies(tmp_path: Path) -> None:
    write_run(tmp_path / "files" / "a")
    zoo = import_zoo("nws", tmp_path / "files", tmp_path / "zoo")
    row = zoo.networks.iloc[0]
    assert {k: row[f"hp.{k}"] for k in ("dataset", "optimizer", "activation", "w_init", "batch_norm", "augmentation")} == {
        **{"dataset": "fashion_mnist", "optimizer": "momentum", "activation": "elu", "w_init": "glorot_normal"},
        **{"batch_norm": True, "augmentation": False},
    }
    assert (row["hp.learning_rate"], row["hp.conv_width"], row["seconds"], row["epochs_run"]) == (0.0013, 4, 12.5, 32)
    kept = [round(32 * k / 19) for k in range(20)]  # snapshot k's row is round(linspace(0, 32, 20))[k - 1]
    assert zoo.snapshots["epoch"].tolist() == kept
    np.testing.assert_allclose(zoo.snapshots["test_accuracy"], [(8 + 2 * e) / 100 for e in kept])
    np.testing.assert_allclose(zoo.snapshots["validation_accuracy"], [(9 + e) / 100 for e in kept])
    np.testing.assert_allclose(zoo.snapshots["progress"], np.array(kept) / 32)
    assert len(zoo.history) == 33
    assert len(zoo.view(converged=True)) == 1  # 72 % of Fashion-MNIST, above 50 %


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs of three snapshots in the place of twenty."""
    monkeypatch.setattr(nws, "EXPORTS", 3)
    return 3


def test_a_split_file_names_runs_and_checks_their_sizes(tmp_path: Path, few: int) -> None:
    write_run(tmp_path / "files" / "all" / "a", snapshots=few)
    write_run(tmp_path / "files" / "all" / "b", snapshots=few)
    conv = sum(o * i * 9 + 5 * o for o, i in ((4, 3), (8, 4), (16, 8), (16, 16)))
    fc = 16 * 16 * 64 + 5 * 64 + 64 * 32 + 5 * 32 + 32 * 20 + 20
    table = pd.DataFrame({"path": ["all/a", "all/b"], "weightn_conv": conv, "weightn_fc": fc})
    table.head(1).to_csv(tmp_path / "files" / "train.csv", index=False)
    table.tail(1).to_csv(tmp_path / "files" / "test.csv", index=False)
    zoo = import_zoo("nws", tmp_path / "files", tmp_path / "zoo")
    assert zoo.networks["released"].tolist() == ["train", "test"]
    table.assign(weightn_fc=fc + 1).to_csv(tmp_path / "files" / "train.csv", index=False)
    with pytest.raises(MetanetError, match=f"{fc} fully connected values by its meta.csv, {conv} and {fc + 1}"):
        import_zoo("nws", tmp_path / "files", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_many_runs_lie_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    for name in "abc":
        write_run(tmp_path / "files" / name, snapshots=few)
    whole = import_zoo("nws", tmp_path / "files", tmp_path / "one")
    monkeypatch.setattr(build, "SHARD_VALUES", 50_000)
    parts = import_zoo("nws", tmp_path / "files", tmp_path / "many")
    assert parts.snapshots["shard"].max() > 1
    assert np.array_equal(whole.view(epoch="all").weights(), parts.view(epoch="all").weights())


def spoil(folder: Path, what: str) -> None:
    if what == "short":
        path = folder / "weights" / "002.bin"
        path.write_bytes(path.read_bytes()[:-8])
    elif what == "torn":
        path = folder / "weights" / "002.bin"
        path.write_bytes(path.read_bytes()[:-3])
    elif what == "code":
        (folder / "meta.csv").write_text((folder / "meta.csv").read_text().replace("0.0013,64,1,0,2", "0.0013,64,1,0,7"))
    elif what == "depth":
        (folder / "meta.csv").write_text((folder / "meta.csv").read_text().replace(",4,2,4,64", ",6,2,4,64"))
    elif what == "stat":
        (folder / "stat.bin").write_bytes(struct.pack("<4d", 400, 1, 1, 1))
    elif what == "column":
        (folder / "meta.csv").write_text((folder / "meta.csv").read_text().replace("lrate", "rate"))
    elif what == "gap":
        (folder / "weights" / "002.bin").unlink()
    elif what == "set":
        (folder / "meta.csv").write_text((folder / "meta.csv").read_text().replace(META["dataset"], "imagenet"))
    elif what == "none":
        for path in (folder / "weights").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("short", "002.bin' has"), ("torn", "float64 numbers of eight"), ("code", "optimizer=7"), ("depth", "3, 4 or 5"),
        ("stat", "stat.bin says"), ("column", "no column 'lrate'"), ("none", "no weights/001.bin"),
        ("gap", "no weights/002.bin; a released run has 001 to 003"), ("set", "dataset=imagenet, which is no value"),
    ],
)  # fmt: skip
def test_damaged_files_are_one_line_and_leave_nothing(
    what: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], few: int
) -> None:
    write_run(tmp_path / "files" / "a", snapshots=few)
    spoil(tmp_path / "files" / "a", what)
    assert main(["import", "format=nws", f"source={tmp_path}/files", f"out={tmp_path}/zoo"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "zoo").exists()


def test_a_folder_without_runs_says_what_a_run_is(tmp_path: Path) -> None:
    with pytest.raises(MetanetError, match="no folder in it has"):
        import_zoo("nws", tmp_path, tmp_path / "zoo")
    with pytest.raises(MetanetError, match="is no folder"):
        import_zoo("nws", tmp_path / "not_there", tmp_path / "zoo")


@pytest.mark.parametrize("name", ["fashion", "Fashion-MNIST", "fashion_mnist"])
def test_fashion_mnist_by_any_name(name: str, tmp_path: Path, few: int) -> None:
    write_run(tmp_path / "files" / "a", snapshots=few, dataset=name)
    assert import_zoo("nws", tmp_path / "files", tmp_path / "zoo").networks["hp.dataset"].tolist() == ["fashion_mnist"]


def test_snapshots_that_are_not_finite_are_counted(tmp_path: Path, few: int) -> None:
    write_run(tmp_path / "files" / "a", snapshots=few)
    path = tmp_path / "files" / "a" / "weights" / "003.bin"
    path.write_bytes(struct.pack("<d", float("nan")) + path.read_bytes()[8:])
    zoo = import_zoo("nws", tmp_path / "files", tmp_path / "zoo")
    assert zoo.networks["status"].tolist() == ["nan"]
    assert len(zoo.snapshots) == 2
