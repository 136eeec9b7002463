"""Named tensors out of a checkpoint: a file is told by its content, not by its ending; nothing but tensors is ever unpickled."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metanet.errors import MetanetError

MOST_EXPANSION = 4  # an archive's entries together, in sizes of the file; torch stores them as they are
MOST_DENSE = 100_000_000  # values of a tensor that its file does not hold one by one

# What a file begins with that is no checkpoint, or none that is read.
_BEGINNINGS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, the file itself was not fetched: git lfs pull"),
    (b"<!doctype html", "it is an HTML page: the download gave a page in place of the file"),
    (b"<html", "it is an HTML page: the download gave a page in place of the file"),
    (b"\x89hdf\r\n\x1a\n", "it is an HDF5 file (Keras), which is not read"),
    (b"\x08", "it may be an ONNX file, which is not read; give the state_dict it was made of"),
)
_WAITING = "not initialised"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Tensors:
    """The floating tensors of a network as arrays, and what else there was.

    Attributes:
        arrays: float32, or float64 where the tensor is, in the order of the checkpoint.
        left_out: of the other tensors, why: their kind, such as ``int32``, ``complex64``, ``quantised``, ``without values``.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Mapping[Any, Any]) -> Tensors:
        """Sort what a state_dict holds; values that are no tensors, such as a data type, are passed over."""
        found = cls()
        for name, value in state.items():
            array = _array(value)
            if isinstance(array, str):
                found.left_out[_free(str(name), found)] = array
            elif array is not None:
                found.arrays[_free(str(name), found)] = array
        return found

    @property
    def note(self) -> str | None:
        """What was left out, in a line: ``2 tensors of int32 are not shown: a, b``; None where nothing was."""
        if not self.left_out:
            return None
        kinds = Counter(self.left_out.values())
        names = list(self.left_out)
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        parts = [f"{count} tensor{'s' * (count > 1)} ({kind})" for kind, count in kinds.items()]
        return f"{' and '.join(parts)} {'is' if len(names) == 1 else 'are'} not shown: {shown}"


def _free(name: str, found: Tensors) -> str:
    """A name that no other tensor has: a dict may hold both 1 and '1'."""
    while name in found.arrays or name in found.left_out:
        name += "'"
    return name


def _array(value: Any) -> np.ndarray | str | None:
    """A tensor's numbers; why it has none that are shown; None of what is no tensor."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f":
            return str(value.dtype)
        return value if value.dtype == np.float64 else value.astype(np.float32)
    if not _is_tensor(value):
        return None
    if (reason := _unshown(value)) is not None:
        lone = reason != _WAITING and value.dim() == 0 and not value.is_floating_point()
        return None if lone else reason  # a lone integer is a counter, no weight
    import torch

    try:
        dense = value.detach().cpu().to_dense() if value.layout != torch.strided else value.detach().cpu()
        return dense.to(torch.float64 if value.dtype == torch.float64 else torch.float32).resolve_neg().numpy()
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return str(value.dtype).removeprefix("torch.")


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "is_floating_point") and hasattr(value, "detach")  # a data type has the first


def _unshown(tensor: Any) -> str | None:
    """Why a tensor has no floating numbers of its own that could be shown."""
    import torch

    if torch.nn.parameter.is_lazy(tensor):
        return _WAITING
    kinds = {"quantised": tensor.is_quantized, "nested": tensor.is_nested, "without values": tensor.device.type == "meta"}
    for name, holds in (kinds | {str(tensor.dtype).removeprefix("torch."): not tensor.is_floating_point()}).items():
        if holds:
            return name
    held = tensor._nnz() if tensor.layout == torch.sparse_coo else None
    if tensor.layout == torch.strided:
        held = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
    if tensor.numel() > MOST_DENSE and (held is None or tensor.numel() > held):
        return f"{tensor.numel():.1e} values, most of which the file does not hold"
    return None


# ------------------------------------------------------------------------------------------------ files


def read_checkpoint(path: Path) -> Tensors:
    """The network's tensors in a file: safetensors, torch's (zip or legacy) or NumPy's .npz.

    A dictionary with a ``state_dict`` stands for that one.

    Raises:
        MetanetError: it is none of these, is damaged, holds what would have to run code, or does not say which of
            several dictionaries is the network.
    """
    try:
        return _read(path)
    except _UnreadableError as reason:
        raise MetanetError(f"'{path}' is no checkpoint that can be read safely: {reason}") from None


class _UnreadableError(Exception):
    """Why a file is not read, and the way out."""


def _read(path: Path) -> Tensors:
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise _UnreadableError(error.strerror or str(error)) from None
    if not head:
        raise _UnreadableError("the file is empty")
    if head.startswith(b"PK\x03\x04"):
        return _read_archive(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return _read_safetensors(path)
    if head.startswith(_PICKLES):
        return _network(_torch(path))
    if head.lstrip().startswith(b"{"):
        raise _UnreadableError(_of_json(path))
    known = (says for begins, says in _BEGINNINGS if head.lstrip().lower().startswith(begins))
    unknown = "it begins like none of safetensors, a torch file (torch.save) or .npz"
    raise _UnreadableError("it is a TFLite file, which is not read" if head[4:8] == b"TFL3" else next(known, unknown))


def _of_json(path: Path) -> str:
    try:
        index = json.loads(path.read_bytes()[:50_000_000])
    except (ValueError, RecursionError):
        return "it is text, no tensors"
    if isinstance(index, dict) and isinstance(shards := index.get("weight_map"), dict):
        files = sorted({str(file) for file in shards.values()})
        return f"it is an index of {len(files)} files; give one of these{': ' + ', '.join(files[:3]) if files else ''}"
    return "it is JSON, no tensors"


def _read_safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _network(load_file(path))
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise _UnreadableError(f"damaged safetensors: {_first_line(error)}") from None


def _read_archive(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _UnreadableError(f"a damaged archive: {_first_line(error)}") from None
    size, whole = sum(entry.file_size for entry in entries), path.stat().st_size
    if size > MOST_EXPANSION * whole + 1_000_000:
        raise _UnreadableError(f"an archive of {whole:,} bytes that would take {size:,}")
    names = [entry.filename for entry in entries]
    if any(name.endswith("data.pkl") for name in names):
        return _network(_torch(path))
    if names and all(name.endswith(".npy") for name in names):
        return _read_npz(path)
    if "model.weights.h5" in names:
        raise _UnreadableError("it is a Keras file, which is not read")
    raise _UnreadableError("it is an archive, but neither of torch.save nor of numpy.savez")


def _read_npz(path: Path) -> Tensors:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _network({name: arrays[name] for name in arrays.files})
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise _UnreadableError(f"damaged .npz: {_first_line(error)}") from None


def _torch(path: Path) -> Any:
    import torch

    try:
        with path.open("rb") as file:  # of a path torch looks at the ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise _UnreadableError(_of_torch(str(error)) or f"damaged: {_first_line(error)}") from None


def _of_torch(message: str) -> str | None:
    """What torch's refusal to unpickle means for who has the file."""
    blocked = re.search(r"GLOBAL ([\w.]+) was not an allowed global", message)
    if blocked is None:
        return None
    name = blocked[1]
    if name.startswith("torch.nn."):
        return f"a whole module is pickled in it ({name}), which needs its code; save its state_dict in its place"
    return f"it holds an object of {name} beside tensors, and none is made here; save the state_dict alone"


def _network(content: Any) -> Tensors:
    """The tensors of what a file held."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise _UnreadableError(f"it holds a {type(content).__name__}, no state_dict")
    nested = [str(name) for name, value in content.items() if isinstance(value, Mapping) and _holds_tensors(value)]
    if nested:
        others = [str(name) for name in content if str(name) not in nested]
        beside = f" beside {', '.join(others[:5])}" if others else ""
        raise _UnreadableError(f"it holds several things, {', '.join(nested[:5])}{beside}; save the network's state_dict alone")
    return Tensors.of(content)


def _holds_tensors(value: Any, depth: int = 0) -> bool:
    """Whether there is a tensor anywhere in nested dictionaries and lists, of a few levels."""
    if _is_tensor(value):
        return True
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return depth < 6 and any(_holds_tensors(item, depth + 1) for item in items)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
