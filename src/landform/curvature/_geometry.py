"""Geometry of single samples' gradients: logit cosines, noise spectrum, coherence and confusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landform.curvature._estimate import Estimate, ratio
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.per_sample import Part, gram, sample_gradients

_MOST = 20_000


@dataclass(frozen=True)
class LogitCosines:
    """Mean cosines between gradients of logits (Fort & Ganguli 2019, figure 1).

    Attributes:
        same_logit_same_class: q_SLSC: same logit, two samples of one class.
        same_logit: q_SL: same logit, any two samples.
        different_logit: q_DL: different logits, any two samples.
        samples: how many samples were taken.
        classes: how many logits.
    """

    same_logit_same_class: float
    same_logit: float
    different_logit: float
    samples: int
    classes: int


@dataclass(frozen=True)
class GradientNoise:
    """Covariance of the gradients of single samples, from their Gram matrix.

    Attributes:
        eigenvalues: nonzero eigenvalues of the covariance ``(1/n) sum (g_i - g)(g_i - g).T``, descending, ``[n - 1]``.
        trace: their sum: the variance of a single sample's gradient.
        signal: squared norm of the mean gradient, less what noise adds to it (unbiased).
        coherence: ``||mean g||^2 / mean ||g_i||^2`` without that addition: mean inner product of two samples over mean
            square norm, with a standard error by the delta method over samples.
        confusion: the least inner product of two samples (gradient confusion, Sankararaman et al. 2020); negative
            where one sample's step hurts another.
        least_cosine: the least cosine of two samples.
        opposed: share of pairs whose inner product is negative.
        mean_cosine: mean cosine of two samples (stiffness, Fort et al. 2019).
        samples: n.
    """

    eigenvalues: Tensor
    trace: float
    signal: float
    coherence: Estimate
    confusion: float
    least_cosine: float
    opposed: float
    mean_cosine: float
    samples: int

    @property
    def scale(self) -> float:
        """Simple noise scale ``tr(covariance) / ||g||^2``: about the batch size at which noise equals signal."""
        return self.trace / self.signal if self.signal > 0 else float("inf")

    @property
    def effective_rank(self) -> float:
        """Participation ratio of the eigenvalues: in how many directions the noise goes."""
        squares = float(self.eigenvalues.square().sum())
        return self.trace**2 / squares if squares else 0.0


def logit_cosines(
    landscape: Landscape, point: Tensor, *, samples: int = 100, buffers: Mapping[str, Tensor] | None = None
) -> LogitCosines:
    """Cosines between the gradients ``dz_k / dw`` of logits, by class of the sample and by logit.

    Args:
        landscape: a landscape with labels.
        point: ``[P]``.
        samples: how many samples, spread evenly over the data.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The three means.

    Raises:
        BadInput: when the targets are not labels.
    """
    if not landscape.has_labels:
        raise BadInput("Logit cosines compare samples of the same class, and these targets are not labels.")
    chosen = _spread(landscape, samples)
    held = _collect(chosen, point, _one_hots, buffers)
    labels, products, classes = held.labels, held.products, held.passes
    n = len(labels)
    lengths = products.diagonal().clamp_min(1e-300).sqrt()
    cosines = (products / torch.outer(lengths, lengths)).reshape(classes, n, classes, n)
    other = ~torch.eye(n, dtype=torch.bool)
    same_class = (labels[:, None] == labels[None, :]) & other
    same_logit = cosines.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [C, n, n]
    if not bool(same_class.any()):
        raise BadInput("No two of the samples are of the same class: take more samples.")
    # q_SLSC looks at the logit of the samples' own class.
    own = same_logit[labels, torch.arange(n)]  # [n, n]: logit y_i, samples i and j
    different = cosines.sum((1, 3)) - torch.einsum("cidi->cd", cosines)
    off = ~torch.eye(classes, dtype=torch.bool)
    pairs = n * (n - 1)
    return LogitCosines(
        same_logit_same_class=float(own[same_class].mean()),
        same_logit=float(same_logit[:, other].mean()),
        different_logit=float(different[off].mean() / pairs) if classes > 1 else float("nan"),
        samples=n,
        classes=classes,
    )


def gradient_noise(
    landscape: Landscape, point: Tensor, *, samples: int = 1000, buffers: Mapping[str, Tensor] | None = None
) -> GradientNoise:
    """Spectrum of the gradient noise, and how far samples agree, from the Gram matrix of their gradients.

    Args:
        landscape: the landscape; declared weight decay, the same for all samples, is left out.
        point: ``[P]``.
        samples: how many samples, spread evenly over the data.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The spectrum and the agreement.
    """
    chosen = _spread(landscape, samples)

    def slopes(outputs: Tensor, targets: Any) -> Tensor:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            (slope,) = torch.autograd.grad(chosen._loss(leaf, targets) * len(leaf), leaf)
        return slope.unsqueeze(0)

    products = _collect(chosen, point, slopes, buffers).products
    n = len(products)
    centred = products - products.mean(0, keepdim=True) - products.mean(1, keepdim=True) + products.mean()
    eigenvalues = torch.linalg.eigvalsh(0.5 * (centred + centred.T)).flip(0)[: n - 1].clamp_min(0) / n
    squares = products.diagonal()
    lengths = squares.clamp_min(1e-300).sqrt()
    other = ~torch.eye(n, dtype=torch.bool)
    cosines = (products / torch.outer(lengths, lengths))[other]
    between = products[other]
    mean_with_others = (products.sum(1) - squares) / (n - 1)
    # Each pair is shared by two samples, so the spread of these row means counts twice.
    coherence = ratio(mean_with_others, squares)
    return GradientNoise(
        eigenvalues=eigenvalues,
        trace=float(eigenvalues.sum()),
        signal=float(between.mean()),
        coherence=Estimate(coherence.value, 2 * coherence.standard_error),
        confusion=float(between.min()),
        least_cosine=float(cosines.min()),
        opposed=float((between < 0).double().mean()),
        mean_cosine=float(cosines.mean()),
        samples=n,
    )


@dataclass(frozen=True)
class _Held:
    """Gram matrix of all gradients, ``[K n, K n]`` with k slow; labels ``[n]``; K."""

    products: Tensor
    labels: Tensor
    passes: int


def _collect(landscape: Landscape, point: Tensor, cotangents: Any, buffers: Mapping[str, Tensor] | None) -> _Held:
    """Gradients of all samples as batches, then inner products block by block."""
    parts: dict[int, list[dict[str, Part]]] = {}
    labels: list[Tensor] = []
    for k, gradients, targets in sample_gradients(landscape, point, cotangents, buffers=buffers):
        parts.setdefault(k, []).append(gradients)
        if k == 0 and isinstance(targets, Tensor):
            labels.append(targets)
    blocks = [block for _, own in sorted(parts.items()) for block in own]
    rows: list[list[Tensor]] = [[] for _ in blocks]
    for i, left in enumerate(blocks):
        for j in range(len(blocks)):
            if j < i:
                rows[i].append(rows[j][i].T)
            else:
                found = [gram(left[name], blocks[j][name])[:, 0, :, 0].cpu().double() for name in left]
                rows[i].append(torch.stack(found).sum(0))
    products = torch.cat([torch.cat(row, dim=1) for row in rows])
    return _Held(products, torch.cat(labels).cpu() if labels else torch.empty(0), len(parts))


def _one_hots(outputs: Tensor, targets: Any) -> Tensor:
    if outputs.dim() != 2:
        raise BadInput(f"Logit cosines need one vector of logits a sample; outputs are {list(outputs.shape)}.")
    classes = outputs.shape[1]
    eye = torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
    return eye.unsqueeze(1).expand(classes, *outputs.shape)


def _spread(landscape: Landscape, samples: int) -> Landscape:
    from landform.landscape._batches import Tensors

    if samples < 2 or samples > _MOST:
        raise BadInput(f"samples is {samples}: give 2 to {_MOST:,}.")
    if not isinstance(landscape._data, Tensors):
        raise BadInput("Choosing samples needs data in memory: give the landscape a pair of tensors.")
    total = len(landscape._data)
    if total < 2:
        raise BadInput("Comparing samples takes at least two of them.")
    if total <= samples:
        return landscape
    return landscape.subset(torch.linspace(0, total - 1, samples).round().long())
