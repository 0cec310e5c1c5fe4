"""Losses, errors, outputs and gradients, for one point or many at once."""

from landform.landscape._checks import check_finite, check_labels, check_loss, find_device, first_line
from landform.landscape._landscape import Landscape, Reading
from landform.landscape._losses import Loss, cross_entropy, loss_function, mse, wrong

__all__ = [
    "Landscape",
    "Loss",
    "Reading",
    "check_finite",
    "check_labels",
    "check_loss",
    "cross_entropy",
    "find_device",
    "first_line",
    "loss_function",
    "mse",
    "wrong",
]
