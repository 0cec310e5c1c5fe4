"""Dense networks of infinite width."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel.infinite._duals import Dual, chosen
from landform.kernel.infinite._pairs import Kernels, assemble, read, spread

# Edge of a tile: its temporaries stay in the cache.
_EDGE = 256


def dense(
    x: Tensor,
    y: Tensor | None = None,
    *,
    depth: int = 1,
    activation: str | Dual = "relu",
    sigma_w: float = math.sqrt(2),
    sigma_b: float = 0.0,
    readout: tuple[float, float] | None = None,
    dtype: torch.dtype | None = None,
) -> Kernels:
    """NNGP and NTK of a dense network, NTK parametrisation: ``z = sigma_w / sqrt(fan_in) W h + sigma_b b``.

    All of W and b are standard normal and trained (Jacot et al. 2018; Lee et al. 2018). Costs ``n m (d + depth)``
    operations, half of it where y is None.

    Args:
        x: inputs ``[n, ...]``, flattened; differentiable, also where x and y hold the same input.
        y: a second set ``[m, ...]``; x again if not given.
        depth: hidden layers, each with the activation; 0 is a linear model.
        activation: ``"relu"``, ``"erf"``, ``"gelu"``, ``"linear"``, ``"leaky_relu:0.1"``, or ``dual(phi)``.
        sigma_w: spread of the weights.
        sigma_b: spread of the biases; 0 is none.
        readout: ``(sigma_w, sigma_b)`` of the last layer; as the others if not given.
        dtype: to compute in, float64 by default; the kernels come back in that of x.

    Returns:
        Both kernels, ``[n, m]``.

    Raises:
        BadInput: when inputs or settings make no sense.
    """
    if depth < 0:
        raise BadInput(f"depth counts hidden layers, 0 or more; got {depth}.")
    phi, given = chosen(activation), x.dtype
    flat, other = read(
        x.flatten(1) if x.dim() > 2 else x,
        y.flatten(1) if y is not None and y.dim() > 2 else y,
        2,
        dtype,
        "[n, features]",
    )
    w, b = spread("sigma_w", sigma_w) ** 2, spread("sigma_b", sigma_b) ** 2
    last_w, last_b = (
        (w, b) if readout is None else (spread("readout", readout[0]) ** 2, spread("readout", readout[1]) ** 2)
    )
    scales = [(w, b)] * depth + [(last_w, last_b)]

    def variances(a: Tensor) -> list[Tensor]:
        k = scales[0][0] * a.square().mean(1) + scales[0][1]
        rows = [k]
        for scale, shift in scales[1:]:
            k = scale * phi(k, k, k)[0] + shift
            rows.append(k)
        return rows

    own = variances(flat)
    theirs = own if other is None else variances(other)
    right = flat if other is None else other

    def tile(i: slice, j: slice) -> Tensor:
        k = scales[0][0] / flat.shape[1] * (flat[i] @ right[j].T) + scales[0][1]
        if other is None and i == j:
            # An input's covariance with itself is its variance, to the last bit: angles of exactly 0.
            k = torch.diagonal_scatter(k, own[0][i])
        ntk = k
        for layer, (scale, shift) in enumerate(scales[1:]):
            value, derivative = phi(k, own[layer][i, None], theirs[layer][None, j])
            k = scale * value + shift
            if other is None and i == j:
                k = torch.diagonal_scatter(k, own[layer + 1][i])
            ntk = k + scale * derivative * ntk
        return torch.stack([k, ntk])

    both = assemble(len(flat), None if other is None else len(other), _EDGE, tile).to(given)
    return Kernels(both[0], both[1])
