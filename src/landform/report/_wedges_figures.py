"""Figures of the study of wedges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landform.report._bands import band, table_of
from landform.report._figure import Axis, Figure, Series
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._terrain import Terrain
from landform.theory import wedges

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]


def figures_of(found: Found, threshold: float) -> list[Drawn]:
    """Everything that is drawn.

    Args:
        found: by kind of part.
        threshold: the loss that makes the wall of a tunnel.

    Returns:
        The figures there is something to draw for.
    """
    drawn: list[Drawn] = []
    if found.get("toy"):
        drawn += [_toy_planes(found["toy"]), _toy_laws(found["toy"])]
    if found.get("optima"):
        drawn += _optima(found["optima"], threshold)
    if found.get("tunnels"):
        drawn += [_together(found["tunnels"]), *_tunnels(found["tunnels"])]
    if found.get("cycles"):
        drawn.append(_cycles(found["cycles"]))
    if found.get("planes"):
        drawn.append(_fit(found["planes"]))
    return drawn


def _cases(parts: Sequence[Part]) -> dict[int, list[Part]]:
    every: dict[int, list[Part]] = {}
    for part in parts:
        for case in part["cases"]:
            every.setdefault(case["short"], []).append(case)
    return every


def _toy_planes(parts: Sequence[Part]) -> Panels:
    panels = []
    for short, cases in _cases(parts).items():
        share = [p["d"] / short for p in cases[0]["planes"]]
        lines = []
        for place, (key, name) in enumerate((("one", "one wedge"), ("nearest", "the nearest of all"))):
            rows = [[p[key] / case["start"] for p in case["planes"]] for case in cases]
            law = np.array([p[f"{key}_law"] / cases[0]["start"] for p in cases[0]["planes"]])
            lines.append(band(f"{name}, simulated", share, rows, place, style="points"))
            lines.append(Series(f"{name}, law", np.array(share), law, "line", place, dash=place))
        panels.append(Panel(f"s = {short} short directions", Axis("loss / L_0"), tuple(lines)))
    return Panels(
        "toy-planes",
        "The toy: random planes",
        "Lowest loss in random planes of d dimensions through a random point, over that without a plane: of one wedge, "
        "by the law sqrt(1 - d/s), and of the nearest of all.",
        "Wedges compete: with many the square root is a bound.",
        Axis("dimension of the plane over the short directions"),
        tuple(panels),
    )


def _one(value: float | Sequence[float]) -> float:
    """A number, or of several the second: that of three wedges."""
    return float(value[1] if isinstance(value, Sequence) else value)


def _toy_laws(parts: Sequence[Part]) -> Figure:
    names = {
        "line": "straight line", "arc": "arc about the origin", "middle": "middle alone brought down",
        "tunnel": "half-width of a tunnel", "common": "common part of three wedges",
    }  # fmt: skip
    lines = []
    for place, (key, name) in enumerate(names.items()):
        cases = [case for part in parts for case in part["cases"]]
        x, y = (np.array([_one(case[k]) for case in cases], dtype=np.float64) for k in (f"{key}_law", key))
        lines.append(Series(name, x, y, "points", place, dash=place))
    every = np.concatenate([one.x for one in lines])
    ends = np.array([every.min() / 1.2, every.max() * 1.2])
    lines.append(Series("law = simulation", ends, ends, "line", 5, dash=2))
    return Figure(
        "toy-laws",
        "The toy: laws and simulation",
        "Barriers on the straight line, on the arc, and where the middle alone is brought down; half-width of a "
        "tunnel at loss 1; dimensions that three wedges have in common. One point for each seed and number of short "
        "directions.",
        "All wedges of the toy hold the origin, which a network's do not.",
        Axis("law (log scale)", "log"),
        Axis("simulation (log scale)", "log"),
        tuple(lines),
    )


def _terrain(name: str, title: str, caption: str, told: Part) -> Terrain:
    losses = np.array(told["losses"], dtype=float)
    # Far out losses are of no interest and hide what is near.
    most = 10 * float(np.nanquantile(losses, 0.25) + 0.3)
    return Terrain(
        name,
        title,
        caption,
        "A plane is two directions of very many; losses above the colours are drawn as the highest.",
        Axis("from A towards B (L2 distance)"),
        Axis("across"),
        np.array(told["alphas"]),
        np.array(told["betas"]),
        np.minimum(np.where(np.isfinite(losses), losses, most), most),
        "training loss (log scale)",
        scale="log",
        marks=tuple((mark, float(at[0]), float(at[1])) for mark, at in told["marks"].items()),
    )


def _optima(parts: Sequence[Part], threshold: float) -> list[Drawn]:
    first, found = parts[0], list[Drawn]()
    if "plane" in first:
        found.append(
            _terrain(
                "plane-origin", "Optima and the origin",
                "Training loss on the plane through the origin and two optima of independent starts, seed 0: if low "
                "loss is a wedge, it extends from the origin through each optimum, and narrow between them.",
                first["plane"],
            )
        )  # fmt: skip
        found.append(
            _terrain(
                "plane-connector", "Optima and what connects them",
                "Training loss on the plane through two optima and the middle of a trained curve between them, seed "
                "0: a hill on the straight line, none on the bent way.",
                first["bent"],
            )
        )  # fmt: skip
    t = np.linspace(0, 1, len(first["straight_losses"]))
    curves = Panels(
        "lines",
        "From one optimum to another",
        "Training loss on the straight line between two optima; and along the trained curve, on which share of the "
        "test labels the network differs from either end.",
        "Labels differ little from both ends where both ends are right.",
        Axis("from the first optimum to the second"),
        (
            Panel(
                "training loss on the straight line",
                Axis("loss"),
                (band("straight line", t, [part["straight_losses"] for part in parts], 0),),
            ),
            Panel(
                "labels that differ, along the curve",
                Axis("labels", percent=True),
                (
                    band("from the first", t, [part["from_first"] for part in parts], 0),
                    band("from the second", t, [part["from_second"] for part in parts], 1),
                ),
            ),
        ),
    )
    counts = [float(each["optima"]) for each in first["joined"]]
    keys = (("plain_highest", "plain simplex, highest"), ("plain_mean", "plain simplex, mean"),
            ("highest", "connector, highest"), ("mean", "connector, mean"), ("ends", "optima"))  # fmt: skip
    connectors = Figure(
        "connectors",
        "Connectors of many optima",
        "Training loss inside the simplex of several optima, and inside a bent one trained to have low loss (a Bézier "
        "simplex with one free node for each pair).",
        "The highest of a hundred places; between them it may be higher.",
        Axis("optima that are joined"),
        Axis("training loss (log scale)", "log"),
        tuple(
            band(name, counts, [[each[key] for each in part["joined"]] for part in parts], place, log=True)
            for place, (key, name) in enumerate(keys)
        ),
    )
    shape = Panels(
        "radial",
        "Along the radius, and across",
        "Training loss where an optimum is scaled, and where it is turned towards another one about the origin.",
        f"Tunnels are taken to end at a loss of {threshold:g}. Scaling a network with biases is no symmetry.",
        Axis("distance from the optimum over its norm (degrees as arc lengths)"),
        (
            Panel(
                "scaled: multiples of the optimum, less one",
                Axis("loss", "log"),
                (band("scaled", [s - 1 for s in first["scales"]], [p["radial"] for p in parts], 0, log=True),),
            ),
            Panel(
                "turned towards another",
                Axis("loss", "log"),
                (
                    band("turned", [math.radians(d) for d in first["degrees"]], [p["angular"] for p in parts], 1,
                         log=True),
                ),
            ),
        ),
    )  # fmt: skip
    return [*found, curves, connectors, shape]


def _values(parts: Sequence[Part], knob: str, key: str) -> tuple[list[float], list[list[float | None]]]:
    told = parts[0]["knobs"][knob]
    return [each["value"] for each in told], [[each[key] for each in part["knobs"][knob]] for part in parts]


def _together(parts: Sequence[Part]) -> Figure:
    lines = []
    for place, knob in enumerate(parts[0]["knobs"]):
        values, rows = _values(parts, knob, "large")
        table = table_of(rows)
        lines.append(band(knob, np.arange(1.0, len(values) + 1), table / table[:, :1], place, log=True))
    return Figure(
        "together",
        "One large-scale curvature, many knobs",
        "Curvature of the parabola through both walls of the tunnel around where training ends, over that at the first "
        "value of each knob: learning rate, L2, batch size, dropout, width, each turned in the direction that should "
        "widen the tunnel.",
        "Raw distances: a larger norm makes larger tunnels. The next figures have other normalisations.",
        Axis("value of the knob, from the first on"),
        Axis("large-scale curvature, relative"),
        tuple(lines),
        reference=1.0,
    )


def _tunnels(parts: Sequence[Part]) -> list[Panels]:
    units = (("raw", "L2 distance"), ("relative", "over the norm of the weights"), ("filter", "filter-normalised"))
    panels = []
    for unit, label in units:
        lines = []
        for place, knob in enumerate(parts[0]["knobs"]):
            values, rows = _values(parts, knob, unit)
            table = table_of(rows)
            lines.append(band(knob, np.arange(1.0, len(values) + 1), table / table[:, :1], place, log=True))
        panels.append(Panel(label, Axis("width"), tuple(lines)))
    local = []
    for place, knob in enumerate(parts[0]["knobs"]):
        values, rows = _values(parts, knob, "largest")
        table = table_of(rows)
        local.append(band(knob, np.arange(1.0, len(values) + 1), table / table[:, :1], place, log=True))
    panels.append(Panel("largest eigenvalue of the Hessian there", Axis("eigenvalue"), tuple(local)))
    return [
        Panels(
            "tunnels",
            "Tunnels",
            "Median width of the tunnel, from wall to wall along random lines, in three normalisations, and the "
            "largest eigenvalue where the lines begin; all over their values at the first value of each knob.",
            "L2 makes weights smaller, and raw tunnels with them, whatever it does to the function: compare the three.",
            Axis("value of the knob, from the first on"),
            tuple(panels),
        )
    ]


def _cycles(parts: Sequence[Part]) -> Panels:
    rates = [run["lr"] for run in parts[0]["runs"]]

    def rows(take: Any) -> list[list[float | None]]:
        return [[None if run["barriers"] is None else take(run) for run in part["runs"]] for part in parts]

    errors = tuple(
        band(name, rates, rows(take), place)
        for place, (name, take) in enumerate(
            (
                ("snapshots", lambda run: float(np.mean(run["errors"]))),
                ("mean of their weights (SWA)", lambda run: run["mean"]),
                ("ensemble (FGE)", lambda run: run["ensemble"]),
            )
        )
    )
    return Panels(
        "cycles",
        "Cyclic runs",
        "Runs from one trained point whose learning rate falls and starts again: barriers between consecutive "
        "snapshots, the labels on which they differ, and the test error of the snapshots, of the mean of their "
        "weights, and of their ensemble, by the largest learning rate of the cycle.",
        "A mean across a barrier is a bad network; an ensemble does not mind.",
        Axis("learning rate at the start of a cycle (log scale)", "log"),
        (
            Panel("loss barrier", Axis("loss"),
                  (band("barrier", rates, rows(lambda run: float(np.mean(run["barriers"]))), 0),)),
            Panel("labels on which they differ", Axis("labels", percent=True),
                  (band("labels", rates, rows(lambda run: float(np.mean(run["apart"]))), 0),)),
            Panel("wrong test labels", Axis("labels", percent=True), errors),
        ),
    )  # fmt: skip


def _fit(parts: Sequence[Part]) -> Figure:
    d = np.array(parts[0]["dimensions"], dtype=float)
    fine = np.linspace(0, d.max(), 200)
    laws = np.array(
        [wedges.fit_wedge(part["parameters"], part["dimensions"], part["losses"]).law(fine) for part in parts]
    )
    short = float(np.mean([wedges.fit_wedge(p["parameters"], p["dimensions"], p["losses"]).short for p in parts]))
    return Figure(
        "fit",
        "The network's wedge",
        "Training loss at the end of training in random planes, and the toy's law L_0 sqrt(1 - d/s) fitted to it: "
        f"s = {short:.0f} short directions of {parts[0]['parameters']:,}.",
        "The law is one wedge's; where many compete losses are lower, and training in a plane may end too early.",
        Axis("dimension of the plane"),
        Axis("training loss"),
        (
            band("network", d, [part["losses"] for part in parts], 0),
            Series("law", fine, laws.mean(0), "line", 1, dash=1),
        ),
    )
