"""What the model predicts without drawing a gradient: bulk, outliers, the transition between them, confinement.

Coordinate by coordinate, the N C logit gradients are Gaussian numbers of covariance ``Omega / D``, where
``Omega = sigma_e^2 + F F.T`` and F holds what inputs share. So G is a sample covariance matrix,
``G = Z.T Sigma Z / (N D)`` with Z of independent standard normal numbers and ``Sigma = Omega^(1/2) T Omega^(1/2)``,
where T has one block ``S = diag(p) - p p.T`` for each input. The eigenvalues ``sigma_e^2 t`` of the blocks make the
bulk (Marchenko & Pastur 1967; Silverstein 1995), those of Sigma beyond them, its spikes, the outliers (Baik, Ben Arous
& Péché 2005; Bai & Yao 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from landform.theory.logits._blocks import Blocks
from landform.theory.logits._model import LogitModel, probabilities_of

Numbers = NDArray[np.float64]

# Into how many atoms the bulk's population eigenvalues are put for its density; edges are found with all of them.
_ATOMS = 256


@dataclass(frozen=True)
class LogitPrediction:
    """What a model predicts for some logits.

    Attributes:
        model: the model.
        population: eigenvalues of Sigma that come from the inputs' own parts, ``sigma_e^2 t``, descending, ``[N C]``.
        spikes: eigenvalues of Sigma beyond those, descending, ``[r]``; at most C - 1, or C^2 - 1 with a class part.
        edge: where the bulk of G ends.
        outliers: eigenvalues of G beyond it, descending, one for each spike that is past the transition. Nearly equal
            spikes, as those of the means are, repel each other in a draw: their mean is what this predicts best.
        shares: how much of an outlier's eigenvector lies along its spike's own direction: near 1 far from the
            transition, 0 at it.
        inside: expected share of the gradient along each outlier's eigenvector, ``[r']``.
        critical: length sigma_c of the mean gradients at which the first outlier leaves the bulk, all else as it is,
            for a model without a class part; nan with one.
        trace: expected Tr G.
        frobenius: root of the expected ``||G||_F^2``.
    """

    model: LogitModel
    population: Numbers = field(repr=False)
    spikes: Numbers
    edge: float
    outliers: Numbers
    shares: Numbers
    inside: Numbers
    critical: float
    trace: float
    frobenius: float

    @property
    def ratio(self) -> float:
        """``Tr G / ||G||_F``."""
        return self.trace / self.frobenius

    def confinement(self, k: int | None = None) -> float:
        """Expected share of the gradient in the top eigenvectors.

        Args:
            k: how many; C by default.

        Returns:
            What lies in the outliers among them, and k / D of the rest.
        """
        most = self.model.classes if k is None else k
        outliers = float(self.inside[:most].sum())
        return outliers + (1 - outliers) * min(1.0, most / self.model.dimension)

    def density(self, grid: Numbers) -> Numbers:
        """Density of the eigenvalues of G in the bulk, over all D of them; those that are exactly zero are left out.

        Solves Silverstein's equation ``x = -1/m + (1/D) sum t / (1 + t m)`` for m with Im m > 0 at each place.

        Args:
            grid: where, above 0, ``[g]``.

        Returns:
            ``[g]``; the integral is the share of the eigenvalues that are not zero.
        """
        model = self.model
        t = self.population[self.population > 1e-12 * self.population[0]][::-1]
        if not len(t):
            return np.zeros(len(grid))
        parts = np.array_split(t, min(_ATOMS, len(t)))
        atoms = np.array([part.mean() for part in parts])
        weights = np.array([len(part) for part in parts]) / model.dimension
        x = np.asarray(grid, dtype=np.float64) * model.samples
        scale = float(atoms @ weights)
        m = np.full(len(x), 1j / scale)
        for _ in range(400):
            z = x + 1e-2j * scale
            m = 0.5 * m - 0.5 / (z - (weights * atoms / (1 + atoms * m[:, None])).sum(1))
        for imaginary in np.geomspace(1e-2, 1e-7, 16) * scale:
            for _ in range(6):
                inside = 1 + atoms * m[:, None]
                wrong = x + 1j * imaginary + 1 / m - (weights * atoms / inside).sum(1)
                slope = -1 / m**2 + (weights * atoms**2 / inside**2).sum(1)
                new = m - wrong / slope
                m = np.where((new.imag > 0) & (slope != 0), new, m)
        return np.asarray(m.imag / np.pi * model.samples)


def predict(
    model: LogitModel, seed: int = 0, *, logits: Tensor | None = None, labels: Tensor | None = None
) -> LogitPrediction:
    """Predict for the logits and labels that ``model.draw(seed)`` has, or for given ones.

    Args:
        model: the model.
        seed: of the logits and labels.
        logits: ``[N, C]`` to be taken in their place.
        labels: ``[N]``.

    Returns:
        The prediction.
    """
    p, y = probabilities_of(model, seed, logits, labels)
    blocks = Blocks.of(model, p, y)
    population = blocks.population
    above = _transition(population, model.dimension)
    spikes, overlaps = blocks.spikes()
    past = spikes > above
    moved = np.array([_moved(spike, population, model.dimension) for spike in spikes[past]]).reshape(-1, 2)
    # Moments of a sample covariance matrix: E tr W = tr Sigma, E tr W^2 = (1 + 1/D) tr Sigma^2 + (tr Sigma)^2 / D.
    first, second = blocks.moments()
    square = (1 + 1 / model.dimension) * second + first**2 / model.dimension
    return LogitPrediction(
        model=model,
        population=population,
        spikes=spikes,
        edge=_moved(above, population, model.dimension)[0] / model.samples,
        outliers=moved[:, 0] / model.samples,
        shares=moved[:, 1],
        inside=moved[:, 1] * overlaps[past],
        critical=blocks.critical(above),
        trace=first / model.samples,
        frobenius=math.sqrt(square) / model.samples,
    )


def _moved(spike: float, population: Numbers, dimension: int) -> tuple[float, float]:
    """Where a spike a comes to lie, ``psi(a) = a (1 + (1/D) sum t / (a - t))``, and its share ``psi'(a)`` there."""
    if spike <= 0:
        return 0.0, 0.0
    gaps = spike - population
    place = spike * (1 + float((population / gaps).sum()) / dimension)
    return place, 1 - float(((population / gaps) ** 2).sum()) / dimension


def _transition(population: Numbers, dimension: int) -> float:
    """The spike at which psi' = 0: smaller ones stay in the bulk."""
    top = float(population[0])
    if top <= 0:
        return 0.0
    low, high = top * (1 + 1e-9), top * (2 + math.sqrt(len(population) / dimension))

    def slope(spike: float) -> float:
        return _moved(spike, population, dimension)[1]

    return float(optimize.brentq(slope, low, high)) if slope(low) < 0 < slope(high) else high
