"""What of a machine is free: cores, GPUs and memory, taken and given back by units."""

from __future__ import annotations

import os

import torch

from landform.engine._unit import Needs

# Shares of a GPU are added and taken away: what is left of one is a sum of such.
_SLACK = 1e-6


class Room:
    """Cores, GPUs and memory of this machine that no unit has taken."""

    def __init__(self, cpus: float) -> None:
        """Begin with everything free.

        Args:
            cpus: how many units of one core may run at a time.
        """
        self.cpus = self._cpus = cpus
        self.gpus = [1.0] * torch.cuda.device_count()
        self.memory = self._memory = _memory()

    def refusal(self, needs: Needs) -> str | None:
        """Say why a unit can never run here, or None where it can.

        Args:
            needs: what it needs.

        Returns:
            The reason.
        """
        if needs.gpus > len(self.gpus):
            return f"it needs {needs.gpus:g} GPUs, and this machine has {len(self.gpus)}"
        if needs.memory > self._memory:
            return f"it needs {needs.memory / 1e9:.3g} GB of memory, and this machine has {self._memory / 1e9:.3g} GB"
        return None

    def take(self, needs: Needs) -> tuple[int, ...] | None:
        """Take what a unit needs.

        Args:
            needs: what it needs.

        Returns:
            Numbers of its GPUs, or None where there is not enough free.
        """
        cpus = min(needs.cpus, self._cpus)
        if cpus > self.cpus + _SLACK or needs.memory > self.memory:
            return None
        chosen = self._choose(needs.gpus)
        if chosen is None:
            return None
        self._move(needs, chosen, -1)
        return chosen

    def give(self, needs: Needs, gpus: tuple[int, ...]) -> None:
        """Give back what a unit had.

        Args:
            needs: what it needed.
            gpus: numbers of its GPUs.
        """
        self._move(needs, gpus, 1)

    def _choose(self, wanted: float) -> tuple[int, ...] | None:
        if not wanted:
            return ()
        if wanted < 1:  # the fullest that still has room
            fitting = [k for k, free in enumerate(self.gpus) if free + _SLACK >= wanted]
            return (min(fitting, key=lambda k: self.gpus[k]),) if fitting else None
        whole = [k for k, free in enumerate(self.gpus) if free > 1 - _SLACK]
        count = -int(-wanted // 1)
        return tuple(whole[:count]) if len(whole) >= count else None

    def _move(self, needs: Needs, gpus: tuple[int, ...], sign: int) -> None:
        self.cpus += sign * min(needs.cpus, self._cpus)
        self.memory += sign * needs.memory
        for k in gpus:
            self.gpus[k] += sign * min(needs.gpus, 1.0)


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        return float("inf")
