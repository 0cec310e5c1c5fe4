"""Figures of the study of emergent geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.report._bands import band, steps_axis, table_of
from landform.report._emergent_more import edge_figures, model_figures, planes_figures, zone_figure
from landform.report._figure import Axis, Figure, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.studies import confined

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]
# Main components of a run that are drawn over time.
_DRAWN = 3


def by_subject(found: Found, kind: str) -> dict[str, list[Part]]:
    """Parts of a kind by subject, in the order of seeds.

    Args:
        found: by kind of part.
        kind: which.

    Returns:
        By subject.
    """
    every: dict[str, list[Part]] = {}
    for part in found.get(kind, ()):
        every.setdefault(part["subject"], []).append(part)
    return every


def figures_of(found: Found) -> list[Drawn]:
    """Everything that is drawn.

    Args:
        found: by kind of part.

    Returns:
        The figures there is something to draw for.
    """
    along, drawn = by_subject(found, "along"), list[Drawn]()
    if along:
        drawn += [_along(along), _clusters(along), _outliers(along), *_spectra(along)]
    grids = by_subject(found, "grid")
    drawn += [_grid(subject, parts) for subject, parts in grids.items()]
    drawn += [_shares(subject, parts) for subject, parts in grids.items()]
    if found.get("zone"):
        drawn.append(zone_figure(by_subject(found, "zone")))
    if found.get("planes"):
        drawn += planes_figures(found["planes"])
    if found.get("edge"):
        drawn += edge_figures(found["edge"])
    if along:
        drawn += [_shape(along), _components(along), _scores(along)]
    if found.get("model"):
        drawn += model_figures(found["model"])
    return drawn


def _looks(parts: Sequence[Part], take: Callable[[Part], float | None]) -> tuple[list[float], list[list[float | None]]]:
    steps = [float(each["step"]) for each in parts[0]["looks"]]
    return steps, [[take(each) for each in part["looks"]] for part in parts]


def _row(along: Mapping[str, Sequence[Part]], take: Callable[[Part], float | None], log: bool) -> tuple[Series, ...]:
    return tuple(
        band(subject, *_looks(parts, take), place, log=log) for place, (subject, parts) in enumerate(along.items())
    )


def _along(along: Mapping[str, Sequence[Part]]) -> Panels:
    rows: tuple[tuple[str, Axis, Callable[[Part], float | None], bool], ...] = (
        ("wrong test labels", Axis("", percent=True), lambda each: each["test_error"], False),
        ("largest eigenvalue of the Hessian", Axis("", "log"), lambda each: each["eigenvalues"][0], True),
        ("variance of the logits", Axis("", "log"), lambda each: each["logit_variance"], True),
        ("full gradient in the top C eigenvectors", Axis("", percent=True), lambda each: each["full"], False),
        ("gradients of batches in them", Axis("", percent=True), lambda each: each["mini"], False),
    )
    panels = tuple(Panel(label, axis, _row(along, take, log)) for label, axis, take, log in rows)
    return Panels(
        "along",
        "Along training",
        "What is seen at the points of a run: the largest eigenvalue, the variance of a sample's logits, and how much "
        "of the gradient lies in the top eigenvectors, as many as there are classes. Means over seeds, with bands of "
        "one standard error; eigenvalues and variances are averaged as logarithms.",
        "Networks have learning rates of their own, the same share of what is stable at their start.",
        steps_axis("step", panels[0].series),
        panels,
    )


def _clusters(along: Mapping[str, Sequence[Part]]) -> Panels:
    names = ("same logit, same class", "same logit", "other logits")
    panels = []
    for subject, parts in along.items():
        lines = []
        for place, name in enumerate(names):
            lines.append(band(name, *_looks(parts, lambda each, place=place: each["q"][place]), place))  # type: ignore[misc]
        panels.append(Panel(subject, Axis("mean cosine"), tuple(lines)))
    return Panels(
        "clusters",
        "Gradients of logits cluster",
        "Mean cosine between the gradients of the logits of two samples: of one logit and samples of its class "
        "(q_SLSC), of one logit and any samples (q_SL), of two logits (q_DL).",
        "Of 100 samples at most; cosines say nothing about lengths, which grow.",
        steps_axis("step", panels[0].series),
        tuple(panels),
    )


def _middle(part: Part) -> Part:
    found: Part = part["looks"][len(part["looks"]) // 2]
    return found


def _outliers(along: Mapping[str, Sequence[Part]]) -> Panels:
    panels = []
    for subject, parts in along.items():
        takes: dict[str, Callable[[Part], Sequence[float]]] = {
            "Hessian": lambda part: _middle(part)["eigenvalues"],
            "Gauss-Newton": lambda part: _middle(part)["classes"]["measured"],
            "means of class and logit": lambda part: _middle(part)["classes"]["between"],
            "random model, fitted": lambda part: _middle(part)["model"].get("outliers", []),
        }
        lines = []
        for place, (name, take) in enumerate(takes.items()):
            table = table_of([take(part) for part in parts])
            if table.shape[1]:
                lines.append(band(name, np.arange(1.0, table.shape[1] + 1), table, place, log=True))
        panels.append(Panel(subject, Axis("eigenvalue", "log"), tuple(lines)))
    return Panels(
        "outliers",
        "Where the outliers come from",
        "The largest eigenvalues in the midst of training (the middle look, in logarithmic time): of the Hessian, of "
        "its Gauss-Newton part, of the part of that which the means of class and logit make alone, and of the random "
        "model fitted to the network's cosines, with the network's own logits.",
        "The random model is fitted to fewer samples than the Hessian is of.",
        Axis("rank of the eigenvalue"),
        tuple(panels),
    )


def _spectra(along: Mapping[str, Sequence[Part]]) -> list[Figure]:
    found = []
    for subject, parts in along.items():
        told = _middle(parts[0])["model"]
        if "density" not in told:
            continue
        spectrum = np.array([v for v in told["spectrum"] if v is not None], dtype=float)
        spectrum = spectrum[spectrum > 1e-6 * spectrum[0]]
        bins = np.geomspace(spectrum[-1] * 0.999, spectrum[0] * 1.001, 36)
        counts = np.histogram(spectrum, bins)[0] / np.diff(np.log10(bins))
        middles = np.sqrt(bins[1:] * bins[:-1])
        grid, density = np.array(told["grid"]), np.array(told["density"])
        per_decade = parts[0]["parameters"] * density * grid * np.log(10)
        keep = (grid >= bins[0]) & (per_decade > 0.5)
        tops = np.array([v for v in told["outliers"] if v > told["edge"]])
        single = 1 / float(np.diff(np.log10(bins))[0])
        lines = [
            Series("measured", middles, np.where(counts > 0, counts, np.nan), "points", 0, dash=0),
            Series("random model, bulk", grid[keep], per_decade[keep], "line", 1, dash=1),
        ]
        if len(tops):
            lines.append(Series("random model, outliers", tops, np.full(len(tops), single), "points", 2, dash=2))
        found.append(
            Figure(
                f"spectrum-{subject}",
                f"The random model over the measured spectrum: {subject}",
                "Eigenvalues of the Gauss-Newton matrix in the midst of training, how many to a decade, and the random "
                "model of logit gradients with its parameters fitted to the network's cosines, lengths and logits. One "
                "eigenvalue to a bin is the lowest row of points.",
                "Seed 0, and a few samples of those trained on: the others make the bulk denser.",
                Axis("eigenvalue (log scale)", "log"),
                Axis("eigenvalues to a decade (log scale)", "log"),
                tuple(lines),
            )
        )
    return found


def _named(batch: int) -> str:
    return f"batches of {batch}" if batch else "all samples"


def _grid(subject: str, parts: Sequence[Part]) -> Panels:
    batches = list(dict.fromkeys(run["batch"] for run in parts[0]["runs"]))
    panels = []
    for batch in batches:
        lines = []
        for place, rate in enumerate(dict.fromkeys(run["rate"] for run in parts[0]["runs"])):
            runs = [r for part in parts for r in part["runs"] if (r["batch"], r["rate"]) == (batch, rate)]
            steps = max(([float(each["step"]) for each in run["looks"]] for run in runs), key=len)
            rows = [[each["full"] for each in run["looks"]] for run in runs]
            lines.append(band(f"{rate:g} of the stable step", steps, rows, place))
        panels.append(Panel(_named(batch), Axis("share", percent=True, limits=(0.0, 1.0)), tuple(lines)))
    return Panels(
        f"confinement-{subject}",
        f"How much of the full gradient lies in the top eigenvectors: {subject}",
        "Share of the squared length of the full gradient in the top C eigenvectors of the Hessian, for plain descent "
        "with batches of several sizes and several learning rates, in units of 2 / lambda_1 at the start, above which "
        "full-batch descent is unstable there.",
        "Where the gradient is nearly zero, a share of it says little.",
        steps_axis("step", panels[0].series),
        tuple(panels),
    )


def _shares(subject: str, parts: Sequence[Part]) -> HeatMap:
    batches = list(dict.fromkeys(run["batch"] for run in parts[0]["runs"]))
    rates = sorted({run["rate"] for run in parts[0]["runs"]})
    values = [
        [
            np.mean([confined(part, batches=(batch,), rate=place, which=which) for part in parts])
            for place in range(len(rates))
        ]
        for which in ("full", "mini")
        for batch in batches
    ]
    rows = [f"{_named(batch)}, {which}" for which in ("full gradient", "of a batch") for batch in batches]
    return HeatMap(
        f"shares-{subject}",
        f"Confinement by learning rate and batch size: {subject}",
        "The same share, mean over the looks after the start and over seeds: of the full gradient, and of the "
        "gradients of single batches (of 64 samples for descent on all).",
        "Runs that took the same number of steps are not equally far.",
        HeatAxis("learning rate, in units of 2 / lambda_1 at the start", tuple(f"{rate:g}" for rate in rates)),
        HeatAxis("", tuple(rows), every=True),
        100 * np.array(values, dtype=float),
        "% of the gradient",
        limits=(0.0, 100.0),
    )


def _shape(along: Mapping[str, Sequence[Part]]) -> Panels:
    rows = (
        ("norm over that at the start", lambda s: [v / s["norms"][0] for v in s["norms"]], False),
        ("angle to the start, degrees", lambda s: s["angles"], False),
        ("distance from the start over the norm there", lambda s: [v / s["norms"][0] for v in s["distances"]], False),
    )  # fmt: skip
    panels = []
    for label, take, log in rows:
        lines = tuple(
            band(subject, [float(s) for s in parts[0]["shape"]["steps"]], [take(part["shape"]) for part in parts],
                 place, log=log, style="line")
            for place, (subject, parts) in enumerate(along.items())
        )  # fmt: skip
        panels.append(Panel(label, Axis(""), lines))
    return Panels(
        "growth",
        "Norm and angle",
        "How a run moves away from its start: its norm, its angle to the start seen from the origin, and its distance.",
        "Without weight decay norms grow with the logits.",
        Axis("step"),
        tuple(panels),
    )


def _components(along: Mapping[str, Sequence[Part]]) -> Figure:
    lines = []
    for place, (subject, parts) in enumerate(along.items()):
        rows = [part["shape"]["shares"] for part in parts]
        lines.append(band(subject, np.arange(1.0, len(rows[0]) + 1), rows, place))
    walk = next(iter(along.values()))[0]["shape"]["walk"]
    lines.append(Series("random walk", np.arange(1.0, len(walk) + 1), np.array(walk), "line", 4, dash=2))
    return Figure(
        "components",
        "A run's own dimension",
        "Share of the variance of evenly spaced points of a run along its main components, beside that of a random "
        "walk of as many steps in very many dimensions, of which the first have 61%, 15% and 7%.",
        "Shares as large as a random walk's say nothing about a run: any smooth path has few components.",
        Axis("main component"),
        Axis("share of the variance (log scale)", "log"),
        tuple(lines),
    )


def _scores(along: Mapping[str, Sequence[Part]]) -> Panels:
    panels = []
    for subject, parts in along.items():
        shape = parts[0]["shape"]
        steps = np.array(shape["steps"][:-1], dtype=float)
        lines = [
            Series(f"component {j + 1}", steps, np.array(scores, dtype=float), "line", j, dash=j)
            for j, scores in enumerate(shape["components"][:_DRAWN])
        ]
        panels.append(Panel(subject, Axis("coordinate"), tuple(lines)))
    return Panels(
        "scores",
        "Half cosines",
        "Coordinates of the first run of each network along its first three main components. A random walk draws half "
        "cosines with one, two and three half waves there, whatever it walks through (Antognini & Sohl-Dickstein "
        "2018).",
        "Loops and turns in planes of main components are seen in random walks too.",
        Axis("step"),
        tuple(panels),
    )
