"""Functions whose backward is marked once-differentiable: curvature through them goes missing without a word."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput


def refuse_once_differentiable(*results: Any) -> None:
    """Look through the graph of a batch for a custom function that can be differentiated once only.

    Autograd notices such a function only where the gradient that enters it has a graph of its own. Where it has none
    (the function comes last), the second derivative is taken to be zero.

    Args:
        *results: outputs, and the loss of them, with their graph.

    Raises:
        BadInput: when there is one; the message names it.
    """
    stack = [leaf.grad_fn for leaf in pytree.tree_leaves(results) if isinstance(leaf, Tensor)]
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        function = getattr(node, "_forward_cls", None)
        if function is not None and _marked(function):
            raise BadInput(
                f"The function {function.__name__} cannot be differentiated twice: its backward is marked "
                "once_differentiable, and its curvature would go missing; write its backward in plain operations "
                "without the mark, or measure a quantity of first order."
            )
        stack += [edge for edge, _ in node.next_functions]


def _marked(function: Any) -> bool:
    """Whether torch's `once_differentiable` wraps the backward; the wrapper carries no other sign than its code."""
    for name in ("backward", "vjp"):
        code = getattr(getattr(function, name, None), "__code__", None)
        if code is not None and code.co_name == "wrapper" and code.co_filename == torch.autograd.function.__file__:
            return True
    return False
