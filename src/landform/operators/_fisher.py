"""Fisher information: empirical, true by its exact form, true by sampled targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.operators._batched import DEFAULT_MEMORY
from landform.operators._gauss_newton import GaussNewton, OuterProducts, push
from landform.operators._ground import Ground

FisherKind: TypeAlias = Literal["true", "empirical", "sampled"]
Sampler: TypeAlias = Callable[[Tensor, torch.Generator], Any]


@dataclass(frozen=True)
class Estimate:
    """A number from samples.

    Attributes:
        value: the estimate.
        standard_error: of the estimate, from the spread between draws.
    """

    value: float
    standard_error: float


class OuterGradients(OuterProducts):
    """The mean over samples of g g', with g the gradient of one sample's loss."""

    def _curve(self, outputs: Tensor, targets: Any, number: int) -> Callable[[Tensor], Tensor]:
        slopes = self._slopes(outputs, targets, number).flatten(2)  # [draws, B, numbers put out]

        def curve(tangent: Tensor) -> Tensor:
            along = torch.einsum("sbk,bk->sb", slopes, tangent.flatten(1)) / len(slopes)
            return torch.einsum("sb,sbk->bk", along, slopes).reshape(tangent.shape)

        return curve

    def _slopes(self, outputs: Tensor, targets: Any, number: int) -> Tensor:
        """The gradient of each sample's loss by its outputs, for each draw, ``[draws, B, ...]``."""
        if number == 0:
            _check_mean(self._ground, outputs, targets)
        return self._slope(outputs, targets).unsqueeze(0)

    def _slope(self, outputs: Tensor, targets: Any) -> Tensor:
        z = outputs.detach().requires_grad_()
        value = self._ground.loss(z, targets).reshape(()) * len(outputs)
        if not value.requires_grad:
            return torch.zeros_like(outputs)
        (slope,) = torch.autograd.grad(value, z)
        return slope


class SampledFisher(OuterGradients):
    """The true Fisher estimated with targets drawn from the model itself, the same at every product.

    Attributes:
        draws: targets drawn for each sample.
        seed: what they were drawn with.
    """

    def __init__(self, ground: Ground, *, sampler: Sampler, draws: int, seed: int, **options: Any) -> None:
        """Say how targets are drawn.

        Args:
            ground: the point, the batches, the loss.
            sampler: (outputs, generator) to targets.
            draws: targets for each sample.
            seed: for the generators, one for each batch.
            **options: as for every operator over batches.
        """
        self._sampler, self.draws, self.seed = sampler, draws, seed
        super().__init__(ground, name=f"Fisher (sampled, {draws} draws)", **options)

    def _slopes(self, outputs: Tensor, targets: Any, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        drawn = [self._sampler(outputs.detach(), generator) for _ in range(self.draws)]
        if number == 0:
            _check_mean(self._ground, outputs, drawn[0])
        return torch.stack([self._slope(outputs, each) for each in drawn])

    def quadratic(self, vector: Tensor) -> Estimate:
        """v'Fv, and how far the drawn targets may have taken it from the true Fisher's.

        Args:
            vector: v, ``[P]``.

        Returns:
            The estimate; its standard error is over draws, the data held fixed, and nan for a single draw.
        """
        assert self.layout is not None
        views = self.layout.views(self._block(vector, self.size)[:, 0].contiguous())
        total = variance = 0.0
        samples = number = 0
        with self._safe():
            for passes, size in self._recorded(0):
                (tangent,) = push([passes.linear], views, self._wanted)
                slopes = self._slopes(passes.linear.outputs.detach(), None, number).flatten(2)
                squares = torch.einsum("sbk,bk->sb", slopes, tangent.flatten(1)).square().double()
                total += float(squares.mean(0).sum())
                variance += float(squares.var(0).sum()) / self.draws if self.draws > 1 else float("nan")
                samples, number = samples + size, number + 1
        self.products += 1
        self._spent += self.costs[0] + self.costs[1]
        return Estimate(total / samples, variance**0.5 / samples)


def fisher(
    ground: Ground,
    *,
    kind: FisherKind = "true",
    draws: int = 16,
    seed: int = 0,
    sampler: Sampler | None = None,
    memory: float = DEFAULT_MEMORY,
    check: bool = True,
) -> OuterProducts:
    """Make a Fisher information matrix of the model at a point, without weight decay.

    The model's distribution is that whose negative log-likelihood is the loss: the softmax for cross-entropy, a normal
    one for mean squares. The true Fisher of both is their Gauss-Newton matrix, and is taken so, exactly.

    Args:
        ground: the point, the batches, the loss.
        kind: ``"true"`` (exact), ``"empirical"`` (with the data's own targets), or ``"sampled"`` (the true one,
            estimated from targets drawn from the model).
        draws: targets drawn for each sample, where they are.
        seed: for drawing.
        sampler: draws targets for a loss of one's own: (outputs, CPU generator) to targets for the loss.
        memory: bytes that the graphs kept between products may take.
        check: whether to try that products are symmetric and positive, by two of them.

    Returns:
        The operator; for ``"sampled"`` a `SampledFisher`, which gives standard errors.

    Raises:
        BadInput: when there is no such kind, or the model's distribution is not known.
    """
    if kind not in ("true", "empirical", "sampled"):
        raise BadInput(f"There is no Fisher of kind {kind!r}: give 'true', 'empirical' or 'sampled'.")
    if kind == "true":
        if ground.loss_name not in _SAMPLERS:
            raise BadInput(
                f"The distribution behind the loss {ground.loss_name} is not known, so its true Fisher is not: take "
                "kind='empirical', or kind='sampled' with sampler=."
            )
        return GaussNewton(ground, name="Fisher (true)", memory=memory, check=check)
    if ground.coupled:
        raise BadInput(
            "With batchnorm='batch' the outputs of a sample depend on the others of its batch, so it has no gradient "
            "of its own: make the landscape with batchnorm='recompute' or 'keep'."
        )
    if kind == "empirical":
        return OuterGradients(ground, name="Fisher (empirical)", memory=memory, check=check)
    if draws < 1:
        raise BadInput(f"draws is {draws}: give at least 1.")
    found = sampler or _SAMPLERS.get(ground.loss_name)
    if found is None:
        raise BadInput(
            f"The distribution behind the loss {ground.loss_name} is not known: give sampler=, a function of (outputs, "
            "generator) that draws targets."
        )
    return SampledFisher(ground, sampler=found, draws=draws, seed=seed, memory=memory, check=check)


def _labels(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """Labels from the softmax of each row."""
    shares = outputs.cpu().double().softmax(-1)
    flat = torch.multinomial(shares.flatten(0, -2), 1, generator=generator)
    return flat.reshape(outputs.shape[:-1]).to(outputs.device)


def _normal(outputs: Tensor, generator: torch.Generator) -> Tensor:
    """Targets z + noise whose negative log-density is the mean over K outputs of squares: variance K / 2."""
    spread = float(outputs[0].numel() / 2) ** 0.5
    noise = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    return outputs.add(noise.mul(spread).to(outputs.device, outputs.dtype))


_SAMPLERS: dict[str, Sampler] = {"cross-entropy": _labels, "mse": _normal}


def _check_mean(ground: Ground, outputs: Tensor, targets: Any) -> None:
    """Refuse a loss that is not a mean over samples: one sample's loss has then no meaning."""
    if len(outputs) < 2 or not isinstance(targets, Tensor):
        return
    half = len(outputs) // 2
    with torch.no_grad():
        whole, first, second = (
            float(ground.loss(outputs[part], targets[part])) for part in (slice(None), slice(half), slice(half, None))
        )
    mean = (half * first + (len(outputs) - half) * second) / len(outputs)
    if abs(mean - whole) > 1e-3 * (abs(whole) + abs(first) + abs(second)):
        raise BadInput(
            f"The loss {ground.loss_name} of a batch is not the mean of its samples' losses, so that there is no "
            "gradient of one sample: take the Gauss-Newton instead."
        )
