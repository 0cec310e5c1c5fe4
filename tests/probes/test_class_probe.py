"""Class parts along a run against the function at the records, and their figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

import landform as lf
from landform.probes._class_parts import class_parts_
from landform.report import draw, gather
from landform.report._class_figures import class_outliers


def test_outliers_along_a_run_and_their_figure(tmp_path: Path) -> None:
    draw_ = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (60,), generator=draw_)
    x = torch.randn(60, 5, generator=draw_) + 2 * torch.eye(5)[y]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    lf.train(net, (x, y), lf.Recipe(epochs=3, batch_size=20, lr=0.2), out=tmp_path / "run", device="cpu",
             recording=lf.Recording(at=3))  # fmt: skip
    landscape = lf.Landscape(net, (x, y), device="cpu")
    atlas = lf.survey(tmp_path / "run", landscape, probes=[class_parts_])
    run = lf.Trajectory(tmp_path / "run")
    for i, step in enumerate(atlas["class_predicted"].coords["step"]):
        found = lf.curvature.class_parts(landscape, run.at(step=int(step)).point, tol=0.01)
        np.testing.assert_allclose(atlas["class_predicted"].values[i], found.predicted.numpy(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(atlas["class_between"].values[i], found.between[:3].numpy(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(atlas["class_shares"].values[i], list(found.shares.values()), rtol=1e-4, atol=1e-7)
    figure = class_outliers(gather(atlas))
    assert figure is not None
    lines = figure.series[1:]
    assert len(lines) == len(atlas["class_predicted"].values)
    for line in lines:
        seen = np.isfinite(line.x)
        assert (line.x[seen] <= line.y[seen] * 1.02).all()
    assert draw(figure).startswith(b"\x89PNG")


def test_it_says_where_it_does_not_apply() -> None:
    x = torch.randn(8, 5)
    landscape = lf.Landscape(nn.Linear(5, 3), (x, torch.randn(8, 3)), loss="mse", device="cpu")
    assert class_parts_.applies is not None
    assert "cross-entropy" in str(class_parts_.applies(landscape))
