"""One result in one file: what it holds, and how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from landform import store
from landform.errors import BadInput, Damaged

SCHEMA = 1

Values: TypeAlias = Mapping[str, tuple[Tensor, tuple[str, ...], Mapping[str, Sequence[str | float]]]]


@dataclass(frozen=True)
class Stored:
    """What the atlas knows of one result beside its numbers.

    Attributes:
        probe: the probe that took it.
        set: the set it was taken on; None where the probe looks at no data.
        step: the time in steps.
        epoch: the same in epochs.
        basis: hash of the probe's version and settings and of what it measured on.
        seen: digest of each record the probe looked at, by the part it played (``record``, ``start``, ...).
        version: the probe's version.
        settings: its settings.
        seconds: how long it took; what several probes share counts for the first of them.
        dtype: the type it was computed in.
        seed: its seed, if it has one.
        written: when, in nanoseconds since 1970.
        quantities: dimensions and labels of each quantity, by name.
    """

    probe: str
    set: str | None
    step: int
    epoch: float
    basis: str
    seen: Mapping[str, str]
    version: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    dtype: str = ""
    seed: int | None = None
    written: int = 0
    quantities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of its file: ``PROBE@SET.STEP.safetensors``, or ``PROBE.STEP.safetensors``."""
        where = "" if self.set is None else f"@{self.set}"
        return f"{self.probe}{where}.{self.step:09d}.safetensors"

    def to_json(self) -> str:
        """Write it as JSON.

        Returns:
            The text.
        """
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Stored:
        """Read it from JSON.

        Args:
            text: what `to_json` gave.

        Returns:
            The same.
        """
        found = cls(**json.loads(text))
        if type(found.step) is not int or not all("dims" in about for about in found.quantities.values()):
            raise ValueError("it is no result of a probe")
        return found


def write_result(folder: Path, stored: Stored, values: Values) -> None:
    """Write a result into its file, whole or not at all.

    Args:
        folder: the folder of results.
        stored: what is known of it.
        values: its numbers.
    """
    metadata = {"schema": json.dumps(SCHEMA), "result": stored.to_json()}
    store.write_tensors(folder / stored.file, {name: value[0] for name, value in values.items()}, metadata)


def read_header(path: Path) -> Stored:
    """Read what is known of a result from its file.

    Args:
        path: the file.

    Returns:
        What is known of it.

    Raises:
        Damaged: when the file is not the result it should be.
    """
    file = store.open_tensors(path)
    try:
        store.check_schema({"schema": json.loads(file.metadata["schema"])}, path, SCHEMA)
        stored = Stored.from_json(file.metadata["result"])
        if stored.file != path.name or set(stored.quantities) != set(file.entries):
            raise ValueError(f"it is {stored.file} under another name")
    except BadInput:
        raise
    except (KeyError, ValueError, TypeError, AttributeError) as why:
        raise Damaged(f"{path} is not the result it should be ({why}): remove it, and survey again.") from None
    return stored
