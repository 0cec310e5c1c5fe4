"""The page about adversarial examples from the tangent kernel, and the kernel in adversarial training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landform.report._facts import Fact
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._gather import one_line
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.series import interval
from landform.studies import (
    ADVERSARIAL_KERNEL,
    Claim,
    KernelProtocol,
    carried,
    ordered,
)

Results = Mapping[str, Sequence[Mapping[str, Any]]]
Take = Callable[[Mapping[str, Any]], float]
_PAPER = "Tsilivis & Kempe, NeurIPS 2022, arXiv 2210.05577"
_WAYS = ("clean", "FGSM", "PGD")


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, ADVERSARIAL_KERNEL, _enough)
    protocol, results, claims = study.protocol, study.found, study.claims
    seeds = max(map(len, results.values()))
    return study.material(
        paper=_PAPER,
        title="Adversarial examples and the tangent kernel",
        sentence=f"On {protocol.data} with {counted(seeds, 'seed').lower()}: the predictor of an infinitely wide "
        "network attacked in closed form and taken apart along the eigenvectors of its kernel; its examples tried on "
        f"trained networks of width {', '.join(f'{w:,}' for w in protocol.widths)}; and the kernel of a finite network "
        f"({protocol.model}) followed through training without an adversary, against FGSM, and against PGD.",
        verdict=_verdict(protocol, results, claims),
        facts=_facts(protocol, results, claims),
        figures=_figures(protocol, results),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": seeds,
                "eps (Linf, inputs in [0, 1])": f"{protocol.eps:.3g}",
                "samples of the kernel machine": protocol.samples,
                "hidden layers of infinite width": protocol.depth,
                "samples of the networks of growing width": protocol.few,
                "steps of their gradient descent": protocol.steps,
                "samples of the kernels compared": protocol.kernels,
                "adversary": f"PGD of {protocol.adversary} steps",
            },
            "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if value is not None},
            "data": {"name": protocol.data, **protocol.data_options},
            "model": {"name": protocol.model, **protocol.model_options},
        },
        notes=(
            f"The two groups of classes are {_classes(protocol.positive)} and {_classes(protocol.negative)}; the third "
            "part tells all classes apart.",
            "Networks of growing width are compared with the kernel's predictor at the time of their training, and "
            "without what they put out at the start.",
            "In adversarial training the kernel is that of the fixed samples as the adversary moves them at that time.",
        ),
        tables=(_closed(protocol, results["closed"]), _carried(results["transfer"]), _trained(protocol, results)),
    )


def _enough(results: Mapping[str, Any]) -> bool:
    return all(results.get(part) for part in ("closed", "transfer", "dynamics"))


def _classes(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _said(values: Sequence[float], form: str = ".2f") -> str:
    known = interval(values)
    if not known.count:
        return "–"
    return f"{known.mean:{form}}" + (f" ± {known.standard_error:{form}}" if known.count > 1 else "")


def _percents(values: Sequence[float]) -> str:
    return _said([100 * value for value in values], ".1f")


def _closed(protocol: KernelProtocol, results: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for i, one in enumerate(results[0]["first"]):
        both = [
            [each["first"][i][name] for each in results if i < len(each["first"])] for name in ("natural", "robust")
        ]
        whole = i + 1 == len(results[0]["first"])
        rows.append((f"{one['count']:,}" + (" (all)" if whole else ""), *(_percents(values) for values in both)))
    rows.append(("all, PGD", _percents([e["natural"] for e in results]), _percents([e["pgd"] for e in results])))
    rows.append(
        ("all, random signs", _percents([e["natural"] for e in results]), _percents([e["random"] for e in results]))
    )
    return Table(
        "The kernel predictor, cut off",
        f"Test accuracy in percent of the first k eigenfeatures together: as inputs are, and under FGSM of eps "
        f"{protocol.eps:.3g} on that very predictor (in the last rows PGD, and random signs). Mean and standard error "
        "over seeds.",
        ("eigenfeatures", "natural", "attacked"),
        tuple(rows),
    )


def _carried(results: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for i, one in enumerate(results[0]["widths"]):
        every = [each["widths"][i] for each in results]
        rows.append(
            (
                f"{one['width']:,}",
                *(_percents([row[name] for row in every]) for name in ("natural", "white", "random")),
                *(_percents([row["transfer"][name] for row in every]) for name in ("in time", "for ever")),
                *(_said([row["cosine"][name] for row in every], ".3f") for name in ("in time", "for ever")),
                _said([row["plain cosine"] for row in every], ".3f"),
                _said([row["apart"] for row in every], ".3f"),
            )
        )
    return Table(
        "The kernel's examples on networks of growing width",
        "Test accuracy in percent as inputs are, under FGSM on the network itself, under random signs, and on the "
        "examples of the kernel at the time of training and after endless training; cosine of the network's gradient "
        "by the input with either kernel's, and without centring; distance of the outputs from the kernel's, relative. "
        "Mean and standard error over seeds.",
        ("width", "natural", "white box", "random", "kernel in time", "kernel for ever", "cosine in time",
         "cosine for ever", "not centred", "outputs apart"),
        tuple(rows),
    )  # fmt: skip


def _trained(protocol: KernelProtocol, results: Results) -> Table:
    every = results["dynamics"]
    rows: list[tuple[str, ...]] = []
    for name in _WAYS:
        own = [each["ways"][name] for each in every]
        rows.append(
            (
                name,
                _percents([one["accuracy"]["clean"] for one in own]),
                _percents([one["accuracy"]["robust"] for one in own]),
                _said([one["moved"] for one in own], ".3f"),
                _said([one["polar"]["scale"][-1] for one in own], ".1f"),
                _said([one["lazy"] for one in own], ".1f"),
                _grown(own),
                _said([one["alignment"][-1] for one in own], ".3f"),
            )
        )
    for i, onset in enumerate(protocol.onsets):
        own = [each["linearised"][i] for each in every]
        cells = (_percents([one[name] for one in own]) for name in ("clean", "robust"))
        rows.append((f"PGD, linearised from epoch {onset:g}", *cells, "–", "–", "–", "–", "–"))
    return Table(
        "Training and the kernel",
        "Test accuracy in percent as inputs are and under attack; kernel distance of the last to the first; growth of "
        "its norm; the epoch at which it had come within a tenth of its way of the last; share of the first "
        f"{protocol.top} squared eigenvalues at the start and at the end; alignment with the labels at the end. Mean "
        "and standard error over seeds.",
        ("training", "accuracy", "attacked", "moved", "scale", "lazy from epoch", "top mass", "alignment"),
        tuple(rows),
    )


def _grown(own: Sequence[Mapping[str, Any]]) -> str:
    before, after = (_said([one["top mass"][i] for one in own], ".3f") for i in (0, -1))
    return f"{before} → {after}"


def _figures(protocol: KernelProtocol, results: Results) -> list[Drawn]:
    closed, wide, dynamics = (results[name] for name in ("closed", "transfer", "dynamics"))
    found: list[Drawn] = [_features(closed), _scatter(closed), _cut(closed, protocol), _widths(wide)]
    found += [_distances(dynamics[0]["ways"][name], name) for name in _WAYS]
    found += [_polar(dynamics), _along(dynamics, protocol), _linearised(dynamics, protocol)]
    return found


def _band(name: str, x: Numbers, rows: Sequence[Sequence[float]], place: int) -> Series:
    table = np.array(rows, dtype=float)
    mean = table.mean(0)
    if len(table) < 2:
        return Series(name, x, mean, "marked", place, dash=place)
    error = table.std(0, ddof=1) / math.sqrt(len(table))
    return Series(name, x, mean, "marked", place, low=mean - error, high=mean + error, dash=place)


def _alike(closed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Seeds whose features have the same numbers as the first's: ranks may differ."""
    numbers = [one["number"] for one in closed[0]["features"]]
    return [each for each in closed if [one["number"] for one in each["features"]] == numbers]


def _features(closed: Sequence[Mapping[str, Any]]) -> Figure:
    every = _alike(closed)
    x = np.array([one["number"] + 1 for one in every[0]["features"]], dtype=float)
    lines = [
        _band(label, x, [[one[name] for one in each["features"]] for each in every], place)
        for place, (name, label) in enumerate((("useful", "as inputs are"), ("robust", "under FGSM on the feature")))
    ]
    return Figure(
        "features",
        "Useful and robust by the place in the spectrum",
        "Test accuracy of each eigenfeature of the kernel by itself, by its number (1 is that of the largest "
        "eigenvalue), as inputs are and under FGSM on that very feature; bands are standard errors over seeds.",
        "A feature of accuracy one half is of no use by itself, and may be of some beside others.",
        Axis("number of the eigenfeature", "log"),
        Axis("test accuracy", percent=True),
        tuple(lines),
        reference=0.5,
    )


def _scatter(closed: Sequence[Mapping[str, Any]]) -> Figure:
    groups = (("1 to 5", 0, 5), ("6 to 20", 5, 20), ("21 to 100", 20, 100), ("beyond", 100, 10**9))
    lines = []
    for place, (label, low, high) in enumerate(groups):
        chosen = [one for each in closed for one in each["features"] if low <= one["number"] < high]
        if chosen:
            xy = np.array([[one["useful"], one["robust"]] for one in chosen])
            lines.append(Series(label, xy[:, 0], xy[:, 1], "points", place, dash=place))
    return Figure(
        "useful-robust",
        "Useful and robust",
        "Each eigenfeature by its accuracy as inputs are and under FGSM on itself; all seeds. Useful, fragile features "
        "lie at the lower right.",
        "Only some numbers are looked at, the first ones more closely.",
        Axis("accuracy", percent=True),
        Axis("accuracy under FGSM", percent=True),
        tuple(lines),
    )


def _cut(closed: Sequence[Mapping[str, Any]], protocol: KernelProtocol) -> Figure:
    counts = [one["count"] for one in closed[0]["first"]]
    every = [each for each in closed if len(each["first"]) == len(counts)]
    lines = [
        _band(label, np.array(counts, dtype=float), [[one[name] for one in each["first"]] for each in every], place)
        for place, (name, label) in enumerate((("natural", "as inputs are"), ("robust", "under FGSM")))
    ]
    return Figure(
        "cut-off",
        "What the first eigenfeatures give",
        f"Test accuracy of the first k eigenfeatures together, as inputs are and under FGSM of eps {protocol.eps:.3g} "
        "on them; bands are standard errors over seeds.",
        "Each point is attacked by its own gradient: a predictor with few features is easier to follow, not easier to "
        "fool.",
        Axis("eigenfeatures", "log"),
        Axis("test accuracy", percent=True),
        tuple(lines),
    )


def _widths(wide: Sequence[Mapping[str, Any]]) -> Panels:
    x = np.array([row["width"] for row in wide[0]["widths"]], dtype=float)

    def rows(take: Take) -> list[list[float]]:
        return [[take(row) for row in each["widths"]] for each in wide]

    accuracies = (
        ("natural", lambda row: row["natural"]),
        ("random signs", lambda row: row["random"]),
        ("kernel's examples", lambda row: row["transfer"]["in time"]),
        ("own FGSM", lambda row: row["white"]),
    )
    cosines = (
        ("kernel in time", lambda row: row["cosine"]["in time"]),
        ("kernel for ever", lambda row: row["cosine"]["for ever"]),
        ("not centred", lambda row: row["plain cosine"]),
    )
    return Panels(
        "transfer",
        "Networks of growing width beside the kernel",
        "Networks of one hidden layer by width. Above: test accuracy as inputs are, under random signs, on the "
        "examples of the kernel at the time of training, under FGSM on the network. Below: mean cosine of gradients by "
        "the input. Bands are standard errors over seeds.",
        "Against a kernel of another time, or without taking off what networks put out at the start, transfer looks "
        "worse than it is.",
        Axis("width", "log"),
        (
            Panel("test accuracy", Axis("accuracy", percent=True),
                  tuple(_band(name, x, rows(take), place) for place, (name, take) in enumerate(accuracies))),
            Panel("cosine of gradients by the input", Axis("cosine"),
                  tuple(_band(name, x, rows(take), 4 + place) for place, (name, take) in enumerate(cosines))),
        ),
    )  # fmt: skip


def _distances(way: Mapping[str, Any], name: str) -> HeatMap:
    epochs = tuple(f"{t:.3g}" for t in way["times"])
    return HeatMap(
        f"distances-{name.lower()}",
        f"How the kernel turns: {'clean' if name == 'clean' else name} training",
        "Kernel distance (one minus the cosine) between any two epochs, seed 0; a dark block is a time in which the "
        "kernel stays as it is.",
        "A kernel that grows without turning is dark here too.",
        HeatAxis("epoch", epochs),
        HeatAxis("epoch", epochs),
        np.array(way["distances"]),
        "kernel distance",
    )


def _polar(dynamics: Sequence[Mapping[str, Any]]) -> Figure:
    lines = []
    for place, name in enumerate(_WAYS):
        for part, label in (("polar", name), ("polar top", f"{name}, top")):
            way = [each["ways"][name][part] for each in dynamics]
            angle, radius = (np.mean([each[key] for each in way], axis=0) for key in ("angle", "radius"))
            x, y = radius * np.cos(angle), radius * np.sin(angle)
            whole = part == "polar"
            lines.append(Series(label, x, y, "marked" if whole else "line", place, dash=place if whole else 3))
    return Figure(
        "polar",
        "The kernel's way, in polar coordinates",
        "From the first kernel at the origin: the radius is its distance from it over that of the last, the angle that "
        "by which it has turned; the whole kernel and its top eigenspace, means over seeds. Straight out is growth, "
        "upwards is rotation.",
        "All ways end at radius 1, however far they went.",
        Axis("radius times cosine of the angle"),
        Axis("radius times sine of the angle"),
        tuple(lines),
    )


def _along(dynamics: Sequence[Mapping[str, Any]], protocol: KernelProtocol) -> Panels:
    x = np.array(dynamics[0]["ways"]["clean"]["times"])

    def panel(label: str, take: Callable[[Mapping[str, Any]], Sequence[float]]) -> Panel:
        lines = (_band(n, x, [take(each["ways"][n]) for each in dynamics], i) for i, n in enumerate(_WAYS))
        return Panel(label, Axis(label), tuple(lines))

    return Panels(
        "dynamics",
        "The kernel along training",
        f"Kernel distance to the last, to the first, share of the first {protocol.top} squared eigenvalues, norm over "
        "the first norm, and centred alignment with the labels; bands are standard errors over seeds.",
        "The distance to the last falls to nothing by itself: what tells is how soon.",
        Axis("epoch", zero_at=float(x[1]) / 2 if len(x) > 1 else None),
        (
            panel("distance to the last", lambda way: [row[-1] for row in way["distances"]]),
            panel("distance to the first", lambda way: way["distances"][0]),
            panel("top mass", lambda way: way["top mass"]),
            panel("norm", lambda way: way["polar"]["scale"]),
            panel("alignment with the labels", lambda way: way["alignment"]),
        ),
    )


def _linearised(dynamics: Sequence[Mapping[str, Any]], protocol: KernelProtocol) -> Figure:
    x = np.array(protocol.onsets)
    lines = [
        _band(label, x, [[one[name] for one in each["linearised"]] for each in dynamics], place)
        for place, (name, label) in enumerate((("clean", "as inputs are"), ("robust", "under attack")))
    ]
    full = interval([each["ways"]["PGD"]["accuracy"]["robust"] for each in dynamics]).mean
    return Figure(
        "linearised",
        "Adversarial training with the kernel held",
        "Test accuracy at the end when the network is replaced by its linear expansion at some epoch of adversarial "
        "training and trained on; the thin line is the robust accuracy of the network itself. Bands are standard "
        "errors over seeds.",
        "The later the onset, the less is left to be done by the expansion.",
        Axis("epoch of the expansion"),
        Axis("test accuracy", percent=True),
        tuple(lines),
        reference=full,
    )


def _facts(protocol: KernelProtocol, results: Results, claims: Sequence[Claim]) -> list[Fact]:
    closed, wide = results["closed"], results["transfer"]
    natural, fgsm = (interval([each[name] for each in closed]).mean for name in ("natural", "fgsm"))
    top = interval([each["top"]["robust"] for each in closed]).mean
    cosine = interval([each["widths"][-1]["cosine"]["in time"] for each in wide]).mean
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    return [
        Fact("natural", "kernel predictor", natural, f"{natural:.1%}"),
        Fact("fgsm", "under FGSM", fgsm, f"{fgsm:.1%}"),
        Fact("top", f"its first {protocol.top} features under FGSM", top, f"{top:.1%}"),
        Fact("cosine", f"cosine at width {protocol.widths[-1]:,}", cosine, f"{cosine:.2f}"),
        Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"),
    ]


def _verdict(protocol: KernelProtocol, results: Results, claims: Sequence[Claim]) -> str:
    closed, wide, dynamics = (results[name] for name in ("closed", "transfer", "dynamics"))
    mean = {name: interval([each[name] for each in closed]).mean for name in ("natural", "fgsm", "random")}
    top = {name: interval([each["top"][name] for each in closed]).mean for name in ("natural", "robust")}
    taken = interval([carried(each["widths"][-1]) for each in wide]).mean
    moved = [interval([each["ways"][name]["moved"] for each in dynamics]).mean for name in ("clean", "PGD")]
    lazy = [interval([each["ways"][name]["lazy"] for each in dynamics]).mean for name in ("clean", "PGD")]
    verdicts = Counter(claim.verdict for claim in claims)
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    rho = interval([ordered(each) for each in closed]).mean
    return (
        f"The kernel predictor is right on {mean['natural']:.0%}, under random signs on {mean['random']:.0%}, under "
        f"FGSM on {mean['fgsm']:.0%}; its first {protocol.top} eigenfeatures on {top['natural']:.0%} and "
        f"{top['robust']:.0%}; the robustness of a feature goes with its number by a rank correlation of {rho:.2f}. "
        f"Its examples take {taken:.0%} of what a network of width {protocol.widths[-1]:,} loses to its own. The "
        f"kernel moves by {moved[0]:.2f} in clean training and by {moved[1]:.2f} against PGD, and is lazy from epoch "
        f"{lazy[0]:.1f} and {lazy[1]:.1f} on. Of the claims: {told}."
    )
