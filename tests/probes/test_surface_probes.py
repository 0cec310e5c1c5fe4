"""What lies around records, against surfaces read one by one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import surface
from landform.probes import get


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def pair(labels: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=made, dtype=torch.float64)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0) if labels else x[:, :3].sin()


def run_of(folder: Path, labels: bool = True, lr: float = 0.3) -> lf.Trajectory:
    recipe = lf.Recipe(epochs=4, batch_size=20, lr=lr)
    loss = "cross-entropy" if labels else "mse"
    lf.train(net(), pair(labels), recipe, out=folder, device="cpu", loss=loss, recording=lf.Recording(at=4, pairs=None))
    return lf.Trajectory(folder)


def test_planes_around_records_are_the_landscape_s(tmp_path: Path) -> None:
    run, landscape = run_of(tmp_path / "run"), lf.Landscape(net(), pair(), device="cpu")
    atlas = lf.survey(run, landscape, probes=[get("plane_around").at("all").using(steps=5, extent=0.5)])
    losses = atlas["around_loss"]
    assert losses.coords["alpha"].tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]
    for i in range(len(run)):
        plain = surface.plane(landscape, center=run.points[i], extent=0.5, steps=5)
        assert losses.values[i].reshape(-1).tolist() == pytest.approx(plain.losses.reshape(-1).tolist())
        assert losses.values[i][2, 2] == pytest.approx(float(landscape.loss(run.points[i])))
        assert atlas["around_norms"].values[i].tolist() == pytest.approx(plain.basis.norms.tolist())


def test_tunnel_widths_are_at_a_share_of_the_start_s_loss(tmp_path: Path) -> None:
    run, landscape = run_of(tmp_path / "run"), lf.Landscape(net(), pair(), device="cpu")
    probe = get("tunnel_width").at("all").using(cuts=3, share=0.7)
    atlas = lf.survey(run, landscape, probes=[probe])
    level = float(landscape.loss(run.points[0])) * 0.7
    assert atlas["tunnel_threshold"].values.tolist() == pytest.approx([level] * len(run))
    widths = atlas["tunnel_width"].values
    assert bool(np.isnan(widths[0]).all())  # the start lies above that share of itself
    last = len(run) - 1
    plain = surface.tunnel(landscape, run.points[last], threshold=level, count=3, tol=1e-2)
    for unit, name in enumerate(("raw", "relative", "filter")):
        assert widths[last][unit].tolist() == pytest.approx(plain.widths(name).tolist())
    fixed = lf.survey(run, landscape, probes=[probe.using(threshold=5.0)])
    assert math.isfinite(fixed["tunnel_width"].values[0, 0, 0]) or fixed["tunnel_width"].values[0, 0, 0] == math.inf


def test_without_labels_there_are_losses_alone_and_nothing_where_a_run_diverged(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", labels=False, lr=1e6)
    landscape = lf.Landscape(net(), pair(labels=False), loss="mse", device="cpu")
    probes = [get("plane_around").at("all").using(steps=3), get("tunnel_width").at("all").using(cuts=2)]
    atlas = lf.survey(run, landscape, probes=probes)
    assert "around_error" not in atlas.names()
    assert not bool(torch.isfinite(run.points[len(run) - 1]).all())
    for name in ("around_loss", "tunnel_width"):
        assert bool(np.isnan(atlas[name].values[-1]).all())
