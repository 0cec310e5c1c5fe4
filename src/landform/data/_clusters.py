"""Gaussian clusters: a data set of any size without a file."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch.nn import functional

from landform.data._assemble import Raw, Scaling, assemble
from landform.data._options import Common, Options, number, whole
from landform.data._random import seeded
from landform.data._types import Dataset
from landform.errors import BadInput


def clusters(
    *,
    classes: int = 10,
    features: int = 20,
    train_size: int = 1000,
    test_size: int = 1000,
    separation: float = 4.0,
    **common: Unpack[Common],
) -> Dataset:
    """Draw a round Gaussian cluster around a random centre for each class.

    Args:
        classes: how many classes, at least 2.
        features: how many numbers an input has.
        train_size: how many training samples, as evenly over the classes as can be.
        test_size: how many test samples, likewise.
        separation: distance of the centres from their middle, in standard deviations of a cluster.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[features]``.

    Raises:
        BadInput: when an option is out of range, or there are fewer samples than classes.
    """
    options = Options.of(clusters, common)
    own: dict[str, Any] = {
        "classes": whole("classes", classes, 2),
        "features": whole("features", features, 1),
        "train_size": whole("train_size", train_size, 1),
        "test_size": whole("test_size", test_size, 1),
        "separation": number("separation", separation),
    }
    if train_size < classes:
        raise BadInput(
            f"{train_size} training samples cannot show {classes} classes: give train_size={classes} or more."
        )
    directions = torch.randn(classes, features, generator=seeded("cluster centres", options.seed))
    centres = separation * functional.normalize(directions)
    splits = {}
    for part, size in (("train", train_size), ("test", test_size)):
        generator = seeded("clusters", part, options.seed)
        labels = (torch.arange(size) % classes)[torch.randperm(size, generator=generator)]
        splits[part] = Raw.of(centres[labels] + torch.randn(size, features, generator=generator), labels)
    return assemble(
        "clusters", options, own, **splits, classes=classes, scaling=Scaling(), source={"from": "Gaussian clusters"}
    )
