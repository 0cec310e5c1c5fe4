"""Figures of the study of emergent geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.report._bands import band, steps_axis, table_of
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
        drawn.append(_zone(by_subject(found, "zone")))
    if found.get("planes"):
        drawn += _planes(found["planes"])
    if found.get("edge"):
        drawn += _edge(found["edge"])
    if along:
        drawn += [_shape(along), _components(along), _scores(along)]
    if found.get("model"):
        drawn += _model(found["model"])
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
        "of "
        "the gradient lies in the top eigenvectors, as many as there are classes. Means over seeds, with bands of one "
        "standard error; eigenvalues and variances are averaged as logarithms.",
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
        "its "
        "Gauss-Newton part, of the part of that which the means of class and logit make alone, and of the random model "
        "fitted to the network's cosines, with the network's own logits.",
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
        "gradients "
        "of single batches (of 64 samples for descent on all).",
        "Runs that took the same number of steps are not equally far.",
        HeatAxis("learning rate, in units of 2 / lambda_1 at the start", tuple(f"{rate:g}" for rate in rates)),
        HeatAxis("", tuple(rows), every=True),
        100 * np.array(values, dtype=float),
        "% of the gradient",
        limits=(0.0, 100.0),
    )


def _zone(zones: Mapping[str, Sequence[Part]]) -> Panels:
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


def _planes(parts: Sequence[Part]) -> list[Drawn]:
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


def _edge(parts: Sequence[Part]) -> list[Drawn]:
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
        rows = [
            [None if v is None else v / part["start_loss"] for v in run["losses"][: len(steps)]]
            for part, run in zip(parts, every, strict=True)
        ]
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
                "Full-batch descent on the squared error with several learning rates, in units of 2 / lambda_1 at the "
                "start: the sharpness over 2 / lr, and the loss over that at the start.",
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
                "The same with learning rates that begin beyond the edge: the loss over that at the start, in the "
                "first "
                "steps, and the sharpness over 2 / lr.",
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
        "walk "
        "of as many steps in very many dimensions, of which the first have 61%, 15% and 7%.",
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


def _model(parts: Sequence[Part]) -> list[Drawn]:
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
        "end of "
        "the bulk.",
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
