"""Surfaces on disk: written whole or not at all, and gone on with where they were left.

::

    surface.json            schema, versions, what it is of, how it was made, whether it is finished
    frame.safetensors       centre, directions, marks, the coordinates of the axes
    read.safetensors        the places read so far and what was read there; removed when the surface is finished
    values.safetensors      the finished surface
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput, Damaged
from landform.landscape import Landscape
from landform.surface._directions import Directions
from landform.surface._reading import Values
from landform.surface._surface import Surface

SCHEMA = 1
_ABOUT, _FRAME, _READ, _VALUES = "surface.json", "frame.safetensors", "read.safetensors", "values.safetensors"
# Places between two writings: what a killed process loses at most.
_TOGETHER = 64

Read: TypeAlias = Callable[..., Values]


def save(surface: Surface, folder: str | Path) -> Path:
    """Write a surface.

    Args:
        surface: what to write.
        folder: where; made if it is not there.

    Returns:
        The folder.

    Raises:
        BadInput: when there is a surface in it already, or it cannot be written.
    """
    place = store.make_folder(folder)
    if (place / _ABOUT).exists():
        raise BadInput(f"There is a surface in {place} already: give another folder, or remove it.")
    lock = store.Lock(place)
    try:
        _write_frame(place, surface.basis, surface.centre, surface.axes)
        finish(place, surface, "")
    finally:
        lock.release()
    return place


def load(folder: str | Path) -> Surface:
    """Read a surface that `save` wrote, or that was made with ``out=``.

    Args:
        folder: where it is.

    Returns:
        The surface.

    Raises:
        BadInput: when there is none, or it is not finished.
        Damaged: when a file is damaged.
    """
    place = Path(folder)
    if not (place / _ABOUT).is_file():
        raise BadInput(f"There is no surface in {place}: give a folder that landform wrote one into.")
    about = _about(place)
    if not about["finished"]:
        raise BadInput(f"The surface in {place} is not finished: make it again with out={str(place)!r} to go on.")
    try:
        frame, _ = store.read_tensors(place / _FRAME)
        values, _ = store.read_tensors(place / _VALUES)
        told = about["basis"]
        basis = Directions(
            frame["vectors"], told["how"], told["unit"], told["biases"], told["norms_of_layers"],
            frame.get("origin"), frame.get("marks"), tuple(told["names"]), frame.get("shares"), frame.get("values"),
            told["seed"],
        )  # fmt: skip
        error = float(values["centre_error"]) if "centre_error" in values else None
        return Surface(
            tuple(frame[f"axis{i}"] for i in range(len(frame["vectors"]))),
            values["losses"], values.get("errors"), basis, frame["centre"], float(values["centre_loss"]), error,
            values["read"], about["about"], about["how"], about["passes"], about["tolerance"], about["within"],
            about["estimate"],
        )  # fmt: skip
    except (KeyError, TypeError) as why:
        raise Damaged(f"{place} holds no whole surface ({why}): remove the folder and make it again.") from None


class Stored:
    """A surface that is being made in a folder.

    Attributes:
        folder: the folder, locked until `release`.
    """

    def __init__(
        self,
        folder: str | Path,
        landscape: Landscape,
        basis: Directions,
        centre: Tensor,
        axes: Sequence[Tensor],
        refinement: Sequence[Any] = (None, "range"),
    ) -> None:
        """Begin a surface, or go on with one.

        Args:
            folder: where; made if it is not there.
            landscape: what is read.
            basis: the directions.
            centre: ``[P]``.
            axes: coordinates along each.
            refinement: tolerance of an adaptive grid, and of what it is a share.

        Raises:
            BadInput: when another surface is in it, or another process is at it.
        """
        self.folder = store.make_folder(folder)
        self._key = json.dumps(
            {
                "landscape": landscape.fingerprint(),
                "centre": store.checksum(centre),
                "directions": store.checksum(basis.vectors),
                "grid": [store.checksum(axis) for axis in axes],
                "tolerance": list(refinement),
            }
        )
        self._lock = store.Lock(self.folder)
        try:
            if (self.folder / _ABOUT).exists():
                self._check()
            else:
                store.sweep(self.folder, older_than=0)
                for name in (_READ, _VALUES):
                    store.remove(self.folder / name)
                _write_frame(self.folder, basis, centre, axes)
                _write_about(self.folder, self._key, basis, finished=False)
            self._known: dict[bytes, tuple[float, float, float]] = {}  # loss, error, its share of the passes
            self._how = ""
            if (self.folder / _READ).exists():
                self._recall()
        except BaseException:
            self._lock.release()
            raise

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: `load` reads it."""
        return bool(_about(self.folder)["finished"])

    def read(self, read: Read, coordinates: Tensor, progress: Callable[[int, int], None] | None = None) -> Values:
        """Read places, those that are on disk from there and the others a few at a time.

        Args:
            read: reads a landscape at coordinates.
            coordinates: ``[n, k]``, float64.
            progress: called with (places read, places in all).

        Returns:
            What was read, in the order of the coordinates.
        """
        keys = [row.numpy().tobytes() for row in coordinates]
        left = [i for i, key in enumerate(keys) if key not in self._known]
        for start in range(0, len(left), _TOGETHER):
            part = left[start : start + _TOGETHER]
            found = read(coordinates[part])
            errors = found.errors if found.errors is not None else torch.full_like(found.losses, -1.0)
            for i, loss, error in zip(part, found.losses.tolist(), errors.tolist(), strict=True):
                self._known[keys[i]] = (loss, error, found.passes / len(part))
            self._how = found.how
            self._remember()
            if progress:
                progress(len(keys) - len(left) + start + len(part), len(keys))
        table = torch.tensor([self._known[key] for key in keys], dtype=torch.float64).reshape(-1, 3)
        losses, errors, passes = (column.clone() for column in table.T)
        # No share is below zero: that stands for targets without labels.
        return Values(losses, None if bool((errors == -1.0).any()) else errors, self._how, round(float(passes.sum())))

    def finish(self, surface: Surface) -> None:
        """Write the surface, and remove what was needed to go on.

        Args:
            surface: what has been made.
        """
        finish(self.folder, surface, self._key)

    def release(self) -> None:
        """Let others at the folder."""
        self._lock.release()

    def _check(self) -> None:
        about = _about(self.folder)
        ours, theirs = json.loads(self._key), json.loads(about["key"] or "{}")
        other = [name for name in ours if theirs.get(name) != ours[name]]
        if other:
            raise BadInput(
                f"The surface in {self.folder} is another one (its {' and its '.join(other)} differ): give another "
                "folder, or remove it."
            )

    def _remember(self) -> None:
        rows = torch.frombuffer(bytearray(b"".join(self._known)), dtype=torch.float64)
        values = torch.tensor(list(self._known.values()), dtype=torch.float64)
        tensors = {"coordinates": rows.view(len(values), -1), "values": values}
        store.write_tensors(self.folder / _READ, tensors, {"how": self._how}, settle=False)

    def _recall(self) -> None:
        tensors, told = store.read_tensors(self.folder / _READ)
        for row, (loss, error, passes) in zip(tensors["coordinates"], tensors["values"].tolist(), strict=True):
            self._known[row.numpy().tobytes()] = (loss, error, passes)
        self._how = told["how"]


def finish(folder: Path, surface: Surface, key: str) -> None:
    """Write what a surface holds, say that it is finished, and remove what was needed to go on.

    Args:
        folder: where its frame is.
        surface: the surface.
        key: what it is of.
    """
    tensors = {
        "losses": surface.losses,
        "read": surface.read,
        "centre_loss": torch.tensor([surface.centre_loss], dtype=torch.float64),
    }
    if surface.errors is not None:
        tensors["errors"] = surface.errors
    if surface.centre_error is not None:
        tensors["centre_error"] = torch.tensor([surface.centre_error], dtype=torch.float64)
    store.write_tensors(folder / _VALUES, tensors)
    _write_about(folder, key, surface.basis, finished=True, surface=surface)
    store.remove(folder / _READ)


def _write_frame(folder: Path, basis: Directions, centre: Tensor, axes: Sequence[Tensor]) -> None:
    given = {"origin": basis.origin, "marks": basis.marks, "shares": basis.shares, "values": basis.values}
    tensors = {"vectors": basis.vectors, "centre": centre, **{name: t for name, t in given.items() if t is not None}}
    tensors.update((f"axis{i}", axis) for i, axis in enumerate(axes))
    store.write_tensors(folder / _FRAME, tensors)


def _write_about(folder: Path, key: str, basis: Directions, *, finished: bool, surface: Surface | None = None) -> None:
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "landform": sys.modules["landform"].__version__,
        "key": key,
        "finished": finished,
        "basis": {
            "how": basis.how,
            "unit": basis.unit,
            "biases": basis.biases,
            "norms_of_layers": basis.norms_of_layers,
            "names": list(basis.names),
            "seed": basis.seed,
        },
    }
    if surface is not None:
        names = ("about", "how", "passes", "tolerance", "within", "estimate")
        content.update((name, getattr(surface, name)) for name in names)
    store.write_json(folder / _ABOUT, content)


def _about(folder: Path) -> dict[str, Any]:
    about = store.read_json(folder / _ABOUT)
    store.check_schema(about, folder / _ABOUT, SCHEMA)
    return about
