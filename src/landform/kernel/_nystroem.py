"""A kernel from some of its columns, with an error that is known and not guessed (Nystroem approximation)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import as_matrix, check_form, outputs_of, wide

Blocks: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A function of row and column numbers that returns that block of a kernel, ``[r, c]`` or ``[r, c, K, K]``."""

_ROWS = 1024


@dataclass(frozen=True)
class Nystroem:
    """``K ~ F F'``, exact in the chosen columns, and never above K.

    What is left, ``K - F F'``, is itself positive, so its trace bounds its every eigenvalue and its Frobenius norm; and
    that trace is known exactly, from the kernel's diagonal.

    Attributes:
        chosen: samples whose columns were taken, ``[r]``.
        factor: F, ``[n K, rank]`` (K is 1 for a trace kernel), float64.
        left: diagonal of what is left, ``[n K]``.
        error: its trace over the kernel's trace: the relative error in nuclear norm, exact.
        frobenius: estimate of ``||K - F F'||_F``, from the rows of some samples; nan where none were looked at.
        frobenius_error: its standard error.
        blocks_read: how many samples' columns were read, those for the estimate included.
        seed: of what was drawn.
    """

    chosen: Tensor
    factor: Tensor = field(repr=False)
    left: Tensor = field(repr=False)
    error: float
    frobenius: float
    frobenius_error: float
    blocks_read: int
    seed: int
    _outputs: int = field(repr=False)

    @property
    def bound(self) -> float:
        """The trace of what is left: no entry, eigenvalue or Frobenius norm of the error is larger."""
        return float(self.left.sum())

    def matrix(self) -> Tensor:
        """The approximation as a matrix.

        Returns:
            ``[n K, n K]``, float64.
        """
        return self.factor @ self.factor.T

    def eigenvalues(self) -> Tensor:
        """Eigenvalues of the approximation, descending, ``[rank]``; each is at most `bound` below the kernel's own."""
        lengths: Tensor = torch.linalg.svdvals(self.factor)
        return lengths.square()

    def solve(self, targets: Tensor, ridge: float) -> Tensor:
        """Coefficients of ridge regression with the approximate kernel, ``(F F' + ridge)^-1 Y``.

        Args:
            targets: ``[n, C]`` or ``[n]``; for a full kernel C is K.
            ridge: above 0.

        Returns:
            ``[n, C]``, float64.

        Raises:
            BadInput: when the ridge is not positive, or the targets do not fit.
        """
        if not ridge > 0:
            raise BadInput(f"ridge is {ridge}: the approximation has not full rank, so give one above 0.")
        n = len(self.factor) // self._outputs
        if len(targets) != n or (self._outputs > 1 and targets.numel() != len(self.factor)):
            raise BadInput(f"Targets of shape {list(targets.shape)} do not fit {n} samples of {self._outputs} outputs.")
        y = wide(targets).to(self.factor.device)
        columns = y.reshape(len(self.factor), -1)
        inner = self.factor.T @ self.factor
        inner.diagonal().add_(ridge)
        found: Tensor = (columns - self.factor @ torch.linalg.solve(inner, self.factor.T @ columns)) / ridge
        return found.reshape(n, -1)


def nystroem(
    blocks: Blocks,
    samples: int,
    rank: int,
    *,
    diagonal: Tensor | None = None,
    choose: Literal["pivots", "uniform"] = "pivots",
    together: int | None = None,
    check: int = 0,
    seed: int = 0,
) -> Nystroem:
    """Approximate a kernel from the columns of some samples.

    Samples are drawn with chances proportional to what is still left on their diagonal (randomly pivoted Cholesky,
    Chen, Epperly, Tropp & Webber 2022), a few at a time, or uniformly. Only the columns drawn, and the diagonal, are
    read.

    Args:
        blocks: gives the block of some rows and columns (numbers of samples, both ``int64``).
        samples: n.
        rank: how many samples' columns to take.
        diagonal: the kernel's diagonal, ``[n]``, or ``[n, K]`` of a full kernel; read by blocks by default.
        choose: ``"pivots"`` or ``"uniform"``.
        together: how many samples are drawn before the diagonal is brought up to date; a tenth of the rank by default.
        check: how many further samples' columns to read for an estimate of the Frobenius error.
        seed: of what is drawn.

    Returns:
        The approximation and its error.

    Raises:
        BadInput: when the counts do not fit, or the blocks are none of one positive kernel.
    """
    if not 1 <= rank <= samples or check < 0 or choose not in ("pivots", "uniform"):
        raise BadInput(
            f"rank is {rank}, check {check} and choose {choose!r}: give a rank from 1 to {samples}, a check of 0 or "
            "more, and 'pivots' or 'uniform'."
        )
    drawing = torch.Generator().manual_seed(seed)
    first = check_form(blocks(torch.arange(1), torch.arange(1)), "block of the kernel")
    outputs = outputs_of(first)
    given = _diagonal(blocks, samples, outputs) if diagonal is None else wide(diagonal)
    left = given.reshape(-1).clone().cpu()
    if len(left) != samples * outputs or not bool(torch.isfinite(left).all()) or bool((left < 0).any()):
        raise BadInput(f"The diagonal has {samples * outputs} finite numbers, none negative; got {list(given.shape)}.")
    total = float(left.sum())
    if total == 0.0:
        raise BadInput("The kernel's diagonal is zero, and so is the kernel.")
    factor = torch.zeros(samples * outputs, 0, dtype=torch.float64)
    chosen: list[int] = []
    step = max(1, rank // 10) if together is None else max(1, together)
    while len(chosen) < rank and float(left.sum()) > 1e-14 * total:
        fresh = _draw(left.reshape(samples, outputs).sum(1), chosen, min(step, rank - len(chosen)), choose, drawing)
        if not fresh:
            break
        columns = _columns(blocks, samples, fresh, outputs) - factor @ factor[_rows_of(fresh, outputs)].T
        corner = columns[_rows_of(fresh, outputs)]
        factor = torch.cat([factor, columns @ _inverse_root(corner, total / len(left), first.dtype)], dim=1)
        left = (given.reshape(-1).cpu() - factor.square().sum(1)).clamp_min(0.0)
        left[_rows_of(chosen + fresh, outputs)] = 0.0  # exact there, up to rounding
        chosen += fresh
    value, spread, looked = _frobenius(blocks, factor, samples, outputs, chosen, check, drawing)
    return Nystroem(
        torch.tensor(chosen),
        factor,
        left,
        float(left.sum()) / total,
        value,
        spread,
        len(chosen) + looked,
        seed,
        outputs,
    )


def _draw(chances: Tensor, taken: list[int], count: int, choose: str, drawing: torch.Generator) -> list[int]:
    chances = torch.ones_like(chances) if choose == "uniform" else chances.clone()
    chances[taken] = 0.0
    count = min(count, int((chances > 0).sum()))
    return torch.multinomial(chances, count, generator=drawing).tolist() if count else []


def _columns(blocks: Blocks, samples: int, which: list[int], outputs: int) -> Tensor:
    """The columns of some samples, ``[n K, s K]``, read by blocks of rows."""
    columns = torch.tensor(which)
    parts = []
    for start in range(0, samples, _ROWS):
        rows = torch.arange(start, min(start + _ROWS, samples))
        block = check_form(blocks(rows, columns), "block of the kernel")
        if block.shape[:2] != (len(rows), len(columns)) or outputs_of(block) != outputs:
            raise BadInput(
                f"The block of {len(rows)} rows and {len(columns)} columns has shape {list(block.shape)}: it must be "
                f"[{len(rows)}, {len(columns)}{f', {outputs}, {outputs}' if outputs > 1 else ''}]."
            )
        parts.append(wide(as_matrix(block)).cpu())
    return torch.cat(parts)


def _diagonal(blocks: Blocks, samples: int, outputs: int) -> Tensor:
    """The kernel's diagonal, ``[n K]``, by small square blocks of which only that is kept."""
    parts = []
    for start in range(0, samples, 8):
        rows = torch.arange(start, min(start + 8, samples))
        parts.append(wide(as_matrix(check_form(blocks(rows, rows), "block of the kernel"))).diagonal().cpu())
    return torch.cat(parts)


def _rows_of(which: list[int], outputs: int) -> Tensor:
    return (torch.tensor(which)[:, None] * outputs + torch.arange(outputs)).reshape(-1)


def _inverse_root(corner: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """``W`` with ``W W'`` the pseudo-inverse of a positive corner, ``[s, r]``."""
    values, vectors = torch.linalg.eigh(0.5 * (corner + corner.T))
    largest, noise = max(scale, float(values[-1])), float(torch.finfo(dtype).eps)
    if float(values[0]) < -max(noise**0.5, 1e-5) * largest:
        raise BadInput(
            f"A block of the kernel has the eigenvalue {float(values[0]):.3g}: the blocks are none of one positive "
            "kernel, symmetric in rows and columns."
        )
    kept = values > max(16 * noise, 1e-12) * largest
    root: Tensor = vectors[:, kept] / values[kept].sqrt()
    return root


def _frobenius(
    blocks: Blocks, factor: Tensor, samples: int, outputs: int, chosen: list[int], check: int, drawing: torch.Generator
) -> tuple[float, float, int]:
    """Estimate of the Frobenius norm of what is left, with its standard error, and how many samples it took."""
    others = torch.tensor(sorted(set(range(samples)) - set(chosen)), dtype=torch.long)
    count = min(check, len(others))
    if not len(others):
        return 0.0, 0.0, 0
    if count < 2:
        return math.nan, math.nan, 0
    some = others[torch.randperm(len(others), generator=drawing)[:count]].tolist()
    rest = _columns(blocks, samples, some, outputs) - factor @ factor[_rows_of(some, outputs)].T
    squares = rest.square().sum(0).reshape(count, outputs).sum(1) * len(others)
    mean = float(squares.mean())
    # Drawn without replacement: with all of them looked at, nothing is uncertain.
    spread = float(squares.std()) / math.sqrt(count) * math.sqrt(1 - count / len(others))
    value = math.sqrt(mean)
    return value, spread / (2 * value) if value else 0.0, count
