"""Activation patterns: on which linear piece each unit is for each sample, packed into bits, and how many differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import check_ends, check_points, two_or_many, wide
from landform.functions._units import Planes
from landform.functions._walk import Own, walk
from landform.functions._watch import UnitWatch
from landform.landscape import Landscape


@dataclass(frozen=True)
class PatternDistance:
    """Normalised Hamming distance of activation patterns.

    Attributes:
        total: share of (sample, unit) pairs on different pieces, over all units: a float64 scalar, or ``[n, n]``, on
            the CPU.
        layers: names of the units' layers, in the order of the calls, ``[L]``.
        shares: the same share within each layer, ``[L]`` or ``[L, n, n]``.
        units: how many units a sample meets in each layer, ``[L]``.
        samples: how many samples.
    """

    total: Tensor
    layers: tuple[str, ...]
    shares: Tensor
    units: tuple[float, ...]
    samples: int


@dataclass(frozen=True)
class Patterns:
    """On which piece each unit is for each sample, at one point.

    Attributes:
        bits: by layer, a list over batches of packed planes ``[planes, bytes]``, uint8.
        counts: by layer, how many (sample, unit) pairs there are in all.
        samples: how many samples.
        source: names the data and the model's structure, so that what cannot be compared is refused.
    """

    bits: Mapping[str, Sequence[Tensor]] = field(repr=False)
    counts: Mapping[str, int]
    samples: int
    source: str

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(packed.numel() for batches in self.bits.values() for packed in batches)

    def distance(self, other: Patterns) -> PatternDistance:
        """Compare with the patterns of another point.

        Args:
            other: patterns of the same landscape.

        Returns:
            The share of pairs on different pieces, in all and by layer.

        Raises:
            BadInput: when they are of other data or another model.
        """
        if self.source != other.source or dict(self.counts) != dict(other.counts):
            raise BadInput("These patterns are of other data or of another model: take both on one landscape.")
        tally = Tally(2)
        for name, batches in self.bits.items():
            for mine, theirs in zip(batches, other.bits[name], strict=True):
                tally.add_packed(name, torch.stack((mine, theirs)))
            tally.count(name, self.counts[name])
        tally.samples = self.samples
        return tally.pair()


class Tally:
    """Counts of differing units between n points, batch by batch."""

    def __init__(self, points: int) -> None:
        """Begin at zero.

        Args:
            points: n.
        """
        self.samples = 0
        self._points = points
        self._differ: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, each: Sequence[Mapping[str, Planes]], samples: int) -> None:
        """Take a batch.

        Args:
            each: planes by layer, at each point.
            samples: how many samples the batch has.

        Raises:
            BadInput: when the points do not use the same units.
        """
        first = {name: [plane.shape for plane in planes] for name, planes in each[0].items()}
        if any({name: [plane.shape for plane in planes] for name, planes in one.items()} != first for one in each):
            raise BadInput("The model uses other units at one point than at another: its forward depends on numbers.")
        self.samples += samples
        for name in first:
            self.add_packed(name, torch.stack([packed(one[name]) for one in each]))
            self.count(name, each[0][name][0].numel())

    def add_packed(self, name: str, bits: Tensor) -> None:
        """Take packed planes.

        Args:
            name: of the layer.
            bits: ``[n, planes, bytes]``.
        """
        found = self._differ.setdefault(name, torch.zeros(self._points, self._points, dtype=torch.int64))
        for i in range(self._points - 1):
            # A unit is on another piece where any of its planes differs.
            apart = bits[i : i + 1] ^ bits[i + 1 :]
            either = apart[:, 0]
            for plane in range(1, apart.shape[1]):
                either = either | apart[:, plane]
            found[i, i + 1 :] += _ones(either).cpu()

    def count(self, name: str, pairs: int) -> None:
        """Count (sample, unit) pairs.

        Args:
            name: of the layer.
            pairs: how many more.
        """
        self._counts[name] = self._counts.get(name, 0) + pairs

    @property
    def empty(self) -> bool:
        """Whether no unit was met."""
        return not sum(self._counts.values())

    def pair(self) -> PatternDistance:
        """The distance of the first two points."""
        whole = self.matrix()
        return PatternDistance(whole.total[0, 1], whole.layers, whole.shares[:, 0, 1], whole.units, whole.samples)

    def matrix(self) -> PatternDistance:
        """The distances of all pairs."""
        names = tuple(name for name, count in self._counts.items() if count)
        differ = torch.stack([self._differ[name] + self._differ[name].T for name in names])
        counts = torch.tensor([self._counts[name] for name in names], dtype=torch.float64)
        return PatternDistance(
            differ.sum(0) / counts.sum(),
            names,
            differ / counts[:, None, None],
            tuple((counts / self.samples).tolist()),
            self.samples,
        )


def hamming(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Normalised Hamming distance of on-off patterns: share of numbers that are above zero in only one of two.

    Args:
        a: what went into, or came out of, rectified units, ``[N, ...]``; or of n models, ``[n, N, ...]``, where b is
            not given.
        b: the same of another model.

    Returns:
        A float64 scalar in [0, 1], or ``[n, n]`` over all pairs, on the CPU.
    """
    on = two_or_many(a, b, 1, "activations") > 0
    if b is not None:
        return wide(on[0] != on[1]).mean().cpu()
    flat = wide(on.flatten(1))
    sums = flat.sum(1)
    return ((sums[:, None] + sums[None] - 2 * flat @ flat.T) / flat.shape[1]).cpu()


def patterns(
    landscape: Landscape, point: Tensor, *, pooling: bool = False, buffers: Mapping[str, Tensor] | None = None
) -> Patterns:
    """Find on which piece each piecewise-linear unit is for each sample; one forward pass.

    Kept as bits, one a unit and sample for units of two pieces, so that a run's records can be held against one
    another without running them again.

    Args:
        landscape: the landscape.
        point: ``[P]``.
        pooling: whether the winners of max-pooling count as pieces.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The patterns.

    Raises:
        BadInput: when the model has no piecewise-linear units.
    """
    points = check_ends(landscape, point)
    bits: dict[str, list[Tensor]] = {}
    counts: dict[str, int] = {}
    samples = 0
    for step in walk(landscape, points, [buffers], [UnitWatch(landscape._function.net, pooling)]):
        samples += len(step.outputs[0])
        for name, planes in step.seen[0][0].items():
            bits.setdefault(name, []).append(packed(planes))
            counts[name] = counts.get(name, 0) + planes[0].numel()
    if not sum(counts.values()):
        raise BadInput(no_units(landscape))
    # Which data these are of, not what is measured on them.
    return Patterns(bits, counts, samples, landscape.fingerprint())


def pattern_distances(
    landscape: Landscape, points: Tensor, *, pooling: bool = False, buffers: Own = None
) -> PatternDistance:
    """Normalised Hamming distance of activation patterns over all pairs of n points, one pass over the data each.

    Memory is that of one batch's units in bits, times n.

    Args:
        landscape: the landscape.
        points: ``[n, P]``.
        pooling: whether the winners of max-pooling count as pieces.
        buffers: for each point buffers to use instead of the landscape's own, or None.

    Returns:
        The distances ``[n, n]``, in all and by layer.

    Raises:
        BadInput: when the model has no piecewise-linear units, or a point holds NaN.
    """
    check_points(landscape, points)
    tally = Tally(len(points))
    for step in walk(landscape, points, buffers, [UnitWatch(landscape._function.net, pooling)]):
        tally.add([seen[0] for seen in step.seen], len(step.outputs[0]))
    if tally.empty:
        raise BadInput(no_units(landscape))
    return tally.matrix()


def units(landscape: Landscape, *, pooling: bool = False) -> dict[str, float]:
    """Name the layers of piecewise-linear units that the model uses; a pass over one batch.

    Args:
        landscape: the landscape.
        pooling: whether the winners of max-pooling count as pieces.

    Returns:
        How many units a sample meets, by layer; nothing where there are none.
    """
    watch = UnitWatch(landscape._function.net, pooling)
    with watch.on():
        outputs, _ = landscape._first_pass()
    count = len(outputs) if isinstance(outputs, Tensor) and outputs.dim() else 1
    return {name: planes[0].numel() / count for name, planes in watch.taken().items()}


def no_units(landscape: Landscape) -> str:
    """Say that there are no patterns to compare.

    Args:
        landscape: the landscape.

    Returns:
        The sentence.
    """
    return (
        f"{type(landscape._model).__name__} uses no piecewise-linear unit (ReLU, LeakyReLU, ReLU6, Hardtanh, ...), so "
        "it has no activation pattern: compare outputs or representations."
    )


def packed(planes: Planes) -> Tensor:
    """Pack planes of bits, eight to a byte.

    Args:
        planes: of one shape, with m numbers each.

    Returns:
        ``[planes, ceil(m / 8)]`` uint8. Bit k of byte j is number ``k * bytes + j``: an order that is quick to make,
        and no distance depends on it.
    """
    flat = torch.stack([plane.flatten() for plane in planes]).to(torch.uint8)
    size = -(-flat.shape[1] // 8)
    rows = torch.nn.functional.pad(flat, (0, 8 * size - flat.shape[1])).view(len(flat), 8, size)
    byte: Tensor = rows[:, 0]
    for bit in range(1, 8):
        byte = byte | (rows[:, bit] << bit)
    return byte


def _ones(bits: Tensor) -> Tensor:
    """How many bits are set in each row, ``[n, bytes]`` to ``[n]``: by halves, quarters, bytes."""
    bits = bits - ((bits >> 1) & 0x55)
    bits = (bits & 0x33) + ((bits >> 2) & 0x33)
    bits = (bits + (bits >> 4)) & 0x0F
    return bits.sum(1, dtype=torch.int64)
