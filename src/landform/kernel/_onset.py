"""What a network could still learn from some time on, with its kernel held and with its kernel moving.

Fort et al. 2020, figures 8 and 9: from one point of a run, train the network's linear expansion there (green), the
network itself with a small step (blue), and see how either compares with where the run stands (red) and ends (purple).
"""

from __future__ import annotations

import copy
import functools
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.kernel._linearised import linearise
from landform.kernel._machine import regression, ridge_path
from landform.kernel.finite import ntk
from landform.landscape import Landscape
from landform.training import Recipe, Recording, train

Pair: TypeAlias = tuple[Tensor, Tensor]

# Errors of a training are read so many times on its way, besides its start.
_READINGS = 12
# Samples of a set that are looked at on the way of a training, and that kernel machines are judged by, at most: reading
# errors, and the kernel with the training samples, would be most of the cost.
_JUDGED = 2000
# Ridges tried for a kernel machine, from a hundred-thousandth of the kernel's mean eigenvalue up.
_RIDGES = 13


@dataclass(frozen=True)
class Course:
    """Errors on the way of a training from a point.

    Attributes:
        epochs: when they were read, ``[T]``, from 0.
        errors: share of wrong labels on each set, ``[T, S]``; nan once it has diverged. Of a set of more than 2,000
            samples they are read on 2,000, drawn by the seed.
        last: errors at the end, on all samples, ``[S]``.
        best: errors on all samples when those on the way were least, ``[S]``: chosen on the very set it is told of, as
            the paper does; infinite where all are nan.
        lr: the learning rate.
        diverged: whether it ended as NaN or infinity.
    """

    epochs: Tensor
    errors: Tensor = field(repr=False)
    last: Tensor
    best: Tensor
    lr: float
    diverged: bool


@dataclass(frozen=True)
class Onset:
    """What can be learned from one point on; all errors are shares of wrong labels on S sets.

    Attributes:
        sets: names of the sets.
        own: error at the point (the paper's red), ``[S]``.
        linearised: training of ``f_0 + J (theta - theta_0)`` (green).
        nonlinear: training of the network itself with the same small step (blue); None where it was not asked for.
        probe: training of the last layer alone, on features that stay; None where there is no linear layer. What it
            learns needs no tangent kernel. Features are those of evaluation mode.
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
    precision: Literal["full", "bfloat16"] = "full",
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
        precision: of the trainings, see `Recipe`.
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
    recipe = Recipe(epochs=epochs, batch_size=batch_size, lr=lr, momentum=momentum, precision=precision, seed=seed)
    point = point.to(landscape.device, landscape.dtype)
    buffers = landscape.calibrate(point) if landscape.batchnorm == "recompute" else {}
    net = copy.deepcopy(landscape._model).to(landscape.device, landscape.dtype)
    landscape.layout.load_(net, point)
    own = dict(net.named_buffers())
    for name, buffer in buffers.items():
        own[name].copy_(buffer)
    machine, machine_from = _machines(landscape, sets, point, samples, seed)
    pairs = {name: _pair(one) for name, one in sets.items()}
    train_on = functools.partial(_course, like=landscape, recipe=recipe)
    return Onset(
        tuple(sets),
        _errors(sets, point),
        train_on(linearise(net), _pair(landscape), pairs),
        train_on(copy.deepcopy(net), _pair(landscape), pairs) if nonlinear else None,
        train_on(*probed) if (probed := _last_layer(net, landscape, pairs)) is not None else None,
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


def _pair(landscape: Landscape) -> Pair:
    return landscape._data.inputs, landscape._data.targets  # type: ignore[union-attr]


def _course(net: nn.Module, pair: Pair, sets: Mapping[str, Pair], like: Landscape, recipe: Recipe) -> Course:
    """Train a model, and read its errors on the way."""
    until = recipe.steps(len(pair[0]))
    at = sorted({round(share * until / _READINGS) for share in range(_READINGS + 1)})
    loss = like._loss if like._loss_name not in ("cross-entropy", "mse") else like._loss_name
    own = Landscape(net, pair, loss=loss, device=like.device, dtype=like.dtype, batch_size=like._batch_size)
    whole = {name: own.on(each) for name, each in sets.items()}
    some = {name: _some(one, recipe.seed) for name, one in whole.items()}
    with tempfile.TemporaryDirectory(prefix="landform-") as folder:
        trained = train(
            net,
            pair,
            recipe,
            out=Path(folder) / "run",
            recording=Recording(at=at, pairs=None, resumable_at=(until,)),
            loss=loss,
            device=like.device,
            dtype=like.dtype,
        )
        assert trained.trajectory is not None
        points = [record.point.to(like.device, like.dtype) for record in trained.trajectory.records]
        epochs = torch.tensor(trained.trajectory.epochs, dtype=torch.float64)
    errors = torch.stack([_errors(some, each) for each in points])
    least = torch.nan_to_num(errors, nan=math.inf).min(0)
    last, best = errors[-1].clone(), least.values
    for column, (name, one) in enumerate(whole.items()):
        if some[name] is not one:
            last[column] = _errors({name: one}, points[-1])
            if math.isfinite(best[column]):
                best[column] = _errors({name: one}, points[int(least.indices[column])])
    return Course(epochs, errors, last, best, recipe.lr, trained.diverged)


def _errors(sets: Mapping[str, Landscape], point: Tensor) -> Tensor:
    """Error on each set, ``[S]``; nan where the point has diverged."""
    if not bool(torch.isfinite(point).all()):
        return torch.full((len(sets),), math.nan, dtype=torch.float64)
    found = [landscape.read(point).error for landscape in sets.values()]
    return torch.stack([torch.tensor(math.nan, dtype=torch.float64) if e is None else e.double() for e in found])


def _last_layer(
    net: nn.Module, landscape: Landscape, pairs: Mapping[str, Pair]
) -> tuple[nn.Module, Pair, dict[str, Pair]] | None:
    """The last linear layer, and what it is trained on and read on; None where there is none, or it is all there is.

    Where what it puts out is what the network puts out, it stands alone, on inputs that are computed once.
    """
    probed = copy.deepcopy(net)
    layers = [module for module in probed.modules() if isinstance(module, nn.Linear)]
    if not layers:
        return None
    free = {id(parameter) for parameter in layers[-1].parameters()}
    frozen = [p for p in probed.parameters() if id(p) not in free]
    for parameter in frozen:
        parameter.requires_grad_(False)
    if not frozen or not any(p.requires_grad for p in probed.parameters()):
        return None
    every = {"": _pair(landscape), **pairs}
    seen = {name: _features(net, layers[-1], pair, landscape) for name, pair in every.items()}
    alone = {name: (x, every[name][1]) for name, x in seen.items() if x is not None}
    if len(alone) < len(every):
        return probed, every[""], dict(pairs)
    return layers[-1], alone.pop(""), alone


def _features(net: nn.Module, layer: nn.Linear, pair: Pair, like: Landscape) -> Tensor | None:
    """What the last linear layer sees, ``[N, d]``; None where it does not make the outputs."""
    body = copy.deepcopy(net)
    name = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)][-1]
    home, _, own = name.rpartition(".")
    setattr(body.get_submodule(home), own, nn.Identity())
    found = []
    unlabelled = pair[0], torch.zeros(len(pair[0]), dtype=torch.long)  # there may be fewer features than classes
    for each in (body, net):
        try:
            landscape = Landscape(
                each, unlabelled, batchnorm="keep", device=like.device, dtype=like.dtype, batch_size=like._batch_size
            )
            found.append(landscape.outputs(landscape.here))
        except (BadInput, RuntimeError):  # what comes after the layer takes none but its own width
            return None
    features, outputs = found
    if features.dim() != 2 or features.shape[1] != layer.in_features:
        return None
    again = nn.functional.linear(features, layer.weight, layer.bias)
    return features if again.shape == outputs.shape and torch.allclose(again, outputs, 1e-4, 1e-5) else None


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
