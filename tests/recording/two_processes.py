"""What each of two processes does in test_distributed.py: train by DDP and by fully_shard, recorded and not."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import live
from landform.recording import Recorder

STEPS = 8


def net() -> nn.Module:
    torch.manual_seed(0)
    # Sizes that two processes cannot share evenly, and one of which only the first gets any.
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1))


def train(model: nn.Module, recorder: Recorder | None, optimizer: torch.optim.Optimizer) -> None:
    rank = dist.get_rank()
    for step in range(STEPS):
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))[rank::2]
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), inputs.sum(1, keepdim=True))
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)
    if recorder is not None:
        recorder.close()


def whole(model: nn.Module) -> torch.Tensor:
    full = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return torch.cat([p.detach().reshape(-1) for p in full])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(50))
    found = {}
    for recorded in (False, True):
        model = DistributedDataParallel(net())
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        recorder = None
        if recorded:
            landscape = Landscape(net(), (inputs, inputs.sum(1, keepdim=True)), loss="mse", device="cpu")
            recorder = Recorder(
                folder / "ddp",
                model,
                optimizer,
                epoch=4,
                at=2,
                pairs=None,
                probes=live(landscape, ["loss"]),
                budget=None,
            )
        train(model, recorder, optimizer)
        assert recorder is None or recorder.steps == STEPS
        found[f"ddp {recorded}"] = whole(model)

        sharded = net()
        for layer in (sharded[0], sharded[2], sharded):
            fully_shard(layer)
        optimizer = torch.optim.AdamW(sharded.parameters(), lr=0.1)
        recorder = None
        if recorded:
            for options, why in (({"resumable_at": [2]}, "resumable_at is not for a model in shards"),
                                 ({"probes": [lambda now: 1.0]}, "probes is not for a model in shards")):  # fmt: skip
                try:
                    Recorder(folder / "not", sharded, optimizer, epoch=4, at=2, **options)
                    raise AssertionError("it should have been refused")
                except BadInput as refused:
                    assert why in str(refused)  # noqa: PT017
            recorder = Recorder(folder / "fsdp", sharded, optimizer, epoch=4, at=[0, 3, 5], pairs=0.3)
        train(sharded, recorder, optimizer)
        found[f"fsdp {recorded}"] = whole(sharded)
    torch.save(found, folder / f"found-{dist.get_rank()}.pt")
    dist.destroy_process_group()


def budget(folder: Path) -> None:
    """Data-parallel training for a second or so, measured as often as a tenth of its time allows."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, labels = torch.randn(512, 64), torch.randint(0, 10, (512,))
    probes = live(Landscape(model.module, (inputs, labels), device="cpu"), ["loss"])
    recorder = Recorder(folder / "budget", model, optimizer, epoch=50, at=100, probes=probes, probes_at=1, budget=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        recorder.step()
    if dist.get_rank() == 0:
        torch.save({"overhead": recorder.overhead, "skipped": recorder.skipped}, folder / "budget.pt")
    recorder.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    (budget if len(sys.argv) > 2 else main)(Path(sys.argv[1]))
