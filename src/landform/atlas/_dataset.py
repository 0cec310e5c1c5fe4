"""Several quantities as one xarray Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landform.atlas._labelled import Labelled
from landform.errors import try_import


def join(quantities: Sequence[Labelled]) -> Any:
    """Join quantities over all times and sets.

    Where a dimension without labels has different lengths in different quantities, it takes the quantity's name
    there: ``DIM_of_NAME``.

    Args:
        quantities: what to join.

    Returns:
        An ``xarray.Dataset``.

    Raises:
        BadInput: when xarray is not installed.
    """
    xarray = try_import("xarray", "analysis")
    steps = {t: s for q in quantities for t, s in zip(q.coords["time"], q.coords["step"], strict=True)}
    sets = {str(label) for q in quantities if "set" in q.coords for label in q.coords["set"].reshape(-1)}
    lengths: dict[str, set[int]] = {}
    for quantity in quantities:
        for dim, size in zip(quantity.dims, quantity.shape, strict=True):
            lengths.setdefault(dim, set()).add(size)
    arrays = {}
    for quantity in quantities:
        array = quantity.to_xarray().drop_vars("step")
        if len(sets) > 1 and "set" in quantity.coords and "set" not in quantity.dims:
            array = array.expand_dims("set")
        odd = [d for d in quantity.dims if d not in quantity.coords and len(lengths[d]) > 1]
        arrays[quantity.name] = array.rename({dim: f"{dim}_of_{quantity.name}" for dim in odd})
    joined = xarray.merge(
        [array.to_dataset(name=name) for name, array in arrays.items()],
        join="outer",
        compat="no_conflicts",
        combine_attrs="drop",
    )
    if not arrays:
        return joined
    return joined.assign_coords(step=("time", [int(steps[float(time)]) for time in joined["time"].values]))
