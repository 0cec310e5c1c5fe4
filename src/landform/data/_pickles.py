"""CIFAR's original python batches, read without trusting them."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from landform.errors import BadInput


def read_batches(files: list[Path], label_key: str, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Read pickled batches.

    Args:
        files: the batches, in order.
        label_key: the entry with the labels.
        shape: ``(C, H, W)`` of an image.

    Returns:
        Pixels ``[N, C, H, W]`` (uint8) and labels ``[N]``.

    Raises:
        BadInput: when a file is no such batch, or holds anything but arrays, numbers, strings and plain containers.
    """
    images, labels = zip(*(_read(file, label_key, shape) for file in files), strict=True)
    return torch.cat(images), torch.cat(labels)


def _read(file: Path, label_key: str, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    try:
        content = file.read_bytes()
        # the loader sets memory aside for whatever length a file claims; this walk only believes what is there
        for _ in pickletools.genops(content):
            pass
        batch = _Careful(io.BytesIO(content), encoding="bytes").load()
    except BadInput as refused:
        raise BadInput(f"{file} is no batch of images: {refused}") from None
    except Exception as broken:  # a damaged pickle can raise anything at all
        raise BadInput(f"{file} is damaged or no pickled batch ({type(broken).__name__}): fetch it again.") from None
    if not isinstance(batch, dict):
        raise BadInput(f"{file} is no batch of images: it holds a {type(batch).__name__} where a dict was expected.")
    found = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    pixels, labels = found.get("data"), found.get(label_key)
    size = shape[0] * shape[1] * shape[2]
    if isinstance(pixels, _Array):
        pixels = pixels.value
    if not isinstance(pixels, numpy.ndarray) or pixels.dtype != numpy.uint8 or pixels.shape[1:] != (size,):
        raise BadInput(f"{file} is no batch of images: its entry 'data' is no uint8 array [N, {size}].")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels) or len(labels) != len(pixels):
        raise BadInput(f"{file} is no batch of images: its entry {label_key!r} is no list of {len(pixels)} integers.")
    if any(not -(2**63) <= label < 2**63 for label in labels):
        raise BadInput(f"{file} has a label beyond 64 bits: fetch it again.")
    return torch.tensor(pixels).reshape(-1, *shape), torch.tensor(labels, dtype=torch.int64)


class _Careful(pickle.Unpickler):
    """Admits what an array is made of, and nothing that could run a program."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up one of the few names allowed."""
        if (module, name) not in _ADMITTED:
            raise BadInput(f"it asks for {module}.{name}, which no array needs, so it was not read; fetch it again.")
        return _ADMITTED[module, name]


class _Kind:
    """Stands for a NumPy type of number; older files give its flags in a way that NumPy has come to warn of."""

    def __init__(self, name: object, align: object = 0, copy: object = 0) -> None:
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        if not isinstance(name, str) or name.lstrip("<>|=")[:1] not in ("u", "i", "f", "b"):
            raise BadInput(f"an array in it holds {name!r}, which are no numbers, so it was not read; fetch it again.")
        self.value = numpy.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (">", b">"):
            self.value = self.value.newbyteorder(">")


class _Array:
    """Stands for a NumPy array, which itself would believe whatever the file says of its memory."""

    value: numpy.ndarray[Any, Any] | None = None

    def __init__(self, *made_from: object) -> None:
        """Take what ``_reconstruct`` is given: the numbers follow."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, column_major, data = state
        self.value = _filled(data, kind, shape, "F" if column_major else "C")


def _filled(data: object, kind: object, shape: object, order: object) -> numpy.ndarray[Any, Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, _Kind) or not isinstance(shape, tuple):
        raise BadInput("an array in it is not plain, so it was not read; fetch it again.")
    return numpy.frombuffer(data, dtype=kind.value).reshape(shape, order="F" if order == "F" else "C")


def _bytes(text: object, encoding: object) -> bytes:
    """How Python 3 wrote bytes for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise BadInput("it encodes text in a way no array needs, so it was not read; fetch it again.")
    return text.encode("latin-1")


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _filled for core in ("core", "_core")},
}
