"""A landscape whose samples are divided among the processes of ``torch.distributed``.

Whatever is a mean over samples (a loss, a gradient, a product with the Hessian) is each process's own mean, weighted by
its samples and added up: every process gets the same numbers, and does its share of the work. Whatever is built of such
means then runs in all processes alike, eigenvalues and traces among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from landform import kernel
from landform.errors import BadInput
from landform.kernel.finite import Kind
from landform.landscape import Landscape, Reading
from landform.layout import Part
from landform.operators import Operator
from landform.per_sample import count, cut

T = TypeVar("T")
Buffers = Mapping[str, Tensor]


@dataclass(frozen=True)
class Divided:
    """A landscape of which this process has some of the samples.

    All its methods are to be called in every process, with the same arguments, and return the same everywhere.

    Attributes:
        whole: the landscape.
        part: the same on the samples of this process; BatchNorm is recomputed from all of them.
        group: the processes; None for all.
    """

    whole: Landscape
    part: Landscape
    group: Any = None

    @property
    def share(self) -> float:
        """Which share of the samples this process has."""
        return len(self.part._data) / len(self.whole._data)  # type: ignore[arg-type]

    def mean(self, own: Tensor) -> Tensor:
        """Average what each process found on its own samples.

        Args:
            own: a mean over the samples of ``part``: losses along a line, a gradient.

        Returns:
            The mean over all samples, where and in the type in which it was given.
        """
        # A GPU's processes talk to each other through it; MPS has none to talk to.
        total = (own.to(self.part.device) * self.share).contiguous()
        dist.all_reduce(total, group=self.group)
        return total.to(own.device)

    def loss(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """Mean loss over all samples, as `Landscape.loss`."""
        return self.mean(self._agreed(lambda: self.part.loss(points, buffers=buffers)))

    def error(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """Share of wrong labels over all samples, as `Landscape.error`."""
        return self.mean(self._agreed(lambda: self.part.error(points, buffers=buffers)))

    def read(self, points: Tensor, *, buffers: Buffers | None = None) -> Reading:
        """Loss and error from the same forward passes, as `Landscape.read`."""
        own = self._agreed(lambda: self.part.read(points, buffers=buffers))
        return Reading(self.mean(own.loss), None if own.error is None else self.mean(own.error))

    def gradient(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """Gradient of the mean loss over all samples, as `Landscape.gradient`."""
        return self.mean(self._agreed(lambda: self.part.gradient(points, buffers=buffers)))

    def hessian(self, point: Tensor, **how: Any) -> Operator:
        """The Hessian of the mean loss over all samples, as `Landscape.hessian`."""
        return _Mean(self._agreed(lambda: self.part.hessian(point, **how)), self)

    def gauss_newton(self, point: Tensor, **how: Any) -> Operator:
        """The Gauss-Newton matrix over all samples, as `Landscape.gauss_newton`."""
        return _Mean(self._agreed(lambda: self.part.gauss_newton(point, **how)), self)

    def fisher(self, point: Tensor, *, kind: Literal["true", "empirical"] = "true", **how: Any) -> Operator:
        """The Fisher information over all samples, as `Landscape.fisher`; without drawn targets."""
        if kind not in ("true", "empirical"):
            raise BadInput(f"kind is {kind!r}: among several processes the Fisher matrix is 'true' or 'empirical'.")
        return _Mean(self._agreed(lambda: self.part.fisher(point, kind=kind, **how)), self)

    def ntk(self, point: Tensor, x: Any = None, *, kind: Kind = "full", **how: Any) -> Tensor:
        """The tangent kernel, as `landform.kernel.ntk`: each process takes two stripes of its rows.

        A process goes through its rows and all columns before them; the first stripe is paired with the last, so that
        all have the same to do.

        Args:
            point: ``[P]``.
            x: the same samples in every process; None for all of the landscape's.
            kind: as for `landform.kernel.ntk`.
            **how: further options of `landform.kernel.ntk`.

        Returns:
            The whole kernel.
        """
        samples = self._samples(x)
        n, world, rank = count(samples), dist.get_world_size(self.group), dist.get_rank(self.group)
        edges = [n * i // (2 * world) for i in range(2 * world + 1)]

        def own() -> list[tuple[slice, Tensor]]:
            found = []
            for stripe in (rank, 2 * world - 1 - rank):
                rows = slice(edges[stripe], edges[stripe + 1])
                if rows.start == rows.stop:
                    continue
                both = cut(samples, rows), cut(samples, slice(0, rows.stop))
                found.append((rows, kernel.ntk(self.whole, point, *both, kind=kind, **how)))
            return found

        stripes = self._agreed(own)
        like = stripes[0][1] if stripes else self.whole.here
        shape = self._told(tuple(like.shape[2:]) if stripes else None)
        whole = torch.zeros(n, n, *shape, dtype=like.dtype, device=like.device)
        for rows, block in stripes:
            whole[rows, : rows.stop] = block
            # K(x', x)_lk = K(x, x')_kl
            turned = block[:, : rows.start].transpose(0, 1)
            whole[: rows.start, rows] = turned.transpose(2, 3) if turned.dim() == 4 else turned
        dist.all_reduce(whole, group=self.group)
        return whole

    def sketch(self, point: Tensor, x: Any = None, **how: Any) -> kernel.Sketch:
        """Shortened gradients, as `landform.kernel.sketch`: each process shortens those of some samples.

        Args:
            point: ``[P]``.
            x: the same samples in every process; None for all of the landscape's.
            **how: further options of `landform.kernel.sketch`.

        Returns:
            The sketch of all samples.
        """
        samples = self._samples(x)
        rows = _own(count(samples), self.group)
        own = self._agreed(lambda: kernel.sketch(self.whole, point, cut(samples, rows), **how))
        whole = own.rows.new_zeros(count(samples), *own.rows.shape[1:])
        whole[rows] = own.rows
        dist.all_reduce(whole, group=self.group)
        return kernel.Sketch(whole, own.outputs, own.mixed, own.seed)

    def _samples(self, x: Any) -> Any:
        data: Any = self.whole._data
        return (data.inputs, data.targets) if x is None else x

    def _agreed(self, work: Callable[[], T]) -> T:
        """Do something in every process; where one of them fails, all do, and none waits for it."""
        found: T
        failure: str | None = None
        try:
            found = work()
        except BadInput as why:
            failure = str(why)
        if (said := self._told(failure)) is not None:
            raise BadInput(said)
        return found

    def _told(self, own: Any) -> Any:
        """What the first process said that said something."""
        every: list[Any] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(every, own, group=self.group)
        return next((said for said in every if said is not None), None)


def divide(landscape: Landscape, group: Any = None) -> Divided:
    """Divide the samples of a landscape among the processes of ``torch.distributed``.

    Every process makes the same landscape, of all samples, and calls this; `torchrun` starts such processes.

    Args:
        landscape: of data in memory.
        group: a process group; None for all processes.

    Returns:
        The landscape as all of them measure it together.

    Raises:
        BadInput: when there are no processes, too few samples, or samples that do not stand alone.
    """
    if not dist.is_available() or not dist.is_initialized():
        raise BadInput(
            "There are no processes to divide the landscape among: start the script by torchrun, and call "
            "torch.distributed.init_process_group first."
        )
    data: Any = landscape._data
    if not hasattr(data, "targets"):
        raise BadInput("The landscape's data are a stream: give one of data in memory, whose samples can be divided.")
    if landscape.batchnorm == "batch":
        raise BadInput("With batchnorm='batch' samples share statistics: give batchnorm='keep' or 'recompute'.")
    if len(data) < dist.get_world_size(group):
        raise BadInput(f"{len(data)} samples cannot be divided among {dist.get_world_size(group)} processes.")
    rows = _own(len(data), group)
    return Divided(landscape, landscape.subset(range(rows.start, rows.stop)), group)


class _Mean(Operator):
    """An operator that is a mean over samples, of which every process has some."""

    def __init__(self, own: Operator, divided: Divided) -> None:
        super().__init__(own.size, dtype=own.dtype, device=own.device, name=own.name, layout=own.layout)
        self._own, self._divided = own, divided

    def part(self, part: Part) -> Operator:
        """The diagonal block of some parameters, as `Operator.part`."""
        return _Mean(self._own.part(part), self._divided)

    def _matmat(self, vectors: Tensor) -> Tensor:
        before = self._own.gradients
        found = self._divided.mean(self._own @ vectors)
        self._spent += self._own.gradients - before
        return found


def _own(samples: int, group: Any) -> slice:
    """The samples of this process: as many as any other's, but for one."""
    world, rank = dist.get_world_size(group), dist.get_rank(group)
    return slice(samples * rank // world, samples * (rank + 1) // world)
