"""How concentrated the softmax of Gaussian logits is."""

from __future__ import annotations

import math

import numpy as np
from scipy import signal

from landform.errors import BadInput


def participation(classes: int, sigma_z: float) -> float:
    """``E sum_k p_k^2`` for p the softmax of C independent normal logits.

    With Z the sum of ``exp(z_k)``, ``1 / Z^2 = int s exp(-s Z) ds`` makes the classes independent: with ``s = e^u``,
    ``C int du E[w^2 exp(-w)] E[exp(-w)]^(C - 1)``, ``w = exp(u + z)``. Expectations are convolutions with a Gaussian.

    Args:
        classes: C.
        sigma_z: standard deviation of the logits.

    Returns:
        A number from 1 / C (no spread) to 1.

    Raises:
        BadInput: when there are no classes, or the deviation is negative.
    """
    if classes < 1 or not 0 <= sigma_z < math.inf:
        raise BadInput(f"There is no softmax of {classes} logits of standard deviation {sigma_z}.")
    if sigma_z < 1e-6:
        return 1 / classes
    step = min(0.05, sigma_z / 8)
    reach = math.ceil(9 * sigma_z / step)
    far = math.ceil((9 * sigma_z + 45) / step)
    v = step * np.arange(-far - reach, far + reach + 1)
    w = np.exp(np.minimum(v, 300))
    bell = np.exp(-0.5 * (step * np.arange(-reach, reach + 1) / sigma_z) ** 2)
    bell /= bell.sum()
    first = signal.fftconvolve(w**2 * np.exp(-w), bell, mode="valid")
    rest = np.clip(signal.fftconvolve(np.exp(-w), bell, mode="valid"), 0, 1)
    return float(min(1.0, classes * step * (first * rest ** (classes - 1)).sum()))


def freezing(classes: int) -> float:
    """Standard deviation of the logits at which the softmax freezes onto few classes, ``sqrt(2 ln C)``.

    It is the transition of Derrida's random energy model (1980), sharp for many classes only.

    Args:
        classes: C.

    Returns:
        The deviation.
    """
    return math.sqrt(2 * math.log(classes))
