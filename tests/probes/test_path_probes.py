"""Lines along a run against plain barriers, and the figures of paths."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import paths
from landform.errors import BadInput
from landform.probes import get
from landform.report import _path_figures as figures
from landform.report import draw, gather
from landform.report._heat import draw_heat

PROBES = [get("barrier_to_end").at("all"), get("line_from_start").at("all").using(steps=7)]


def pair(labels: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=made, dtype=torch.float64)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0) if labels else x[:, :3].sin()


def net(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(8) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(5, 8), middle, nn.ReLU(), nn.Linear(8, 3)).double()


def run_of(folder: Path, model: nn.Module, labels: bool = True, **recipe) -> lf.Trajectory:
    settings = {"lr": 0.3, **recipe}
    lf.train(model, pair(labels), lf.Recipe(epochs=4, batch_size=20, **settings), out=folder, device="cpu",
             loss="cross-entropy" if labels else "mse", recording=lf.Recording(at=4, pairs=None))  # fmt: skip
    return lf.Trajectory(folder)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batchnorm"])
def test_lines_along_a_run_are_the_barriers_of_its_points(tmp_path: Path, norm: bool) -> None:
    run = run_of(tmp_path / "run", net(norm))
    landscape = lf.Landscape(net(norm), pair(), device="cpu")
    atlas = lf.survey(run, {"train": landscape, "test": landscape.on(tuple(t[:25] for t in pair()))}, probes=PROBES)
    last = run.points[len(run) - 1]
    heights, errors = atlas["barrier_to_end"].values, atlas["error_barrier_to_end"].values
    assert heights.shape == (2, len(run))
    for i in range(len(run)):
        plain = paths.barrier(landscape, run.points[i], last, steps=11, refine=4)
        assert heights[0, i] == pytest.approx(plain.height, abs=1e-12)
        assert errors[0, i] == pytest.approx(plain.error_height, abs=1e-12)
        line = paths.interpolate(run.points[0], run.points[i], torch.linspace(0, 1, 7, dtype=torch.float64))
        read = landscape.read(line)
        assert atlas["line_loss"].values[0, i].tolist() == pytest.approx(read.loss.tolist())
        assert atlas["line_error"].values[0, i].tolist() == pytest.approx(read.error.tolist())
        losses = read.loss.tolist()
        rise = max(losses[k] - losses[j] for j in range(7) for k in range(j, 7))
        assert atlas["line_rise"].values[0, i] == pytest.approx(rise, abs=1e-12)
    assert heights[:, -1].tolist() == [0, 0]
    assert heights[0, 0] > 0.1
    material = gather(atlas)
    drawn = figures.barrier_to_end(material)
    np.testing.assert_array_equal(drawn.series[1].y, errors[1])
    assert drawn.y.percent
    assert draw(drawn).startswith(b"\x89PNG")
    lines = figures.line_from_start(material)
    assert len(lines.series) == len(run) - 1  # that from the start to itself is no line
    np.testing.assert_allclose(lines.series[-1].x, np.linspace(0, 1, 7), atol=1e-5)
    np.testing.assert_array_equal(lines.series[-1].y, atlas["line_loss"].values[0, -1])
    assert draw(lines).startswith(b"\x89PNG")


def test_without_labels_there_is_the_loss_alone(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", net(), labels=False, lr=0.05)
    atlas = lf.survey(run, lf.Landscape(net(), pair(labels=False), loss="mse", device="cpu"), probes=PROBES)
    assert set(atlas.names()) == {"barrier_to_end", "line_loss", "line_rise"}
    assert not figures.barrier_to_end(gather(atlas)).y.percent


def test_a_diverged_run_leaves_gaps(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", net(), lr=1e200, weight_decay=1.0)
    atlas = lf.survey(run, lf.Landscape(net(), pair(), device="cpu"), probes=PROBES)
    assert np.isnan(atlas["barrier_to_end"].values).all()
    assert atlas["line_rise"].values[0] == 0
    assert math.isnan(atlas["line_rise"].values[-1])
    material = gather(atlas)
    assert figures.barrier_to_end(material) is None
    assert figures.line_from_start(material) is None


def test_profiles_and_maps_show_what_was_read() -> None:
    landscape = lf.Landscape(net(), pair(), device="cpu")
    other = landscape.on(tuple(t[:25] for t in pair()))
    made = torch.Generator().manual_seed(1)
    points = torch.randn(3, landscape.layout.size, generator=made, dtype=torch.float64)
    straight = paths.barrier(landscape, points[0], points[1], on={"test": other})
    figure = figures.profile(straight)
    assert [series.name for series in figure.series] == ["along the way", "test"]
    np.testing.assert_array_equal(figure.series[1].y, straight.on["test"].losses.numpy())
    errors = figures.profile({"a to b": straight, "b to a": straight}, error=True)
    assert [series.name for series in errors.series] == ["a to b", "a to b, test", "b to a", "b to a, test"]
    np.testing.assert_array_equal(errors.series[0].y, straight.errors.numpy())
    curve = paths.curve(landscape, points[0], points[1], steps=3, positions=5, refine=0)
    figure = figures.profile(curve)
    assert [series.name for series in figure.series] == ["straight", "curve"]
    assert "begun linear" in figure.caption
    assert draw(figure).startswith(b"\x89PNG")
    matrix = paths.barrier_matrix(landscape, points)
    heat = figures.barrier_map(matrix, ["a", "b", "c"], error=True, points="run")
    np.testing.assert_array_equal(heat.values, matrix.error_heights.numpy())
    assert draw_heat(heat).startswith(b"\x89PNG")
    plain = lf.Landscape(net(), pair(labels=False), loss="mse", device="cpu")
    with pytest.raises(BadInput, match="without labels"):
        figures.barrier_map(paths.barrier_matrix(plain, points), error=True)
    with pytest.raises(BadInput, match="no path with such values"):
        figures.profile(paths.barrier(plain, points[0], points[1]), error=True)
