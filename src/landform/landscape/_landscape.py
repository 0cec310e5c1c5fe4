"""One model, one loss and one data set, as a function of a point."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landform.errors import BadInput
from landform.landscape import _curvature, _fingerprint, _first
from landform.landscape._batches import Stream, Tensors, batches_of
from landform.landscape._batchnorm import BatchNorm, batchnorm_setting, estimating
from landform.landscape._checks import check_buffers, find_device
from landform.landscape._losses import Loss, loss_function, wrong
from landform.landscape._terms import Forward, errors, front, pairwise, samples_in
from landform.layout import Layout
from landform.stacked import Choice, Cost, Function, Stacked, choose, count, refusal

Buffers: TypeAlias = Mapping[str, Tensor]

# Numbers that a block of points may hold in one operation: they should stay in a core's cache.
_CACHED = 2**20
# Samples that a stack takes at a time: enough to fill the products, few enough for the cache.
_TILE = 256


@dataclass(frozen=True)
class Reading:
    """Loss and error at a point, or at n points.

    Attributes:
        loss: mean loss over the data, weight decay included; a float64 scalar or ``[n]``, on the CPU.
        error: share of wrong labels, likewise; None where the targets are not labels.
    """

    loss: Tensor
    error: Tensor | None


class Landscape:
    """The loss of one model on one data set, as a function of a point.

    A point is a 1-D tensor with every trainable parameter, in the order and layout of ``model.named_parameters()``; a
    set of points is a matrix ``[n, P]``. What is measured is always over the full data: the mean over batches, each
    weighted by its number of samples. The model given is never changed: not its parameters, its buffers, its mode or
    its gradients. Dropout is off.

    Attributes:
        layout: which slice of a point is which parameter.
        device: where it computes.
        dtype: the floating-point type it computes in.
        batchnorm: where BatchNorm's statistics come from.
        weight_decay: the declared part ``weight_decay / 2 * ||point||^2`` of the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        *,
        loss: str | Loss = "cross-entropy",
        batch_size: int = 512,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        batchnorm: BatchNorm | None = None,
        forward: Forward | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        """Look at a model, a loss and a data set together.

        Args:
            model: any module.
            data: one of ``lf.data`` (its training split), a pair ``(inputs, targets)``, or a re-iterable of batches
                such as a DataLoader; batches are ``(inputs, targets)`` unless ``forward`` says otherwise.
            loss: ``"cross-entropy"``, ``"mse"``, or any function of (outputs, targets) that returns the mean over the
                batch.
            batch_size: samples at a time, for data in memory.
            device: ``"auto"`` takes a GPU where there is one.
            dtype: ``torch.float32`` or ``torch.float64``; None keeps the model's own.
            batchnorm: ``"recompute"`` the running statistics at each point from the data (the default where the model
                has any: off the trajectory the stored ones belong to another point), ``"keep"`` the model's, or use
                each ``"batch"``'s own.
            forward: a function of (model, batch) that returns (outputs, targets), for dict batches and the like.
            weight_decay: added to the loss as ``weight_decay / 2 * ||point||^2``.

        Raises:
            BadInput: when the parts do not fit together; the message says which.
        """
        if batch_size < 1:
            raise BadInput(f"batch_size is {batch_size}: give at least 1.")
        self._model = model
        self.layout = Layout.of(model)
        self.device = find_device(device)
        self.dtype = dtype or self.layout.point(model).dtype  # of mixed types the widest
        if self.device.type == "mps" and self.dtype == torch.float64:
            raise BadInput("The MPS device has no float64: give device='cpu' or dtype=torch.float32.")
        self._function = Function(model, self.layout, device=self.device, dtype=self.dtype)
        self._norms = [m for m in self._function.net.modules() if isinstance(m, _BatchNorm)]
        self.batchnorm: BatchNorm = batchnorm_setting(batchnorm, self._norms)
        if self.batchnorm == "batch":
            for norm in self._norms:
                norm.train()
                norm.track_running_stats = False
        self._loss_name, self._loss = loss_function(loss)
        self._forward: Forward = forward or pairwise
        self._batch_size = batch_size
        self.weight_decay = float(weight_decay)
        self._data = batches_of(data).to(self.device, self.dtype)
        self._calibration = self._data
        self._check()

    # ------------------------------------------------------------------------------------------------ where we are

    @property
    def here(self) -> Tensor:
        """The model's current point, ``[P]``, a copy."""
        return self.layout.point(self._model).to(self.device, self.dtype)

    def on(self, data: Any) -> Self:
        """The same function on other data.

        BatchNorm statistics are still recomputed from the data of this landscape, as a network trained on one set and
        tested on another would have them.

        Args:
            data: as for the constructor, or a split such as ``dataset.test``.

        Returns:
            A landscape that shares everything else with this one.
        """
        other = copy.copy(self)
        other._data = batches_of(data).to(self.device, self.dtype)
        for told_by_the_data in ("_cost", "has_labels"):
            other.__dict__.pop(told_by_the_data, None)
        other._check()
        return other

    def subset(self, indices: Tensor | range | int) -> Self:
        """The same function on some of the samples.

        Args:
            indices: which samples, or how many from the start.

        Returns:
            A landscape that shares everything else with this one; BatchNorm is still recomputed from all samples.

        Raises:
            BadInput: when the data are a stream, or the indices do not exist.
        """
        if not isinstance(self._data, Tensors):
            raise BadInput("A subset needs data in memory: give a pair of tensors, or a loader of the samples wanted.")
        size = len(self._data)
        chosen = torch.as_tensor(list(range(indices)) if isinstance(indices, int) else indices, device=self.device)
        if chosen.dim() != 1 or not chosen.numel() or chosen.is_floating_point():
            raise BadInput("A subset is at least one index of a sample, or a count of at least 1.")
        fits = len(chosen) == size if chosen.dtype == torch.bool else ((chosen >= -size) & (chosen < size)).all()
        if not bool(fits):
            raise BadInput(f"The subset asks for samples outside the {size} there are.")
        part = self._data.subset(chosen)
        return self.on((part.inputs, part.targets))

    fingerprint = _fingerprint.fingerprint

    # ------------------------------------------------------------------------------------------------ measurements

    def loss(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """Mean loss over the data.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.
            buffers: buffers to use instead of the landscape's own, such as a record's.

        Returns:
            A float64 scalar, or ``[n]``, on the CPU.
        """
        return self._means(points, buffers, (self._losses,))[0]

    def error(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """Share of wrong labels over the data.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.
            buffers: buffers to use instead of the landscape's own, such as a record's.

        Returns:
            A float64 scalar, or ``[n]``, on the CPU.
        """
        return self._means(points, buffers, (errors,))[0]

    def read(self, points: Tensor, *, buffers: Buffers | None = None) -> Reading:
        """Loss and error from the same forward passes.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.
            buffers: buffers to use instead of the landscape's own, such as a record's.

        Returns:
            Both.
        """
        if not self.has_labels:
            return Reading(self.loss(points, buffers=buffers), None)
        loss, error = self._means(points, buffers, (self._losses, errors))
        return Reading(loss, error)

    def outputs(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """What the model puts out for every sample.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.
            buffers: buffers to use instead of the landscape's own, such as a record's.

        Returns:
            ``[N, ...]``, or ``[n, N, ...]``, on the landscape's device.
        """
        parts: list[list[Tensor]] = []
        for block, own in self._blocks(points, buffers):
            with torch.no_grad():
                parts.append([front(outputs, block) for outputs, _ in self._passes(block, own)])
        whole = torch.cat([torch.cat(batches, dim=1) for batches in parts])
        return whole[0] if points.dim() == 1 else whole

    def gradient(self, points: Tensor, *, buffers: Buffers | None = None) -> Tensor:
        """Gradient of the mean loss over the data.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.
            buffers: buffers to use instead of the landscape's own, such as a record's.

        Returns:
            Of the shape of ``points``, on the landscape's device. With BatchNorm statistics recomputed, they count as
            constants.
        """
        found: list[Tensor] = []
        for block, own in self._blocks(points, buffers):
            leaves = {name: view.detach().requires_grad_() for name, view in self.layout.views(block).items()}
            total, samples = torch.zeros_like(block), 0
            with torch.enable_grad():
                for outputs, targets in self._passes(block, own, leaves):
                    value = self._losses(outputs, targets)
                    grads = torch.autograd.grad(
                        value.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
                    )
                    size = samples_in(targets)
                    total += size * self.layout.join(dict(zip(leaves, grads, strict=True)))
                    samples += size
            found.append(total / samples + self.weight_decay * block)
        whole = torch.cat([g if g.dim() == 2 else g.unsqueeze(0) for g in found])
        return whole[0] if points.dim() == 1 else whole

    def calibrate(self, points: Tensor) -> dict[str, Tensor]:
        """Find the buffers that belong to a point: BatchNorm's running statistics over the training data.

        The running mean is the mean of the batch means and the running variance the mean of the batch variances, each
        batch weighted by its samples.

        Args:
            points: one point ``[P]``, or several ``[n, P]``.

        Returns:
            Every buffer by name, ``shape`` or ``[n, *shape]``.
        """
        self.layout.check(points)
        points = points.to(self.device, self.dtype)
        # The first batch replaces what was there, but zero times NaN, left by a run that diverged, is NaN.
        shared = dict(self._function.buffers)
        shared.update((name, shared[name].nan_to_num()) for name in self._statistics)
        if points.dim() == 1:
            own = {name: buffer.clone() for name, buffer in shared.items()}
        else:
            own = {name: b.expand(len(points), *b.shape).clone() for name, b in shared.items()}
        if not self._norms:
            return own
        if points.dim() == 2 and not self._choice(self._calibration).stack:
            each = [self.calibrate(point) for point in points]
            return {name: torch.stack([buffers[name] for buffers in each]) for name in shared}
        if points.dim() == 2 and len(points) > self._together:
            starts = range(0, len(points), self._together)
            blocks = [self.calibrate(points[start : start + self._together]) for start in starts]
            return {name: torch.cat([buffers[name] for buffers in blocks]) for name in shared}
        views = self.layout.views(points)
        run = self._function if points.dim() == 1 else self._function.many
        with estimating(self._norms) as about_to_see, torch.no_grad():
            for batch in self._calibration.batches(self._batch_size):
                about_to_see(samples_in(batch))
                run(views, own, partial(self._on_batch, batch))
        return own

    hessian = _curvature.hessian
    gauss_newton = _curvature.gauss_newton
    fisher = _curvature.fisher
    functional_hessian = _curvature.functional_hessian
    jacobian = _curvature.jacobian

    # ------------------------------------------------------------------------------------------------ one or many

    def explain(self) -> str:
        """Say how many points are evaluated, and why so.

        Returns:
            One sentence.
        """
        choice = self._choice(self._data)
        how = "in one program" if choice.stack else "one by one"
        return f"Many points are evaluated {how}: {choice.why}."

    def _blocks(self, points: Tensor, buffers: Buffers | None) -> Iterator[tuple[Tensor, Buffers]]:
        """Cut points into what is evaluated together, each with its buffers."""
        self.layout.check(points)
        if not len(points):
            raise BadInput("The set of points is empty: give at least one.")
        points = points.detach().to(self.device, self.dtype)
        if buffers is not None:
            check_buffers(buffers, self._function.buffers, points)
            buffers = {k: b.to(self.device, self.dtype if b.is_floating_point() else None) for k, b in buffers.items()}
        if points.dim() == 1:
            yield points, self._own_buffers(points, buffers)
        elif self._choice(self._data).stack:
            size = self._together
            for start in range(0, len(points), size):
                block = points[start : start + size]
                part = buffers and {name: b[start : start + size] for name, b in buffers.items()}
                yield block, self._own_buffers(block, part)
        else:
            for i, point in enumerate(points):
                yield point, self._own_buffers(point, buffers and {name: b[i] for name, b in buffers.items()})

    def _own_buffers(self, block: Tensor, given: Buffers | None) -> Buffers:
        if given is not None:
            return given
        return self.calibrate(block) if self.batchnorm == "recompute" else {}

    def _passes(
        self, block: Tensor, buffers: Buffers, leaves: Mapping[str, Tensor] | None = None, start: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        """Run a block of points over all batches, from number ``start`` on; this is the one loop over batches."""
        views = leaves or self.layout.views(block)
        run = self._function if block.dim() == 1 else self._function.many
        # Where batches bring their own statistics, what is in a batch is part of the function.
        whole = block.dim() == 1 or self.batchnorm == "batch"
        size = self._batch_size if whole else min(_TILE, self._batch_size)
        for batch in islice(self._data.batches(size), start, None):
            yield run(views, buffers, partial(self._on_batch, batch))

    def _on_batch(self, batch: Any, net: nn.Module) -> tuple[Any, Any]:
        try:
            return self._forward(net, batch)
        except ValueError as why:
            if "more than 1 value per channel" not in str(why):
                raise
            raise BadInput(
                "A batch of one sample has no variance for BatchNorm: give a batch_size that leaves no single sample "
                "over, or batchnorm='keep'."
            ) from why

    def _losses(self, outputs: Any, targets: Any) -> Tensor:
        value = self._loss(outputs, targets)
        return value.raw if isinstance(value, Stacked) else value

    def _means(
        self, points: Tensor, buffers: Buffers | None, measures: tuple[Callable[[Any, Any], Tensor], ...]
    ) -> list[Tensor]:
        """Mean of each measure over the samples."""
        rows: list[Tensor] = []
        for block, own in self._blocks(points, buffers):
            values: list[Tensor] = []
            sizes: list[int] = []
            with torch.no_grad():
                for outputs, targets in self._passes(block, own):
                    values.append(
                        torch.stack([m(outputs, targets).reshape(-1).to("cpu", torch.float64) for m in measures])
                    )
                    sizes.append(samples_in(targets))
            weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
            mean = torch.einsum("b,bmn->mn", weights, torch.stack(values))
            if self._losses in measures and self.weight_decay:
                squares = block.to(torch.float64 if block.device.type != "mps" else None).square().sum(-1)
                mean[measures.index(self._losses)] += 0.5 * self.weight_decay * squares.to("cpu", torch.float64)
            rows.append(mean)
        whole = torch.cat(rows, dim=1)
        return list(whole[:, 0] if points.dim() == 1 else whole)

    @cached_property
    def _cost(self) -> Cost:
        batch = next(iter(self._data.batches(8)))
        views = self.layout.views(self.here)
        return count(lambda: self._function(views, {}, lambda net: self._forward(net, batch)), samples_in(batch))

    @cached_property
    def _statistics(self) -> frozenset[str]:
        """Names of the buffers that BatchNorm layers keep."""
        kept = {id(buffer) for norm in self._norms for buffer in norm.buffers()}
        return frozenset(name for name, buffer in self._function.buffers.items() if id(buffer) in kept)

    @property
    def _together(self) -> int:
        """How many points a stack takes at a time."""
        return max(1, int(_CACHED / (self._cost.widest * min(_TILE, self._batch_size))))

    @cached_property
    def _stackable(self) -> str | None:
        """Why many points cannot run as one program, or None if they can."""
        batch = next(iter(self._data.batches(2)))
        views = self.layout.views(self.here.expand(2, -1).contiguous())
        return refusal(lambda: self._loss(*self._function.many(views, {}, partial(self._on_batch, batch))))

    def _choice(self, data: Tensors | Stream) -> Choice:
        samples = min(self._batch_size, _TILE, len(data) if isinstance(data, Tensors) else _TILE)
        choice = choose(self._cost, samples, self.device)
        if choice.stack and self._stackable is not None:
            return Choice(False, self._stackable)
        return choice

    # ------------------------------------------------------------------------------------------------ checks

    @cached_property
    def has_labels(self) -> bool:
        """Whether the targets are labels, so that there is an error."""
        outputs, targets = self._first_pass()
        try:
            wrong(outputs, targets)
        except BadInput:
            return False
        return True

    _first_pass = _first.first_pass
    _check = _first.check

    def __repr__(self) -> str:
        samples = f"{len(self._data)} samples" if isinstance(self._data, Tensors) else "a stream of batches"
        frozen = f" ({len(self.layout.frozen)} frozen parameters left out)" if self.layout.frozen else ""
        return (
            f"Landscape({type(self._model).__name__}, P = {self.layout.size:,}{frozen}, {self._loss_name} on "
            f"{samples}, {str(self.dtype).removeprefix('torch.')} on {self.device}, batchnorm: {self.batchnorm})"
        )
