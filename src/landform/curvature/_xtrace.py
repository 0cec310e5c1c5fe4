"""XTrace: every test vector is used to deflate all the others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric, product, wide
from landform.curvature._draws import gaussian
from landform.curvature._estimate import Estimate

_LEAST = 8


@dataclass(frozen=True)
class XTrace:
    """What XTrace found.

    Attributes:
        estimate: the trace.
        frobenius: the Frobenius norm, from the products of the test vectors.
        products: products spent, two for each test vector.
        probes: test vectors.
    """

    estimate: Estimate
    frobenius: Estimate
    products: int
    probes: int


def xtrace(operator: Symmetric, *, tol: float, max_products: int, seed: int, stride: int = 4) -> XTrace:
    """Estimate the trace by XTrace (Epperly, Tropp & Webber 2024, section 2.1).

    With test vectors W and Q an orthonormal basis of the range of H W, vector i is the probe of Hutchinson's estimate
    outside the range of the other products, whose basis is Q without one direction s_i, a column of the inverse
    transpose of R in H W = Q R. The mean over i is the estimate; its error is told by their spread.

    Args:
        operator: the operator.
        tol: relative standard error at which to stop.
        max_products: most products.
        seed: of the test vectors.
        stride: test vectors added at a time.

    Returns:
        The estimate.
    """
    H = operator
    tests, images, basis, products_ = (torch.empty(H.size, 0, dtype=H.dtype, device=H.device) for _ in range(4))
    most = max(2, min(max_products // 2, H.size))
    while True:
        first = tests.shape[1]
        for i in range(first, min(first + stride, most)):
            fresh = gaussian(H.size, seed, 3_000_000 + i, dtype=H.dtype, device=H.device)
            fresh *= math.sqrt(H.size) / float(wide(fresh).norm())
            image = product(H, fresh)
            new = image.clone()
            for _ in range(2):
                new -= basis @ (basis.T @ new)
            length = float(wide(new).norm())
            if length <= 1e-5 * float(wide(image).norm()) or length == 0.0:
                # The range is exhausted: H acts on the basis alone, and the trace there is all of it.
                exact = float((wide(basis) * wide(products_)).sum())
                return XTrace(Estimate(exact, 0.0), _frobenius(images), 2 * basis.shape[1] + 1, basis.shape[1])
            new /= length
            tests, images = torch.cat([tests, fresh[:, None]], 1), torch.cat([images, image[:, None]], 1)
            basis = torch.cat([basis, new[:, None]], 1)
            products_ = torch.cat([products_, product(H, new)[:, None]], 1)
        each = _each(tests, images, basis, products_)
        count = len(each)
        # A spread told from few samples, at a time chosen by itself, is too small: the factor is that of Student's t.
        widened = math.sqrt((count - 1) / max(count - 3, 0.5))
        estimate = Estimate(float(each.mean()), widened * float(each.std()) / math.sqrt(count))
        enough = count >= _LEAST and estimate.standard_error <= tol * abs(estimate.value)
        if enough or count >= most:
            return XTrace(estimate, _frobenius(images), 2 * count, count)


def _each(tests: Tensor, images: Tensor, basis: Tensor, products_: Tensor) -> Tensor:
    """The estimate that each test vector gives, ``[m]``."""
    size, m = tests.shape
    triangle = wide(basis.T @ images).cpu().double()
    inner = wide(basis.T @ products_).cpu().double()
    inside = wide(basis.T @ tests).cpu().double()
    across = wide(products_.T @ tests).cpu().double()
    own = wide(tests * images).sum(0).cpu().double()
    left_out = torch.linalg.inv(triangle).T
    left_out = left_out / left_out.norm(dim=0)
    # Coefficients of each test vector in the basis without its own direction.
    kept = inside - left_out * (left_out * inside).sum(0)
    outside = own - 2 * (across * kept).sum(0) + (kept * (inner @ kept)).sum(0)
    # The length of a random direction's part outside m - 1 dimensions is known on average: take its noise out.
    scale = (size - m + 1) / (size - kept.square().sum(0)).clamp_min(1e-300)
    each: Tensor = inner.trace() - (left_out * (inner @ left_out)).sum(0) + scale * outside
    return each


def _frobenius(images: Tensor) -> Estimate:
    squares = wide(images).square().sum(0).cpu().double()
    mean = float(squares.mean())
    error = float(squares.std()) / math.sqrt(len(squares)) if len(squares) > 1 else math.nan
    return Estimate(math.sqrt(mean), 0.5 * error / math.sqrt(mean) if mean else 0.0)
