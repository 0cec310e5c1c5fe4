"""What the literature on local geometry says, held against the study's numbers."""

from __future__ import annotations

import math

import numpy as np

from landform.studies._claim import Claim, Verdict
from landform.studies._emergent_numbers import (
    at_the_edge,
    between,
    burnt,
    by_seed,
    confined,
    inside,
    intrinsic,
    kinds,
    largest,
    middle,
    noisier,
    order,
    predicted,
    rise,
    shell,
    thrown,
)
from landform.studies._emergent_protocol import EmergentProtocol
from landform.studies._held import Given, graded, hold, said, small
from landform.studies._parts import Found

_FORT = "Fort & Ganguli 2019"
_ZONE = "Fort & Scherlis 2018"


def claims_of_emergent(protocol: EmergentProtocol, found: Found, scale: str) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        found: by kind of part.
        scale: its name.

    Returns:
        The claims.
    """
    settings = {
        "scale": scale,
        "subjects": {name: f"{subject.model} on {subject.data}" for name, subject in protocol.subjects.items()},
        "rate": protocol.rate,
        "batch_size": protocol.recipe.batch_size,
    }
    every = (*_outliers(found), *_gradients(found), *_later(found), *_zone(found), *_planes(found))
    return [hold(given, settings) for given in (*every, *_model(found), *_dynamics(found))]


def _outliers(found: Found) -> list[Given]:
    return [
        Given(
            "outliers", f"{_FORT}, section 2",
            "the Hessian has as many large positive eigenvalues as there are classes, or one fewer",
            "eigenvalues before the largest gap among those around C, in the midst of training, mean over networks",
            "C, or by the algebra of softmax C - 1 (here less C)",
            by_seed(found, "along", lambda part: middle(part)["outliers"] - part["classes"]),
            lambda value: (graded(-abs(value + 0.5), -1.0, -2.0), f"there are C {value:+.1f}"),
        ),
        Given(
            "classes", f"{_FORT}; Papyan 2020",
            "the outliers come from the classes",
            "share of the top C - 1 eigenvalues of the Gauss-Newton matrix that the means of class and logit alone "
            "make, in the midst of training",
            "near 1",
            by_seed(found, "along", between),
            said(0.7, 0.4, "means of class and logit make {:.0%} of the outliers"),
        ),
        Given(
            "q-start", f"{_FORT}, figure 1",
            "logit gradients of one logit cluster, most within a class, and those of other logits do not, at the start",
            "the lesser of q_SLSC - q_SL and q_SL - |q_DL|, mean over networks",
            "above 0",
            by_seed(found, "along", lambda part: order(part["looks"][0]["q"])),
            said(0.01, 0.0, "the lesser difference is {:.3f}"),
        ),
        Given(
            "q-later", f"{_FORT}, figure 1",
            "the same at the end of training",
            "the lesser of q_SLSC - q_SL and q_SL - |q_DL|, mean over networks",
            "above 0",
            by_seed(found, "along", lambda part: order(part["looks"][-1]["q"])),
            said(0.01, 0.0, "the lesser difference is {:.3f}"),
        ),
        Given(
            "q-grows", "ours, after the notes",
            "training draws the logit gradients of one class together",
            "q_SLSC at the end less that at the start, mean over networks",
            "above 0",
            by_seed(found, "along", lambda part: part["looks"][-1]["q"][0] - part["looks"][0]["q"][0]),
            said(0.05, 0.0, "q_SLSC grows by {:.2f}"),
        ),
    ]  # fmt: skip


def _gradients(found: Found) -> list[Given]:
    return [
        Given(
            "confined-full", "Gur-Ari et al. 2018; ours",
            "full-batch descent below the edge of stability leaves the top eigenvectors",
            "share of the full gradient in the top C eigenvectors, full-batch runs where 2 / lr is above the largest "
            "eigenvalue, after the start",
            "near 0, where the paper says most of it is confined",
            by_seed(found, "grid", lambda part: confined(part, batches=(0,), stable=True)),
            small(0.1, 0.3, "{:.2f} of the gradient is in them"),
        ),
        Given(
            "confined-noise", f"{_FORT}, section 2; Gur-Ari et al. 2018",
            "the gradient of stochastic descent with a large step lies in the top eigenvectors",
            "the same share, batches, the largest learning rate, early and in the midst of training",
            "above 0.4",
            by_seed(found, "grid", lambda part: confined(part, rate=-1, until=0.5)),
            said(0.4, 0.2, "{:.2f} of the gradient is in them"),
        ),
        Given(
            "confined-step", "ours, after the notes",
            "the larger the learning rate, the more of the gradient lies in the top eigenvectors",
            "the share with the largest learning rate less that with the smallest, batches, after the start",
            "above 0",
            by_seed(found, "grid", lambda part: confined(part, rate=-1) - confined(part, rate=0)),
            said(0.1, 0.0, "the share grows by {:.2f}"),
        ),
        Given(
            "confined-batch", "ours, after the notes",
            "the smaller the batch, the more of the gradient lies in the top eigenvectors",
            "the share with the smallest batch less that of full-batch descent, after the start, all learning rates",
            "above 0",
            by_seed(found, "grid", noisier),
            said(0.1, 0.0, "the share grows by {:.2f}"),
        ),
    ]  # fmt: skip


def _later(found: Found) -> list[Given]:
    return [
        Given(
            "hump", f"{_FORT}, section 2",
            "training passes through a place of higher curvature",
            "largest ratio of the largest eigenvalue to that at an earlier time, mean over networks",
            "well above 1",
            by_seed(found, "along", lambda part: rise(largest(part))),
            said(1.3, 1.05, "the largest eigenvalue rises to {:.2f} times what it was before"),
        ),
        Given(
            "flatter", f"{_FORT}, section 2",
            "and comes to flatter ones",
            "highest largest eigenvalue over that at the end, mean over networks",
            "well above 1",
            by_seed(found, "along", lambda part: max(largest(part)) / largest(part)[-1]),
            said(2.0, 1.2, "the largest eigenvalue ends at 1 / {:.1f} of its highest"),
        ),
        Given(
            "freezing", f"{_FORT}, section 3",
            "the variance of the logits grows, until probabilities are frozen",
            "variance of the logits of a sample at the end over that at the start, mean over networks",
            "well above 1",
            by_seed(found, "along", lambda p: p["looks"][-1]["logit_variance"] / p["looks"][0]["logit_variance"]),
            said(3.0, 1.5, "the variance grows {:.1f} times"),
        ),
    ]  # fmt: skip


def _zone(found: Found) -> list[Given]:
    return [
        Given(
            "goldilocks", _ZONE,
            "random points have an excess of positive curvature in a thick shell, where common starts lie",
            "radius with the largest Tr / ||H||_F of the Hessian in ten random directions, over Xavier's, geometric "
            "mean over networks",
            "between 1 and 2",
            [math.exp(value) for value in by_seed(found, "zone", lambda part: math.log(part["best"]))],
            _near_start,
        ),
        Given(
            "shell", _ZONE,
            "outside of the shell as many directions curve down as up",
            "share of positive eigenvalues at the best radius less that at the smallest and the largest (their mean)",
            "up to 0.5",
            by_seed(found, "zone", shell),
            said(0.25, 0.1, "the share falls by {:.2f}"),
        ),
    ]  # fmt: skip


def _planes(found: Found) -> list[Given]:
    return [
        Given(
            "plane-radius", f"{_FORT}, section 2; {_ZONE}",
            "random planes are trained well from within the shell, and worse from outside",
            "test accuracy in planes through points at up to Xavier's radius less that through the largest, mean over "
            "dimensions",
            "above 0",
            by_seed(found, "planes", inside),
            said(0.05, 0.0, "the accuracy falls by {:.2f}"),
        ),
        Given(
            "intrinsic", "Li et al. 2018",
            "a random plane of few dimensions reaches nine tenths of the accuracy",
            "d_int90 through Xavier's radius, over the number of parameters",
            "well below 1",
            by_seed(found, "planes", lambda part: intrinsic(part, "radius 1") / part["parameters"]),
            small(0.1, 0.5, "d_int90 is {:.1%} of the parameters"),
            "no plane reached nine tenths of the accuracy",
        ),
        Given(
            "burn-in", "Larsen et al. 2022",
            "some free training first makes the dimension smaller",
            "d_int90 after the longest burn-in that does not reach the accuracy itself, over that without",
            "below 1",
            by_seed(found, "planes", burnt),
            small(0.7, 1.0, "d_int90 is {:.2f} times what it is without"),
            "no plane reached nine tenths of the accuracy",
        ),
        Given(
            "projections", "Li et al. 2018",
            "sparse and fast projections do what dense ones do",
            "mean difference, whatever its sign, of the accuracy in unit, sparse and fastfood planes from that in "
            "orthonormal ones, over dimensions",
            "near 0",
            by_seed(found, "planes", kinds),
            small(0.05, 0.12, "the accuracy differs by {:.3f}"),
        ),
    ]  # fmt: skip


def _model(found: Found) -> list[Given]:
    return [
        Given(
            "model-outliers", f"{_FORT}, section 3",
            "random logit gradients alone make the outliers",
            "eigenvalues before the largest gap of the random model, C = 10",
            "C - 1 = 9",
            by_seed(found, "model", lambda part: part["outliers"]),
            lambda value: (graded(-abs(value - 9), -0.5, -1.5), f"there are {value:.1f}"),
        ),
        Given(
            "model-share", f"{_FORT}, section 3",
            "and the confinement of the gradient",
            "share of the random model's gradient in its top ten eigenvectors, D = 1,000, N = 300, deviation 15",
            "0.65 +- 0.1",
            by_seed(found, "model", lambda part: part["share"]),
            lambda value: (graded(-abs(value - 0.65), -0.1, -0.25), f"it is {value:.2f}"),
        ),
        Given(
            "model-spread", "ours, after the notes",
            "at fixed lengths of the gradients, the largest eigenvalue falls as logits spread",
            "share of the steps of the logits' deviation at which the random model's largest eigenvalue falls",
            "1",
            by_seed(found, "model", lambda part: float(np.mean(np.diff(part["largest"]) < 0))),
            said(0.99, 0.7, "it falls at {:.0%} of the steps"),
        ),
        Given(
            "model-network", f"{_FORT}, section 3",
            "the random model, fitted to a network, has its outliers",
            "mean over the top C - 1 of predicted over measured eigenvalue of the Gauss-Newton matrix, in the midst of "
            "training, geometric mean over networks",
            "near 1",
            [math.exp(value) for value in by_seed(found, "along", predicted)],
            lambda value: (
                graded(-_off(value, 1.0, 1.0), -math.log(1.4), -math.log(2.5)),
                f"they are {value:.2f} times the measured ones",
            ),
        ),
    ]  # fmt: skip


def _dynamics(found: Found) -> list[Given]:
    return [
        Given(
            "sharpening", "Cohen et al. 2021",
            "full-batch descent sharpens as long as it is stable",
            "highest sharpness over that at the start, with the smallest learning rate",
            "well above 1",
            by_seed(found, "edge", lambda part: max(part["runs"][0]["sharpness"]) / part["runs"][0]["sharpness"][0]),
            said(1.5, 1.1, "the sharpness grows {:.1f} times"),
        ),
        Given(
            "edge", "Cohen et al. 2021",
            "and then hovers at the edge of stability",
            "sharpness over 2 / lr in the last third of runs that reach nine tenths of it",
            "just above 1",
            by_seed(found, "edge", at_the_edge),
            lambda value: (graded(-abs(value - 1.05), -0.15, -0.4), f"it is {value:.2f} of the edge"),
            "no run reached the edge of stability",
        ),
        Given(
            "catapult", "Lewkowycz et al. 2020",
            "a step up to twice as large as is stable throws descent to a flatter place, where the loss falls",
            "share of the runs with 1 to 2 times the stable learning rate whose loss first rises above its start, then "
            "ends below, with a sharpness below 2 / lr (or at most a tenth above)",
            "1",
            by_seed(found, "edge", thrown),
            said(0.75, 0.25, "{:.0%} of the runs do"),
        ),
        Given(
            "few-directions", "Antognini & Sohl-Dickstein 2018",
            "a run seems to live in few directions, and so does a random walk",
            "share of the variance of 32 even points of a run in its first two main components, mean over networks",
            "as for a random walk, 0.76, or more",
            by_seed(found, "along", lambda part: sum(part["shape"]["shares"][:2])),
            said(0.76, 0.6, "two components have {:.0%}, and those of a random walk 76%"),
        ),
    ]  # fmt: skip


def _near_start(value: float) -> tuple[Verdict, str]:
    return graded(-_off(value, 1.0, 2.0), 0.0, -math.log(2)), f"it is largest at {value:.2f} of Xavier's radius"


def _off(value: float, low: float, high: float) -> float:
    """How far a number is from a range, as a logarithm; the end of an interval need not be above 0."""
    return max(0.0, math.log(low / max(value, 1e-9)), math.log(max(value, 1e-9) / high))
