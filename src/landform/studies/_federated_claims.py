"""What is said of federated averaging in the kernel regime, held against the study's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from landform.studies._claim import Claim, Verdict
from landform.studies._emergent_numbers import by_seed
from landform.studies._federated_kernel import exponent
from landform.studies._federated_protocol import FederatedProtocol
from landform.studies._held import Given, hold, said, small
from landform.studies._parts import Found

_HUANG = "Huang et al. 2021"
Part = Mapping[str, Any]
# Within which a predicted contraction is that observed.
_CLOSE = 0.005


def claims_of_federated(protocol: FederatedProtocol, found: Found, scale: str) -> list[Claim]:
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
        "samples": protocol.samples,
        "clients": protocol.clients,
        "rate": protocol.rate,
        "width": protocol.widths[-1],
        "zoo": {name: f"{subject.model} on {subject.data}" for name, subject in protocol.zoo.items()},
    }
    every = (*_lazy(protocol, found), *_scaling(protocol, found), *_gap(protocol, found), *_zoo(protocol, found))
    return [hold(given, settings) for given in every]


def _lazy(protocol: FederatedProtocol, found: Found) -> list[Given]:
    wide = protocol.widths[-1]
    given = [
        Given(
            f"contraction-{steps}", f"{_HUANG}, section 4 (operator derived here)",
            f"with K = {steps}, the loss of a wide network shrinks as its limit kernel says",
            f"mean factor of the loss over {protocol.rounds} rounds, observed less predicted from H-infinity and the "
            f"first residuals, {wide:,} units",
            f"within {_CLOSE}",
            by_seed(found, "lazy", lambda part, steps=steps: _off(part, wide, steps, "limit")),  # type: ignore[misc]
            small(_CLOSE, 3 * _CLOSE, "they differ by {:.4f}"),
        )
        for steps in protocol.steps
    ]  # fmt: skip
    return [
        *given,
        Given(
            "own", "ours",
            "the network's own Gram matrix at its start predicts it better than the limit",
            "difference of the contractions with the limit kernel less that with the network's own, mean over K",
            "above 0",
            by_seed(found, "lazy", lambda part: _mean([
                _off(part, wide, steps, "limit") - _off(part, wide, steps, "own") for steps in protocol.steps
            ])),
            said(0.0, -0.0005, "it is nearer by {:.5f}"),
        ),
        Given(
            "bound", f"{_HUANG}, theorem on convergence (constants from memory)",
            "each round shrinks the loss by 1 - eta_g eta_l lambda K / (2 N) at least",
            "observed contraction less that factor, the largest over K and widths",
            "at most 0",
            by_seed(found, "lazy", lambda part: max(_number(run["observed"]) - run["bound"] for run in part["runs"])),
            small(0.0, 0.001, "observed less bound: {:.4f}"),
        ),
        Given(
            "sharper", "ours",
            "the operator of the lazy round is a sharper prediction than the theorem's bound",
            "gap of the bound to the observed contraction over that of the operator's prediction, mean over K",
            "well above 1",
            by_seed(found, "lazy", lambda part: _mean([_sharper(part, wide, steps) for steps in protocol.steps])),
            said(3.0, 1.0, "the bound is {:.0f} times as far off"),
        ),
        Given(
            "asymmetry-one", f"{_HUANG}, section 4",
            "with one local step the Gram matrix is symmetric",
            "largest difference of a client's block from its transpose over its largest entry, K = 1",
            "0",
            by_seed(found, "lazy", lambda part: max(_apart(part, width, 1) for width in protocol.widths)),
            small(1e-12, 1e-6, "it is off by {:.1e}"),
        ),
        Given(
            "asymmetry-many", f"{_HUANG}, section 4",
            "with several local steps it is not: rows see the server's weights, columns the client's",
            f"the same at the last of K = {protocol.steps[-1]} local steps, {protocol.widths[0]:,} units",
            "above 0",
            by_seed(found, "lazy", lambda part: _apart(part, protocol.widths[0], protocol.steps[-1])),
            said(0.003, 0.0, "it is off by {:.3f}"),
        ),
        Given(
            "asymmetry-width", f"{_HUANG}, section 4",
            "the asymmetry vanishes with width",
            f"exponent of the width in the asymmetry at the last of K = {protocol.steps[-1]} local steps",
            "-1/2",
            by_seed(found, "lazy", lambda part: exponent(protocol.widths, [
                _apart(part, width, protocol.steps[-1]) for width in protocol.widths
            ])),
            small(-0.3, -0.1, "it goes as the width to the power {:.2f}"),
        ),
        Given(
            "lazy-width", f"{_HUANG}, section 4",
            "training comes nearer to the kernel's prediction with width",
            "exponent of the width in the difference of observed and predicted contraction, mean over K",
            "below 0",
            by_seed(found, "lazy", lambda part: _mean([
                exponent(protocol.widths, [_off(part, width, steps, "limit") for width in protocol.widths])
                for steps in protocol.steps
            ])),
            small(-0.25, 0.0, "it goes as the width to the power {:.2f}"),
        ),
    ]  # fmt: skip


def _scaling(protocol: FederatedProtocol, found: Found) -> list[Given]:
    first = protocol.clients if protocol.clients in protocol.scaled_clients else protocol.scaled_clients[0]
    early = [steps for steps in protocol.scaled_steps if steps <= 5]
    share = f"rounds to {protocol.share:.0%} of the loss"

    def in_steps(part: Part, which: str, counts: Sequence[int]) -> float:
        return exponent(counts, [_cell(part, "labels", first, k, False, which) for k in counts])

    def in_clients(part: Part, steps: int, mean: bool) -> float:
        counts = protocol.scaled_clients
        return exponent(counts, [_cell(part, "labels", n, steps, mean, "trained") for n in counts])

    middle = protocol.scaled_steps[len(protocol.scaled_steps) // 2]
    return [
        Given(
            "rate-steps", f"{_HUANG}, theorem on convergence",
            "rounds go as 1/K while local steps are few",
            f"exponent of K in {share}, K up to 5",
            "-1",
            by_seed(found, "scaling", lambda part: in_steps(part, "trained", early)),
            _near(-1.0, 0.25, 0.6, "they go as K to the power {:.2f}"),
        ),
        Given(
            "rate-steps-many", "ours",
            "with more local steps clients are done with their own samples, and rounds gain less",
            "the same exponent over all K, less that up to 5",
            "above 0",
            by_seed(found, "scaling",
                    lambda part: in_steps(part, "trained", protocol.scaled_steps) - in_steps(part, "trained", early)),
            said(0.02, 0.0, "the exponents differ by {:.2f}"),
        ),
        Given(
            "rate-clients", f"{_HUANG}, theorem on convergence",
            "rounds go as the number of clients",
            f"exponent of N in {share}, K = {protocol.scaled_steps[0]}",
            "1",
            by_seed(found, "scaling", lambda part: in_clients(part, protocol.scaled_steps[0], False)),
            _near(1.0, 0.25, 0.6, "they go as N to the power {:.2f}"),
        ),
        Given(
            "rate-clients-mean", "ours",
            "that is so because a client's loss is a sum over its samples: with means N does not matter as much",
            f"exponent of N in {share} with sums less that with means, K = {middle}",
            "about 1",
            by_seed(found, "scaling", lambda part: in_clients(part, middle, False) - in_clients(part, middle, True)),
            said(0.5, 0.1, "the exponents differ by {:.2f}"),
        ),
        Given(
            "division", f"{_HUANG}, theorem on convergence",
            "the rate does not depend on how samples are divided",
            f"{share}, clients sorted by target over iid clients, mean over K and N",
            "1",
            by_seed(found, "scaling", lambda part: _mean([
                _ratio(_cell(part, "labels", n, k, False, "trained"), _cell(part, "iid", n, k, False, "trained"))
                for n in protocol.scaled_clients for k in protocol.scaled_steps
            ])),
            _near(1.0, 0.1, 0.5, "the ratio is {:.2f}"),
        ),
        Given(
            "predicted-rounds", "ours",
            "the kernel predicts the rounds of every cell",
            f"mean relative difference of {share} from the lazy operator's",
            "near 0",
            by_seed(found, "scaling", lambda part: _mean([
                abs(_ratio(cell["trained"], cell["predicted"]) - 1) for cell in part["cells"]
            ])),
            small(0.1, 0.3, "they differ by {:.1%}"),
        ),
    ]  # fmt: skip


def _gap(protocol: FederatedProtocol, found: Found) -> list[Given]:
    return [
        Given(
            "gap-bound", f"{_HUANG}, theorem on generalisation (leading term, from memory)",
            "the loss on new samples less that on the training samples stays below sqrt(2 y H^-1 y / n)",
            "bound less gap of the clipped distance, the smallest over shares of random labels",
            "above 0",
            by_seed(found, "gap", lambda part: min(each["bound"] - (each["test"] - each["train"])
                                                   for each in part["levels"])),
            said(0.0, -0.05, "the bound is above by {:.2f} at least"),
        ),
        Given(
            "gap-says", "ours",
            "the bound says something of true labels: it lies below the largest loss there is",
            "sqrt(2 y H^-1 y / n) with no random labels",
            "below 1",
            by_seed(found, "gap", lambda part: part["levels"][0]["bound"]),
            small(0.9, 1.0, "it is {:.2f}"),
        ),
        Given(
            "gap-end", f"{_HUANG}, theorem on generalisation; Arora et al. 2019",
            "the bound is larger where labels are random, and so is the gap once training samples are met",
            "rank correlation of bound and clipped distance on new samples of the limit kernel's own solution, which "
            "meets all targets, over shares of random labels",
            "1",
            by_seed(found, "gap", lambda part: _ranked(
                [each["bound"] for each in part["levels"]], [each["kernel"] for each in part["levels"]]
            )),
            said(0.8, 0.3, "it is {:.2f}"),
        ),
        Given(
            "gap-order", f"{_HUANG}, theorem on generalisation; Arora et al. 2019",
            "the bound is larger where labels are random, and so is the gap of the network as it was trained",
            "rank correlation of bound and gap over shares of random labels",
            "1",
            by_seed(found, "gap", lambda part: _ranked(
                [each["bound"] for each in part["levels"]], [each["test"] - each["train"] for each in part["levels"]]
            )),
            said(0.8, 0.3, "it is {:.2f}"),
        ),
    ]  # fmt: skip


def _zoo(protocol: FederatedProtocol, found: Found) -> list[Given]:
    few, many = protocol.zoo_clients[0], protocol.zoo_clients[-1]
    one, most = protocol.zoo_steps[0], protocol.zoo_steps[-1]

    def rounds(part: Part, division: str, clients: int, steps: int) -> float | None:
        return zoo_cell(part, division, clients, steps)["reached"]  # type: ignore[no-any-return]

    return [
        Given(
            "zoo-steps", f"{_HUANG}, section 6 (from memory)",
            "more local steps need fewer rounds, in networks far from the analysis too",
            f"rounds to a loss with K = {one} over those with K = {most}, mean over divisions and N",
            "well above 1",
            by_seed(found, "zoo", lambda part: _mean([
                _ratio(rounds(part, d, n, one), rounds(part, d, n, most))
                for d in ("iid", "dirichlet") for n in protocol.zoo_clients
            ])),
            said(3.0, 1.0, "{:.1f} times as many"),
        ),
        Given(
            "zoo-clients", f"{_HUANG}, section 6 (from memory)",
            "fewer clients are faster",
            f"rounds to a loss with N = {many} over those with N = {few}, mean over divisions and K",
            "above 1",
            by_seed(found, "zoo", lambda part: _mean([
                _ratio(rounds(part, d, many, k), rounds(part, d, few, k))
                for d in ("iid", "dirichlet") for k in protocol.zoo_steps
            ])),
            said(1.15, 1.0, "{:.2f} times as many"),
        ),
        Given(
            "zoo-division", f"{_HUANG}, section 6 (from memory); McMahan et al. 2017",
            "clients of unlike classes need more rounds",
            f"rounds to a loss with Dirichlet clients over those with iid ones, K = {most}, mean over N",
            "above 1",
            by_seed(found, "zoo", lambda part: _mean([
                _ratio(rounds(part, "dirichlet", n, most), rounds(part, "iid", n, most)) for n in protocol.zoo_clients
            ])),
            said(1.15, 1.0, "{:.2f} times as many"),
        ),
        Given(
            "zoo-spread", "ours",
            "clients of unlike classes come further apart within a round",
            f"distance of clients from their mean over the mean's way, Dirichlet over iid, K = {most}, mean over N",
            "above 1",
            by_seed(found, "zoo", lambda part: _mean([
                _ratio(zoo_cell(part, "dirichlet", n, most)["spread"], zoo_cell(part, "iid", n, most)["spread"])
                for n in protocol.zoo_clients
            ])),
            said(1.2, 1.0, "{:.2f} times as far"),
        ),
        Given(
            "zoo-error", "ours",
            "with classes that differ between clients, many local steps cost accuracy",
            f"test error at the end with Dirichlet clients less that with iid ones, K = {most} less K = {one}",
            "above 0",
            by_seed(found, "zoo", lambda part: _mean([
                sign * (zoo_cell(part, "dirichlet", n, k)["error"] - zoo_cell(part, "iid", n, k)["error"])
                for n in protocol.zoo_clients for k, sign in ((most, 2.0), (one, -2.0))
            ])),
            said(0.003, -0.003, "it costs {:.1%}"),
        ),
    ]  # fmt: skip


def zoo_cell(part: Part, division: str, clients: int, steps: int) -> Part:
    """A network's run.

    Args:
        part: of the zoo.
        division: how samples were divided.
        clients: how many there were.
        steps: local steps.

    Returns:
        The cell.
    """
    wanted = (division, clients, steps)
    cells: Sequence[Part] = part["cells"]
    return next(cell for cell in cells if (cell["division"], cell["clients"], cell["steps"]) == wanted)


def run_of(part: Part, width: int, steps: int) -> Part:
    """A run that was held against prediction.

    Args:
        part: of the lazy kind.
        width: of the network.
        steps: local steps.

    Returns:
        The run.
    """
    runs: Sequence[Part] = part["runs"]
    return next(run for run in runs if (run["width"], run["steps"]) == (width, steps))


def _off(part: Part, width: int, steps: int, kernel: str) -> float:
    run = run_of(part, width, steps)
    return abs(_number(run["observed"]) - _number(run[kernel]["contraction"]))


def _sharper(part: Part, width: int, steps: int) -> float:
    run = run_of(part, width, steps)
    return _ratio(abs(run["bound"] - _number(run["observed"])), _off(part, width, steps, "limit"))


def _apart(part: Part, width: int, steps: int) -> float:
    return max((float(value) for _, value in run_of(part, width, steps)["asymmetry"]), default=math.nan)


def _cell(part: Part, division: str, clients: int, steps: int, mean: bool, which: str) -> float | None:
    wanted = (division, clients, steps, mean)
    for cell in part["cells"]:
        if (cell["division"], cell["clients"], cell["steps"], cell["mean"]) == wanted:
            found: float | None = cell[which]
            return found
    return None


def _near(goal: float, good: float, some: float, text: str) -> Callable[[float], tuple[Verdict, str]]:
    """A judge of numbers that should be near another one."""

    def judge(value: float) -> tuple[Verdict, str]:
        off = abs(value - goal)
        verdict: Verdict = "reproduced" if off <= good else "in part" if off <= some else "contradicted"
        return verdict, text.format(value)

    return judge


def _ranked(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation without ties' finer points."""
    if len(a) < 2:
        return math.nan
    ranks = [[sorted(values).index(value) for value in values] for values in (a, b)]
    n = len(a)
    return 1.0 - 6.0 * sum((x - y) ** 2 for x, y in zip(ranks[0], ranks[1], strict=True)) / (n * (n * n - 1))


def _ratio(a: float | None, b: float | None) -> float:
    return float(a / b) if a is not None and b else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
