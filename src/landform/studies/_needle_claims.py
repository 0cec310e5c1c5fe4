"""What is said of networks freed of convolution, held against the study's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from landform.studies._claim import Claim
from landform.studies._emergent_numbers import by_seed
from landform.studies._held import Given, hold, said, small
from landform.studies._needle_protocol import NeedleProtocol
from landform.studies._parts import Found

_PAPER = "d'Ascoli et al. 2019, abstract"
_OURS = "ours"
Part = Mapping[str, Any]
Pick = Literal["best", "last"]
# Points of test accuracy that count as a difference.
_SOME = 0.5


def claims_of_needle(protocol: NeedleProtocol, found: Found, scale: str) -> list[Claim]:
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
        "data": protocol.subject.data,
        "model": protocol.subject.model,
        "relax": list(protocol.relax),
        "after": protocol.after,
        "train": protocol.train,
        "validation": protocol.validation,
        "test": protocol.test,
    }
    every = (*_deviation(protocol, found), *_plain(protocol, found), *_bump(protocol, found), *_basins(found))
    return [hold(given, settings) for given in every]


def _deviation(protocol: NeedleProtocol, found: Found) -> list[Given]:
    return [
        Given(
            "deviation", _PAPER,
            "for all relax times the deviation from the convolutional subspace is small",
            "largest over relax times of the mean over seeds of ||theta off the filters|| / ||theta|| at the end",
            "well below 1 (a plain network's is near 1)",
            _worst(protocol, found, lambda part, i: part["efcn"][i]["deviation"][-1], least=False),
            small(0.3, 0.6, "it is up to {:.2f}"),
        ),
        Given(
            "deviation-falls", "ours, after the notes' run",
            "the later a network is freed, the less it leaves the subspace",
            "deviation at the end for the first relax time, less that for the last",
            "above 0",
            by_seed(found, "relaxed", lambda p: _less(p["efcn"][0]["deviation"][-1], p["efcn"][-1]["deviation"][-1])),
            said(0.05, 0.0, "it falls by {:.2f}"),
        ),
        Given(
            "sharing", _OURS,
            "both halves of the bias persist: entries of one filter stay alike",
            "distance from the nearest convolutional network, over the deviation off the filters alone; last relax "
            "time",
            "near 1: what is lost is mostly locality",
            by_seed(found, "relaxed",
                    lambda p: _over(p["efcn"][-1]["distance"][-1], p["efcn"][-1]["deviation"][-1])),
            small(1.2, 1.6, "{:.2f} times as far"),
        ),
    ]  # fmt: skip


def _plain(protocol: NeedleProtocol, found: Found) -> list[Given]:
    given = []
    for pick, how in (("best", "at the epoch chosen on validation samples"), ("last", "at the end")):
        given.append(
            Given(
                f"over-fcn-{pick}", _PAPER,
                "for all relax times the freed network ends better than a standard fully-connected one of the same "
                f"architecture ({how})",
                "points of test accuracy over that of the fully-connected network trained for as many epochs in all, "
                "at the relax time where its mean over seeds is least",
                "above 0",
                _worst(
                    protocol, found,
                    lambda part, i, pick=pick: 100 * over(protocol, part, i, "fcn", pick),  # type: ignore[misc]
                    least=True,
                ),
                said(_SOME, -_SOME, "{:+.2f} points at the worst relax time"),
            )
        )  # fmt: skip
    return given


def _bump(protocol: NeedleProtocol, found: Found) -> list[Given]:
    def middle(other: str) -> Callable[[Part], float]:
        return lambda part: 100 * over(protocol, part, chosen(part), other, "best")

    return [
        Given(
            "premise", "ours: the premise",
            "the convolutional network is better than the fully-connected one to begin with",
            "points of test accuracy of the convolutional network over the fully-connected one, each at its best "
            "epoch up to the last relax time",
            "above 0",
            by_seed(found, "relaxed", lambda part: _premise(protocol, part)),
            said(_SOME, -_SOME, "{:+.2f} points"),
        ),
        Given(
            "over-cnn", _PAPER,
            "for some intermediate relax times the freed network outperforms the convolutional one it stemmed from",
            "points of test accuracy at the relax time between the first and the last, and the epoch, that are best on "
            "validation samples, less that of the convolutional network at its own best epoch up to the last relax "
            "time",
            "above 0",
            by_seed(found, "relaxed", middle("cnn until")),
            said(_SOME, 0.0, "{:+.2f} points"),
        ),
        Given(
            "over-cnn-as-long", "ours: the control",
            "... also when the convolutional network goes on training for as long",
            "the same less its accuracy at its best epoch up to the relax time and the epochs after it",
            "above 0",
            by_seed(found, "relaxed", middle("cnn")),
            said(_SOME, 0.0, "{:+.2f} points"),
        ),
        Given(
            "over-cnn-last", "ours: the control",
            "... also at the end of both trainings, where nothing is selected but the relax time",
            "the same, both at the last epoch",
            "above 0",
            by_seed(found, "relaxed", lambda part: 100 * over(protocol, part, chosen(part), "cnn", "last")),
            said(_SOME, 0.0, "{:+.2f} points"),
        ),
        Given(
            "bump", "ours, after the notes' run",
            "it is intermediate times that are best: neither at once nor at the end",
            "points of test accuracy at the chosen intermediate relax time less that at the better of the first and "
            "the last",
            "above 0",
            by_seed(found, "relaxed", _hump),
            said(_SOME, 0.0, "{:+.2f} points"),
        ),
        Given(
            "rare", _PAPER,
            "rare basins of very good generalisation, reached only by the convolutional prior",
            "points of test accuracy at the chosen relax time less that of the fully-connected network trained for as "
            "long as anything here",
            "above 0",
            by_seed(found, "relaxed", _rare),
            said(_SOME, -_SOME, "{:+.2f} points"),
        ),
    ]  # fmt: skip


def _basins(found: Found) -> list[Given]:
    return [
        Given(
            "basin", "ours, after the abstract",
            "freed networks lie in another basin than standard fully-connected ones",
            "how far the training loss rises above the higher end on the straight line from the freed network "
            "(chosen relax time) to the plain one, less that to the convolutional solution, written out",
            "above 0",
            by_seed(found, "relaxed", _basin),
            said(0.1, 0.0, "it rises higher by {:.2f}"),
        ),
        Given(
            "same-basin", _OURS,
            "training goes on in the basin in which the network was freed",
            "how far the training loss rises above the higher end on the straight line from where it was freed to "
            "where it ended, chosen relax time",
            "near 0",
            by_seed(found, "relaxed", lambda p: climb(p["begun"][chosen(p)])),
            small(0.05, 0.3, "it rises by {:.2f}"),
        ),
        Given(
            "off-useful", _OURS,
            "the weights off the filters are of use",
            "points of test accuracy lost when they are set to zero at the end, chosen relax time",
            "above 0",
            by_seed(found, "relaxed", lambda p: _lost(p, "without_off")),
            said(1.0, 0.0, "{:.1f} points are lost"),
        ),
        Given(
            "local-carries", _OURS,
            "the weights on the filters carry the network",
            "points of test accuracy lost when they are set to zero at the end, chosen relax time, less that without "
            "the others",
            "above 0",
            by_seed(found, "relaxed", lambda p: _lost(p, "without_local") - _lost(p, "without_off")),
            said(5.0, 0.0, "{:.1f} points more are lost"),
        ),
        Given(
            "spread", _OURS,
            "what is off the filters stays near them",
            "mean square of weights one pixel off the filters over that of those farthest off, chosen relax time",
            "above 1",
            by_seed(found, "relaxed", lambda p: decay(p["ends"][chosen(p)])),
            said(2.0, 1.0, "{:.1f} times as large"),
        ),
        Given(
            "flat", _OURS,
            "freed networks end where it is flatter than plain ones do",
            "largest eigenvalue of the Hessian at the end, chosen relax time, over that of the plain network",
            "below 1",
            by_seed(found, "relaxed", lambda p: _over(p["curvature"]["ends"][chosen(p)], p["curvature"]["ends"][-1])),
            small(0.9, 1.1, "{:.2f} times as large"),
        ),
    ]  # fmt: skip


def accuracy(run: Part, pick: Pick, until: float = math.inf) -> float:
    """Test accuracy of a run.

    Args:
        run: epochs and errors by data.
        pick: ``"best"`` is at the epoch with the fewest errors on validation samples, the first of them, after the
            start; ``"last"`` at the last epoch.
        until: the last epoch that is looked at.

    Returns:
        The accuracy; nan where it diverged.
    """
    known = [
        (validation, test)
        for epoch, validation, test in zip(run["epochs"], run["validation"], run["test"], strict=True)
        if 0 < epoch <= until + 1e-9
    ]
    if not known or any(value is None for value in known[-1]):
        return math.nan
    if pick == "last":
        return 1 - float(known[-1][1])
    sound = [pair for pair in known if None not in pair]
    return 1 - float(min(sound, key=lambda pair: pair[0])[1])


def chosen(part: Part) -> int:
    """The relax time that is best on validation samples, at the best epoch; neither the first nor the last.

    Args:
        part: of one seed.

    Returns:
        Its place among the relax times.
    """
    best = [min((v for v in run["validation"][1:] if v is not None), default=math.inf) for run in part["efcn"]]
    return 1 + int(np.argmin(best[1:-1]))


def over(protocol: NeedleProtocol, part: Part, i: int, other: str, pick: Pick) -> float:
    """Test accuracy of a freed network less that of another one.

    Args:
        protocol: the study's.
        part: of one seed.
        i: place of the relax time.
        other: ``"cnn"`` or ``"fcn"``, trained for as many epochs in all; ``"cnn until"``, up to the last relax time.
        pick: as for `accuracy`.

    Returns:
        The difference.
    """
    until = protocol.relax[-1] if other == "cnn until" else protocol.relax[i] + protocol.after
    return accuracy(part["efcn"][i], pick) - accuracy(part[other.partition(" ")[0]], pick, until)


def decay(end: Part) -> float:
    """Mean square of weights one pixel off the filters over that farthest off.

    Args:
        end: of a training.

    Returns:
        The ratio; nan where there are none.
    """
    near = [value for away, value in zip(end["away"], end["mean_square"], strict=True) if away == 1]
    far = end["mean_square"][-1] if end["mean_square"] else None
    return _over(near[0] if near else None, far)


def _worst(
    protocol: NeedleProtocol, found: Found, take: Callable[[Part, int], float | None], *, least: bool
) -> Sequence[float]:
    """The values of all seeds at the relax time where their mean is the least, or the largest."""
    rows = [by_seed(found, "relaxed", lambda p, i=i: _number(take(p, i))) for i in range(len(protocol.relax))]  # type: ignore[misc]
    if not rows[0]:
        return ()
    means = [float(np.mean(row)) for row in rows]
    if not all(map(math.isfinite, means)):
        return [math.nan] * len(rows[0])
    return rows[int(np.argmin(means) if least else np.argmax(means))]


def _premise(protocol: NeedleProtocol, part: Part) -> float:
    until = protocol.relax[-1]
    return 100 * (accuracy(part["cnn"], "best", until) - accuracy(part["fcn"], "best", until))


def _hump(part: Part) -> float:
    ends = [accuracy(part["efcn"][i], "best") for i in (0, -1)]
    return 100 * (accuracy(part["efcn"][chosen(part)], "best") - max(ends))


def _rare(part: Part) -> float:
    return 100 * (accuracy(part["efcn"][chosen(part)], "best") - accuracy(part["fcn"], "best"))


def climb(losses: Sequence[float | None]) -> float:
    """How far a loss rises above the higher end of a line.

    Args:
        losses: along the line.

    Returns:
        The rise, 0 where there is none; nan where an end is not known, infinite where the loss is.
    """
    if not losses or losses[0] is None or losses[-1] is None:
        return math.nan
    return max(math.inf if loss is None else loss for loss in losses) - max(losses[0], losses[-1])


def rises(part: Part) -> list[list[float]]:
    """How far the training loss rises above the higher end between all pairs of solutions.

    Args:
        part: of one seed.

    Returns:
        The convolutional solution, the freed ones by relax time, the plain one: a row and a column for each.
    """
    heights, losses = part["barriers"]["heights"], [_number(loss) for loss in part["barriers"]["losses"]]
    return [
        [_number(height) + (losses[i] + losses[j]) / 2 - max(losses[i], losses[j]) for j, height in enumerate(row)]
        for i, row in enumerate(heights)
    ]


def _basin(part: Part) -> float:
    row = rises(part)[1 + chosen(part)]
    return row[-1] - row[0]


def _lost(part: Part, which: str) -> float:
    i = chosen(part)
    return 100 * _less(part["ends"][i][which], part["efcn"][i]["test"][-1])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _less(a: float | None, b: float | None) -> float:
    return _number(a) - _number(b)


def _over(a: float | None, b: float | None) -> float:
    return _number(a) / b if b else math.nan
