"""One recurrent layer of ReLU, with half of the operations that any activation takes, and nearly all in place.

Everything is over the roots s of the variances: the covariance of two preactivations is a cosine c, and

    c_t = x~_t . y~_t + s_w^2 R_t g(c_{t-1}),   g(c) = (sin + c (pi - angle)) / 2 pi,   R_t = r_t outer r_t',

with r_t = s_{t-1} / s_t, and x~ the input and the bias over s_t. At a sequence's first time r is zero, so that what
stood there before is forgotten.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landform.kernel.infinite._duals import ROUNDINGS

if TYPE_CHECKING:
    from landform.kernel.infinite._recurrent import RecurrentNTK, Rows


def walk_relu(kernel: RecurrentNTK, a: Rows, b: Rows, steps: int, same: bool) -> Tensor:
    """Walk along one diagonal of times, every sequence delayed by its own steps.

    Args:
        kernel: one layer of ReLU.
        a: sequences.
        b: others.
        steps: how many.
        same: whether both are the same, with the same delays.

    Returns:
        ``[2, n, m]``: the last state's NNGP and tangent kernel, or their sums over the diagonal.
    """
    w, v = kernel.sigma_w**2, kernel.sigma_v**2
    xs, falls_a, roots_a, times_a = _over_roots(kernel, a, steps)
    ys, falls_b, roots_b, times_b = _over_roots(kernel, b, steps)
    shape = len(a.lengths), len(b.lengths)
    one = xs.new_ones(1)
    tiny = ROUNDINGS * torch.finfo(xs.dtype).eps
    ratio, cosine, sine, slope = (xs.new_empty(shape) for _ in range(4))
    state, tangent, sums = xs.new_zeros(shape), xs.new_zeros(shape), xs.new_zeros(2, *shape)
    for step in range(steps):
        torch.outer(falls_a[step], falls_b[step], out=ratio)
        torch.addmm(state.mul_(ratio), xs[step], ys[step].T, beta=w, out=cosine)
        if same and kernel.sigma_h:
            # A sequence and itself begin in the same state, drawn for it.
            fresh = (times_a[step] == 0) & (roots_a[step] > 0)
            cosine.diagonal().add_(torch.where(fresh, w * kernel.sigma_h**2 / roots_a[step].square(), 0.0))
        torch.addcmul(cosine, tangent, ratio, value=w, out=tangent)
        # The sine, and nothing where rounding alone leaves one: there its root has an infinite slope.
        torch.addcmul(one, cosine, cosine, value=-1.0, out=sine)
        torch.threshold_(sine, tiny, 0.0).sqrt_()
        torch.atan2(sine, cosine, out=slope).mul_(-0.5 / math.pi).add_(0.5)
        tangent.mul_(slope)
        torch.addcmul(sine.mul_(0.5 / math.pi), cosine, slope, out=state)
        if kernel.output != "last":
            here_a, here_b = (
                (times[step] >= 0) & (times[step] < rows.lengths) for times, rows in ((times_a, a), (times_b, b))
            )
            torch.outer(roots_a[step] * here_a, roots_b[step] * here_b, out=ratio)
            sums[0].addcmul_(state, ratio)
            sums[1].addcmul_(tangent, ratio)
    if kernel.output == "last":
        torch.outer(roots_a[-1], roots_b[-1], out=ratio)
        sums = torch.stack([state * ratio, tangent * ratio])
    return v * torch.stack([sums[0], sums[0] + sums[1]]) / (steps if kernel.output == "each" else 1)


def _over_roots(kernel: RecurrentNTK, rows: Rows, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs and bias over roots ``[steps, n, m + 1]``, fall of the root, root, and time, ``[steps, n]``."""
    x, n = rows.inputs, len(rows.lengths)
    times = torch.arange(steps, device=x.device)[:, None] - rows.late
    inside, every = times.clamp(0, x.shape[1] - 1), torch.arange(n, device=x.device)
    roots = rows.variances[0][every, inside].sqrt()
    over = torch.where(roots > 0, 1 / roots, 0.0)
    scale = math.sqrt(kernel.sigma_u**2 / x.shape[2])
    bias = x.new_full((steps, n, 1), kernel.sigma_b)
    scaled = torch.cat([scale * x[every, inside], bias], 2) * over[..., None]
    before = torch.cat([roots.new_zeros(1, n), roots[:-1]])
    return scaled, torch.where(times == 0, 0.0, before * over), roots, times
