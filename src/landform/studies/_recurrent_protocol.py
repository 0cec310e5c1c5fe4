"""What is compared in the study of recurrent kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from landform.errors import BadInput
from landform.kernel.infinite import RecurrentNTK

_PLAIN = (
    "sets", "folds", "penalties", "sigma_w", "sigma_b", "sigma_h", "gru_epochs", "gru_rates", "gru_width", "lengths",
    "spreads", "samples", "signal", "informative", "watched", "watched_length", "sequences", "widths", "draws", "seeds",
)  # fmt: skip


@dataclass(frozen=True)
class RecurrentProtocol:
    """What the study of recurrent kernels does.

    Attributes:
        sets: time series of ``$LANDFORM_DATA``; those that are not there are left out.
        folds: of the cross-validation on training data that chooses every setting.
        penalties: values of C of the support vector machine.
        sigma_w: of the recurrent kernels to choose from.
        sigma_b: likewise.
        sigma_h: likewise.
        gru_epochs: how long a GRU is trained; 0 leaves it out.
        gru_rates: learning rates to choose from, on a fifth of the training data.
        gru_width: length of its state.
        lengths: mean length of the made sequences.
        spreads: half of the range of their lengths, as shares of the mean.
        samples: made sequences for training, and as many for testing.
        signal: how much the classes differ at each informative step, in deviations of the noise.
        informative: how many steps tell the class, the first or the last.
        watched: values of sigma_w for which the weight of every time step is looked at.
        watched_length: steps of the sequences that this is looked at on.
        sequences: how many of them.
        widths: two of finite networks, the second larger, for the extrapolation to infinity.
        draws: networks drawn of each width.
        seeds: of folds, GRUs, made sequences and drawn networks.
    """

    sets: tuple[str, ...]
    folds: int = 10
    penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    sigma_w: tuple[float, ...] = (1.34, 1.37, math.sqrt(2), 1.44, 1.47)
    sigma_b: tuple[float, ...] = (0.0, 0.1, 0.5)
    sigma_h: tuple[float, ...] = (0.0, 0.5)
    gru_epochs: float = 40.0
    gru_rates: tuple[float, ...] = (3e-3, 1e-2)
    gru_width: int = 32
    lengths: int = 40
    spreads: tuple[float, ...] = (0.0, 0.25, 0.5)
    samples: int = 100
    signal: float = 0.8
    informative: int = 6
    watched: tuple[float, ...] = (1.0, 1.2, math.sqrt(2), 1.6, 2.0)
    watched_length: int = 30
    sequences: int = 20
    widths: tuple[int, int] = (64, 256)
    draws: tuple[int, int] = (4000, 1500)
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.folds < 2 or self.samples < 10:
            raise BadInput("Give at least one seed, two folds, and ten made sequences.")
        if not 0 < 2 * self.informative < self.lengths * (1 - max(self.spreads)):
            raise BadInput("Informative steps are less than half of the shortest made sequence: give fewer of them.")
        if self.widths[0] >= self.widths[1]:
            raise BadInput("The extrapolation takes two widths, the second larger than the first.")

    def kernels(self) -> Iterator[RecurrentNTK]:
        """The recurrent kernels to choose from."""
        for w, b, h in itertools.product(self.sigma_w, self.sigma_b, self.sigma_h):
            yield RecurrentNTK(sigma_w=w, sigma_b=b, sigma_h=h)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        told = {name: getattr(self, name) for name in _PLAIN}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> RecurrentProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(**plain)
