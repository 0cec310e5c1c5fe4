"""What the estimators need of an operator, and the one place where they take products."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.layout import Layout


class Symmetric(Protocol):
    """A symmetric matrix ``[P, P]`` that is known by its products; `landform.operators` makes them."""

    @property
    def size(self) -> int:
        """P."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the vectors."""

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""

    @property
    def layout(self) -> Layout | None:
        """Which slice of a vector is which parameter, where that has a meaning."""

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Multiply ``[P]`` or ``[P, k]``."""

    def dense(self) -> Tensor:
        """The matrix itself, ``[P, P]``."""


def product(operator: Symmetric, vectors: Tensor) -> Tensor:
    """Multiply, and refuse what is no number.

    Args:
        operator: the operator.
        vectors: ``[P]`` or ``[P, k]``.

    Returns:
        The product, of the same shape.

    Raises:
        BadInput: when the product has another shape, or holds NaN or infinity.
    """
    result = operator @ vectors
    if result.shape != vectors.shape:
        raise BadInput(
            f"The operator of size {operator.size} turned a tensor of shape {list(vectors.shape)} into one of shape "
            f"{list(result.shape)}: an operator must be square and keep the shape."
        )
    # The sum is finite only if every entry is (or so large that it is no use either).
    if not bool(torch.isfinite(result.sum())):
        raise BadInput(
            "A product with the operator holds NaN or infinity: look whether the point, the loss and its gradient are "
            "finite there, or take float64."
        )
    return result


def wide(tensor: Tensor) -> Tensor:
    """Take a tensor to float64, in which sums do not cancel; MPS has none, and is left as it is.

    Args:
        tensor: any.

    Returns:
        The same numbers.
    """
    return tensor if tensor.device.type == "mps" else tensor.double()


def norm(vector: Tensor) -> float:
    """Length of a vector, summed in float64.

    Args:
        vector: ``[P]``.

    Returns:
        The length.
    """
    return float(torch.linalg.vector_norm(vector, dtype=None if vector.device.type == "mps" else torch.float64))


def dot(a: Tensor, b: Tensor) -> float:
    """Inner product, summed in float64.

    Args:
        a: ``[P]``.
        b: ``[P]``.

    Returns:
        The product.
    """
    return float(wide(a) @ wide(b))


def check_operator(operator: Any) -> None:
    """Refuse what is no operator, or is known not to be symmetric.

    Args:
        operator: what to look at.

    Raises:
        BadInput: when it cannot be used.
    """
    if isinstance(operator, Tensor):
        raise BadInput("A tensor is no operator: wrap the matrix by lf.operators.from_matrix.")
    for needed in ("size", "dtype", "device", "__matmul__"):
        if not hasattr(operator, needed):
            raise BadInput(
                f"A {type(operator).__name__} is no operator (it has no {needed}): give landscape.hessian(point)."
            )
    if not getattr(operator, "symmetric", True):
        raise BadInput(
            f"{getattr(operator, 'name', 'This operator')} is not symmetric: eigenvalues, densities and traces here "
            "are those of symmetric operators, such as J.T @ J."
        )


def check_count(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse a count outside its range.

    Args:
        name: what is counted.
        value: the count.
        least: the lowest that makes sense.
        most: the highest, where there is one.

    Raises:
        BadInput: when it is outside.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadInput(f"{name} is {value!r}: give a whole number.")
    if value < least or (most is not None and value > most):
        upper = f" and at most {most:,} (the size of the operator)" if most is not None else ""
        raise BadInput(f"{name} is {value:,}: give at least {least}{upper}.")


def check_tolerance(tol: float) -> None:
    """Refuse a tolerance that no estimate can meet.

    Args:
        tol: the tolerance.

    Raises:
        BadInput: when it is not between 0 and 1.
    """
    if not 0 < tol < 1:
        raise BadInput(f"tol is {tol}: give a relative error between 0 and 1, such as 1e-3.")


def check_vector(what: str, vector: Tensor, operator: Symmetric, *, columns: bool = False) -> Tensor:
    """Bring a vector to the operator's type and device.

    Args:
        what: what to call it.
        vector: ``[P]``, or ``[P, k]`` where columns are allowed.
        operator: the operator it is for.
        columns: whether ``[P, k]`` is allowed.

    Returns:
        The vector.

    Raises:
        BadInput: when its shape is another, or it is not finite.
    """
    allowed = (1, 2) if columns else (1,)
    if not isinstance(vector, Tensor) or vector.dim() not in allowed or vector.shape[0] != operator.size:
        got = f"shape {list(vector.shape)}" if isinstance(vector, Tensor) else type(vector).__name__
        wanted = f"[{operator.size}]" + (f" or [{operator.size}, k]" if columns else "")
        raise BadInput(f"The {what} must be a tensor of shape {wanted}, as the operator's vectors are; got {got}.")
    vector = vector.to(operator.device, operator.dtype)
    if not bool(torch.isfinite(vector.sum())):
        raise BadInput(f"The {what} holds NaN or infinity.")
    return vector
