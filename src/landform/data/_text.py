"""Text as sequences of characters, each to be followed by the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy
import torch
from torch import Tensor

from landform.data._assemble import Raw, assemble
from landform.data._options import Common, Options, number, whole
from landform.data._places import Folder, first_of, missing, root_of
from landform.data._types import Dataset
from landform.errors import BadInput

NAMES = ("text/tinyshakespeare.txt", "tinyshakespeare.txt", "tinyshakespeare/input.txt")


def characters(
    path: Folder | None = None, *, length: int = 64, test_share: float = 0.1, **common: Unpack[Common]
) -> Dataset:
    """Load a text as sequences of characters; the target at each place is the next character.

    Sequences follow each other without overlap. The last part of the text is for testing; no sequence crosses the cut.

    Args:
        path: a text file in UTF-8; None reads tinyshakespeare from the root.
        length: how many characters a sequence has.
        test_share: which share of the text is for testing.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs and targets ``[length]`` are places in the vocabulary, which the transform lists.

    Raises:
        BadInput: when there is no such text, or too little of it.
    """
    options = Options.of(characters, common)
    own: dict[str, Any] = {"length": whole("length", length, 1), "test_share": number("test_share", test_share)}
    if not 0 < test_share < 1:
        raise BadInput(f"test_share is a share above 0 and below 1, but {test_share} was given.")
    file = _file(path, options)
    codes, vocabulary = _encoded(file)
    cut = len(codes) - int(len(codes) * test_share)
    parts = []
    for part, what in ((codes[:cut], "training"), (codes[cut:], "test")):
        count = (len(part) - 1) // length
        if count < 1:
            raise BadInput(
                f"{file} leaves {len(part)} characters for the {what} split, fewer than the {length + 1} of a sequence "
                "and its end: give a longer text or a smaller length."
            )
        inputs, targets = (part[shift : shift + count * length].reshape(count, length) for shift in (0, 1))
        parts.append(Raw.of(inputs.clone(), targets.clone()))
    return assemble(
        "characters",
        options,
        own,
        train=parts[0],
        test=parts[1],
        classes=len(vocabulary),
        scaling=None,
        source={"from": "text", "file": file.name, "vocabulary": vocabulary, "characters": len(codes)},
    )


def _file(path: Folder | None, options: Options) -> Path:
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise BadInput(f"There is no text file {file}: give the path of a plain text in UTF-8.")
        return file
    how = "put a text there as tinyshakespeare.txt, or give the path of any text file"
    root = root_of(options.root, "tinyshakespeare", how)
    found = first_of([root], NAMES)
    if found is None:
        raise missing("tinyshakespeare", [root / name for name in NAMES], how)
    return found


def _encoded(file: Path) -> tuple[Tensor, str]:
    """The text as places in its sorted vocabulary, and the vocabulary."""
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{file} is no text in UTF-8: convert it first.") from None
    except OSError as refused:
        raise BadInput(f"{file} cannot be read ({refused.strerror}).") from None
    points = numpy.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    known, places = numpy.unique(points, return_inverse=True)
    return torch.from_numpy(places.astype(numpy.int64)), "".join(map(chr, known.tolist()))
