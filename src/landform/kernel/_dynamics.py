"""How a kernel moves: distance, velocity, polar coordinates, change by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import check_form, symmetric, wide

# Numbers of a kernel that are taken to float64 at a time.
_PIECE = 2**22
# Below this distance the difference of two cosines near 1 is rounding, and the chord is taken in its place.
_CLOSE = 1e-6


@dataclass(frozen=True)
class Velocity:
    """How fast a kernel turns from each time to the next (Fort et al. 2020).

    Attributes:
        distances: S between each kernel and the next, ``[T - 1]``.
        dt: the time between them, ``[T - 1]``.
        velocity: ``distances / dt``, ``[T - 1]``.
        per_lr: ``velocity / lr``, ``[T - 1]``: the kernel's velocity goes about with the learning rate, so schedules
            are compared by this one; None where no learning rate was given.
    """

    distances: Tensor
    dt: Tensor
    velocity: Tensor
    per_lr: Tensor | None


@dataclass(frozen=True)
class Polar:
    """A kernel's way in polar coordinates around its start (Tsilivis & Kempe 2022): growth apart from rotation.

    Attributes:
        radius: ``||K_t - K_0|| / ||K_T - K_0||`` in the Frobenius norm, ``[T]``; nan where the last equals the first.
        angle: ``arccos`` of the cosine between K_t and K_0, in radians, ``[T]``.
        scale: ``||K_t|| / ||K_0||``, ``[T]``.
        top: the same for the part of each kernel in its own top eigenvectors; None where none were asked for.
        bottom: the same for what is left.
    """

    radius: Tensor
    angle: Tensor
    scale: Tensor
    top: Polar | None = field(default=None, repr=False)
    bottom: Polar | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Changes:
    """How the kernel of each layer changed between two times.

    Attributes:
        names: of the layers, ``[L]``.
        distance: S between the layer's two kernels, ``[L]``: how far it turned.
        relative: ``||K' - K|| / ||K||``, ``[L]``: growth and rotation together.
        scale: ``||K'|| / ||K||``, ``[L]``.
        share: the layer's part of the whole kernel's trace at the first time, ``[L]``.
        share_after: the same at the second.
        part: the layer's part of the whole kernel's change, ``<K'_l - K_l, K' - K> / ||K' - K||^2``, ``[L]``; they sum
            to 1, and one that works against the others is negative.
    """

    names: tuple[str, ...]
    distance: Tensor
    relative: Tensor
    scale: Tensor
    share: Tensor
    share_after: Tensor
    part: Tensor


def distance(first: Tensor, second: Tensor) -> float:
    """Kernel distance ``S = 1 - <K, K'> / (||K|| ||K'||)`` (Fort et al. 2020), in [0, 1] for positive kernels.

    It is taken as half the squared chord between the kernels at unit length, which does not cancel: distances far below
    1e-16 keep their digits, and that of a kernel to itself is exactly 0. The mean over samples is not removed, so it is
    one minus the uncentred kernel alignment.

    Args:
        first: a kernel of any shape: full, trace, or of one layer.
        second: another of the same shape.

    Returns:
        The distance, accumulated in float64.

    Raises:
        BadInput: when the shapes differ, or a kernel is zero or not finite.
    """
    _check_pair(first, second)
    scales = _length(first, "first"), _length(second, "second")
    total = 0.0
    for a, b in zip(_pieces(first), _pieces(second), strict=True):
        total += float((a / scales[0] - b.to(a.device) / scales[1]).square().sum())
    return 0.5 * total


def distances(kernels: Iterable[Tensor], *, memory: float = 2**30) -> Tensor:
    """Kernel distances between all pairs of times.

    Args:
        kernels: T kernels of one shape. A sequence that reads its items from disk when asked for them is gone through
            in blocks that fit the memory, each block beside every later one.
        memory: bytes that the blocks may take.

    Returns:
        ``[T, T]``, float64, symmetric with a diagonal of exact zeros, on the CPU; pairs nearer than 1e-6 are taken as
        `distance` takes them.

    Raises:
        BadInput: when there are no kernels, their shapes differ, or one is zero or not finite.
    """
    held: Sequence[Tensor] = kernels if isinstance(kernels, Sequence) else list(kernels)
    if not len(held):
        raise BadInput("There are no kernels: give at least one.")
    first = held[0]
    if not isinstance(first, Tensor):
        raise BadInput(f"Kernels are tensors; the first is a {type(first).__name__}.")
    # Two blocks of rows in float64, beside the kernel being read.
    width = max(1, int(memory / (2 * 8 * max(first.numel(), 1))))
    blocks = [range(start, min(start + width, len(held))) for start in range(0, len(held), width)]
    table = torch.zeros(len(held), len(held), dtype=torch.float64)
    for i, block in enumerate(blocks):
        rows = _unit_rows(held, block, first)
        for other in blocks[i:]:
            columns = rows if other == block else _unit_rows(held, other, first)
            table[block.start : block.stop, other.start : other.stop] = (1.0 - rows @ columns.T).cpu()
    table = torch.triu(table, 1)
    for a, b in (table < _CLOSE).logical_and(torch.ones_like(table).triu(1) > 0).nonzero().tolist():
        table[a, b] = distance(held[a], held[b])
    return table + table.T


def velocity(
    kernels: Iterable[Tensor], dt: float | Sequence[float] | Tensor, lr: float | Sequence[float] | Tensor | None = None
) -> Velocity:
    """Kernel velocity ``S(K_t, K_{t + dt}) / dt`` along some kernels, or between the two of a pair.

    Args:
        kernels: T kernels, at least two, each taken once and in order.
        dt: the time from each to the next: one number for all, or ``[T - 1]``. The paper's unit is an epoch, its dt
            0.4 of one.
        lr: the learning rate in between, one for all or ``[T - 1]``.

    Returns:
        The velocities.

    Raises:
        BadInput: when there are fewer than two kernels, or a time or rate is not positive.
    """
    found: list[float] = []
    before: Tensor | None = None
    for kernel in kernels:
        if before is not None:
            found.append(distance(before, kernel))
        before = kernel
    if not found:
        raise BadInput("A velocity is taken between kernels of two times at least: give a pair (K0, K1), or more.")
    turned = torch.tensor(found, dtype=torch.float64)
    times = _each(dt, len(found), "dt")
    speed = turned / times
    return Velocity(turned, times, speed, None if lr is None else speed / _each(lr, len(found), "lr"))


def polar(kernels: Iterable[Tensor], *, top: int | None = None) -> Polar:
    """Polar coordinates of a kernel's way, in the whole and in its own top and bottom eigenspaces.

    Args:
        kernels: T kernels, at least two, each taken once and in order; the first is the origin, the last gives the
            radius its unit.
        top: also split each kernel into the part in its own so many top eigenvectors and what is left.

    Returns:
        Radius, angle and scale.

    Raises:
        BadInput: when there are fewer than two kernels, or a kernel cannot be split so.
    """
    origin: list[Tensor] = []
    rows: list[list[tuple[float, float, float]]] = []
    for kernel in kernels:
        parts = [kernel, *_split(kernel, top)] if top is not None else [kernel]
        if not origin:
            origin = [part.clone() for part in parts]
        rows.append([_coordinates(start, part) for start, part in zip(origin, parts, strict=True)])
    if len(rows) < 2:
        raise BadInput("Polar coordinates are those of a way: give the kernels of two times at least.")
    table = torch.tensor(rows, dtype=torch.float64)  # [T, parts, 3]
    found = [
        Polar(part[:, 0] / (part[-1, 0] if part[-1, 0] > 0 else math.nan), part[:, 1], part[:, 2])
        for part in table.unbind(1)
    ]
    if top is None:
        return found[0]
    return Polar(found[0].radius, found[0].angle, found[0].scale, *found[1:])


def changes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Changes:
    """Change of the kernel, layer by layer.

    Args:
        first: the kernel of each layer at one time; they sum to the whole.
        second: the same at another time.

    Returns:
        The changes, in the order of ``first``. A layer whose kernel is zero at a time has distance nan.

    Raises:
        BadInput: when the layers, or their shapes, differ.
    """
    if set(first) != set(second) or not first:
        raise BadInput(
            f"The kernels are of the layers {', '.join(first) or '(none)'} and {', '.join(second) or '(none)'}: give "
            "the same layers at both times."
        )
    names = tuple(first)
    for name in names:
        _check_pair(first[name], second[name])
    moved = {name: wide(second[name]) - wide(first[name]) for name in names}
    whole = torch.stack(list(moved.values())).sum(0)
    square = float(whole.square().sum())
    found: dict[str, list[float]] = {key: [] for key in ("distance", "relative", "scale", "share", "after", "part")}
    traces = [sum(_trace(side[name]) for name in names) for side in (first, second)]
    for name in names:
        a, b = (float(torch.linalg.vector_norm(wide(side[name]))) for side in (first, second))
        found["distance"].append(distance(first[name], second[name]) if a > 0 and b > 0 else math.nan)
        found["relative"].append(float(torch.linalg.vector_norm(moved[name])) / a if a > 0 else math.nan)
        found["scale"].append(b / a if a > 0 else math.nan)
        found["share"].append(_trace(first[name]) / traces[0] if traces[0] else math.nan)
        found["after"].append(_trace(second[name]) / traces[1] if traces[1] else math.nan)
        found["part"].append(float((moved[name] * whole).sum()) / square if square else math.nan)
    return Changes(names, *(torch.tensor(column, dtype=torch.float64) for column in found.values()))


def _check_pair(first: Tensor, second: Tensor) -> None:
    for kernel in (first, second):
        if not isinstance(kernel, Tensor) or not kernel.dtype.is_floating_point:
            raise BadInput(f"A kernel is a tensor of floating-point numbers; got {_told(kernel)}.")
    if first.shape != second.shape:
        raise BadInput(
            f"The kernels have shapes {list(first.shape)} and {list(second.shape)}: compare kernels of one kind, on "
            "the same samples."
        )


def _told(kernel: object) -> str:
    return str(kernel.dtype) if isinstance(kernel, Tensor) else f"a {type(kernel).__name__}"


def _pieces(kernel: Tensor) -> Iterator[Tensor]:
    """A kernel's numbers in float64, some rows at a time, in whatever order they lie in memory."""
    rows = kernel.detach() if kernel.dim() else kernel.detach().reshape(1)
    step = max(1, _PIECE * len(rows) // max(rows.numel(), 1))
    for start in range(0, len(rows), step):
        yield wide(rows[start : start + step])


def _length(kernel: Tensor, which: str) -> float:
    length = math.hypot(*(float(torch.linalg.vector_norm(piece)) for piece in _pieces(kernel)))
    if not math.isfinite(length):
        raise BadInput(f"The {which} kernel holds NaN or infinity: look whether the network has diverged.")
    if length == 0.0:
        raise BadInput(f"The {which} kernel is zero, and so has no direction to compare.")
    return length


def _unit_rows(held: Sequence[Tensor], block: range, like: Tensor) -> Tensor:
    """Some of the kernels as rows of unit length, ``[b, entries]``, float64."""
    device = "cpu" if like.device.type == "mps" else like.device
    rows = torch.empty(len(block), like.numel(), dtype=torch.float64, device=device)
    for row, i in zip(rows, block, strict=True):
        kernel = held[i]
        _check_pair(like, kernel)
        row.view(kernel.shape).copy_(kernel.detach())
        row.div_(_length(kernel, f"{i + 1}th"))
    return rows


def _each(value: float | Sequence[float] | Tensor, count: int, name: str) -> Tensor:
    given = torch.as_tensor(value, dtype=torch.float64).cpu()
    if given.dim() > 1 or (given.dim() == 1 and len(given) != count):
        raise BadInput(
            f"{name} has shape {list(given.shape)}: give one number, or {count}, one for each pair of times."
        )
    if not bool((given > 0).all()):
        raise BadInput(f"{name} is {given.min():.3g} at the least: give positive numbers.")
    return given.expand(count).clone()


def _split(kernel: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """A kernel's part in its own top eigenvectors, and what is left, as matrices."""
    matrix = symmetric(kernel)
    if not 0 < top < len(matrix):
        raise BadInput(f"top is {top}: give at least 1 and fewer than the {len(matrix)} eigenvectors there are.")
    values, vectors = torch.linalg.eigh(matrix)
    upper = (vectors[:, -top:] * values[-top:]) @ vectors[:, -top:].T
    return upper, (vectors[:, :-top] * values[:-top]) @ vectors[:, :-top].T


def _coordinates(start: Tensor, kernel: Tensor) -> tuple[float, float, float]:
    """``||K - K_0||``, the angle between them, and ``||K|| / ||K_0||``."""
    chord = distance(start, kernel)  # 1 - cos = 2 sin^2(angle / 2)
    lengths = _length(start, "first"), _length(kernel, "other")
    # ||K - K_0||^2 = (||K|| - ||K_0||)^2 + 2 ||K|| ||K_0|| S: two terms that cannot cancel.
    apart = math.sqrt((lengths[1] - lengths[0]) ** 2 + 2 * lengths[0] * lengths[1] * chord)
    return apart, 2 * math.asin(min(1.0, math.sqrt(chord / 2))), lengths[1] / lengths[0]


def _trace(kernel: Tensor) -> float:
    kernel = check_form(kernel)
    diagonal = kernel.diagonal() if kernel.dim() == 2 else kernel.diagonal().diagonal()
    return float(wide(diagonal).sum())
