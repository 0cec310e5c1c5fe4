"""Figures of the study of emergent geometry: random points, random planes, the edge of stability, the random model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landform.report._bands import band, steps_axis
from landform.report._figure import Axis, Figure, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels

Part = Mapping[str, Any]


def zone_figure(zones: Mapping[str, Sequence[Part]]) -> Panels:
    """Curvature of random points against their radius."""
    rows = (("ratios", "trace / Frobenius norm", False), ("positive", "positive curvature", True),
            ("losses", "loss", False))  # fmt: skip
    panels = []
    for key, label, percent in rows:
        log = key == "losses"
        lines = tuple(
            band(subject, parts[0]["radii"], [part[key] for part in parts], place, log=log)
            for place, (subject, parts) in enumerate(zones.items())
        )
        panels.append(Panel(label, Axis("", "log" if log else "linear", percent=percent), lines))
    return Panels(
        "goldilocks",
        "The Goldilocks zone",
        "Random points (Xavier's weights, scaled): trace over Frobenius norm of the Hessian in ten random directions, "
        "the share of its eigenvalues that are positive, and the loss.",
        "Ten directions of very many; deep networks are the more sensitive to the radius the deeper they are.",
        Axis("radius over Xavier's (log scale)", "log"),
        tuple(panels),
    )


def planes_figures(parts: Sequence[Part]) -> list[Drawn]:
    """Accuracy in random planes."""
    dimensions = parts[0]["dimensions"]
    lines = list(parts[0]["accuracy"])
    mean = {line: np.mean([part["accuracy"][line] for part in parts], axis=0) for line in lines}
    radii = sorted((line for line in lines if line.startswith("radius")), key=lambda line: float(line.split()[1]))
    heat = HeatMap(
        "planes",
        "Training in random planes",
        "Test accuracy at the end of training in random planes of d dimensions through random points of several radii "
        "(multiples of Xavier's), mean over seeds.",
        "The accuracy at the end, where the papers take the best on the way; one plane a seed.",
        HeatAxis("dimension of the plane", tuple(str(d) for d in dimensions)),
        HeatAxis("radius over Xavier's", tuple(line.split()[1] for line in radii), every=True),
        100 * np.array([mean[line] for line in radii]),
        "% right",
    )
    free = [part["free"]["accuracy"] for part in parts]
    groups = {
        "through several radii": radii,
        "of several kinds": ["radius 1", *(line for line in lines if line.startswith("kind"))],
        "after free training": ["radius 1", *(line for line in lines if line.startswith("burn-in"))],
    }
    names = {"radius 1": "Xavier's radius, orthonormal"}
    panels = []
    for group, members in groups.items():
        drawn = []
        for place, line in enumerate(members):
            rows = [part["accuracy"][line] for part in parts]
            word = line.replace("kind ", "").replace("burn-in ", "steps before: ")
            drawn.append(band(names.get(line, word), [float(d) for d in dimensions], rows, place))
        reached = np.full(len(dimensions), np.mean(free))
        drawn.append(Series("free", np.array(dimensions, dtype=float), reached, "line", 4, dash=2))
        panels.append(Panel(group, Axis("right labels", percent=True), tuple(drawn)))
    curves = Panels(
        "intrinsic",
        "Dimension of the plane, radius, kind, and burn-in",
        "Test accuracy against the dimension of the plane. Kinds: directions of length one that are not orthogonal, "
        "sparse ones, products of Hadamard and diagonal matrices. After free training the plane goes through the point "
        "that so many steps led to.",
        "Where free training alone reaches the accuracy, the plane has nothing left to do.",
        Axis("dimension of the plane (log scale)", "log"),
        tuple(panels),
    )
    return [heat, curves]


def edge_figures(parts: Sequence[Part]) -> list[Drawn]:
    """Sharpness and loss of full-batch descent, below and beyond the edge of stability."""
    below = [run["rate"] for run in parts[0]["runs"] if run["rate"] < 1]
    above = [run["rate"] for run in parts[0]["runs"] if run["rate"] >= 1]

    def runs(rate: float) -> list[Part]:
        return [run for part in parts for run in part["runs"] if run["rate"] == rate]

    def sharpness(rate: float, place: int) -> Series:
        every = runs(rate)
        steps = max((run["steps"] for run in every), key=len)
        return band(f"{rate:g} of the stable step", [float(s) for s in steps],
                    [[value * run["lr"] / 2 for value in run["sharpness"]] for run in every], place)  # fmt: skip

    def loss(rate: float, place: int, until: float) -> Series:
        every = runs(rate)
        steps = [float(s) for s in every[0]["loss_steps"] if s <= until]
        rows = [[None if v is None else v / run["start"] for v in run["losses"][: len(steps)]] for run in every]
        return band(f"{rate:g} of the stable step", steps, rows, place, log=True, style="line")

    found: list[Drawn] = []
    if below:
        ratio = tuple(sharpness(rate, place) for place, rate in enumerate(below))
        losses = tuple(loss(rate, place, np.inf) for place, rate in enumerate(below))
        one = Series("edge of stability", ratio[0].x, np.ones(len(ratio[0].x)), "line", 4, dash=2)
        found.append(
            Panels(
                "edge",
                "Progressive sharpening, and the edge of stability",
                "Full-batch descent on the squared error from a small start, with several learning rates in units of "
                "2 / lambda_1 there: the sharpness over 2 / lr, and the loss over that at the start.",
                "Above one a quadratic would diverge; a network's loss falls on, not steadily.",
                steps_axis("step", losses),
                (
                    Panel("sharpness over 2 / lr", Axis("", limits=None), (*ratio, one)),
                    Panel("loss over the loss at the start", Axis("", "log"), losses),
                ),
            )
        )
    if above:
        early = tuple(loss(rate, place, 60) for place, rate in enumerate(above))
        ratio = tuple(sharpness(rate, place) for place, rate in enumerate(above))
        found.append(
            Panels(
                "catapult",
                "The catapult",
                "The same from the network's own start, with learning rates that begin beyond the edge: the loss over "
                "that at the start, in the first steps, and the sharpness over 2 / lr.",
                "A line that ends early diverged. Means of logarithms over seeds: a rise in one seed alone looks "
                "smaller.",
                steps_axis("step", early),
                (
                    Panel("loss over the loss at the start", Axis("", "log"), early),
                    Panel("sharpness over 2 / lr", Axis("", "log"), ratio),
                ),
            )
        )
    return found


def model_figures(parts: Sequence[Part]) -> list[Drawn]:
    """The random model of logit gradients and what is predicted of it."""
    first = parts[0]
    bulk = np.array(first["bulk"])
    bulk = bulk[bulk > 1e-12]
    share = np.linspace(0, 1, len(first["bulk"]))[-len(bulk):]  # fmt: skip
    tops = np.array(first["eigenvalues"][: len(first["predicted"])])
    grid, density = np.array(first["grid"]), np.array(first["density"])
    below = np.cumsum(np.concatenate([[0.0], np.diff(grid) * 0.5 * (density[1:] + density[:-1])]))
    ranks = np.arange(1.0, len(tops) + 1)
    spectrum = Figure(
        "model",
        "The random model: bulk",
        "The random model of logit gradients at the paper's settings (1,000 parameters, 10 classes, 300 samples, "
        "deviation of the logits 15): share of the eigenvalues below the outliers up to a value, of one draw and as "
        "predicted.",
        "Outliers are in the next figure.",
        Axis("eigenvalue"),
        Axis("share of the bulk up to there", percent=True),
        (
            Series("one draw", bulk, share, "points", 0, dash=0),
            Series("predicted", grid, below / below[-1], "line", 1, dash=1),
        ),
    )
    outliers = Figure(
        "model-outliers",
        "The random model: outliers",
        "Its C - 1 outliers, of one draw and as predicted (the transition of Baik, Ben Arous and Péché), above the "
        "end of the bulk.",
        "Predicted with the draw's own logits; with others they differ as draws do.",
        Axis("rank of the eigenvalue"),
        Axis("eigenvalue (log scale)", "log"),
        (
            Series("one draw", ranks, tops, "points", 0, dash=0),
            Series("predicted", ranks, np.array(first["predicted"]), "points", 1, dash=1),
            Series("end of the bulk", ranks, np.full(len(ranks), first["edge"]), "line", 4, dash=2),
        ),
    )
    spreads = [float(s) for s in first["spreads"]]
    largest = Figure(
        "model-spread",
        "The random model: the largest eigenvalue falls as logits spread",
        "Largest eigenvalue of the random model with gradients of fixed lengths (400 parameters, 100 samples) against "
        "the standard deviation of the logits, drawn and predicted.",
        "In a network lengths grow too: there the largest eigenvalue may rise first.",
        Axis("standard deviation of the logits"),
        Axis("largest eigenvalue (log scale)", "log"),
        (
            band("drawn", spreads, [part["largest"] for part in parts], 0, log=True),
            band("predicted", spreads, [part["expected"] for part in parts], 1, log=True),
        ),
    )
    return [spectrum, outliers, largest]
