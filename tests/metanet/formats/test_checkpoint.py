"""Files as they are found: each is read, or refused in one line that says what it is and the way out."""

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metanet.errors import MetanetError
from metanet.formats.checkpoint import Tensors, read_checkpoint

NETWORK = nn.Linear(2, 3)


class Code:
    """What would run where a file is unpickled as it stands."""

    def __reduce__(self) -> Any:
        return (open, ("PWNED", "w"))


def torch_bytes(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def archive(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name.replace("_dot_", "."), content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.pt", "b.safetensors", "c.bin", "d"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz", "state_dict"])
def test_a_file_is_told_by_its_content(kind: str, name: str, tmp_path: Path) -> None:
    state = NETWORK.state_dict()
    path = tmp_path / name
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **{n: t.numpy() for n, t in state.items()})
    else:
        content = {"state_dict": state, "epoch": 3} if kind == "state_dict" else state
        path.write_bytes(torch_bytes(content, _use_new_zipfile_serialization=kind != "legacy"))
    found = read_checkpoint(path)
    assert found.note is None
    assert set(found.arrays) == {"weight", "bias"}
    for tensor_name, array in found.arrays.items():
        np.testing.assert_array_equal(array, state[tensor_name].numpy())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "HTML page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(50), "TFLite"),
        (json.dumps({"weight_map": {"w": "model-1.safetensors", "v": "model-2.safetensors"}}).encode(), "give one of these"),
        (b"[1, 2]", "begins like none of"),
        (b'{"a": 1}', "it is JSON"),
        (torch_bytes(NETWORK), "save its state_dict in its place"),
        (torch_bytes({"state_dict": NETWORK.state_dict(), "hyper": argparse.Namespace(lr=1)}), "argparse.Namespace"),
        (torch_bytes({"w": torch.ones(2), "e": Code()}), "none is made here"),
        (torch_bytes([torch.ones(2)]), "holds a list"),
        (torch_bytes(NETWORK.state_dict())[:-40], "damaged"),
        (
            torch_bytes({"model": NETWORK.state_dict(), "optimizer": {0: {"m": torch.ones(2)}}, "loss": torch.ones(())}),
            "several",
        ),
        (archive(data_dot_pkl=bytes(50_000_000)), "would take 50,000,000"),
        (archive(readme=b"x"), "neither of torch.save"),
        ((40).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', "damaged safetensors"),
    ],
)
def test_what_is_no_checkpoint_says_it(content: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.pt"
    path.write_bytes(content)
    with pytest.raises(MetanetError, match=r"no checkpoint that can be read safely") as raised:
        read_checkpoint(path)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["given.pt"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_of_every_kind_are_shown_or_counted() -> None:
    state = {
        "half": torch.tensor([0.5, 1.0], dtype=torch.bfloat16),
        "double": torch.tensor([1e60], dtype=torch.float64),
        "sparse": torch.eye(2).to_sparse(),
        "negative": torch.tensor([1.0, 2.0])._neg_view(),
        "codes": torch.ones(3, dtype=torch.int32),
        "complex": torch.ones(1, dtype=torch.complex64),
        "meta": torch.ones(2, device="meta"),
        "huge": torch.ones(1).expand(10**12),
        "lazy": nn.LazyLinear(3).weight,
        "steps": torch.tensor(7),
        "dtype": torch.float16,
        "nested": torch.nested.as_nested_tensor([torch.ones(1), torch.ones(2)]),
    }
    found = Tensors.of(state)
    shown = {name: array.tolist() for name, array in found.arrays.items()}
    assert shown == {"half": [0.5, 1.0], "double": [1e60], "sparse": [[1, 0], [0, 1]], "negative": [-1.0, -2.0]}
    assert found.left_out == {
        "codes": "int32",
        "complex": "complex64",
        "meta": "without values",
        "lazy": "not initialised",
        "huge": "1.0e+12 values, most of which the file does not hold",
        "nested": "nested",
    }


def test_the_note_names_what_is_not_shown() -> None:
    integers = {"l.qweight": torch.ones(2, 2, dtype=torch.int32), "l.qzeros": torch.ones(1, 2, dtype=torch.int32)}
    assert Tensors.of(integers).note == "2 tensors (int32) are not shown: l.qweight, l.qzeros"
    assert set(Tensors.of({1: torch.ones(1), "1": torch.zeros(1)}).arrays) == {"1", "1'"}
