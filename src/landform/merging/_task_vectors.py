"""Methods that thin task vectors out before they add them, and those that let their signs vote (TIES)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from landform.merging._linear import no_shares, shares
from landform.merging._method import Asked, Method, Part, Parts, Per, Setting
from landform.merging._pieces import piecewise
from landform.merging._settings import choice, flag, number
from landform.merging._sparse import Kept, Sparsify, by_chance, by_rank, by_size, match_norms, trim, trim_both

_DENSITY = "share of the coordinates of each task vector that is kept"
_RESCALE = (
    "what makes up for the coordinates dropped: 'paper' divides by the probability to be kept, 'norm' restores the L1 "
    "norm, 'none' nothing"
)


def added(sparsify: Sparsify) -> Callable[[Part, Kept, Asked], Tensor]:
    """Make a method that adds what is kept: ``base + scale * sum_i w_i d_i``.

    Args:
        sparsify: what is kept of a delta.

    Returns:
        The method's ``part``.
    """

    def part(part: Part, known: Kept, asked: Asked) -> Tensor:
        assert part.base is not None
        weights = shares(asked.weights) if asked.settings["normalise"] else asked.weights
        total = torch.zeros_like(part.base)
        for row, weight in enumerate(weights):
            total.add_(sparsify(part, row, known, asked), alpha=weight)
        return total.mul_(asked.settings["scale"]).add_(part.base)

    return part


def voted(sparsify: Sparsify) -> Callable[[Part, Kept, Asked], Tensor]:
    """Make a method that adds, coordinate by coordinate, only what has the elected sign (Yadav et al. 2023).

    The sign elected is that of the sum of what is kept, weighted (``elect="mass"``), or of the sum of its signs
    (``"count"``). With ``normalise`` the sum is divided by the weights of those that have this sign: a mean of them.

    Args:
        sparsify: what is kept of a delta.

    Returns:
        The method's ``part``.
    """

    def part(part: Part, known: Kept, asked: Asked) -> Tensor:
        assert part.base is not None
        kept = torch.empty_like(part.sources)
        for row, weight in enumerate(asked.weights):
            torch.mul(sparsify(part, row, known, asked), weight, out=kept[row])
        if asked.settings["elect"] == "mass":
            side = kept.sum(0).sign_()
        else:
            side = sum((own.sign() for own in kept), torch.zeros_like(part.base)).sign_()
        if asked.settings["undecided"] == "positive":
            side[side == 0] = 1
        total, divisor = torch.zeros_like(part.base), torch.zeros_like(part.base)
        for weight, own in zip(asked.weights, kept, strict=True):
            agrees = own * side > 0
            total += own.mul_(agrees)
            divisor.add_(agrees, alpha=weight)
        if asked.settings["normalise"]:
            total /= divisor.masked_fill_(divisor == 0, 1)
        return total.mul_(asked.settings["scale"]).add_(part.base)

    return part


def _settings(density: float, normalise: bool, vote: bool, more: Mapping[str, Setting]) -> dict[str, Setting]:
    found = {
        "density": number(density, _DENSITY, 0, 1, above=True, each=True),
        **more,
        "scale": number(1.0, "factor of the result, the paper's lambda"),
        "normalise": flag(
            normalise,
            "take the mean of those with the elected sign instead of their sum"
            if vote
            else "divide the weights by their sum",
        ),
    }
    if vote:
        found["elect"] = choice("mass", "whose sign is elected: that of the sum, or of the majority", "mass", "count")
        found["undecided"] = choice(
            "base", "what a coordinate without a majority becomes: the base's, or as if voted up", "base", "positive"
        )
    return found


def _wrong(name: str, vote: bool) -> Callable[[Asked], str]:
    def wrong(asked: Asked) -> str:
        if asked.settings["normalise"]:
            if vote and min(asked.weights) < 0:
                return (
                    f"{name} takes a mean of those with the elected sign, and a weight is negative: give weights of at "
                    "least 0, or normalise=False for the sum."
                )
            if sentence := no_shares(asked):
                return sentence
        if "epsilon" in asked.settings:
            for density, epsilon in zip(asked.each("density"), asked.each("epsilon"), strict=True):
                if density < 1 and not (density - epsilon > 0 and density + epsilon <= 1):
                    return (
                        f"density {density:g} and epsilon {epsilon:g} of {name} make probabilities from "
                        f"{density - epsilon:g} to {density + epsilon:g}: choose epsilon so that they lie in (0, 1]."
                    )
        return ""

    return wrong


def _make(
    name: str,
    doc: str,
    paper: str,
    sparsify: Sparsify,
    gather: Callable[[Parts, Asked], Kept],
    *,
    vote: bool,
    density: float,
    per: Per = "point",
    more: Mapping[str, Setting] | None = None,
    also: tuple[str, ...] = (),
) -> Method:
    return Method(
        name,
        doc,
        paper,
        base=True,
        settings=_settings(density, vote, vote, more or {}),
        part=piecewise(voted(sparsify) if vote else added(sparsify), rows=sparsify is by_rank),
        gather=gather,
        wrong=_wrong(name, vote),
        per=per,
        also=also,
        blocks="rows" if sparsify is by_rank else "numbers",
    )


_DARE = {"rescale": choice("paper", _RESCALE, "paper", "norm", "none")}
_DELLA = {
    "epsilon": number(0.15, "how far the probabilities to be kept lie from density on either side", 0, 0.5, each=True),
    **_DARE,
}
_BREADCRUMBS = {"gamma": number(0.01, "share of the largest coordinates that is dropped", 0, 1, below=True, each=True)}
_CRUMBS = "Davari and Belilovsky 2023"
_MAGPRUNE = "Deep et al. 2024"

TIES = _make(
    "ties",
    "The largest coordinates of each task vector; their signs vote, and those with the elected sign are averaged.",
    "Yadav et al. 2023",
    by_size,
    trim,
    vote=True,
    density=0.2,
)
DARE = _make(
    "dare",
    "Task vectors with most coordinates dropped at random and the rest scaled up, added.",
    "Yu et al. 2023",
    by_chance,
    match_norms(by_chance),
    vote=False,
    density=0.1,
    more=_DARE,
    also=("dare_linear",),
)
DARE_TIES = _make(
    "dare_ties",
    "Task vectors with most coordinates dropped at random and the rest scaled up; signs vote as in ties.",
    "Yu et al. 2023, with Yadav et al. 2023",
    by_chance,
    match_norms(by_chance),
    vote=True,
    density=0.1,
    more=_DARE,
)
DELLA = _make(
    "della",
    "Task vectors dropped at random, small coordinates of a row more often than large; signs vote as in ties.",
    _MAGPRUNE,
    by_rank,
    match_norms(by_rank),
    vote=True,
    density=0.3,
    more=_DELLA,
    also=("della_ties",),
)
DELLA_LINEAR = _make(
    "della_linear",
    "Task vectors dropped at random, small coordinates of a row more often than large, and added.",
    _MAGPRUNE,
    by_rank,
    match_norms(by_rank),
    vote=False,
    density=0.3,
    more=_DELLA,
)
BREADCRUMBS = _make(
    "breadcrumbs",
    "Task vectors without their largest and their smallest coordinates, layer by layer, added.",
    _CRUMBS,
    by_size,
    trim_both,
    vote=False,
    density=0.1,
    per="tensor",
    more=_BREADCRUMBS,
)
BREADCRUMBS_TIES = _make(
    "breadcrumbs_ties",
    "Task vectors without their largest and their smallest coordinates, layer by layer; signs vote as in ties.",
    f"{_CRUMBS}, with Yadav et al. 2023",
    by_size,
    trim_both,
    vote=True,
    density=0.1,
    per="tensor",
    more=_BREADCRUMBS,
)
