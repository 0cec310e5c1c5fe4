"""The options that every data set takes."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

import torch
from torch import Tensor

from landform.data._augment import Augment
from landform.data._labels import balanced
from landform.data._places import Folder
from landform.data._random import seeded
from landform.errors import BadInput


class Common(TypedDict, total=False):
    """Options common to all data sets.

    Attributes:
        only: which classes to keep, in training and test; in this order they are then numbered from 0.
        per_class: how many training samples of each class to keep; all by default.
        fraction: which share of each class's training samples to keep, in (0, 1].
        label_noise: which share of the kept training labels to replace by a wrong class.
        random_labels: whether to draw every training label anew.
        mixup: strength of mixup in training; 0 for none.
        augment: what training does to a batch of images: an `Augment`, the name of a usual one, or its settings.
        seed: decides the subset, the noise and whatever of the set is drawn at random.
        root: the folder with the data sets; None for ``$LANDFORM_DATA``.
    """

    only: Sequence[int] | None
    per_class: int | None
    fraction: float | None
    label_noise: float
    random_labels: bool
    mixup: float
    augment: Augment | str | Mapping[str, Any] | None
    seed: int
    root: Folder | None


@dataclass(frozen=True)
class Options:
    """The common options, checked; see `Common`."""

    only: tuple[int, ...] | None = None
    per_class: int | None = None
    fraction: float | None = None
    label_noise: float = 0.0
    random_labels: bool = False
    mixup: float = 0.0
    augment: Augment | None = None
    seed: int = 0
    root: Folder | None = None

    @classmethod
    def of(cls, loader: Callable[..., Any], given: Mapping[str, Any]) -> Options:
        """Check what was given to a loader beside its own options.

        Args:
            loader: the loader, for its name and its own options.
            given: the rest.

        Returns:
            All common options.

        Raises:
            BadInput: when one is unknown or has an impossible value.
        """
        check_names(loader, given)
        augment = given.get("augment")
        if isinstance(augment, str):
            augment = Augment.named(augment)
        elif isinstance(augment, Mapping):
            if strange := set(augment) - {field.name for field in fields(Augment)}:
                raise BadInput(f"An augmentation has no setting {sorted(strange)[0]!r}: see landform.data.Augment.")
            augment = Augment(**augment)
        elif augment is not None and not isinstance(augment, Augment):
            raise BadInput(f"augment is an Augment or the name of one, not {type(augment).__name__}.")
        only = given.get("only")
        if isinstance(only, Sequence) and not isinstance(only, str):
            only = tuple(only)
        options = cls(**{**given, "augment": augment, "only": only})
        options._check()
        return options

    def _check(self) -> None:
        if self.only is not None:
            if not isinstance(self.only, tuple):
                raise BadInput(f"only is a list of classes, but {self.only!r} was given.")
            for label in self.only:
                whole("a class of only", label, least=0)
            if len(set(self.only)) < max(2, len(self.only)):
                raise BadInput(f"only is {list(self.only)}: give two classes or more, each once.")
        if self.per_class is not None and self.fraction is not None:
            raise BadInput("per_class and fraction both choose a subset: give one of them.")
        if self.per_class is not None:
            whole("per_class", self.per_class, least=1)
        if self.fraction is not None and not 0 < number("fraction", self.fraction) <= 1:
            raise BadInput(f"fraction is a share above 0 and at most 1, but {self.fraction} was given.")
        if not 0 <= number("label_noise", self.label_noise) <= 1:
            raise BadInput(f"label_noise is a share between 0 and 1, but {self.label_noise} was given.")
        if self.random_labels and self.label_noise:
            raise BadInput("random_labels leaves nothing for label_noise to spoil: give one of them.")
        if number("mixup", self.mixup) < 0:
            raise BadInput(f"mixup is a strength of at least 0, but {self.mixup} was given.")
        whole("seed", self.seed, least=None)

    def keep(self, targets: Tensor, classes: int | None) -> Tensor | None:
        """Choose the training samples to keep.

        Args:
            targets: the targets of all of them.
            classes: how many classes there are; None for regression.

        Returns:
            Positions in ascending order, ``[n]``, or None for all.

        Raises:
            BadInput: when the subset cannot be balanced as asked.
        """
        if self.per_class is None and self.fraction is None:
            return None
        if classes is not None and targets.ndim == 1:
            return balanced(targets, self.per_class, self.fraction, classes, self.seed)
        if self.fraction is None:
            raise BadInput(
                "per_class needs one class label for each sample, which this set does not have: give fraction."
            )
        count = max(1, math.floor(self.fraction * len(targets) + 0.5))
        order = torch.randperm(len(targets), generator=seeded("subset", self.seed))
        return order[:count].sort().values

    def to_json(self) -> dict[str, Any]:
        """Say what was asked for, in plain JSON, without the place on disk.

        Returns:
            The options that differ from their defaults, and the seed.
        """
        said: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "root" and (value != field.default or field.name == "seed"):
                plain = list(value) if isinstance(value, tuple) else value
                said[field.name] = plain.to_json() if isinstance(plain, Augment) else plain
        return said


def check_names(loader: Callable[..., Any], given: Iterable[str]) -> None:
    """Refuse options a loader does not know.

    Args:
        loader: the loader.
        given: names of options.

    Raises:
        BadInput: for the first unknown one, with those near it.
    """
    own = own_options(loader)
    for name in given:
        if name not in own and name not in Common.__annotations__:
            known = [*own, *Common.__annotations__]
            raise BadInput(f"{loader.__name__} has no option {name!r}{near(name, known)}.")


def own_options(loader: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """List the options that are a loader's own.

    Args:
        loader: the loader.

    Returns:
        Its parameters by name, without the common ones.
    """
    parameters = inspect.signature(loader).parameters
    return {name: each for name, each in parameters.items() if each.kind is not inspect.Parameter.VAR_KEYWORD}


def near(name: str, known: Iterable[str]) -> str:
    """Continue a sentence with names like a mistaken one.

    Args:
        name: the mistaken name.
        known: the right ones.

    Returns:
        ``": did you mean ...?"``, or all of them where none is near.
    """
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.55)
    if close:
        return f": did you mean {' or '.join(close)}"
    return f": there are {', '.join(names)}"


def whole(name: str, value: object, least: int | None) -> int:
    """Check a count.

    Args:
        name: what the user calls it.
        value: what was given.
        least: the smallest allowed, or None.

    Returns:
        The value.

    Raises:
        BadInput: when it is no whole number or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        what = "a whole number" if least is None else f"a whole number of at least {least}"
        raise BadInput(f"{name} is {what}, but {value!r} was given.")
    return value


def number(name: str, value: object) -> float:
    """Check a finite number.

    Args:
        name: what the user calls it.
        value: what was given.

    Returns:
        The value.

    Raises:
        BadInput: when it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{name} is a finite number, but {value!r} was given.")
    return float(value)
