"""What is measured on a network of the study of adversarial landscapes: plain numbers, for ``results/*.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landform import attacks, curvature, surface
from landform.attacks import Attack
from landform.data import Dataset, Split
from landform.landscape import Landscape

if TYPE_CHECKING:
    from landform.studies._adversarial_landscape import RobustProtocol

# Where along a direction the loss is read; the two places, and enough between for a curve.
ALPHAS = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
# Steps of the adversary away from the point, where it is asked anew at every place.
_QUICK = 3
# Samples whose Hessians by the input are taken, and products with each.
_BENT, _PRODUCTS = 200, 16


def look(
    protocol: RobustProtocol, data: Dataset, net: nn.Module, seed: int, device: str, *, planes: bool
) -> dict[str, Any]:
    """Everything about one network.

    Args:
        protocol: the study's.
        data: its data.
        net: the network, trained.
        seed: of what is drawn; networks of one seed are looked at in directions drawn alike.
        device: where to compute.
        planes: whether to read the planes.

    Returns:
        Plain numbers.
    """
    whole = Landscape(net, data, device=device)
    here = whole.here
    seen = _some(data.train, protocol.samples)
    some = whole.on(seen)
    tested = whole.on(_some(data.test, protocol.tested))
    small = protocol.eps[0]
    train, test = whole.read(here), whole.on(data.test).read(here)
    assert train.error is not None
    assert test.error is not None
    found: dict[str, Any] = {
        "loss": {"train": float(train.loss), "test": float(test.loss)},
        "error": {"train": float(train.error), "test": float(test.error)},
        "norm": float(here.double().norm()),
        "robust": {f"{eps:g}": _robust(tested, here, eps, protocol.strong, data) for eps in protocol.eps},
    }
    worst = attacks.worst_case(some, Attack("linf", small, _QUICK), within=data)
    directions = surface.random(some, here, protocol.directions, seed=seed).vectors
    found["clean"] = _along(some, here, directions)
    found["adversarial"] = _along(worst, here, directions[: max(2, protocol.directions // 3)], (-1.0, -0.5, 0.5, 1.0))
    even = surface.random(some, here, protocol.directions, scale="unit", seed=seed).vectors
    found["even"] = _along(some, here, protocol.length * even, (-1.0, 1.0))
    held = attacks.perturb(some, here, Attack("linf", small, 2 * protocol.steps), within=data)
    found["adversarial loss"] = held.loss
    # Gradients that are nearly nothing leave no digits of a curvature in float32.
    dtype = torch.float64 if protocol.precise else None
    samples = {"clean": (seen.inputs, seen.targets), "adversarial": (held.inputs, held.targets)}
    found["curvature"] = {
        name: _largest(Landscape(net, pair, device=device, dtype=dtype), here) for name, pair in samples.items()
    }
    found["trace"] = curvature.exact_trace(some, here).value
    bent = attacks.input_curvature(
        tested.subset(min(_BENT, protocol.tested, len(data.test))), here, within=data, steps=_PRODUCTS
    )
    found["input"] = {
        "curvature": bent.mean,
        "error": bent.standard_error,
        "slope": float(bent.slopes.mean()),
        "converged": bent.converged,
    }
    if planes:
        found["planes"] = _planes(some, worst, here, protocol.plane, seed)
    return found


def _some(split: Split, most: int) -> Split:
    if len(split) <= most:
        return split
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most]
    return Split(split.inputs[rows], split.targets[rows])


def _robust(landscape: Landscape, here: Tensor, eps: float, strong: tuple[int, int], data: Dataset) -> dict[str, Any]:
    attack = Attack.strong(eps, steps=strong[0], restarts=strong[1])
    told = attacks.robustness(landscape, here, attack, within=data)
    return {
        "clean": told.clean,
        "random": told.random,
        "one step": told.one_step,
        "strong": told.accuracy,
        "by restart": told.by_restart.tolist(),
        "masked": told.masked,
        "attack": str(attack),
    }


def _along(
    landscape: Landscape, here: Tensor, directions: Tensor, alphas: tuple[float, ...] = ALPHAS
) -> dict[str, Any]:
    """Mean loss over directions at each place along them, and the mean rise at the same distance on both sides."""
    centre = float(landscape.loss(here))
    steps = torch.tensor(alphas, dtype=here.dtype, device=here.device)
    points = here + steps[:, None, None] * directions[None].to(here)
    losses = landscape.loss(points.flatten(0, 1)).double().reshape(len(alphas), -1)
    means = losses.mean(1)
    rises: dict[str, float] = {}
    for distance in sorted({abs(alpha) for alpha in alphas}):
        both = [i for i, alpha in enumerate(alphas) if abs(alpha) == distance]
        rises[f"{distance:g}"] = float(means[both].mean()) - centre
    return {"centre": centre, "alphas": list(alphas), "losses": means.tolist(), "rises": rises}


def _largest(landscape: Landscape, here: Tensor) -> dict[str, Any]:
    found = curvature.eigenpairs(landscape.hessian(here.to(landscape.dtype)), k=1, tol=1e-2)
    return {"value": float(found.values[0]), "converged": found.converged, "products": found.products}


def _planes(clean: Landscape, worst: Landscape, here: Tensor, steps: int, seed: int) -> dict[str, Any]:
    directions = surface.random(clean, here, 2, seed=seed)
    found: dict[str, Any] = {"how": str(directions)}
    for name, landscape in (("clean", clean), ("adversarial", worst)):
        plane = surface.plane(landscape, center=here, directions=directions, steps=steps)
        found["alphas"], found["betas"] = plane.alphas.tolist(), plane.betas.tolist()
        found[name] = plane.losses.tolist()
    return found
