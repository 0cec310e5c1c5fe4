"""Methods whose coefficients are known beforehand: means, and sums of task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landform.merging._method import Asked, Method, Part
from landform.merging._pieces import piecewise
from landform.merging._settings import flag, number


def mix(tensors: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The sum ``c_1 t_1 + ... + c_n t_n``.

    Args:
        tensors: ``[n, *shape]``.
        coefficients: ``[n]``.

    Returns:
        ``[*shape]``.
    """
    mixed: Tensor = torch.tensordot(tensors.new_tensor(coefficients), tensors, dims=1)
    return mixed


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights that sum to one.

    Args:
        weights: ``[n]``, whose sum is not zero.

    Returns:
        The weights over their sum.
    """
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def no_shares(asked: Asked) -> str:
    """Say that weights cannot be made to sum to one, where they cannot.

    Args:
        asked: with the weights.

    Returns:
        The sentence, or "".
    """
    if abs(sum(asked.weights)) < 1e-12 * max(map(abs, asked.weights), default=0.0) or not any(asked.weights):
        return f"The weights {asked.weights} sum to zero, so no mean has them: change one."
    return ""


def _mean(part: Part, known: Any, asked: Asked) -> Tensor:
    return mix(part.sources, shares(asked.weights) if asked.settings["normalise"] else asked.weights)


def _task_arithmetic(part: Part, known: Any, asked: Asked) -> Tensor:
    assert part.base is not None
    weights = shares(asked.weights) if asked.settings["normalise"] else asked.weights
    return part.base + mix(part.deltas, [asked.settings["scale"] * weight for weight in weights])


def _wise_ft(part: Part, known: Any, asked: Asked) -> Tensor:
    assert part.base is not None
    return part.base + mix(part.deltas, [asked.settings["alpha"] * weight for weight in shares(asked.weights)])


MEAN = Method(
    "mean",
    "The weighted mean of the points.",
    "Utans 1996; model soups: Wortsman et al. 2022",
    settings={"normalise": flag(True, "divide the weights by their sum")},
    part=_mean,
    wrong=lambda asked: no_shares(asked) if asked.settings["normalise"] else "",
    also=("linear", "uniform", "average"),
)

TASK_ARITHMETIC = Method(
    "task_arithmetic",
    "The base and the weighted sum of the task vectors; a negative weight takes a task away.",
    "Ilharco et al. 2023",
    base=True,
    settings={
        "scale": number(1.0, "factor of the sum, the paper's lambda"),
        "normalise": flag(False, "divide the weights by their sum"),
    },
    part=piecewise(_task_arithmetic),
    wrong=lambda asked: no_shares(asked) if asked.settings["normalise"] else "",
    also=("task_vectors",),
)

WISE_FT = Method(
    "wise_ft",
    "A place on the line from the base to the fine-tuned model, or to the mean of several.",
    "Wortsman et al. 2022, robust fine-tuning of zero-shot models",
    base=True,
    settings={"alpha": number(0.5, "where on the line: 0 is the base, 1 the fine-tuned model")},
    part=piecewise(_wise_ft),
    wrong=no_shares,
    also=("wise",),
)
