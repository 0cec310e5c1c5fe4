"""How the kernel moves in training without an adversary and with two, and what its linear expansion learns."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from landform import kernel
from landform.attacks import Attack, Space, perturb, robustness
from landform.data import Dataset
from landform.landscape import Landscape
from landform.training import Recipe, Recording, train

if TYPE_CHECKING:
    from landform.studies._adversarial_kernel import KernelProtocol

# Inputs are in [0, 1], and stay there.
_BOX = Space((1.0,), (0.0,), (1.0,))
# A kernel whose distance to the last one is below this share of the first one's moves no more.
_LAZY = 0.1
# Steps and restarts of the attack that robust accuracy is measured with.
_STRONG = (10, 2)


def ways_of(protocol: KernelProtocol) -> dict[str, Attack | None]:
    """How the networks are trained.

    Args:
        protocol: the study's.

    Returns:
        The adversary of each way, by name.
    """
    return {
        "clean": None,
        "FGSM": Attack.fgsm(protocol.eps),
        "PGD": Attack("linf", protocol.eps, protocol.adversary),
    }


def dynamics(protocol: KernelProtocol, data: Dataset, seed: int, device: str) -> dict[str, Any]:
    """Follow the kernel along three trainings, and train on linearised.

    Args:
        protocol: the study's.
        data: its data.
        seed: of weights and of the order of the data.
        device: where to train.

    Returns:
        For each way of training the times, the kernel's distances, polar coordinates, top mass and alignment, when it
        became lazy, and accuracies; and what linearised adversarial training from each onset gives.
    """
    found: dict[str, Any] = {"ways": {}}
    data = protocol.learnt(data)
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))[: protocol.kernels]
    fixed = (data.train.inputs[rows], data.train.targets[rows])
    for name, adversary in ways_of(protocol).items():
        recipe = replace(protocol.recipe, seed=seed, adversary=adversary)
        with tempfile.TemporaryDirectory(prefix="landform-") as place:
            net = protocol.net(data, seed)
            total, per_epoch = recipe.steps(len(data.train)), recipe.steps_per_epoch(len(data.train))
            wanted = sorted({round(float(s)) for s in np.linspace(0, total, protocol.looks)})
            onsets = [round(onset * per_epoch) for onset in protocol.onsets]
            recording = Recording(at=sorted({*wanted, *onsets}), pairs=None, resumable_at=[0])
            run = train(net, data, recipe, out=Path(place) / "run", recording=recording, device=device)
            assert run.trajectory is not None
            points = {step: run.trajectory.at(step=step).point for step in {*wanted, *onsets}}
        landscape = Landscape(net, data, device=device)
        times = [step / per_epoch for step in wanted]
        found["ways"][name] = _along(protocol, landscape, [points[step] for step in wanted], times, fixed, adversary)
        found["ways"][name] |= {"accuracy": _accuracy(protocol, landscape.on(data.test), run.point, data)}
        if name == "PGD":
            found["linearised"] = [
                {"onset": onset, **_linearised(protocol, data, net, points[step], onset, recipe, device)}
                for onset, step in zip(protocol.onsets, onsets, strict=True)
            ]
    return found


def _along(
    protocol: KernelProtocol,
    landscape: Landscape,
    points: list[Tensor],
    times: list[float],
    fixed: tuple[Tensor, Tensor],
    adversary: Attack | None,
) -> dict[str, Any]:
    kernels, top, aligned = [], [], []
    for point in points:
        inputs = fixed[0]
        if adversary is not None:  # the batch as the adversary sees it at that time
            attacked = perturb(landscape.on(fixed), point, adversary, within=_BOX)
            inputs = attacked.inputs
        K = kernel.ntk(landscape, point.to(landscape.device), (inputs, fixed[1])).double().cpu()
        kernels.append(K)
        top.append(kernel.spectrum(K).top_mass(min(protocol.top, K.shape[0] * K.shape[2])))
        aligned.append(kernel.alignment(K, fixed[1]))
    apart = kernel.distances(kernels)
    way = kernel.polar(kernels, top=protocol.top)
    assert way.top is not None
    return {
        "times": times,
        "distances": apart.tolist(),
        "polar": {"radius": way.radius.tolist(), "angle": way.angle.tolist(), "scale": way.scale.tolist()},
        "polar top": {"radius": way.top.radius.tolist(), "angle": way.top.angle.tolist()},
        "top mass": top,
        "alignment": aligned,
        "lazy": lazy(times, apart[:, -1].tolist()),
        "moved": float(apart[0, -1]),
    }


def lazy(times: list[float], to_last: list[float]) -> float:
    """When the kernel has come within a tenth of its way of where it ends, and stays there.

    Args:
        times: ascending.
        to_last: distance of the kernel at each to the last, which is zero.

    Returns:
        The time, between two looks in a line.
    """
    wanted = _LAZY * to_last[0]
    late = max((i for i, distance in enumerate(to_last) if distance > wanted), default=-1)
    if late < 0:
        return times[0]
    share = (to_last[late] - wanted) / (to_last[late] - to_last[late + 1])
    return times[late] + share * (times[late + 1] - times[late])


def _accuracy(protocol: KernelProtocol, landscape: Landscape, point: Tensor, data: Dataset) -> dict[str, float]:
    some = landscape.subset(min(protocol.tested, len(data.test)))
    attack = Attack.strong(protocol.eps, steps=_STRONG[0], restarts=_STRONG[1])
    told = robustness(some, point.to(landscape.device), attack, within=_BOX)
    return {"clean": told.clean, "robust": told.accuracy}


def _linearised(
    protocol: KernelProtocol, data: Dataset, net: nn.Module, point: Tensor, onset: float, recipe: Recipe, device: str
) -> dict[str, float]:
    """Replace the network by its expansion at an onset and go on with adversarial training for what is left."""
    expansion = kernel.linearise(net, point)
    rest = replace(recipe, epochs=recipe.epochs - onset, seed=recipe.seed + 1)
    trained = train(expansion, data, rest, device=device)
    landscape = Landscape(expansion, data, device=device)
    if trained.diverged:
        return {"clean": 0.0, "robust": 0.0}
    return _accuracy(protocol, landscape.on(data.test), trained.point, data)
