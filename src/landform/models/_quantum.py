"""Quantum networks over patches of an image (Kawase 2025), simulated as an ordinary differentiable module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.models._checks import image, one_of, positive, whole

Aggregation = Literal["mean", "sum", "root"]
# A turn of a qubit, w - i (x X + y Y + z Z), and the unitaries of the first and the second half of the qubits.
Quaternion: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
Halves: TypeAlias = tuple[Tensor, Tensor]
# States for each image that a training step keeps beside those of the layers, and complex numbers for each pixel of a
# patch: counted.
_KEPT, _TURNS = 12, 6


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

    The turns of a qubit are quaternions, composed as real numbers, for all layers and pixels at once. A layer turns
    every qubit by itself, which is a Kronecker product: the state, seen as a matrix of the first and the second half of
    the qubits, is multiplied from both sides. CZ changes signs only. Blocks see no data: the first one acts on one
    state for all images, and the others are multiplied out to one unitary where the batch is larger than a state.
    """

    places: Tensor
    signs: Tensor
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
        x = pixels[:, self.places].reshape(len(pixels), -1, 2, self.qubits, self.features)  # [B, P, 2, ...]
        layers = _halves(_after(_ry(self.blocks[:, :, :, 1]), _rx(self.blocks[:, :, :, 0])))
        left, right = _halves(self._encoder(x))  # [B, P, 2, ...]
        state = _first(x, 2**self.qubits)
        for half in range(2):
            state = self._block(state, layers, half, ring=True)
            state = _turned(state, (left[:, :, half], right[:, :, half])) * self.signs
        state = self._block(state, layers, 2, ring=False)
        return self.factor * self._read(state).sum(1)

    def memory(self, batch: int, bytes_each: int = 4) -> int:
        """Bytes that a training step keeps for its gradient: linear in batch, patches and amplitudes.

        Args:
            batch: how many images.
            bytes_each: of a real number.
        """
        patches, amplitudes = len(self.places), int(2**self.qubits)
        # A layer of the last two blocks keeps the state before each of its two products.
        together = batch > amplitudes
        states = 4 * self.depth * min(batch, amplitudes) + (_KEPT + 2 * together) * batch
        turns = _TURNS * self.places.shape[1] * batch
        return 2 * bytes_each * patches * (amplitudes * states + turns)

    def _pixels(self, inputs: Tensor) -> Tensor:
        images = inputs.reshape(-1, 1, self.height, self.height)
        if self.pool > 1:
            images = nn.functional.avg_pool2d(images, self.pool)
        return self.angle * images.flatten(1) + self.shift + self.position

    def _block(self, state: Tensor, layers: Halves, number: int, *, ring: bool) -> Tensor:
        """``depth`` times RX and RY on every qubit, then a ring of CZ; the last ring may be left out."""
        left, right = (each[:, number] for each in layers)  # [P, depth, a, a], [P, depth, b, b]
        count, rows, columns = len(left), left.shape[-1], right.shape[-1]
        together = len(state) > rows * columns
        if together:
            eye = torch.eye(rows * columns, dtype=state.dtype, device=state.device)
            run = eye[:, None].expand(-1, count, -1)
        else:
            run = state
        # Laid out as [P, a, B, b], the states of all images are one matrix for either half of the qubits.
        run = run.reshape(-1, count, rows, columns).permute(1, 2, 0, 3)
        signs = self.signs.reshape(rows, 1, columns)
        for layer in range(self.depth):
            run = (left[:, layer] @ run.flatten(2)).reshape(run.shape)
            run = (run.flatten(1, 2) @ right[:, layer].transpose(-1, -2)).reshape(run.shape)
            if ring or layer < self.depth - 1:
                run = run * signs
        run = run.permute(2, 0, 1, 3).flatten(2)
        # Row k of `run` is what becomes of basis state k.
        return torch.einsum("bpk,kpj->bpj", state, run) if together else run

    def _encoder(self, x: Tensor) -> Quaternion:
        """One turn of each qubit, of the pixels ``[B, P, 2, qubits, features]`` that it gets in each half."""
        found: Quaternion | None = None
        cos, sin = torch.cos(x / 2), torch.sin(x / 2)
        for j in range(self.features):
            first, last = self.encoding[:, :, j, 0], self.encoding[:, :, j, 1]  # [P, 2, qubits]
            step = (_ry_rx_ry if j % 2 == 0 else _rx_ry_rx)(last, (cos[..., j], sin[..., j]), first)
            found = step if found is None else _after(step, found)
        assert found is not None
        return found

    def _read(self, state: Tensor) -> Tensor:
        """Expectations of X and of Z, ``[B, P, classes]``."""
        xs, zs = self.classes - self.classes // 2, self.classes // 2
        parts = torch.view_as_real(state)
        z = parts.square().sum(-1) @ self.parities[:zs].T.to(parts.dtype)
        found = []
        for q in range(xs):
            pairs = parts.reshape(*parts.shape[:2], 2**q, 2, -1)
            found.append(2 * (pairs[:, :, :, 0] * pairs[:, :, :, 1]).sum((-2, -1)))
        return torch.cat([torch.stack(found, -1), z], -1)


def _first(x: Tensor, amplitudes: int) -> Tensor:
    """``|0...0>`` of each patch, ``[1, P, 2^qubits]``: the same for all images."""
    state = torch.zeros(amplitudes, dtype=torch.complex128 if x.dtype == torch.float64 else torch.complex64)
    state[0] = 1
    return state.to(x.device).expand(1, x.shape[1], -1)


def _bits(qubits: int) -> Tensor:
    """Bits of the basis states, the first qubit being the leading one, ``[2^qubits, qubits]``."""
    return torch.arange(2**qubits)[:, None] >> torch.arange(qubits - 1, -1, -1) & 1


def _ring(qubits: int) -> Tensor:
    """Signs of a ring of CZ; of two qubits the ring is one pair, met once."""
    bits = _bits(qubits)
    pairs = range(qubits) if qubits > 2 else range(1)
    crossed = sum(bits[:, q] * bits[:, (q + 1) % qubits] for q in pairs)
    return 1.0 - 2.0 * (torch.as_tensor(crossed) % 2)


def _parities(qubits: int) -> Tensor:
    """Z on each qubit, ``[qubits, 2^qubits]``."""
    return (1.0 - 2.0 * _bits(qubits)).T.contiguous()


def _rx(angle: Tensor) -> Quaternion:
    zero = torch.zeros_like(angle)
    return torch.cos(angle / 2), torch.sin(angle / 2), zero, zero


def _ry(angle: Tensor) -> Quaternion:
    zero = torch.zeros_like(angle)
    return torch.cos(angle / 2), zero, torch.sin(angle / 2), zero


def _ry_rx_ry(last: Tensor, x: tuple[Tensor, Tensor], first: Tensor) -> Quaternion:
    """RY, RX of an angle given by the cosine and sine of its half, RY, written out: Euler's angles."""
    (cos, sin), more, less = x, (last + first) / 2, (last - first) / 2
    return cos * torch.cos(more), sin * torch.cos(less), cos * torch.sin(more), -sin * torch.sin(less)


def _rx_ry_rx(last: Tensor, x: tuple[Tensor, Tensor], first: Tensor) -> Quaternion:
    """RX, RY of an angle given by the cosine and sine of its half, RX, written out."""
    (cos, sin), more, less = x, (last + first) / 2, (last - first) / 2
    return cos * torch.cos(more), cos * torch.sin(more), sin * torch.cos(less), sin * torch.sin(less)


def _after(a: Quaternion, b: Quaternion) -> Quaternion:
    """The turn b, and then the turn a: Hamilton's product."""
    (a0, a1, a2, a3), (b0, b1, b2, b3) = a, b
    return (
        a0 * b0 - a1 * b1 - a2 * b2 - a3 * b3,
        a0 * b1 + a1 * b0 + a2 * b3 - a3 * b2,
        a0 * b2 - a1 * b3 + a2 * b0 + a3 * b1,
        a0 * b3 + a1 * b2 - a2 * b1 + a3 * b0,
    )


def _halves(turns: Quaternion) -> Halves:
    """Turns of the qubits, ``[..., qubits]`` each part, as unitaries of the first and of the second half of them."""
    w, x, y, z = turns
    real = torch.stack([torch.stack([w, -y], -1), torch.stack([y, w], -1)], -2)
    imaginary = torch.stack([torch.stack([-z, -x], -1), torch.stack([-x, z], -1)], -2)
    each = torch.complex(real, imaginary)
    head = each.shape[-3] // 2
    return _kron(each[..., :head, :, :]), _kron(each[..., head:, :, :])


def _kron(parts: Tensor) -> Tensor:
    """Kronecker product over the qubits, ``[..., qubits, 2, 2] -> [..., 2^qubits, 2^qubits]``."""
    found = parts[..., 0, :, :]
    for q in range(1, parts.shape[-3]):
        one = parts[..., q, :, :]
        found = (found[..., :, None, :, None] * one[..., None, :, None, :]).flatten(-4, -3).flatten(-2, -1)
    return found


def _turned(state: Tensor, halves: Halves) -> Tensor:
    """Turn every qubit by itself: ``A S B^T`` with the state as a matrix of two halves of the qubits.

    Args:
        state: ``[B, P, 2^qubits]``.
        halves: A and B, of each sample and patch.
    """
    left, right = halves
    matrix = state.reshape(*state.shape[:-1], left.shape[-1], -1)
    return torch.flatten(left @ matrix @ right.transpose(-1, -2), -2)
