"""What came of a merge on disk."""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from landform.merging._layers import Layer, Sums
from landform.merging._method import Per
from landform.merging._varying import Varying
from landform.store import size_text

_BLOCK = re.compile(r"((?:.*?\.)?\d+)\.")


@dataclass(frozen=True)
class FileMerge:
    """Weights on disk made into one, and how.

    Attributes:
        out: the folder or file; None where nothing was to be written.
        method: its name.
        sources: as they were given.
        base: as it was given, or None.
        weights: of the sources, as given; ones where none were.
        settings: of the method, each with its value.
        per: over what the method gathered what it had to know.
        tensors: how many the merge has.
        bytes: how many they take.
        files: names of the files of weights, and what each takes.
        memory: bytes of numbers held at a time, roughly.
        layers: each merged tensor beside those of the sources; none where no report was asked for.
        groups: the same for the tensors of each numbered block, such as ``layers.3``, and of each other module.
        total: the same over all of them, or None.
        facts: what is worth knowing, by topic: whose other files were copied, what was averaged, kept or left out.
    """

    out: Path | None
    method: str
    sources: tuple[str, ...]
    base: str | None
    weights: tuple[float | Varying, ...]
    settings: Mapping[str, Any]
    per: Per
    tensors: int
    bytes: int
    files: Mapping[str, int]
    memory: int
    layers: tuple[Layer, ...]
    groups: tuple[Layer, ...] = ()
    total: Layer | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """What was done, in a few lines."""
        where = f"written to {self.out}" if self.out else "would be written"
        on = f" on {self.base}" if self.base else ""
        count = len(self.files)
        lines = [
            f"{self.method} of {len(self.sources)}{on}, per {self.per}: {self.tensors} tensors, "
            f"{size_text(self.bytes)} in {count} file{'s' * (count != 1)}, {where}",
            *(f"{topic}: {told}" for topic, told in self.facts.items()),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN as None.

        Returns:
            What is kept beside the weights as ``merge.json``.
        """
        plain: dict[str, Any] = _plain({**vars(self), "out": None if self.out is None else str(self.out)})
        return plain


def combined(sums: Mapping[str, Sums]) -> tuple[tuple[Layer, ...], Layer | None]:
    """Describe several tensors as one.

    Args:
        sums: of each, by name.

    Returns:
        Each group of tensors, and all together.
    """
    groups: dict[str, list[Sums]] = {}
    for name, own in sums.items():
        match = _BLOCK.match(name)
        groups.setdefault(match[1] if match else name.rpartition(".")[0] or name, []).append(own)
    together = {name: functools.reduce(operator.add, every) for name, every in groups.items()}
    total = functools.reduce(operator.add, together.values()).layer("all") if together else None
    return tuple(own.layer(name) for name, own in together.items()), total


def _plain(value: Any) -> Any:
    if isinstance(value, Layer):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
