"""Figures of the page about merging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._terrain import Terrain
from landform.studies import CHOICES, SETTINGS, Predicted

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def merged_errors(each: Mapping[str, Any], method: str) -> float:
    """Test error of a method over a seed's pairs; nan where it cannot merge them."""
    found = [pair["methods"].get(method, {}).get("error") for pair in each["pairs"]]
    return math.nan if None in found else float(np.mean(found))


def over_pairs(each: Mapping[str, Any], take: Callable[[Mapping[str, Any]], float]) -> float:
    """Mean of something over a seed's pairs."""
    return float(np.mean([take(pair) for pair in each["pairs"]]))


def figures_of_merging(groups: Results, results: Results, foretold: Sequence[Predicted]) -> list[Drawn]:
    """All figures of the page.

    Args:
        groups: what was measured, by setting.
        results: the same, with the children of forks.
        foretold: what was told beforehand, for each outcome.

    Returns:
        The figures.
    """
    found: list[Drawn] = [_rises(groups)]
    found += _planes(groups)
    found.append(_soups(groups))
    if results.get("forks"):
        found.append(_forks(results["forks"]))
    found += _layers(groups)
    if foretold:
        found += [_scatter(foretold[-1]), _features(foretold)]
    return found


def _rises(groups: Results) -> HeatMap:
    """Rise of the error over the sources' by method and setting."""
    values = np.array(
        [
            [
                np.mean(
                    [merged_errors(e, method) - over_pairs(e, lambda p: float(np.mean(p["sources"]))) for e in every]
                )
                for every in groups.values()
            ]
            for method in CHOICES
        ]
    )
    return HeatMap(
        "merges",
        "What merging gives",
        "Test error of a merge less the mean error of its two sources, in points, mean over seeds; blue is better than "
        "the sources. Blank: the method needs a base, and these sources have none in common.",
        "A merge that beats sources which know half of the tasks may still be far from a network trained on all: see "
        "the table. Soups may keep one source alone, and do where the mean is bad. Settings of each method were "
        "chosen by the training loss from a few.",
        HeatAxis("how the sources differ", tuple(groups)),
        HeatAxis("", tuple(CHOICES), every=True),
        100 * values,
        "points of test error",
        diverging=True,
    )


def _planes(groups: Results) -> list[Terrain]:
    found = []
    for setting, every in groups.items():
        plane = every[0].get("plane")
        if plane is None or plane["errors"] is None:
            continue
        marks = tuple((name, float(at[0]), float(at[1])) for name, at in plane["marks"].items())
        third = (
            "the mean of A and B with B's units matched to A's; the plain mean lies in the plane too"
            if "matched mean" in plane["marks"]
            else "a network trained on both tasks' data, as matching units moves none here; the mean lies in the plane"
        )
        found.append(
            Terrain(
                f"plane-{setting}",
                f"Two sources and their merge: {SETTINGS[setting].title}",
                f"Share of wrong test labels on the plane through two sources A and B and {third}, seed 0; dark is "
                f"low.",
                "A plane is two directions of very many; where units are matched, the valley of B with its units in "
                "A's order lies outside of it.",
                Axis("from A towards B (L2 distance)"),
                Axis("across"),
                np.array(plane["alphas"]),
                np.array(plane["betas"]),
                np.array(plane["errors"], dtype=float),
                "wrong labels",
                percent=True,
                marks=marks,
            )
        )
    return found


def _soups(groups: Results) -> Panels:
    panels = []
    for setting, every in groups.items():
        lines = []
        for place, (name, label) in enumerate((("mean", "mean of the weights"), ("ensemble", "ensemble"))):
            table = np.array([each["soups"][name] for each in every])
            lines.append(_band(label, np.arange(1.0, table.shape[1] + 1), table, place, dash=place))
        panels.append(Panel(setting, Axis("wrong labels", percent=True), tuple(lines)))
    return Panels(
        "soups",
        "More and more sources",
        "Test error, over the tasks of all, of the mean of the weights of the first 1, 2, .. sources, and of their "
        "ensemble; bands are standard errors over seeds.",
        "The first source alone knows only its own task where tasks differ.",
        Axis("sources"),
        tuple(panels),
    )


def _forks(forks: Sequence[Mapping[str, Any]]) -> Figure:
    epochs = np.array(forks[0]["epochs"], dtype=float)
    lines = [
        _band(f"another {kind}" if kind != "augmentation" else "augmentation", epochs,
              np.array([each["barriers"][kind] for each in forks], dtype=float), place, dash=place)
        for place, kind in enumerate(forks[0]["barriers"])
    ]  # fmt: skip
    return Figure(
        "determinism",
        "When the mode is fixed",
        "Loss barrier between the ends of two children that left a run at the same time, by the time at which they "
        "left, when they differ in the order of the data, the learning rate (halved), or in augmentation besides; "
        "bands are standard errors over seeds. Where it is nothing, the rest of the training stays in one mode "
        "(Frankle et al. 2020).",
        "Children take their parent's weights, not its momentum, and bring their step down to nothing by the same "
        "epoch: late ones have little time left to part.",
        Axis("epoch at which children leave"),
        Axis("loss barrier"),
        tuple(lines),
        reference=0.0,
    )  # fmt: skip


def _layers(groups: Results) -> list[HeatMap]:
    """One for each architecture: that of the text is not that of the pictures."""
    alike: dict[tuple[str, ...], dict[str, Sequence[Mapping[str, Any]]]] = {}
    for setting, every in groups.items():
        alike.setdefault(tuple(every[0]["pairs"][0]["connection"]["layers"]), {})[setting] = every
    return [_layers_of(names, own, place) for place, (names, own) in enumerate(alike.items())]


def _layers_of(names: tuple[str, ...], groups: Results, place: int) -> HeatMap:
    values = np.array(
        [
            [np.mean([p["connection"]["layers"][name] for e in every for p in e["pairs"]]) for every in groups.values()]
            for name in names
        ]
    )
    across, down = HeatAxis("how the sources differ", tuple(groups)), HeatAxis("layer", names, every=True)
    if len(groups) == 1:  # one column is hard to see
        across, down, values = replace(down, label=f"layer ({', '.join(groups)})"), HeatAxis("", ("loss",)), values.T
    return HeatMap(
        "layers" if not place else f"layers-{place + 1}",
        "Connectivity layer by layer" + (f": {', '.join(groups)}" if place else ""),
        "Training loss half way between a source and the same source with one layer taken from the other, less the "
        "mean of both ends; mean over pairs and seeds.",
        "Layers that can be mixed one at a time cannot always be mixed together.",
        across,
        down,
        values,
        "loss",
        diverging=True,
    )


def _scatter(found: Predicted) -> Figure:
    truth, ranks = 100 * found.truth, np.argsort(np.argsort(found.foretold)).astype(float) + 1
    lines = []
    for place, setting in enumerate(dict.fromkeys(found.settings)):
        own = np.array([each == setting for each in found.settings])
        lines.append(Series(setting, ranks[own], truth[own], "points", place, dash=place))
    return Figure(
        "mergeability",
        "Told beforehand",
        "Rise of the best merge's test error over its sources' mean, against its rank as foretold from cheap "
        f"measurements of the two sources by a fit on other seeds: rank correlation {found.rho['all']:.2f} over "
        f"{len(truth)} pairs (by the distance of the parameters alone {found.rho['distance']:.2f}).",
        "Pairs of one setting are alike: most of the correlation tells settings apart.",
        Axis("rank as foretold"),
        Axis("points of test error"),
        tuple(lines),
        reference=0.0,
    )


def _features(foretold: Sequence[Predicted]) -> HeatMap:
    names = sorted(
        (name for name in foretold[-1].rho if name not in ("all", "ends")),
        key=lambda name: -abs(foretold[-1].rho[name]),
    )
    rows = ("all features, other seeds", "without reading between", *names)
    keys = ("all", "ends", *names)
    return HeatMap(
        "features",
        "What tells it",
        "Rank correlation over all pairs of what was measured before merging with the rise of test error, of the "
        "plain mean and of the best method. The first two rows are foretold by fits on other seeds; in the second "
        "nothing was read between the sources.",
        "What is read between the sources is nearly the outcome itself, on the training data.",
        HeatAxis(
            "rise of the error of", tuple("the mean" if each.outcome == "mean" else "the best" for each in foretold)
        ),
        HeatAxis("", rows, every=True),
        np.array([[each.rho[key] for each in foretold] for key in keys]),
        "rank correlation",
        diverging=True,
        limits=(-1.0, 1.0),
    )


def _band(name: str, x: Numbers, table: Numbers, colour: int, dash: int) -> Series:
    mean = table.mean(0)
    if len(table) < 2:
        return Series(name, x, mean, "marked", colour, dash=dash)
    error = table.std(0, ddof=1) / math.sqrt(len(table))
    return Series(name, x, mean, "marked", colour, low=mean - error, high=mean + error, dash=dash)
