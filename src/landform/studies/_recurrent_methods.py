"""Kernels for sequences under one protocol: a support vector machine, every setting chosen by cross-validation."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landform.data import Split
from landform.errors import try_import
from landform.kernel import infinite
from landform.studies._recurrent_protocol import RecurrentProtocol
from landform.training import Recipe, train

Candidates: TypeAlias = Iterator[tuple[dict[str, float], Tensor]]
# What every method is called; the last takes part where it is trained.
RNTK, REVERSED, NTK, RBF, POLYNOMIAL, GRU = "RNTK", "RNTK, reversed", "NTK", "RBF", "polynomial", "GRU"
COMPARED = (RNTK, NTK, RBF, POLYNOMIAL, GRU)
_GRU_BATCH = 16


@dataclass(frozen=True)
class Chosen:
    """What came of one method.

    Attributes:
        accuracy: on the test set; the mean over all settings that cross-validation cannot tell apart.
        validated: accuracy in cross-validation.
        settings: the first of the settings that were chosen.
        tied: how many were.
    """

    accuracy: float
    validated: float
    settings: Mapping[str, float]
    tied: int


def rows_of(split: Split) -> list[Tensor]:
    """Sequences without their padding, which comes first, ``[T_i, C]`` each."""
    x = split.inputs.double()
    if split.lengths is None:
        return list(x)
    return [row[len(row) - int(length) :] for row, length in zip(x, split.lengths, strict=True)]


def kernels_of(
    method: str, protocol: RecurrentProtocol, x: Sequence[Tensor]
) -> Iterator[tuple[dict[str, float], Tensor]]:
    """The kernels of a method among which it may choose, of all sequences, training ones first.

    Kernels of vectors take sequences padded with zeros at the front to the length of the longest.

    Args:
        method: one of the names.
        protocol: the study's.
        x: sequences, ``[T_i, C]`` each.

    Yields:
        Settings, and the matrix ``[n, n]`` with ones on its diagonal.
    """
    if method in (RNTK, REVERSED):
        rows = [row.flip(0) for row in x] if method == REVERSED else list(x)
        for kernel in protocol.kernels():
            told = {"sigma_w": kernel.sigma_w, "sigma_b": kernel.sigma_b, "sigma_h": kernel.sigma_h}
            yield told, _unit(kernel.gram(rows))
        return
    longest = max(map(len, x))
    flat = torch.stack([torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]).flatten() for row in x])
    if method == NTK:
        for depth, bias in itertools.product((1, 2, 3), (0.0, 0.1, 1.0)):
            yield {"depth": depth, "sigma_b": bias}, _unit(infinite.dense(flat, depth=depth, sigma_b=bias).ntk)
    elif method == RBF:
        square = torch.cdist(flat, flat).square()
        middle = float(square[square > 0].median()) if bool((square > 0).any()) else 1.0
        for power in range(-4, 5):
            yield {"gamma": 2.0**power / middle}, (-(2.0**power) / middle * square).exp()
    else:
        inner = flat @ flat.T / flat.shape[1]
        for degree, offset in itertools.product((1, 2, 3, 4), (0.0, 1.0)):
            yield {"degree": degree, "offset": offset}, _unit((inner + offset) ** degree)


def _unit(kernel: Tensor) -> Tensor:
    roots = kernel.diagonal().clamp_min(1e-300).sqrt()
    return kernel / roots[:, None] / roots[None]


def classify(
    candidates: Candidates,
    labels: Tensor,
    tests: Tensor,
    protocol: RecurrentProtocol,
    seed: int,
) -> Chosen:
    """Choose kernel and C by cross-validation on the training data, and judge by the test data.

    Args:
        candidates: settings and kernels of all sequences, training ones first.
        labels: of the training sequences, ``[n]``.
        tests: of the test sequences.
        protocol: the study's.
        seed: of the folds.

    Returns:
        What came of it.
    """
    svm = try_import("sklearn.svm", "data")
    y, wanted, n = labels.numpy(), tests.numpy(), len(labels)
    folds = list(_folds(y, protocol.folds, seed))
    best, tied = -1.0, []  # type: tuple[float, list[tuple[dict[str, float], float]]]
    for told, kernel in candidates:
        matrix = kernel.numpy()
        for penalty in protocol.penalties:
            hits = 0
            for kept, held in folds:
                machine = svm.SVC(C=penalty, kernel="precomputed").fit(matrix[np.ix_(kept, kept)], y[kept])
                hits += int((machine.predict(matrix[np.ix_(held, kept)]) == y[held]).sum())
            score = hits / n
            if score < best:
                continue
            machine = svm.SVC(C=penalty, kernel="precomputed").fit(matrix[:n, :n], y)
            found = ({**told, "C": penalty}, float((machine.predict(matrix[n:, :n]) == wanted).mean()))
            best, tied = score, [found] if score > best else [*tied, found]
    return Chosen(float(np.mean([accuracy for _, accuracy in tied])), best, tied[0][0], len(tied))


def _folds(y: NDArray[Any], count: int, seed: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Stratified folds, fewer where a class has not one sample for each."""
    selection = try_import("sklearn.model_selection", "data")
    least = int(np.bincount(y).clip(min=1)[np.unique(y)].min())
    splitter = selection.StratifiedKFold(max(2, min(count, least)), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class of one sample is in one fold alone, and is wrong there.
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from splitter.split(np.zeros(len(y)), y)


class _Gru(nn.Module):
    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.cells = nn.GRU(channels, width, batch_first=True)
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(x)
        logits: Tensor = self.readout(states[:, -1])
        return logits


def gru(fitted: Split, tests: Split, classes: int, protocol: RecurrentProtocol, seed: int, device: str) -> Chosen:
    """Train a GRU, its learning rate chosen on a fifth of the training data.

    Args:
        fitted: the training data, padded in front.
        tests: the test data.
        classes: how many there are.
        protocol: the study's.
        seed: of weights, batches and the choice of that fifth.
        device: where to train.

    Returns:
        What came of it.
    """
    order = torch.randperm(len(fitted), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: len(order) // 5], order[len(order) // 5 :]
    scores = {rate: _trained(fitted, kept, fitted, held, classes, rate, protocol, seed, device)
              for rate in protocol.gru_rates}  # fmt: skip
    rate = max(scores, key=lambda each: scores[each])
    every = torch.arange(len(fitted))
    accuracy = _trained(fitted, every, tests, torch.arange(len(tests)), classes, rate, protocol, seed, device)
    return Chosen(accuracy, scores[rate], {"lr": rate}, 1)


def _trained(
    fitted: Split, kept: Tensor, judged: Split, held: Tensor, classes: int, rate: float,
    protocol: RecurrentProtocol, seed: int, device: str,
) -> float:  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Gru(fitted.inputs.shape[2], protocol.gru_width, classes)
    recipe = Recipe(
        epochs=protocol.gru_epochs, batch_size=_GRU_BATCH, optimizer="adam", lr=rate, schedule="cosine", seed=seed
    )
    train(net, (fitted.inputs[kept], fitted.targets[kept]), recipe, device=device)
    net.cpu().eval()
    with torch.no_grad():
        return float((net(judged.inputs[held]).argmax(1) == judged.targets[held]).double().mean())
