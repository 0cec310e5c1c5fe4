"""Tangent kernels estimated from fewer backward passes, or from shortened gradients, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel.finite._ntk import MEMORY, Progress, ntk, presented, products, whole_of, work_of
from landform.kernel.finite._samples import Samples, samples_of
from landform.landscape import Landscape
from landform.per_sample import Rules
from landform.store import size_text


@dataclass(frozen=True)
class Estimate:
    """An estimated kernel.

    Attributes:
        kernel: ``[n, m]``.
        standard_error: of the whole kernel, relative: the root of the expected squared Frobenius norm of the error
            over the norm of the kernel.
        draws: mixes of outputs, or numbers that each gradient was shortened to.
        seed: what they were drawn with.
    """

    kernel: Tensor
    standard_error: float
    draws: int
    seed: int


def estimate_outputs(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    draws: int = 2,
    seed: int = 0,
    memory: float = MEMORY,
    precision: Literal["full", "bfloat16"] = "full",
    progress: Progress | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> Estimate:
    """Estimate the trace kernel from a few random mixes of the outputs, one backward pass each.

    For a random direction q of length 1 in the K outputs, ``K E[(q'J)(q'J)'] = sum over k of J_k J_k'``. The directions
    are drawn orthogonal to one another, so that K of them give the kernel exactly.

    Args:
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        x2: as for `ntk`.
        draws: mixes d, at least 2 (one has no standard error) and at most K.
        seed: for drawing.
        memory: bytes; d kernels are held, for the standard error.
        precision: as for `ntk`.
        progress: as for `ntk`.
        buffers: as for `ntk`.

    Returns:
        The estimate. Its standard error comes from the spread between the mixes.

    Raises:
        BadInput: as for `ntk`; or for a number of draws that makes no sense.
    """

    def mixes(outputs: int) -> Tensor:
        if not 2 <= draws <= outputs:
            raise BadInput(
                f"draws is {draws}: give at least 2, for the standard error, and at most the model's {outputs} "
                "outputs, which give the exact kernel."
            )
        generator = torch.Generator().manual_seed(seed)
        square = torch.randn(outputs, outputs, generator=generator, dtype=torch.float64)
        turned: Tensor = torch.linalg.qr(square).Q.T
        return math.sqrt(outputs) * turned[:draws]

    work = work_of(landscape, point, x, x2, "each", memory, buffers, mixes=mixes)
    with products(precision):
        (found,) = whole_of(work, (None,), progress).values()
    each = presented(found, "each")  # [n, m, d]
    kernel = each.mean(-1)
    spread = float((each - kernel.unsqueeze(-1)).square().sum()) / (draws - 1)
    outputs = work.rules.outputs
    # Orthogonal mixes: what is left to draw from shrinks, as when drawing without putting back.
    left = (outputs - draws) / max(outputs - 1, 1)
    error = math.sqrt(max(spread, 0.0) / draws * left) / max(float(kernel.norm()), 1e-300)
    return Estimate(kernel, error, draws, seed)


def estimate_parameters(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    size: int = 1024,
    seed: int = 0,
    memory: float = MEMORY,
    progress: Progress | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> Estimate:
    """Estimate the trace kernel from gradients shortened by a random projection (Johnson-Lindenstrauss).

    Every parameter is added, with a random sign, to one of ``size`` sums: ``E[(S g) . (S h)] = g . h`` for any two
    gradients, with variance at most ``(|g|^2 |h|^2 + (g . h)^2) / size``. What is held is n x K x size numbers, however
    many parameters there are.

    Args:
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        x2: as for `ntk`.
        size: numbers that each gradient is shortened to.
        seed: for drawing.
        memory: bytes.
        progress: as for `ntk`.
        buffers: as for `ntk`.

    Returns:
        The estimate; its standard error is the bound above, with the estimated kernel in it.

    Raises:
        BadInput: as for `ntk`.
    """
    if size < 1:
        raise BadInput(f"size is {size}: give at least 1 number to shorten gradients to.")
    left = samples_of(landscape, x, "x", targets=False)
    right = None if x2 is None else samples_of(landscape, x2, "x2", targets=False)
    rules = Rules(landscape, point, left.batch, buffers=buffers)
    count = len(left) + (len(right) if right is not None else 0)
    needed = (count * rules.outputs * size + len(left) * len(right or left)) * rules.point.element_size()
    needed += rules.landscape.layout.size * 9
    if needed > memory:
        raise BadInput(
            f"Gradients of {count:,} samples and {rules.outputs} outputs shortened to {size:,} numbers take "
            f"{size_text(needed)}, and memory= is {size_text(memory)}: give more, fewer samples, or a smaller size."
        )
    signs = _Signs(rules, size, seed)
    first = _shortened(rules, left, signs, size, progress).flatten(1)
    second = first if right is None else _shortened(rules, right, signs, size, progress).flatten(1)
    kernel = first @ second.T
    # Each output adds its own variance; Cauchy-Schwarz over the outputs bounds their sum by that of the sums.
    own, other = first.square().sum(1), second.square().sum(1)
    variance = float((own[:, None] * other + kernel.square()).sum()) / size
    return Estimate(kernel, math.sqrt(variance) / max(float(kernel.norm()), 1e-300), size, seed)


class _Signs:
    """For every parameter a sign and one of the sums, drawn once for each layer."""

    def __init__(self, rules: Rules, size: int, seed: int) -> None:
        self._drawn: dict[str, tuple[Tensor, Tensor]] = {}
        self._generator = torch.Generator().manual_seed(seed)
        self._size, self._like = size, rules.point

    def __call__(self, name: str, count: int) -> tuple[Tensor, Tensor]:
        if name not in self._drawn:
            signs = torch.randint(0, 2, (count,), generator=self._generator, dtype=torch.int8) * 2 - 1
            sums = torch.randint(0, self._size, (count,), generator=self._generator)
            self._drawn[name] = signs.to(self._like.device), sums.to(self._like.device)
        signs, sums = self._drawn[name]
        return signs.to(self._like), sums


def _shortened(rules: Rules, samples: Samples, signs: _Signs, size: int, progress: Progress | None) -> Tensor:
    """The gradients of all samples, shortened, ``[n, K, size]``."""
    outputs = rules.outputs
    found = rules.point.new_zeros(len(samples), outputs, size)
    # Layers are formed one after another, and mixed with signs: as much again.
    together = rules.together(
        outputs, more=2 * outputs * max(slot.stop - slot.start for slot in rules.landscape.layout.slots)
    )
    for start in range(0, len(samples), together):
        chunk = slice(start, min(start + together, len(samples)))
        passed = rules(samples.part(chunk))
        rows = found[chunk].view(-1, size)
        along = torch.eye(outputs).to(rules.point).unsqueeze(1).expand(-1, chunk.stop - chunk.start, -1)
        for layer in passed.pull_layers(along, last=True):
            parts = [(layer.weight, layer.part.rows())]
            if layer.bias is not None:
                assert hasattr(layer.part, "cotangents")
                parts.append((f"{layer.weight} bias", layer.part.cotangents.sum(2)))
            for name, gradients in parts:
                own, sums = signs(name, gradients.shape[2])
                rows.index_add_(1, sums, gradients.flatten(0, 1) * own)
        if progress is not None:
            progress(chunk.stop, len(samples))
    return found


def precision_error(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    *,
    kind: Any = "trace",
    samples: int = 16,
    buffers: Mapping[str, Tensor] | None = None,
) -> float:
    """What products in bfloat16 cost in exactness, measured on some of the samples.

    Args:
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        kind: as for `ntk`.
        samples: how many.
        buffers: as for `ntk`.

    Returns:
        The Frobenius norm of the difference over that of the kernel, on the first samples.
    """
    some = samples_of(landscape, x, "x", kind == "loss").part(slice(0, samples))
    exact = ntk(landscape, point, some, kind=kind, buffers=buffers)
    rough = ntk(landscape, point, some, kind=kind, precision="bfloat16", buffers=buffers)
    return float((rough - exact).double().norm() / exact.double().norm())
