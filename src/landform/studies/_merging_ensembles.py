"""Ensembles that cost one training, to stand beside merges: snapshots of a cyclic run, and members of rank one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform import functions
from landform.data import Dataset
from landform.landscape import Landscape
from landform.studies._merging_groups import MergingProtocol
from landform.training import Cyclic, Recording, train

_SNAPSHOTS = 4
# Samples that members are read on at a time.
_BATCH = 500


def snapshots(protocol: MergingProtocol, data: Dataset, landscape: Landscape, seed: int) -> dict[str, Any]:
    """One run with four cycles of its learning rate (Huang et al. 2017): its snapshots as an ensemble, and as a mean.

    Args:
        protocol: the study's.
        data: its data.
        landscape: of the training samples.
        seed: of the run.

    Returns:
        Test errors of the ``snapshots``, their ``ensemble`` and the ``mean`` of their weights.
    """
    recipe = replace(protocol.recipe, schedule=Cyclic(protocol.recipe.epochs / _SNAPSHOTS), seed=seed)
    steps = recipe.steps(len(data.train))
    ends = [round(steps * (i + 1) / _SNAPSHOTS) for i in range(_SNAPSHOTS)]
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        recording = Recording(at=ends, pairs=None)
        run = train(
            protocol.net(seed), data, recipe, out=Path(place) / "run", recording=recording, device=landscape.device
        )
        assert run.trajectory is not None
        points = torch.stack([run.trajectory.at(step=step).point for step in ends]).to(landscape.device)
    test = landscape.on(data.test)
    outputs = torch.stack([test.outputs(point) for point in points])
    together = functions.ensemble(outputs, data.test.targets.to(outputs.device))
    return {
        "snapshots": test.error(points).double().tolist(),
        "ensemble": 1 - float(together.accuracy),
        "mean": float(test.error(points.mean(0))),
    }


class Members(nn.Module):
    """A network and its members, which differ by a factor of rank one in every layer (Wen et al. 2020).

    Member m has the weights ``W * outer(s_m, r_m)``; the vectors begin as random signs. Outputs are ``[B, M, K]``.
    """

    def __init__(self, net: nn.Module, count: int, seed: int) -> None:
        """Give a network's dense and convolutional layers members.

        Args:
            net: the network; its layers are used, not copied.
            count: M.
            seed: of the signs.
        """
        super().__init__()
        self.count = count
        made = torch.Generator().manual_seed(seed)
        for name, layer in list(net.named_modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                home, _, key = name.rpartition(".")
                setattr(net.get_submodule(home), key, _RankOne(layer, count, made))
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        """Run all members on the same inputs.

        Args:
            inputs: ``[B, ...]``.

        Returns:
            ``[B, M, K]``.
        """
        outputs: Tensor = self.net(inputs.repeat(self.count, *[1] * (inputs.dim() - 1)))
        return outputs.view(self.count, len(inputs), -1).transpose(0, 1)


class _RankOne(nn.Module):
    def __init__(self, layer: nn.Linear | nn.Conv2d, count: int, made: torch.Generator) -> None:
        super().__init__()
        self.layer, self.count = layer, count
        size = layer.weight.shape
        signs = [torch.randint(2, (count, width), generator=made) * 2.0 - 1 for width in (size[1], size[0])]
        self.reads, self.gives = (nn.Parameter(sign.to(layer.weight)) for sign in signs)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.layer.bias
        y: Tensor = self.layer(self._times(x, self.reads))
        if bias is None:
            return self._times(y, self.gives)
        wide = bias.view(-1, *[1] * (y.dim() - 2))
        return self._times(y - wide, self.gives) + wide

    def _times(self, x: Tensor, factors: Tensor) -> Tensor:
        each = x.view(self.count, -1, *x.shape[1:])
        return (each * factors.view(self.count, 1, -1, *[1] * (x.dim() - 2))).view(x.shape)


def rank_one(protocol: MergingProtocol, data: Dataset, seed: int, device: str, count: int = 4) -> dict[str, Any]:
    """Train members of rank one together (BatchEnsemble): the members, their ensemble, and the mean of their factors.

    Args:
        protocol: the study's.
        data: its data.
        seed: of the run.
        device: where to train.
        count: how many members.

    Returns:
        Test errors of the ``members``, their ``ensemble`` and the ``mean`` of their factors.
    """
    net = Members(protocol.net(seed), count, seed)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.repeat_interleave(count))

    train(net, data, replace(protocol.recipe, seed=seed), loss=loss, device=device)
    with torch.no_grad():
        outputs = torch.cat([net(x) for x in torch.split(data.test.inputs, _BATCH)])
        together = functions.ensemble(outputs.transpose(0, 1), data.test.targets)
        for layer in net.modules():
            if isinstance(layer, _RankOne):
                for factors in (layer.reads, layer.gives):
                    factors.copy_(factors.mean(0, keepdim=True).expand_as(factors))
        mean = torch.cat([net(x) for x in torch.split(data.test.inputs, _BATCH)])[:, 0]
    return {
        "members": (1 - together.members).tolist(),
        "ensemble": 1 - float(together.accuracy),
        "mean": float((mean.argmax(1) != data.test.targets).double().mean()),
    }
