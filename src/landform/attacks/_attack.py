"""What an adversary may do to an input, and how it looks for the worst of it, in one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypeAlias

from landform.errors import BadInput

Norm: TypeAlias = Literal["linf", "l2"]
Objective: TypeAlias = Literal["loss", "margin"]

# Steps of a climb together are so much longer than the radius (Madry et al. 2018), so that it can go along the surface.
_REACH = 2.5


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent within a ball around each input (Madry et al. 2018); one step of it is FGSM.

    Attributes:
        norm: of the ball: ``"linf"``, each number by itself, or ``"l2"``, all of an input together.
        eps: its radius, in the units of a `Space`.
        steps: gradient steps.
        step: their length; None takes ``2.5 eps / steps``, and ``eps`` for a single step.
        start: ``"random"`` begins anywhere in the ball, ``"centre"`` at the input itself.
        restarts: how often it begins anew; each goes by a random start of its own, and the worst of all counts.
        objective: what is climbed: the ``"loss"``, or the ``"margin"`` of the best wrong class over the right one
            (Carlini & Wagner 2017), which does not flatten where the loss does; or several, which restarts take in
            turn.
        seed: of the random starts.
    """

    norm: Norm = "linf"
    eps: float = 0.1
    steps: int = 10
    step: float | None = None
    start: Literal["random", "centre"] = "random"
    restarts: int = 1
    objective: Objective | tuple[Objective, ...] = "loss"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be, by name."""
        if isinstance(self.objective, list):
            object.__setattr__(self, "objective", tuple(self.objective))
        checks = {
            "norm": self.norm in ("linf", "l2"),
            "eps": 0 <= self.eps < math.inf,
            "steps": isinstance(self.steps, int) and self.steps >= 1,
            "step": self.step is None or 0 <= self.step < math.inf,
            "start": self.start in ("random", "centre"),
            "restarts": isinstance(self.restarts, int) and self.restarts >= 1,
            "objective": bool(self.objectives) and set(self.objectives) <= {"loss", "margin"},
        }
        for name, fine in checks.items():
            if not fine:
                raise BadInput(f"The {name} of an attack cannot be {getattr(self, name)!r}: see lf.attacks.Attack.")
        if self.restarts > 1 and self.start == "centre" and self.restarts > len(self.objectives):
            raise BadInput("Restarts from the centre would all be the same: give start='random', or restarts=1.")

    @classmethod
    def fgsm(cls, eps: float, norm: Norm = "linf") -> Self:
        """One step of the full length from the input itself (Goodfellow et al. 2015).

        Args:
            eps: the radius.
            norm: of the ball.

        Returns:
            The attack.
        """
        return cls(norm, eps, steps=1, start="centre")

    @classmethod
    def strong(cls, eps: float, norm: Norm = "linf", *, steps: int = 40, restarts: int = 6) -> Self:
        """Many steps and restarts, by loss and by margin in turn: what robust accuracy is to be measured with.

        Args:
            eps: the radius.
            norm: of the ball.
            steps: of each restart.
            restarts: how many.

        Returns:
            The attack.
        """
        return cls(norm, eps, steps, restarts=restarts, objective=("loss", "margin"))

    @property
    def length(self) -> float:
        """Length of a step."""
        if self.step is not None:
            return self.step
        return self.eps if self.steps == 1 else _REACH * self.eps / self.steps

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is climbed, in turn."""
        return (self.objective,) if isinstance(self.objective, str) else self.objective

    def __str__(self) -> str:
        what = "FGSM" if self.steps == 1 and self.start == "centre" else f"PGD of {self.steps} steps"
        more = f", {self.restarts} restarts" if self.restarts > 1 else ""
        return f"{what} within {'Linf' if self.norm == 'linf' else 'L2'} {self.eps:.3g}{more}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "objective": list(self.objectives)}

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Args:
            described: plain values.

        Returns:
            The attack.

        Raises:
            BadInput: when it is no description of one.
        """
        try:
            plain = {field.name: described[field.name] for field in fields(cls)}
            several = [plain["objective"]] if isinstance(plain["objective"], str) else plain["objective"]
            plain["objective"] = several[0] if len(several) == 1 else tuple(several)
            return cls(**plain)
        except (KeyError, TypeError, IndexError) as why:
            raise BadInput(f"This is not the description of an attack ({why}).") from None
