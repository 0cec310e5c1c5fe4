"""How a model is trained, in one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np

from landform.attacks import Attack
from landform.errors import BadInput
from landform.training._schedule import SCHEDULES, Array, Constant, Schedule, schedule_named
from landform.training._settings import (
    BELOW_ONE,
    COUNT,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    SHARE,
    Fits,
    check,
    one_of,
)

# What all members of a stack must share; everything else may differ from one to the next.
SHARED = ("epochs", "batch_size", "optimizer", "nesterov", "betas", "eps", "label_smoothing", "mixup", "precision",
          "adversary", "adversarial")  # fmt: skip
_FITS: Mapping[str, Fits] = {
    "epochs": POSITIVE,
    "batch_size": COUNT,
    "optimizer": one_of("sgd", "adam", "adamw"),
    "lr": NOT_NEGATIVE,
    "momentum": BELOW_ONE,
    "betas": (lambda betas: len(betas) == 2 and all(0 <= beta < 1 for beta in betas), "two numbers in [0, 1)"),
    "eps": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "schedule": (lambda schedule: isinstance(schedule, tuple(SCHEDULES.values())), "a schedule, or the name of one"),
    "warmup": NOT_NEGATIVE,
    "label_smoothing": BELOW_ONE,
    "label_noise": SHARE,
    "mixup": (lambda mixup: mixup is None or 0 <= mixup < math.inf, "0 or a number above, or None"),
    "seed": (lambda seed: isinstance(seed, int), "a whole number"),
    "label_seed": (lambda seed: seed is None or isinstance(seed, int), "a whole number, or None"),
    "precision": one_of("full", "bfloat16"),
    "adversary": (
        lambda adversary: adversary is None or isinstance(adversary, Attack),
        "an lf.attacks.Attack, or None",
    ),
    "adversarial": PART,
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        epochs: how long; may be a fraction.
        batch_size: samples a step; the last batch of an epoch may be smaller.
        optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``, each as torch's optimiser of that name.
        lr: the learning rate that the schedule multiplies.
        momentum: of SGD.
        nesterov: whether SGD looks ahead.
        betas: of Adam.
        eps: of Adam.
        weight_decay: added to the gradient as ``weight_decay * point`` (decoupled for ``"adamw"``).
        schedule: `Constant`, `Cosine`, `Step` or `Cyclic`, or a name for one with its default settings.
        warmup: epochs over which the rate rises in a line from zero.
        label_smoothing: share of each label spread over all classes (cross-entropy only).
        label_noise: share of training labels replaced by other ones, drawn once from the seed.
        mixup: strength of mixup, 0 for none; None takes the data set's own setting.
        seed: decides the order of the data, augmentation, dropout and label noise; not the initial point.
        label_seed: decides label noise in its place, so that runs can share their wrong labels; None takes ``seed``.
        precision: ``"bfloat16"`` multiplies matrices and convolves in bfloat16 (autocast); weights, gradients, losses
            and the optimiser stay in the type the model is trained in, and so does all that is measured later.
        adversary: moves the inputs of every batch where the loss is higher; None leaves them.
        adversarial: share of the loss that is taken at the moved inputs.
    """

    epochs: float = 10.0
    batch_size: int = 128
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    schedule: Schedule | str = field(default_factory=Constant)
    warmup: float = 0.0
    label_smoothing: float = 0.0
    label_noise: float = 0.0
    mixup: float | None = None
    seed: int = 0
    label_seed: int | None = None
    precision: Literal["full", "bfloat16"] = "full"
    adversary: Attack | None = None
    adversarial: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be, by name."""
        if isinstance(self.schedule, str):
            object.__setattr__(self, "schedule", schedule_named(self.schedule))
        if isinstance(self.betas, Sequence):
            object.__setattr__(self, "betas", tuple(self.betas))
        check("recipe", self, _FITS)
        if self.nesterov and not self.momentum > 0:
            raise BadInput("The recipe's nesterov cannot be True without momentum: give a momentum above 0.")
        if self.adversary is not None and (self.adversary.restarts > 1 or self.adversary.objectives != ("loss",)):
            raise BadInput("An adversary in training climbs the loss once: give restarts=1 and objective='loss'.")

    def steps(self, samples: int) -> int:
        """How many steps the training takes on a set of that many samples."""
        return max(1, round(self.epochs * self.steps_per_epoch(samples)))

    def steps_per_epoch(self, samples: int) -> int:
        """How many steps an epoch takes on a set of that many samples."""
        return -(-samples // self.batch_size)

    def rates(self, steps: Sequence[int] | Array, per_epoch: int) -> Array:
        """The learning rate of each step.

        Args:
            steps: step numbers, from 0.
            per_epoch: steps in an epoch.

        Returns:
            One rate for each.
        """
        assert not isinstance(self.schedule, str)
        epoch = np.asarray(steps, dtype=np.float64) / per_epoch
        rates = self.lr * self.schedule.factor(epoch, self.epochs)
        if self.warmup:
            rates = rates * np.minimum((epoch + 1 / per_epoch) / self.warmup, 1.0)
        return np.asarray(rates, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Describe the recipe in plain values, for ``run.json``."""
        told = {**asdict(self), "schedule": {"name": _name_of(self.schedule), **asdict(self.schedule)}}  # type: ignore[arg-type]
        if self.adversary is None:  # as runs said before there were adversaries
            del told["adversary"], told["adversarial"]
        else:
            told["adversary"] = self.adversary.to_json()
        return told

    @property
    def shared(self) -> dict[str, Any]:
        """What all members of a stack must have in common, in plain values."""
        told = self.to_json()
        return {name: told.get(name) for name in SHARED}

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Args:
            described: plain values.

        Returns:
            The recipe.

        Raises:
            BadInput: when it is not the description of a recipe.
        """
        try:
            plain = dict(described)
            schedule = dict(plain.pop("schedule"))
            kind: Any = SCHEDULES[schedule.pop("name")]
            plain["schedule"] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in schedule.items()})
            plain["betas"] = tuple(plain["betas"])
            plain.setdefault("precision", "full")  # not yet there in older runs
            adversary = plain.get("adversary")
            plain["adversary"] = None if adversary is None else Attack.from_json(adversary)
            plain.setdefault("adversarial", 1.0)
            return cls(**{f.name: plain[f.name] for f in fields(cls)})
        except (KeyError, TypeError, ValueError) as why:
            raise BadInput(f"This is not the description of a recipe ({why}).") from None


def check_stackable(recipes: Sequence[Recipe]) -> None:
    """Refuse recipes that cannot be followed in step.

    Args:
        recipes: the recipes of a stack.

    Raises:
        BadInput: when they differ in a setting that a stack shares; the message names it.
    """
    for name in SHARED:
        values = {getattr(recipe, name) for recipe in recipes}
        if len(values) > 1:
            raise BadInput(
                f"A stack trains in step, so all its recipes share {name}; these have {sorted(map(str, values))}: "
                "train them as separate stacks."
            )


def _name_of(schedule: Schedule | str) -> str:
    return next(name for name, kind in SCHEDULES.items() if isinstance(schedule, kind))
