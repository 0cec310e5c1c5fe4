"""Operators that are sums over batches, with the batches' graphs kept as far as the memory allowed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from landform.derivatives import second_order_safe
from landform.errors import BadInput
from landform.layout import Layout, Part
from landform.operators._convolution import LeanConvolutions, Wanted
from landform.operators._ground import Ground
from landform.operators._measure import Flops, Saved
from landform.operators._once import refuse_once_differentiable
from landform.operators._operator import Operator, layout_of, part_name
from landform.operators._probe import check_symmetry

G = TypeVar("G")
Directions = Mapping[str, Tensor]

DEFAULT_MEMORY = 2**30


class Batched(Operator, Generic[G]):
    """The mean over samples of something that a graph of each batch gives.

    The graph of the first batch is measured and thrown away; then graphs are recorded, and kept between products, as
    long as those kept stay under the memory allowed. The other batches are recorded anew for each block of vectors.

    Attributes:
        kept: how many batches' graphs are kept.
        batches: how many batches there are, once they have all been seen (after the first product).
        graph_bytes: what the graph of the first batch holds, in bytes.
        costs: gradients that one product costs with all graphs kept, and what recording them all anew adds.
    """

    _positive = False

    def __init__(self, ground: Ground, *, name: str, memory: float, decay: float = 0.0, check: bool = True) -> None:
        """Record what can be kept, and look whether products are right.

        Args:
            ground: the point, the batches, the loss.
            name: what it is, in words.
            memory: bytes that the graphs kept may take.
            decay: multiple of the identity to add.
            check: whether to try the operator's symmetry.
        """
        if not memory >= 0:
            raise BadInput(f"memory is {memory}: give how many bytes the graphs kept may take, 0 for none.")
        point = ground.point.detach().clone()
        super().__init__(point.numel(), dtype=point.dtype, device=point.device, name=name, layout=ground.layout)
        self._ground = ground
        self._decay = decay
        self._leaves = {n: view.detach().requires_grad_() for n, view in ground.layout.views(point).items()}
        self._wanted = Wanted()
        self._kept: list[G] = []
        self._samples_kept = 0
        self.batches: int | None = None
        with self._safe():
            self.graph_bytes, per_output, self.costs = self._measure()
            self._keep(memory, per_output)
        if check:
            check_symmetry(_FirstOf(self), positive=self._positive)

    # ------------------------------------------------------------------------------------------ what a subclass gives

    @abstractmethod
    def _record(self, outputs: Any, targets: Any, number: int) -> G:
        """Record one batch.

        Args:
            outputs: the model's outputs, with their graph to the leaves.
            targets: the batch's targets.
            number: which batch it is.

        Returns:
            What products with the batch need.
        """

    @abstractmethod
    def _through(self, graphs: Sequence[G], directions: Directions) -> Sequence[Tensor]:
        """Products of the batches' sums (not means) over samples.

        Args:
            graphs: recorded batches.
            directions: the vector, as a tensor for each of some leaves; the others are held still.

        Returns:
            The product for the same leaves.
        """

    # ------------------------------------------------------------------------------------------------------ products

    @property
    def kept(self) -> int:
        """How many batches' graphs are kept between products."""
        return len(self._kept)

    def part(self, part: Part) -> Operator:
        """The diagonal block of some parameters; only what leads to them is gone through.

        Args:
            part: as `Layout.part` names it.

        Returns:
            An operator of size p that uses the same graphs.

        Raises:
            BadInput: when the part is of another layout.
        """
        if part.total != self.size:
            raise BadInput(f"The part is of points of {part.total} numbers, and {self.name} is of size {self.size}.")
        return _PartOf(self, part)

    def _matmat(self, vectors: Tensor) -> Tensor:
        assert self.layout is not None
        return self._product(vectors, self.layout)

    def _product(self, vectors: Tensor, layout: Layout) -> Tensor:
        """Products ``[p, k]`` for the leaves of a layout, by one pass over the batches."""
        columns = [layout.views(column.contiguous()) for column in vectors.T]
        totals: list[list[Tensor]] = []
        with self._safe():
            if self._kept:
                totals = [list(self._through(self._kept, column)) for column in columns]
            samples, count = self._samples_kept, len(self._kept)
            if self.batches is None or self.batches > count:
                for graph, size in self._recorded(count):
                    parts = [list(self._through([graph], column)) for column in columns]
                    totals = [_sum(*pair) for pair in zip(totals, parts, strict=True)] if totals else parts
                    samples, count = samples + size, count + 1
                    del graph, parts
            again = count - len(self._kept)
            self.batches = count
        product, recording = self.costs
        self._spent += len(columns) * product + recording * again / count
        if not columns:
            return torch.zeros_like(vectors)
        whole = torch.stack([torch.cat([t.reshape(-1) for t in total]) for total in totals], dim=1)
        return whole.div_(samples).add_(vectors, alpha=self._decay)

    def _of_first(self, vectors: Tensor) -> Tensor:
        """Products with the first batch's part alone."""
        assert self.layout is not None
        columns = [self.layout.views(column.contiguous()) for column in vectors.T]
        with self._safe():
            graph = self._kept[0] if self._kept else next(self._recorded(0))[0]
            parts = [torch.cat([t.reshape(-1) for t in self._through([graph], column)]) for column in columns]
        return torch.stack(parts, dim=1).add_(vectors, alpha=self._decay)

    # -------------------------------------------------------------------------------------------------------- graphs

    def _recorded(self, start: int) -> Iterator[tuple[G, int]]:
        """Record the batches from number ``start`` on, one at a time; gives each with its number of samples."""
        passes = self._ground.passes(self._leaves, start)
        number = start
        while True:
            with LeanConvolutions(self._wanted), torch.enable_grad():
                batch = next(passes, None)
                if batch is None:
                    return
                graph = self._record(*batch, number)
            size = self._ground.samples(batch[1])
            del batch
            yield graph, size
            del graph
            number += 1

    def _measure(self) -> tuple[int, float, tuple[float, float]]:
        """Bytes of the first batch's graph, in all and by number of the outputs; costs of a product in gradients."""
        passes = self._ground.passes(self._leaves, 0)
        with LeanConvolutions(self._wanted), torch.enable_grad():
            with Saved(self._leaves.values()) as saved, Flops() as recording:
                outputs, targets = next(passes)
                graph = self._record(outputs, targets, 0)
            refuse_once_differentiable(outputs, self._ground.loss(outputs, targets))
            numbers = self._numbers(outputs, targets)
        with Flops() as product:
            self._through([graph], {name: torch.ones_like(leaf) for name, leaf in self._leaves.items()})
        # A model without a matrix product has nothing to count: a product goes twice through what a gradient goes once.
        relative = product.count / recording.count if recording.count else 2.0
        return saved.bytes, saved.bytes / numbers, (relative, 1.0)

    def _keep(self, memory: float, per_output: float) -> None:
        if self.graph_bytes > memory:
            return
        spent = 0.0
        passes = self._ground.passes(self._leaves, 0)
        while spent + self.graph_bytes <= memory or math.isinf(memory):
            with LeanConvolutions(self._wanted), torch.enable_grad():
                batch = next(passes, None)
                if batch is None:
                    self.batches = len(self._kept)
                    return
                cost = per_output * self._numbers(*batch)
                if spent + cost > memory:
                    return
                self._kept.append(self._record(*batch, len(self._kept)))
            spent += cost
            self._samples_kept += self._ground.samples(batch[1])
            del batch

    def _numbers(self, outputs: Any, targets: Any) -> int:
        """What the size of a batch's graph goes with: the numbers put out, or the samples."""
        return max(1, outputs.numel() if isinstance(outputs, Tensor) else self._ground.samples(targets))

    @contextmanager
    def _safe(self) -> Iterator[None]:
        try:
            with second_order_safe():
                yield
        except RuntimeError as why:
            said = str(why).splitlines()[0]
            if "once_differentiable" in said or "does not have a grad_fn" in said or "does not require grad" in said:
                raise BadInput(
                    f"This model or its loss cannot be differentiated twice: {said} Replace that operation by plain "
                    "ones, or measure a quantity of first order."
                ) from why
            raise


class _FirstOf(Operator):
    """The first batch's part of an operator: what is wrong with its derivatives shows there as well as in all of it."""

    def __init__(self, of: Batched[Any]) -> None:
        super().__init__(of.size, dtype=of.dtype, device=of.device, name=of.name, layout=of.layout)
        self._of = of

    def _matmat(self, vectors: Tensor) -> Tensor:
        return self._of._of_first(vectors)


class _PartOf(Operator):
    """A diagonal block that goes through the graphs of the whole."""

    def __init__(self, of: Batched[Any], part: Part) -> None:
        name = f"{of.name} of {part_name(part)}"
        super().__init__(part.size, dtype=of.dtype, device=of.device, name=name, layout=layout_of(part))
        self._of = of

    @property
    def gradients(self) -> float:
        return self._spent

    def _matmat(self, vectors: Tensor) -> Tensor:
        assert self.layout is not None
        before = self._of.gradients
        found = self._of._product(vectors, self.layout)
        self._of.products += vectors.shape[1]
        self._spent += self._of.gradients - before
        return found


def _sum(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(first, second, strict=True)]
