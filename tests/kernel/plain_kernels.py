"""Kernels by the plainest recipe, a Jacobian of one sample at a time, for tests to compare with."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev


def rows(model: nn.Module, x: Tensor) -> Tensor:
    """Jacobian of all outputs by the trainable parameters, ``[n, K, P]``, the model in evaluation mode."""
    net = copy.deepcopy(model).eval()
    parameters = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    found = []
    for sample in x:
        parts = jacrev(lambda p, s=sample: functional_call(net, p, (s[None],))[0])(parameters)
        found.append(torch.cat([part.reshape(part.shape[0], -1) for part in parts.values()], dim=1))
    return torch.stack(found)


def full_kernel(model: nn.Module, x: Tensor, x2: Tensor | None = None) -> Tensor:
    """``[n, m, K, K]``."""
    first = rows(model, x)
    second = first if x2 is None else rows(model, x2)
    return torch.einsum("nkp,mlp->nmkl", first, second)


def random_kernel(n: int, seed: int, *, outputs: int = 0, rank: int | None = None) -> Tensor:
    """A positive kernel ``[n, n]``, or ``[n, n, K, K]``."""
    drawing = torch.Generator().manual_seed(seed)
    size = n * max(outputs, 1)
    factor = torch.randn(size, rank or size + 2, generator=drawing, dtype=torch.float64)
    matrix = factor @ factor.T / factor.shape[1]
    return matrix.reshape(n, outputs, n, outputs).permute(0, 2, 1, 3) if outputs else matrix


def as_plain_matrix(kernel: Tensor) -> Tensor:
    """``[n, n, K, K]`` entry by entry to ``[n K, n K]``."""
    if kernel.dim() == 2:
        return kernel
    n, m, k, l = kernel.shape  # noqa: E741
    out = torch.empty(n * k, m * l, dtype=kernel.dtype)
    for i in range(n):
        for j in range(m):
            out[i * k : (i + 1) * k, j * l : (j + 1) * l] = kernel[i, j]
    return out
