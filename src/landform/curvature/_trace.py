"""The trace to the error asked for, and the diagonal, norms and layer traces that the same products contain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric, check_count, check_operator, check_tolerance, product, wide
from landform.curvature._draws import gaussian
from landform.curvature._estimate import Estimate
from landform.curvature._krylov import Krylov
from landform.curvature._probing import Known, Probes
from landform.curvature._xtrace import xtrace
from landform.errors import BadInput

Method: TypeAlias = Literal["auto", "hutchinson", "hutch++", "xtrace"]

_PILOT = 4
_STRIDE = 5


@dataclass(frozen=True)
class Trace:
    """The trace of an operator.

    Attributes:
        value: the estimate.
        standard_error: its standard error; 0 where it is exact.
        frobenius: estimate of the Frobenius norm ``||H||_F``, from the same products.
        layers: trace of each parameter's diagonal block by name, where the operator knows its layout and the method
            is not "xtrace"; the sum is the trace. Standard errors are upper bounds.
        converged: whether the relative standard error asked for was reached.
        tol: the relative standard error asked for.
        products: products spent here.
        probes: random vectors among them.
        deflated: dimension of the subspace on which the trace is exact.
        method: what was used.
        seed: of the probes.
        status: in a sentence, how it ended.
    """

    value: float
    standard_error: float
    frobenius: Estimate
    layers: Mapping[str, Estimate] | None = field(repr=False)
    converged: bool
    tol: float
    products: int
    probes: int
    deflated: int
    method: str
    seed: int
    status: str

    @property
    def ratio(self) -> float:
        """``tr(H) / ||H||_F``; between -sqrt(P) and sqrt(P)."""
        return self.value / self.frobenius.value if self.frobenius.value else math.nan

    @property
    def participation(self) -> float:
        """Participation ratio ``tr(H)^2 / ||H||_F^2``: how many equal eigenvalues would do the same."""
        return self.ratio**2


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of an operator.

    Attributes:
        values: the estimates, ``[P]``.
        standard_errors: of each, ``[P]``; nan for a single probe.
        error: root of the summed squared standard errors, over the norm of the diagonal.
        converged: whether that is within the tolerance.
        tol: the relative error asked for.
        products: products spent here.
        probes: random vectors among them.
        seed: of the probes.
    """

    values: Tensor
    standard_errors: Tensor
    error: float
    converged: bool
    tol: float
    products: int
    probes: int
    seed: int


def trace(
    operator: Symmetric | Krylov,
    *,
    tol: float = 0.02,
    method: Method = "auto",
    max_products: int | None = None,
    seed: int = 0,
) -> Trace:
    """Estimate the trace until its standard error is a given share of it.

    "auto" begins with 4 probes of Hutchinson's. If they do not settle it, a Krylov basis from another random vector
    takes the outliers out: on its span the trace is exact, and the variance of the probes falls to what the rest of
    the operator holds. The basis grows as long as 5 products on it save more than 5 probes by the variance measured;
    then probes go on. The first probes are used again: their products outside the basis follow by projection. Where a
    few eigenvalues dominate, as in networks, that is several times cheaper than "hutchinson" (plain), and for an error
    of some percent it is cheaper than "hutch++" (Meyer et al. 2021) and about level with "xtrace" (Epperly, Tropp &
    Webber 2024), whose error bar rests on dependent samples and is the less reliable; the choice is left to you.

    Args:
        operator: a symmetric operator, or a `Krylov` basis from a drawn start, on which the trace is then exact at no
            cost.
        tol: relative standard error asked for.
        method: "auto", "hutchinson", "hutch++" or "xtrace".
        max_products: give up after so many; by default 1,000, at most the size.
        seed: of the probes.

    Returns:
        The trace; where the tolerance was not reached, `converged` and `status` say so.

    Raises:
        BadInput: when an argument makes no sense, or a product is no number.
    """
    if method not in ("auto", "hutchinson", "hutch++", "xtrace"):
        raise BadInput(f"method is {method!r}: give 'auto', 'hutchinson', 'hutch++' or 'xtrace'.")
    check_tolerance(tol)
    basis = operator if isinstance(operator, Krylov) else None
    H = basis.operator if basis is not None else operator
    assert not isinstance(H, Krylov)
    check_operator(H)
    most = max_products if max_products is not None else min(H.size, 1000)
    check_count("max_products", most, 1)
    if method == "xtrace":
        if basis is not None:
            raise BadInput("xtrace makes its own subspace: give the operator, or another method with the basis.")
        found = xtrace(H, tol=tol, max_products=most, seed=seed)
        return _finished(
            found.estimate, found.frobenius, None, tol, found.products, found.probes, found.probes, method, seed
        )
    spent = 0
    probes = Probes(H, seed, None if basis is None else _known(basis), entries=False)
    if method == "hutch++":
        sketch = _sketch(H, max(1, most // 3), seed)
        spent = 2 * sketch.vectors.shape[1]
        probes = Probes(H, seed, sketch, entries=False)
    elif method == "auto":
        probes, spent = _begin(H, basis, tol, most, seed)
    while not _settled(probes, tol) and spent + probes.products < most:
        probes.draw()
    if probes.count == 0:
        probes.draw()
    layers = None
    if probes.layout is not None:
        layers = {s.name: e for s, e in zip(probes.layout.slots, probes.by_slot(), strict=True)}
    squares = probes.squares()
    frobenius = Estimate(
        math.sqrt(max(squares.value, 0.0)), 0.5 * squares.standard_error / math.sqrt(max(squares.value, 1e-300))
    )
    deflated = 0 if probes.known is None else probes.known.vectors.shape[1]
    spent += probes.products
    return _finished(probes.trace(), frobenius, layers, tol, spent, probes.count, deflated, method, seed)


def diagonal(
    operator: Symmetric | Krylov, *, tol: float = 0.1, max_products: int | None = None, seed: int = 0
) -> Diagonal:
    """Estimate the diagonal (Bekas, Kokiopoulou & Saad 2007), with the error of each entry.

    Args:
        operator: a symmetric operator, or a `Krylov` basis, whose part of the diagonal is then exact.
        tol: relative error asked for, in the Euclidean norm of the whole diagonal.
        max_products: give up after so many; by default 200, at most the size.
        seed: of the probes.

    Returns:
        The diagonal.
    """
    check_tolerance(tol)
    basis = operator if isinstance(operator, Krylov) else None
    H = basis.operator if basis is not None else operator
    assert not isinstance(H, Krylov)
    check_operator(H)
    most = max_products if max_products is not None else min(H.size, 200)
    check_count("max_products", most, 1)
    probes = Probes(H, seed, None if basis is None else _known(basis))
    while True:
        probes.draw()
        values, errors = probes.diagonal()
        length = float(wide(values).norm())
        error = float(wide(errors).norm()) / length if length else 0.0
        done = probes.count > 2 and error <= tol
        if done or probes.products >= most:
            return Diagonal(values, errors, error, done, tol, probes.products, probes.count, seed)


def _settled(probes: Probes, tol: float) -> bool:
    if probes.count < _PILOT:
        return False
    found = probes.trace()
    # Below this the probes' own rounding is all there is.
    rounding = torch.finfo(probes.operator.dtype).eps * math.sqrt(probes.squares().value)
    return found.standard_error <= max(tol * abs(found.value), rounding)


def _begin(H: Symmetric, basis: Krylov | None, tol: float, most: int, seed: int) -> tuple[Probes, int]:
    """Pilot probes, and the subspace that is worth its products."""
    probes = Probes(H, seed, None if basis is None or not basis.size else _known(basis), entries=False)
    images: list[Tensor] = []
    while len(images) < min(_PILOT, most):
        images.append(probes.draw())
    pilot = probes.products
    if _settled(probes, tol):
        return probes, 0
    grown = basis if basis is not None else Krylov(H, seed=seed, number=0)
    before = grown.products
    best, needed = probes, _needed(probes, tol)
    while needed > _PILOT + _STRIDE and grown.products - before + pilot + _STRIDE <= most and grown.waiting:
        grown.extend(_STRIDE)
        trial = Probes(H, seed, _known(grown), entries=False)
        for image in images:
            trial.draw(image)
        further = _needed(trial, tol)
        spent = grown.products - before
        if further >= best.count and needed - further < _STRIDE and spent >= 4 * _STRIDE:
            best = trial  # what was spent is spent: the larger subspace is never worse
            break
        best, needed = trial, further
    return best, grown.products - before + pilot


def _needed(probes: Probes, tol: float) -> float:
    """How many probes the tolerance takes, by the variance measured so far."""
    value = probes.trace().value
    return probes.variance / max((tol * value) ** 2, 1e-300)


def _known(basis: Krylov) -> Known | None:
    if basis.size == 0:
        return None
    return Known(basis.basis, basis.images())


def _sketch(H: Symmetric, count: int, seed: int) -> Known:
    """The range of H on random vectors, and H on it, for twice as many products."""
    drawn = [gaussian(H.size, seed, 2_000_000 + i, dtype=H.dtype, device=H.device) for i in range(min(count, H.size))]
    columns = [product(H, vector) for vector in drawn]
    vectors, _ = torch.linalg.qr(torch.stack(columns, dim=1))
    return Known(vectors, torch.stack([product(H, v) for v in vectors.unbind(1)], dim=1))


def _finished(
    estimate: Estimate,
    frobenius: Estimate,
    layers: Mapping[str, Estimate] | None,
    tol: float,
    products: int,
    probes: int,
    deflated: int,
    method: str,
    seed: int,
) -> Trace:
    done = estimate.standard_error <= tol * abs(estimate.value) or estimate.standard_error == 0.0
    rounding = 1e-6 * frobenius.value
    done = done or estimate.standard_error <= rounding
    status = (
        f"Standard error within {tol:.2g} of the trace after {products} products."
        if done
        else f"Standard error {estimate.relative:.2g} of the trace after {products} products, not {tol:.2g}: raise "
        "max_products or tol."
    )
    return Trace(
        value=estimate.value,
        standard_error=estimate.standard_error,
        frobenius=frobenius,
        layers=layers,
        converged=done,
        tol=tol,
        products=products,
        probes=probes,
        deflated=deflated,
        method=method,
        seed=seed,
        status=status,
    )
