"""Gradients of single samples of any model, by rules where there are rules.

Samples go through the model as a batch of one each under `torch.func.vmap`, so that no axis of any tensor can be taken
for the samples by mistake. To what each operation with a rule gives, zeros are added: one backward pass to them gives
the cotangents of all operations at once, and these with what went in are all the rules need. A parameter that some
operation without a rule uses is given to every sample anew, and has a gradient of its own in each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from landform.errors import BadInput
from landform.landscape import Landscape, first_line
from landform.per_sample import _rules
from landform.per_sample._batch import axes, count, cut
from landform.per_sample._parts import Blocks, Direct, Outer, Part, Simple, joined
from landform.per_sample._watch import Place, Use, Watch
from landform.stacked import Function


@dataclass(frozen=True)
class Layer:
    """What one weight, or a block of its rows, gets, and the bias that is added with it.

    Attributes:
        weight: the parameter; with its first row where it is used in blocks.
        bias: the parameter whose gradients are those of the weight with 1 as input; None where there is no such.
        part: the gradients of the weight.
    """

    weight: str
    bias: str | None
    part: Simple


Kept = dict[Any, Any]
_SEEN: WeakKeyDictionary[Function, dict[str, tuple[frozenset[str], list[Use], tuple[int, ...], int, Kept]]]
_SEEN = WeakKeyDictionary()
_CHUNK = 2**24  # numbers that the samples which run together may take: 64 MB in float32


class Rules:
    """How the gradients of single samples are taken, for one model at one point.

    Attributes:
        landscape: the landscape.
        point: ``[P]``.
        buffers: those in use at the point.
        kinds: what rule each parameter has: "dense", "convolution", "lookup", "bias", several of them joined by " + ",
            or "each sample anew".
        shape: of the outputs of one sample, which are flattened into K numbers.
        kept: for those who plan by what was seen here: it is the same for all points.
        live: numbers that a sample's forward pass leaves in memory for the backward passes, roughly.
    """

    def __init__(
        self, landscape: Landscape, point: Tensor, batch: Any, *, buffers: Mapping[str, Tensor] | None = None
    ) -> None:
        """Run two samples, see which operation uses which parameter, and hold the rules against gradients without any.

        Args:
            landscape: the landscape.
            point: ``[P]``.
            batch: samples to look with, as the landscape's forward takes them.
            buffers: buffers to use instead of the landscape's own.

        Raises:
            BadInput: when samples are not independent, or the model cannot be gone through sample by sample.
        """
        landscape.layout.check(point)
        if point.dim() != 1:
            raise BadInput(f"The point is {list(point.shape)}: gradients of single samples are taken at one point [P].")
        if landscape.batchnorm == "batch":
            raise BadInput(
                "With batchnorm='batch' samples share statistics, so none has a gradient of its own: give "
                "batchnorm='keep' or 'recompute'."
            )
        self.landscape = landscape
        self.point = point.detach().to(landscape.device, landscape.dtype)
        self.buffers = landscape._own_buffers(self.point, buffers)
        self._leaves = {name: view.detach() for name, view in landscape.layout.views(self.point).items()}
        self._covered: frozenset[str] = frozenset(self._leaves)
        self._uses: list[Use] = []
        self.shape: tuple[int, ...] = ()
        self.live = 0
        self.kept: Kept = {}
        two = cut(batch, slice(0, 2))
        # How a model uses its parameters does not depend on where it is: one look serves all points.
        seen = _SEEN.setdefault(landscape._function, {})
        told = _told(two, self.buffers)
        if told not in seen:
            self._look(two)
            self._cover(self._covered - self._wrong(two), self._uses)
            seen[told] = self._covered, self._uses, self.shape, self.live, {}
        self._covered, self._uses, self.shape, self.live, self.kept = seen[told]
        self.kinds = {name: self._kind(name) for name in self._leaves}

    @property
    def outputs(self) -> int:
        """K."""
        return torch.Size(self.shape).numel()

    def running(self, pulls: int = 1) -> int:
        """Numbers that a sample takes while it runs, roughly.

        Args:
            pulls: gradients of it that are pulled back at a time.

        Returns:
            What its forward pass leaves, patches of convolutions, cotangents and gradients without a rule; the last
            two twice, for they are put together.
        """
        deltas = sum(torch.Size(use.output).numel() for use in self._uses)
        anew = sum(leaf.numel() for name, leaf in self._leaves.items() if name not in self._covered)
        return self.live + sum(_rules.unfolded(use) for use in self._uses) + 2 * pulls * (deltas + anew)

    def together(self, pulls: int = 1, more: int = 0) -> int:
        """How many samples can run together in bounded memory.

        Args:
            pulls: gradients of each that are pulled back at a time.
            more: numbers that the caller makes of each sample meanwhile.

        Returns:
            The number of samples, at least 1.
        """
        return max(1, _CHUNK // max(1, self.running(pulls) + more))

    def __call__(self, batch: Any) -> Pass:
        """Run a batch forward.

        Args:
            batch: as the landscape's forward takes it.

        Returns:
            The pass, from which gradients can be pulled back.
        """
        return self._run(batch, self._covered)

    def _run(self, batch: Any, covered: frozenset[str]) -> Pass:
        samples = count(batch)
        loose = {
            name: leaf.expand(samples, *leaf.shape).requires_grad_()
            for name, leaf in self._leaves.items()
            if name not in covered
        }
        wanted = self._uses if covered else []
        # One number seen many times: zeros that take no memory.
        zero = torch.zeros((), device=self.point.device, dtype=self.point.dtype)
        shifts = [zero.expand(samples, *use.output).requires_grad_() for use in wanted]
        seen: list[Any] = []

        def one(
            sample: Any, shifts: list[Tensor], loose: dict[str, Tensor]
        ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
            watch = self._watch(covered, shifts)
            outputs, targets = self._through(watch, sample, loose)
            leaves, built = pytree.tree_flatten(targets)
            seen.append((watch.uses, leaves, built))
            return outputs.flatten(), watch.inputs, [leaf for leaf in leaves if isinstance(leaf, Tensor)]

        outputs, inputs, tensors = self._vmapped(one, (axes(batch), 0, 0), (batch, shifts, loose))
        uses, leaves, built = seen[0]
        if [(use.kind, use.output) for use in uses] != [(use.kind, use.output) for use in wanted]:
            raise BadInput(
                "The model takes another way through its layers from batch to batch: the gradients of single samples "
                "need a forward pass that does the same for all."
            )
        # Each sample was a batch of one, and so were its targets.
        flat = iter(t.flatten(0, 1) if t.dim() > 1 else t for t in tensors)
        targets = pytree.tree_unflatten([next(flat) if isinstance(t, Tensor) else t for t in leaves], built)
        return Pass(outputs, targets, wanted, inputs, shifts, loose)

    def _watch(self, covered: frozenset[str], shifts: list[Tensor] | None) -> Watch:
        rows = {name: leaf.shape[0] if leaf.dim() else 1 for name, leaf in self._leaves.items()}
        return Watch({id(self._leaves[name]): Place(name, 0, rows[name]) for name in covered}, shifts)

    def _through(self, watch: Watch, sample: Any, loose: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
        alone = pytree.tree_map_only(Tensor, lambda t: t.unsqueeze(0), sample)
        run = partial(_forward, self.landscape, watch, alone)
        outputs, targets = self.landscape._function({**self._leaves, **loose}, self.buffers, run)
        if not isinstance(outputs, Tensor) or outputs.dim() < 2 or len(outputs) != 1:
            got = f"of shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise BadInput(
                f"Gradients of single samples need outputs [batch, outputs]; for one sample the model's are {got}."
            )
        return outputs[0], targets

    def _vmapped(self, function: Any, where: Any, arguments: Any) -> Any:
        try:
            # Fused attention has no batching rule; plain products have.
            with sdpa_kernel(SDPBackend.MATH), torch.enable_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="There is a performance drop")
                return torch.func.vmap(function, in_dims=where, randomness="same")(*arguments)
        except (RuntimeError, ValueError, NotImplementedError) as why:
            if isinstance(why, BadInput):
                raise
            raise BadInput(
                f"This model cannot be gone through sample by sample: {first_line(why)} Check the shape and type of "
                "its inputs and buffers, or write the forward pass in operations that torch.func.vmap can batch, "
                "without branches on values."
            ) from why

    def _look(self, batch: Any) -> None:
        """Find what uses what."""
        seen: list[Watch] = []

        def one(sample: Any) -> Tensor:
            seen.append(self._watch(self._covered, None))
            return self._through(seen[-1], sample, {})[0]

        outputs = self._vmapped(one, (axes(batch),), (batch,))
        (watch,) = seen
        self.shape = tuple(outputs.shape[1:])
        self.live = 2 * sum(torch.Size(use.output).numel() for use in watch.uses) + sum(t.numel() for t in watch.inputs)
        pieces: dict[str, set[tuple[int, int]]] = {}
        for use in watch.uses:
            for place in (use.weight, use.bias):
                if place is not None:
                    pieces.setdefault(place.name, set()).add((place.start, place.stop))
        overlapping = {name for name, found in pieces.items() if not _disjoint(found)}
        self._cover(frozenset(pieces) - watch.foreign - overlapping, watch.uses)

    def _cover(self, names: frozenset[str], uses: list[Use]) -> None:
        self._covered = names
        self._uses = [use for use in uses if any(p and p.name in names for p in (use.weight, use.bias))]

    def _wrong(self, batch: Any) -> set[str]:
        """Parameters whose gradients by the rules are not what gradients without rules are."""
        if not self._covered:
            return set()
        plain, ruled = self._run(batch, frozenset()), self._run(batch, self._covered)
        along = torch.randn(1, *plain.outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        along = along.to(plain.outputs)
        expected, found = plain.pull(along), ruled.pull(along)
        loose = 1e-3 if self.point.dtype == torch.float32 else 1e-8
        missed = set()
        for name in self._covered:
            right = expected[name].rows()
            if name not in found or not bool((found[name].rows() - right).norm() <= loose * right.norm() + 1e-30):
                missed.add(name)
        return missed

    def _kind(self, name: str) -> str:
        if name not in self._covered:
            return "each sample anew"
        kinds = [use.kind for use in self._uses if use.weight and use.weight.name == name]
        kinds += ["bias" for use in self._uses if use.bias and use.bias.name == name]
        return " + ".join(dict.fromkeys(kinds))


class Pass:
    """A batch that went through the model.

    Attributes:
        outputs: ``[B, K]``, with the graph of the pass.
        targets: as the landscape's forward returned them.
    """

    def __init__(
        self,
        outputs: Tensor,
        targets: Any,
        uses: list[Use],
        inputs: list[Tensor],
        shifts: list[Tensor],
        loose: Mapping[str, Tensor],
    ) -> None:
        """Keep what backward passes need."""
        self.outputs, self.targets = outputs, targets
        self._uses, self._inputs, self._shifts, self._loose = uses, inputs, shifts, dict(loose)

    def pull(self, cotangents: Tensor, *, last: bool = False) -> dict[str, Part]:
        """Find the gradients of every sample along cotangents of its outputs.

        Args:
            cotangents: ``[K', B, K]``: K' backward passes.
            last: whether the graph may be let go afterwards.

        Returns:
            The gradients of each parameter, K' a sample.
        """
        deltas, own = self._back(cotangents, last)
        found: dict[str, dict[int, list[Simple]]] = {}
        for use, inputs, delta in zip(self._uses, self._inputs, deltas, strict=True):
            if self._ruled(use.weight):
                part = _rules.weight(use, inputs, delta)
                found.setdefault(use.weight.name, {}).setdefault(use.weight.start, []).append(part)
            if self._ruled(use.bias):
                shift = _rules.bias(use, delta)
                found.setdefault(use.bias.name, {}).setdefault(use.bias.start, []).append(shift)
        parts: dict[str, Part] = dict(own)
        for name, pieces in found.items():
            blocks = tuple(joined(pieces[start]) for start in sorted(pieces))
            parts[name] = blocks[0] if len(blocks) == 1 else Blocks(blocks)
        return parts

    def pull_layers(self, cotangents: Tensor, *, last: bool = False) -> Iterator[Layer]:
        """Find the same layer by layer, each weight with the bias that goes with it.

        Args:
            cotangents: ``[K', B, K]``.
            last: whether the graph may be let go afterwards.

        Yields:
            The layers, in an order that never changes; together they hold every parameter once.
        """
        deltas, own = self._back(cotangents, last)
        weights, biases = _by_piece(self._uses, self._ruled, "weight"), _by_piece(self._uses, self._ruled, "bias")
        alone = {numbers: piece for piece, numbers in biases.items()}
        for (name, start), numbers in weights.items():
            part = joined([_rules.weight(self._uses[i], self._inputs[i], deltas[i]) for i in numbers])
            bias = alone.pop(numbers, None) if isinstance(part, Outer) else None
            yield Layer(name if start == 0 else f"{name}[{start}:]", bias and bias[0], part)
        for numbers, (name, start) in alone.items():
            shift = joined([_rules.bias(self._uses[i], deltas[i]) for i in numbers])
            yield Layer(name if start == 0 else f"{name}[{start}:]", None, shift)
        for name, direct in own.items():
            yield Layer(name, None, direct)

    def entering(self, name: str) -> Tensor:
        """What goes into the layer that has a weight.

        Args:
            name: the weight, which must have a rule and be used once.

        Returns:
            ``[B, ...]``, without a graph.

        Raises:
            BadInput: when there is no such layer.
        """
        places = [i for i, use in enumerate(self._uses) if use.weight is not None and use.weight.name == name]
        if len(places) != 1 or name in self._loose:
            raise BadInput(f"{name} is used {len(places)} times by operations with a rule: name a weight used once.")
        return self._inputs[places[0]]

    def _ruled(self, place: Place | None) -> TypeGuard[Place]:
        return place is not None and place.name not in self._loose

    def _back(self, cotangents: Tensor, last: bool) -> tuple[list[Tensor], dict[str, Direct]]:
        """Cotangents of all uses, and the gradients of the parameters without rules."""
        if cotangents.dim() != 3 or cotangents.shape[1:] != self.outputs.shape:
            raise BadInput(
                f"The cotangents are {list(cotangents.shape)}: give [K', {', '.join(map(str, self.outputs.shape))}], "
                "as many numbers for each sample as the model has outputs."
            )
        leaves = [*self._shifts, *self._loose.values()]
        if not self.outputs.requires_grad:
            each = [leaf.new_zeros(len(leaf), len(cotangents), *leaf.shape[1:]) for leaf in leaves]
        else:
            each = _pulled(self.outputs, leaves, cotangents, last)
        loose = zip(self._loose, each[len(self._shifts) :], strict=True)
        own = {name: Direct(g.flatten(2) if g.dim() > 2 else g.unsqueeze(2)) for name, g in loose}
        return each[: len(self._shifts)], own


def _by_piece(
    uses: list[Use], ruled: Callable[[Place | None], TypeGuard[Place]], which: str
) -> dict[tuple[str, int], tuple[int, ...]]:
    """The uses of each weight (or bias), or of each block of its rows."""
    found: dict[tuple[str, int], tuple[int, ...]] = {}
    for i, use in enumerate(uses):
        place = use.weight if which == "weight" else use.bias
        if ruled(place):
            found[place.name, place.start] = (*found.get((place.name, place.start), ()), i)
    return found


def _pulled(outputs: Tensor, leaves: list[Tensor], cotangents: Tensor, last: bool) -> list[Tensor]:
    # Each is put into its place as it comes: torch.stack along this axis takes five times as long.
    found = [leaf.new_empty(len(leaf), len(cotangents), *leaf.shape[1:]) for leaf in leaves]
    for k, along in enumerate(cotangents):
        each = torch.autograd.grad(
            outputs,
            leaves,
            along,
            retain_graph=not (last and k == len(cotangents) - 1),
            allow_unused=True,
            materialize_grads=True,
        )
        for place, gradient in zip(found, each, strict=True):
            place[:, k] = gradient
    return found


def _forward(landscape: Landscape, watch: Watch, sample: Any, net: nn.Module) -> tuple[Any, Any]:
    with watch:
        return landscape._forward(net, sample)


def _disjoint(pieces: set[tuple[int, int]]) -> bool:
    ordered = sorted(pieces)
    return all(before[1] <= after[0] for before, after in pairwise(ordered))


def _told(batch: Any, buffers: Mapping[str, Tensor]) -> str:
    """What the way of a batch through the model may depend on, its numbers apart."""
    leaves, built = pytree.tree_flatten(batch)
    shapes = [(tuple(t.shape[1:]), str(t.dtype)) if isinstance(t, Tensor) else repr(t) for t in leaves]
    return f"{shapes} {built} {sorted(buffers)}"
