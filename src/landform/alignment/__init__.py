"""Permutation symmetries of a model, found from its own graph, and points made alike by them.

Two networks trained from different beginnings may be the same but for the order of their units. `symmetries` finds the
permutations that leave a model's function as it is, `align` the one that brings one point next to another, `align_many`
one order for several. `balance` chooses the scale of units where it is free, `repair` mends the inner activations half
way between two points.
"""

from landform.alignment._align import Alignment, Method, align
from landform.alignment._blocks import Block, Group, Piece
from landform.alignment._find import check, symmetries
from landform.alignment._many import Universe, align_many
from landform.alignment._repair import Repaired, repair
from landform.alignment._scale import Balanced, balance
from landform.alignment._sinkhorn import Sinkhorn
from landform.alignment._symmetries import Read, Symmetries

__all__ = [
    "Alignment",
    "Balanced",
    "Block",
    "Group",
    "Method",
    "Piece",
    "Read",
    "Repaired",
    "Sinkhorn",
    "Symmetries",
    "Universe",
    "align",
    "align_many",
    "balance",
    "check",
    "repair",
    "symmetries",
]
