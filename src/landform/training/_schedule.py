"""Learning rates over a run, as factors of the recipe's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from landform.errors import BadInput

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Constant:
    """The same rate throughout."""

    def factor(self, epoch: Array, epochs: float) -> Array:
        """Factor of the learning rate at each time."""
        return np.ones_like(epoch)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to ``final``: ``final + (1 - final) (1 + cos(pi t / T)) / 2``.

    Attributes:
        final: the factor at the end.
    """

    final: float = 0.0

    def factor(self, epoch: Array, epochs: float) -> Array:
        """Factor of the learning rate at each time."""
        return self.final + (1 - self.final) * 0.5 * (1 + np.cos(np.pi * np.minimum(epoch / epochs, 1.0)))


@dataclass(frozen=True)
class Step:
    """Drops by ``by`` at each of the epochs ``at``.

    Attributes:
        at: when it drops, in epochs; the values between 0 and 1 count as shares of the run if ``share`` is set.
        by: the factor of each drop.
        share: whether ``at`` is in shares of the run instead of epochs.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    by: float = 0.1
    share: bool = True

    def factor(self, epoch: Array, epochs: float) -> Array:
        """Factor of the learning rate at each time."""
        times = np.asarray(self.at) * (epochs if self.share else 1.0)
        return np.asarray(self.by ** (epoch[..., None] >= times).sum(-1), dtype=np.float64)


@dataclass(frozen=True)
class Cyclic:
    """Falls in a line from 1 to ``low`` over each period, and starts again (Izmailov et al. 2018).

    Attributes:
        period: length of a cycle, in epochs.
        low: the factor at the end of a cycle.
    """

    period: float = 5.0
    low: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a cycle without length."""
        if not self.period > 0:
            raise BadInput(f"The period of a cyclic schedule is {self.period}: give a number of epochs above 0.")

    def factor(self, epoch: Array, epochs: float) -> Array:
        """Factor of the learning rate at each time."""
        return 1 - (1 - self.low) * np.mod(epoch, self.period) / self.period


Schedule: TypeAlias = Constant | Cosine | Step | Cyclic
SCHEDULES: dict[str, type[Schedule]] = {"constant": Constant, "cosine": Cosine, "step": Step, "cyclic": Cyclic}


def schedule_named(name: str) -> Schedule:
    """Find a schedule by name, with its default settings.

    Args:
        name: constant, cosine, step or cyclic.

    Returns:
        The schedule.

    Raises:
        BadInput: when there is none of that name.
    """
    if name not in SCHEDULES:
        raise BadInput(f"There is no schedule named {name!r}: give one of {', '.join(SCHEDULES)}.")
    return SCHEDULES[name]()
