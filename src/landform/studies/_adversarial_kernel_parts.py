"""Adversarial examples from a kernel in closed form, and what they do to networks of growing width."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landform import kernel
from landform.attacks import Attack, Space, against
from landform.data import Dataset, Split
from landform.training import Recipe, train

if TYPE_CHECKING:
    from landform.studies._adversarial_kernel import KernelProtocol

_SIGMA_W, _SIGMA_B = math.sqrt(2), 0.1
# Inputs are in [0, 1], and stay there.
_BOX = Space((1.0,), (0.0,), (1.0,))
_PGD = 10


def closed(protocol: KernelProtocol, data: Dataset, seed: int, device: str) -> dict[str, Any]:
    """The ridgeless predictor of an infinitely wide network, whole, cut off, and feature by feature.

    Args:
        protocol: the study's.
        data: its data.
        seed: decides which samples.
        device: of no matter here.

    Returns:
        Accuracies, natural and under attack: of the whole predictor, of its first k features together, of single
        features; and the eigenvalues.
    """
    train_set, test = protocol.pair(data, seed, protocol.samples)

    def ntk(x: Tensor, y: Tensor) -> Tensor:
        return kernel.infinite.dense(x, y, depth=protocol.depth, sigma_w=_SIGMA_W, sigma_b=_SIGMA_B).ntk

    features = kernel.eigenfeatures(ntk, train_set.inputs, train_set.targets)
    eps = protocol.eps
    fgsm, pgd = Attack.fgsm(eps), Attack("linf", eps, _PGD, start="centre")
    numbers = protocol.numbers(features.rank)
    single = []
    for number in numbers:
        right = _accuracies(lambda x, number=number: features.predict(x, number), test, fgsm)  # type: ignore[misc]
        single.append({"number": number, "useful": right[0], "robust": right[1]})
    first = []
    for count in sorted({*(c for c in (1, 2, 5, 10, 20, 50, 100, 200, 500) if c < features.rank), features.rank}):
        right = _accuracies(lambda x, count=count: features.predict(x, range(count)), test, fgsm)  # type: ignore[misc]
        first.append({"count": count, "natural": right[0], "robust": right[1]})
    natural, one = _accuracies(features.predict, test, fgsm)
    top = _accuracies(lambda x: features.predict(x, range(min(protocol.top, features.rank))), test, fgsm)
    return {
        "natural": natural,
        "fgsm": one,
        "pgd": _accuracies(features.predict, test, pgd)[1],
        "random": _right(features.predict, signs(test, eps, seed)),
        "top": {"natural": top[0], "robust": top[1]},
        "features": single,
        "first": first,
        "majority": float(torch.stack([(test.targets > 0).double(), (test.targets < 0).double()]).mean((1, 2)).max()),
        "eigenvalues": features.values[numbers].tolist(),
        "rank": features.rank,
    }


def transfer(protocol: KernelProtocol, data: Dataset, seed: int, device: str) -> dict[str, Any]:
    """Networks of growing width under attacks of their own, of the kernel, and under random changes.

    Networks are centred, ``f_theta - f_theta_0``, as the kernel's function begins at zero, and the kernel is taken at
    the time that gradient descent has run for: without either the two are compared where they differ for other
    reasons.

    Args:
        protocol: the study's.
        data: its data.
        seed: decides samples and initial weights.
        device: where to train.

    Returns:
        For each width accuracies, cosines of the gradients by the inputs, and how far the outputs are apart.
    """
    train_set, test = protocol.pair(data, seed, protocol.few, small=True)
    x, y = train_set.inputs, train_set.targets

    def ntk(a: Tensor, b: Tensor) -> Tensor:
        return kernel.infinite.dense(a, b, depth=1, sigma_w=_SIGMA_W, sigma_b=_SIGMA_B).ntk

    own = ntk(x, x)
    flow = kernel.gradient_flow(own, y)
    lr = protocol.rate * 2.0 / (flow.rate * float(flow.values[0]))
    weights = {"in time": flow.coefficients(protocol.steps * lr)[0], "for ever": flow.coefficients(math.inf)[0]}
    predictors = {name: (lambda a, w=w: ntk(a, x) @ w) for name, w in weights.items()}
    attack = Attack.fgsm(protocol.eps)
    examples = {name: _moved(function, test, attack) for name, function in predictors.items()}
    recipe = Recipe(epochs=float(protocol.steps), batch_size=len(x), lr=lr, momentum=0.0, seed=seed)
    slopes = {name: _slopes(function, test.inputs) for name, function in predictors.items()}
    outputs = predictors["in time"](test.inputs)
    rows = []
    for width in protocol.widths:
        net = Wide(x.shape[1], width, seed)
        train(net, (x.float(), y.float()), recipe, loss="mse", device=device)
        net = net.double().cpu()
        rows.append(
            {
                "width": width,
                "natural": _right(net, test),
                "white": _right(net, _moved(net, test, attack)),
                "random": _right(net, signs(test, protocol.eps, seed)),
                "transfer": {name: _right(net, moved) for name, moved in examples.items()},
                "cosine": {name: _cosine(_slopes(net, test.inputs), slope) for name, slope in slopes.items()},
                "plain cosine": _cosine(_slopes(net.plain, test.inputs), slopes["in time"]),
                "apart": float((net(test.inputs) - outputs).detach().norm() / outputs.norm()),
            }
        )
    return {
        "widths": rows,
        "kernel": {
            name: {"natural": _right(function, test), "own": _right(function, examples[name])}
            for name, function in predictors.items()
        },
        "lr": lr,
        "time": protocol.steps * lr,
    }


class Wide(nn.Module):
    """One hidden layer in NTK parametrisation, less what it put out at the start.

    ``f(x) = s_w / sqrt(W) a . relu(s_w / sqrt(d) V x + s_b b) + s_b c``: the network whose kernel at infinite width is
    `landform.kernel.infinite.dense` of depth 1.
    """

    def __init__(self, inputs: int, width: int, seed: int) -> None:
        """Draw the weights.

        Args:
            inputs: numbers of an input.
            width: hidden units.
            seed: of the weights.
        """
        super().__init__()
        made = torch.Generator().manual_seed(seed)
        shapes = {"v": (width, inputs), "b": (width,), "a": (1, width), "c": (1,)}
        for name, shape in shapes.items():
            drawn = torch.randn(shape, generator=made)
            self.register_parameter(name, nn.Parameter(drawn))
            self.register_buffer(f"first_{name}", drawn.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Outputs, zero at the start.

        Args:
            x: ``[B, d]``.

        Returns:
            ``[B, 1]``.
        """
        first = [getattr(self, f"first_{name}") for name in "vbac"]
        return self.plain(x) - self._function(x, *first)

    def plain(self, x: Tensor) -> Tensor:
        """Outputs as they are without centring.

        Args:
            x: ``[B, d]``.

        Returns:
            ``[B, 1]``.
        """
        return self._function(x, *(getattr(self, name) for name in "vbac"))

    def _function(self, x: Tensor, v: Tensor, b: Tensor, a: Tensor, c: Tensor) -> Tensor:
        hidden = torch.relu(_SIGMA_W / math.sqrt(x.shape[1]) * (x @ v.T) + _SIGMA_B * b)
        return _SIGMA_W / math.sqrt(len(b)) * (hidden @ a.T) + _SIGMA_B * c


def signs(split: Split, eps: float, seed: int) -> Split:
    """The same samples with every number changed by eps, up or down at random.

    Args:
        split: the samples.
        eps: how far.
        seed: of the signs.

    Returns:
        New samples, in [0, 1].
    """
    drawn = torch.randn(split.inputs.shape, generator=torch.Generator().manual_seed(seed), dtype=split.inputs.dtype)
    return Split((split.inputs + eps * drawn.sign()).clamp(0.0, 1.0), split.targets)


def _accuracies(function: Callable[[Tensor], Tensor], test: Split, attack: Attack) -> tuple[float, float]:
    """Natural and under an attack on this very function."""
    found = against(function, test.inputs, test.targets, attack, loss="logistic", within=_BOX)
    return found.clean_accuracy, found.accuracy


def _moved(function: Callable[[Tensor], Tensor], test: Split, attack: Attack) -> Split:
    """Samples moved by one step against a function, whether that makes them wrong or not."""
    x = test.inputs - attack.eps * test.targets * _slopes(function, test.inputs).sign()
    return Split(x.clamp(0.0, 1.0), test.targets)


def _slopes(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return found


def _right(function: Callable[[Tensor], Tensor], split: Split) -> float:
    with torch.no_grad():
        return float((function(split.inputs) * split.targets > 0).double().mean())


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(torch.cosine_similarity(first, second, dim=1).mean())
