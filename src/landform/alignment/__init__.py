"""Permutation symmetries of a model, found from its own graph, and points made alike by them."""

from landform.alignment._blocks import Block, Group, Piece
from landform.alignment._find import check, symmetries
from landform.alignment._symmetries import Symmetries

__all__ = ["Block", "Group", "Piece", "Symmetries", "check", "symmetries"]
