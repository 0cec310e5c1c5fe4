"""Gauss-Newton and everything else of the form J' C J, with C acting on the outputs of each sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.operators._batched import DEFAULT_MEMORY, Batched, Directions
from landform.operators._convolution import Wanted
from landform.operators._ground import Ground


@dataclass(frozen=True)
class Linear:
    """The outputs of a batch as a linear function of the parameters, at a point.

    Attributes:
        outputs: with their graph to the leaves, ``[B, ...]``.
        cotangent: a stand-in u, of the same shape.
        pulled: J'u by leaf, with its graph to u; it is linear in u, so that its derivative by u along v is J v.
    """

    outputs: Tensor
    cotangent: Tensor
    pulled: Mapping[str, Tensor]


def linearise(outputs: Any, leaves: Mapping[str, Tensor]) -> Linear:
    """Record what J v and J'u of a batch need.

    Args:
        outputs: the model's outputs, with their graph.
        leaves: what to differentiate by.

    Returns:
        The record.

    Raises:
        BadInput: when the outputs are not one tensor.
    """
    if not isinstance(outputs, Tensor):
        raise BadInput(
            f"The model's outputs are a {type(outputs).__name__}, and a Jacobian is of one tensor: give forward= that "
            "returns it."
        )
    cotangent = torch.zeros_like(outputs).requires_grad_()
    if not outputs.requires_grad:
        return Linear(outputs, cotangent, {})
    grads = torch.autograd.grad(outputs, list(leaves.values()), cotangent, create_graph=True, allow_unused=True)
    pulled = {n: g for n, g in zip(leaves, grads, strict=True) if g is not None and g.requires_grad}
    return Linear(outputs, cotangent, pulled)


def push(records: Sequence[Linear], directions: Directions, wanted: Wanted) -> list[Tensor]:
    """J v, by differentiating J'u by u: right wherever reverse mode is, which forward mode is not.

    Args:
        records: recorded batches.
        directions: v, as a tensor for each of some leaves.
        wanted: told that nothing else is.

    Returns:
        For each batch, of the shape of its outputs.
    """
    roots = [(r.pulled[name], v) for r in records for name, v in directions.items() if name in r.pulled]
    inputs = [r.cotangent for r in records]
    if not roots:
        return [torch.zeros_like(u) for u in inputs]
    outputs, seeds = zip(*roots, strict=True)
    with wanted.only_tangent():
        return list(
            torch.autograd.grad(outputs, inputs, seeds, retain_graph=True, allow_unused=True, materialize_grads=True)
        )


def pull(records: Sequence[Linear], cotangents: Sequence[Tensor], leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    """The sum over batches of J'u.

    Args:
        records: recorded batches.
        cotangents: u of each, of the shape of its outputs.
        leaves: what to differentiate by.

    Returns:
        A tensor for each leaf.
    """
    live = [(r.outputs, u) for r, u in zip(records, cotangents, strict=True) if r.outputs.requires_grad]
    if not live:
        return [torch.zeros_like(leaf) for leaf in leaves]
    outputs, seeds = zip(*live, strict=True)
    return torch.autograd.grad(outputs, leaves, seeds, retain_graph=True, allow_unused=True, materialize_grads=True)


@dataclass(frozen=True)
class Curved:
    """A linearised batch, and what lies between J and J'.

    Attributes:
        linear: the batch.
        curve: C of the whole batch, summed and not averaged over samples; outputs-shaped to outputs-shaped.
    """

    linear: Linear
    curve: Callable[[Tensor], Tensor]


class OuterProducts(Batched[Curved]):
    """J' C J: J v by a second reverse pass over the graph of J'u, then J' of C of it."""

    _positive = True

    @abstractmethod
    def _curve(self, outputs: Tensor, targets: Any, number: int) -> Callable[[Tensor], Tensor]:
        """What C is for one batch.

        Args:
            outputs: cut off from the model.
            targets: the batch's targets.
            number: which batch it is.

        Returns:
            C.
        """

    def _record(self, outputs: Any, targets: Any, number: int) -> Curved:
        linear = linearise(outputs, self._leaves)
        return Curved(linear, self._curve(outputs.detach(), targets, number))

    def _through(self, graphs: Sequence[Curved], directions: Directions) -> Sequence[Tensor]:
        records = [graph.linear for graph in graphs]
        tangents = push(records, directions, self._wanted)
        cotangents = [graph.curve(t) for graph, t in zip(graphs, tangents, strict=True)]
        return pull(records, cotangents, [self._leaves[name] for name in directions])


class GaussNewton(OuterProducts):
    """J' H_L J, with H_L the Hessian of the loss by the outputs."""

    def _curve(self, outputs: Tensor, targets: Any, number: int) -> Callable[[Tensor], Tensor]:
        z = outputs.requires_grad_()
        value = self._ground.loss(z, targets).reshape(()) * self._ground.samples(targets)
        slope: Tensor | None = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value, z, create_graph=True)
        if slope is None or not slope.requires_grad:  # a loss linear in the outputs
            return torch.zeros_like
        fixed = slope

        def curve(tangent: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(fixed, z, tangent, retain_graph=True, materialize_grads=True)
            return found

        return curve


def gauss_newton(ground: Ground, *, memory: float = DEFAULT_MEMORY, check: bool = True) -> GaussNewton:
    """Make the Gauss-Newton matrix of the mean loss, weight decay included, at a point.

    A product costs about 1.2 gradients where graphs are kept, and one more where they are not.

    Args:
        ground: the point, the batches, the loss.
        memory: bytes that the graphs kept between products may take.
        check: whether to try that products are symmetric and positive, by two of them.

    Returns:
        The operator.
    """
    return GaussNewton(ground, name="Gauss-Newton", memory=memory, decay=ground.weight_decay, check=check)
