"""Random points, random planes, and a random model: what needs no training, or little."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landform import curvature, training
from landform.landscape import Landscape
from landform.studies._emergent_protocol import EmergentProtocol, finite, seen
from landform.studies._parts import write_part
from landform.theory import logits
from landform.training import Recording, train, train_many

# Directions in which the Hessian of a random point is taken, as in the paper.
_WITHIN = 10
# Deviations of the logits at which the random model is drawn.
_SPREADS = (0.0, 0.5, 1.0, 2.0, 5.0, 15.0)
# Kinds of planes beside orthonormal ones.
KINDS = ("unit", "sparse", "fastfood")


def zone(folder: Path, protocol: EmergentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Curvature of random points against their radius, and where the network's own start lies.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to measure.
        name: of the part.
        subject: which network.
        seed: of the points.
    """
    chosen = protocol.subjects[subject]
    data = chosen.dataset()
    net = chosen.net(data, seed)
    landscape = seen(chosen, data, net, device)
    within = min(_WITHIN, landscape.layout.size)
    found = curvature.goldilocks(landscape, protocol.radii, draws=protocol.draws, dimension=within, seed=seed)
    norms = curvature.xavier(landscape, 4, seed=seed).double().norm(dim=1)
    told: dict[str, Any] = {
        "kind": "zone",
        "subject": subject,
        "seed": seed,
        "radii": list(protocol.radii),
        "ratios": finite(found.ratio),
        "positive": finite(found.positive_share),
        "losses": finite(found.losses.mean(1)),
        "best": found.best,
        "within": within,
        "start": float(landscape.here.double().norm() / norms.mean()),
    }
    write_part(folder, name, told)


def planes(folder: Path, protocol: EmergentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Train one network in random planes of several dimensions: through several radii, of several kinds, after burn-in.

    All planes of one dimension are trained as one stack.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        subject: which network.
        seed: of the points and planes.
    """
    chosen = protocol.subjects[subject]
    data = chosen.dataset()
    net = chosen.net(data, seed)
    train_on = Landscape(net, data, device=device)
    test_on, layout = train_on.on(data.test), train_on.layout
    origin = curvature.xavier(train_on, 1, seed=seed)[0]
    recipe = replace(protocol.plane_recipe, seed=seed)
    layout.load_(net, origin)
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        recording = Recording(at=protocol.burn_in or None, pairs=None, resumable_at=())
        free = train(net, data, recipe, out=Path(place) / "run", recording=recording, device=device)
        assert free.trajectory is not None
        burnt = {steps: free.trajectory.at(step=steps).point for steps in protocol.burn_in}
    # What is trained: by name, the point the plane goes through and the plane's kind.
    lines: dict[str, tuple[torch.Tensor, str]] = {
        f"radius {radius:g}": (radius * origin.cpu(), "orthonormal") for radius in protocol.plane_radii
    }
    lines |= {f"kind {kind}": (origin.cpu(), kind) for kind in KINDS}
    lines |= {f"burn-in {steps}": (point, "orthonormal") for steps, point in burnt.items()}
    accuracy: dict[str, list[float]] = {line: [] for line in lines}
    losses: dict[str, list[float | None]] = {line: [] for line in lines}
    dimensions = [d for d in protocol.dimensions if d <= layout.size]
    for d in dimensions:
        nets, within = [], []
        dense = iter(training.planes(layout, d, len(lines) - len(KINDS), seed=1000 * seed + d))
        for place_of, (point, kind) in enumerate(lines.values()):
            nets.append(chosen.net(data, seed))
            layout.load_(nets[-1], point)
            own = training.plane(layout, d, kind=kind, seed=1000 * seed + d + place_of)  # type: ignore[arg-type]
            within.append(next(dense) if kind == "orthonormal" else own)
        ends = train_many(nets, data, recipe, planes=within, device=device)
        points = torch.stack([end.point for end in ends]).to(train_on.device)
        sound = points.isfinite().all(1)
        points = torch.where(sound[:, None], points, torch.zeros_like(points))
        found = (1 - test_on.error(points).double()).cpu()
        lost = train_on.loss(points).double().cpu()
        for k, line in enumerate(lines):
            accuracy[line].append(float(found[k]))
            losses[line].append(float(lost[k]) if bool(sound[k]) else None)
    whole = free.point.to(train_on.device)
    write_part(
        folder,
        name,
        {
            "kind": "planes",
            "subject": subject,
            "seed": seed,
            "parameters": layout.size,
            "dimensions": dimensions,
            "accuracy": accuracy,
            "losses": losses,
            "free": {"accuracy": 1 - float(test_on.error(whole)), "loss": float(train_on.loss(whole))},
            "start_loss": float(train_on.loss(origin)),
            "burnt": {
                str(steps): 1 - float(test_on.error(point.to(train_on.device))) for steps, point in burnt.items()
            },
        },
    )


def random_model(folder: Path, protocol: EmergentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """The random model of logit gradients at the paper's settings, beside its theory.

    Args:
        folder: of the study.
        protocol: the study's.
        device: not used: the draws are small.
        name: of the part.
        subject: not used.
        seed: of the draw.
    """
    model = logits.LogitModel()
    draw, predicted = model.draw(seed), logits.predict(model, seed)
    values = draw.eigenvalues.numpy()
    gaps = values[:14] / values[1:15]
    largest, expected = [], []
    for spread in _SPREADS:
        one = replace(model, dimension=400, samples=100, sigma_z=spread)
        largest.append(float(one.draw(seed).eigenvalues[0]))
        expected.append(float(logits.predict(one, seed).outliers[0]))
    grid = np.geomspace(1e-3, 1.1, 80) * predicted.edge
    write_part(
        folder,
        name,
        {
            "kind": "model",
            "subject": "",
            "seed": seed,
            "outliers": int(gaps.argmax()) + 1,
            "share": float(draw.confinement(model.classes)),
            "predicted_share": predicted.confinement(model.classes),
            "eigenvalues": values[:20].tolist(),
            "bulk": np.quantile(values[model.classes - 1 :], np.linspace(0, 1, 101)).tolist(),
            "predicted": predicted.outliers.tolist(),
            "edge": predicted.edge,
            "grid": grid.tolist(),
            "density": predicted.density(grid).tolist(),
            "spreads": list(_SPREADS),
            "largest": largest,
            "expected": expected,
        },
    )
