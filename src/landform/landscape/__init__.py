"""Losses, errors, outputs and gradients, for one point or many at once."""

from landform.landscape._checks import find_device
from landform.landscape._landscape import Landscape, Reading
from landform.landscape._losses import Loss, cross_entropy, loss_function, mse

__all__ = ["Landscape", "Loss", "Reading", "cross_entropy", "find_device", "loss_function", "mse"]
