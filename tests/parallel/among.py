"""What each of some processes does in test_divided.py: measure a landscape together."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import landform as lf
from landform.curvature import density, eigenpairs, trace

N = 37  # which no two processes share evenly


def net(*, norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    between = [nn.BatchNorm1d(6)] if norm else []
    return nn.Sequential(nn.Linear(5, 6), *between, nn.Tanh(), nn.Linear(6, 3)).double()


def landscape(*, norm: bool = False) -> lf.Landscape:
    made = torch.Generator().manual_seed(1)
    x = torch.randn(N, 5, generator=made, dtype=torch.float64)
    y = torch.randint(0, 3, (N,), generator=made)
    return lf.Landscape(net(norm=norm), (x, y), batch_size=8, weight_decay=0.01, device="cpu")


def measured(scape: Any, whole: lf.Landscape, ntk: Any, sketch: Any) -> dict[str, Any]:
    """Everything that one process and several can measure."""
    p = whole.here
    points = torch.stack([p, 0.5 * p])
    H = scape.hessian(p)
    found: dict[str, Any] = {
        "loss": scape.loss(points),
        "error": scape.error(points),
        "reading": scape.read(p).loss,
        "gradient": scape.gradient(p),
        "gradients": scape.gradient(points),
        "product": H @ torch.arange(H.size, dtype=p.dtype),
        "layer": H.part(whole.layout.part("0")) @ torch.ones(36, dtype=p.dtype),
        "eigenvalues": eigenpairs(H, 4, tol=1e-8).values,
        "trace": torch.tensor(trace(H, tol=0.05).value),
        "density": density(H, probes=2, steps=20).density,
        "gauss-newton": scape.gauss_newton(p) @ p,
        "fisher": scape.fisher(p, kind="empirical") @ p,
    }
    for kind in ("full", "trace", "each", "loss"):
        found[f"ntk {kind}"] = ntk(p, kind=kind)
    found["ntk of some"] = ntk(p, torch.eye(5, dtype=p.dtype)[:3], kind="full")
    for draws in (None, 2):
        found[f"sketch {draws}"] = sketch(p, size=64, draws=draws).kernel().kernel
    return found


def refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except lf.BadInput as why:
        return str(why)
    return ""


def main(out: Path) -> None:
    dist.init_process_group("gloo")
    whole = landscape()
    together = lf.parallel.divide(whole)
    found = measured(together, whole, together.ntk, together.sketch)
    normed = landscape(norm=True)
    found["normed"] = lf.parallel.divide(normed).gradient(normed.here)
    found["line"] = together.mean(lf.paths.barrier(together.part, whole.here, 0.5 * whole.here).losses)
    found["share"] = together.share
    bad = whole.here.clone()
    bad[0] = float("nan")
    data = whole._data
    batches = [(data.inputs[:8], data.targets[:8])]  # type: ignore[union-attr]
    found["refusals"] = {
        # Only one of the processes is asked for what cannot be.
        "one alone": refusal(lambda: together.hessian(bad if dist.get_rank() else whole.here)),
        "sampled": refusal(lambda: together.fisher(whole.here, kind="sampled")),  # type: ignore[arg-type]
        "stream": refusal(lambda: lf.parallel.divide(lf.Landscape(net(), batches, device="cpu"))),
        "few": refusal(lambda: lf.parallel.divide(whole.subset(1))),
        "batch": refusal(
            lambda: lf.parallel.divide(lf.Landscape(net(norm=True), whole_data(whole), batchnorm="batch", device="cpu"))
        ),
    }
    torch.save(found, out / f"found-{dist.get_rank()}.pt")
    dist.destroy_process_group()


def whole_data(of: lf.Landscape) -> Any:
    return of._data.inputs, of._data.targets  # type: ignore[union-attr]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
