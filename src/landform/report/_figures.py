"""The figures of a run, described from what was measured along it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landform.report import _curvature_figures as curvature
from landform.report import _function_figures as functions
from landform.report import _kernel_figures as kernel
from landform.report import _path_figures as paths
from landform.report._class_figures import class_outliers
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._lines import OTHER, TRAIN, Times, along, time_axis, value_axis
from landform.report._material import Drawn, Material

_WINDOWS = 100


def figures(material: Material, times: Times = "auto") -> list[Drawn]:
    """Describe every figure for which there are numbers.

    Args:
        material: what was measured.
        times: how time is drawn: ``"log"``, ``"linear"``, or ``"auto"``: log where most records are early ones.

    Returns:
        The figures, in the order of the page.
    """
    makers: list[Callable[[Material, Times], Figure | None]] = [
        loss,
        error,
        training_curve,
        learning_rate,
        gradient_norm,
        distance,
        parameter_norm,
        step_cosine,
        curvature.sharpness,
        curvature.eigenvalues,
        curvature.gradient_in_top,
        curvature.trace,
        curvature.density,
        class_outliers,
        kernel.velocity,
        kernel.velocity_per_lr,
        kernel.distance,
        kernel.sketch_distance,
        kernel.alignment,
        kernel.effective_rank,
        kernel.eigenvalues,
        kernel.decay,
        kernel.label_energy,
        functions.from_start,
        functions.to_end,
        functions.step,
        paths.barrier_to_end,
        paths.line_from_start,
    ]
    found: list[Drawn] = [figure for make in makers if (figure := make(material, times)) is not None]
    return [*material.deep, *found, *material.maps]


def loss(material: Material, times: Times = "auto") -> Figure | None:
    """Loss along the run, on every data set; None where it was not measured."""
    return along(
        material,
        "loss",
        times,
        title="Loss along the run",
        label="mean loss",
        caption="The loss of the recorded weights over the full data, one point for each recorded time. A test curve "
        "that turns up while the training curve falls on is overfitting; both falling together is learning.",
        fools="Weight decay that was declared as part of the loss is included. The loss can rise while the error still "
        "falls: a few confidently wrong samples weigh much in it.",
    )


def error(material: Material, times: Times = "auto") -> Figure | None:
    """Share of wrong labels along the run; None where it was not measured."""
    return along(
        material,
        "error",
        times,
        title="Error along the run",
        label="wrong labels",
        percent=True,
        caption="Share of the samples of each set whose most likely class is not their label.",
        fools="One sample more or less is a visible step on a small set. Where labels are noisy, the training error is "
        "counted against the labels given, right or wrong.",
    )


def gradient_norm(material: Material, times: Times = "auto") -> Figure | None:
    """Norm of the full-data gradient along the run; None where it was not measured."""
    return along(
        material,
        "gradient_norm",
        times,
        title="Gradient norm",
        label="gradient norm",
        caption="Length of the exact gradient over the full data: how steep the landscape is where the run stands. It "
        "falls as a run settles and shoots up where it becomes unstable.",
        fools="A small gradient is no sign of a minimum: a plateau has one too. It shrinks and grows with the scale of "
        "the weights, so compare it between times of a run rather than between models.",
    )


def distance(material: Material, times: Times = "auto") -> Figure | None:
    """Distance from the start along the run; None where it was not measured."""
    return along(
        material,
        "distance",
        times,
        title="Distance from the start",
        label="distance from the first record",
        caption="Straight-line distance in weight space between each recorded point and the first. Still growing "
        "means still travelling; a plateau means that the run rests, or circles at one distance.",
        fools="The way travelled is longer than the straight line. Where layers are followed by normalisation the "
        "scale of their weights means nothing, and neither does its part of the distance.",
    )


def parameter_norm(material: Material, times: Times = "auto") -> Figure | None:
    """Norm of the parameters along the run; None where it was not measured."""
    return along(
        material,
        "parameter_norm",
        times,
        title="Norm of the parameters",
        label="norm of the point",
        caption="Length of the vector of all trainable parameters. Read it beside the distance: a run can go far "
        "without its weights growing, and grow without going far.",
        fools="With cross-entropy it goes on growing after the training error has reached zero: no instability.",
    )


def step_cosine(material: Material, times: Times = "auto") -> Figure | None:
    """Cosine between successive displacements; None where it was not measured."""
    return along(
        material,
        "step_cosine",
        times,
        title="Do successive steps agree?",
        label="cosine of successive displacements",
        limits=(-1.05, 1.05),
        reference=0.0,
        caption="Cosine of the angle between the displacement that led to a recorded time and the one that follows it. "
        "Near 1 the run goes straight on, near 0 it wanders, below 0 it turns back on itself.",
        fools="It depends on how far apart the records lie: noise averages out over long displacements, so with "
        "log-spaced times late values are not comparable with early ones.",
    )


def training_curve(material: Material, times: Times = "auto") -> Figure | None:
    """The loss of each step's batch as the training loop saw it; None where it was not kept."""
    if "loss" not in material.curves or not len(material.curves["loss"][0]):
        return None
    epochs, values = material.curves["loss"]
    at, middle, low, high = windows(epochs, values, _WINDOWS)
    faint = len(epochs) > 2 * len(at)
    series = [Series("median of nearby steps" if faint else "batch loss", at, middle, "line", TRAIN)]
    if faint:
        series[0] = Series("median, and middle half", at, middle, "line", TRAIN, low, high)
    return Figure(
        "training-curve",
        "Loss of the batches",
        "The loss of each step's own batch, before the step, as the training loop saw it: the median over nearby "
        "steps, with the band that holds the middle half of them.",
        "It is measured on other samples at every step, with dropout and augmentation on where there are any, and at "
        "weights that moved in between: it need not agree with the loss above.",
        time_axis("linear", np.asarray(at)),
        value_axis("batch loss", series, "log"),
        tuple(series),
    )


def learning_rate(material: Material, times: Times = "auto") -> Figure | None:
    """The learning rate of each step; None where it was not kept or never changed."""
    if "lr" not in material.curves:
        return None
    epochs, values = material.curves["lr"]
    if len(values) < 2 or bool(np.all(values == values[0])):
        return None
    return Figure(
        "learning-rate",
        "Learning rate",
        "The learning rate of each step. Kinks in the curves above that stand at its drops are its doing.",
        "With momentum or Adam the length of a step is not the learning rate times the gradient.",
        time_axis("linear", epochs),
        Axis("learning rate"),
        (Series("learning rate", epochs, values, "line", OTHER),),
    )


def windows(x: Numbers, y: Numbers, count: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Median and quartiles over windows of as many values each.

    Args:
        x: ``[n]``.
        y: ``[n]``; NaN and infinite values are left out of a window, and a window of nothing else is a gap.
        count: how many windows at most.

    Returns:
        The middle of each window, its median, lower and upper quartile, ``[min(n, count)]`` each.
    """
    parts = np.array_split(np.arange(len(x)), min(count, len(x)))
    rows = []
    for part in parts:
        fine = y[part][np.isfinite(y[part])]
        low, middle, high = np.quantile(fine, [0.25, 0.5, 0.75]) if len(fine) else (np.nan,) * 3
        rows.append((x[part].mean(), middle, low, high))
    columns = np.asarray(rows, dtype=np.float64).reshape(-1, 4).T
    return columns[0], columns[1], columns[2], columns[3]
