"""Attacks on functions of inputs, and on the samples of a landscape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.attacks._attack import Attack
from landform.attacks._climb import climb, random_start
from landform.attacks._judge import climbed, loss_of_each, lost
from landform.attacks._space import Space
from landform.errors import BadInput
from landform.landscape import Landscape, Loss

Function: TypeAlias = Callable[[Tensor], Tensor]
"""From inputs ``[B, ...]`` to outputs ``[B, ...]``, each from its own input, differentiable by the inputs."""


@dataclass(frozen=True)
class Adversarial:
    """The worst inputs that an attack found.

    Attributes:
        inputs: of largest loss, ``[N, ...]``; of those that make a sample wrong where any does.
        targets: as they were.
        losses: loss of each sample there, ``[N]``, float64.
        clean_losses: loss of each sample as it is, ``[N]``.
        fooled: which samples are wrong somewhere that the attack went, the input itself included, ``[N]``; None where
            the targets are no labels.
        wrong: which are wrong as they are, ``[N]``; None likewise.
        by_restart: accuracy after each restart, ``[restarts]``, which never rises; None likewise.
        distances: how far each was moved, in units, in the norm of the attack, ``[N]``.
        attack: what was done.
        gradients: gradients by the inputs that were taken, of one sample each.
    """

    inputs: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)
    clean_losses: Tensor = field(repr=False)
    fooled: Tensor | None = field(repr=False)
    wrong: Tensor | None = field(repr=False)
    by_restart: Tensor | None
    distances: Tensor = field(repr=False)
    attack: Attack
    gradients: int

    @property
    def accuracy(self) -> float:
        """Share of samples that no place tried makes wrong; nan where the targets are no labels."""
        return _right(self.fooled)

    @property
    def clean_accuracy(self) -> float:
        """Share of samples that are right as they are."""
        return _right(self.wrong)

    @property
    def loss(self) -> float:
        """Mean loss at the worst inputs found."""
        return float(self.losses.mean())


def against(
    function: Function,
    inputs: Tensor,
    targets: Tensor,
    attack: Attack,
    *,
    loss: str | Loss = "cross-entropy",
    within: Any = None,
    batch_size: int = 512,
    stop: bool = False,
) -> Adversarial:
    """Attack any function of inputs: a model in evaluation mode, the predictor of a kernel, one of its eigenfeatures.

    The worst place of all steps and restarts counts, so that more of either can only find more. A kernel predictor
    ``f(x) = K(x, X) a`` is differentiable in closed form where its kernel is (``lf.kernel.infinite``,
    ``lf.kernel.eigenfeatures``), and so is the expansion of a network, ``lf.kernel.linearise``.

    Args:
        function: what is attacked.
        inputs: ``[N, ...]``.
        targets: ``[N]`` or ``[N, ...]``; labels of -1 and 1 for one output, with ``loss="logistic"``.
        attack: what is done.
        loss: ``"cross-entropy"``, ``"mse"``, ``"logistic"``, or a mean over samples of one's own.
        within: a `Space`, or data to read one from (see `Space.of`); by default eps counts inputs as they are,
            without bounds.
        batch_size: samples at a time.
        stop: leave each sample once it is wrong: all that accuracy needs, and quicker; losses are then those there.

    Returns:
        What was found.

    Raises:
        BadInput: when the inputs cannot be moved, or the function cannot be differentiated.
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or not len(inputs):
        raise BadInput("An attack moves inputs a little: give at least one, of floating-point numbers.")
    if len(inputs) != len(targets) or batch_size < 1:
        raise BadInput(f"There are {len(inputs)} inputs for {len(targets)} targets: give one target for each input.")
    space = Space() if within is None else Space.of(within)
    search = _Search(function, attack, space, loss, stop)
    parts = [
        search.tile(inputs[i : i + batch_size].detach(), targets[i : i + batch_size], i)
        for i in range(0, len(inputs), batch_size)
    ]
    columns = [
        None if any(part is None for part in column) else torch.cat(column) for column in zip(*parts, strict=True)
    ]
    found, losses, clean, fooled, wrong, when, distances = columns
    assert found is not None
    assert losses is not None
    assert clean is not None
    assert distances is not None
    by_restart = None
    if when is not None:
        by_restart = torch.stack([(when > r).double().mean() for r in range(attack.restarts)])
    return Adversarial(
        found, targets, losses, clean, fooled, wrong, by_restart, distances, attack, search.gradients
    )  # fmt: skip


def perturb(
    landscape: Landscape,
    point: Tensor,
    attack: Attack,
    *,
    within: Any,
    buffers: Mapping[str, Tensor] | None = None,
    stop: bool = False,
) -> Adversarial:
    """Attack the samples of a landscape at one of its points.

    ``landscape.on((found.inputs, found.targets))`` is then the loss at these adversarial examples, held where they
    are: its gradient is that of the worst-case loss (Danskin).

    Args:
        landscape: the model, its loss and the samples, which are in memory.
        point: ``[P]``.
        attack: what is done.
        within: the data that the samples are of, for units and bounds (see `Space.of`), or a `Space`.
        buffers: buffers to use instead of the landscape's own.
        stop: leave each sample once it is wrong; see `against`.

    Returns:
        What was found.
    """
    function, inputs, targets = function_of(landscape, point, buffers)
    loss = landscape._loss_name if landscape._loss_name in ("cross-entropy", "mse") else landscape._loss
    return against(
        function, inputs, targets, attack, loss=loss, within=within, batch_size=landscape._batch_size, stop=stop
    )  # fmt: skip


def function_of(
    landscape: Landscape, point: Tensor, buffers: Mapping[str, Tensor] | None = None
) -> tuple[Function, Tensor, Tensor]:
    """A landscape's model at a point as a function of inputs, with the samples.

    Args:
        landscape: whose model.
        point: ``[P]``.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The function, inputs ``[N, ...]`` and targets.

    Raises:
        BadInput: when the samples are not in memory, are no numbers to be moved, or share statistics of their batch.
    """
    data = landscape._data
    inputs, targets = getattr(data, "inputs", None), getattr(data, "targets", None)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or not inputs.is_floating_point():
        raise BadInput("An attack needs samples of floating-point numbers in memory: give the landscape such a pair.")
    if landscape.batchnorm == "batch":
        raise BadInput(
            "With batchnorm='batch' each sample moves the outputs of the others: give 'recompute' or 'keep' to attack "
            "one at a time."
        )
    if point.dim() != 1:
        raise BadInput("An attack is made at one point, [P]: go through several one by one.")
    ((block, own),) = landscape._blocks(point, buffers)
    views = landscape.layout.views(block)

    def run(x: Tensor) -> Tensor:
        outputs: Tensor = landscape._function(views, own, lambda net: landscape._forward(net, (x, targets[: len(x)])))[
            0
        ]
        return outputs

    return run, inputs, targets


class _Search:
    """The worst of all places that are tried, tile by tile."""

    def __init__(self, function: Function, attack: Attack, space: Space, loss: str | Loss, stop: bool) -> None:
        self.function, self.attack, self.space, self.stop = function, attack, space, stop
        self.each = loss_of_each(loss)
        self.gradients = 0

    def tile(self, inputs: Tensor, targets: Tensor, first: int) -> tuple[Tensor | None, ...]:
        """Attack some samples.

        Args:
            inputs: ``[B, ...]``.
            targets: theirs.
            first: number of the first of them, which random starts go by.

        Returns:
            Worst inputs, losses there, clean losses, fooled, wrong, the restart at which each was first fooled (as
            many as there are for never), and distances.
        """
        with torch.no_grad():
            outputs = self.function(inputs)
            clean, wrong = self.each(outputs, targets).detach(), lost(outputs, targets)
        best, worst = inputs.clone(), clean.clone()
        fooled = None if wrong is None else wrong.clone()
        when = None if wrong is None else torch.where(wrong, -1, self.attack.restarts)
        for restart in range(self.attack.restarts):
            start = None
            if self.attack.start == "random":
                start = random_start(inputs, self.attack, _generator(self.attack.seed, restart, first))
            left = torch.arange(len(inputs), device=inputs.device)
            if self.stop and fooled is not None:
                left = left[~fooled]
            if not len(left):
                break
            objective = self.attack.objectives[restart % len(self.attack.objectives)]
            x, losses, lose = self._climb(
                inputs[left], targets[left], None if start is None else start[left], objective
            )
            # A place that makes a sample wrong comes before one that does not; between equals the loss decides.
            better = losses > worst[left]
            if lose is not None and fooled is not None and when is not None:
                better = (lose & ~fooled[left]) | (better & (lose == fooled[left]))
                newly = left[lose & ~fooled[left]]
                when[newly] = restart
                fooled[newly] = True
            worst[left[better]], best[left[better]] = losses[better], x[better]
        unit = self.space.tensors(inputs)[0]
        order = torch.inf if self.attack.norm == "linf" else 2
        distances = torch.linalg.vector_norm(((best - inputs) / unit).flatten(1), ord=order, dim=1)
        wide = [t if t.device.type == "mps" else t.double() for t in (worst, clean, distances)]
        return best, wide[0], wide[1], fooled, wrong, when, wide[2]

    def _climb(
        self, inputs: Tensor, targets: Tensor, start: Tensor | None, objective: Any
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One climb: the worst place on its way, the loss there, and whether the sample is lost there."""
        measure = climbed(objective, self.each)
        best, worst = inputs.clone(), torch.full((len(inputs),), -torch.inf, dtype=inputs.dtype, device=inputs.device)
        gone: Tensor | None = None

        def note(x: Tensor, outputs: Tensor) -> None:
            nonlocal gone
            losses, lose = self.each(outputs, targets).detach().to(worst), lost(outputs, targets)
            better = losses > worst
            if lose is not None:
                gone = torch.zeros_like(lose) if gone is None else gone
                better = (lose & ~gone) | (better & (lose == gone))
                gone = gone | lose
            worst[better], best[better] = losses[better], x[better]

        def slope(x: Tensor) -> Tensor:
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                outputs = self.function(leaf)
                if not outputs.requires_grad:
                    raise BadInput(
                        "The function's outputs do not hang on its inputs by autograd: it must be differentiable."
                    )
                (found,) = torch.autograd.grad(measure(outputs, targets).sum(), leaf)
            self.gradients += len(x)
            note(x, outputs.detach())
            return found

        last = climb(slope, inputs, self.attack, self.space, start=start)
        with torch.no_grad():
            note(last, self.function(last))
        return best, worst, gone


def _generator(seed: int, restart: int, first: int) -> torch.Generator:
    """Random starts go by seed, restart and place alone, so that more restarts hold those before them."""
    return torch.Generator().manual_seed(((seed * 1_000_003 + restart) * 1_000_003 + first) % 2**63)


def _right(wrong: Tensor | None) -> float:
    return float("nan") if wrong is None else float((~wrong).double().mean())
