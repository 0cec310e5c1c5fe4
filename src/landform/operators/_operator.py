"""The one operator class: give products, get algebra, restriction, a matrix, SciPy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.layout import Layout, Part


class Operator(ABC):
    """A linear map from ``[size]`` to ``[rows]`` known by its products; square unless it says otherwise.

    A subclass gives `_matmat`, and `_adjoint` where it is not symmetric. The same vector always gives the same product.

    Attributes:
        size: how many numbers a vector has, P.
        rows: how many numbers a product has; equal to ``size`` for a square operator.
        dtype: the floating-point type of products.
        device: where products are taken.
        name: what it is, in words.
        symmetric: whether it is its own adjoint.
        layout: which slice of a vector is which parameter, where there is one.
        products: how many products with a vector it has given so far; a block of k counts k.
        gradients: the same in gradients of the mean loss over the full data, as counted by their matrix products and
            convolutions; 0 for a plain matrix.
    """

    def __init__(
        self,
        size: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        name: str,
        symmetric: bool = True,
        rows: int | None = None,
        layout: Layout | None = None,
    ) -> None:
        """Say what it is.

        Args:
            size: how many numbers a vector has.
            dtype: the floating-point type of products.
            device: where products are taken.
            name: what it is, in words.
            symmetric: whether it is its own adjoint.
            rows: how many numbers a product has; None for a square operator.
            layout: which slice of a vector is which parameter.
        """
        self.size = size
        self.rows = size if rows is None else rows
        self.dtype = dtype
        self.device = device
        self.name = name
        self.symmetric = symmetric
        self.layout = layout
        self.products = 0
        self._spent = 0.0

    @abstractmethod
    def _matmat(self, vectors: Tensor) -> Tensor:
        """Products with a block.

        Args:
            vectors: ``[size, k]``, checked.

        Returns:
            ``[rows, k]``.
        """

    def _adjoint(self, vectors: Tensor) -> Tensor:
        """Products of the adjoint, ``[rows, k]`` to ``[size, k]``."""
        if not self.symmetric:
            raise BadInput(f"The adjoint of {self.name} is not known: give an operator that is symmetric.")
        return self._matmat(vectors)

    @property
    def gradients(self) -> float:
        """What all products so far cost, in gradients of the mean loss over the full data."""
        return self._spent

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, size)."""
        return self.rows, self.size

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Products with one vector ``[size]`` or a block ``[size, k]``."""
        block = self._block(vectors, self.size)
        found = self._matmat(block)
        self.products += block.shape[1]
        return found[:, 0] if vectors.dim() == 1 else found

    @property
    def T(self) -> Operator:
        """The adjoint; a symmetric operator is its own."""
        return self if self.symmetric else _Adjoint(self)

    def __add__(self, other: Operator) -> Operator:
        return _Sum(self, other, 1.0)

    def __sub__(self, other: Operator) -> Operator:
        return _Sum(self, other, -1.0)

    def __mul__(self, factor: float) -> Operator:
        if not isinstance(factor, int | float):
            return NotImplemented
        return _Scaled(self, float(factor))

    __rmul__ = __mul__

    def __neg__(self) -> Operator:
        return _Scaled(self, -1.0)

    def restricted(self, directions: Tensor) -> Operator:
        """The operator on the space that some directions span: ``M.T H M``.

        Args:
            directions: M, ``[P, d]``; its columns need not be orthogonal, nor of unit length.

        Returns:
            An operator of size d.

        Raises:
            BadInput: when the directions are no matrix ``[P, d]``, or the operator is not square.
        """
        self._square("restricted")
        if not isinstance(directions, Tensor) or directions.dim() != 2:
            raise BadInput(f"Directions are a matrix [{self.size}, d], one in each column; got {_shape(directions)}.")
        return _Restricted(self, self._block(directions, self.size))

    def part(self, part: Part) -> Operator:
        """The diagonal block of some parameters: a layer, or all biases.

        Args:
            part: as `Layout.part` names it.

        Returns:
            An operator of size p; all other parameters are held still.

        Raises:
            BadInput: when the part is of another layout, or the operator is not square.
        """
        self._square("taken in part")
        if part.total != self.size:
            raise BadInput(f"The part is of points of {part.total} numbers, and {self.name} is of size {self.size}.")
        return _Block(self, part)

    def dense(self, *, memory: int = 2**32) -> Tensor:
        """The whole matrix, by one product for each column.

        Args:
            memory: bytes that the matrix may take.

        Returns:
            ``[rows, size]``, as the products give it: not made symmetric.

        Raises:
            BadInput: when it would take more.
        """
        need = self.rows * self.size * self.dtype.itemsize
        if need > memory:
            raise BadInput(
                f"The matrix of {self.name} would take {need / 2**30:.1f} GiB, over the {memory / 2**30:.1f} GiB "
                "allowed: use products, a part of the parameters, or memory=."
            )
        whole = torch.empty(self.rows, self.size, dtype=self.dtype, device=self.device)
        width = max(1, min(self.size, 2**24 // max(1, self.size)))
        for start in range(0, self.size, width):
            stop = min(start + width, self.size)
            units = torch.zeros(self.size, stop - start, dtype=self.dtype, device=self.device)
            units[start:stop].fill_diagonal_(1.0)
            whole[:, start:stop] = self @ units
        return whole

    def to_scipy(self) -> Any:
        """The same operator for SciPy's solvers.

        Returns:
            A ``scipy.sparse.linalg.LinearOperator`` on NumPy arrays of the same type.
        """
        import numpy as np
        from scipy.sparse.linalg import LinearOperator

        def through(product: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
            def run(array: Any) -> Any:
                return product(torch.from_numpy(np.array(array)).to(self.device, self.dtype)).cpu().numpy()

            return run

        forth, back = through(lambda v: self @ v), through(lambda v: self.T @ v)
        dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        return LinearOperator(self.shape, matvec=forth, rmatvec=back, matmat=forth, rmatmat=back, dtype=dtype)

    def _square(self, what: str) -> None:
        if self.rows != self.size:
            raise BadInput(f"{self.name} is {self.rows} by {self.size}: only a square operator can be {what}.")

    def _block(self, vectors: Tensor, size: int) -> Tensor:
        """Check a vector or block, and make it ``[size, k]`` of the right type."""
        if not isinstance(vectors, Tensor) or vectors.dim() not in (1, 2) or vectors.shape[0] != size:
            raise BadInput(
                f"{self.name} takes a vector [{size}] or a block [{size}, k] with one vector in each column; "
                f"got {_shape(vectors)}."
            )
        if not vectors.dtype.is_floating_point:
            raise BadInput(f"{self.name} takes floating-point vectors; got {vectors.dtype}.")
        return vectors.detach().to(self.device, self.dtype).reshape(size, -1)

    def __repr__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"Operator({self.name}, {self.rows:,} by {self.size:,}, {kind} on {self.device})"


def from_matrix(matrix: Tensor, *, layout: Layout | None = None, name: str = "matrix") -> Operator:
    """See a matrix as an operator.

    Args:
        matrix: ``[rows, size]``, real floating-point numbers.
        layout: which slice of a vector is which parameter, if there is one.
        name: what to call it.

    Returns:
        The operator.

    Raises:
        BadInput: when it is no such matrix.
    """
    if not isinstance(matrix, Tensor) or matrix.dim() != 2 or not matrix.dtype.is_floating_point:
        raise BadInput(f"An operator is made from a matrix of floating-point numbers; got {_shape(matrix)}.")
    if layout is not None and layout.size != matrix.shape[1]:
        raise BadInput(f"The layout holds {layout.size} numbers, and the matrix has {matrix.shape[1]} columns.")
    return _Matrix(matrix.detach(), layout, name)


class _Matrix(Operator):
    def __init__(self, matrix: Tensor, layout: Layout | None, name: str) -> None:
        rows, size = matrix.shape
        symmetric = rows == size and bool(torch.allclose(matrix, matrix.T, rtol=1e-5, atol=0.0, equal_nan=True))
        # Rounding may leave entries near zero that differ by much of themselves and by nothing of the matrix.
        if rows == size and not symmetric:
            largest = float(matrix.abs().max())
            symmetric = bool((matrix - matrix.T).abs().max() <= 64 * torch.finfo(matrix.dtype).eps * largest)
        super().__init__(
            size, rows=rows, dtype=matrix.dtype, device=matrix.device, name=name, symmetric=symmetric, layout=layout
        )
        self._matrix = matrix

    def _matmat(self, vectors: Tensor) -> Tensor:
        return self._matrix @ vectors

    def _adjoint(self, vectors: Tensor) -> Tensor:
        return self._matrix.T @ vectors


class _Composed(Operator):
    """An operator made of others: what it costs is what they cost, since it was made."""

    def __init__(self, parts: Sequence[Operator], size: int, name: str, **options: Any) -> None:
        options.setdefault("symmetric", all(part.symmetric for part in parts))
        super().__init__(size, dtype=parts[0].dtype, device=parts[0].device, name=name, **options)
        self._parts = tuple(parts)

    @property
    def gradients(self) -> float:
        return self._spent

    def _through(self, part: Operator, vectors: Tensor, *, adjoint: bool = False) -> Tensor:
        before = part.gradients
        found = (part.T if adjoint else part) @ vectors
        self._spent += part.gradients - before
        return found


class _Adjoint(_Composed):
    def __init__(self, of: Operator) -> None:
        super().__init__((of,), of.rows, f"adjoint of {of.name}", rows=of.size)

    def _matmat(self, vectors: Tensor) -> Tensor:
        (of,) = self._parts
        before = of.gradients
        found = of._adjoint(vectors)
        of.products += vectors.shape[1]
        self._spent += of.gradients - before
        return found

    @property
    def T(self) -> Operator:
        return self._parts[0]


class _Sum(_Composed):
    def __init__(self, first: Operator, second: Operator, sign: float) -> None:
        if not isinstance(second, Operator) or first.shape != second.shape:
            got = f"{second.rows} by {second.size}" if isinstance(second, Operator) else f"a {type(second).__name__}"
            raise BadInput(f"{first.name} is {first.rows} by {first.size}: add an operator of that shape, not {got}.")
        if first.dtype != second.dtype or first.device != second.device:
            raise BadInput(f"{first.name} and {second.name} differ in type or device: make them alike first.")
        name = f"{first.name} {'+' if sign > 0 else '-'} {second.name}"
        layout = first.layout or second.layout
        super().__init__((first, second), first.size, name, rows=first.rows, layout=layout)
        self._sign = sign

    def _matmat(self, vectors: Tensor) -> Tensor:
        first, second = self._parts
        return self._through(first, vectors) + self._sign * self._through(second, vectors)

    def _adjoint(self, vectors: Tensor) -> Tensor:
        first, second = self._parts
        return self._through(first, vectors, adjoint=True) + self._sign * self._through(second, vectors, adjoint=True)

    def part(self, part: Part) -> Operator:
        first, second = self._parts
        return _Sum(first.part(part), second.part(part), self._sign)


class _Scaled(_Composed):
    def __init__(self, of: Operator, factor: float) -> None:
        if not math.isfinite(factor):
            raise BadInput(f"{of.name} cannot be multiplied by {factor}: give a finite number.")
        super().__init__((of,), of.size, f"{factor:g} * {of.name}", rows=of.rows, layout=of.layout)
        self._factor = factor

    def _matmat(self, vectors: Tensor) -> Tensor:
        return self._factor * self._through(self._parts[0], vectors)

    def _adjoint(self, vectors: Tensor) -> Tensor:
        return self._factor * self._through(self._parts[0], vectors, adjoint=True)

    def part(self, part: Part) -> Operator:
        return _Scaled(self._parts[0].part(part), self._factor)


class _Restricted(_Composed):
    def __init__(self, of: Operator, directions: Tensor) -> None:
        count = directions.shape[1]
        super().__init__((of,), count, f"{of.name} restricted to {count} directions")
        self._directions = directions

    def _matmat(self, vectors: Tensor) -> Tensor:
        return self._directions.T @ self._through(self._parts[0], self._directions @ vectors)

    def _adjoint(self, vectors: Tensor) -> Tensor:
        return self._directions.T @ self._through(self._parts[0], self._directions @ vectors, adjoint=True)


class _Block(_Composed):
    def __init__(self, of: Operator, part: Part) -> None:
        super().__init__((of,), part.size, f"{of.name} of {part_name(part)}", layout=layout_of(part))
        self._part = part

    def _matmat(self, vectors: Tensor) -> Tensor:
        return self._part.of(self._through(self._parts[0], self._part.embed(vectors.T).T).T).T

    def _adjoint(self, vectors: Tensor) -> Tensor:
        whole = self._part.embed(vectors.T).T
        return self._part.of(self._through(self._parts[0], whole, adjoint=True).T).T


def part_name(part: Part) -> str:
    """Name a part by its parameters, or by the first and how many more.

    Args:
        part: the part.

    Returns:
        A few words.
    """
    first, more = part.slots[0].name, len(part.slots) - 1
    return f"{first} and {more} more" if more else first


def layout_of(part: Part) -> Layout:
    """The layout of a part's own vectors.

    Args:
        part: the part.

    Returns:
        Its parameters, one after the other.
    """
    slots, start = [], 0
    for slot in part.slots:
        slots.append(replace(slot, start=start, stop=start + slot.size))
        start += slot.size
    return Layout(tuple(slots))


def _shape(given: Any) -> str:
    return f"a tensor of shape {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
