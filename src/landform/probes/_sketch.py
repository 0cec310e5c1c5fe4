"""A probe of the tangent kernel where it can only be estimated: models of very many outputs and parameters."""

from __future__ import annotations

import math

import torch

from landform import kernel
from landform.probes._kernel import few, without_subset
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value


def _kernel_sketch(
    moment: Moment, *, samples: int, size: int, draws: int, k: int, seed: int
) -> dict[str, Value | float]:
    """Spectrum of the estimated trace kernel, its standard error, and its distance from the first record's."""
    landscape, start = moment.landscape, moment.start
    some, _ = few(landscape, samples)
    ranks = {"rank": list(range(1, k + 1))}
    values = torch.full((k,), math.nan, dtype=torch.float64)
    found: dict[str, Value | float] = dict.fromkeys(
        ("sketch_distance", "sketch_effective_rank", "sketch_error"), math.nan
    )
    if bool(torch.isfinite(moment.point).all()):
        # Drawn alike at both times, so that what the draws do to the kernel is the same and leaves the distance.
        now, first = (
            kernel.sketch(some, point.to(landscape.device, landscape.dtype), size=size, draws=draws, seed=seed).kernel()
            for point in (moment.point, start.point)
        )
        spectrum = kernel.spectrum(now.kernel)
        values[: min(k, len(spectrum.values))] = spectrum.values[:k].cpu()
        found = {
            "sketch_distance": kernel.distance(first.kernel, now.kernel),
            "sketch_effective_rank": spectrum.effective_rank,
            "sketch_error": now.standard_error,
        }
    return {"sketch_eigenvalues": Value(values, ("rank",), ranks), **found}


kernel_sketch = Probe(
    "kernel_sketch",
    _kernel_sketch,
    settings={"samples": 256, "size": 4096, "draws": 2, "k": 32, "seed": 0},
    times=8,
    needs=("landscape", "start"),
    doc="trace kernel estimated from a few mixes of outputs and shortened gradients: spectrum, distance from the first",
    cost=6.0,
    applies=without_subset,
)
