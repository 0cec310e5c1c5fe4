"""A module as a function of its parameters, at one point or at many points in one program."""

from landform.stacked._choice import Choice, Cost, choose, count, refusal
from landform.stacked._function import Function
from landform.stacked._tensor import Stacked, Unstackable, stack

__all__ = ["Choice", "Cost", "Function", "Stacked", "Unstackable", "choose", "count", "refusal", "stack"]
