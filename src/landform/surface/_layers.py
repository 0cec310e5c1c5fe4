"""Which layers read the data alone: on a surface what they put out is worked out for the directions, once.

A dense layer or a convolution is linear in its weights. At ``w_0 node_0 + w_1 node_1 + ...`` it puts out ``w_0`` times
what it puts out at the first node, and so on, as long as what it reads is the same at all points: the data themselves,
or what was made of them without a parameter. Such layers are found by running the model once on marked parameters and
looking at what each of them meets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput
from landform.landscape import Landscape

LAYERS = frozenset((F.linear, torch.conv1d, torch.conv2d, torch.conv3d))


@dataclass
class Met:
    """What parameters met while a model ran.

    Attributes:
        together: weights and biases of layers that read the data, each as one group.
        elsewhere: parameters that something else looked at.
    """

    together: list[frozenset[str]] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)

    def alone(self) -> frozenset[str]:
        """Parameters that only layers which read the data looked at, and whose fellows in these are such too."""
        bad = set(self.elsewhere)
        while grown := {name for group in self.together if group & bad for name in group} - bad:
            bad |= grown
        return frozenset(name for group in self.together for name in group if name not in bad)


class Marked(Tensor):
    """A parameter, or what was made of one: everything that comes of it is marked too.

    Attributes:
        called: the parameter's name; not there on what was made of it.
        met: where what it meets is noted.
    """

    called: str
    met: Met

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run as ever, and note what parameters met."""
        kwargs = kwargs or {}
        result = super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(result)):
            return result  # it was only asked something
        here = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if hasattr(leaf, "called")]
        if here and func in LAYERS and len(args) > 1 and not isinstance(args[0], Marked):
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            given = [one for one in (args[1], bias) if one is not None]
            if all(hasattr(one, "called") for one in given):
                here[0].met.together.append(frozenset(one.called for one in given))
                return result
        for leaf in here:
            leaf.met.elsewhere.add(leaf.called)
        return result


def reading_data(landscape: Landscape) -> frozenset[str]:
    """Find the parameters of layers that read the data, and are used for nothing else.

    Args:
        landscape: what will be read.

    Returns:
        Their names; none where the model cannot be run so.
    """
    met = Met()
    leaves: dict[str, Tensor] = {}
    for name, view in landscape.layout.views(landscape.here).items():
        marked: Any = view.as_subclass(Marked)
        marked.called, marked.met = name, met
        leaves[name] = marked
    batch = next(iter(landscape._data.batches(2)))
    try:
        with torch.no_grad():
            landscape._function(leaves, {}, partial(landscape._on_batch, batch))
    except (BadInput, RuntimeError, TypeError, AttributeError, ValueError, NotImplementedError):
        return frozenset()
    return met.alone()


def positional(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A layer's arguments with its bias, if it has one, given by position.

    Args:
        args: by position.
        kwargs: by name.

    Returns:
        The same, arranged.
    """
    rest = dict(kwargs or {})
    if "bias" in rest and len(args) == 2:
        return (*args, rest.pop("bias")), rest
    return args, rest
