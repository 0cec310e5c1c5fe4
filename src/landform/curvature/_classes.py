"""The Gauss-Newton matrix of cross-entropy, taken apart by class.

The Hessian of a sample's loss over its logits is ``diag(p) - p p.T = sum over k of p_k (e_k - p)(e_k - p).T``, so with
``d_ik = J_i.T (e_k - p_i)`` the matrix is a weighted second moment, ``G = sum over i, k of (p_ik / N) d_ik d_ik.T``.
Grouping the vectors by the sample's class c and by the logit k, a second moment falls into parts exactly, as in an
analysis of variance (Papyan 2020 takes the same vectors): with the group means ``D_ck`` and weights ``w_ck``, and the
means ``D_c`` over the logits of the other classes with weights ``w_c``,

    class   sum over c of w_c D_c D_c.T                              rank at most C
    cross   sum over c, k != c of w_ck (D_ck - D_c)(D_ck - D_c).T    rank at most C (C - 2)
    own     sum over c of w_cc D_cc D_cc.T                           rank at most C
    within  what is left: the spread of samples about their group's mean

Everything about the first three is read off the C^2 group means and their inner products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landform.curvature._contract import check_count, check_tolerance, wide
from landform.curvature._eigenpairs import Eigenpairs, eigenpairs
from landform.curvature._exact import exact_trace
from landform.errors import BadInput
from landform.landscape import Landscape

PARTS = ("class", "cross", "own", "within")

_MEMORY = float(2**30)
_CHUNK = 2**16  # columns of the means that are brought to float64 at a time


@dataclass(frozen=True)
class ClassParts:
    """The Gauss-Newton matrix of cross-entropy as class + cross + own + within.

    Attributes:
        predicted: eigenvalues of the class part, what class means alone predict, descending, ``[C]``. Where one of them
            is far below the rest, they predict C - 1 outliers.
        between: the largest eigenvalues of class + cross + own, all that the C^2 group means predict, descending,
            ``[3 C]`` (C^2 where that is fewer). The outliers of the matrix are at least as large, rank by rank.
        measured: the largest eigenpairs of the matrix itself; None where none were asked for.
        means: the group means ``D_ck``, by class of the sample and logit, ``[C, C, P]``.
        weights: their weights ``w_ck``, which sum to 1, ``[C, C]``, float64.
        traces: trace of each part by name; they sum to the trace of the matrix, without weight decay.
        inside: share of each measured eigenvector's squared length in the span of the class means ``D_c``, ``[k]``.
        weight_decay: the declared weight decay, which is part of every eigenvalue here, and of no trace.
        samples: how many samples there were, by class, ``[C]``.
    """

    predicted: Tensor
    between: Tensor
    measured: Eigenpairs | None
    means: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    traces: Mapping[str, float]
    inside: Tensor
    weight_decay: float
    samples: Tensor

    @property
    def shares(self) -> dict[str, float]:
        """Share of each part in the trace of the matrix."""
        total = sum(self.traces.values())
        return {name: trace / total if total else float("nan") for name, trace in self.traces.items()}


def class_parts(
    landscape: Landscape,
    point: Tensor,
    *,
    k: int | None = None,
    tol: float = 1e-3,
    memory: float = _MEMORY,
    seed: int = 0,
    buffers: Mapping[str, Tensor] | None = None,
) -> ClassParts:
    """Take the Gauss-Newton matrix apart by class, beside its own largest eigenvalues.

    Costs C backward passes over the data for the group means (C^2 where batches come from a loader, which cannot be
    sorted by class), C - 1 for the trace, and the products of the eigenpairs.

    Args:
        landscape: a landscape with cross-entropy and one label a sample.
        point: ``[P]``.
        k: how many eigenpairs of the matrix itself; by default C, and 0 for none.
        tol: relative error of those.
        memory: bytes that the group means, ``C^2 P`` numbers, and their ``C^4`` inner products may take.
        seed: of the search for eigenpairs.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The parts.

    Raises:
        BadInput: when the loss is another, there is not one label a sample, or the means do not fit into memory.
    """
    check_tolerance(tol)
    point = _checked(landscape, point)
    own = landscape._own_buffers(point, buffers)
    classes = _classes(landscape, point, own, memory)
    wanted = min(classes, landscape.layout.size) if k is None else k
    check_count("k", wanted, 0, landscape.layout.size)
    sums, weights, samples = _group_sums(landscape, point, own, classes)
    total = int(samples.sum())
    weights /= total
    # Sums of p (e - p) J over a group, by the group's weight: means. A class without samples has neither.
    means = sums.div_((weights * total).clamp_min(1e-300).to(sums.dtype)[..., None])
    flat = means.flatten(0, 1)
    gram = _gram(flat)
    off = (1 - torch.eye(classes, dtype=torch.float64)) * weights
    class_weights = off.sum(1)
    # Rows of coefficients over the group means, ``[C, C^2]``.
    average = torch.zeros(classes, classes, classes, dtype=torch.float64)
    for c in range(classes):
        average[c, c] = off[c] / class_weights[c].clamp_min(1e-300)
    average = average.flatten(1)
    class_gram = average @ gram @ average.T
    squares = gram.diagonal().reshape(classes, classes)
    traces = {"class": float(class_weights @ class_gram.diagonal())}
    traces["cross"] = float((off * squares).sum()) - traces["class"]
    traces["own"] = float(weights.diagonal() @ squares.diagonal())
    decay = landscape.weight_decay
    whole = exact_trace(landscape, point, buffers=own or None).value - decay * landscape.layout.size
    traces["within"] = max(0.0, whole - sum(traces.values()))
    roots = weights.flatten().sqrt()
    between = _eigenvalues(roots[:, None] * gram * roots) + decay
    pairs = None
    inside = torch.empty(0, dtype=torch.float64)
    if wanted:
        pairs = eigenpairs(landscape.gauss_newton(point, buffers=own or None), wanted, tol=tol, seed=seed)
        inside = _inside(pairs.vectors, average, flat, class_gram)
    return ClassParts(
        predicted=_eigenvalues(class_gram * torch.outer(class_weights, class_weights).sqrt()) + decay,
        between=between[: 3 * classes],
        measured=pairs,
        means=means,
        weights=weights,
        traces=traces,
        inside=inside,
        weight_decay=decay,
        samples=samples,
    )


def _checked(landscape: Landscape, point: Tensor) -> Tensor:
    landscape.layout.check(point)
    if point.dim() != 1:
        raise BadInput(f"Classes are taken apart at one point [{landscape.layout.size}]; got {list(point.shape)}.")
    if not bool(torch.isfinite(point).all()):
        raise BadInput("The point holds NaN or infinity: curvature is taken at a finite point.")
    if landscape._loss_name != "cross-entropy" or not landscape.has_labels:
        raise BadInput("Parts by class are those of cross-entropy with one label a sample: give a landscape of these.")
    if landscape.batchnorm == "batch":
        raise BadInput(
            "With batchnorm='batch' samples share statistics and have no gradients of their own: give 'keep'."
        )
    return point.detach().to(landscape.device, landscape.dtype)


def _classes(landscape: Landscape, point: Tensor, own: Mapping[str, Tensor], memory: float) -> int:
    """How many classes there are, from the first batch; what does not fit is said before anything is spent."""
    with torch.no_grad():
        outputs, targets = next(iter(landscape._passes(point, own)))
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or targets.dim() != 1:
        shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise BadInput(f"Parts by class need logits [batch, C] and labels [batch]; the model's outputs are {shape}.")
    classes = outputs.shape[1]
    # The means, and their inner products with what their eigenvalues take.
    needed = classes**2 * landscape.layout.size * point.element_size() + 3 * classes**4 * 8
    if needed > memory:
        raise BadInput(
            f"The means of {classes} classes by {classes} logits take {needed / 2**30:.3g} GiB, and memory= allows "
            f"{memory / 2**30:.3g}: allow more, or take a landscape of fewer classes."
        )
    return classes


def _group_sums(
    landscape: Landscape, point: Tensor, own: Mapping[str, Tensor], classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of ``p_k J.T (e_k - p)`` ``[C, C, P]`` and of p_k ``[C, C]`` over the samples of each class, and counts."""
    size = landscape.layout.size
    sums = torch.zeros(classes, classes, size, dtype=landscape.dtype, device=landscape.device)
    weights = torch.zeros(classes, classes, dtype=torch.float64)
    samples = torch.zeros(classes, dtype=torch.long)
    leaves = {name: view.detach().requires_grad_() for name, view in landscape.layout.views(point).items()}
    for part in _by_class(landscape):
        with torch.enable_grad():
            for outputs, targets in part._passes(point, own, leaves):
                if bool((targets < 0).any()):
                    raise BadInput("Some samples have no label (-100): leave them out, each needs a class.")
                shares = wide(outputs.detach()).softmax(1)
                present = targets.unique().tolist()
                for c in present:
                    mine = (targets == c).to(shares.dtype)
                    samples[c] += int(mine.sum())
                    weights[c] += (shares * mine[:, None]).sum(0).cpu().double()
                    for k in range(classes):
                        along = -shares * (shares[:, k] * mine)[:, None]
                        along[:, k] += shares[:, k] * mine
                        grads = torch.autograd.grad(
                            outputs,
                            list(leaves.values()),
                            along.to(outputs.dtype),
                            retain_graph=c != present[-1] or k + 1 < classes,
                            allow_unused=True,
                            materialize_grads=True,
                        )
                        sums[c, k] += landscape.layout.join(dict(zip(leaves, grads, strict=True)))
    return sums, weights, samples


def _by_class(landscape: Landscape) -> list[Landscape]:
    """The landscape of each class, where the data can be chosen from: then a batch holds one class only."""
    labels: Any = getattr(landscape._data, "targets", None)
    if labels is None or labels.dim() != 1 or labels.is_floating_point():
        return [landscape]
    return [landscape.subset((labels == c).nonzero()[:, 0]) for c in labels.unique()]


def _gram(rows: Tensor) -> Tensor:
    """Inner products in float64, ``[n, n]``, some columns at a time."""
    found = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, rows.shape[1], _CHUNK):
        exact = wide(rows[:, start : start + _CHUNK])
        found += (exact @ exact.T).cpu().double()
    return found


def _eigenvalues(matrix: Tensor) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    return values.flip(0).clamp_min(0.0)


def _inside(vectors: Tensor, average: Tensor, rows: Tensor, inner: Tensor) -> Tensor:
    """Share of each vector in the span of the class means, from their inner products."""
    products = average @ wide(rows @ vectors.to(rows.dtype)).cpu().double()  # [C, k]
    values, directions = torch.linalg.eigh(0.5 * (inner + inner.T))
    kept = values > 1e-10 * values.max()
    weighed = (directions[:, kept].T @ products).square() / values[kept][:, None]
    shares: Tensor = weighed.sum(0) / wide(vectors).square().sum(0).cpu().double()
    return shares
