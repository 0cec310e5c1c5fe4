"""Which samples several models get wrong together, and what averaging them gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import check_classes, two_or_many, wide

Average: TypeAlias = Literal["softmax", "logits"]


@dataclass(frozen=True)
class ErrorOverlap:
    """How the wrong samples of n models overlap; all float64, on the CPU.

    Attributes:
        errors: share of wrong samples of each, ``[n]``.
        both: share of samples that both of a pair get wrong, ``[n, n]``.
        jaccard: samples that both get wrong over those that either does, ``[n, n]``; nan where neither errs.
        consistency: how much more often than by chance both are right or both wrong (Cohen's kappa; "error
            consistency" of Geirhos et al. 2020), ``[n, n]``; 0 is chance at these error rates, 1 is always. nan where
            chance alone would always agree.
        same: of the samples that both get wrong, the share to which both give the same wrong label, ``[n, n]``; nan
            where there is none.
        samples: how many labels were counted.
    """

    errors: Tensor
    both: Tensor
    jaccard: Tensor
    consistency: Tensor
    same: Tensor
    samples: int


@dataclass(frozen=True)
class Ensemble:
    """What averaging the outputs of n models gains; all float64, on the CPU.

    Attributes:
        members: accuracy of each, ``[n]``.
        accuracy: of the average of all n, a scalar.
        pairs: accuracy of the average of each pair less the mean of the two, ``[n, n]``, zero on the diagonal.
        average: what was averaged.
        samples: how many labels were counted.
    """

    members: Tensor
    accuracy: Tensor
    pairs: Tensor
    average: Average
    samples: int

    @property
    def gain(self) -> float:
        """Accuracy of the average less the mean accuracy of its members."""
        return float(self.accuracy - self.members.mean())

    @property
    def gain_over_best(self) -> float:
        """Accuracy of the average less that of the best member."""
        return float(self.accuracy - self.members.max())


def error_overlap(outputs: Tensor, targets: Tensor) -> ErrorOverlap:
    """Compare the sets of samples that models get wrong.

    Args:
        outputs: logits of n models, ``[n, N, ..., K]``.
        targets: labels ``[N, ...]``; -100 is neither right nor wrong.

    Returns:
        The overlaps of all pairs.
    """
    every, labels = _counted(outputs, targets)
    return overlap_of(every.argmax(-1), labels)


def overlap_of(given: Tensor, labels: Tensor) -> ErrorOverlap:
    """Compare wrong labels.

    Args:
        given: labels that n models give, ``[n, M]``.
        labels: the true ones, ``[M]``.

    Returns:
        The overlaps of all pairs.
    """
    count = len(labels)
    wrong = given != labels
    exact = wide(wrong)
    errors = exact.mean(1).cpu()
    both = (exact @ exact.T).cpu() / count
    either = errors[:, None] + errors[None] - both
    agree = 1 - errors[:, None] - errors[None] + 2 * both
    chance = errors[:, None] * errors[None] + (1 - errors[:, None]) * (1 - errors[None])
    same = torch.stack(
        [wide((given == one) & wrong & missed).mean(1) for one, missed in zip(given, wrong, strict=True)]
    )
    nan = torch.full_like(both, torch.nan)
    return ErrorOverlap(
        errors=errors,
        both=both,
        jaccard=torch.where(either > 0, both / either, nan),
        consistency=torch.where(chance < 1, (agree - chance) / (1 - chance), nan),
        same=torch.where(both > 0, same.cpu() / both, nan),
        samples=count,
    )


def ensemble(outputs: Tensor, targets: Tensor, *, average: Average = "softmax") -> Ensemble:
    """Measure what averaging models' outputs gains.

    Args:
        outputs: logits of n models, ``[n, N, ..., K]``.
        targets: labels ``[N, ...]``; -100 is neither right nor wrong.
        average: ``"softmax"`` averages probabilities, ``"logits"`` averages logits.

    Returns:
        Accuracies of the members, of all together, and of each pair.
    """
    every, labels = _counted(outputs, targets)
    averaged = averageable(every, average)
    n = len(every)
    members = hits(averaged, labels)
    pairs = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n - 1):
        pairs[i, i + 1 :] = hits(averaged[i] + averaged[i + 1 :], labels)
    pairs = pairs + pairs.T - 0.5 * (members[:, None] + members[None])
    return Ensemble(members, hits(averaged.mean(0), labels), pairs.fill_diagonal_(0.0), average, len(labels))


def averageable(logits: Tensor, average: Average) -> Tensor:
    """What is averaged, of logits.

    Args:
        logits: ``[..., K]``.
        average: which.

    Returns:
        ``[..., K]``, float64.

    Raises:
        BadInput: when there is no such average.
    """
    if average not in ("softmax", "logits"):
        raise BadInput(f"There is no average {average!r}: give 'softmax' or 'logits'.")
    return wide(logits).softmax(-1) if average == "softmax" else wide(logits)


def hits(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of right labels.

    Args:
        outputs: ``[M, K]`` or ``[n, M, K]``.
        labels: ``[M]``.

    Returns:
        A float64 scalar or ``[n]``, on the CPU.
    """
    return wide(outputs.argmax(-1) == labels.to(outputs.device)).mean(-1).cpu()


def _counted(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs ``[n, M, K]`` and labels ``[M]`` of what counts."""
    every = two_or_many(outputs, None, 2, "outputs")
    check_classes(every)
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.shape != every.shape[1:-1]:
        got = list(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise BadInput(
            f"The targets have to be labels of shape {list(every.shape[1:-1])}, one for each row of the outputs of n "
            f"models; got {got}."
        )
    labels = targets.flatten().to(every.device)
    counts = labels != -100
    if not bool(counts.any()):
        raise BadInput("No label counts, as all are -100: give labels.")
    return every.flatten(1, -2)[:, counts], labels[counts]
