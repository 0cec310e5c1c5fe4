"""Permutation symmetries of a model, found from its own graph, and points made alike by them."""

from landform.alignment._align import Alignment, Method, align
from landform.alignment._blocks import Block, Group, Piece
from landform.alignment._find import check, symmetries
from landform.alignment._sinkhorn import Sinkhorn
from landform.alignment._symmetries import Read, Symmetries

__all__ = [
    "Alignment",
    "Block",
    "Group",
    "Method",
    "Piece",
    "Read",
    "Sinkhorn",
    "Symmetries",
    "align",
    "check",
    "symmetries",
]
