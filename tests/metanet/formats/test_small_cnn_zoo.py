"""The released format, read and written by a few independent lines of pandas and numpy."""

from __future__ import annotations

import ast
import errno
import gzip
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from metanet.cli.main import main
from metanet.data_modules.images import load_images, scale_pixels
from metanet.errors import MetanetError
from metanet.formats import export_zoo, import_zoo
from metanet.formats.image_counts import are_counts, images_of
from metanet.formats.released_layout import parse_layout
from metanet.formats.released_splits import permutation_split, read_permutation
from metanet.formats.small_cnn_zoo import FILES
from metanet.generation.networks import SmallCNN
from metanet.zoo import Layout, Zoo, open_zoo, zoo_from_arrays

# What RECIPES A.10 says of the files of 16 filters on grey images.
RELEASED_LAYOUT = [
    ("sequential/conv2d/bias:0", 0, 16, 16, "(16,)"),
    ("sequential/conv2d/kernel:0", 16, 160, 144, "(3, 3, 1, 16)"),
    ("sequential/conv2d_1/bias:0", 160, 176, 16, "(16,)"),
    ("sequential/conv2d_1/kernel:0", 176, 2480, 2304, "(3, 3, 16, 16)"),
    ("sequential/conv2d_2/bias:0", 2480, 2496, 16, "(16,)"),
    ("sequential/conv2d_2/kernel:0", 2496, 4800, 2304, "(3, 3, 16, 16)"),
    ("sequential/dense/bias:0", 4800, 4810, 10, "(10,)"),
    ("sequential/dense/kernel:0", 4810, 4970, 160, "(16, 10)"),
]
CONFIG = [
    *("activation", "b_init", "dataset", "dnn_architecture", "dropout", "epochs", "epochs_between_checkpoints", "init_std"),
    *("l2reg", "learning_rate", "num_layers", "num_units", "optimizer", "random_seed", "train_fraction", "w_init"),
]


@pytest.fixture(scope="module")
def exported(grown: Zoo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "files"
    assert export_zoo(grown, "small_cnn_zoo", folder) == (len(grown.snapshots), FILES)
    return folder


def test_exported_files_are_what_was_released(grown: Zoo, exported: Path) -> None:
    """Read by pandas and numpy alone, and run by numpy as the released kernels are meant: (kh, kw, in, out)."""
    layout = pd.read_csv(exported / "layout.csv")
    assert [tuple(row) for row in layout.itertuples(index=False)] == RELEASED_LAYOUT
    metrics = pd.read_csv(exported / "metrics.csv.gz", index_col=0)
    assert list(metrics.columns) == [
        *(f"config.{c}" for c in CONFIG),
        *("modeldir", "step", "test_accuracy", "test_loss", "train_accuracy", "train_loss"),
    ]
    assert (metrics.index == metrics["modeldir"] + "/permanent_ckpt-" + metrics["step"].astype(str)).all()
    assert set(metrics["config.w_init"]) <= {"glorot_normal", "he_normal", "orthogonal", "RandomNormal", "TruncatedNormal"}
    weights = np.load(exported / "weights.npy", mmap_mode="r")
    assert weights.shape == (90, 4970)
    assert weights.dtype == np.float32
    images = load_images("digits")
    pixels = images.test_images.numpy() / 255 * 2 - 1
    final = np.flatnonzero(metrics["step"] == metrics["step"].max())
    for row in final[:4]:
        parts = {
            name: weights[row, a:b].reshape(ast.literal_eval(shape)).astype(float)
            for name, a, b, _, shape in layout.itertuples(index=False)
        }
        hidden = pixels
        for name in ("conv2d", "conv2d_1", "conv2d_2"):
            windows = np.lib.stride_tricks.sliding_window_view(hidden, (3, 3), (1, 2))[:, ::2, ::2]  # (n, h, w, in, kh, kw)
            kernel, bias = parts[f"sequential/{name}/kernel:0"], parts[f"sequential/{name}/bias:0"]
            hidden = np.einsum("nhwikl,klio->nhwo", windows, kernel) + bias
            hidden = np.maximum(hidden, 0) if metrics["config.activation"].iloc[row] == "relu" else np.tanh(hidden)
        logits = hidden.mean((1, 2)) @ parts["sequential/dense/kernel:0"] + parts["sequential/dense/bias:0"]
        accuracy = (logits.argmax(1) == images.test_labels.numpy()).mean()
        assert accuracy == pytest.approx(metrics["test_accuracy"].iloc[row], abs=1.5 / 360)


@pytest.mark.parametrize("packed", [False, True])
def test_the_round_trip_is_exact(grown: Zoo, exported: Path, tmp_path: Path, packed: bool) -> None:
    source = exported
    if packed:
        source = tmp_path / "digits.tar.xz"
        with tarfile.open(source, "w:xz") as archive:
            archive.add(exported, "digits")
    zoo = import_zoo("small_cnn_zoo", source, tmp_path / "zoo")
    assert (tmp_path / "zoo" / "weights-00000.npy").exists() == packed  # else mapped where it lies
    ours, theirs = grown.view(epoch="all"), zoo.view(epoch="all")
    for name, tensors in ours.layout.unflatten(ours.weights()).items():
        assert np.array_equal(tensors, theirs.layout.unflatten(theirs.weights())[name])
    columns = ["epoch", "train_accuracy", "test_accuracy", "test_loss"]
    pd.testing.assert_frame_equal(ours.frame[columns], theirs.frame[columns])
    drawn = [c for c in ours.frame if c.startswith("hp.") and c != "hp.batch_size"]
    pd.testing.assert_frame_equal(ours.frame[drawn], theirs.frame[drawn])
    assert zoo.networks["modeldir"].tolist() == [f"digits/{i}" for i in grown.networks["network_id"]]
    again = tmp_path / "again"
    export_zoo(zoo, "small_cnn_zoo", again)
    for name in ("weights.npy", "layout.csv"):
        assert (again / name).read_bytes() == (exported / name).read_bytes()
    for folder in (again, exported):
        assert gzip.decompress((folder / "metrics.csv.gz").read_bytes())
    columns = [f"config.{c}" for c in CONFIG if c not in ("random_seed", "epochs_between_checkpoints")] + ["modeldir", "step"]
    a, b = (pd.read_csv(f / "metrics.csv.gz", index_col=0) for f in (exported, again))
    pd.testing.assert_frame_equal(a[columns], b[columns])


def test_an_import_says_on_how_many_images_accuracies_rest(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", "format=small_cnn_zoo", f"source={exported}"]
    assert main([*words, f"out={tmp_path}/unknown"]) == 0
    told = capsys.readouterr().out
    assert "digits: on how many images test accuracies were measured is not known" in told
    assert "they are counts of 360 images" in told  # which is the size of the digits' test part
    assert open_zoo(tmp_path / "unknown").data.n_test is None
    assert main([*words, f"out={tmp_path}/known", "n_test=360"]) == 0
    assert "digits: test accuracies of 360 images (as given)" in capsys.readouterr().out
    assert open_zoo(tmp_path / "known").data.n_test == 360
    assert main([*words, f"out={tmp_path}/wrong", "n_test=100"]) == 0
    assert "no counts of 100 images, so the ceiling of tau is off; import again with n_test= (they" in capsys.readouterr().out
    assert main([*words, f"out={tmp_path}/none", "n_test=0"]) == 2
    assert "n_test=0" in capsys.readouterr().err


def test_how_many_images_accuracies_are_counts_of() -> None:
    rng = np.random.default_rng(0)
    for n in (360, 10_000):
        accuracies = (rng.integers(0, n, 3000) / n).astype(np.float32).astype(np.float64)
        assert are_counts(accuracies, n)
        assert are_counts(accuracies, 2 * n)
        assert not are_counts(accuracies, n - 1)
        assert images_of(accuracies) == n
    assert images_of(rng.random(50)) is None


def test_imported_weights_make_the_same_module(exported: Path, tmp_path: Path) -> None:
    zoo = import_zoo("small_cnn_zoo", exported, tmp_path / "zoo")
    view = zoo.view()
    images = load_images("digits")
    module = SmallCNN((16, 16, 1)).module(view.frame["hp.activation"].iloc[0]).eval()
    module.load_state_dict(view.layout.unflatten(torch.from_numpy(view.weights()[0].copy())))
    logits = module(scale_pixels(images.test_images).permute(0, 3, 1, 2))
    accuracy = float((logits.argmax(1) == images.test_labels).float().mean())
    assert accuracy == pytest.approx(view.frame["test_accuracy"].iloc[0], abs=1.5 / 360)


def test_rows_that_are_not_finite_are_counted_and_in_no_view(exported: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("layout.csv", "metrics.csv.gz"):
        (source / name).write_bytes((exported / name).read_bytes())
    weights = np.load(exported / "weights.npy")
    weights[5, 7] = np.nan  # network 1, last epoch
    weights[7, 9] = np.inf  # network 2, second of three
    np.save(source / "weights.npy", weights)
    zoo = import_zoo("small_cnn_zoo", source, tmp_path / "zoo")
    assert zoo.networks["status"].tolist() == ["ok", "nan"] + ["ok"] * 28
    assert len(zoo.snapshots) == 88
    assert len(zoo.view()) == 29
    assert np.isfinite(zoo.view(epoch="all", status=None).weights()).all()


def test_a_permutation_splits_as_others_do(grown: Zoo, exported: Path, tmp_path: Path) -> None:
    """Sizes by hand for 30 networks of 3 snapshots, and the parts by the rule written out once more."""
    import random

    permutation = np.random.default_rng(0).permutation(90)
    path = tmp_path / "split.csv"
    path.write_text("0\n" + "\n".join(map(str, permutation)) + "\n")  # the stray first line
    rows = read_permutation(path)
    assert np.array_equal(rows, permutation)
    zoo = import_zoo("small_cnn_zoo", exported, tmp_path / "zoo")
    split = permutation_split(zoo, rows)
    assert (len(split.train), len(split.validation), len(split.test)) == (12, 3, 15)
    final = [r for r in permutation if r % 3 == 2]
    assert list(split.test) == [f"{r // 3:06d}" for r in final[15:]]
    head = list(range(15))
    random.Random(0).shuffle(head)
    assert list(split.train) == [f"{final[i] // 3:06d}" for i in head[:12]]
    assert permutation_split(grown, rows) == split  # rows of a zoo of ours are counted as an export writes them
    with pytest.raises(MetanetError, match="has 89 rows"):
        permutation_split(zoo, np.arange(89))
    path.write_text("0\n1\n1\n")
    with pytest.raises(MetanetError, match="no permutation"):
        read_permutation(path)
    path.write_text("row\n")
    with pytest.raises(MetanetError, match="one row number a line"):
        read_permutation(path)


def test_mistakes_are_named_and_leave_nothing_behind(grown: Zoo, known: Zoo, exported: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "zoo"

    def refused(says: str) -> None:
        with pytest.raises(MetanetError, match=says):
            import_zoo("small_cnn_zoo", source, out)
        assert not out.exists()

    refused("is not there")
    source.mkdir()
    refused("has no weights.npy")
    files = {name: (exported / name).read_bytes() for name in ("weights.npy", "metrics.csv.gz", "layout.csv")}
    for name, raw in files.items():
        (source / name).write_bytes(raw)
    for name, raw, says in (
        ("weights.npy", files["weights.npy"][:-4], "weights end after"),
        ("weights.npy", b"abc", "no .npy file"),
        ("layout.csv", files["layout.csv"].replace(b"(16, 10)", b"(16, 11)"), "does not fit"),
        ("layout.csv", b"\n".join(files["layout.csv"].splitlines()[:-1]), "describes 4810 values"),
        ("metrics.csv.gz", b"abc", "cannot be read"),
        ("metrics.csv.gz", gzip.compress(b",a\n0,1\n"), "no column"),
    ):
        (source / name).write_bytes(raw)
        if out.exists():
            out.rmdir()
        with pytest.raises(MetanetError, match=says):
            import_zoo("small_cnn_zoo", source, out)
        assert not out.exists() or not any(out.iterdir())
        (source / name).write_bytes(files[name])
    with pytest.raises(MetanetError, match=r"holds 'weights\.npy' already"):
        export_zoo(grown, "small_cnn_zoo", exported)
    with pytest.raises(MetanetError, match="none of a small CNN"):
        export_zoo(known, "small_cnn_zoo", tmp_path / "known")
    zoo = import_zoo("small_cnn_zoo", source, tmp_path / "mapped")
    assert len(zoo.view())
    (source / "weights.npy").unlink()
    with pytest.raises(MetanetError, match="which is gone"):
        open_zoo(tmp_path / "mapped")
    with pytest.raises(MetanetError, match="not empty"):
        import_zoo("small_cnn_zoo", exported, tmp_path / "mapped")


@pytest.mark.parametrize("stopped", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_export_that_was_cut_short_is_none_and_is_made_again(
    grown: Zoo, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: BaseException, after: int
) -> None:
    out, renamed = tmp_path / "files", []
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if len(renamed) == after:
            raise stopped
        renamed.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises((MetanetError, KeyboardInterrupt)):
            export_zoo(grown, "small_cnn_zoo", out)
    with pytest.raises(MetanetError, match=r"cut short|has no weights\.npy"):
        import_zoo("small_cnn_zoo", out, tmp_path / "zoo")
    assert not list(out.glob("*.tmp"))
    export_zoo(grown, "small_cnn_zoo", out)
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    assert (out / "weights.npy").read_bytes() == (exported / "weights.npy").read_bytes()
    assert (out / "metrics.csv.gz").read_bytes() == (exported / "metrics.csv.gz").read_bytes()


def test_rows_that_were_never_written_are_refused(exported: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(exported, source)
    weights = np.load(source / "weights.npy")
    weights[60:] = 0
    np.save(source / "weights.npy", weights)
    with pytest.raises(MetanetError, match=r"weights\.npy, row 61: all weights are 0"):
        import_zoo("small_cnn_zoo", source, tmp_path / "zoo")


def test_axes_of_another_order_round_trip() -> None:
    rng = np.random.default_rng(0)
    layout = Layout.build([("a.weight", "a", "kernel", (5, 4, 3, 2), (2, 3, 1, 0)), ("b.weight", "b", "kernel", (2, 7))])
    assert Layout.from_json(layout.to_json()) == layout
    tensors = {"a.weight": rng.standard_normal((5, 4, 3, 2)).astype(np.float32), "b.weight": np.ones((2, 7), np.float32)}
    vector = layout.flatten(tensors)
    assert np.array_equal(vector[:120].reshape(3, 2, 4, 5), tensors["a.weight"].transpose(2, 3, 1, 0))
    for values in (vector, torch.from_numpy(vector), np.stack([vector, vector])):
        got = layout.unflatten(values)["a.weight"]
        assert np.array_equal(np.asarray(got).reshape(-1, 5, 4, 3, 2)[0], tensors["a.weight"])
    with pytest.raises(MetanetError, match="each of its axes once"):
        Layout.build([("a.weight", "a", "kernel", (5, 4), (0, 0))])


def test_the_released_layout_is_read() -> None:
    text = "varname,start_idx,end_idx,size,shape\n" + "\n".join(
        f'{name},{a},{b},{size},"{shape}"' for name, a, b, size, shape in RELEASED_LAYOUT
    )
    layout = parse_layout(text)
    assert [t.name for t in layout.tensors][:2] == ["conv1.bias", "conv1.weight"]
    assert {t.name: t.shape for t in layout.tensors} == {t.name: t.shape for t in SmallCNN((28, 28, 1)).layout.tensors}
    zoo_from_arrays(np.zeros((1, 4970)), layout, pd.DataFrame({"test_accuracy": [0.5]}))
