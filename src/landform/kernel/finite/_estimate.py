"""Tangent kernels estimated from fewer backward passes, or from shortened gradients, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
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
    work = work_of(landscape, point, x, x2, "each", memory, buffers, mixes=partial(_mixes, draws=draws, seed=seed))
    with products(precision):
        (found,) = whole_of(work, (None,), progress).values()
    kernel, variance = _mean_of(presented(found, "each"), work.rules.outputs)
    return Estimate(kernel, math.sqrt(variance) / max(float(kernel.norm()), 1e-300), draws, seed)


def _mixes(outputs: int, *, draws: int, seed: int) -> Tensor:
    """Random directions in the outputs, orthogonal to one another, times root K: ``[d, K]``."""
    if not 2 <= draws <= outputs:
        raise BadInput(
            f"draws is {draws}: give at least 2, for the standard error, and at most the model's {outputs} "
            "outputs, which give the exact kernel."
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(outputs, draws, generator=generator, dtype=torch.float64)
    turned: Tensor = torch.linalg.qr(drawn).Q.T
    return math.sqrt(outputs) * turned


def _mean_of(each: Tensor, outputs: int) -> tuple[Tensor, float]:
    """The mean of kernels ``[n, m, d]`` from single mixes, and the variance of its squared Frobenius norm."""
    draws = each.shape[-1]
    kernel = each.mean(-1)
    spread = float((each - kernel.unsqueeze(-1)).square().sum()) / (draws - 1)
    # Orthogonal mixes: what is left to draw from shrinks, as when drawing without putting back.
    left = (outputs - draws) / max(outputs - 1, 1)
    return kernel, max(spread, 0.0) / draws * left


@dataclass(frozen=True)
class Sketch:
    """Gradients of samples, shortened by a random projection.

    Attributes:
        rows: ``[n, K, size]``, or ``[n, d, size]`` of d mixes of the K outputs.
        outputs: K.
        mixed: whether they are of mixes.
        seed: what signs, sums and mixes were drawn with; two sketches go together that were drawn alike.
    """

    rows: Tensor
    outputs: int
    mixed: bool
    seed: int

    def kernel(self, other: Sketch | None = None) -> Estimate:
        """Estimate the trace kernel between these samples, or between these and others.

        Args:
            other: drawn alike at the same point; None for the same samples again.

        Returns:
            The estimate; its standard error is the bound of `sketch`, with the estimated kernel in it, and for mixes
            the spread between them as well.

        Raises:
            BadInput: when the two were not drawn alike.
        """
        first, second = self.rows, self.rows if other is None else other.rows
        if other is not None and (other.seed, other.mixed, second.shape[1:]) != (
            self.seed,
            self.mixed,
            first.shape[1:],
        ):
            raise BadInput("The two sketches were not drawn alike: take both with the same size, draws and seed.")
        size = first.shape[2]
        if self.mixed:
            kernel, spread = _mean_of(torch.einsum("nds,mds->nmd", first, second), self.outputs)
        else:
            kernel, spread = first.flatten(1) @ second.flatten(1).T, 0.0
        # Each output adds its own variance; Cauchy-Schwarz over the outputs bounds their sum by that of the sums.
        own, others = (each.square().sum((1, 2)) / (len(each[0]) if self.mixed else 1) for each in (first, second))
        variance = float((own[:, None] * others + kernel.square()).sum()) / size + spread
        return Estimate(kernel, math.sqrt(variance) / max(float(kernel.norm()), 1e-300), size, self.seed)


def sketch(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    *,
    size: int = 1024,
    draws: int | None = None,
    seed: int = 0,
    memory: float = MEMORY,
    progress: Progress | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> Sketch:
    """Shorten the gradients of samples by a random projection (Johnson-Lindenstrauss), to estimate kernels from.

    Every parameter is added, with a random sign, to one of ``size`` sums: ``E[(S g) . (S h)] = g . h`` for any two
    gradients, with variance at most ``(|g|^2 |h|^2 + (g . h)^2) / size``. What is held is n x K x size numbers, however
    many parameters there are. A model with many outputs, such as one that predicts a symbol at every place of a text,
    also needs ``draws``: then only that many random mixes of the outputs are taken, as by `estimate_outputs`.

    Args:
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        size: numbers that each gradient is shortened to.
        draws: mixes of the outputs, at least 2 and at most K; None takes every output.
        seed: for drawing.
        memory: bytes, those of the kernel between the samples among them.
        progress: as for `ntk`.
        buffers: as for `ntk`.

    Returns:
        The shortened gradients, from which kernels can be had.

    Raises:
        BadInput: as for `ntk`.
    """
    if size < 1:
        raise BadInput(f"size is {size}: give at least 1 number to shorten gradients to.")
    samples = samples_of(landscape, x, "x", targets=False)
    rules = Rules(landscape, point, samples.batch, buffers=buffers)
    pulls, count = rules.outputs if draws is None else draws, len(samples)
    needed = (count * pulls * size + count * count) * rules.point.element_size() + rules.landscape.layout.size * 9
    if needed > memory:
        fewer = ", or draws= for a few mixes of the outputs" if draws is None else ""
        raise BadInput(
            f"Gradients of {count:,} samples and {pulls} outputs shortened to {size:,} numbers take "
            f"{size_text(needed)}, and memory= is {size_text(memory)}: give more, fewer samples, or a smaller "
            f"size{fewer}."
        )
    along = None if draws is None else _mixes(rules.outputs, draws=draws, seed=seed).to(rules.point)
    rows = _shortened(rules, samples, _Signs(rules, size, seed), size, along, progress)
    return Sketch(rows, rules.outputs, draws is not None, seed)


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


def _shortened(
    rules: Rules, samples: Samples, signs: _Signs, size: int, mixes: Tensor | None, progress: Progress | None
) -> Tensor:
    """The gradients of all samples, of each output or of mixes ``[d, K]`` of them, shortened: ``[n, K or d, size]``."""
    taken = torch.eye(rules.outputs).to(rules.point) if mixes is None else mixes
    found = rules.point.new_zeros(len(samples), len(taken), size)
    # Layers are formed one after another, and mixed with signs: as much again.
    together = rules.together(
        len(taken), more=2 * len(taken) * max(slot.stop - slot.start for slot in rules.landscape.layout.slots)
    )
    for start in range(0, len(samples), together):
        chunk = slice(start, min(start + together, len(samples)))
        passed = rules(samples.part(chunk))
        rows = found[chunk].view(-1, size)
        along = taken.unsqueeze(1).expand(-1, chunk.stop - chunk.start, -1)
        for layer in passed.pull_layers(along, last=True):
            parts = [(layer.weight, layer.part.rows())]
            if layer.bias is not None:
                assert hasattr(layer.part, "cotangents")
                parts.append((f"{layer.weight} bias", layer.part.cotangents.sum(2)))
            for name, gradients in parts:
                own, sums = signs(name, gradients.shape[2])
                rows.scatter_add_(1, sums.expand(len(rows), -1), gradients.flatten(0, 1) * own)
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
