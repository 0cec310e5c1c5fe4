"""What Kawase 2025 says of quantum networks over patches, held against the study's numbers, with the controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from landform.studies._claim import Claim, Verdict
from landform.studies._held import Given, graded, hold, said
from landform.studies._parts import Found
from landform.studies._quantum_protocol import Aggregation, QuantumProtocol, QuantumVariant, power, slope

_PAPER = "Kawase 2025"
Part = Mapping[str, Any]
Take = Callable[[Part], float]


def sharpness(part: Part) -> float:
    """Largest eigenvalue of a part's Hessian."""
    return float(part["eigenvalues"][0])


def over_loss(part: Part) -> float:
    """Largest eigenvalue over the loss."""
    return sharpness(part) / max(float(part["loss"]), 1e-12)


def over_softness(part: Part) -> float:
    """Largest eigenvalue over the mean trace of ``diag(p) - p p'``."""
    return sharpness(part) / max(float(part["softness"]), 1e-12)


def claims_of_quantum(protocol: QuantumProtocol, found: Found, scale: str) -> list[Claim]:
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
        "data": protocol.data,
        **{name: value for name, value in protocol.model_options.items() if name in ("qubits", "patch", "scale")},
        "patches": list(protocol.patches),
        "fitted from": protocol.fitted,
        "depth": protocol.depth,
        "depths": list(protocol.depths),
    }
    every = (*_patches(protocol, found), *_controls(protocol, found), *_deep(protocol, found))
    return [hold(given, settings) for given in (*every, *_closely(found), *_plateaus(found))]


def variants_row(
    protocol: QuantumProtocol, found: Found, variants: Sequence[QuantumVariant], seed: int
) -> list[Part] | None:
    """Parts of several variants of one seed, in their order.

    Args:
        protocol: the study's.
        found: by kind of part.
        variants: which.
        seed: which.

    Returns:
        The parts; None where one is missing.
    """
    known = {(part["subject"], part["seed"]): part for part in found.get("network", ())}
    parts = [known.get((variant.name, seed)) for variant in variants]
    return [part for part in parts if part is not None] if all(part is not None for part in parts) else None


def exponents(
    protocol: QuantumProtocol, found: Found, take: Take, *, aggregation: Aggregation = "mean", classical: bool = False
) -> list[float]:
    """Fitted exponents of a quantity in the number of patches, one for each seed.

    Args:
        protocol: the study's.
        found: by kind of part.
        take: the quantity.
        aggregation: of the networks.
        classical: whether those of the classical networks.

    Returns:
        The exponents.
    """
    counts = protocol.controlled if classical else protocol.patches if aggregation == "mean" else protocol.summed
    counts = tuple(count for count in counts if count >= protocol.fitted)
    usual = replace(protocol.usual, aggregation=aggregation, classical=classical)
    variants = [replace(usual, patches=count) for count in counts]
    rows = (variants_row(protocol, found, variants, seed) for seed in range(protocol.seeds))
    return [power(counts, [take(part) for part in parts]) for parts in rows if parts is not None]


def deepened(protocol: QuantumProtocol, found: Found, take: Take, *, falling: bool) -> list[float]:
    """Fitted exponents of a quantity in the number of layers, one for each seed.

    Args:
        protocol: the study's.
        found: by kind of part.
        take: the quantity.
        falling: whether the learning rate falls with them.

    Returns:
        The exponents.
    """
    rates = protocol.falling if falling else (protocol.recipe.lr,) * len(protocol.depths)
    variants = [replace(protocol.usual, depth=d, rate=rate) for d, rate in zip(protocol.depths, rates, strict=True)]
    rows = (variants_row(protocol, found, variants, seed) for seed in range(protocol.seeds))
    return [power(protocol.depths, [take(part) for part in parts]) for parts in rows if parts is not None]


def plateau_slope(part: Part, kind: str, layer: int) -> float:
    """Change of the logarithm to the base of two of a gradient's variance with each further qubit.

    Args:
        part: of random circuits.
        kind: ``"variance"`` or ``"classical"``.
        layer: which depth, by its place.

    Returns:
        The slope.
    """
    values = part[kind][layer]
    return slope(part["qubits"], [math.log2(max(value, 1e-300)) for value in values])


def _within(low: float, high: float, text: str) -> Callable[[float], tuple[Verdict, str]]:
    """A judge of exponents that should lie between two numbers, and below zero at the least."""

    def judge(value: float) -> tuple[Verdict, str]:
        fine: Verdict = "reproduced" if low <= value <= high else "in part" if value < 0 else "contradicted"
        return fine, text.format(value)

    return judge


def _patches(protocol: QuantumProtocol, found: Found) -> list[Given]:
    first, last = (replace(protocol.usual, patches=count) for count in (protocol.patches[0], protocol.patches[-1]))
    gains: list[float] = []
    for seed in range(protocol.seeds):
        parts = variants_row(protocol, found, (first, last), seed)
        if parts is not None:
            gains.append(float(parts[0]["test_error"]) - float(parts[1]["test_error"]))
    return [
        Given(
            "flatter", f"{_PAPER}, table of the largest eigenvalues",
            "with more patches the largest eigenvalue falls as a power between 1 / P and 1 / P^1.5",
            "exponent of lambda_1 in P at the least training loss, by least squares of the logarithms",
            "-1 to -1.5 (-1.13 to -1.52 fitted to the paper's table)",
            exponents(protocol, found, sharpness),
            _within(-1.75, -0.85, "lambda_1 goes as P^{:.2f}"),
        ),
        Given(
            "flatter-by-loss", "ours, after the notes: a part of the fall is a lower loss",
            "over the loss that is left, the largest eigenvalue falls about as 1 / P",
            "exponent of lambda_1 / loss in P",
            "about -1 (-0.78 to -1.18 fitted to the paper's table)",
            exponents(protocol, found, over_loss),
            _within(-1.35, -0.65, "lambda_1 over the loss goes as P^{:.2f}"),
        ),
        Given(
            "flatter-by-softness", "ours, by the Gauss-Newton matrix",
            "over the softness of the probabilities it falls as a power between 1 / P and 1 / P^2",
            "exponent of lambda_1 / mean tr(diag(p) - p p') in P: -1 where patches agree on their gradients, -2 where "
            "they do not",
            "-1 to -2",
            exponents(protocol, found, over_softness),
            _within(-2.1, -0.85, "lambda_1 over the softness goes as P^{:.2f}"),
        ),
        Given(
            "patches-accuracy", f"{_PAPER}, table of accuracies",
            "with more patches the test accuracy rises",
            f"test accuracy with {last.patches} patches less that with {first.patches}",
            "above 0",
            gains,
            said(0.005, 0.0, "the accuracy rises by {:.3f}"),
        ),
    ]  # fmt: skip


def _controls(protocol: QuantumProtocol, found: Found) -> list[Given]:
    def less(aggregation: Aggregation) -> list[float]:
        counts = [count for count in protocol.summed if count >= protocol.fitted]
        usual = [replace(protocol.usual, patches=count) for count in counts]
        gained: list[float] = []
        for seed in range(protocol.seeds):
            ours = variants_row(protocol, found, [replace(one, aggregation=aggregation) for one in usual], seed)
            mean = variants_row(protocol, found, usual, seed)
            if ours is not None and mean is not None:
                one, other = (power(counts, [sharpness(part) for part in parts]) for parts in (ours, mean))
                gained.append(one - other)
        return gained

    return [
        Given(
            "sum", "ours: a control the paper lacks",
            "patches flatten where read-outs are summed, too, and not only by the mean's 1 / P",
            "exponent of lambda_1 in P, read-outs summed",
            "below 0",
            exponents(protocol, found, sharpness, aggregation="sum"),
            lambda value: (graded(-value, 0.3, 0.0), f"lambda_1 of sums goes as P^{value:.2f}"),
        ),
        Given(
            "root", "ours: a control the paper lacks",
            "the same where the sum is taken over the root of P",
            "exponent of lambda_1 in P, read-outs summed over the root of P",
            "below 0",
            exponents(protocol, found, sharpness, aggregation="root"),
            lambda value: (graded(-value, 0.3, 0.0), f"lambda_1 goes as P^{value:.2f}"),
        ),
        Given(
            "mean-itself", "ours: a control the paper lacks",
            "some of the fall is the smaller scale of a mean",
            "exponent of sums less that of means, over the same P",
            "above 0",
            less("sum"),
            said(0.2, 0.0, "the exponents differ by {:.2f}"),
        ),
        Given(
            "classical", "ours: a control the paper lacks",
            "the fall is one of patches and not of circuits: classical networks over patches show it as well",
            "exponent of lambda_1 in P, dense networks over the same patches with as many parameters",
            "below 0",
            exponents(protocol, found, sharpness, classical=True),
            lambda value: (graded(-value, 0.5, 0.0), f"lambda_1 of classical networks goes as P^{value:.2f}"),
        ),
    ]  # fmt: skip


def _deep(protocol: QuantumProtocol, found: Found) -> list[Given]:
    every: list[Given] = []
    for falling, words, paper in (
        (False, "at one learning rate", "ours: the paper's learning rate falls with depth"),
        (True, "at a learning rate that falls with depth", f"{_PAPER}, claim (i)"),
    ):
        key = "falling" if falling else "fixed"
        every.append(
            Given(
                f"deeper-{key}", paper,
                f"more parameters lead to a lower loss, {words}",
                "exponent of the least training loss in the layers of a block",
                "below 0",
                deepened(protocol, found, lambda part: float(part["loss"]), falling=falling),
                lambda value: (graded(-value, 0.1, 0.0), f"the loss goes as d^{value:.2f}"),
            )
        )  # fmt: skip
        every.append(
            Given(
                f"sharper-{key}", paper,
                f"and to a sharper minimum, {words}",
                "exponent of lambda_1 in the layers of a block",
                "above 0 (about 0.8 with P = 4 in the paper's table, d 50 to 200)",
                deepened(protocol, found, sharpness, falling=falling),
                said(0.1, 0.0, "lambda_1 goes as d^{:.2f}"),
            )
        )  # fmt: skip
    return every


def _closely(found: Found) -> list[Given]:
    looks = [part for part in found.get("network", ()) if "looks" in part]
    lines = found.get("barrier", ())
    return [
        Given(
            "outliers", f"{_PAPER}, version 2",
            "the spectrum has as many outliers as there are classes",
            "eigenvalues before the largest ratio of neighbours among those around C, less C",
            "0, or by the algebra of softmax -1",
            [float(part["looks"]["outliers"] - part["classes"]) for part in looks],
            lambda value: (graded(-abs(value + 0.5), -1.0, -2.0), f"there are C {value:+.1f}"),
        ),
        Given(
            "bulk", f"{_PAPER}, version 2",
            "and a bulk near zero",
            "share of the eigenvalues within a hundredth of the largest, by quadrature",
            "near 1",
            [float(part["looks"]["bulk"]) for part in looks],
            said(0.8, 0.5, "{:.0%} are in the bulk"),
        ),
        Given(
            "plane", f"{_PAPER}, figures of surfaces",
            "a run lies near the plane of its first two principal components",
            "share of the variance of the epochs' points in them (a random walk has 0.76)",
            "0.93 to 0.97",
            [float(sum(part["looks"]["shares"][:2])) for part in looks],
            said(0.85, 0.6, "{:.0%} of the variance is in the plane"),
        ),
        Given(
            "barrier", "ours",
            "networks from two starts lie in two valleys",
            "loss barrier on the straight line between them, in units of the loss of a guess, log C",
            "above 0",
            [float(part["height"]) / float(part["chance"]) for part in lines],
            said(0.1, 0.01, "the barrier is {:.2f} of the loss of a guess"),
        ),
        Given(
            "kernel-moves", "ours",
            "the quantum tangent kernel moves in training: these networks are not lazy",
            "kernel distance from the start to the point of least loss",
            "well above 0",
            [float(part["looks"]["kernel"]["distance"]) for part in looks],
            said(0.1, 0.02, "the kernel goes a distance of {:.4f}"),
        ),
        Given(
            "kernel-aligns", "ours",
            "and turns towards the labels",
            "centred alignment with the labels at the least loss less that at the start",
            "above 0",
            [float(b - a) for a, b in (part["looks"]["kernel"]["alignment"] for part in looks)],
            said(0.05, 0.0, "the alignment grows by {:.2f}"),
        ),
    ]  # fmt: skip


def _plateaus(found: Found) -> list[Given]:
    parts = found.get("plateau", ())
    return [
        Given(
            "plateau", "McClean et al. 2018",
            "gradients of deep random circuits vanish exponentially with qubits",
            "change of log2 of the variance of one component with each further qubit, at the greatest depth",
            "about -1 (the variance falls as 1 / 2^n or faster)",
            [plateau_slope(part, "variance", -1) for part in parts],
            lambda value: (graded(-value, 0.5, 0.1), f"the variance falls as 2^({value:.2f} n)"),
        ),
        Given(
            "no-plateau", "Cerezo et al. 2021",
            "those of shallow circuits read out at one qubit do not",
            "the same at the least depth",
            "above that at the greatest depth, near 0",
            [plateau_slope(part, "variance", 0) for part in parts],
            said(-0.25, -0.6, "the variance goes as 2^({:.2f} n)"),
        ),
        Given(
            "no-plateau-classical", "ours: the control",
            "nor do those of random dense networks with as many parameters and the same pixels",
            "the same for a weight of the first layer, at the greatest depth",
            "above that of the circuits",
            [plateau_slope(part, "classical", -1) - plateau_slope(part, "variance", -1) for part in parts],
            said(0.25, 0.0, "the slope is {:.2f} above that of the circuits"),
        ),
    ]  # fmt: skip
