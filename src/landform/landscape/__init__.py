"""Losses, errors, outputs and gradients, for one point or many at once."""

from landform.landscape._checks import find_device
from landform.landscape._landscape import Landscape, Reading
from landform.landscape._losses import cross_entropy, mse

__all__ = ["Landscape", "Reading", "cross_entropy", "find_device", "mse"]
