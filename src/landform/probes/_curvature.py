"""Probes of curvature along a run: top eigenvalues, the edge of stability, trace, density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landform.curvature import confinement, density, eigenpairs, stability, trace
from landform.operators import Operator
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value
from landform.training import Recipe


def _hessian(moment: Moment) -> Operator | None:
    """The Hessian at the moment's point; None where the run has diverged and there is none."""
    if not bool(torch.isfinite(moment.point).all()) or not bool(torch.isfinite(moment.reading.loss)):
        return None
    return moment.landscape.hessian(moment.point, buffers=moment.buffers)


def _eigenvalues(moment: Moment, *, k: int, tol: float, seed: int) -> dict[str, Value]:
    """The k largest eigenvalues of the Hessian, and the gradient's share in the span of the first 1, 2, ..., k."""
    ranks = {"rank": list(range(1, k + 1))}
    H = _hessian(moment)
    if H is None:
        gap = torch.full((k,), math.nan)
        return {name: Value(gap, ("rank",), ranks) for name in ("eigenvalues", "eigenvalue_errors", "gradient_in_top")}
    pairs = eigenpairs(H, k, tol=tol, seed=seed)
    return {
        "eigenvalues": Value(pairs.values, ("rank",), ranks),
        "eigenvalue_errors": Value(pairs.errors, ("rank",), ranks),
        "gradient_in_top": Value(confinement(moment.gradient, pairs).cumulative, ("rank",), ranks),
    }


def _sharpness(moment: Moment, *, tol: float, seed: int) -> dict[str, float]:
    """The sharpness that the optimiser sees, and the largest at which its step is stable."""
    H, rule = _hessian(moment), _rule(moment)
    if H is None:
        return dict.fromkeys(("sharpness", "sharpness_error", "stability_threshold", "stability_ratio"), math.nan)
    if rule is None:  # Adam between two resumable records, or no learning rate on record
        pairs = eigenpairs(H, 1, tol=tol, seed=seed)
        known = {"sharpness": float(pairs.values[0]), "sharpness_error": float(pairs.errors[0])}
        return {**known, "stability_threshold": math.nan, "stability_ratio": math.nan}
    found = stability(H, tol=tol, seed=seed, **rule)
    return {
        "sharpness": found.sharpness,
        "sharpness_error": found.error,
        "stability_threshold": found.threshold,
        "stability_ratio": found.ratio,
    }


def _rule(moment: Moment) -> dict[str, Any] | None:
    """The optimiser of the next step, as the run's description and the record tell it."""
    settings: Mapping[str, Any] = moment.trajectory.run["settings"]
    if "plane" in settings:  # its stability is that of the curvature within the plane
        return None
    record = moment.record
    lr = record.lr
    if "recipe" in settings:
        recipe = Recipe.from_json(settings["recipe"])
        lr = float(recipe.rates([record.step], moment.trajectory.run["epoch"])[0])
        kind: str | None = recipe.optimizer
        rule: dict[str, Any] = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        betas, eps = recipe.betas, recipe.eps
    else:
        described = settings.get("recorder", {}).get("optimizer", {})
        kinds: dict[str, Any] = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}
        kind = kinds.get(described.get("class"))
        rule = {"momentum": described.get("momentum", 0.0), "nesterov": described.get("nesterov", False)}
        betas, eps = tuple(described.get("betas", (0.9, 0.999))), described.get("eps", 1e-8)
    if kind is None or not lr:
        return None
    if kind == "sgd":
        return {"optimizer": kind, "lr": lr, **rule}
    state: Mapping[str, Tensor] | None = record.optimizer
    if not state or "exp_avg_sq" not in state or not record.step:
        return None
    like = moment.point
    second = {"exp_avg_sq": state["exp_avg_sq"].to(like.device, like.dtype)}
    return {"optimizer": kind, "lr": lr, "betas": betas, "eps": eps, "state": second, "step": record.step}


def _trace(moment: Moment, *, tol: float, max_products: int, seed: int) -> dict[str, float]:
    """Trace of the Hessian with its standard error."""
    H = _hessian(moment)
    if H is None:
        return {"trace": math.nan, "trace_error": math.nan}
    found = trace(H, tol=tol, max_products=max_products, seed=seed)
    return {"trace": found.value, "trace_error": found.standard_error}


def _density(moment: Moment, *, probes: int, steps: int, points: int, seed: int) -> dict[str, Value | float]:
    """Spectral density of the Hessian, its grid, and the largest node of its quadrature."""
    H = _hessian(moment)
    dims = ("place",)
    if H is None:
        gap = torch.full((points,), math.nan)
        missing: dict[str, Value | float] = {
            name: Value(gap, dims) for name in ("density", "density_error", "density_grid")
        }
        return {**missing, "density_top": math.nan}
    found = density(H, probes=probes, steps=min(steps, H.size), points=points, seed=seed)
    return {
        "density": Value(found.density, dims),
        "density_error": Value(found.band, dims),
        "density_grid": Value(found.grid, dims),
        "density_top": float(found.nodes.max()),
    }


eigenvalues = Probe(
    "eigenvalues",
    _eigenvalues,
    settings={"k": 5, "tol": 0.01, "seed": 0},
    times=16,
    doc="largest eigenvalues of the Hessian, and the gradient's share in the span of the first 1, 2, ...",
    cost=60.0,
)
sharpness = Probe(
    "sharpness",
    _sharpness,
    settings={"tol": 0.01, "seed": 0},
    times=24,
    needs=("landscape", "trajectory"),
    doc="largest eigenvalue (preconditioned, for Adam) and the largest at which the optimiser's step is stable",
    cost=20.0,
)
trace_ = Probe(
    "trace",
    _trace,
    settings={"tol": 0.05, "max_products": 200, "seed": 0},
    times=12,
    doc="trace of the Hessian, with its standard error",
    cost=100.0,
)
density_ = Probe(
    "density",
    _density,
    settings={"probes": 2, "steps": 48, "points": 512, "seed": 0},
    times=6,
    doc="spectral density of the Hessian by stochastic Lanczos quadrature, with its standard error",
    cost=140.0,
)
