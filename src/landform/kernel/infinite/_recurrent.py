"""Recurrent networks of infinite width, their weights shared over time (Alemohammad et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel.infinite._duals import chosen
from landform.kernel.infinite._pairs import Kernels, assemble, read, spread
from landform.kernel.infinite._recurrent_relu import walk_relu

# Sequences along each side of a tile: what a step reads and writes stays in the cache.
_EDGE, _QUICK_EDGE = 192, 128

Sequences = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class Rows:
    """Some sequences on their way along a diagonal of times.

    Attributes:
        inputs: ``[n, T, m]``.
        lengths: ``[n]``.
        variances: of every layer's preactivation at every time, ``[depth, n, T]``.
        late: after how many steps each begins, ``[n]``.
    """

    inputs: Tensor
    lengths: Tensor
    variances: Tensor
    late: Tensor


@dataclass(frozen=True)
class RecurrentNTK:
    """The Recurrent NTK: ``g_t = s_w W h_{t-1} + s_u U x_t + s_b b``, ``h = phi(g)``, ``f = s_v v h_T``.

    All weights are standard normal, each over the root of its fan-in, and used at every time. The initial state of
    every sequence is drawn by itself, with spread ``sigma_h``.

    Attributes:
        sigma_w: spread of the recurrent weights.
        sigma_u: of the weights from the input, or the layer below.
        sigma_b: of the biases.
        sigma_h: of the initial states.
        sigma_v: of the read-out.
        depth: recurrent layers.
        activation: ``"relu"``, ``"erf"``, or another name that `dense` knows.
        output: ``"last"`` reads out the last state; ``"mean"`` the mean of all states by one shared read-out (all
            pairs of times); ``"each"`` the mean of outputs, every time having a read-out of its own (equal times
            only, equal lengths only): their kernel is the mean over times, not over times squared.
        dtype: to compute in, ``"float64"`` or ``"float32"``.
    """

    sigma_w: float = math.sqrt(2)
    sigma_u: float = 1.0
    sigma_b: float = 0.0
    sigma_h: float = 0.0
    sigma_v: float = 1.0
    depth: int = 1
    activation: str = "relu"
    output: Literal["last", "mean", "each"] = "last"
    dtype: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        for name in ("sigma_w", "sigma_u", "sigma_b", "sigma_h", "sigma_v"):
            spread(name, getattr(self, name))
        chosen(self.activation)
        if self.depth < 1:
            raise BadInput(f"depth counts recurrent layers, 1 or more; got {self.depth}.")
        if self.output not in ("last", "mean", "each"):
            raise BadInput(f"output is last, mean or each; got {self.output!r}.")
        if self.dtype not in ("float64", "float32"):
            raise BadInput(f"dtype is float64 or float32; got {self.dtype!r}.")

    def gram(
        self,
        x: Sequences,
        y: Sequences | None = None,
        *,
        lengths: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Tensor:
        """Compute the tangent kernel of all pairs of sequences.

        Args:
            x: ``[n, T, m]`` padded at the end, with `lengths`; or n sequences ``[T_i, m]``.
            y: a second set; x again if not given.
            lengths: of the sequences of x, ``[n]``; all full if not given.
            y_lengths: of those of y.

        Returns:
            ``[n, m]``, in the dtype computed in.
        """
        return self.kernels(x, y, lengths=lengths, y_lengths=y_lengths).ntk

    def kernels(
        self,
        x: Sequences,
        y: Sequences | None = None,
        *,
        lengths: Tensor | None = None,
        y_lengths: Tensor | None = None,
    ) -> Kernels:
        """Compute NNGP and tangent kernel of all pairs of sequences.

        ``"last"`` and ``"each"`` take max(T) steps on an n x m matrix, whatever the lengths; ``"mean"`` takes
        T (2T - 1).

        Args:
            x: as in `gram`.
            y: as in `gram`.
            lengths: as in `gram`.
            y_lengths: as in `gram`.

        Returns:
            Both kernels.

        Raises:
            BadInput: when sequences or lengths do not fit.
        """
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        first = _padded(x, lengths, dtype)
        if y is None and y_lengths is not None:
            raise BadInput("y_lengths is given without y: give both, or lengths alone.")
        second = first if y is None else _padded(y, y_lengths, dtype)
        if first[0].shape[2] != second[0].shape[2]:
            raise BadInput(f"Both sets have the same channels; got {first[0].shape[2]} and {second[0].shape[2]}.")
        every = torch.cat([first[1], second[1]])
        if self.output == "each" and bool((every != every[0]).any()):
            raise BadInput('output="each" compares equal times of sequences of one length: use "last" or "mean".')
        own = self._variances(first[0])
        theirs = own if y is None else self._variances(second[0])

        # What is computed in place has no gradient.
        traced = torch.is_grad_enabled() and (first[0].requires_grad or second[0].requires_grad)
        quick = self.activation == "relu" and self.depth == 1 and not traced
        walk = partial(walk_relu, self) if quick else self._walk

        def tile(i: slice, j: slice) -> Tensor:
            a = Rows(first[0][i], first[1][i], own[:, i], torch.zeros_like(first[1][i]))
            b = Rows(second[0][j], second[1][j], theirs[:, j], torch.zeros_like(second[1][j]))
            same = y is None and i == j
            if self.output != "mean":
                longest = int(max(a.lengths.max(), b.lengths.max()))
                a, b = (replace(each, late=longest - each.lengths) for each in (a, b))
                return walk(a, b, longest, same)
            total = torch.zeros(2, len(a.lengths), len(b.lengths), dtype=dtype, device=a.inputs.device)
            longest = int(a.lengths.max())
            for lag in range(1 - longest, int(b.lengths.max())):
                total = total + walk(a, replace(b, late=b.late - lag), longest, same and lag == 0)
            return total / (a.lengths[:, None] * b.lengths[None]).to(dtype)

        edge = _QUICK_EDGE if quick else _EDGE
        both = assemble(len(first[1]), None if y is None else len(second[1]), edge, tile)
        return Kernels(both[0], both[1])

    def _variances(self, x: Tensor) -> Tensor:
        """Variance of every layer's preactivation at every time, ``[depth, n, T]``."""
        phi = chosen(self.activation)
        rows: list[Tensor] = []
        driven = x.square().mean(2).unbind(1)
        for _ in range(self.depth):
            state = torch.full_like(driven[0], self.sigma_h**2)
            states: list[Tensor] = []
            found: list[Tensor] = []
            for drive in driven:
                k = self.sigma_u**2 * drive + self.sigma_b**2 + self.sigma_w**2 * state
                state = phi(k, k, k)[0]
                found.append(k)
                states.append(state)
            driven = tuple(states)
            rows.append(torch.stack(found, 1))
        return torch.stack(rows)

    def _walk(self, a: Rows, b: Rows, steps: int, same: bool) -> Tensor:
        """Walk along one diagonal of times, every sequence delayed by its own steps: ``[2, n, m]``.

        The last state's kernels, or their sum over the diagonal.
        """
        phi = chosen(self.activation)
        w, u, bias, v = (s**2 for s in (self.sigma_w, self.sigma_u, self.sigma_b, self.sigma_v))
        x, y = a.inputs, b.inputs
        shape = len(x), len(y)
        zero = x.new_zeros(shape)
        start = self.sigma_h**2 * torch.eye(shape[0], dtype=x.dtype, device=x.device) if same else zero
        value, tangent = [start] * self.depth, [zero] * self.depth
        total = torch.stack([zero, zero])
        # Nobody waits and nobody ends early: no masks.
        full = not bool(a.late.any() or b.late.any()) and bool(
            (a.lengths >= steps).all() and (b.lengths >= steps).all()
        )
        for step in range(steps):
            time_a, time_b = step - a.late, step - b.late
            here = ((time_a >= 0) & (time_a < a.lengths))[:, None] & ((time_b >= 0) & (time_b < b.lengths))[None]
            if not full and not bool(here.any()):
                continue
            if not full:
                fresh_a, fresh_b = (time_a == 0)[:, None], (time_b == 0)[None]
            at_a, at_b = time_a.clamp(0, x.shape[1] - 1), time_b.clamp(0, y.shape[1] - 1)
            rows_a, rows_b = torch.arange(shape[0], device=x.device), torch.arange(shape[1], device=x.device)
            below = x[rows_a, at_a] @ y[rows_b, at_b].T / x.shape[2]
            lower: Tensor | None = None
            for layer in range(self.depth):
                before, moved = value[layer], tangent[layer]
                if not full:
                    # A sequence's own first state knows nothing of another's later one.
                    before = torch.where(fresh_a & fresh_b, start, torch.where(fresh_a | fresh_b, zero, before))
                    moved = torch.where(fresh_a | fresh_b, zero, moved)
                k = u * below + bias + w * before
                r = k + w * moved
                if lower is not None:
                    r = r + u * lower
                below, slope = phi(k, a.variances[layer][rows_a, at_a][:, None], b.variances[layer][rows_b, at_b][None])
                lower = r * slope
                value[layer], tangent[layer] = below, lower
            if self.output != "last":
                assert lower is not None
                total = total + torch.stack([below, below + lower]) * here
        if self.output == "last":
            return v * torch.stack([value[-1], value[-1] + tangent[-1]])
        return v * (total / steps if self.output == "each" else total)


def _padded(given: Sequences, lengths: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bring sequences to ``[n, T, m]``, zeros after their ends, and their lengths."""
    if not isinstance(given, Tensor):
        rows = list(given)
        if lengths is not None:
            raise BadInput("A list of sequences has its own lengths: leave lengths out.")
        if not rows or any(not isinstance(row, Tensor) or row.dim() != 2 or not len(row) for row in rows):
            raise BadInput("A list of sequences holds tensors [T, channels], T >= 1, one at least.")
        if len({row.shape[1] for row in rows}) != 1:
            raise BadInput("All sequences have the same channels; these do not.")
        lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
        given = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    if given.dim() != 3:
        raise BadInput(f"Sequences are [n, T, channels]; got {list(given.shape)}.")
    n, longest = given.shape[:2]
    if lengths is None:
        lengths = torch.full((n,), longest, device=given.device)
    lengths = lengths.to(given.device).long()
    if lengths.shape != (n,) or int(lengths.min()) < 1 or int(lengths.max()) > longest:
        raise BadInput(f"lengths are {n} whole numbers from 1 to {longest}; got {lengths.tolist()[:8]}.")
    inside = torch.arange(longest, device=given.device)[None] < lengths[:, None]
    clean = torch.where(inside[..., None], given, torch.zeros_like(given))
    return read(clean, None, 3, dtype, "sequences [n, T, channels]")[0], lengths
