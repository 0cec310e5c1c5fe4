"""Data sets as tensors in memory, normalised, with everything that was done to them on record.

Digits and clusters need no file; the others are read from ``root`` or from the folder that ``LANDFORM_DATA`` names.
"""

from landform.data._augment import Augment, mix
from landform.data._clusters import clusters
from landform.data._digits import digit_sums, digits, moved_digits
from landform.data._images import cifar10, cifar100, fashion_mnist, mnist
from landform.data._labels import noisy_labels
from landform.data._partition import Division, partition
from landform.data._registry import load, names
from landform.data._series import time_series
from landform.data._text import characters
from landform.data._types import Dataset, Split

__all__ = [
    "Augment",
    "Dataset",
    "Division",
    "Split",
    "characters",
    "cifar10",
    "cifar100",
    "clusters",
    "digit_sums",
    "digits",
    "fashion_mnist",
    "load",
    "mix",
    "mnist",
    "moved_digits",
    "names",
    "noisy_labels",
    "partition",
    "time_series",
]
