"""Quantum networks over patches of an image (Kawase 2025), simulated as an ordinary differentiable module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.models._checks import image, one_of, positive, whole

Aggregation = Literal["mean", "sum", "root"]


def quantum_patches(
    *,
    inputs: Sequence[int],
    classes: int,
    qubits: int = 8,
    depth: int = 5,
    patch: int = 8,
    patches: int = 4,
    pool: int = 1,
    scale: float = 100.0,
    aggregation: Aggregation = "mean",
    angle: float = 2 * math.pi / 8,
    shift: float = 0.0,
    seed: int = 0,
    parametrisation: Literal["standard"] = "standard",
) -> QuantumPatches:
    """One small quantum network for each of some overlapping patches, their read-outs averaged: ``-> [B, classes]``.

    Each is the data re-uploading circuit of Kawase 2025: a block, the first half of the patch's pixels, a ring of CZ, a
    block, the second half, a ring of CZ, a block without its last ring; from ``|0...0>``. Logits are the expectations
    of X on the first qubits and of Z on the first qubits, times ``scale``.

    Args:
        inputs: channels (one), height and width of an image, or its pixels ``(side * side,)``.
        classes: how many outputs, at most twice the qubits.
        qubits: of each network.
        depth: layers of each of its three blocks.
        patch: side of a patch; its pixels have to fill both halves of the qubits evenly.
        patches: how many, a square number; their corners are spread evenly over the image.
        pool: mean over squares of so many pixels before anything else.
        scale: of the logits.
        aggregation: what is taken over the patches: ``"mean"``, ``"sum"``, or ``"root"`` (the sum over the square root
            of their number).
        angle: what a pixel is multiplied by to be an angle.
        shift: what is added to it then.
        seed: of the initialisation: angles uniform in ``[0, pi)``, the positional bias zero.
        parametrisation: angles have no width, so there is the standard one only.

    Returns:
        The model; its parameters are ``position`` (the bias), ``blocks`` and ``encoding``.

    Raises:
        BadInput: when the shapes do not fit.
    """
    if isinstance(inputs, Sequence) and len(inputs) == 1:
        side = math.isqrt(whole("inputs[0] of quantum_patches", inputs[0]))
        if side * side != inputs[0]:
            raise BadInput(f"quantum_patches takes square images, and {inputs[0]} pixels are no square.")
        inputs = (1, side, side)
    channels, height, width = image(inputs, model="quantum_patches", least=2)
    if channels != 1 or height != width:
        raise BadInput(
            f"quantum_patches takes square grey images, and inputs is {tuple(inputs)}: give (1, side, side)."
        )
    one_of("parametrisation of quantum_patches", parametrisation, ("standard",))
    one_of("aggregation", aggregation, ("mean", "sum", "root"))
    qubits, depth, patch = whole("qubits", qubits, 2), whole("depth", depth), whole("patch", patch)
    each_way = math.isqrt(whole("patches", patches))
    if each_way**2 != patches:
        raise BadInput(f"patches is {patches}: give a square number, such as 4, 9 or 16.")
    side = height // whole("pool", pool)
    if patch > side:
        raise BadInput(f"patch is {patch} and the image has {side} pixels a side after pooling: give a smaller patch.")
    if patch * patch % (2 * qubits):
        raise BadInput(f"A patch has {patch * patch} pixels: give a number that 2 x {qubits} qubits share evenly.")
    classes = whole("classes", classes)
    if classes > 2 * qubits:
        raise BadInput(f"{qubits} qubits read out {2 * qubits} classes at most, and classes is {classes}.")
    if qubits > 16:
        raise BadInput(f"qubits is {qubits}: a state of {2**qubits:,} amplitudes for each patch and image is too much.")
    return QuantumPatches(
        height=height, classes=classes, qubits=qubits, depth=depth, patch=patch, each_way=each_way, pool=pool,
        scale=positive("scale", scale), aggregation=aggregation, angle=float(angle), shift=float(shift), seed=seed,
    )  # fmt: skip


class QuantumPatches(nn.Module):
    """See `quantum_patches`; all patches and the whole batch run as one batched program.

    A layer turns every qubit by itself, which is a Kronecker product: the state, seen as a matrix of the first and the
    second half of the qubits, is multiplied from both sides. CZ changes signs only. Blocks see no data, so each is
    multiplied out to one unitary where the batch is larger than a state.
    """

    places: Tensor
    signs: Tensor
    flips: Tensor
    parities: Tensor

    def __init__(self, *, height: int, classes: int, qubits: int, depth: int, patch: int, each_way: int, pool: int,
                 scale: float, aggregation: Aggregation, angle: float, shift: float, seed: int) -> None:  # fmt: skip
        """Take checked settings."""
        super().__init__()
        side = height // pool
        self.height, self.classes, self.qubits, self.depth, self.pool = height, classes, qubits, depth, pool
        self.angle, self.shift = angle, shift
        count = each_way**2
        self.factor = scale / {"mean": count, "sum": 1.0, "root": math.sqrt(count)}[aggregation]
        self.features = patch * patch // (2 * qubits)
        room = side - patch
        corners = [round(room * k / (each_way - 1)) for k in range(each_way)] if each_way > 1 else [room // 2]
        rows = torch.arange(patch)
        places = [((i + rows)[:, None] * side + (j + rows)[None]).flatten() for i in corners for j in corners]
        self.register_buffer("places", torch.stack(places), persistent=False)
        self.register_buffer("signs", _ring(qubits), persistent=False)
        self.register_buffer("flips", _flips(qubits), persistent=False)
        self.register_buffer("parities", _parities(qubits), persistent=False)
        generator = torch.Generator().manual_seed(seed)

        def angles(*shape: int) -> nn.Parameter:
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float32, device="cpu")
            return nn.Parameter(math.pi * drawn)

        self.position = nn.Parameter(torch.zeros(side * side, dtype=torch.float32, device="cpu"))
        self.blocks = angles(count, 3, depth, 2, qubits)
        self.encoding = angles(count, 2, self.features, 2, qubits)

    def forward(self, inputs: Tensor) -> Tensor:
        """Run all patches on all images; ``[B, 1, H, W]`` or ``[B, H * W]``."""
        pixels = self._pixels(inputs)
        x = pixels[:, self.places].reshape(
            len(pixels), -1, 2, self.qubits, self.features
        )  # [B, P, 2, qubits, features]
        state = self._start(x)
        for half in range(2):
            state = self._block(state, half, ring=True)
            state = _turned(state, self._encoder(x[:, :, half], half)) * self.signs
        state = self._block(state, 2, ring=False)
        return self.factor * self._read(state).sum(1)

    def memory(self, batch: int, bytes_each: int = 4) -> int:
        """Bytes of the states that a training step keeps: linear in batch, patches and amplitudes.

        Args:
            batch: how many images.
            bytes_each: of a real number.
        """
        patches, amplitudes = len(self.places), int(2**self.qubits)
        own = min(batch, amplitudes) if self._together(batch) else batch
        layers = 4 * 3 * self.depth * own + 8 * batch
        return 2 * bytes_each * patches * amplitudes * layers

    def _together(self, batch: int) -> bool:
        return batch > int(2**self.qubits)

    def _pixels(self, inputs: Tensor) -> Tensor:
        images = inputs.reshape(-1, 1, self.height, self.height)
        if self.pool > 1:
            images = nn.functional.avg_pool2d(images, self.pool)
        return self.angle * images.flatten(1) + self.shift + self.position

    def _start(self, x: Tensor) -> Tensor:
        first = torch.zeros(2**self.qubits, dtype=_complex(x.dtype), device=x.device)
        first = torch.cat([first.new_ones(1), first[1:]])
        return first.expand(*x.shape[:2], -1)

    def _block(self, state: Tensor, number: int, *, ring: bool) -> Tensor:
        """``depth`` times RX and RY on every qubit, then a ring of CZ; the last ring may be left out."""
        together = self._together(len(state))
        if together:
            eye = torch.eye(2**self.qubits, dtype=state.dtype, device=state.device)
            run = eye[:, None].expand(-1, state.shape[1], -1)
        else:
            run = state
        for layer in range(self.depth):
            turns = self.blocks[:, number, layer]  # [P, 2, qubits]
            run = _turned(run, _times(_ry(turns[:, 1]), _rx(turns[:, 0])))
            if ring or layer < self.depth - 1:
                run = run * self.signs
        # Row k of `run` is what becomes of basis state k.
        return torch.einsum("bpk,kpj->bpj", state, run) if together else run

    def _encoder(self, x: Tensor, half: int) -> Tensor:
        """One 2 x 2 unitary for each qubit, of the pixels ``[B, P, qubits, features]`` that it gets."""
        found: Tensor | None = None
        for j in range(self.features):
            own = self.encoding[:, half, j]  # [P, 2, qubits]
            outer, inner = (_ry, _rx) if j % 2 == 0 else (_rx, _ry)
            step = _times(outer(own[:, 1]), _times(inner(x[..., j]), outer(own[:, 0])))
            found = step if found is None else _times(step, found)
        assert found is not None
        return found

    def _read(self, state: Tensor) -> Tensor:
        """Expectations of X and of Z, ``[B, P, classes]``."""
        xs, zs = self.classes - self.classes // 2, self.classes // 2
        weight = state.real**2 + state.imag**2
        z = weight @ self.parities[:zs].T.to(weight.dtype)
        x = torch.stack([(state.conj() * state[..., self.flips[q]]).real.sum(-1) for q in range(xs)], -1)
        return torch.cat([x, z], -1)


def _complex(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype == torch.float64 else torch.complex64


def _bits(qubits: int) -> Tensor:
    """Bits of the basis states, the first qubit being the leading one, ``[2^qubits, qubits]``."""
    return torch.arange(2**qubits)[:, None] >> torch.arange(qubits - 1, -1, -1) & 1


def _ring(qubits: int) -> Tensor:
    """Signs of a ring of CZ; of two qubits the ring is one pair, met once."""
    bits = _bits(qubits)
    pairs = range(qubits) if qubits > 2 else range(1)
    crossed = sum(bits[:, q] * bits[:, (q + 1) % qubits] for q in pairs)
    return 1.0 - 2.0 * (torch.as_tensor(crossed) % 2)


def _flips(qubits: int) -> Tensor:
    """Where X on a qubit takes each amplitude from, ``[qubits, 2^qubits]``."""
    states = torch.arange(2**qubits)
    return torch.stack([states ^ (1 << (qubits - 1 - q)) for q in range(qubits)])


def _parities(qubits: int) -> Tensor:
    """Z on each qubit, ``[qubits, 2^qubits]``."""
    return (1.0 - 2.0 * _bits(qubits)).T.contiguous()


def _rx(angle: Tensor) -> Tensor:
    """``[[cos, -i sin], [-i sin, cos]]`` of half the angle, ``[..., 2, 2]``."""
    c, s = torch.cos(angle / 2), torch.sin(angle / 2)
    zero = torch.zeros_like(c)
    real = torch.stack([torch.stack([c, zero], -1), torch.stack([zero, c], -1)], -2)
    imaginary = torch.stack([torch.stack([zero, -s], -1), torch.stack([-s, zero], -1)], -2)
    return torch.complex(real, imaginary)


def _ry(angle: Tensor) -> Tensor:
    """``[[cos, -sin], [sin, cos]]`` of half the angle, ``[..., 2, 2]``."""
    c, s = torch.cos(angle / 2), torch.sin(angle / 2)
    real = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    return torch.complex(real, torch.zeros_like(real))


def _times(a: Tensor, b: Tensor) -> Tensor:
    """Product of 2 x 2 matrices; written out, as batches of so small ones are slow."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _kron(parts: Tensor) -> Tensor:
    """Kronecker product over the qubits, ``[..., qubits, 2, 2] -> [..., 2^qubits, 2^qubits]``."""
    found = parts[..., 0, :, :]
    for q in range(1, parts.shape[-3]):
        one = parts[..., q, :, :]
        found = (found[..., :, None, :, None] * one[..., None, :, None, :]).flatten(-4, -3).flatten(-2, -1)
    return found


def _turned(state: Tensor, turns: Tensor) -> Tensor:
    """Turn every qubit by itself: ``A S B^T`` with the state as a matrix of two halves of the qubits.

    Args:
        state: ``[B, P, 2^qubits]``.
        turns: ``[P, qubits, 2, 2]``, or of each sample ``[B, P, qubits, 2, 2]``.
    """
    qubits = turns.shape[-3]
    head = qubits // 2
    left, right = _kron(turns[..., :head, :, :]), _kron(turns[..., head:, :, :])
    matrix = state.reshape(*state.shape[:-1], 2**head, -1)
    return torch.flatten(left @ matrix @ right.transpose(-1, -2), -2)
