"""What is said of recurrent kernels, held against the study's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landform.studies._claim import Claim, Verdict
from landform.studies._held import Given, graded, hold, said, small
from landform.studies._parts import Found
from landform.studies._recurrent_methods import COMPARED, GRU, RNTK
from landform.studies._recurrent_protocol import RecurrentProtocol

_PAPER, _OURS = "Alemohammad et al. 2021", "ours, after the notes"
# A gain in accuracy that a benchmark would be proud of, and the doubts that a test of it allows (5% and 20%).
_WORTH, _DOUBTS = 0.02, 1.96 + 0.84


def accuracies(found: Found) -> dict[str, dict[str, float]]:
    """Test accuracy by set and method, mean over seeds.

    Args:
        found: by kind of part.

    Returns:
        By set, then by method.
    """
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for part in found.get("set", ()):
        sets.setdefault(part["subject"], []).append(part["methods"])
    return {
        name: {m: float(np.mean([each[m]["accuracy"] for each in every])) for m in every[0]}
        for name, every in sets.items()
    }


def ranks(found: Found) -> dict[str, float]:
    """Mean rank of every method over the sets, 1 for the best; those that are as good share their ranks.

    Args:
        found: by kind of part.

    Returns:
        By method; empty where there are no sets.
    """
    table = accuracies(found)
    methods = [method for method in COMPARED if all(method in row for row in table.values())]
    if not table:
        return {}
    from scipy.stats import rankdata  # half a second that only those who rank should wait

    order = np.array([rankdata([-row[method] for method in methods]) for row in table.values()])
    return dict(zip(methods, order.mean(0).tolist(), strict=True))


def best_other(found: Found) -> str | None:
    """The kernel besides the recurrent one that is best on average over the sets.

    Args:
        found: by kind of part.

    Returns:
        Its name, or None where there are no sets.
    """
    table = accuracies(found)
    others = [method for method in COMPARED if method not in (RNTK, GRU)]
    return max(others, key=lambda m: float(np.mean([row[m] for row in table.values()]))) if table else None


def ahead(found: Found, other: str | None) -> list[float]:
    """By how much the recurrent kernel's accuracy is above another method's, one for each set.

    Args:
        found: by kind of part.
        other: the method.

    Returns:
        The differences.
    """
    return [row[RNTK] - row[other] for row in accuracies(found).values() if other in row]


def sets_needed(differences: Sequence[float]) -> float:
    """Over how many sets a paired test would tell a gain of two points (5% level, 80% power).

    Args:
        differences: in accuracy, one for each set.

    Returns:
        The number; nan for fewer than two sets.
    """
    if len(differences) < 2:
        return math.nan
    return float((_DOUBTS * np.std(differences, ddof=1) / _WORTH) ** 2)


def early_over_late(part: Mapping[str, Any]) -> list[float]:
    """Weight of the first third of the steps over that of the last third, for each sigma_w.

    Args:
        part: of the kind ``"weights"``.

    Returns:
        The ratios.
    """
    third = len(part["shares"][0]) // 3
    return [float(np.sum(row[:third]) / np.sum(row[-third:])) for row in part["shares"]]


def claims_of_recurrent(protocol: RecurrentProtocol, found: Found, scale: str) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        found: by kind of part.
        scale: its name.

    Returns:
        The claims.
    """
    settings = {"scale": scale, "sets": list(accuracies(found)), "folds": protocol.folds}
    every = (*_limit(found), *_weights(found), *_sets(found), *_made(found))
    return [hold(given, settings) for given in every]


def _limit(found: Found) -> list[Given]:
    parts = found.get("drawn", ())

    def biased(part: Mapping[str, Any]) -> float:
        first, second = (mean - part["exact"] for mean in part["means"])
        return first / second if second else math.nan

    widths = parts[0]["widths"] if parts else (64, 256)
    fold = widths[1] / widths[0]
    return [
        Given(
            "limit", _PAPER,
            "the tangent kernel of finite recurrent networks converges to the recurrent NTK",
            "mean kernel of drawn networks of two widths, extrapolated to infinite width, over the recursion, less 1; "
            "its size, one draw for each seed",
            "0",
            [abs(part["limit"] / part["exact"] - 1) for part in parts],
            small(0.02, 0.08, "the extrapolation is off by {:.1%}"),
        ),
        Given(
            "bias", "ours, after the notes",
            "at any one width the mean kernel is off by a part that falls as one over the width",
            f"what it is off by at the smaller width over that at the {fold:g} times larger",
            f"{fold:g}",
            [biased(part) for part in parts],
            lambda value: (_near(value, fold), f"the ratio is {value:.1f}"),
        ),
    ]  # fmt: skip


def _near(value: float, wanted: float) -> Verdict:
    return graded(-abs(math.log(max(value, 1e-9) / wanted)), -math.log(1.5), -math.log(2.5))


def _weights(found: Found) -> list[Given]:
    parts = found.get("weights", ())

    def rises(part: Mapping[str, Any]) -> float:
        from scipy.stats import spearmanr

        return float(spearmanr(part["sigma_w"], early_over_late(part)).statistic)

    return [
        Given(
            "weights",
            _OURS,
            "sigma_w sets how much early steps weigh beside late ones",
            "Spearman's correlation of sigma_w with the weight of the first third of the steps over that of the last",
            "1",
            [rises(part) for part in parts],
            said(0.9, 0.5, "the correlation is {:.2f}"),
        ),
        Given(
            "balance",
            _OURS,
            "around sigma_w = sqrt(2) all steps of a ReLU network weigh alike",
            "weight of the first third over that of the last, at the sigma_w nearest to sqrt(2)",
            "1",
            [_at_root(part) for part in parts],
            lambda value: (_near(value, 1.0), f"the ratio is {value:.2f}"),
        ),
    ]  # fmt: skip


def _at_root(part: Mapping[str, Any]) -> float:
    place = int(np.argmin([abs(w - math.sqrt(2)) for w in part["sigma_w"]]))
    return early_over_late(part)[place]


def _sets(found: Found) -> list[Given]:
    other = best_other(found)
    name = other or "other kernels"
    differences, against = ahead(found, other), ahead(found, GRU)
    needed = sets_needed(differences)
    enough = "" if math.isnan(needed) else (
        f"; to tell two points with differences as spread as these takes about {math.ceil(needed)} sets"
    )  # fmt: skip
    absent = "no time series were found"
    return [
        Given(
            "accuracy", _PAPER,
            "on time series the recurrent NTK is more accurate than kernels of vectors",
            f"test accuracy less that of the best of them on average ({name}), mean over sets; the interval is over "
            "sets, not over seeds",
            "above 0",
            differences,
            lambda value: (graded(value, 0.005, -0.005), f"it is {100 * value:+.1f} points from {name}{enough}"),
            absent,
        ),
        Given(
            "gru", _PAPER,
            "and more accurate than a trained GRU",
            "test accuracy less that of the GRU, mean over sets; the interval is over sets",
            "above 0",
            against,
            lambda value: (graded(value, 0.005, -0.005), f"it is {100 * value:+.1f} points from the GRU"),
            absent,
        ),
    ]  # fmt: skip


def _made(found: Found) -> list[Given]:
    said_of = {
        "late": "on sequences of unequal length whose last steps tell the class the recurrent NTK is better than "
        "kernels of padded vectors",
        "early": "and likewise where the first steps do",
    }
    claims = []
    for subject, statement in said_of.items():
        parts = [part for part in found.get("made", ()) if part["subject"] == subject]
        values = []
        for part in parts:
            last = part["methods"][-1]
            others = [last[m]["accuracy"] for m in COMPARED if m not in (RNTK, GRU)]
            values.append(last[RNTK]["accuracy"] - max(others))
        claims.append(
            Given(
                f"unequal-{subject}", _PAPER,
                statement,
                "test accuracy less that of the best other kernel, at the most unequal lengths",
                "above 0",
                values,
                lambda value: (graded(value, 0.02, -0.02), f"it is {100 * value:+.1f} points ahead"),
            )
        )  # fmt: skip
    return claims
