"""Runs that are followed: outliers, classes, confinement, logit gradients, the random model, the run's own shape."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform import curvature, kernel, surface
from landform.data import Dataset
from landform.landscape import Landscape
from landform.recording import Trajectory, every, log_spaced
from landform.studies._emergent_protocol import EmergentProtocol, Subject, finite, seen, some
from landform.studies._parts import write_part
from landform.theory import logits
from landform.training import Recipe, Recording, train_many

# Relative error of eigenvalues: gaps between them are told to a few percent.
_TOL = 5e-3
# Evenly spaced points of a run whose main components are taken, and how many of those are told.
_EVEN, _COMPONENTS = 32, 6
# Eigenvalues that are told beyond the number of classes.
_MORE = 3


def follow(folder: Path, protocol: EmergentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Train one network and look at everything along its run.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        subject: which network.
        seed: of weights and order.
    """
    chosen = protocol.subjects[subject]
    data = chosen.dataset()
    net = chosen.net(data, seed)
    landscape = seen(chosen, data, net, device)
    lr = protocol.rate * threshold(landscape, landscape.here)
    recipe = replace(protocol.recipe, seed=seed, lr=lr)
    until = recipe.steps(len(data.train))
    looks, even = log_spaced(chosen.looks, until), every(max(1, until // _EVEN), until)
    test = landscape.on(data.test)
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        recording = Recording(at=sorted({*looks, *even}), pairs=None, resumable_at=(until,))
        outs = [Path(place) / "run"]
        (trained,) = train_many([net], data, [recipe], outs=outs, recording=recording, device=device)
        run = trained.trajectory
        assert run is not None
        found: dict[str, Any] = {"kind": "along", "subject": subject, "seed": seed, "lr": lr, "until": until}
        found |= {"parameters": landscape.layout.size, "samples": len(chosen.some(data)), "classes": data.classes}
        middle = looks[len(looks) // 2]
        found["looks"] = []
        for step in looks:
            record = run.at(step=step)
            told = look(protocol, landscape, record.point, record.buffers, recipe.batch_size, seed)
            own = {key: value.to(landscape.device) for key, value in record.buffers.items()} or None
            point = record.point.to(landscape.device, landscape.dtype)
            told |= {"step": step, "epoch": record.epoch, "test_error": float(test.error(point, buffers=own))}
            if step in (0, middle, until):
                told["classes"] = by_class(landscape, record.point)
                told["model"] = modelled(protocol, chosen, data, landscape, record.point, seed)
            found["looks"].append(told)
        found["shape"] = shape_of(landscape, run, even)
    write_part(folder, name, found)


def threshold(landscape: Landscape, point: Tensor) -> float:
    """The learning rate above which full-batch descent is unstable at a point, ``2 / lambda_1``."""
    (largest,) = curvature.eigenpairs(landscape.hessian(point), 1, tol=_TOL, judge="values").values.tolist()
    return float(2 / largest)


def look(
    protocol: EmergentProtocol,
    landscape: Landscape,
    point: Tensor,
    buffers: Mapping[str, Tensor],
    batch: int,
    seed: int,
    *,
    cosines: bool = True,
) -> dict[str, Any]:
    """Look at one point.

    Args:
        protocol: the study's.
        landscape: of the samples that are looked at, from which mini-batches are drawn too.
        point: ``[P]``.
        buffers: the network's buffers there.
        batch: samples in a mini-batch.
        seed: of the mini-batches.
        cosines: also look at the gradients of logits.

    Returns:
        Plain numbers.
    """
    own = {key: value.to(landscape.device) for key, value in buffers.items()} or None
    at = point.to(landscape.device, landscape.dtype)
    z = landscape.outputs(at, buffers=own).double()
    classes = z.shape[1]
    pairs = curvature.eigenpairs(landscape.hessian(at, buffers=own), classes + _MORE, tol=_TOL, seed=seed)
    top = pairs.vectors[:, :classes]
    gradient = landscape.gradient(at, buffers=own)
    made = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(len(z), generator=made)[:batch] for _ in range(protocol.minis)]
    minis = torch.stack([landscape.subset(rows).gradient(at, buffers=own) for rows in drawn])
    found: dict[str, Any] = {
        "eigenvalues": finite(pairs.values),
        "converged": pairs.converged,
        "outliers": outliers(pairs.values.tolist(), classes),
        "loss": float(landscape.loss(at, buffers=own)),
        "error": float(landscape.error(at, buffers=own)),
        "full": float(curvature.confinement(gradient, top).total),
        "mini": float(curvature.confinement(minis, top).total.mean()),
        "norm": float(at.double().norm()),
        "slope": float(gradient.double().norm()),
    }
    if cosines:
        q = curvature.logit_cosines(landscape, at, samples=min(protocol.modelled, 100), buffers=own)
        found |= {
            "q": [q.same_logit_same_class, q.same_logit, q.different_logit],
            "logit_variance": float(z.var(dim=1).mean()),
            "confidence": float(z.softmax(1).amax(1).mean()),
        }
    return found


def outliers(values: Sequence[float], classes: int) -> int:
    """How many eigenvalues stand out: behind which, of those around the number of classes, the largest gap follows.

    Args:
        values: eigenvalues, descending, three more than there are classes.
        classes: C.

    Returns:
        A number from C - 3 to C + 2.
    """
    near = range(max(1, classes - 3), min(classes + 2, len(values) - 1) + 1)
    return max(near, key=lambda k: values[k - 1] / max(values[k], 1e-12))


def by_class(landscape: Landscape, point: Tensor) -> dict[str, Any]:
    """The Gauss-Newton matrix taken apart by class."""
    parts = curvature.class_parts(landscape, point.to(landscape.device, landscape.dtype), tol=_TOL)
    assert parts.measured is not None
    return {
        "measured": finite(parts.measured.values),
        "predicted": finite(parts.predicted),
        "between": finite(parts.between[: len(parts.predicted) + _MORE]),
        "shares": parts.shares,
    }


def modelled(
    protocol: EmergentProtocol, subject: Subject, data: Dataset, landscape: Landscape, point: Tensor, seed: int
) -> dict[str, Any]:
    """The random model of logit gradients, fitted to a network, beside the Gauss-Newton matrix of the same samples."""
    assert data.classes is not None
    split = some(data.train, protocol.modelled)
    few = landscape.on((split.inputs, split.targets))
    at = point.to(few.device, few.dtype)
    outputs = few.outputs(at).double().cpu()
    K = kernel.ntk(few, at, kind="full").double().cpu()  # [n, n, C, C]
    n, classes = outputs.shape
    p = outputs.softmax(1)
    # G = J.T S J / n has the eigenvalues of S^1/2 K S^1/2 / n, with S = diag(p) - p p.T for each sample.
    S = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    values, vectors = torch.linalg.eigh(S)
    root = vectors @ torch.diag_embed(values.clamp_min(0).sqrt()) @ vectors.mT
    weighted = torch.einsum("iab,ijbc,jcd->iajd", root, K, root).reshape(n * classes, n * classes) / n
    spectrum = torch.linalg.eigvalsh(weighted).flip(0)
    q = curvature.logit_cosines(few, at, samples=n)
    length = float(torch.einsum("iicc->", K)) / (n * classes)
    sizes: dict[str, Any] = {"dimension": landscape.layout.size, "classes": classes, "samples": n}
    found: dict[str, Any] = {"spectrum": finite(spectrum[: landscape.layout.size])}
    try:
        fitted = logits.fit(
            same_logit_same_class=q.same_logit_same_class,
            same_logit=q.same_logit,
            different_logit=q.different_logit,
            sigma_z=float(outputs.var(dim=1).mean().sqrt()),
            square_length=length,
            **sizes,
        )
    except ValueError as why:  # cosines that no such model has
        return found | {"why": str(why)}
    said = logits.predict(fitted, seed, logits=outputs, labels=split.targets)
    low = max(float(spectrum[0]) * 1e-6, 1e-12)
    grid = torch.logspace(math.log10(low), math.log10(1.2 * said.edge), 60).double().numpy()
    return found | {
        "sigma": [fitted.sigma_c, fitted.sigma_class, fitted.sigma_e, fitted.sigma_z],
        "outliers": said.outliers[: classes + _MORE].tolist(),
        "edge": said.edge,
        "grid": grid.tolist(),
        "density": said.density(grid).tolist(),
        "confinement": said.confinement(classes),
    }


def shape_of(landscape: Landscape, run: Trajectory, even: Sequence[int]) -> dict[str, Any]:
    """The run's own shape: norms, angles, and its main components beside those of a random walk of as many points."""
    points = torch.stack([run.at(step=step).point for step in even]).to(landscape.dtype)
    wide = points.double()
    norms = wide.norm(dim=1)
    steps = wide.diff(dim=0)
    cosines = torch.cosine_similarity(steps[1:], steps[:-1], dim=1)
    found: dict[str, Any] = {
        "steps": list(even),
        "norms": finite(norms),
        "angles": finite((wide @ wide[0] / (norms * norms[0])).clamp(-1, 1).arccos().rad2deg()),
        "distances": finite((wide - wide[0]).norm(dim=1)),
        "step_cosines": finite(cosines),
    }
    n = len(even)
    count = min(_COMPONENTS, n - 2)
    # The last interval may be a short one; the walk has none, so the last point is left out there.
    main = surface.principal(landscape, points[:-1].to(landscape.device), count, about="mean")
    assert main.shares is not None
    assert main.marks is not None
    k = torch.arange(1, n - 1, dtype=torch.float64)
    walk = 1 / torch.sin(math.pi * k / (2 * (n - 1))).square()
    places = torch.arange(n - 1, dtype=torch.float64) + 0.5
    cosine = torch.cos(math.pi * places / (n - 1))
    first = main.marks[:, 0].double().cpu()
    found |= {
        "shares": finite(main.shares),
        "walk": finite((walk / walk.sum())[:count]),
        "components": [finite(main.marks[:, j].cpu()) for j in range(min(3, count))],
        "cosine": float(torch.corrcoef(torch.stack([first, cosine]))[0, 1].abs()),
    }
    return found


def grid(folder: Path, protocol: EmergentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Train one network with several learning rates and batch sizes, and see where its gradients lie.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        subject: which network.
        seed: of weights and order.
    """
    chosen = protocol.subjects[subject]
    data = chosen.dataset()
    data = replace(data, train=chosen.some(data))  # descent on all samples is descent on those that are looked at
    total = len(data.train)
    first = chosen.net(data, seed)
    landscape = Landscape(first, data, device=device)
    unit = threshold(landscape, landscape.here)
    times = sorted({0, *(max(1, round(share * protocol.grid_steps)) for share in (0.05, 0.25, 1.0))})
    runs = []
    for batch in protocol.batches:
        size = min(batch or total, total)
        epochs = protocol.grid_steps / -(-total // size)
        base = Recipe(epochs=epochs, batch_size=size, momentum=0.0, seed=seed)
        recipes = [replace(base, lr=rate * unit) for rate in protocol.rates]
        with tempfile.TemporaryDirectory(prefix="landform-") as place:
            outs = [Path(place) / str(i) for i in range(len(recipes))]
            nets = [chosen.net(data, seed) for _ in recipes]
            recording = Recording(at=times, pairs=None, resumable_at=(times[-1],))
            ends = train_many(nets, data, recipes, outs=outs, recording=recording, device=device)
            for rate, end in zip(protocol.rates, ends, strict=True):
                assert end.trajectory is not None
                told = []
                for step in times:
                    record = end.trajectory.at(step=step)
                    if not bool(record.point.isfinite().all()):
                        break
                    size_of_mini = size if batch else min(64, total)
                    at = (record.point, record.buffers, size_of_mini, seed)
                    told.append({"step": step, **look(protocol, landscape, *at, cosines=False)})
                runs.append({"batch": batch, "rate": rate, "lr": end.recipe.lr, "looks": told})
    found = {"kind": "grid", "subject": subject, "seed": seed, "unit": unit, "runs": runs, "classes": data.classes}
    write_part(folder, name, found)
