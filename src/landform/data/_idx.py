"""The idx files of MNIST and its kin, whose headers are believed only as far as the file bears them out."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy
import torch
from torch import Tensor

from landform.errors import BadInput

# No set of this kind comes near: a larger one is a damaged header.
MOST = 2**32


def read_idx(file: Path, dimensions: int) -> Tensor:
    """Read an idx file of bytes, packed by gzip or not.

    Args:
        file: the file; packed when its first bytes say so, whatever it is called.
        dimensions: how many axes it should have (3 for images, 1 for labels).

    Returns:
        The array, uint8.

    Raises:
        BadInput: when the header is no idx header or disagrees with the size of the file.
    """
    try:
        with file.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as stream:
            head = stream.read(4 + 4 * dimensions)
            shape = _shape(file, head, dimensions)
            size = math.prod(shape)
            body = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as broken:
        raise BadInput(f"{file} cannot be read ({broken}): fetch it again.") from None
    if len(body) != size:
        said = "more" if len(body) > size else f"only {len(body)}"
        raise BadInput(f"{file} says it holds {'x'.join(map(str, shape))} bytes, but it holds {said}: fetch it again.")
    return torch.from_numpy(numpy.frombuffer(body, dtype=numpy.uint8).reshape(shape).copy())


def _shape(file: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    if len(head) < 4 or head[:2] != b"\0\0":
        raise BadInput(f"{file} is no idx file: its first bytes are {head[:4].hex()}, not 0000; fetch it again.")
    if head[2] != 0x08:
        raise BadInput(f"{file} holds numbers of type 0x{head[2]:02x}; only bytes (0x08) are images or labels here.")
    if head[3] != dimensions or len(head) < 4 + 4 * dimensions:
        raise BadInput(f"{file} says it has {head[3]} dimensions where {dimensions} were expected: is it another file?")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    if math.prod(shape) > MOST:
        raise BadInput(f"{file} says it holds {'x'.join(map(str, shape))} bytes, which cannot be: fetch it again.")
    return shape
