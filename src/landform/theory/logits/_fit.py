"""Parameters of the model from what is measured in a network."""

from __future__ import annotations

import math

from landform.errors import BadInput
from landform.theory.logits._model import LogitModel


def fit(
    *,
    same_logit_same_class: float,
    same_logit: float,
    different_logit: float,
    sigma_z: float,
    square_length: float,
    dimension: int,
    classes: int,
    samples: int,
    by_class: bool = True,
) -> LogitModel:
    """Find the model that has a network's cosines, logit variance and length of logit gradients.

    With the square length l^2 and classes of one size, ``q_SL = (sigma_c^2 + sigma_class^2 / C) / l^2`` and ``q_SLSC =
    (sigma_c^2 + sigma_class^2) / l^2``. What all logits have in common, q_DL, moves no probability and is taken out.

    Args:
        same_logit_same_class: q_SLSC, as `landform.curvature.logit_cosines` measures it.
        same_logit: q_SL.
        different_logit: q_DL; a negative one, which comes of logits that sum to a constant, counts as 0.
        sigma_z: standard deviation of the logits within an input.
        square_length: mean square length of a logit gradient, ``||J||_F^2 / (N C)``.
        dimension: D, parameters of the network.
        classes: C.
        samples: N.
        by_class: keep the difference of q_SLSC and q_SL, as a part that inputs of one class share; otherwise q_SLSC is
            not used, as in the paper.

    Returns:
        The model.

    Raises:
        BadInput: when the cosines are none, or in an order that no such model has.
    """
    for name, value in (("q_SLSC", same_logit_same_class), ("q_SL", same_logit), ("q_DL", different_logit)):
        if not -1 <= value <= 1:
            raise BadInput(f"{name} is {value!r}: a cosine lies between -1 and 1.")
    if not 0 < square_length < math.inf:
        raise BadInput(f"The mean square length of logit gradients is {square_length!r}: give a number above 0.")
    everywhere = max(0.0, different_logit)
    shared = max(0.0, (same_logit_same_class - same_logit) / (1 - 1 / classes)) if by_class else 0.0
    mean = same_logit - shared / classes - everywhere
    rest = 1 - mean - shared - everywhere
    if mean < 0 or rest < 0:
        raise BadInput(
            f"No such model has q_SLSC {same_logit_same_class:.3g}, q_SL {same_logit:.3g} and q_DL "
            f"{different_logit:.3g}: it needs q_SL above q_DL and q_SLSC / C, and q_SLSC below 1."
        )
    return LogitModel(
        dimension=dimension,
        classes=classes,
        samples=samples,
        sigma_c=math.sqrt(mean * square_length),
        sigma_e=math.sqrt(rest * square_length),
        sigma_z=sigma_z,
        sigma_class=math.sqrt(shared * square_length),
    )
