"""Images in the layouts people have them in: parquet files of the hub, folders of image files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from landform.data._assemble import Raw
from landform.errors import BadInput, try_import

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Kind:
    """What a set of images is like.

    Attributes:
        name: what `landform.data.load` calls it.
        shape: ``(C, H, W)`` of an image; one channel is grey, three are red, green and blue.
        classes: how many there are.
        hub: where the hub keeps it.
        image_column: its parquet column with the images.
        label_column: its parquet column with the labels.
        labels: the classes' names, where a folder of images may be called by them.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    hub: str
    image_column: str
    label_column: str
    labels: tuple[str, ...] = ()


def decoded(count: int, get: Callable[[int], tuple[Any, str]], kind: Kind) -> Tensor:
    """Decode image files.

    Args:
        count: how many.
        get: gives, for a position, the file (a path, or its bytes) and what to call it in a message.
        kind: what the images are like.

    Returns:
        Pixels, ``[count, C, H, W]``, uint8.

    Raises:
        BadInput: when one cannot be decoded or is of another size.
    """
    image = try_import("PIL.Image", "data")
    channels, height, width = kind.shape
    pixels = numpy.empty((count, height, width, channels), dtype=numpy.uint8)
    mode = "RGB" if channels == 3 else "L"

    def fill(positions: range) -> None:
        for position in positions:
            file, said = get(position)
            try:
                with image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
                    size = picture.size
                    if size == (width, height):
                        plain = picture if picture.mode == mode else picture.convert(mode)
                        pixels[position] = numpy.asarray(plain).reshape(height, width, channels)
            except Exception as broken:  # decoders fail in many ways on damaged files
                raise BadInput(
                    f"{said} is no image that can be decoded ({type(broken).__name__}): fetch it again."
                ) from None
            if size != (width, height):
                raise BadInput(
                    f"{said} has {size[0]}x{size[1]} pixels, but those of {kind.name} have {width}x{height}."
                )

    threads = max(1, min(8, os.cpu_count() or 1))
    blocks = [range(start, min(start + 256, count)) for start in range(0, count, 256)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, blocks):
            pass
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def read_parquet(files: Sequence[Path], kind: Kind) -> Raw:
    """Read one split in the hub's layout; images are decoded when they are asked for.

    Args:
        files: the split's files, in order.
        kind: which columns to read.

    Returns:
        The split.

    Raises:
        BadInput: when a file is damaged or has other columns.
    """
    arrow = try_import("pyarrow", "data")
    parquet, compute = try_import("pyarrow.parquet", "data"), try_import("pyarrow.compute", "data")
    wanted = [kind.image_column, kind.label_column]
    try:
        for file in files:
            names = parquet.read_schema(file).names
            if lacking := [column for column in wanted if column not in names]:
                raise BadInput(f"{file} has no column {lacking[0]!r} but {', '.join(names)}: it is not {kind.name}.")
        tables = [parquet.read_table(file, columns=wanted, partitioning=None) for file in files]
        # 64-bit offsets, since all images of a large set exceed 2 GB
        stored = [
            compute.struct_field(table[kind.image_column], "bytes").cast(arrow.large_binary()) for table in tables
        ]
        images = arrow.chunked_array([chunk for each in stored for chunk in each.chunks], type=arrow.large_binary())
        columns = [table[kind.label_column] for table in tables]
        if any(column.null_count or not arrow.types.is_integer(column.type) for column in columns):
            raise BadInput(f"The column {kind.label_column!r} of {files[0]} is not an integer for every row.")
        labels = numpy.concatenate([column.to_numpy() for column in columns]).astype(numpy.int64)
    except (arrow.ArrowException, OSError, TypeError) as broken:
        said = str(broken).partition("\n")[0]
        raise BadInput(f"{files[0].parent} holds parquet files that cannot be read as {kind.name}: {said}") from None
    if images.null_count:
        raise BadInput(f"The column {kind.image_column!r} of {files[0]} names images instead of holding their bytes.")

    def read(kept: Tensor | None) -> Tensor:
        chosen = images if kept is None else images.take(arrow.array(kept.numpy()))
        jpegs = chosen.to_pylist()
        return decoded(
            len(jpegs), lambda i: (jpegs[i], f"Image {i if kept is None else int(kept[i])} of {files[0]}"), kind
        )

    return Raw(read, torch.from_numpy(labels))


def read_folder(train: Path, test: Path, kind: Kind) -> tuple[Raw, Raw, list[str]]:
    """Read two folders that have one folder of image files a class.

    Args:
        train: the training images.
        test: the test images.
        kind: what they are like.

    Returns:
        Both splits, and the folder's name of each class.

    Raises:
        BadInput: when the folders are no classes of this set.
    """
    found = sorted(entry.name for entry in train.iterdir() if entry.is_dir())
    if len(found) > kind.classes:
        raise BadInput(f"{train} has {len(found)} folders, but {kind.name} has {kind.classes} classes.")
    if all(name.isdecimal() and int(name) < kind.classes for name in found):
        index = {name: int(name) for name in found}
    elif kind.labels and set(found) <= set(kind.labels):
        index = {name: kind.labels.index(name) for name in found}
    else:
        index = {name: position for position, name in enumerate(found)}
    splits = []
    for folder in (train, test):
        files = list(_files(folder, index))
        targets = torch.tensor([label for _, label in files], dtype=torch.int64)

        def read(kept: Tensor | None, files: list[tuple[Path, int]] = files) -> Tensor:
            chosen = files if kept is None else [files[i] for i in kept.tolist()]
            return decoded(len(chosen), lambda i: (chosen[i][0], str(chosen[i][0])), kind)

        splits.append(Raw(read, targets))
    return splits[0], splits[1], sorted(index, key=lambda name: index[name])


def _files(folder: Path, index: dict[str, int]) -> Iterable[tuple[Path, int]]:
    for inner in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        if inner.name not in index:
            raise BadInput(f"{inner} is a class that the training folder does not have.")
        for file in sorted(inner.iterdir()):
            if file.suffix.lower() in SUFFIXES:
                yield file, index[inner.name]
