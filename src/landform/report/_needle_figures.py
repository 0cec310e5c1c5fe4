"""Figures of the study of networks freed of convolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from landform.report._bands import band, steps_axis, table_of
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.studies import NeedleProtocol, accuracy, over, rises

Part = Mapping[str, Any]
Pick = Literal["best", "last"]
# One colour for each network in every figure.
_FREED, _CNN, _PLAIN, _AS_LONG = 0, 1, 2, 4
_TIMES = (0, 3, 4, 5)  # of the relax times that are drawn one by one
_PICKS: tuple[tuple[Pick, str, str, str], ...] = (
    ("best", "relax", "Freed at different times", "at the epoch that is best on validation samples"),
    ("last", "relax-last", "Freed at different times: at the end", "at the last epoch"),
)
_ACCURACY = Axis("test accuracy", percent=True)


def figures_of(protocol: NeedleProtocol, parts: Sequence[Part]) -> list[Drawn]:
    """Everything that is drawn.

    Args:
        protocol: the study's.
        parts: one for each seed.

    Returns:
        The figures.
    """
    return [
        *_relax(protocol, parts),
        _deviation(protocol, parts),
        _training(protocol, parts),
        _leaving(protocol, parts),
        _parts(protocol, parts),
        _spread(protocol, parts),
        _picture(protocol, parts[0]),
        _back(protocol, parts),
        _basins(protocol, parts),
        _curvature(protocol, parts),
    ]


def some_of(relax: Sequence[float]) -> list[int]:
    """Places of a few relax times: the first, the last, and such between them.

    Args:
        relax: the relax times.

    Returns:
        Four places at most.
    """
    return sorted({round(i * (len(relax) - 1) / 3) for i in range(4)})


def _named(protocol: NeedleProtocol) -> list[tuple[int, str, int]]:
    """Networks that are drawn one by one: place, name and colour; the fully-connected one last."""
    freed = [
        (i, f"freed after {protocol.relax[i]:g}", colour)
        for i, colour in zip(some_of(protocol.relax), _TIMES, strict=False)
    ]
    return [*freed, (-1, "fully connected", _PLAIN)]


def _level(name: str, x: Sequence[float], rows: Sequence[float], colour: int) -> Series:
    """A number that does not depend on the relax time, as a level line with its band."""
    return band(name, x, [[value] * len(x) for value in rows], colour, style="line")


def _relax(protocol: NeedleProtocol, parts: Sequence[Part]) -> list[Figure]:
    relax, after, last = protocol.relax, protocol.after, protocol.relax[-1]
    figures = []
    for pick, name, title, chosen in _PICKS:

        def until(network: str, pick: Pick = pick) -> list[list[float]]:
            return [[accuracy(part[network], pick, time + after) for time in relax] for part in parts]

        freed = [[accuracy(run, pick) for run in part["efcn"]] for part in parts]
        stem = [accuracy(part["cnn"], pick, last) for part in parts]
        lines = (
            band("freed", relax, freed, _FREED),
            _level(f"convolutional, {last:g} epochs", relax, stem, _CNN),
            band("convolutional, trained as long", relax, until("cnn"), _AS_LONG),
            band("fully connected, trained as long", relax, until("fcn"), _PLAIN),
        )
        figures.append(
            Figure(
                name,
                title,
                f"Test accuracy, {chosen}, of a convolutional network that is written out as a fully-connected one "
                f"after some epochs, the relax time, and trained for {after:g} more; beside the convolutional network, "
                "and beside both other networks trained for as many epochs in all.",
                "The axis does not begin at zero. Epochs are as many, computations are not: an epoch of a freed "
                "network costs many times that of the convolutional one.",
                steps_axis("relax time in epochs", lines),
                replace(_ACCURACY, limits=_around(lines)),
                lines,
            )
        )
    return figures


def _around(lines: Sequence[Series]) -> tuple[float, float]:
    """From below the lowest line to above the highest one, bands included: differences are what is to be seen."""
    every = [edge for line in lines for edge in (line.y, line.low, line.high) if edge is not None]
    known = np.concatenate(every)
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = 0.1 * (high - low) + 0.005
    return max(0.0, low - room), min(1.0, high + room)


def _deviation(protocol: NeedleProtocol, parts: Sequence[Part]) -> Figure:
    relax = protocol.relax

    def rows(key: str) -> list[list[float | None]]:
        return [[run[key][-1] for run in part["efcn"]] for part in parts]

    lines = (
        band("off the filters", relax, rows("deviation"), _FREED),
        band("from the nearest convolutional network", relax, rows("distance"), _AS_LONG),
        _level("fully connected, off the filters", relax, [_known(p["fcn"]["deviation"][-1]) for p in parts], _PLAIN),
    )
    return Figure(
        "deviation",
        "How far it leaves",
        "Norm of the weights off the filters over that of all, at the end of training; and the distance from the "
        "nearest convolutional network, to which entries of one filter that have become different add.",
        "Most entries lie off the filters, each of them small: a share of the norm, not of the entries.",
        steps_axis("relax time in epochs", lines),
        Axis("over the norm of all weights", limits=(0.0, 1.0)),
        lines,
    )


def _training(protocol: NeedleProtocol, parts: Sequence[Part]) -> Figure:
    lines = [
        band("convolutional", parts[0]["cnn"]["epochs"], _right(parts, lambda p: p["cnn"]["test"]), _CNN, style="line"),
        band("fully connected", parts[0]["fcn"]["epochs"], _right(parts, lambda p: p["fcn"]["test"]), _PLAIN,
             style="line"),
    ]  # fmt: skip
    for colour, i in list(zip(_TIMES, some_of(protocol.relax), strict=False))[1:]:
        run = parts[0]["efcn"][i]
        epochs = [run["relax"] + epoch for epoch in run["epochs"]]
        rows = _right(parts, lambda p, i=i: p["efcn"][i]["test"])  # type: ignore[misc]
        lines.append(band(f"freed after {run['relax']:g}", epochs, rows, colour))
    return Figure(
        "training",
        "Along training",
        "Test accuracy along the training of the convolutional network, of what it becomes where it is freed, and of "
        "a fully-connected network of the same architecture.",
        "Plain descent at a constant rate: single epochs go up and down, most of all the convolutional network's.",
        Axis("epochs in all"),
        _ACCURACY,
        tuple(lines),
    )


def _leaving(protocol: NeedleProtocol, parts: Sequence[Part]) -> Figure:
    lines = []
    for colour, i in zip(_TIMES, some_of(protocol.relax), strict=False):
        run = parts[0]["efcn"][i]
        rows = [part["efcn"][i]["deviation"] for part in parts]
        lines.append(band(f"freed after {run['relax']:g}", run["epochs"], rows, colour, style="line"))
    return Figure(
        "leaving",
        "On the way out",
        "Norm of the weights off the filters over that of all, from the epoch at which a network was freed.",
        "It begins at 0 by construction; what tells is where it ends.",
        Axis("epochs after it was freed"),
        Axis("deviation"),
        tuple(lines),
    )


def _parts(protocol: NeedleProtocol, parts: Sequence[Part]) -> Figure:
    relax = protocol.relax
    keys = (("without_off", "without weights off the filters"), ("without_local", "without weights on the filters"),
            ("folded", "nearest convolutional network"))  # fmt: skip
    count = len(relax)
    lines = [band("as it ended", relax, _right(parts, lambda p: [run["test"][-1] for run in p["efcn"]]), _FREED)]
    for colour, (key, name) in zip((3, 4, _CNN), keys, strict=True):
        rows = _right(parts, lambda p, key=key: [end[key] for end in p["ends"][:count]])  # type: ignore[misc]
        lines.append(band(name, relax, rows, colour))
    return Figure(
        "contributions",
        "What the parts do",
        "Test accuracy at the end of training, as it is, with the weights off the filters set to zero, with those on "
        "the filters set to zero, and with each filter's entries replaced by their mean and the rest by zero.",
        "Setting weights to zero also takes away what the others had adapted to.",
        steps_axis("relax time in epochs", lines),
        _ACCURACY,
        tuple(lines),
    )


def _spread(protocol: NeedleProtocol, parts: Sequence[Part]) -> Figure:
    lines = []
    for i, name, colour in _named(protocol):
        away = parts[0]["ends"][i]["away"]
        rows = [
            [_root(end["local_mean_square"]), *map(_root, end["mean_square"])]
            for end in (part["ends"][i] for part in parts)
        ]
        lines.append(band(name, [0.0, *map(float, away)], rows, colour, log=True))
    return Figure(
        "spread",
        "Near the filters and far from them",
        "Root mean square of the dense layers' weights by their distance from the window that a filter looks at; on "
        "the filters themselves at 0. At the end of training.",
        "Far pairs of places exist for units near the border only, and are few.",
        Axis("distance from the filter (pixels)"),
        Axis("root mean square (log scale)", "log"),
        tuple(lines),
    )


def _picture(protocol: NeedleProtocol, part: Part) -> HeatMap:
    names, pictures = [], []
    for i in some_of(protocol.relax):
        pictures.append(np.array(part["ends"][i]["picture"], dtype=float))
        names.append((f"after {protocol.relax[i]:g}", pictures[-1].shape[1]))
    pictures.append(np.array(part["ends"][-1]["picture"], dtype=float))
    names.append(("fully connected", pictures[-1].shape[1]))
    whole = np.concatenate(pictures, axis=1)
    seen = np.log10(np.where(whole > 0, whole, np.nan))
    return HeatMap(
        "picture",
        "What one unit sees",
        "Weights of the unit in the middle of the first layer, over the pixels it reads, as root mean squares over "
        "channels; seed 0, at the end of training. Convolution keeps all but the filter's window at zero.",
        "Colours are logarithms: what looks half as bright is many times smaller.",
        HeatAxis("pixel, by when it was freed", tuple(str(j) for p in pictures for j in range(p.shape[1])),
                 groups=tuple(names)),
        HeatAxis("pixel", tuple(map(str, range(len(seen))))),
        seen,
        "log10 of the root mean square",
    )  # fmt: skip


def _back(protocol: NeedleProtocol, parts: Sequence[Part]) -> Panels:
    lines: list[list[Series]] = [[], []]
    for i, name, colour in _named(protocol):
        count = max(len(part["back"][i]["losses"]) for part in parts)
        t = np.linspace(0, 1, max(count, 2))
        lines[0].append(band(name, t, [part["back"][i]["losses"] for part in parts], colour))
        lines[1].append(band(name, t, _right(parts, lambda p, i=i: p["back"][i]["test"]), colour))  # type: ignore[misc]
    return Panels(
        "back",
        "Straight back to the convolutional subspace",
        "Training loss and test accuracy on the straight line from where training ended (0) to the nearest "
        "convolutional network, written out (1).",
        "Nearest in weights is not nearest in function: further training from there may soon be good.",
        Axis("way to the convolutional subspace"),
        (
            Panel("training loss", Axis("loss"), tuple(lines[0])),
            Panel("test accuracy", _ACCURACY, tuple(lines[1])),
        ),
    )


def _basins(protocol: NeedleProtocol, parts: Sequence[Part]) -> HeatMap:
    tables = np.array([rises(part) for part in parts])
    counts = np.isfinite(tables).sum(0)
    mean = np.where(counts > 0, np.nansum(np.where(np.isfinite(tables), tables, 0), 0) / np.maximum(counts, 1), np.nan)
    names = ("CNN", *(f"{time:g}" for time in protocol.relax), "FCN")
    return HeatMap(
        "basins",
        "Hills between solutions",
        "How far the training loss rises above the higher end on the straight line between two solutions, mean over "
        "seeds: the convolutional one, written out; freed networks by relax time; the fully-connected one.",
        "Straight lines only: a bent way may have no hill. Units of independent starts are in another order, which "
        "makes a hill by itself.",
        HeatAxis("network", names, every=True),
        HeatAxis("network", names, every=True),
        np.maximum(mean, 0.0),
        "rise of the training loss",
    )


def _curvature(protocol: NeedleProtocol, parts: Sequence[Part]) -> Figure:
    relax = protocol.relax
    count = len(relax)

    def rows(key: str) -> list[list[float | None]]:
        return [part["curvature"][key][:count] for part in parts]

    lines = (
        band("freed, at its end", relax, rows("ends"), _FREED, log=True),
        band("freed, where it starts", relax, rows("starts"), _AS_LONG, log=True),
        band("convolutional, at the relax time", relax, rows("cnn"), _CNN, log=True),
        band("fully connected, at its end", relax, [[p["curvature"]["ends"][-1]] * count for p in parts], _PLAIN,
             log=True, style="line"),
    )  # fmt: skip
    return Figure(
        "curvature",
        "Largest eigenvalue",
        "Largest eigenvalue of the training loss's Hessian: of the convolutional network at the relax time, of the "
        "same function written out, where that one ends, and where a fully-connected network ends.",
        "Where the one starts, it is one function in two sets of coordinates: a shared weight moves all its entries at "
        "once. With cross-entropy the curvature falls with the loss once all is right: longer training looks flatter.",
        steps_axis("relax time in epochs", lines),
        Axis("eigenvalue (log scale)", "log"),
        lines,
    )


def _right(parts: Sequence[Part], take: Callable[[Part], Sequence[float | None]]) -> Numbers:
    """Shares of right labels, of those of wrong ones."""
    return 1 - table_of([take(part) for part in parts])


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _root(value: float | None) -> float | None:
    return None if value is None else math.sqrt(value)


def gain(protocol: NeedleProtocol, parts: Sequence[Part], i: int, other: str) -> list[float]:
    """Test accuracy at a relax time less that of another network, at the epochs best on validation samples.

    Args:
        protocol: the study's.
        parts: one for each seed.
        i: place of the relax time.
        other: as for `landform.studies.over`.

    Returns:
        One for each seed.
    """
    return [over(protocol, part, i, other, "best") for part in parts]
