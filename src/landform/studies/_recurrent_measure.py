"""The parts of the study of recurrent kernels: sets of series, made sequences, weights of steps, drawn networks."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform.data import Split
from landform.kernel.infinite import RecurrentNTK
from landform.studies._loaded import loaded
from landform.studies._parts import write_part
from landform.studies._recurrent_methods import COMPARED, GRU, REVERSED, classify, gru, kernels_of, rows_of
from landform.studies._recurrent_protocol import RecurrentProtocol

# Steps of the two sequences that drawn networks see, and the kernel they are drawn for.
_LENGTHS = (4, 7)
_DRAWN = RecurrentNTK(sigma_w=1.3, sigma_u=0.8, sigma_b=0.3, sigma_h=0.5, sigma_v=1.1)
_AT_ONCE = 2**24


def compare(folder: Path, protocol: RecurrentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Every method on one set of time series.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where GRUs are trained; kernels are computed here.
        name: of the part.
        subject: which set.
        seed: of folds and GRUs.
    """
    data = loaded(f"time_series:{subject}", {})
    assert data.classes is not None
    told = _compared(data.train, data.test, data.classes, protocol, seed, device, bool(protocol.gru_epochs))
    lengths = data.train.lengths
    shape = {
        "train": len(data.train), "test": len(data.test), "classes": data.classes,
        "length": [int(lengths.min()), int(lengths.max())] if lengths is not None else [data.train.inputs.shape[1]] * 2,
    }  # fmt: skip
    write_part(folder, name, {"kind": "set", "subject": subject, "seed": seed, "methods": told, **shape})


def made(folder: Path, protocol: RecurrentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Kernels on made sequences of which only the first or the last steps tell the class, by how unequal they are.

    Args:
        folder: of the study.
        protocol: the study's.
        device: not used: there are kernels only.
        name: of the part.
        subject: ``"early"`` or ``"late"``.
        seed: of the sequences and folds.
    """
    found = []
    for spread in protocol.spreads:
        train, test = sequences(protocol, subject, spread, seed)
        found.append(_compared(train, test, 2, protocol, seed, device, False))
    write_part(folder, name, {"kind": "made", "subject": subject, "seed": seed, "methods": found})


def sequences(protocol: RecurrentProtocol, subject: str, spread: float, seed: int) -> tuple[Split, Split]:
    """Noise of one channel, with a pattern or its negative on the first or the last steps.

    Args:
        protocol: the study's.
        subject: ``"early"`` or ``"late"``.
        spread: half of the range of lengths, as a share of their mean.
        seed: of everything that is drawn.

    Returns:
        Training and test sequences, padded in front.
    """
    draw = torch.Generator().manual_seed(1000 * seed + round(100 * spread) + (subject == "early"))
    pattern = torch.randn(protocol.informative, generator=draw)
    pattern *= protocol.signal * math.sqrt(protocol.informative) / float(pattern.norm())
    most = round(protocol.lengths * (1 + spread))
    least = round(protocol.lengths * (1 - spread))
    splits = []
    for _ in range(2):
        x = torch.zeros(protocol.samples, most, 1)
        lengths = torch.randint(least, most + 1, (protocol.samples,), generator=draw)
        labels = torch.arange(protocol.samples) % 2
        for row, length, label in zip(x, lengths.tolist(), labels.tolist(), strict=True):
            steps = torch.randn(length, generator=draw)
            place = slice(0, len(pattern)) if subject == "early" else slice(length - len(pattern), length)
            steps[place] += (2 * label - 1) * pattern
            row[most - length :, 0] = steps
        splits.append(Split(x, labels, lengths))
    return splits[0], splits[1]


def _compared(
    train: Split, test: Split, classes: int, protocol: RecurrentProtocol, seed: int, device: str, trained: bool
) -> dict[str, Any]:
    rows = [*rows_of(train), *rows_of(test)]
    found = {
        method: asdict(classify(kernels_of(method, protocol, rows), train.targets, test.targets, protocol, seed))
        for method in (*COMPARED, REVERSED)
        if method != GRU
    }
    if trained:
        found[GRU] = asdict(gru(train, test, classes, protocol, seed, device))
    return found


def weights(folder: Path, protocol: RecurrentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """How much every time step weighs in the kernel: the norm of the derivative of K(x, x) by x_t.

    Args:
        folder: of the study.
        protocol: the study's.
        device: not used.
        name: of the part.
        subject: not used.
        seed: of the sequences.
    """
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(protocol.sequences, protocol.watched_length, 1, generator=draw, dtype=torch.float64)
    found = []
    for w in protocol.watched:
        kernel = RecurrentNTK(sigma_w=w)
        each = x.clone().requires_grad_()
        own = torch.stack([kernel.gram(row[None])[0, 0] for row in each])
        (slopes,) = torch.autograd.grad(own.sum(), each)
        sizes = slopes.norm(dim=2)
        found.append((sizes / sizes.sum(1, keepdim=True)).mean(0).tolist())
    write_part(
        folder, name,
        {"kind": "weights", "subject": "", "seed": seed, "sigma_w": list(protocol.watched), "shares": found},
    )  # fmt: skip


def drawn(folder: Path, protocol: RecurrentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Tangent kernels of drawn networks of two widths, and their extrapolation to infinite width.

    Args:
        folder: of the study.
        protocol: the study's.
        device: not used: networks are small.
        name: of the part.
        subject: not used.
        seed: of networks and sequences.
    """
    draw = torch.Generator().manual_seed(seed)
    pair = [torch.randn(length, 3, generator=draw) for length in _LENGTHS]
    exact = float(_DRAWN.gram([pair[0]], [pair[1]]))
    means, errors = [], []
    for width, count in zip(protocol.widths, protocol.draws, strict=True):
        values = torch.cat(
            [sampled(_DRAWN, pair, width, some, draw) for some in _portions(count, max(1, _AT_ONCE // width**2))]
        )
        means.append(float(values.mean()))
        errors.append(float(values.std()) / math.sqrt(count))
    small, large = protocol.widths
    # The error of one width goes as 1 / width: two widths take its first term away.
    limit = (large * means[1] - small * means[0]) / (large - small)
    error = math.hypot(large * errors[1], small * errors[0]) / (large - small)
    write_part(
        folder, name,
        {"kind": "drawn", "subject": "", "seed": seed, "exact": exact, "widths": [small, large], "means": means,
         "errors": errors, "limit": limit, "limit_error": error},
    )  # fmt: skip


def _portions(count: int, most: int) -> list[int]:
    return [min(most, count - start) for start in range(0, count, most)]


def sampled(kernel: RecurrentNTK, pair: list[Tensor], width: int, count: int, draw: torch.Generator) -> Tensor:
    """Tangent kernels of drawn networks of one layer of ReLU at a pair of sequences.

    ``g_t = s_w W h_{t-1} / sqrt(n) + s_u U x_t / sqrt(m) + s_b b``, ``h = relu(g)``, ``f = s_v v h_T / sqrt(n)``; every
    sequence begins in a state of its own.

    Args:
        kernel: its spreads.
        pair: two sequences, ``[T, m]`` and ``[T', m]``.
        width: n.
        count: how many networks.
        draw: draws them.

    Returns:
        ``[count]``.
    """
    channels = pair[0].shape[1]
    shapes = ((count, width, width), (count, width, channels), (count, width), (count, width))
    weights = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    w, u, b, v = weights
    grads = []
    for sequence in pair:
        h = kernel.sigma_h * torch.randn(count, width, generator=draw)
        for step in sequence:
            g = kernel.sigma_w / math.sqrt(width) * (w @ h[..., None])[..., 0] + kernel.sigma_b * b
            h = torch.relu(g + kernel.sigma_u / math.sqrt(channels) * u @ step)
        out = kernel.sigma_v / math.sqrt(width) * (v * h).sum()
        grads.append(torch.autograd.grad(out, weights))
    both = zip(*grads, strict=True)
    return torch.stack([(p * q).flatten(1).sum(1) for p, q in both]).sum(0).double()
