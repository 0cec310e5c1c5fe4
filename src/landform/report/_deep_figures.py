"""The figures of deep learning against kernel learning: of one run, or of several that differ in their seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from landform.atlas import Atlas
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import OTHER, TEST, TRAIN, Times, time_axis, value_axis
from landform.report._panels import Panel, Panels
from landform.report._terrain import Terrain, Way
from landform.series import Correlations, Joint
from landform.studies import Bundle, advantage, bundle, read

# Quantities that stand in figures of their own, and need no note that they have none.
DRAWN = (
    "children_loss_line",
    "children_error_line",
    *(f"onset_{name}" for name in ("own", "machine", "machine_from", "linearised", "linearised_best")),
    *(f"family_plane_{name}" for name in ("loss", "error", "family_alphas", "family_betas", "ways")),
    *(f"onset_{name}" for name in ("nonlinear", "nonlinear_best", "probe", "probe_best", "lr")),
)
GREEN, BLUE, RED, PURPLE, NULL = 2, 0, 1, 3, 4

# What stands in the linked panels: the label, and (quantity, data set, what the legend calls it).
_ROWS: tuple[tuple[str, tuple[tuple[str, str | None, str], ...]], ...] = (
    ("share of wrong labels", (("error", "test", "test"), ("error", "train", "train"))),
    (
        "error barrier between children that leave then",
        (("children_barrier_error", "test", "test"), ("children_barrier_error", "train", "train")),
    ),
    ("kernel velocity, per epoch", (("kernel_velocity", "test", "test"), ("kernel_velocity", "train", "train"))),
    (
        "kernel velocity over learning rate",
        (("kernel_velocity_per_lr", "test", "test"), ("kernel_velocity_per_lr", "train", "train")),
    ),
    ("kernel distance from the start", (("kernel_distance", "test", "test"), ("kernel_distance", "train", "train"))),
    ("nonlinear advantage (test error)", (("advantage", "test", "test"),)),
    (
        "distances between children, test",
        (
            ("children_kernel_distance", "test", "kernel"),
            ("children_activation_distance", "test", "activations"),
            ("children_disagreement", "test", "labels"),
        ),
    ),
    (
        "kernel alignment with the labels",
        (("kernel_alignment", "test", "test"), ("kernel_alignment", "train", "train")),
    ),
    (
        "largest eigenvalue of the Hessian",
        (("sharpness", "train", "train"), ("stability_threshold", "train", "stable below")),
    ),
    (
        "labels changed since the last record",
        (("disagreement_step", "test", "test"), ("disagreement_step", "train", "train")),
    ),
)


def deep_figures(
    atlases: Sequence[Atlas], times: Times = "auto", joint: Sequence[Joint] = ()
) -> list[Figure | HeatMap | Panels | Terrain]:
    """Describe the figures for which there are numbers of children, onsets, or several quantities at once.

    Args:
        atlases: of the runs, one for each seed.
        times: how time is drawn.
        joint: the common transition of each run, to be marked.

    Returns:
        The figures.
    """
    found = [
        linked(atlases, times, joint),
        barrier_lines(atlases),
        onset_errors(atlases, times),
        advantage_and_barrier(atlases),
        family_map(atlases),
    ]
    return [figure for figure in found if figure is not None]


def linked(atlases: Sequence[Atlas], times: Times = "auto", joint: Sequence[Joint] = ()) -> Panels | None:
    """Everything that moves along a run, over one time axis; None for fewer than two rows."""
    rows: list[tuple[str, tuple[Series, ...]]] = []
    epochs: list[Numbers] = []
    for label, lines in _ROWS:
        drawn = []
        for place, (quantity, on, name) in enumerate(lines):
            one = advantage(atlases, on or "") if quantity == "advantage" else read(atlases, quantity, on)
            if one:
                drawn.append(
                    banded(one, name, place + 2 if len(lines) > 2 else {"test": TEST, "train": TRAIN}.get(name, OTHER))
                )
                epochs.append(one.epochs)
        if drawn:
            rows.append((label, tuple(drawn)))
    if len(rows) < 2:
        return None
    x = time_axis("log" if times == "auto" else times, np.unique(np.concatenate(epochs)))
    marks = np.asarray([(each.time, each.low, each.high) for each in joint if np.isfinite(each.time)]).reshape(-1, 3)
    seeds = f"Mean of {len(atlases)} seeds, with its standard error. " if len(atlases) > 1 else ""
    return Panels(
        "moving-together",
        "What moves together",
        f"{seeds}Read one time through all rows: point at any of them. The paper's claim is that all of this happens "
        "at once: the kernel turns fast, children still part ways, and training beats its own linearisation, until the "
        "transition; after it all of these are small and the kernel drifts on (Fort et al. 2020, figures 2 to 9). The "
        "golden band is the common transition: half of the change of all rows is done there.",
        "Curves that all fall look alike in any case; the table of correlations says how much of the likeness a common "
        "trend explains. Children exist for some times only, so their rows have fewer points.",
        x,
        tuple(Panel(label, _axis(label, series), series) for label, series in rows),
        None if not len(marks) else (float(marks[:, 0].mean()), float(marks[:, 1].min()), float(marks[:, 2].max())),
        "transition",
    )


def barrier_lines(atlases: Sequence[Atlas]) -> Figure | None:
    """Test error on the straight line between children, one line for each spawn time; None without children."""
    lines: list[Series] = []
    on = _set(atlases, "children_error_line")
    if on is None:
        return None
    every = atlases[0]["children_error_line"].coords
    alphas = np.asarray(every["alpha"], dtype=np.float64)
    columns = [bundle(atlases, "children_error_line", set=on, alpha=float(alpha)) for alpha in alphas]
    epochs = columns[0].epochs
    for place, epoch in enumerate(epochs):
        height = np.asarray([column.mean[place] for column in columns])
        lines.append(Series(f"leaving at epoch {epoch:.3g}", alphas, height, "line", place))
    if not lines:
        return None
    return Figure(
        "barrier-lines",
        "Between two children",
        f"Share of wrong labels ({on}) on the straight line between two finished children of one parent, for each time "
        "at which they left it. A hill means that they ended in different valleys: their average is a bad network. "
        "Where the line is flat, the valley was chosen before they left (Fort et al. 2020, figure 2).",
        "A barrier of nothing between two networks that learned nothing means nothing: look at the ends. With a small "
        "step there is no hill at all, whenever they leave.",
        Axis("place on the line from one child to the other"),
        Axis("wrong labels", percent=True),
        tuple(lines),
    )


def family_map(atlases: Sequence[Atlas]) -> Terrain | None:
    """The plane through a record and the ends of two of its children, of the first run; None where it is not there."""
    atlas = atlases[0]
    name = next((name for name in ("family_plane_error", "family_plane_loss") if name in atlas.names()), None)
    if name is None:
        return None
    labelled = atlas[name]
    sets = [str(each) for each in np.atleast_1d(labelled.coords.get("set", np.array("train")))]

    def first(quantity: str) -> Numbers:
        """The numbers at the first time, on the last set."""
        whole = atlas[quantity]
        values = np.asarray(whole.values, dtype=np.float64)
        return np.asarray(values[(-1, 0)] if "set" in whole.dims else values[0])

    values, ways = first(name), first("family_plane_ways")
    alphas, betas = first("family_plane_family_alphas"), first("family_plane_family_betas")
    if not np.isfinite(values).any():
        return None
    epoch, share = float(labelled.coords["time"][0]), float(first("family_plane_share"))
    called = ("the run itself", "one child", "another child")
    drawn = []
    for place, (label, points) in enumerate(zip(called, ways, strict=True)):
        known = points[np.isfinite(points).all(1)]
        if len(known):
            drawn.append(Way(label, known, colour=(PURPLE, TEST, BLUE)[place]))
    ends = [(way.name, float(way.places[-1, 0]), float(way.places[-1, 1])) for way in drawn[1:]]
    return Terrain(
        "family-plane",
        "The plane through two children",
        f"The landscape ({'share of wrong labels' if name.endswith('error') else 'loss'}, {sets[-1]}) on the plane "
        f"through the point of epoch {epoch:.3g}, where two children left the run, and the ends of both; and the ways "
        "that led there. Two valleys with a ridge between them are what a barrier is (Fort et al. 2020, figure 1).",
        "The ways are projected: they lie off the plane, where the landscape is another. Only the three points that "
        "settle the plane lie on it.",
        Axis("distance towards one child"),
        Axis("distance towards the other, across"),
        alphas,
        betas,
        values,
        "wrong labels" if name.endswith("error") else "mean loss",
        percent=name.endswith("error"),
        ways=tuple(drawn),
        marks=(("where they leave", 0.0, 0.0), *ends),
        notes=(f"{share:.0%} of the squared distances of all points drawn lie in the plane",),
    )


def onset_errors(atlases: Sequence[Atlas], times: Times = "auto") -> Figure | None:
    """Error of what is trained from a time on, against that time; None where it was not measured."""
    green = read(atlases, "onset_linearised", _on(atlases))
    if not green:
        return None
    where = _on(atlases)
    parts = [("linearised from here (green)", green, GREEN)]
    names = {"onset_nonlinear": ("low-step training from here (blue)", BLUE), "onset_own": ("the run here (red)", RED)}
    names |= {
        "onset_probe": ("last layer from here (null)", NULL),
        "onset_machine": ("kernel machine, some samples", 5),
    }
    for quantity, (name, colour) in names.items():
        one = read(atlases, quantity, where)
        if one:
            parts.append((name, one, colour))
    end = read(atlases, "error", where)
    series = [banded(one, name, colour) for name, one, colour in parts]
    if end:
        last = Bundle(green.epochs, np.repeat(end.values[:, -1:], len(green.epochs), axis=1))
        series.append(banded(last, "the run at its end (purple)", PURPLE, style="line"))
    return Figure(
        "onset-errors",
        "What the kernel of each time can learn",
        f"Error on {where} after training from each time on: the network's linear expansion there, whose kernel stays "
        "as it was (green); the network itself with the same small step (blue); where the run stands (red) and ends "
        "(purple). Where green comes down to purple, the kernel of that time learns as well as the whole training; "
        "where it meets blue, nothing is left that a moving kernel would add (Fort et al. 2020, figure 8).",
        "Purple is the end of a run with its own, larger step, which may not have come to rest: green against blue is "
        "the fair comparison. The last layer alone is the null: what it reaches needs no tangent kernel. The kernel "
        "machine sees some of the samples only.",
        time_axis("log" if times == "auto" else times, green.epochs),
        Axis("wrong labels", percent=True),
        tuple(series),
    )


def advantage_and_barrier(atlases: Sequence[Atlas]) -> Figure | None:
    """Nonlinear advantage against the barrier of children that leave at the same time; None without both."""
    gain, barrier = advantage(atlases), read(atlases, "children_barrier_error", "test")
    if not gain or not barrier:
        return None
    shared = barrier.epochs
    rows = gain.over(shared, close=0.02)
    series = []
    for seed, (high, far) in enumerate(zip(rows, barrier.values, strict=True)):
        known = np.isfinite(high) & np.isfinite(far)
        if known.sum() >= 2:
            series.append(
                Series(f"seed {seed}" if len(rows) > 1 else "this run", far[known], high[known], "marked", seed)
            )
    if not series:
        return None
    return Figure(
        "advantage-and-barrier",
        "The advantage of moving, against the barrier",
        "Each point is a time: to the right, how far apart children end that leave then; upwards, how much low-step "
        "training from there beats its own linearisation. The line joins the times in order, and runs towards the "
        "origin where both are over (Fort et al. 2020, figure 9).",
        "Two things that both fall in time lie on a rising line whatever joins them.",
        Axis("error barrier between children (test)", percent=True),
        Axis("nonlinear advantage (test)", percent=True),
        tuple(series),
    )


def correlation_maps(tables: Sequence[Correlations]) -> list[HeatMap]:
    """Rank correlations of what moves, mean over seeds, and how often a common trend does as well.

    Args:
        tables: one for each seed, of the same quantities.

    Returns:
        Two maps; none where there is no table.
    """
    if not tables:
        return []
    names = tables[0].names
    axis = HeatAxis("", names)
    seeds = f", mean of {len(tables)} seeds" if len(tables) > 1 else ""
    rho = np.mean([table.rho for table in tables], axis=0)
    chance = np.mean([table.chance for table in tables], axis=0)
    np.fill_diagonal(chance, np.nan)
    return [
        HeatMap(
            "correlations",
            "Rank correlations over training time",
            f"Spearman's rank correlation between any two of the measures, over the spawn times{seeds}. The paper says "
            "that all of them are strikingly correlated.",
            "Two measures that both fall in time have a correlation near 1, whatever drives them: read the next map "
            "beside this one.",
            axis,
            axis,
            rho,
            "rho",
            diverging=True,
            limits=(-1.0, 1.0),
        ),
        HeatMap(
            "correlations-by-chance",
            "How often a common trend does as well",
            "Share of shuffles with a correlation at least as strong, where one measure keeps its start, its end and "
            f"all its steps, but takes them in another order{seeds}. Small (dark) means: the two agree in more than "
            "their trend.",
            "With so few times the smallest share that can show is limited, and of twenty pairs one falls below 5% by "
            "chance.",
            axis,
            axis,
            chance,
            "share of shuffles",
            limits=(0.0, 1.0),
        ),
    ]


def banded(one: Bundle, name: str, colour: int, style: str = "marked") -> Series:
    """A curve of several seeds as one line, with the standard error of its mean as a band."""
    known = np.isfinite(one.values)
    count = known.sum(0)
    shown = count > 0
    mean = one.mean[shown]
    low = high = None
    if len(one.values) > 1 and bool((count[shown] > 1).all()):
        spread = np.nanstd(one.values[:, shown], axis=0, ddof=1) / np.sqrt(count[shown])
        low, high = mean - spread, mean + spread
    return Series(name, one.epochs[shown], mean, style, colour, low, high)  # type: ignore[arg-type]


def _axis(label: str, series: tuple[Series, ...]) -> Axis:
    """Shares as percentages, and a log axis for what spans more than a factor of ten away from zero."""
    if label.startswith(("share", "error barrier", "nonlinear", "labels changed")):
        return Axis("", percent=True)
    return replace(value_axis("", series, "auto"), label="") if label.startswith("largest") else Axis("")


def _set(atlases: Sequence[Atlas], name: str) -> str | None:
    """The data set to show: test, where it was measured there."""
    if name not in atlases[0].names():
        return None
    sets = [str(each) for each in np.atleast_1d(atlases[0][name].coords.get("set", np.array("train")))]
    return "test" if "test" in sets else sets[0]


def _on(atlases: Sequence[Atlas]) -> str:
    labels: Mapping[str, object] = atlases[0]["onset_own"].coords if "onset_own" in atlases[0].names() else {}
    sets = [str(each) for each in np.atleast_1d(np.asarray(labels.get("on", ["test"])))]
    return "test" if "test" in sets else sets[0]
