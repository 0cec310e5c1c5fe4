"""The probe of the children of a record: how far runs have come apart that differ in noise alone (Fort et al. 2020)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from landform import kernel, paths
from landform.functions import compare_all, units
from landform.landscape import Landscape
from landform.probes._kernel import few
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value


def _children(moment: Moment, *, steps: int, refine: int, samples: int) -> dict[str, Value | float]:
    """Means over all pairs of finished children; nan where one has diverged."""
    landscape = moment.landscape
    ends = [child.records[-1] for child in moment.children]
    points = torch.stack([end.point for end in ends]).to(landscape.device, landscape.dtype)
    grid = torch.linspace(0, 1, steps, dtype=torch.float64)
    names = ["barrier", "distance", "angle", "kernel_distance", "output_distance", "loss"]
    names += ["barrier_error", "error", "disagreement", "softmax_distance"] if landscape.has_labels else []
    names += ["activation_distance"] if units(landscape) else []
    averaged = landscape.batchnorm == "recompute"
    names += ["barrier_error_averaged" if landscape.has_labels else "barrier_averaged"] if averaged else []
    curves = ["loss"] + (["error"] if landscape.has_labels else [])
    found: dict[str, Value | float] = {f"children_{name}": math.nan for name in names}
    found |= {
        f"children_{name}_line": Value(torch.full((steps,), math.nan), ("alpha",), {"alpha": grid.tolist()})
        for name in curves
    }
    if not bool(torch.isfinite(points).all()):
        return found
    start = moment.record.point.to(landscape.device, landscape.dtype)
    pairs = list(itertools.combinations(range(len(points)), 2))
    lines = [paths.barrier(landscape, points[i], points[j], steps=steps, refine=refine) for i, j in pairs]
    found["children_barrier"] = _mean([line.height for line in lines])
    found["children_distance"] = _mean([float(torch.linalg.vector_norm(points[i] - points[j])) for i, j in pairs])
    found["children_angle"] = _mean([_angle(points[i] - start, points[j] - start) for i, j in pairs])
    found["children_kernel_distance"] = _kernels(landscape, points, samples, pairs)
    own = landscape.read(points)
    found["children_loss"] = float(own.loss.mean())
    _put_line(found, "loss", torch.stack([_on(grid, line.alphas, line.losses) for line in lines]), grid)
    if averaged:
        buffers = [landscape.calibrate(point) for point in points]
        other = [
            paths.barrier(landscape, points[i], points[j], steps=steps, refine=0, buffers=(buffers[i], buffers[j]))
            for i, j in pairs
        ]
        key = "children_barrier_error_averaged" if landscape.has_labels else "children_barrier_averaged"
        found[key] = _mean([line.height if line.error_height is None else line.error_height for line in other])
    seen = compare_all(landscape, points, patterns="children_activation_distance" in found)
    found["children_output_distance"] = _of_pairs(seen.output_distance, pairs)
    if seen.patterns is not None:
        found["children_activation_distance"] = _of_pairs(torch.as_tensor(seen.patterns.total), pairs)
    if own.error is not None and seen.disagreement is not None and seen.softmax_distance is not None:
        found["children_barrier_error"] = _mean([line.error_height or 0.0 for line in lines])
        found["children_error"] = float(own.error.mean())
        found["children_disagreement"] = _of_pairs(seen.disagreement, pairs)
        found["children_softmax_distance"] = _of_pairs(seen.softmax_distance, pairs)
        errors = [_on(grid, line.alphas, line.errors) for line in lines if line.errors is not None]
        _put_line(found, "error", torch.stack(errors), grid)
    return found


def _put_line(found: dict[str, Value | float], name: str, lines: Tensor, grid: Tensor) -> None:
    found[f"children_{name}_line"] = Value(lines.mean(0), ("alpha",), {"alpha": grid.tolist()})


def _on(grid: Tensor, alphas: Tensor, values: Tensor) -> Tensor:
    """The values at the alphas that every line was read at."""
    return values[torch.searchsorted(alphas, grid - 1e-9)]


def _angle(a: Tensor, b: Tensor) -> float:
    """Between two ways from the spawn point, in degrees; nan where one has not moved."""
    lengths = torch.linalg.vector_norm(a.double()), torch.linalg.vector_norm(b.double())
    if not float(lengths[0] * lengths[1]):
        return math.nan
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a.double() @ b.double() / lengths[0] / lengths[1])))))


def _kernels(landscape: Landscape, points: Tensor, samples: int, pairs: list[tuple[int, int]]) -> float:
    if not hasattr(landscape._data, "targets"):
        return math.nan
    some = few(landscape, samples)[0]
    kernels = [kernel.ntk(some, point, kind="full") for point in points]
    if not all(bool(torch.isfinite(each).all()) and bool(each.any()) for each in kernels):
        return math.nan
    return _of_pairs(kernel.distances(kernels), pairs)


def _of_pairs(table: Tensor, pairs: list[tuple[int, int]]) -> float:
    return _mean([float(table[i, j]) for i, j in pairs])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


children = Probe(
    "children",
    _children,
    settings={"steps": 21, "refine": 0, "samples": 64},
    times="children",
    needs=("landscape", "children"),
    doc="how far the finished children of a record have come apart: barriers, kernels, activations, functions",
    cost=60.0,
)
