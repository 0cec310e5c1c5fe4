"""One quantity as an array with named dimensions, put together from the results at single times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landform.errors import BadInput, try_import

Labels = Sequence[str | float]


@dataclass(frozen=True, eq=False)
class Labelled:
    """An array with named dimensions.

    Attributes:
        name: the quantity.
        dims: the name of each dimension: ``set`` (left out where there is one set, or the quantity does not depend
            on it), ``time``, then the quantity's own.
        values: the numbers, read-only. What was not measured is nan; whole numbers and booleans are then floats.
        coords: labels along dimensions, by dimension: ``set`` names (a single name where there is one set),
            ``time`` in epochs, and what the probe gave; ``step`` is a second row of labels along ``time``.
        lengths: for each dimension along which the results differ in length, the length at each (set and) time; they
            are padded with nan at the end. Empty where all have the same shape.
        settings: the settings with which it was measured.
    """

    name: str
    dims: tuple[str, ...]
    values: NDArray[Any]
    coords: dict[str, NDArray[Any]]
    lengths: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""
        return self.values.shape

    def to_xarray(self) -> Any:
        """The same as an ``xarray.DataArray`` (needs the ``analysis`` extra).

        Returns:
            The array, with ``step`` as a second coordinate along ``time``, ``NAME_DIM_length`` where lengths
            differ, and the settings among its attributes.

        Raises:
            BadInput: when xarray is not installed.
        """
        xarray = try_import("xarray", "analysis")
        coords: dict[str, Any] = {
            name: ("time" if name == "step" else name, labels) if labels.ndim else labels
            for name, labels in self.coords.items()
        }
        for dim, lengths in self.lengths.items():
            coords[f"{self.name}_{dim}_length"] = (self.dims[: lengths.ndim], lengths)
        attributes = {name: value for name, value in self.settings.items() if isinstance(value, str | int | float)}
        return xarray.DataArray(self.values.copy(), coords, self.dims, self.name, attributes)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(self.dims, self.shape, strict=True))
        return f"Labelled({self.name!r}, ({sizes}), {self.values.dtype})"


@dataclass(frozen=True)
class Piece:
    """One result of a quantity: the numbers at one time, on one set.

    Attributes:
        set: the set, or None where the quantity depends on none.
        step: the time in steps.
        epoch: the same in epochs.
        numbers: an array of the quantity's own dimensions.
        dims: their names.
        coords: labels along some of them.
    """

    set: str | None
    step: int
    epoch: float
    numbers: NDArray[Any]
    dims: tuple[str, ...]
    coords: Mapping[str, Labels]


def assemble(name: str, pieces: Sequence[Piece], settings: Mapping[str, Any] | None = None) -> Labelled:
    """Put results together: times ascending, ``train`` before the other sets, which go by name.

    Args:
        name: the quantity.
        pieces: its results, at most one for each set and time.
        settings: the settings with which it was measured.

    Returns:
        The array.

    Raises:
        BadInput: when the results do not have the same dimensions, or not the same labels along one.
    """
    dims = pieces[0].dims
    for piece in pieces:
        if piece.dims != dims:
            raise BadInput(
                f"{name} has dimensions {dims} at step {pieces[0].step} and {piece.dims} at step {piece.step}: "
                "give one of them another name."
            )
    sets = sorted({piece.set for piece in pieces}, key=lambda each: (each != "train", each or ""))
    epochs = dict(sorted((piece.step, piece.epoch) for piece in pieces))
    row = {step: i for i, step in enumerate(epochs)}
    inner = tuple(max(sizes) for sizes in zip(*(piece.numbers.shape for piece in pieces), strict=True))
    ragged = any(piece.numbers.shape != inner for piece in pieces)
    missing = len(pieces) < len(sets) * len(epochs)
    dtype = np.result_type(*{piece.numbers.dtype for piece in pieces})
    if (ragged or missing) and not np.issubdtype(dtype, np.floating):
        dtype = np.dtype(np.float64)
    hollow = np.nan if np.issubdtype(dtype, np.floating) else 0
    values = np.full((len(sets), len(epochs), *inner), hollow, dtype)
    lengths = np.zeros((len(dims), len(sets), len(epochs)), np.int64)
    for piece in pieces:
        i, j = sets.index(piece.set), row[piece.step]
        place: tuple[Any, ...] = (i, j, *(slice(size) for size in piece.numbers.shape))
        values[place] = piece.numbers
        lengths[:, i, j] = piece.numbers.shape
    coords: dict[str, NDArray[Any]] = {"time": np.array(list(epochs.values()), np.float64)}
    coords["step"] = np.array(list(epochs), np.int64)
    coords |= {dim: _labels(name, dim, pieces, size) for dim, size in _labelled_dims(pieces, dims, inner)}
    one = len(sets) == 1
    if sets != [None]:
        coords["set"] = np.array(sets[0] if one else sets)
    values.flags.writeable = False
    return Labelled(
        name,
        (*(() if one else ("set",)), "time", *dims),
        values[0] if one else values,
        coords,
        {
            dim: lengths[i, 0] if one else lengths[i]
            for i, dim in enumerate(dims)
            if any(piece.numbers.shape[i] != inner[i] for piece in pieces)
        },
        settings or {},
    )


def to_numpy(numbers: Tensor) -> NDArray[Any]:
    """Turn a tensor into an array; bfloat16, which NumPy lacks, becomes float32.

    Args:
        numbers: any tensor.

    Returns:
        The array.
    """
    plain = numbers.detach().cpu()
    array: NDArray[Any] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def _labelled_dims(pieces: Sequence[Piece], dims: tuple[str, ...], inner: tuple[int, ...]) -> list[tuple[str, int]]:
    return [(dim, size) for dim, size in zip(dims, inner, strict=True) if any(dim in p.coords for p in pieces)]


def _labels(name: str, dim: str, pieces: Sequence[Piece], size: int) -> NDArray[Any]:
    """The labels along a dimension: those of the longest result, of which the others must be the beginning."""
    longest = next(p for p in pieces if p.numbers.shape[p.dims.index(dim)] == size)
    labels = list(longest.coords.get(dim, ()))
    for piece in pieces:
        own = list(piece.coords.get(dim, ()))
        if len(own) != piece.numbers.shape[piece.dims.index(dim)] or own != labels[: len(own)]:
            raise BadInput(
                f"{name} has other labels along {dim!r} at step {longest.step} than at step {piece.step}: keep what "
                "changes with time as a quantity of its own."
            )
    return np.array(labels)
