"""One seed of the study of freed networks: train, free at every relax time, train on, and look."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landform import curvature, models, paths
from landform.data import Dataset, Split
from landform.landscape import Landscape
from landform.layout import Layout
from landform.models import Freed
from landform.recording import Trajectory
from landform.studies._emergent_protocol import finite, some
from landform.studies._needle_protocol import NeedleProtocol
from landform.studies._parts import write_part
from landform.training import Recipe, Recording, train_many

# Eigenvalues to this share of themselves.
_TOL = 0.02


@dataclass(frozen=True)
class Seen:
    """A network on the samples it is looked at with.

    Attributes:
        train: some of the training samples.
        validation: those that times are selected on.
        test: those that say how good it is.
    """

    train: Landscape
    validation: Landscape
    test: Landscape

    @classmethod
    def of(cls, net: nn.Module, data: Dataset, held: Split, samples: int, device: str) -> Seen:
        """Look at a network."""
        part = some(data.train, samples)
        train = Landscape(net, (part.inputs, part.targets), device=device)
        return cls(train, train.on((held.inputs, held.targets)), train.on(data.test))

    def errors(self, points: Tensor) -> dict[str, list[float | None]]:
        """Shares of wrong labels at some points, by data."""
        return {name: finite(getattr(self, name).error(points)) for name in ("train", "validation", "test")}


def relaxed(folder: Path, protocol: NeedleProtocol, device: str, name: str, seed: int) -> None:
    """Train a convolutional network, free it at every relax time, and train what comes of it.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        seed: of the start and of the batches.
    """
    data, held = protocol.load()
    net = protocol.subject.net(data, seed)
    freed = models.freed(copy.deepcopy(net), tuple(data.train.inputs.shape[1:]))
    own = Seen.of(net, data, held, protocol.subject.samples, device)
    free = Seen.of(freed.net, data, held, protocol.subject.samples, device)
    recipe = replace(protocol.recipe, epochs=protocol.total, seed=seed)
    ends = {*protocol.relax, *(time + protocol.after for time in protocol.relax)}
    looks = sorted({*protocol.looks(protocol.total), *ends})
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        run = _trained([net], data, recipe, looks, Path(place, "cnn"), device)[0]
        origins = _points(run, recipe, data, protocol.relax)
        told: dict[str, Any] = {
            "kind": "relaxed",
            "subject": "",
            "seed": seed,
            "parameters": {"cnn": freed.points[1], "efcn": freed.points[0], "off": freed.size.off},
            "relax": list(protocol.relax),
            "cnn": {"epochs": looks, **own.errors(_points(run, recipe, data, looks))},
        }
        solution = _points(run, recipe, data, [protocol.total])[0]
        plain = _trained([freed.fresh(seed)], data, recipe, looks, Path(place, "fcn"), device)[0]
        told["fcn"] = {"epochs": looks, **_of_freed(freed, free, _points(plain, recipe, data, looks))}
        last = _points(plain, recipe, data, [protocol.total])[0]
        short = replace(recipe, epochs=protocol.after, seed=1000 + seed)
        times = protocol.looks(protocol.after)
        starts = freed.embed(origins)
        nets = [_at(freed, start) for start in starts]
        runs = _trained(nets, data, short, times, Path(place, "efcn"), device)
        told["efcn"] = [
            {"relax": relax, "epochs": list(times), **_of_freed(freed, free, _points(each, short, data, times))}
            for relax, each in zip(protocol.relax, runs, strict=True)
        ]
        points = torch.stack([_points(each, short, data, times[-1:])[0] for each in runs])
    told["ends"] = [_parted(freed, own, free, point) for point in (*points, last)]
    told["curvature"] = {
        "cnn": [_largest(own.train, point) for point in (*origins, solution)],
        "starts": [_largest(free.train, point) for point in starts],
        "ends": [_largest(free.train, point) for point in (*points, last)],
    }
    everyone = torch.stack([freed.embed(solution), *points, last])
    table = paths.barrier_matrix(free.train, everyone, steps=protocol.alphas)
    told["barriers"] = {"heights": [finite(row) for row in table.heights], "losses": finite(table.losses)}
    told["begun"] = [_line(free, protocol, start, point)["losses"] for start, point in zip(starts, points, strict=True)]
    told["back"] = [_line(free, protocol, point, freed.embed(freed.fold(point))) for point in (*points, last)]
    write_part(folder, name, told)


def _trained(
    nets: Sequence[nn.Module], data: Dataset, recipe: Recipe, epochs: Sequence[float], place: Path, device: str
) -> list[Trajectory]:
    steps = _steps(recipe, data, epochs)
    recording = Recording(at=steps, pairs=None, resumable_at=steps[-1:])
    outs = [place / str(i) for i in range(len(nets))]
    found = train_many(nets, data, [recipe] * len(nets), outs=outs, recording=recording, device=device)
    return [each.trajectory for each in found if each.trajectory is not None]


def _steps(recipe: Recipe, data: Dataset, epochs: Sequence[float]) -> list[int]:
    per_epoch = recipe.steps_per_epoch(len(data.train))
    return [round(epoch * per_epoch) for epoch in epochs]


def _points(run: Trajectory, recipe: Recipe, data: Dataset, epochs: Sequence[float]) -> Tensor:
    return torch.stack([run.at(step=step).point for step in _steps(recipe, data, epochs)])


def _at(freed: Freed, point: Tensor) -> nn.Module:
    """A copy of the freed network at a point of it."""
    net = copy.deepcopy(freed.net)
    Layout.of(net).load_(net, point)
    return net


def _of_freed(freed: Freed, seen: Seen, points: Tensor) -> dict[str, list[float | None]]:
    return {
        **seen.errors(points),
        "deviation": finite(freed.deviation(points)),
        "distance": finite(freed.distance(points)),
    }


def _parted(freed: Freed, own: Seen, free: Seen, point: Tensor) -> dict[str, Any]:
    """What the entries on and off the filters do at the end of a training, and how far those reach."""
    parts = torch.stack([freed.without_off(point), freed.without_local(point)])
    without_off, without_local = finite(free.test.error(parts))
    folded = finite(own.test.error(freed.fold(point)[None]))[0]
    spread = freed.locality(point)
    return {
        "without_off": without_off,
        "without_local": without_local,
        "folded": folded,
        "local": spread.local,
        "away": spread.distance.tolist(),
        "energy": finite(spread.energy),
        "mean_square": finite(spread.mean_square),
        "local_mean_square": spread.local_mean_square,
        "picture": [finite(row) for row in freed.picture(point, freed.size.layers[0].name)],
    }


def _largest(landscape: Landscape, point: Tensor) -> float | None:
    """The largest eigenvalue of the Hessian; None where the point is not finite."""
    if not bool(point.isfinite().all()):
        return None
    place = point.to(landscape.device)
    return float(curvature.eigenpairs(landscape.hessian(place, check=False), 1, tol=_TOL).values[0])


def _line(seen: Seen, protocol: NeedleProtocol, a: Tensor, b: Tensor) -> Mapping[str, Any]:
    """Loss and test error on a straight line; nothing where an end is not finite."""
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return {"losses": [], "test": []}
    found = paths.barrier(seen.train, a, b, steps=protocol.alphas, refine=0, on={"test": seen.test})
    errors = found.on["test"].errors
    assert errors is not None
    return {"losses": finite(found.losses), "test": finite(errors)}
