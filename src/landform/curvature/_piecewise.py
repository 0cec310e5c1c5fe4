"""Whether the outputs are piecewise linear in every single parameter, read off the graph that computed them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Linear in what goes through them, whatever the other arguments.
_LINEAR_NAMES = """
    add sub neg mean sum view unsafeview reshapealias t transpose permute expand squeeze unsqueeze select slice split
    splitwithsizes cat stack unbind clone tocopy alias avgpool1d avgpool2d avgpool3d adaptiveavgpool1d
    adaptiveavgpool2d adaptiveavgpool3d mkldnnadaptiveavgpool2d constantpadnd reflectionpad1d reflectionpad2d
    replicationpad1d replicationpad2d embedding index indexselect gather flip roll repeat upsamplenearest2d
    upsamplebilinear2d unfold im2col col2im asstrided contiguous detach flatten unflatten diagonal movedim
"""
# Linear between kinks.
_PIECEWISE_NAMES = """
    relu leakyrelu threshold hardtanh abs maxpool2dwithindices maxpool3dwithindices maxpool1dwithindices
    adaptivemaxpool2d adaptivemaxpool3d max amax min amin maximum minimum clamp clampmin clampmax hardsigmoid where
    topk sort rreluwithnoise
"""
_HARMLESS = frozenset(_LINEAR_NAMES.split()) | frozenset(_PIECEWISE_NAMES.split())
# Linear in each of several factors: (positions of the factors among the inputs). Positions not named are summands.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "mm": (0, 1),
    "bmm": (0, 1),
    "mul": (0, 1),
    "mv": (0, 1),
    "dot": (0, 1),
    "addmm": (1, 2),
    "addmv": (1, 2),
    "addbmm": (1, 2),
    "baddbmm": (1, 2),
    "linear": (0, 1),
    "convolution": (0, 1),
    "mkldnnconvolution": (0, 1),
    "mkldnnlinear": (0, 1),
    "prelukernel": (0, 1),
    "cudnnconvolution": (0, 1),
}


def why_not_piecewise_linear(outputs: Tensor, leaves: Mapping[str, Tensor]) -> str | None:
    """Look for what bends the outputs along a single parameter.

    Between kinks the outputs must be an affine function of every parameter while the others are held. Then the second
    derivative of each output along each parameter is 0, and the traces of the Hessian and of the Gauss-Newton matrix
    agree. Activations such as tanh, normalisation layers and softmax bend; so does a parameter that meets itself in a
    product, as shared weights of a recurrent network do.

    Args:
        outputs: outputs with their graph.
        leaves: the parameters they were computed from, by name.

    Returns:
        None if nothing bends, else what does, as part of a sentence.
    """
    names = {id(leaf): name for name, leaf in leaves.items()}
    below: dict[Any, frozenset[str]] = {}
    stack: list[tuple[Any, bool]] = [(outputs.grad_fn, False)]
    while stack:
        node, ready = stack.pop()
        if node is None or node in below:
            continue
        inputs = [edge for edge, _ in node.next_functions]
        if not ready:
            stack.append((node, True))
            stack += [(edge, False) for edge in inputs if edge is not None and edge not in below]
            continue
        if hasattr(node, "variable"):
            below[node] = frozenset({names.get(id(node.variable), "another tensor")})
            continue
        sets = [below.get(edge, frozenset()) if edge is not None else frozenset() for edge in inputs]
        kind = re.sub(r"Backward\d*$", "", node.name().rsplit("::", 1)[-1]).lower()
        bent = _bends(kind, node, sets)
        if bent is not None:
            return bent
        below[node] = frozenset().union(*sets)
    return None


def _bends(kind: str, node: Any, sets: list[frozenset[str]]) -> str | None:
    if not any(sets) or kind in _HARMLESS:
        return None
    if kind == "div" and not (len(sets) > 1 and sets[1]):
        return None
    if "batchnorm" in kind:
        if bool(getattr(node, "_saved_training", True)):
            return "BatchNorm takes its statistics from the batch"
        return _meets(sets, (0, 1))
    if kind in _PRODUCTS:
        return _meets(sets, _PRODUCTS[kind])
    return f"the operation {node.name().removesuffix('0').removesuffix('Backward')} is not piecewise linear"


def _meets(sets: list[frozenset[str]], factors: tuple[int, ...]) -> str | None:
    left, right = (sets[i] if i < len(sets) else frozenset() for i in factors)
    both = sorted(left & right)
    return f"parameter {both[0]} is multiplied by what depends on itself" if both else None
