"""What a method of merging is: how the tensors of several sources become one.

A method sees one tensor at a time, of every source together, so that the same code merges points in memory and files
that are larger than memory. What it has to know of the whole before (norms, inner products, thresholds) it gathers in
passes of their own, over each tensor alone (``per="tensor"``) or over the whole point (``per="point"``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor

from landform.merging._joint import Data

Per: TypeAlias = Literal["point", "tensor"]


@dataclass(frozen=True)
class Part:
    """One tensor of every source.

    Attributes:
        name: of the parameter.
        sources: ``[n, *shape]``, float32 or float64.
        base: of the base, ``[*shape]``, or None where there is none.
        start: where it begins in its tensor, counted in numbers: large tensors of files come in blocks, as ``[n, m]``.
    """

    name: str
    sources: Tensor
    base: Tensor | None = None
    start: int = 0

    @property
    def deltas(self) -> Tensor:
        """Task vectors ``theta_i - theta_base``, ``[n, *shape]``; the sources themselves where there is no base."""
        return self.sources if self.base is None else self.sources - self.base


class Parts(Protocol):
    """The parts of sources, to be gone through as often as a method has to, in the same order each time."""

    def __iter__(self) -> Iterator[Part]:
        """The parts, one at a time; only one is held."""


@dataclass(frozen=True)
class Asked:
    """What a user asked of a method.

    Attributes:
        count: of sources.
        weights: of the sources, as given; ones where none were.
        settings: of the method, every one of its settings with its value.
        per: over what a method gathers what it has to know.
        seed: of what is drawn at random; a tensor's draws follow from the seed, its name and the source alone.
        names: of the sources, as messages call them.
        based: whether there is a base.
    """

    count: int
    weights: tuple[float, ...]
    settings: Mapping[str, Any]
    per: Per = "point"
    seed: int = 0
    names: tuple[str, ...] = ()
    based: bool = False

    def each(self, name: str) -> tuple[float, ...]:
        """A setting that may differ from source to source.

        Args:
            name: of the setting.

        Returns:
            Its value for each source, ``[n]``.
        """
        value = self.settings[name]
        return tuple(value) if isinstance(value, tuple) else (value,) * self.count


@dataclass(frozen=True)
class Setting:
    """A number or word that changes a method.

    Attributes:
        default: its value if not given.
        doc: what it does, in a line.
        wrong: what to give instead of a value, or "" where nothing is wrong with it.
        each: whether it may be a value for each source, as a sequence.
    """

    default: Any
    doc: str
    wrong: Callable[[Any], str] = field(default=lambda value: "", repr=False)
    each: bool = False


@dataclass(frozen=True)
class Whole:
    """What a method that looks at data made of points.

    Attributes:
        point: the merged point, ``[P]``.
        facts: what else is worth knowing, such as the members of a soup.
        buffers: of the merged point, if it has any of its own.
    """

    point: Tensor
    facts: Mapping[str, Any] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way of making one point out of several.

    A method that needs no data has ``part``, and ``gather`` if it must know something of the whole first; one that
    looks at data has ``whole``.

    Attributes:
        name: what users call it.
        doc: what it does, in a line.
        paper: where it is from.
        base: whether it needs a base.
        settings: what changes it, by name.
        part: the merged tensor ``[*shape]`` of a part, given what was gathered (None if nothing was).
        gather: what has to be known of parts before: of one part with ``per="tensor"``, of all with ``per="point"``.
        whole: the merged point of points ``[n, P]`` and a base ``[P]`` or None, on a landscape or on one for each task.
        tell: what of the gathered is worth knowing, as facts.
        wrong: a sentence on what is wrong with what was asked as a whole, or "".
        per: over what it gathers unless asked otherwise: as its paper does.
        weighted: whether it takes weights.
        least: the fewest sources it works on; None stands for one where it needs a base and two where not.
        most: the most sources, or None for any number.
        also: other names it goes by.
        blocks: how a large tensor of a file may be cut for ``part`` (what it needs of the whole was gathered) and for
            ``gather`` (which gets the pieces as parts of one name): between any ``"numbers"``, and is flat then;
            between ``"rows"``, along its first axis; or not at all, ``"whole"``.
    """

    name: str
    doc: str
    paper: str
    base: bool = False
    settings: Mapping[str, Setting] = field(default_factory=dict)
    part: Callable[[Part, Any, Asked], Tensor] | None = None
    gather: Callable[[Parts, Asked], Any] | None = None
    whole: Callable[[Data, Tensor, Tensor | None, Asked], Whole] | None = None
    tell: Callable[[Any, Asked], Mapping[str, Any]] = field(default=lambda known, asked: {}, repr=False)
    wrong: Callable[[Asked], str] = field(default=lambda asked: "", repr=False)
    per: Per = "point"
    weighted: bool = True
    least: int | None = None
    most: int | None = None
    also: tuple[str, ...] = ()
    blocks: Literal["numbers", "rows", "whole"] = "numbers"
