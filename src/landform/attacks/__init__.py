"""Adversarial examples: the largest loss that small changes of the inputs can give.

`Attack` says what an adversary may do, `Space` in which units and within which bounds; `perturb` attacks a landscape's
samples, `against` any function of inputs (a kernel predictor among them), `robustness` counts what survives, and
`worst_case` is the landscape of the adversarial loss.
"""

from landform.attacks._against import Adversarial, against, perturb
from landform.attacks._attack import Attack
from landform.attacks._climb import climb, random_start
from landform.attacks._input_curvature import InputCurvature, input_curvature
from landform.attacks._robustness import Robustness, robustness
from landform.attacks._space import Space
from landform.attacks._worst_case import worst_case

__all__ = [
    "Adversarial",
    "Attack",
    "InputCurvature",
    "Robustness",
    "Space",
    "against",
    "climb",
    "input_curvature",
    "perturb",
    "random_start",
    "robustness",
    "worst_case",
]
