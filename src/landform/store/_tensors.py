"""Named tensors in one safetensors file, with checksums.

The header is written and parsed here rather than by the safetensors package because the checksum of the header has
to lie in the header, because tensors go from memory to the file without a copy in between, and because a disk error
has to arrive as the `OSError` it was.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landform.errors import BadInput
from landform.store._files import damaged, unreadable, why_not_written, write_bytes

_CODES = {
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
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
# The header begins with its own checksum, at a place that never moves.
_FRONT = b'{"__metadata__":{"landform.header":"'
_SUMS = "landform.crc32"


def can_hold(dtype: torch.dtype) -> bool:
    """Tell whether tensors of this type can be written.

    Args:
        dtype: the type.

    Returns:
        True for real numbers of 16 to 64 bits, whole numbers and booleans.
    """
    return dtype in _CODES


def checksum(tensor: Tensor) -> int:
    """The checksum under which a file keeps a tensor (`Entry.crc`).

    Args:
        tensor: any tensor that can be written.

    Returns:
        A number of 32 bits.
    """
    return zlib.crc32(_bytes_of(tensor))


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    settle: bool = True,
) -> None:
    """Write named tensors as one safetensors file, whole or not at all.

    Args:
        path: the file; its folder must be there.
        tensors: dense tensors of any shape, on any device.
        metadata: strings to keep with them; names that begin with ``landform.`` are taken.
        settle: as for `write_bytes`.

    Raises:
        BadInput: when a tensor is of a kind the format cannot hold, or the file cannot be written.
    """
    for name in metadata or ():
        if name.startswith("landform."):
            raise BadInput(f"Metadata {name} cannot be stored in {path}: names that begin with landform. are taken.")
    for name, tensor in tensors.items():
        if name in ("", "__metadata__"):
            raise BadInput(f"A tensor cannot be stored in {path} under the name {name!r}: give another name.")
        if tensor.dtype not in _CODES or tensor.layout is not torch.strided or tensor.is_meta:
            raise BadInput(
                f"Tensor {name} ({tensor.dtype}, {tensor.layout}, on {tensor.device}) cannot be stored in {path}: "
                "give a dense tensor of real numbers."
            )
    # Wide types first, so that every tensor begins at a multiple of its own width.
    names = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    parts = [_bytes_of(tensors[name]) for name in names]
    sums = {name: f"{zlib.crc32(part):08x}" for name, part in zip(names, parts, strict=True)}
    entries: dict[str, Any] = {}
    end = 0
    for name, part in zip(names, parts, strict=True):
        start, end = end, end + len(part)
        shape = list(tensors[name].shape)
        entries[name] = {"dtype": _CODES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    strings = {**(metadata or {}), _SUMS: json.dumps(sums)}
    rest = json.dumps({"": strings, **entries}, separators=(",", ":"), ensure_ascii=False).encode()
    rest = b'",' + rest.removeprefix(b'{"":{')  # what follows the header's own checksum
    rest += b" " * (-(len(_FRONT) + 8 + len(rest)) % 8)
    length = (len(_FRONT) + 8 + len(rest)).to_bytes(8, "little")
    front = length + _FRONT + f"{zlib.crc32(length + rest):08x}".encode() + rest
    write_bytes(path, [front, *parts], settle=settle)


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in a file.

    Attributes:
        dtype: its type.
        shape: its shape.
        start: its first byte, counted from the end of the header.
        stop: one past its last byte.
        crc: checksum of its bytes.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int
    crc: int


@dataclass(frozen=True)
class TensorFile:
    """The opened header of a file of named tensors; a tensor is read, and verified, when asked for.

    Attributes:
        path: the file.
        metadata: the strings kept with the tensors.
        entries: each tensor's type, shape and place.
        offset: length of the header in bytes.
        size: length of the file in bytes.
    """

    path: Path
    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    offset: int
    size: int

    def read(self, name: str, out: Tensor | None = None) -> Tensor:
        """Read one tensor and verify it.

        Args:
            name: the tensor.
            out: a tensor of its shape to read into, of any floating type; a new one by default.

        Returns:
            The tensor, on the CPU.

        Raises:
            BadInput: when the file holds no tensor of this name.
            Damaged: when its bytes have changed since they were written.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise BadInput(f"{self.path} holds no tensor {name}: it has {', '.join(self.entries) or 'none'}.")
        direct = out is not None and out.dtype == entry.dtype and out.is_contiguous() and out.device.type == "cpu"
        result = out if out is not None and direct else torch.empty(entry.shape, dtype=entry.dtype)
        place = _bytes_of(result)
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.offset + entry.start)
                got = 0
                while got < len(place) and (count := file.readinto(place[got:])):
                    got += count
        except OSError as why:
            raise BadInput(f"{self.path} cannot be read ({why.strerror}).") from None
        if got != len(place) or zlib.crc32(place) != entry.crc:
            raise damaged(self.path, f"the bytes of {name} are not those that were written")
        if out is None or direct:
            return result
        return out.copy_(result)

    def map(self, name: str) -> Tensor:
        """See one tensor without reading it: its pages come from the file as they are used, unverified.

        Args:
            name: the tensor.

        Returns:
            The tensor, on the CPU; what is written into it does not reach the file.

        Raises:
            BadInput: when the file holds no tensor of this name.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise BadInput(f"{self.path} holds no tensor {name}: it has {', '.join(self.entries) or 'none'}.")
        if entry.stop == entry.start:
            return torch.empty(entry.shape, dtype=entry.dtype)
        count = entry.stop - entry.start
        seen = np.memmap(self.path, np.uint8, mode="c", offset=self.offset + entry.start, shape=(count,))
        return torch.from_numpy(seen).view(entry.dtype).view(entry.shape)

    def read_all(self) -> dict[str, Tensor]:
        """Read every tensor and verify it.

        Returns:
            The tensors by name.
        """
        return {name: self.read(name) for name in self.entries}


def scratch(path: str | Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Make room for a tensor that memory need not hold: a file of its numbers, to be removed when done.

    Args:
        path: the file, written anew.
        shape: of the tensor.
        dtype: of the tensor.

    Returns:
        The tensor, zeros at first; what is written into it goes to the file.

    Raises:
        BadInput: when the file cannot be written.
    """
    count = math.prod(shape) * dtype.itemsize
    try:
        with open(path, "wb") as file:
            file.truncate(count)
        room = np.memmap(path, np.uint8, mode="r+", shape=(count,))
    except OSError as why:
        raise BadInput(why_not_written(Path(path), why)) from None
    return torch.from_numpy(room).view(dtype).view(shape)


def open_tensors(path: str | Path) -> TensorFile:
    """Read and verify the header of a file written by `write_tensors`; the tensors are read when asked for.

    Args:
        path: the file.

    Returns:
        The opened file (no file handle is kept).

    Raises:
        BadInput: when there is no such file.
        Damaged: when it was cut short, changed, or never written by landform.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = file.read(8)
            count = int.from_bytes(length, "little")
            if len(length) < 8 or not len(_FRONT) + 8 <= count <= size - 8:
                raise damaged(path, "it is cut short or has a false length")
            header = file.read(count)
    except OSError as why:
        raise unreadable(path, why) from None
    rest = header[len(_FRONT) + 8 :]
    if not header.startswith(_FRONT) or header[len(_FRONT) : -len(rest)] != b"%08x" % zlib.crc32(length + rest):
        raise damaged(path, "its header is not the one that was written")
    try:
        parsed: dict[str, dict[str, Any]] = json.loads(header)
        metadata: dict[str, str] = parsed.pop("__metadata__")
        sums: dict[str, str] = json.loads(metadata.pop(_SUMS))
        metadata.pop("landform.header")
        entries = {name: _entry(found, int(sums[name], 16)) for name, found in parsed.items()}
        end = 0
        for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.stop)):
            if entry.start != end or entry.stop - entry.start != math.prod(entry.shape) * entry.dtype.itemsize:
                raise ValueError("its tensors do not follow one another")
            end = entry.stop
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as why:
        raise damaged(path, f"its header makes no sense: {why}") from None
    if size != 8 + count + end:
        raise damaged(path, f"it has {size} bytes where {8 + count + end} were written")
    return TensorFile(path, metadata, entries, 8 + count, size)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read and verify a whole file written by `write_tensors`.

    Args:
        path: the file.

    Returns:
        The tensors by name, and the metadata.
    """
    file = open_tensors(path)
    return file.read_all(), dict(file.metadata)


def _bytes_of(tensor: Tensor) -> memoryview:
    """See a tensor's numbers as bytes; a copy where it is elsewhere or not contiguous."""
    plain = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous()
    return memoryview(plain.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _entry(found: Mapping[str, Any], crc: int) -> Entry:
    shape = tuple(found["shape"])
    start, stop = found["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise ValueError("a shape or an offset is not a whole number")
    return Entry(_DTYPES[found["dtype"]], shape, start, stop, crc)
