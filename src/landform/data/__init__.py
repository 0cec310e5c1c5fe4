"""Data sets as tensors in memory, normalised, with everything that was done to them on record."""

from landform.data._augment import Augment, mix
from landform.data._labels import noisy_labels
from landform.data._types import Dataset, Split

__all__ = ["Augment", "Dataset", "Split", "mix", "noisy_labels"]
