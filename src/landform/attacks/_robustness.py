"""Robust accuracy, and whether the gradients it was found by can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landform.attacks._against import _generator, against, function_of
from landform.attacks._attack import Attack
from landform.attacks._climb import climb, random_edge
from landform.attacks._judge import lost
from landform.attacks._space import Space
from landform.errors import BadInput
from landform.landscape import Landscape

# A weaker attack may be better by so many standard errors of the difference before gradients are called masked.
_NOISE = 2.0


@dataclass(frozen=True)
class Robustness:
    """Which share of samples an attack leaves right.

    Attributes:
        clean: accuracy on the samples as they are.
        random: accuracy under random changes as large as the attack's, the worst of as many as it restarts.
        one_step: accuracy under one step of the full length (FGSM).
        accuracy: accuracy under the attack.
        by_restart: the same after each restart, ``[restarts]``.
        standard_error: of ``accuracy``, from the number of samples.
        samples: how many.
        attack: what was done.
        gradients: gradients by the inputs that it took, of one sample each.
    """

    clean: float
    random: float
    one_step: float
    accuracy: float
    by_restart: Tensor
    standard_error: float
    samples: int
    attack: Attack
    gradients: int

    @property
    def masked(self) -> str | None:
        """Why the gradients may be masked (Athalye et al. 2018): a weaker attack finds more; None where none does."""
        for name, weaker in (("Random changes find", self.random), ("A single step finds", self.one_step)):
            error = math.sqrt(2) * math.sqrt(max(weaker * (1 - weaker), 1 / self.samples) / self.samples)
            if weaker < self.accuracy - _NOISE * error:
                return (
                    f"{name} more than {self.attack} does ({weaker:.1%} against {self.accuracy:.1%} are left right): "
                    "its gradients lead nowhere, and the true robust accuracy is lower."
                )
        return None


def robustness(
    landscape: Landscape,
    point: Tensor,
    attack: Attack,
    *,
    within: Any,
    buffers: Mapping[str, Tensor] | None = None,
) -> Robustness:
    """Measure robust accuracy; `Attack.strong` is made for it.

    A sample counts as robust if no place that any step of any restart went through makes it wrong; each is left alone
    once one does.

    Args:
        landscape: the model and the samples, with labels.
        point: ``[P]``.
        attack: what is done.
        within: the data that the samples are of, for units and bounds (see `Space.of`), or a `Space`.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The accuracies.

    Raises:
        BadInput: when the targets are no labels.
    """
    function, inputs, targets = function_of(landscape, point, buffers)
    space, size = Space.of(within), landscape._batch_size
    found = against(function, inputs, targets, attack, within=space, batch_size=size, stop=True)
    if found.by_restart is None:
        raise BadInput("Robust accuracy is a share of right labels, and these targets are no labels: use perturb.")
    one = replace(attack, steps=1, step=None, start="centre", restarts=1, objective="loss")
    single = against(function, inputs, targets, one, within=space, batch_size=size, stop=True)
    right = found.accuracy
    return Robustness(
        clean=found.clean_accuracy,
        random=_random(function, inputs, targets, attack, space, size),
        one_step=single.accuracy,
        accuracy=right,
        by_restart=found.by_restart,
        standard_error=math.sqrt(right * (1 - right) / len(inputs)),
        samples=len(inputs),
        attack=attack,
        gradients=found.gradients + single.gradients,
    )


def _random(function: Any, inputs: Tensor, targets: Tensor, attack: Attack, space: Space, size: int) -> float:
    """Accuracy under the worst of some random changes."""
    still = replace(attack, steps=1, step=0.0)  # one step of no length: the start, brought within the bounds
    right = 0
    for first in range(0, len(inputs), size):
        x, y = inputs[first : first + size], targets[first : first + size]
        with torch.no_grad():
            gone = lost(function(x), y)
            assert gone is not None
            for restart in range(attack.restarts):
                start = random_edge(x, attack, _generator(attack.seed, restart, first))
                more = lost(function(climb(torch.zeros_like, x, still, space, start=start)), y)
                gone = gone if more is None else gone | more
        right += int((~gone).sum())
    return right / len(inputs)
