"""Named tensors in safetensors files, read a few numbers at a time.

The header is parsed here and the numbers are read, not mapped into memory: the pages of a mapped file count as memory
of the process that has looked at them, so that two large files looked at through maps are soon two large files held.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.store import size_text

CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {code: dtype for dtype, code in CODES.items()}
_LONGEST_HEADER = 100_000_000  # the format's own limit
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Held:
    """A tensor in a file.

    Attributes:
        dtype: its type.
        shape: its shape.
        offset: of its first byte in the file, where it lies there in one piece.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes it takes."""
        return self.size * self.dtype.itemsize


class TensorFile(Protocol):
    """A file of named tensors."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def held(self) -> Mapping[str, Held]:
        """Its tensors by name, in the order in which they lie there."""

    @property
    def tied(self) -> Mapping[str, str]:
        """Further names of some tensors, each with the name under which the tensor is held."""

    def read(self, name: str, start: int, out: Tensor) -> None:
        """Read consecutive numbers of a tensor.

        Args:
            name: of the tensor.
            start: the first number.
            out: where they go, ``[m]``, contiguous and of the tensor's own type.
        """


@dataclass(frozen=True)
class RawFile:
    """A file in which tensors lie as plain bytes, such as a safetensors file.

    Attributes:
        path: the file.
        held: its tensors.
        tied: further names of some of them.
        metadata: strings kept with them.
    """

    path: Path
    held: Mapping[str, Held]
    tied: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def read(self, name: str, start: int, out: Tensor) -> None:
        """Read consecutive numbers of a tensor.

        Args:
            name: of the tensor.
            start: the first number.
            out: where they go, ``[m]``, contiguous and of the tensor's own type.

        Raises:
            BadInput: when the file ends before.
        """
        if not out.numel():
            return
        tensor = self.held[name]
        place = memoryview(out.view(torch.uint8).numpy())  # type: ignore[arg-type]
        got = 0
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(tensor.offset + start * tensor.dtype.itemsize)
                while got < len(place) and (count := file.readinto(place[got:])):
                    got += count
        except OSError as why:
            raise BadInput(f"{self.path} cannot be read ({why.strerror}).") from None
        if got < len(place):
            raise BadInput(f"{self.path} was cut short while it was read, in {name}: put back a good copy.")


def _place(one: Mapping[str, Any]) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, begin and end of a tensor as a header tells them."""
    start, stop = one["data_offsets"]
    shape = tuple(one["shape"])
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise ValueError(f"{one} is no place of a tensor")
    return str(one["dtype"]), shape, start, stop


def open_safetensors(path: Path) -> RawFile:
    """Read and check the header of a safetensors file.

    Args:
        path: the file.

    Returns:
        The file, its tensors in the order in which they lie there.

    Raises:
        BadInput: when it is none, is cut short, or holds tensors of a type that nothing here can be made of.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            front = file.read(8)
            count = int.from_bytes(front, "little")
            if _POINTER.startswith(front) and len(front) == 8:
                raise BadInput(f"{path} is a Git LFS pointer and not the weights: run git lfs pull where it is from.")
            if len(front) < 8 or not 2 <= count <= min(size - 8, _LONGEST_HEADER):
                raise _broken(path, "its first bytes are no header of that format")
            header = file.read(count)
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}.") from None
    except OSError as why:
        raise BadInput(f"{path} cannot be read ({why.strerror}).") from None
    try:
        parsed: dict[str, Any] = json.loads(header)
        metadata = {str(key): str(value) for key, value in (parsed.pop("__metadata__", None) or {}).items()}
        places = {name: _place(one) for name, one in parsed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
        raise _broken(path, f"its header makes no sense: {why}") from None
    held: dict[str, Held] = {}
    end = 0
    for name, (code, shape, start, stop) in sorted(places.items(), key=lambda item: item[1][2:4]):
        if code not in _DTYPES:
            raise BadInput(
                f"{path} holds {name} in the type {code}, of which no merge can be made: give weights in float16, "
                "bfloat16, float32 or float64."
            )
        held[name] = Held(_DTYPES[code], shape, 8 + count + start)
        if start != end or stop - start != held[name].bytes:
            raise _broken(path, f"{name} does not lie where its header says")
        end = stop
    if size != 8 + count + end:
        raise _broken(path, f"it has {size_text(size)} where its header tells of {size_text(8 + count + end)}")
    # Second names of tied tensors are kept among the strings, as safetensors' own save_model does.
    tied = {alias: owner for alias, owner in metadata.items() if owner in held and alias not in held}
    return RawFile(path, held, tied, metadata)


def header(tensors: Mapping[str, Held], metadata: Mapping[str, str]) -> bytes:
    """Make the header of a safetensors file whose tensors follow one another as given.

    Args:
        tensors: by name; their offsets are left aside.
        metadata: strings to keep with them.

    Returns:
        The bytes before the first tensor.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        entries[name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.bytes],
        }
        end += tensor.bytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text


def _broken(path: Path, why: str) -> BadInput:
    return BadInput(f"{path} is not a whole safetensors file ({why}): save or download it again.")
