"""Figures of the study of quantum networks over patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from landform.report._bands import band
from landform.report._figure import Axis, Figure, Series
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._terrain import Terrain, Way
from landform.studies import QuantumProtocol, QuantumVariant, over_loss, sharpness, variants_row

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]


def lined(protocol: QuantumProtocol, found: Found, variants: Sequence[QuantumVariant]) -> list[list[Part]]:
    """Parts of some variants, one list for each seed that has them all.

    Args:
        protocol: the study's.
        found: by kind of part.
        variants: which, in order.

    Returns:
        The parts.
    """
    rows = (variants_row(protocol, found, variants, seed) for seed in range(protocol.seeds))
    return [parts for parts in rows if parts is not None]


def figures_of_quantum(protocol: QuantumProtocol, found: Found) -> list[Drawn]:
    """Everything that is drawn.

    Args:
        protocol: the study's.
        found: by kind of part.

    Returns:
        The figures there is something to draw for.
    """
    drawn: list[Drawn] = []
    families = _families(protocol, found)
    if families:
        drawn += [_sharpness(families), _by_patches(families)]
    deep = _depths(protocol, found)
    if deep:
        drawn.append(_deep(deep))
    looks = [part for part in found.get("network", ()) if "looks" in part]
    if looks:
        drawn.append(_eigenvalues(looks))
        drawn += [figure for part in looks if "plane" in part["looks"] for figure in (_density(part), _plane(part))]
        drawn.append(_kernel(looks))
    if found.get("barrier"):
        drawn.append(_barriers(found["barrier"]))
    if found.get("plateau"):
        drawn.append(_plateau(found["plateau"]))
    return drawn


Family = tuple[str, list[float], list[list[Part]]]


def _families(protocol: QuantumProtocol, found: Found) -> list[Family]:
    usual = protocol.usual
    every = [
        ("mean (the paper's)", usual, protocol.patches),
        ("over the root of P", replace(usual, aggregation="root"), protocol.summed),
        ("sum", replace(usual, aggregation="sum"), protocol.summed),
        ("classical, mean", replace(usual, classical=True), protocol.controlled),
    ]
    drawn = []
    for label, variant, counts in every:
        rows = lined(protocol, found, [replace(variant, patches=count) for count in counts])
        if rows:
            drawn.append((label, [float(count) for count in counts], rows))
    return drawn


def _lines(families: Sequence[Family], take: Callable[[Part], float], *, log: bool = True) -> tuple[Series, ...]:
    return tuple(
        band(label, x, [[take(part) for part in parts] for parts in rows], place, log=log)
        for place, (label, x, rows) in enumerate(families)
    )


def _sharpness(families: Sequence[Family]) -> Figure:
    lines = list(_lines(families, sharpness))
    _, x, rows = families[0]
    known = [place for place, count in enumerate(x) if count >= 4] or [0]
    start = known[0]
    top = float(np.exp(np.mean([np.log(max(sharpness(parts[start]), 1e-12)) for parts in rows])))
    ahead = np.array([x[place] for place in known])
    for place, exponent in enumerate((1.0, 1.5)):
        guide = top * (ahead / ahead[0]) ** -exponent
        lines.append(Series(f"P^-{exponent:g}", ahead, guide, "line", 6, dash=place + 1))
    return Figure(
        "sharpness",
        "The largest eigenvalue by the number of patches",
        "Largest eigenvalue of the Hessian of the training loss, at the epoch of least loss, by the number P of "
        "patches (each with a circuit of its own), for each way of putting read-outs together and for dense networks "
        "over the same patches. Bands are standard errors over seeds; thin lines are powers of P through the mean's "
        "curve.",
        "Networks with more patches have more parameters and a lower loss, and a low loss alone makes a flat minimum: "
        "see the next figure.",
        Axis("patches P (log scale)", "log"),
        Axis("largest eigenvalue (log scale)", "log"),
        tuple(lines),
    )


def _by_patches(families: Sequence[Family]) -> Panels:
    rows: tuple[tuple[str, Axis, Callable[[Part], float], bool], ...] = (
        ("largest eigenvalue over the loss", Axis("", "log"), over_loss, True),
        ("training loss, least over epochs", Axis("", "log"), lambda part: float(part["loss"]), True),
        ("wrong test labels", Axis("", percent=True), lambda part: float(part["test_error"]), False),
        ("parameters", Axis("", "log"), lambda part: float(part["parameters"]), True),
    )
    return Panels(
        "patches",
        "What else changes with the patches",
        "The largest eigenvalue over the loss that is left, the loss, the test error, and the number of parameters, by "
        "the number of patches. Bands are standard errors over seeds.",
        "Dividing by the loss takes off what is due to small residuals to first order only.",
        Axis("patches P (log scale)", "log"),
        tuple(Panel(label, y, _lines(families, take, log=log)) for label, y, take, log in rows),
    )


def _depths(protocol: QuantumProtocol, found: Found) -> list[Family]:
    drawn = []
    fixed = (protocol.recipe.lr,) * len(protocol.depths)
    for label, rates in (("one learning rate", fixed), ("falling with depth (the paper's)", protocol.falling)):
        variants = [replace(protocol.usual, depth=d, rate=rate) for d, rate in zip(protocol.depths, rates, strict=True)]
        rows = lined(protocol, found, variants)
        if rows:
            drawn.append((label, [float(depth) for depth in protocol.depths], rows))
    return drawn


def _deep(deep: Sequence[Family]) -> Panels:
    rows: tuple[tuple[str, Callable[[Part], float]], ...] = (
        ("training loss, least over epochs", lambda part: float(part["loss"])),
        ("largest eigenvalue", sharpness),
        ("largest eigenvalue over the loss", over_loss),
    )
    return Panels(
        "depth",
        "Deeper and sharper?",
        "Loss and largest eigenvalue by the number of layers in each block, with one learning rate for all, and with "
        "one that falls with depth. Bands are standard errors over seeds.",
        "The paper's learning rate falls with depth: the two lines tell apart what is due to depth "
        "and what to the rate.",
        Axis("layers of a block (log scale)", "log"),
        tuple(Panel(label, Axis("", "log"), _lines(deep, take)) for label, take in rows),
    )


def _eigenvalues(looks: Sequence[Part]) -> Figure:
    lines = []
    for place, part in enumerate(looks):
        values = np.array([value if value > 0 else np.nan for value in part["looks"]["eigenvalues"]])
        lines.append(
            Series(f"seed {part['seed']}", np.arange(1.0, len(values) + 1), values, "marked", place, dash=place)
        )
    classes = looks[0]["classes"]
    return Figure(
        "eigenvalues",
        "Outliers",
        f"The largest eigenvalues at the epoch of least loss, where there are {classes} classes.",
        "Where the loss is small, softmax has few directions left that bend, and eigenvalues fall off without a gap.",
        Axis("rank"),
        Axis("eigenvalue (log scale)", "log"),
        tuple(lines),
    )


def _density(part: Part) -> Figure:
    told = part["looks"]["density"]
    grid, values = np.array(told["grid"], dtype=float), np.array(told["density"], dtype=float)
    top = float(part["eigenvalues"][0])
    near = np.abs(grid) <= 1.2 * top
    return Figure(
        "density",
        "The whole spectrum",
        "Density of the eigenvalues of one network (seed 0), on a scale that is logarithmic on both sides of zero, by "
        "Lanczos quadrature from random vectors.",
        "Quadrature resolves the outliers and smears the bulk; the height of a peak far out is one eigenvalue's.",
        Axis("eigenvalue over the largest"),
        Axis("density + 1e-6 (log scale)", "log"),
        (Series("density", grid[near] / top, np.maximum(values[near], 0) + 1e-6, "line", 0),),
    )


def _plane(part: Part) -> Terrain:
    told = part["looks"]["plane"]
    way = np.array(told["way"], dtype=float)
    shares = ", ".join(f"{share:.0%}" for share in part["looks"]["shares"][:2])
    return Terrain(
        "plane",
        "The plane of a run",
        f"Training loss on the plane of the first two principal components of the points at all epochs (seed 0), with "
        f"{shares} of their variance; the line is the run.",
        "A random walk has 76% of its variance in such a plane: that a run bends in it says little.",
        Axis("first component (L2 distance)"),
        Axis("second component"),
        np.array(told["alphas"]),
        np.array(told["betas"]),
        np.array(told["losses"], dtype=float),
        "training loss",
        scale="log",
        ways=(Way("run", way, tuple(f"epoch {i}" for i in range(len(way)))),),
        marks=(("start", float(way[0, 0]), float(way[0, 1])), ("end", float(way[-1, 0]), float(way[-1, 1]))),
    )


def _kernel(looks: Sequence[Part]) -> Figure:
    lines = []
    for place, label in enumerate(("start", "least loss")):
        rows = [[value if value > 0 else None for value in part["looks"]["kernel"]["spectra"][place]] for part in looks]
        lines.append(band(label, np.arange(1.0, len(rows[0]) + 1), rows, place, log=True, style="line"))
    return Figure(
        "kernel",
        "The quantum tangent kernel",
        "Eigenvalues of the tangent kernel of some training samples, summed over the outputs, at the start and at the "
        "epoch of least loss. Bands are standard errors over seeds.",
        "The kernel is that of the logits, which the scale of the read-outs multiplies.",
        Axis("rank (log scale)", "log"),
        Axis("eigenvalue (log scale)", "log"),
        tuple(lines),
    )


def _barriers(lines: Sequence[Part]) -> Figure:
    return Figure(
        "barriers",
        "Between two seeds",
        "Training loss on the straight line between networks of two seeds, at their epochs of least loss; the thin "
        "line is the loss of a guess.",
        "Qubits cannot be permuted freely, as patches and rings fix their places: no matching was tried.",
        Axis("share of the way"),
        Axis("training loss (log scale)", "log"),
        tuple(
            Series(f"{part['seed']} to {part['other']}", np.array(part["alphas"]), np.array(part["losses"]), "marked",
                   place, dash=place)
            for place, part in enumerate(lines)
        ),
        reference=float(lines[0]["chance"]),
    )  # fmt: skip


def _plateau(parts: Sequence[Part]) -> Figure:
    qubits = parts[0]["qubits"]
    lines = [
        band(f"{depth} layer{'s' if depth > 1 else ''} a block", qubits, [part["variance"][place] for part in parts],
             place, log=True)
        for place, depth in enumerate(parts[0]["layers"])
    ]  # fmt: skip
    last = len(lines)
    label = f"classical, parameters of {parts[0]['layers'][-1]} layers"
    lines.append(band(label, qubits, [part["classical"][-1] for part in parts], last, log=True))
    return Figure(
        "plateau",
        "Barren plateaus",
        "Variance over random circuits of the derivative of Z on the first qubit by an angle of the first qubit in the "
        "middle of the second block, by the number of qubits, and of a weight of the first layer of random dense "
        "networks with as many parameters. Bands are standard errors over seeds.",
        "Angles are drawn as networks start, between 0 and pi; images are random pixels, more for more qubits.",
        Axis("qubits"),
        Axis("variance of the derivative (log scale)", "log"),
        tuple(lines),
    )
