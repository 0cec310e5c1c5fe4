"""What a network could still learn from some time on, with its kernel held and with its kernel moving.

Fort et al. 2020, figures 8 and 9: from one point of a run, train the network's linear expansion there (green), the
network itself with a small step (blue), and see how either compares with where the run stands (red) and ends (purple).
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.kernel._linearised import linearise
from landform.kernel._machine import regression, ridge_path
from landform.kernel.finite import ntk
from landform.landscape import Landscape
from landform.training import Recipe, Recording, train

# Errors of a training are read so many times on its way, besides its start.
_READINGS = 12
# Samples of a set that kernel machines are judged by, at most: their kernel with the training samples is the cost.
_JUDGED = 2000
# Ridges tried for a kernel machine, from a hundred-thousandth of the kernel's mean eigenvalue up.
_RIDGES = 13


@dataclass(frozen=True)
class Course:
    """Errors on the way of a training from a point.

    Attributes:
        epochs: when they were read, ``[T]``, from 0.
        errors: share of wrong labels on each set, ``[T, S]``; nan once it has diverged.
        lr: the learning rate.
        diverged: whether it ended as NaN or infinity.
    """

    epochs: Tensor
    errors: Tensor = field(repr=False)
    lr: float
    diverged: bool

    @property
    def last(self) -> Tensor:
        """Errors at the end, ``[S]``."""
        return self.errors[-1]

    @property
    def best(self) -> Tensor:
        """Least errors on the way, ``[S]``: chosen on the very set it is told of, as the paper does."""
        return torch.nan_to_num(self.errors, nan=math.inf).min(0).values


@dataclass(frozen=True)
class Onset:
    """What can be learned from one point on; all errors are shares of wrong labels on S sets.

    Attributes:
        sets: names of the sets.
        own: error at the point (the paper's red), ``[S]``.
        linearised: training of ``f_0 + J (theta - theta_0)`` (green).
        nonlinear: training of the network itself with the same small step (blue); None where it was not asked for.
        probe: training of the last layer alone, on features that stay; None where there is no linear layer. What it
            learns needs no tangent kernel.
        machine: ridge regression on the trace kernel in closed form, ``[S]``; the ridge of least left-out error. It is
            judged by at most 2,000 samples of each set, drawn by the seed.
        machine_from: the same, started from the outputs at the point, ``[S]``.
        samples: training samples that the machines saw.
        recipe: how the three were trained.
    """

    sets: tuple[str, ...]
    own: Tensor
    linearised: Course
    nonlinear: Course | None
    probe: Course | None
    machine: Tensor
    machine_from: Tensor
    samples: int
    recipe: Recipe

    @property
    def advantage(self) -> Tensor:
        """Nonlinear advantage, green - blue, at the end of both, ``[S]``; nan where blue is not there."""
        if self.nonlinear is None:
            return torch.full_like(self.own, math.nan)
        return self.linearised.last - self.nonlinear.last


def onset(
    landscape: Landscape,
    point: Tensor,
    on: Mapping[str, Landscape] | None = None,
    *,
    epochs: float = 24.0,
    lr: float = 0.01,
    momentum: float = 0.9,
    batch_size: int = 128,
    samples: int = 600,
    nonlinear: bool = True,
    seed: int = 0,
) -> Onset:
    """Train from a point with the kernel held there, with the kernel moving, and the last layer alone.

    The linearised network, the network and its last layer are trained alike, by SGD with momentum at a constant small
    learning rate on the landscape's own loss; a run's own step would take the network away from the point at once.
    Beside them stands the kernel machine in closed form on some of the training samples.

    Args:
        landscape: the training data, with labels in memory.
        point: ``[P]``.
        on: sets to test on, by name, such as ``{"test": landscape.on(data.test)}``; the training data themselves,
            named ``train``, by default.
        epochs: how long to train.
        lr: the learning rate.
        momentum: of SGD.
        batch_size: samples a step.
        samples: training samples for the kernel machines; 0 for no machine.
        nonlinear: whether to train the network itself too.
        seed: of the order of the data, and of the choice of samples.

    Returns:
        The errors.

    Raises:
        BadInput: when the landscape's data are a stream or no labels, or point and settings do not fit.
    """
    if refusal := why_no_onset(landscape):
        raise BadInput(f"Training from here on is not possible: {refusal}.")
    landscape.layout.check(point)
    if not bool(torch.isfinite(point).all()):
        raise BadInput("The point holds NaN or infinity: there is nothing to train from.")
    sets = {"train": landscape} if on is None else dict(on)
    recipe = Recipe(epochs=epochs, batch_size=batch_size, lr=lr, momentum=momentum, seed=seed)
    point = point.to(landscape.device, landscape.dtype)
    buffers = landscape.calibrate(point) if landscape.batchnorm == "recompute" else {}
    net = copy.deepcopy(landscape._model).to(landscape.device, landscape.dtype)
    landscape.layout.load_(net, point)
    own = dict(net.named_buffers())
    for name, buffer in buffers.items():
        own[name].copy_(buffer)
    machine, machine_from = _machines(landscape, sets, point, samples, seed)
    return Onset(
        tuple(sets),
        _errors(sets, point),
        _course(linearise(net), landscape, sets, recipe),
        _course(copy.deepcopy(net), landscape, sets, recipe) if nonlinear else None,
        _course(probed, landscape, sets, recipe) if (probed := _last_layer(net)) is not None else None,
        machine,
        machine_from,
        min(samples, len(landscape._data.targets)),  # type: ignore[union-attr]
        recipe,
    )


def why_no_onset(landscape: Landscape) -> str | None:
    """Why `onset` cannot be taken on a landscape.

    Args:
        landscape: the landscape.

    Returns:
        The reason, or None where it can.
    """
    if not hasattr(landscape._data, "targets"):
        return "the data are a stream of batches, which landform's own training does not take"
    if not landscape.has_labels or landscape._data.targets.dim() != 1:
        return "the targets are not labels, one for each sample"
    return None


def _course(net: nn.Module, landscape: Landscape, sets: Mapping[str, Landscape], recipe: Recipe) -> Course:
    """Train a model on the landscape's data, and read its errors on the way."""
    data = landscape._data
    pair = (data.inputs, data.targets)  # type: ignore[union-attr]
    until = recipe.steps(len(pair[0]))
    at = sorted({round(share * until / _READINGS) for share in range(_READINGS + 1)})
    loss = landscape._loss if landscape._loss_name not in ("cross-entropy", "mse") else landscape._loss_name
    seen = {
        name: Landscape(
            net, pair, loss=loss, device=landscape.device, dtype=landscape.dtype, batch_size=landscape._batch_size
        ).on((one._data.inputs, one._data.targets))  # type: ignore[union-attr]
        for name, one in sets.items()
    }
    with tempfile.TemporaryDirectory(prefix="landform-") as folder:
        trained = train(
            net,
            pair,
            recipe,
            out=Path(folder) / "run",
            recording=Recording(at=at, pairs=None, resumable_at=(until,)),
            loss=loss,
            device=landscape.device,
            dtype=landscape.dtype,
        )
        assert trained.trajectory is not None
        points = [record.point.to(landscape.device, landscape.dtype) for record in trained.trajectory.records]
        epochs = torch.tensor(trained.trajectory.epochs, dtype=torch.float64)
    return Course(epochs, torch.stack([_errors(seen, each) for each in points]), recipe.lr, trained.diverged)


def _errors(sets: Mapping[str, Landscape], point: Tensor) -> Tensor:
    """Error on each set, ``[S]``; nan where the point has diverged."""
    if not bool(torch.isfinite(point).all()):
        return torch.full((len(sets),), math.nan, dtype=torch.float64)
    found = [landscape.read(point).error for landscape in sets.values()]
    return torch.stack([torch.tensor(math.nan, dtype=torch.float64) if e is None else e.double() for e in found])


def _last_layer(net: nn.Module) -> nn.Module | None:
    """The network with all frozen but its last linear layer; None where there is none, or it is all there is."""
    probed = copy.deepcopy(net)
    layers = [module for module in probed.modules() if isinstance(module, nn.Linear)]
    if not layers:
        return None
    free = {id(parameter) for parameter in layers[-1].parameters()}
    frozen = [p for p in probed.parameters() if id(p) not in free]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return probed if frozen and any(p.requires_grad for p in probed.parameters()) else None


def _machines(
    landscape: Landscape, sets: Mapping[str, Landscape], point: Tensor, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Errors of kernel regression on the trace kernel, from nothing and from the outputs at the point, ``[S]`` each."""
    gap = torch.full((len(sets),), math.nan, dtype=torch.float64)
    if samples < 1:
        return gap, gap.clone()
    targets = landscape._data.targets  # type: ignore[union-attr]
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))[:samples]
    chosen = landscape.subset(order)
    labels, inputs = targets[order.to(targets.device)], chosen._data.inputs  # type: ignore[union-attr]
    kernel = ntk(chosen, point, kind="trace")
    start = chosen.outputs(point).flatten(1)
    classes = start.shape[1]
    ridges = ridge_path(kernel, _RIDGES, low=1e-5)
    fits = [regression(kernel, labels, ridges, classes=classes, initial=f0) for f0 in (None, start)]
    found = torch.empty(2, len(sets), dtype=torch.float64)
    for column, whole in enumerate(sets.values()):
        one = _some(whole, seed)
        cross = ntk(one, point, kind="trace", x2=inputs)
        wanted = one._data.targets.cpu()  # type: ignore[union-attr]
        for row, (fit, f0) in enumerate(zip(fits, (None, one.outputs(point).flatten(1)), strict=True)):
            found[row, column] = (fit.predict(cross, initial=f0).argmax(1).cpu() != wanted).double().mean()
    return found[0], found[1]


def _some(landscape: Landscape, seed: int) -> Landscape:
    """The landscape, or one of some of its samples where there are many."""
    count = len(landscape._data.targets)  # type: ignore[union-attr]
    if count <= _JUDGED:
        return landscape
    return landscape.subset(torch.randperm(count, generator=torch.Generator().manual_seed(seed + 1))[:_JUDGED])
