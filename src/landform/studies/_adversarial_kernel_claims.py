"""What Tsilivis & Kempe say of kernels and adversarial examples, held against the study's numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from landform.studies._claim import Claim, Verdict
from landform.studies._held import Given, graded, hold, said, small

if TYPE_CHECKING:
    from landform.studies._adversarial_kernel import KernelProtocol

Results = Mapping[str, Sequence[Mapping[str, Any]]]
Way = Callable[[Mapping[str, Any]], float]
# A network that loses less than this under its own attack has nothing to be transferred.
_LOSS = 0.02


def ordered(each: Mapping[str, Any]) -> float:
    """Rank correlation of the features' robustness with their number.

    Args:
        each: a result of the closed form.

    Returns:
        From -1, the first are the most robust, to 1.
    """
    from scipy.stats import spearmanr

    features = each["features"]
    return float(spearmanr([f["number"] for f in features], [f["robust"] for f in features]).statistic)


def carried(row: Mapping[str, Any], which: str = "in time") -> float:
    """Share of the accuracy that a network loses under its own attack which the kernel's examples take too.

    Args:
        row: a width of a result of the transfer.
        which: of the kernel ``"in time"``, or trained ``"for ever"``.

    Returns:
        The share; nan where it loses hardly any.
    """
    lost = row["natural"] - row["white"]
    return float((row["natural"] - row["transfer"][which]) / lost) if lost > _LOSS else math.nan


def claims_of_adversarial_kernel(protocol: KernelProtocol, results: Results, scale: str) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        results: by part, one for each seed.
        scale: its name.

    Returns:
        The claims.
    """
    settings = {
        "scale": scale, "data": protocol.data, "eps": protocol.eps, "samples": protocol.samples,
        "depth": protocol.depth, "widths": list(protocol.widths), "model": protocol.model,
    }  # fmt: skip
    return [hold(given, settings) for given in _given(protocol, results)]


def _given(protocol: KernelProtocol, results: Results) -> list[Given]:
    paper = "Tsilivis & Kempe 2022"
    one, two, three = (results.get(name, ()) for name in ("closed", "transfer", "dynamics"))
    top, widest = protocol.top, protocol.widths[-1]

    def way(name: str, take: Way) -> list[float]:
        return [take(each["ways"][name]) for each in three]

    def less(name: str, take: Way) -> list[float]:
        return [a - b for a, b in zip(way(name, take), way("clean", take), strict=True)]

    def over(name: str, take: Way) -> list[float]:
        pairs = zip(way(name, take), way("clean", take), strict=True)
        return [a / b if b > 0 else math.nan for a, b in pairs]

    def mass(each: Mapping[str, Any]) -> float:
        return float(each["top mass"][-1] - each["top mass"][0])

    return [
        Given(
            "closed", f"{paper}, section 2", "adversarial examples come from the kernel alone, without any training",
            "share of the kernel predictor's right answers that one step of eps leaves right", "near 0",
            [each["fgsm"] / each["natural"] for each in one],
            small(0.2, 0.6, "{:.0%} of the right answers are left"),
        ),
        Given(
            "random", paper, "random changes of the same size do nothing",
            "accuracy of the kernel predictor less that under random signs times eps", "about 0",
            [each["natural"] - each["random"] for each in one],
            small(0.03, 0.1, "it loses {:.3f}"),
        ),
        Given(
            "top", f"{paper}, section 4", "the top of the spectrum predicts nearly as well",
            f"accuracy of the first {top} eigenfeatures together, over that of all", "near 1",
            [each["top"]["natural"] / each["natural"] for each in one],
            said(0.9, 0.75, "they keep {:.0%} of the accuracy"),
        ),
        Given(
            "top-robust", f"{paper}, section 4", "and is much more robust",
            f"accuracy of the first {top} eigenfeatures together under FGSM on themselves, less that of all under "
            "FGSM on all",
            "well above 0", [each["top"]["robust"] - each["fgsm"] for each in one],
            said(0.2, 0.05, "they are right on {:.2f} more"),
        ),
        Given(
            "features", f"{paper}, section 4", "robust features lie at the top, useful and fragile ones below",
            "rank correlation of a feature's accuracy under FGSM on itself with its number", "at most -0.9",
            [ordered(each) for each in one], small(-0.9, -0.6, "the rank correlation is {:.2f}"),
        ),
        Given(
            "transfer", f"{paper}, section 3", "the kernel's examples fool wide networks",
            f"share of the accuracy that a network of width {widest:,} loses under its own FGSM which the examples of "
            "the kernel, at the time of its training, take too",
            "near 1", [carried(each["widths"][-1]) for each in two],
            said(0.8, 0.5, "they take {:.0%} of it"),
        ),
        Given(
            "aligned", f"{paper}, section 3", "gradients by the input come to be the kernel's as networks grow wide",
            f"mean cosine of the network's gradient by the input with the kernel's, at width {widest:,}",
            "rising with the width, to above 0.9", [each["widths"][-1]["cosine"]["in time"] for each in two],
            lambda value: _rising(value, two),
        ),
        Given(
            "random-wide", paper, "random changes of the same size do nothing to these networks",
            f"accuracy of the network of width {widest:,} less that under random signs times eps", "about 0",
            [each["widths"][-1]["natural"] - each["widths"][-1]["random"] for each in two],
            small(0.03, 0.1, "it loses {:.3f}"),
        ),
        Given(
            "farther", f"{paper}, section 5", "in adversarial training the kernel moves further",
            "kernel distance of the last to the first, PGD training over clean", "above 1",
            over("PGD", lambda each: float(each["moved"])),
            said(1.1, 1.0, "it moves {:.2f} times as far"),
        ),
        Given(
            "earlier", f"{paper}, section 5", "and becomes lazy earlier",
            "time at which the kernel has come within a tenth of its way of the last and stays there, PGD over clean",
            "below 1", over("PGD", lambda each: float(each["lazy"])),
            small(0.8, 1.0, "it takes {:.2f} times as long"),
        ),
        Given(
            "heavier", f"{paper}, section 5", "and its top eigenvalues grow heavier",
            f"growth of the share of the first {top} squared eigenvalues, PGD training less clean", "above 0",
            less("PGD", mass), said(0.01, 0.0, "the share grows by {:.3f} more"),
        ),
        Given(
            "fgsm", f"{paper}, section 5", "training against a single step does the same",
            "kernel distance of the last to the first, FGSM training over clean", "above 1",
            over("FGSM", lambda each: float(each["moved"])), said(1.1, 1.0, "it moves {:.2f} times as far"),
        ),
        Given(
            "linearised", f"{paper}, section 5", "once the kernel is learned, training may go on with it held",
            "robust accuracy of linearised adversarial training from the last onset, over that of the network",
            "near 1, and more than from the start",
            [
                each["linearised"][-1]["robust"] / max(each["ways"]["PGD"]["accuracy"]["robust"], 1e-9)
                for each in three
            ],
            lambda value: _learned(value, three),
        ),
    ]  # fmt: skip


def _rising(value: float, results: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str]:
    widths = [row["width"] for row in results[0]["widths"]]
    means = [_mean([each["widths"][i]["cosine"]["in time"] for each in results]) for i in range(len(widths))]
    rises = all(b >= a for a, b in itertools.pairwise(means))
    told = ", ".join(f"{mean:.2f} at {width:,}" for mean, width in zip(means, widths, strict=True))
    if not rises:
        return "contradicted", f"it does not rise with the width: {told}"
    return graded(value, 0.85, 0.6), told


def _learned(value: float, results: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str]:
    onsets = [each["onset"] for each in results[0]["linearised"]]
    means = [_mean([each["linearised"][i]["robust"] for each in results]) for i in range(len(onsets))]
    told = ", ".join(f"{mean:.2f} from epoch {onset:g}" for mean, onset in zip(means, onsets, strict=True))
    full = _mean([each["ways"]["PGD"]["accuracy"]["robust"] for each in results])
    verdict = graded(value, 0.95, 0.8) if means[-1] > means[0] else "contradicted"
    return verdict, f"robust accuracy {told}; the network itself {full:.2f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
