"""scikit-learn's digits, and two tasks made of them that need learned features."""

from __future__ import annotations

from functools import cache
from typing import Any, Unpack

import torch
from torch import Tensor

from landform.data._assemble import Raw, Scaling, assemble
from landform.data._labels import balanced
from landform.data._options import Common, Options, number, whole
from landform.data._random import seeded
from landform.data._types import Dataset
from landform.errors import BadInput

# The largest grey value of scikit-learn's digits.
GREY = 16.0
POOL = 1200


def digits(*, flat: bool = True, **common: Unpack[Common]) -> Dataset:
    """Load the 1,797 handwritten digits that come with scikit-learn, 8x8 pixels.

    1,000 are for training (100 a class) and 797 for testing, always the same ones.

    Args:
        flat: inputs are ``[64]``; otherwise images ``[1, 8, 8]``.
        **common: the options common to all data sets.

    Returns:
        The data set.
    """
    options = Options.of(digits, common)
    train, test = _pools(100)
    shape = (-1, 64) if flat else (-1, 1, 8, 8)
    return assemble(
        "digits",
        options,
        {"flat": flat},
        train=Raw.of(train[0].reshape(shape), train[1]),
        test=Raw.of(test[0].reshape(shape), test[1]),
        classes=10,
        scaling=Scaling(GREY),
        source={"from": "sklearn.datasets.load_digits"},
    )


def digit_sums(*, train_size: int = 4000, test_size: int = 1000, **common: Unpack[Common]) -> Dataset:
    """Make pairs of digits; the label is the last digit of their sum.

    Training pairs are drawn from 1,200 of scikit-learn's digits and test pairs from the other 597, so no handwriting is
    seen twice.

    Args:
        train_size: how many training pairs.
        test_size: how many test pairs.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[128]`` are the two images one after the other.
    """
    options = Options.of(digit_sums, common)
    own = {"train_size": whole("train_size", train_size, 1), "test_size": whole("test_size", test_size, 1)}
    splits = {}
    for part, pool, size in zip(("train", "test"), _pools(POOL // 10), own.values(), strict=True):
        images, labels = pool
        picked = torch.randint(len(images), (size, 2), generator=seeded("digit sums", part, options.seed))
        splits[part] = Raw.of(images[picked].reshape(size, 128), labels[picked].sum(1) % 10)
    return assemble("digit_sums", options, own, **splits, classes=10, scaling=Scaling(GREY), source=_pooled())


def moved_digits(
    *, train_size: int = 4000, test_size: int = 1000, canvas: int = 14, noise: float = 0.1, **common: Unpack[Common]
) -> Dataset:
    """Place digits at random on a noisy canvas.

    Training digits are drawn from 1,200 of scikit-learn's digits and test digits from the other 597.

    Args:
        train_size: how many training images.
        test_size: how many test images.
        canvas: side of the canvas, at least 8.
        noise: standard deviation of the Gaussian noise on every pixel, where ink is at most 1.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[1, canvas, canvas]``.

    Raises:
        BadInput: when the noise is negative.
    """
    options = Options.of(moved_digits, common)
    own: dict[str, Any] = {
        "train_size": whole("train_size", train_size, 1),
        "test_size": whole("test_size", test_size, 1),
        "canvas": whole("canvas", canvas, 8),
        "noise": number("noise", noise),
    }
    if noise < 0:
        raise BadInput(f"noise is a standard deviation of at least 0, but {noise} was given.")
    splits = {}
    for part, pool, size in zip(("train", "test"), _pools(POOL // 10), (train_size, test_size), strict=True):
        images, labels = pool
        generator = seeded("moved digits", part, options.seed)
        picked = torch.randint(len(images), (size,), generator=generator)
        corners = torch.randint(canvas - 7, (size, 2), generator=generator)
        grain = noise * torch.randn(size, 1, canvas, canvas, generator=generator)
        splits[part] = Raw.of(_place(images[picked] / GREY, corners, canvas) + grain, labels[picked])
    return assemble("moved_digits", options, own, **splits, classes=10, scaling=Scaling(), source=_pooled())


def _place(images: Tensor, corners: Tensor, canvas: int) -> Tensor:
    """Put images ``[n, 8, 8]`` with their upper left corner at ``corners [n, 2]``; ``[n, 1, canvas, canvas]``."""
    blank = torch.zeros(len(images), 1, canvas, canvas)
    span = torch.arange(8)
    rows, columns = corners[:, :1] + span, corners[:, 1:] + span
    each = torch.arange(len(images))[:, None, None]
    blank[each, 0, rows[:, :, None], columns[:, None, :]] = images
    return blank


def _pooled() -> dict[str, Any]:
    return {"from": "sklearn.datasets.load_digits", "train digits": POOL, "test digits": 1797 - POOL}


@cache
def _pools(per_class: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Cut the digits in two: so many of each class, and the others; ``[n, 8, 8]`` grey values and labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    # the split is part of the data set: no option moves it
    chosen[balanced(labels, per_class, None, 10, seed=0)] = True
    return (images[chosen], labels[chosen]), (images[~chosen], labels[~chosen])
