"""What is said of adversarial training and the loss surface, held against the study's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from landform.studies._claim import Claim
from landform.studies._held import Given, graded, hold, said, small

if TYPE_CHECKING:
    from landform.studies._adversarial_landscape import RobustProtocol

Results = Mapping[str, Sequence[Mapping[str, Any]]]
Take = Callable[[Mapping[str, Any]], float]


def rise_of(each: Mapping[str, Any], at: float = 1.0, of: str = "clean") -> float:
    """Average rise of a loss along random directions.

    Args:
        each: a network.
        at: how far along.
        of: ``"clean"``, ``"adversarial"``, or ``"even"``: the clean loss over steps of one length for all networks.

    Returns:
        The rise.
    """
    return float(each[of]["rises"][f"{at:g}"])


def top_of(each: Mapping[str, Any], of: str = "clean") -> float:
    """Largest eigenvalue of the Hessian of a loss.

    Args:
        each: a network.
        of: ``"clean"`` or ``"adversarial"``.

    Returns:
        The eigenvalue; nan where it did not converge.
    """
    found = each["curvature"][of]
    return float(found["value"]) if found["converged"] else math.nan


def gap_of(each: Mapping[str, Any]) -> float:
    """Test loss less training loss.

    Args:
        each: a network.

    Returns:
        The difference.
    """
    return float(each["loss"]["test"] - each["loss"]["train"])


def ratios(results: Results, setting: str, take: Take) -> list[float]:
    """A number of each network over that of the standard network of the same seed.

    Args:
        results: by setting, one for each seed.
        setting: which.
        take: the number.

    Returns:
        One for each seed that both have.
    """
    base = {each["seed"]: take(each) for each in results.get("standard", ())}
    pairs = [(take(each), base[each["seed"]]) for each in results.get(setting, ()) if each["seed"] in base]
    return [value / other if other > 0 else math.nan for value, other in pairs]


def claims_of_adversarial_landscape(protocol: RobustProtocol, results: Results, scale: str) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        results: by setting, one for each seed.
        scale: its name.

    Returns:
        The claims.
    """
    settings = {
        "scale": scale, "data": protocol.data, "model": protocol.model, "eps": list(protocol.eps),
        "directions": protocol.directions, "adversary": f"PGD of {protocol.steps} steps, adversarial examples alone",
    }  # fmt: skip
    return [hold(given, settings) for given in _given(protocol, results)]


def _given(protocol: RobustProtocol, results: Results) -> list[Given]:
    low, high = protocol.eps
    robust, stronger = f"alone-{low:g}", f"alone-{high:g}"
    paper = "Prabhu et al. 2019"
    e, big = f"{low:.3g}", f"{high:.3g}"
    over = "that of the standard network of the same seed"

    def gains(each: Mapping[str, Any]) -> float:
        return float(each["robust"][f"{low:g}"]["strong"])

    base = {each["seed"]: gains(each) for each in results.get("standard", ())}
    gained = [gains(each) - base[each["seed"]] for each in results.get(robust, ()) if each["seed"] in base]
    rises = ratios(results, robust, rise_of)
    tops = ratios(results, robust, top_of)
    signs = [float(rise > 1 > top) for rise, top in zip(rises, tops, strict=True) if math.isfinite(top)]
    return [
        Given(
            "robust", "Madry et al. 2018", "adversarial training makes networks robust",
            f"accuracy under the strong attack at eps {e}, adversarial training less standard", "well above 0",
            gained, lambda v: (graded(v, 0.1, 0.02), f"it gains {100 * v:.0f} points"),
        ),
        Given(
            "surface", paper, "adversarial training does not give flatter filter-normalised surfaces",
            f"average rise at alpha 1 after training against eps {e}, over {over}", "1 or more",
            rises, said(1.0, 0.9, "the rise is {:.2f} times that of the standard network"),
        ),
        Given(
            "surface-half", paper, "nor flatter ones half way",
            f"average rise at alpha 0.5 after training against eps {e}, over {over}", "1 or more",
            ratios(results, robust, lambda each: rise_of(each, 0.5)),
            said(1.0, 0.9, "the rise is {:.2f} times that of the standard network"),
        ),
        Given(
            "curvature", "Yang et al. 2021 on earlier work",
            "adversarial training lowers the eigenvalues of the Hessian",
            f"largest eigenvalue, clean training loss, after training against eps {e}, over {over}", "below 1",
            tops, small(0.9, 1.0, "the largest eigenvalue is {:.2f} times that of the standard network"),
        ),
        Given(
            "disagree", "ours", "the two measures of sharpness disagree in sign",
            f"share of seeds in which training against eps {e} raises the average rise and lowers the largest "
            "eigenvalue",
            "1", signs, said(0.9, 0.5, "they disagree in {:.0%} of the seeds"),
        ),
        Given(
            "turns", "ours", "at a larger eps the largest eigenvalue is above the standard one",
            f"largest eigenvalue after training against eps {big}, over {over}", "above 1",
            ratios(results, stronger, top_of),
            said(1.1, 1.0, "at eps " + big + " the eigenvalue is {:.2f} times that of the standard network"),
        ),
        Given(
            "surface-large", paper, "nor does a larger eps give flatter filter-normalised surfaces",
            f"average rise at alpha 1 after training against eps {big}, over {over}", "1 or more",
            ratios(results, stronger, rise_of),
            said(1.0, 0.9, "at eps " + big + " the rise is {:.2f} times that of the standard network"),
        ),
        Given(
            "gap", paper, "flat is not what makes them generalise: the gap shrinks where the surface is no flatter",
            f"test loss less training loss after training against eps {e}, over {over}", "below 1",
            ratios(results, robust, gap_of), small(0.9, 1.0, "the gap is {:.2f} times that of the standard network"),
        ),
        Given(
            "norm", "ours", "filter-normalised surfaces are steeper where weights are larger: equal steps cost no more",
            f"average rise over steps of L2 length {protocol.length:g} after training against eps {e}, over {over}",
            "1 or less", ratios(results, robust, lambda each: rise_of(each, 1.0, "even")),
            small(1.0, 1.1, "over equal steps the rise is {:.2f} times that of the standard network"),
        ),
        Given(
            "own-surface", "ours", "the adversarial loss has a flatter surface after training against it",
            f"average rise of the loss under attack (eps {e}) at alpha 1, over {over}", "below 1",
            ratios(results, robust, lambda each: rise_of(each, 1.0, "adversarial")),
            small(0.9, 1.0, "the adversarial loss rises {:.2f} times as much as that of the standard network"),
        ),
        Given(
            "own-curvature", "ours", "the adversarial loss has a smaller largest eigenvalue after training against it",
            f"largest eigenvalue at adversarial examples (eps {e}), held where they are, over {over}", "below 1",
            ratios(results, robust, lambda each: top_of(each, "adversarial")),
            small(0.9, 1.0, "it is {:.2f} times that of the standard network"),
        ),
        Given(
            "input", "Moosavi-Dezfooli et al. 2019",
            "adversarial training lowers the curvature of the loss by the input",
            f"mean largest eigenvalue of each test sample's Hessian by its input, after eps {e}, over {over}",
            "well below 1", ratios(results, robust, lambda each: float(each["input"]["curvature"])),
            small(0.5, 0.9, "it is {:.2f} times that of the standard network"),
        ),
        Given(
            "masked", "Athalye et al. 2018", "robust accuracy is not that of masked gradients",
            "share of the networks for which a random change or a single step finds more than the strong attack", "0",
            _masked(results), small(0.0, 0.05, "{:.0%} of the networks show signs of it"),
        ),
    ]  # fmt: skip


def _masked(results: Results) -> list[float]:
    by_seed: dict[int, list[float]] = {}
    for every in results.values():
        for each in every:
            told = [one["masked"] is not None for one in each["robust"].values()]
            by_seed.setdefault(each["seed"], []).append(float(any(told)))
    return [sum(own) / len(own) for _, own in sorted(by_seed.items())]
