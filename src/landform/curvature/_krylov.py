"""One Krylov basis, which can be extended, restarted and kept, and from which every answer is read.

The recurrence is band Lanczos (Ruhe 1979; Bai et al., *Templates*, section 4.6) with full orthogonalisation. The rows
of the basis are orthonormal; the first m of them have been multiplied by the operator, the last p wait. A product w =
H v_m gives the column T[:, m] = V w of the projected matrix; what is left of w is one more row. With one start vector
this is Lanczos and T is tridiagonal; with k start vectors it finds eigenvalues of multiplicity up to k; after a thick
restart (Wu & Simon 2000) T is an arrow. Since the rows that wait are known, so are the residuals of every Ritz pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from landform import store
from landform.curvature._contract import Symmetric, check_count, check_operator, check_vector, dot, norm, product
from landform.curvature._draws import gaussian
from landform.curvature._rows import Rows
from landform.errors import BadInput

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ritz:
    """What a Krylov basis knows of the spectrum.

    Attributes:
        values: Ritz values, ascending, ``[m]``.
        coefficients: their vectors in terms of the basis, one a column, ``[m, m]``.
        residuals: ``||H u - theta u||`` of each, from the coefficients, without a product, ``[m]``.
    """

    values: Matrix
    coefficients: Matrix
    residuals: Matrix


class Krylov:
    """An orthonormal basis of a Krylov space, with the operator's projection on it.

    Coefficients are float64, the basis has the operator's type. One pass of full orthogonalisation follows the known
    terms of the recurrence, a second one only where the first removed much ("twice is enough", Kahan and Parlett).

    Attributes:
        operator: the operator.
        seed: of the start vector, and of the vectors that take over when the space is exhausted.
        products: products spent, those before a restart or a save included.
        restarts: thick restarts so far.
        start_norm: length of the first start vector as it was given or drawn.
        given: whether the start was given, not drawn.
    """

    def __init__(self, operator: Symmetric, start: Tensor | None = None, *, seed: int = 0, number: int = 0) -> None:
        """Choose the start; no product is spent yet.

        Args:
            operator: a symmetric operator.
            start: ``[P]``, or ``[P, p]`` for a space that grows from several vectors at once; a random Gaussian
                vector by default.
            seed: of what is drawn.
            number: which of several random starts of this seed.

        Raises:
            BadInput: when the start is not of the operator's size, or is zero.
        """
        check_operator(operator)
        self.operator = operator
        self.seed, self.number = seed, number
        self.products = 0
        self.restarts = 0
        self._drawn = 0
        self._rows = Rows(operator.size, operator.dtype, operator.device)
        self._done = 0
        self._projected: Matrix = np.zeros((0, 0))
        self._largest = 0.0
        self.given = start is not None
        if start is None:
            start = self._draw()
        start = check_vector("start", start, operator, columns=True)
        columns = start.reshape(operator.size, -1)
        self.start_norm = norm(columns[:, 0])
        for i in range(columns.shape[1]):
            self._append(columns[:, i].clone(), norm(columns[:, i]))
        if len(self._rows) == 0:
            raise BadInput("The start vector is zero: a Krylov space needs a direction to grow from.")
        self._grow_projected()

    # ------------------------------------------------------------------------------------------------ growing

    @property
    def size(self) -> int:
        """How many basis vectors have been multiplied: m."""
        return self._done

    @property
    def waiting(self) -> int:
        """How many basis vectors wait to be multiplied; 0 when the space is the whole space."""
        return len(self._rows) - self._done

    @property
    def next(self) -> Tensor:
        """The basis vector that is to be multiplied next, ``[P]``."""
        return self._rows[self._done]

    def extend(self, steps: int) -> Self:
        """Spend products, one a step; fewer where the basis spans the whole space.

        Args:
            steps: how many.

        Returns:
            This basis.
        """
        check_count("steps", steps, 0)
        for _ in range(steps):
            if self.waiting == 0:
                break
            self.absorb(product(self.operator, self.next))
        return self

    def absorb(self, result: Tensor) -> None:
        """Take in the product of `next`; for products that are taken elsewhere, several bases' in one block.

        Args:
            result: ``H @ next``, ``[P]``.

        Raises:
            BadInput: when the product contradicts those before it, as one of an operator that is not symmetric does.
        """
        m, rows = self._done, self._rows
        rest = result.clone()
        before = norm(rest)
        # Terms the recurrence knows, and the new diagonal ones, in float64.
        known = [i for i in range(m) if self._projected[i, m] != 0.0]
        for i in known:
            rest.add_(rows[i], alpha=-float(self._projected[i, m]))
        for i in range(m, len(rows)):
            coefficient = dot(rows[i], rest)
            self._projected[i, m] = self._projected[m, i] = coefficient
            rest.add_(rows[i], alpha=-coefficient)
        self._largest = max(self._largest, before)
        left = norm(rest)
        removed = rows.remove(rest)
        # In exact arithmetic nothing is left along the older rows: what is, is rounding, or H is not symmetric.
        if m and float(removed[:m].norm()) > 1e-2 * self._largest:
            raise BadInput(
                "The operator is not symmetric, or gives another product each time: v'(H w) and w'(H v) differ by "
                f"{float(removed[:m].norm()) / self._largest:.1%} of its norm."
            )
        after = norm(rest)
        if after < 0.7 * left:
            rows.remove(rest)
            after = norm(rest)
        self._done += 1
        self.products += 1
        appended = self._append(rest, before, orthogonal=True)
        self._grow_projected()
        if appended:
            self._projected[len(rows) - 1, m] = self._projected[m, len(rows) - 1] = after
        elif self.waiting == 0 and len(rows) < self.operator.size:
            self._begin_anew()

    def restart(self, kept: npt.NDArray[np.intp]) -> None:
        """Shrink the basis to some of its Ritz vectors and the vectors that wait (a thick restart).

        Args:
            kept: positions in `ritz`.values of the pairs to keep.
        """
        ritz = self.ritz()
        chosen = ritz.coefficients[:, kept]
        coupling = self._projected[self._done : len(self._rows), : self._done] @ chosen
        waiting = self._projected[self._done : len(self._rows), self._done : len(self._rows)]
        self._rows.rotate(chosen, self._done)
        count = len(kept)
        total = len(self._rows)
        self._done = count
        self._projected = np.zeros((total, total))
        self._projected[:count, :count] = np.diag(ritz.values[kept])
        self._projected[count:, :count] = coupling
        self._projected[:count, count:] = coupling.T
        self._projected[count:, count:] = waiting
        self.restarts += 1

    def turn(self, coefficients: Matrix) -> None:
        """Rotate the vectors that wait, so that the residual of one Ritz pair is multiplied next.

        Args:
            coefficients: the pair's vector in terms of the basis, ``[m]``.
        """
        m, total = self._done, len(self._rows)
        if total - m < 2:
            return
        towards = self._projected[m:total, :m] @ coefficients
        length = float(np.linalg.norm(towards))
        if length == 0.0 or abs(towards[0]) == length:
            return
        # A Householder reflection that carries the first axis onto the residual's direction.
        normal = towards / length
        sign = -1.0 if normal[0] > 0 else 1.0
        normal[0] -= sign
        normal /= np.linalg.norm(normal)
        reflection = np.eye(total - m) - 2.0 * np.outer(normal, normal)
        self._rows.mix(m, reflection)
        self._projected[m:total, :] = reflection @ self._projected[m:total, :]
        self._projected[:, m:total] = self._projected[:, m:total] @ reflection

    def _append(self, vector: Tensor, scale: float, *, orthogonal: bool = False) -> bool:
        """Add a direction, orthogonalised and normalised, unless there is nothing new in it."""
        if len(self._rows) == self.operator.size:
            return False
        # Below this, what is left of a vector is the rounding of the products that made it.
        tiny = 8.0 * torch.finfo(self.operator.dtype).eps * max(scale, self._largest if orthogonal else 0.0)
        if not orthogonal and scale > 0:
            for _ in range(2):
                self._rows.remove(vector)
        length = norm(vector)
        if length <= tiny:
            return False
        vector.div_(length)
        if length < 1e-2 * max(scale, tiny):
            self._rows.remove(vector)  # dividing by a small number blew rounding up
            vector.div_(norm(vector))
        self._rows.append(vector)
        return True

    def _begin_anew(self) -> None:
        """The space is invariant: go on from a random vector orthogonal to it, uncoupled from it."""
        for _ in range(5):
            fresh = self._draw()
            if self._append(fresh, norm(fresh)):
                self._grow_projected()
                return

    def _draw(self) -> Tensor:
        self._drawn += 1
        H = self.operator
        return gaussian(H.size, self.seed, 4096 * (self._drawn - 1) + self.number, dtype=H.dtype, device=H.device)

    def _grow_projected(self) -> None:
        total, before = len(self._rows), len(self._projected)
        if total > before:
            grown = np.zeros((total, total))
            grown[:before, :before] = self._projected
            self._projected = grown

    # ------------------------------------------------------------------------------------------------ reading

    @property
    def basis(self) -> Tensor:
        """The vectors multiplied so far, ``[P, m]``; a copy."""
        return self._rows.matrix(self._done).T

    @property
    def projected(self) -> Tensor:
        """``V.T H V``, ``[m, m]``, float64, on the CPU."""
        return torch.from_numpy(self._projected[: self._done, : self._done].copy())

    @property
    def alphas(self) -> Tensor:
        """The diagonal of `projected`, ``[m]``."""
        return self.projected.diagonal().clone()

    @property
    def betas(self) -> Tensor:
        """What couples each vector with the next, the first that waits included, ``[m]``; 0 at a breakdown."""
        beside = np.zeros(self._done)
        reach = min(self._done, len(self._rows) - 1)
        beside[:reach] = np.diagonal(self._projected, -1)[:reach]
        return torch.from_numpy(beside)

    def ritz(self) -> Ritz:
        """Eigenvalues of the projection, with residual norms that cost no product.

        Returns:
            Values, coefficients and residuals.
        """
        m = self._done
        values, coefficients = np.linalg.eigh(self._projected[:m, :m])
        residuals = np.linalg.norm(self._projected[m : len(self._rows), :m] @ coefficients, axis=0)
        return Ritz(values, coefficients, residuals)

    def images(self) -> Tensor:
        """Products of the basis vectors, ``H V``, from the coefficients, without a product.

        Returns:
            ``[P, m]``.
        """
        total = len(self._rows)
        return self._rows.combine(self._projected[:total, : self._done], total).T

    def vectors(self, coefficients: Matrix) -> Tensor:
        """Combine basis vectors.

        Args:
            coefficients: one combination a column, ``[m, k]``.

        Returns:
            ``[P, k]``.
        """
        return self._rows.combine(coefficients, self._done).T

    # ------------------------------------------------------------------------------------------------ keeping

    def save(self, path: str | Path) -> None:
        """Write the basis to a file, whole or not at all.

        Args:
            path: the file; its folder must be there.
        """
        numbers = [self.seed, self.number, self.products, self.restarts, self._drawn, self._done, self.given]
        store.write_tensors(
            path,
            {
                "rows": self._rows.matrix(len(self._rows)),
                "projected": torch.from_numpy(self._projected),
                "numbers": torch.tensor(numbers, dtype=torch.int64),
                "scales": torch.tensor([self.start_norm, self._largest], dtype=torch.float64),
            },
            {"kind": "krylov/1"},
        )

    @classmethod
    def load(cls, path: str | Path, operator: Symmetric) -> Self:
        """Read back what `save` wrote, and go on with it; one product tells whether the operator is still the same.

        Args:
            path: the file.
            operator: the operator that the basis was made for.

        Returns:
            The basis.

        Raises:
            BadInput: when the file holds something else, or the operator is another one.
        """
        tensors, metadata = store.read_tensors(path)
        if metadata.get("kind") != "krylov/1":
            raise BadInput(f"{path} holds no Krylov basis: give a file that Krylov.save wrote.")
        rows = tensors["rows"]
        if rows.shape[1] != operator.size:
            raise BadInput(
                f"{path} holds a basis of size {rows.shape[1]:,}, but the operator's size is {operator.size:,}."
            )
        self = cls(operator, rows[0].to(operator.device, operator.dtype))
        self._rows = Rows(operator.size, operator.dtype, operator.device)
        for row in rows:
            self._rows.append(row.to(operator.device, operator.dtype))
        self._projected = tensors["projected"].numpy()
        self.seed, self.number, self.products, self.restarts, self._drawn, self._done, given = tensors[
            "numbers"
        ].tolist()
        self.given = bool(given)
        self.start_norm, self._largest = tensors["scales"].tolist()
        if self._done:
            expected = self._rows.combine(self._projected[:, :1], len(self._rows))[0]
            found = product(operator, self._rows[0])
            self.products += 1
            if norm(found - expected) > 1e-3 * max(self._largest, 1e-300):
                raise BadInput(f"{path} holds the basis of another operator: its first product is not the one kept.")
        return self


def krylov(operator: Symmetric, steps: int, *, start: Tensor | None = None, seed: int = 0) -> Krylov:
    """Build a Krylov basis.

    Args:
        operator: a symmetric operator.
        steps: products to spend.
        start: ``[P]`` or ``[P, p]``; random by default.
        seed: of what is drawn.

    Returns:
        The basis; `eigenpairs`, `density` and `trace` take it in place of the operator, and it can be extended.

    Raises:
        BadInput: when there are more steps than dimensions.
    """
    check_operator(operator)
    check_count("steps", steps, 1, operator.size)
    return Krylov(operator, start, seed=seed).extend(steps)
