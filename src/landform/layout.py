"""Which slice of a point is which tensor.

A point is a 1-D tensor ``[P]`` that holds every trainable parameter of a model, in the order and the row-major
layout of ``model.named_parameters()``. A set of points is a matrix ``[n, P]``. A `Layout` gives the way back: views
of a point under the parameters' names, without a copy.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from landform.errors import BadInput

Kind = Literal["dense", "conv", "embedding", "norm", "bias", "other"]


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies in a point.

    Attributes:
        name: its name in ``model.named_parameters()``.
        shape: its shape.
        start: its first position in a point.
        stop: one past its last position.
        kind: what it is: the weight of a dense, convolution, embedding or normalisation layer, a bias, or other.
            The scale and the shift of a normalisation layer are both ``"norm"``.
        filter_axis: which axis counts the filters (0, or 1 for the weight of a transposed convolution).
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int
    kind: Kind = "other"
    filter_axis: int = 0

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return self.stop - self.start


@dataclass(frozen=True)
class Layout:
    """The order of a model's trainable parameters in a point.

    Attributes:
        slots: one for each trainable parameter, in order.
        frozen: names of parameters left out because they do not require a gradient.
        tied: second names of tied parameters, each with the name under which the point holds it (once).
    """

    slots: tuple[Slot, ...]
    frozen: tuple[str, ...] = ()
    tied: Mapping[str, str] | None = None

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Read the layout off a model.

        Args:
            model: any module with at least one parameter that requires a gradient.

        Returns:
            Its layout.

        Raises:
            BadInput: when the model has nothing to train, or parameters a point cannot hold.
        """
        slots: list[Slot] = []
        frozen: list[str] = []
        tied: dict[str, str] = {}
        first_name: dict[int, str] = {}
        start = 0
        for owner_name, owner in model.named_modules(remove_duplicate=False):
            for key, parameter in owner.named_parameters(recurse=False, remove_duplicate=False):
                name = f"{owner_name}.{key}" if owner_name else key
                if id(parameter) in first_name:
                    tied[name] = first_name[id(parameter)]
                    continue
                first_name[id(parameter)] = name
                if not parameter.requires_grad:
                    frozen.append(name)
                    continue
                _check(name, parameter)
                stop = start + parameter.numel()
                kind, axis = _kind(owner, key, parameter)
                slots.append(Slot(name, tuple(parameter.shape), start, stop, kind, axis))
                start = stop
        if not slots:
            why = f" (all {len(frozen)} of its parameters are frozen)" if frozen else ""
            raise BadInput(
                f"{type(model).__name__} has no parameter to train{why}: give a model with at least one parameter "
                "that requires a gradient."
            )
        held = {slot.name for slot in slots}
        return cls(tuple(slots), tuple(frozen), {k: v for k, v in tied.items() if v in held})

    @property
    def size(self) -> int:
        """P, the length of a point."""
        return self.slots[-1].stop

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters a point holds, in order."""
        return tuple(slot.name for slot in self.slots)

    def point(self, model: nn.Module) -> Tensor:
        """Copy a model's trainable parameters into a point.

        Args:
            model: the model this layout was read off, or one of the same shape.

        Returns:
            The point, ``[P]``.
        """
        return self.join({name: p.detach() for name, p in model.named_parameters() if p.requires_grad})

    def views(self, points: Tensor) -> dict[str, Tensor]:
        """See a point as named tensors, without copying.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.

        Returns:
            For each parameter a view of shape ``shape``, or ``[n, *shape]``.
        """
        self.check(points)
        front = points.shape[:-1]
        return {s.name: points[..., s.start : s.stop].view((*front, *s.shape)) for s in self.slots}

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Make a point of named tensors: the inverse of `views`.

        Args:
            tensors: one tensor for each parameter, ``shape`` or ``[n, *shape]``; further names are ignored.

        Returns:
            The point ``[P]`` or the points ``[n, P]``, a copy.

        Raises:
            BadInput: when a parameter is missing or has another shape.
        """
        parts: list[Tensor] = []
        for slot in self.slots:
            tensor = tensors.get(slot.name)
            if tensor is None:
                raise BadInput(f"Parameter {slot.name} is missing: give a tensor for each name of the layout.")
            front = tensor.shape[: tensor.dim() - len(slot.shape)]
            if tuple(tensor.shape[len(front) :]) != slot.shape or len(front) > 1:
                raise BadInput(f"Parameter {slot.name} has shape {tuple(tensor.shape)}, expected {slot.shape}.")
            parts.append(tensor.reshape(*front, slot.size))
        return torch.cat(parts, dim=-1)

    def load_(self, model: nn.Module, point: Tensor) -> None:
        """Write a point into a model's parameters, in place.

        Args:
            model: the model to change.
            point: the point, ``[P]``.

        Raises:
            BadInput: when the model lacks one of the layout's parameters.
        """
        views = self.views(point)
        parameters = dict(model.named_parameters())
        for slot in self.slots:
            if slot.name not in parameters or tuple(parameters[slot.name].shape) != slot.shape:
                raise BadInput(
                    f"{type(model).__name__} has no parameter {slot.name} of shape {slot.shape}: load the point into "
                    "a model built as the layout's."
                )
        with torch.no_grad():
            for name, view in views.items():
                parameters[name].copy_(view)

    def part(self, *patterns: str, kind: Kind | None = None) -> Part:
        """Name a sub-vector of a point: a layer, all biases, all convolution filters.

        Args:
            patterns: names of parameters or of modules, with the wildcards of the shell (``"layers.0"``,
                ``"*.bias"``); none means all.
            kind: only parameters of this kind.

        Returns:
            The part.

        Raises:
            BadInput: when nothing matches.
        """

        def matches(slot: Slot) -> bool:
            named = not patterns or any(
                fnmatch.fnmatchcase(slot.name, p) or fnmatch.fnmatchcase(slot.name, f"{p}.*") for p in patterns
            )
            return named and kind in (None, slot.kind)

        slots = tuple(slot for slot in self.slots if matches(slot))
        if not slots:
            wanted = ", ".join(patterns) or "any name"
            kinds = f" of kind {kind}" if kind else ""
            raise BadInput(f"No parameter{kinds} matches {wanted}: the layout holds {_some(self.names)}.")
        return Part(slots, self.size)

    def filter_norms(self, points: Tensor) -> dict[str, Tensor]:
        """L2 norm of every filter.

        A filter is what makes one output: a row of a dense weight, the kernel of one output channel, the vector of
        one embedded symbol. Biases and normalisation parameters have one filter each, the whole vector.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.

        Returns:
            For each parameter its norms, ``[filters]`` or ``[n, filters]``.
        """
        return {
            slot.name: torch.linalg.vector_norm(_filters(view, slot, points.dim() - 1), dim=-1)
            for slot, view in zip(self.slots, self.views(points).values(), strict=True)
        }

    def filter_normalise(
        self, directions: Tensor, like: Tensor, *, vectors: Literal["zero", "whole", "keep"] = "zero"
    ) -> Tensor:
        """Give every filter of a direction the norm of the same filter of a point (Li et al. 2018, section 4).

        Args:
            directions: ``[P]`` or ``[n, P]``.
            like: the point whose filters set the norms, ``[P]``.
            vectors: what becomes of biases and normalisation parameters: ``"zero"`` (as the authors' code does),
                ``"whole"`` (each vector is one filter) or ``"keep"`` (left as they are).

        Returns:
            The directions, rescaled, in a new tensor.
        """
        self.check(directions)
        result = directions.clone()
        norms = self.filter_norms(like)
        for slot, view in zip(self.slots, self.views(result).values(), strict=True):
            if len(slot.shape) < 2 and vectors == "zero":
                view.zero_()
            elif len(slot.shape) >= 2 or vectors == "whole":
                own = torch.linalg.vector_norm(_filters(view, slot, directions.dim() - 1), dim=-1)
                scale = torch.where(own > 0, norms[slot.name] / own, 0.0)  # a filter of zeros stays one
                axes = [1] * len(slot.shape)
                if len(slot.shape) >= 2:
                    axes[slot.filter_axis] = -1
                view.mul_(scale.reshape(*scale.shape[:-1], *axes))
        return result

    def check(self, points: Tensor) -> None:
        """Refuse what is not a point, or a matrix of points, of this layout.

        Args:
            points: what to look at.

        Raises:
            BadInput: when its shape is not ``[P]`` or ``[n, P]``, or it holds whole numbers.
        """
        if not isinstance(points, Tensor):
            raise BadInput(f"A point is a 1-D tensor of {self.size} numbers; got {type(points).__name__}.")
        if points.dim() not in (1, 2) or points.shape[-1] != self.size:
            raise BadInput(
                f"A point of this model is [{self.size}] and a set of points [n, {self.size}]; "
                f"got a tensor of shape {list(points.shape)}."
            )
        if not points.dtype.is_floating_point:
            raise BadInput(f"A point holds floating-point numbers; got {points.dtype}.")

    def to_json(self) -> dict[str, Any]:
        """Describe the layout in plain lists and strings, for ``run.json``.

        Returns:
            What `from_json` reads.
        """
        return {
            "slots": [asdict(slot) for slot in self.slots],
            "frozen": list(self.frozen),
            "tied": dict(self.tied or {}),
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote.

        Args:
            described: plain lists and strings.

        Returns:
            The layout.

        Raises:
            BadInput: when the description is not one of a layout.
        """
        try:
            slots = tuple(Slot(**{**slot, "shape": tuple(slot["shape"])}) for slot in described["slots"])
            end = 0
            for slot in slots:
                if slot.start != end or slot.size != math.prod(slot.shape) or slot.size < 0:
                    raise ValueError(f"parameter {slot.name} does not follow the one before it")
                end = slot.stop
            if not slots:
                raise ValueError("it holds no parameter")
            return cls(slots, tuple(described["frozen"]), dict(described["tied"]))
        except (KeyError, TypeError, ValueError) as why:
            raise BadInput(f"This is not a description of a layout ({why}).") from None


@dataclass(frozen=True)
class Part:
    """A named sub-vector of a point.

    Attributes:
        slots: the parameters it takes in, in the order of the layout.
        total: P, the length of the whole point.
    """

    slots: tuple[Slot, ...]
    total: int

    @cached_property
    def positions(self) -> Tensor:
        """Positions in a point, ``[p]``."""
        return torch.cat([torch.arange(slot.start, slot.stop) for slot in self.slots])

    @property
    def size(self) -> int:
        """The length p of the sub-vector."""
        return sum(slot.size for slot in self.slots)

    def of(self, points: Tensor) -> Tensor:
        """Take the part out of points: a copy, or a view where the part is one run of positions.

        Args:
            points: ``[P]`` or ``[n, P]``.

        Returns:
            ``[p]`` or ``[n, p]``.
        """
        if all(a.stop == b.start for a, b in zip(self.slots, self.slots[1:], strict=False)):
            return points[..., self.slots[0].start : self.slots[-1].stop]
        return points[..., self.positions.to(points.device)]

    def embed(self, parts: Tensor) -> Tensor:
        """Put sub-vectors where they belong in a point that is zero elsewhere.

        Args:
            parts: ``[p]`` or ``[n, p]``.

        Returns:
            ``[P]`` or ``[n, P]``.
        """
        whole = parts.new_zeros(*parts.shape[:-1], self.total)
        whole[..., self.positions.to(parts.device)] = parts
        return whole


def _filters(view: Tensor, slot: Slot, front: int) -> Tensor:
    """Arrange a parameter ``[*front, *shape]`` as filters ``[*front, filters, rest]``."""
    if len(slot.shape) < 2:
        return view.reshape(*view.shape[:front], 1, -1)
    return view.transpose(front, front + slot.filter_axis).flatten(front + 1)


def _check(name: str, parameter: nn.Parameter) -> None:
    if isinstance(parameter, nn.UninitializedParameter):
        raise BadInput(f"Parameter {name} has no shape yet: run the model once on a batch before measuring it.")
    if not parameter.dtype.is_floating_point:
        raise BadInput(f"Parameter {name} is {parameter.dtype}: a point holds real floating-point numbers only.")


_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def _kind(owner: nn.Module, key: str, parameter: nn.Parameter) -> tuple[Kind, int]:
    """Tell what a parameter is from the module that owns it and from its own name."""
    if isinstance(owner, _NORMS):
        return "norm", 0
    if key.endswith("bias") or key.startswith("bias"):
        return "bias", 0
    if isinstance(owner, nn.modules.conv._ConvNd):
        return "conv", int(bool(owner.transposed))
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return "embedding", 0
    if parameter.dim() == 2:
        return "dense", 0
    return ("conv", 0) if parameter.dim() >= 3 and "conv" in type(owner).__name__.lower() else ("other", 0)


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
