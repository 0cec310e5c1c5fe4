"""Soups: means of models that are chosen, or weighed, by what data say (Wortsman et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.merging._joint import Data, buffers_at, shares, together, weighed
from landform.merging._layers import double
from landform.merging._method import Asked, Method, Whole
from landform.merging._settings import choice, number, whole


def _measure(landscape: Landscape, asked: str) -> str:
    """Loss or error: error where the targets are labels, if nothing was asked for."""
    if asked == "error" and not landscape.has_labels:
        raise BadInput("by is 'error', and the targets are not labels: give by='loss'.")
    return ("error" if landscape.has_labels else "loss") if asked == "auto" else asked


def _values(landscape: Landscape, points: Tensor, measure: str) -> Tensor:
    """Loss or error at points, ``[n]``; infinite where it is not a number."""
    found = landscape.error(points) if measure == "error" else landscape.loss(points)
    return torch.where(found.isnan(), torch.inf, found)


def _greedy(data: Data, points: Tensor, base: Tensor | None, asked: Asked) -> Whole:
    """Recipe 1: in the order of their own value, each that does not make the mean worse stays in it."""
    landscape, weights = together(data), shares(asked.weights)
    measure = _measure(landscape, asked.settings["by"])
    values = _values(landscape, points, measure)
    order = values.argsort(stable=True).tolist()
    members = [order[0]]
    soup, best = points[order[0]], float(values[order[0]])
    history = [best]
    for place in order[1:]:
        tried = [*members, place]
        own = weights[tried]
        if not float(own.sum()) > 0:
            continue
        point = weighed(points[tried], own / own.sum())
        value = float(_values(landscape, point[None], measure))
        history.append(value)
        if value <= best:
            members, soup, best = tried, point, value
    facts = {
        "members": tuple(members),
        "order": tuple(order),
        "by": measure,
        "values": tuple(values.tolist()),
        "tried": tuple(history),
        "value": best,
        "passes": 2 * len(points) - 1,
    }
    return Whole(soup.clone(), facts, buffers_at(landscape, soup))


def _learned(data: Data, points: Tensor, base: Tensor | None, asked: Asked) -> Whole:
    """Coefficients of the sources by gradient descent on the loss of the mixture, the best of all steps kept.

    ``dL / dc_i = <grad L, theta_i>``, taken over each tensor where there is a coefficient for each.
    """
    landscape, start = together(data), shares(asked.weights)
    settings = asked.settings
    mixture = _Mixture(landscape, points, base, asked)
    free = settings["coefficients"] == "free"
    begin = start if free else start.clamp(min=1e-6).log()
    given = begin[:, None].expand(len(points), mixture.parts).clone().requires_grad_()
    optimiser = torch.optim.Adam([given], lr=settings["lr"])
    best, kept = float("inf"), start
    losses: list[float] = []
    for step in range(settings["steps"] + 1):
        mixed = given if free else given.softmax(0)
        point = mixture.at(mixed.detach())
        losses.append(float(_values(landscape, point[None], "loss")))
        if losses[-1] < best:
            best, kept = losses[-1], mixed.detach().clone()
        if step == settings["steps"]:
            break
        optimiser.zero_grad()
        mixed.backward(mixture.slopes(landscape.gradient(point)))  # type: ignore[no-untyped-call]
        optimiser.step()
    point = mixture.at(kept if kept.dim() == 2 else kept[:, None].expand(-1, mixture.parts))
    coefficients: Any = kept.mean(1).tolist() if kept.dim() == 2 else kept.tolist()
    facts = {
        "coefficients": tuple(coefficients),
        "each": mixture.named(kept) if kept.dim() == 2 and mixture.parts > 1 else {},
        "losses": tuple(losses),
        "gradients": settings["steps"],
        "passes": settings["steps"] + 1,
    }
    return Whole(point, facts, buffers_at(landscape, point))


class _Mixture:
    """``sum over i of c_i theta_i``, with a coefficient for each source, or for each source and tensor.

    With a base and free coefficients it is ``base + sum over i of c_i (theta_i - base)``.

    Attributes:
        parts: how many coefficients a source has.
    """

    def __init__(self, landscape: Landscape, points: Tensor, base: Tensor | None, asked: Asked) -> None:
        """Take the points apart."""
        self._from = base if asked.settings["coefficients"] == "free" else None
        self._deltas = points if self._from is None else points - self._from
        slots = landscape.layout.slots
        self._names = [slot.name for slot in slots] if asked.per == "tensor" else ["point"]
        self._sizes = [slot.size for slot in slots] if asked.per == "tensor" else [landscape.layout.size]
        self.parts = len(self._sizes)

    def at(self, coefficients: Tensor) -> Tensor:
        """The mixture of coefficients ``[n, parts]``, ``[P]``."""
        found = []
        for part, delta in zip(coefficients.T, torch.split(self._deltas, self._sizes, 1), strict=True):
            found.append(weighed(delta, part))
        point = torch.cat(found)
        return point if self._from is None else self._from + point

    def slopes(self, gradient: Tensor) -> Tensor:
        """How the loss changes with each coefficient, ``[n, parts]``."""
        wide = gradient.to(double(gradient))
        pieces = zip(torch.split(self._deltas, self._sizes, 1), torch.split(wide, self._sizes), strict=True)
        return torch.stack([delta.to(wide) @ own for delta, own in pieces], 1).to("cpu", torch.float64)

    def named(self, coefficients: Tensor) -> dict[str, tuple[float, ...]]:
        """Coefficients of each tensor by name."""
        return {name: tuple(own.tolist()) for name, own in zip(self._names, coefficients.T, strict=True)}


GREEDY_SOUP = Method(
    name="greedy_soup",
    doc="In the order of their own loss or error, each source that does not make the mean worse stays in it.",
    paper="Wortsman et al. 2022",
    settings={
        "by": choice("auto", "'error', 'loss', or 'auto': error where there are labels", "auto", "error", "loss")
    },
    whole=_greedy,
)
LEARNED_SOUP = Method(
    name="learned_soup",
    doc="The mean whose coefficients, of each source or with per='tensor' of each tensor, are trained on the data.",
    paper="Wortsman et al. 2022, appendix I; Yang et al. 2024 for each tensor",
    settings={
        "coefficients": choice(
            "softmax",
            "'softmax' (0 or more, adding up to 1) or 'free' (of the deltas, where there is a base)",
            "softmax",
            "free",
        ),
        "steps": whole(30, "steps of Adam, each a gradient and a pass over the data", 1),
        "lr": number(0.1, "learning rate", 0, above=True),
    },
    whole=_learned,
)
