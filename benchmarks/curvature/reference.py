"""What is right, made without landform: products by double backward, SciPy's eigsh, deflated Hutchinson.

Models of at most 3,000 parameters get their whole Hessian, so that everything about them is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from problems import Problem, probe, sketch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

_DENSE = 3000


@dataclass(frozen=True)
class Truth:
    """What the answers are held against.

    Attributes:
        values: eigenvalues of largest magnitude, in that order.
        trace: the trace.
        trace_error: its standard error; 0 where it is exact.
        frobenius: the Frobenius norm of the Hessian.
        off_diagonal: the Frobenius norm of the Hessian without its diagonal, where it is known; else that with it.
        residual: the worst of the eigenvectors, relative to its eigenvalue, in float64.
    """

    values: list[float]
    trace: float
    trace_error: float
    frobenius: float
    off_diagonal: float
    residual: float

    def probes(self, tol: float) -> float:
        """Hutchinson probes for that relative standard error: a probe's variance is 2 ||H - diag H||_F^2."""
        return 2 * self.off_diagonal**2 / (tol * self.trace) ** 2


def hessian(problem: Problem) -> Callable[[Tensor], Tensor]:
    """Products by hand: every batch's gradient graph is kept."""
    parameters, share = problem.parameters, problem.batch / len(problem.inputs)
    lengths, shapes = [p.numel() for p in parameters], [p.shape for p in parameters]
    held = []
    for x, y in problem.batches:
        loss = F.cross_entropy(problem.model(x), y) * (share * len(x) / problem.batch)
        held.append(torch.autograd.grad(loss, parameters, create_graph=True))

    def multiply(v: Tensor) -> Tensor:
        parts = [part.view(s) for part, s in zip(v.split(lengths), shapes, strict=True)]
        total = torch.zeros_like(v)
        for gradients in held:
            found = torch.autograd.grad(gradients, parameters, parts, retain_graph=True)
            total += torch.cat([part.flatten() for part in found])
        return total

    return multiply


def products(problem: Problem, vectors: Tensor) -> Tensor:
    """Products with the columns of a matrix, one batch's graph at a time."""
    found = torch.zeros_like(vectors)
    for x, y in problem.batches:
        part = Problem(problem.name, problem.model, x, y, len(x), problem.run)
        multiply = hessian(part)
        columns = torch.stack([multiply(v) for v in vectors.T], dim=1)
        found += columns * (len(x) / len(problem.inputs))
    return found


def hessian_sketch(problem: Problem) -> list[float]:
    """One product, as told by `sketch`."""
    return sketch(products(problem, probe(problem.size, 1)[:, None])[:, 0])


def gauss_newton_sketch(problem: Problem) -> list[float]:
    """One Gauss-Newton product: forward mode, the softmax's own matrix, backward."""
    named = dict(problem.model.named_parameters())
    v, total = probe(problem.size, 1), torch.zeros(problem.size, dtype=torch.float64)
    parts = v.split([p.numel() for p in named.values()])
    tangent = {n: part.view_as(p) for (n, p), part in zip(named.items(), parts, strict=True)}
    for x, _ in problem.batches:
        run = lambda held, x=x: torch.func.functional_call(problem.model, held, (x,))  # noqa: E731
        outputs, moved = torch.func.jvp(run, (named,), (tangent,))[:2]
        p = outputs.detach().softmax(1)
        bent = (p * moved - p * (p * moved).sum(1, keepdim=True)).detach() / len(problem.inputs)
        found = torch.autograd.grad(run(named), list(named.values()), bent)
        total += torch.cat([part.flatten() for part in found])
    return sketch(total)


def truth(single: Problem, double: Problem, k: int, probes: int) -> Truth:
    """Eigenvalues, trace and norms of the Hessian.

    Large models get their eigenvectors in float32 (float64 convolutions are slow) and the eigenvalues from those in
    float64, where an error of the vectors counts by its square; the residuals, in float64 too, say how good they are.

    Args:
        single: the problem in float32.
        double: the same in float64.
        k: eigenvalues asked for.
        probes: for the trace of what eigenvectors leave over; none taken where the model is small.

    Returns:
        The truth, as well as it is known.
    """
    size = double.size
    if size <= _DENSE:
        multiply = hessian(double)
        H = torch.stack([multiply(row) for row in torch.eye(size, dtype=torch.float64)])
        values = torch.linalg.eigvalsh((H + H.T) / 2)
        largest = values[values.abs().argsort(descending=True)[:k]]
        off = H - H.diagonal().diag()
        return Truth(largest.tolist(), float(values.sum()), 0.0, float(values.norm()), float(off.norm()), 0.0)
    multiply = hessian(single)
    operator = LinearOperator((size, size), matvec=lambda v: multiply(torch.from_numpy(v.ravel().copy())).numpy(),
                              dtype=np.float32)  # fmt: skip
    _, vectors = eigsh(operator, k=k + 2, which="LM", tol=1e-4, v0=probe(size, 2).float().numpy())
    U = torch.linalg.qr(torch.from_numpy(vectors.copy()).double()).Q
    HU = products(double, U)
    values, turn = torch.linalg.eigh(U.T @ HU)
    residuals = (HU @ turn - U @ turn * values).norm(dim=0) / values.abs()
    order = values.abs().argsort(descending=True)[:k]
    quotients, squares = [], []
    for i in range(probes):
        z = torch.randn(size, generator=torch.Generator().manual_seed(1000 + i), dtype=torch.float64).sign()
        z -= U @ (U.T @ z)
        product = multiply(z.float()).double()
        quotients.append(float(z @ product))
        product -= U @ (U.T @ product)
        squares.append(float(product @ product))
    error = float(np.std(quotients, ddof=1)) / math.sqrt(probes)
    frobenius = math.sqrt(float((values**2).sum()) + float(np.mean(squares)))
    trace = float(values.sum()) + float(np.mean(quotients))
    return Truth(values[order].tolist(), trace, error, frobenius, frobenius, float(residuals[order].max()))
