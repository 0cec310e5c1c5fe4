"""What a column of a table means, whatever it is called."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

CONFIGURATION: Mapping[str, str] = {
    "width": "width of the network",
    "parameters": "how many parameters it has",
    "batch_size": "samples in a batch",
    "data": "how much data it was trained on",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "label_noise": "share of labels that were randomised",
}
"""How a network was trained: what a diagnosis never looks at."""

TESTED: Mapping[str, str] = {
    "test_loss": "loss on test data",
    "test_accuracy": "accuracy on test data, percent",
}
"""What takes test data: a diagnosis never looks at it either."""

MEASURES: Mapping[str, str] = {
    "train_error": "share of wrong training labels, percent",
    "train_loss": "cross-entropy on the training data",
    "log_eigenvalue": "natural logarithm of the Hessian's largest eigenvalue",
    "log_trace": "natural logarithm of the Hessian's trace",
    "connectivity": "mode connectivity mc, percent: below zero for a barrier",
    "curve_error": "largest training error inside the curve between two networks, percent",
    "similarity": "CKA of the outputs of two networks",
    "distance": "L2 distance of two networks' weights",
}
"""What is measured on training data alone."""

LABELS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("small", "large"),
    "width-or-batch": ("width", "batch"),
    "data-or-batch": ("data", "batch"),
}
"""Questions that a diagnosis answers, each with its two answers."""

_LABEL_COLUMNS = {
    "temperature": ("bs_failure", "temperature", "temperature_failure"),
    "width-or-batch": ("width_vs_batch", "width_or_batch"),
    "data-or-batch": ("data_vs_batch", "data_or_batch"),
}


@dataclass(frozen=True)
class _Way:
    """One way in which a meaning may stand in a file: names it goes by, and what makes the number of it."""

    names: tuple[str, ...]
    made: Callable[[Numbers], Numbers] = lambda values: values
    percent: bool = False


def _log(values: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log(np.abs(values)), np.nan)


def _wrong(values: Numbers) -> Numbers:
    return 100.0 - values


# The first way that a file has is taken.
_WAYS: Mapping[str, tuple[_Way, ...]] = {
    "width": (_Way(("width", "model_width", "channels", "hidden", "hidden_size")),),
    "parameters": (_Way(("parameters", "para_amount", "params", "num_parameters", "n_parameters")),),
    "batch_size": (_Way(("batch_size", "bs", "batch", "batchsize", "train_batch_size")),),
    "data": (_Way(("data", "data_amount", "n_train", "train_size", "samples", "data_fraction")),),
    "learning_rate": (_Way(("learning_rate", "lr")),),
    "weight_decay": (_Way(("weight_decay", "wd")),),
    "label_noise": (_Way(("label_noise", "noise", "noise_fraction")),),
    "test_loss": (_Way(("test_loss", "loss_test", "val_loss")),),
    "test_accuracy": (
        _Way(("test_accuracy", "test_acc", "val_acc", "acc_test"), percent=True),
        _Way(("test_error", "test_err", "error_test"), _wrong, percent=True),
    ),
    "train_error": (
        _Way(("train_error", "train_err", "training_error", "error_train"), percent=True),
        _Way(("train_accuracy", "train_acc", "training_accuracy", "acc_train"), _wrong, percent=True),
    ),
    "train_loss": (_Way(("train_loss", "training_loss", "loss_train", "train_ce", "cross_entropy")),),
    "log_eigenvalue": (
        _Way(("hessian_e", "log_eigenvalue", "log_lambda", "log_lambda_1", "log_lambda_max", "log_hessian_top")),
        _Way(("hessian_top", "eigenvalue", "lambda_1", "lambda_max", "top_eigenvalue", "sharpness"), _log),
    ),
    "log_trace": (
        _Way(("hessian_t", "log_trace", "log_hessian_trace")),
        _Way(("hessian_trace", "trace"), _log),
    ),
    "connectivity": (_Way(("mode_connectivity", "connectivity", "mc", "bezier_connectivity")),),
    "curve_error": (
        _Way(("mode_connectivity_peak", "mc_peak"), np.abs),
        _Way(("curve_error", "curve_error_peak", "curve_train_error_max")),
    ),
    "similarity": (_Way(("cka", "cka_similarity", "similarity", "cka_mixup")),),
    "distance": (_Way(("l2_distance", "distance", "l2", "parameter_distance")),),
}

_ON_THE_CURVE = re.compile(r"^curve_(?:train_)?err(?:or)?_(\d+)$")


def plain(name: str) -> str:
    """A column's name in small letters, with underscores for whatever is no letter or figure.

    Args:
        name: as it stands in the file.

    Returns:
        The plain name.
    """
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def label_column(question: str, names: Sequence[str]) -> str | None:
    """Find the column that answers a question.

    Args:
        question: one of `LABELS`.
        names: of the columns, as they stand in the file.

    Returns:
        Its name, or None.
    """
    by_plain = {plain(name): name for name in names}
    return next((by_plain[name] for name in _LABEL_COLUMNS[question] if name in by_plain), None)


def meanings(names: Sequence[str]) -> dict[str, tuple[str, Callable[[Numbers], Numbers], bool]]:
    """Tell what the columns of a file mean.

    Args:
        names: of the columns, as they stand in the file.

    Returns:
        For each meaning that is there the column's name, what makes the number of it, and whether it is a percentage.
    """
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    found = {}
    for meaning, ways in _WAYS.items():
        for way in ways:
            column = next((by_plain[name] for name in way.names if name in by_plain), None)
            if column is not None:
                found[meaning] = (column, way.made, way.percent)
                break
    return found


def on_the_curve(names: Sequence[str]) -> list[tuple[int, str]]:
    """Find columns of the training error along the curve between two networks.

    Args:
        names: of the columns, as they stand in the file.

    Returns:
        Place on the curve in percent and name, in the order of the places.
    """
    matched = ((name, _ON_THE_CURVE.match(plain(name))) for name in names)
    return sorted((int(match[1]), name) for name, match in matched if match)
