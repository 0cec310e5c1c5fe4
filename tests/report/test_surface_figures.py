"""What figures of surfaces say, and that they draw what was read."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import surface
from landform.errors import BadInput
from landform.probes import get
from landform.report import cut_lines, draw, gather, surface_figures, surface_line, surface_map, surface_page
from landform.report._draw import describe
from landform.report._numbers import as_csv
from landform.report._surface_figures import around
from landform.report._terrain_png import draw_terrain


@pytest.fixture(scope="module")
def landscape() -> lf.Landscape:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    data = (torch.randn(24, 4), torch.arange(24) % 3)
    return lf.Landscape(model, data, device="cpu", dtype=torch.float64)


@pytest.fixture(scope="module")
def plane(landscape: lf.Landscape) -> surface.Surface:
    return surface.plane(landscape, steps=(5, 7), extent=(1.0, 2.0))


def test_what_decides_the_picture_is_written_on_it(landscape: lf.Landscape, plane: surface.Surface) -> None:
    figure = surface_map(plane)
    text = " ".join(figure.notes)
    u, v = plane.directions
    angle = math.degrees(math.acos(float(u @ v / u.norm() / v.norm())))
    assert f"norms {float(u.norm()):.4g}, {float(v.norm()):.4g}, angle {angle:.2f}°" in text
    assert "biases and normalisation layers left where they are" in text
    assert "batchnorm: recompute" in text
    assert "filter-normalised" in text
    assert "seed 0" in text
    assert "1 = norm of each filter" in figure.x.label
    for drawn in (describe(figure), describe(surface_map(plane, relief=True))):
        assert [one["text"] for one in drawn["layout"]["annotations"]][-len(figure.notes) :] == list(figure.notes)


def test_it_draws_what_was_read(plane: surface.Surface) -> None:
    figure = surface_map(plane, scale="linear")
    np.testing.assert_array_equal(figure.values, plane.losses.numpy())
    data = describe(figure)["data"][0]
    assert data["x"] == plane.alphas.tolist()
    assert data["y"] == plane.betas.tolist()
    assert data["z"] == plane.losses.T.tolist()
    rows = as_csv(figure).splitlines()
    assert len(rows) == 1 + plane.losses.numel()
    assert [float(x) for x in rows[2].split(",")] == pytest.approx(
        [float(plane.alphas[0]), float(plane.betas[1]), float(plane.losses[0, 1])], rel=1e-6
    )
    log = surface_map(plane, scale="log")
    np.testing.assert_allclose(log.placed(log.values), np.log10(plane.losses.numpy()))
    assert "log scale" in log.label
    errors = surface_map(plane, error=True)
    assert errors.percent
    np.testing.assert_array_equal(errors.values, plane.errors.numpy())


def test_levels_hold_every_value_and_steps_are_round(plane: surface.Surface) -> None:
    for values in (plane.losses, plane.losses * 1e-7, plane.losses - 5, torch.ones_like(plane.losses)):
        figure = surface_map(dataclasses.replace(plane, losses=values), scale="linear")
        low, high, step = figure.levels
        assert low <= float(values.min())
        assert float(values.max()) <= high
        assert 3 <= (high - low) / step <= 20
        assert all(low - 1e-9 <= at <= high + 1e-9 for at, _ in figure.ticks)
        first, mantissa = figure.ticks[0][0], step / 10 ** math.floor(math.log10(step))
        assert first == pytest.approx(low)
        assert min(abs(mantissa - good) for good in (1, 2, 2.5, 5, 10)) < 1e-9


def test_the_scale_is_logarithmic_where_losses_differ_much(plane: surface.Surface) -> None:
    def chosen(losses: torch.Tensor) -> str:
        return surface_map(dataclasses.replace(plane, losses=losses)).scale

    near = torch.linspace(1, 2, plane.losses.numel()).double().view_as(plane.losses)
    assert chosen(near) == "linear"
    assert chosen(near**10) == "log"
    assert chosen(near**10 - 1) == "linear"  # zero has no logarithm


def test_what_is_no_number_is_left_blank_and_said(plane: surface.Surface) -> None:
    losses = plane.losses.clone()
    losses[0, 0], losses[1, 2] = math.nan, math.inf
    figure = surface_map(dataclasses.replace(plane, losses=losses))
    assert "2 places where the loss is no finite number are left blank" in figure.caption
    drawn = describe(figure)
    assert drawn["data"][0]["z"][0][0] is None
    assert drawn["data"][0]["z"][2][1] is None
    json.dumps(drawn, allow_nan=False)
    assert draw_terrain(figure).startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="no finite number"):
        surface_map(dataclasses.replace(plane, losses=torch.full_like(losses, math.nan)))


def test_ways_marks_basins_and_what_was_foretold(landscape: lf.Landscape) -> None:
    torch.manual_seed(1)
    points = landscape.here + 0.3 * torch.randn(3, landscape.layout.size).double()
    plane = surface.plane(landscape, directions=surface.through(landscape, *points, names=("a", "b", "c")), steps=7)
    way = plane.project(torch.randn(4, landscape.layout.size).double(), names=("1", "2", "3", "4"))
    quadratic = surface.quadratic(landscape, plane)
    tree = surface.merge_tree(plane)
    figure = surface_map(plane, ways={"run": way}, foretold=quadratic, tree=tree)
    assert [mark[0] for mark in figure.marks[:3]] == ["a", "b", "c"]
    assert figure.marks[3][1:] == tree.basins[0].coordinates
    np.testing.assert_array_equal(figure.ways[0].places, way.coordinates.numpy())
    np.testing.assert_allclose(figure.foretold[1], quadratic.on(plane).numpy())
    text = " ".join(figure.notes)
    assert f"holds {way.share:.1%} of the squared distances" in text
    assert f"{way.residual:.3g}" in text
    assert "held at the centre's" in text  # the statistics of BatchNorm
    drawn = describe(figure)
    named = [trace for trace in drawn["data"] if trace.get("name")]
    assert [trace["name"] for trace in named] == ["to second order", "run"]
    assert named[1]["text"] == ["1", "2", "3", "4"]
    json.dumps(drawn, allow_nan=False)
    heights = figure.height(np.array([[float(plane.alphas[2]), float(plane.betas[3])], [1e9, 0.0]]))
    assert heights[0] == pytest.approx(float(figure.placed(figure.values)[2, 3]))
    assert np.isnan(heights[1])


@pytest.mark.parametrize("relief", [False, True])
@pytest.mark.parametrize("dark", [False, True])
def test_the_same_seed_gives_the_same_figure(landscape: lf.Landscape, relief: bool, dark: bool) -> None:
    files = []
    for seed in (3, 3, 4):
        plane = surface.plane(landscape, steps=4, seed=seed)
        way = plane.project(landscape.here[None] + torch.ones(2, 1).double() * 0.1)
        files.append(draw_terrain(surface_map(plane, relief=relief, ways=way), dark=dark))
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_drawing_between_places_goes_through_them(plane: surface.Surface) -> None:
    figure = surface_map(plane, scale="linear")
    alphas, betas, values = figure.smooth(figure.values, 3)
    np.testing.assert_allclose(values[::3, ::3], figure.values)
    np.testing.assert_allclose(alphas[::3], figure.alphas)
    assert values.min() >= figure.values.min() - 1e-12
    assert values.max() <= figure.values.max() + 1e-12
    assert len(betas) == 3 * (len(figure.betas) - 1) + 1


def test_lines_and_cuts(landscape: lf.Landscape) -> None:
    line = surface.line(landscape, steps=9)
    quadratic = surface.quadratic(landscape, line)
    figure = surface_line(line, foretold=quadratic)
    np.testing.assert_array_equal(figure.series[0].y, line.losses.numpy())
    assert "angle" not in " ".join(figure.notes)
    assert "left where they are" in " ".join(figure.notes)
    assert [note["text"] for note in describe(figure)["layout"]["annotations"]] == list(figure.notes)
    drawn = figure.series[1].y
    assert np.nanmax(drawn) <= float(line.losses.max()) * 1.2
    assert surface_line(line, error=True).y.percent
    found = surface.cuts(landscape, count=3, steps=5)
    cut = cut_lines(found, threshold=1.5)
    each, median = cut.series
    rows = each.y.reshape(3, 6)
    np.testing.assert_allclose(rows[:, :5], found.losses.numpy())
    assert np.isnan(rows[:, 5]).all()
    np.testing.assert_allclose(median.y, np.median(found.losses.numpy(), axis=0))
    assert "filter-normalised" in " ".join(cut.notes)
    assert cut.reference == 1.5
    assert draw(cut).startswith(b"\x89PNG")


def test_misuse(landscape: lf.Landscape, plane: surface.Surface) -> None:
    line = surface.line(landscape, steps=3)
    with pytest.raises(BadInput, match="A map shows a plane"):
        surface_map(line)
    with pytest.raises(BadInput, match="give a line"):
        surface_line(plane)
    with pytest.raises(BadInput, match="scale is 'cubic'"):
        surface_map(plane, scale="cubic")
    with pytest.raises(BadInput, match="has no errors"):
        surface_map(dataclasses.replace(plane, errors=None), error=True)
    with pytest.raises(BadInput, match="nothing about wrong labels"):
        surface_map(plane, error=True, foretold=surface.quadratic(landscape, plane))
    with pytest.raises(BadInput, match="no logarithm"):
        surface_map(dataclasses.replace(plane, losses=-plane.losses), scale="log")


def test_the_page_holds_map_hills_and_errors(tmp_path: Path, landscape: lf.Landscape, plane: surface.Surface) -> None:
    names = [figure.name for figure in surface_figures(plane)]
    assert names == ["surface", "surface-relief", "surface-error"]
    text = surface_page(plane, tmp_path / "one.html", title="Here", command="landform surface x").read_text()
    assert "landform surface x" in text
    assert f"{plane.centre_loss:.4g}" in text
    assert "35 of 35 places were read" in text
    lines = surface_page(surface.line(landscape, steps=3), tmp_path / "two.html").read_text()
    assert "Loss along a line" in lines
    with pytest.raises(BadInput, match="is a folder"):
        surface_page(plane, tmp_path)


def test_of_a_volume_the_planes_through_its_middle_are_shown(landscape: lf.Landscape) -> None:
    volume = surface.volume(landscape, steps=(3, 5, 3))
    figures = surface_figures(volume)
    assert [figure.name for figure in figures] == ["across-1", "across-2", "across-3"]
    np.testing.assert_array_equal(figures[0].values, volume.losses[1].numpy())
    np.testing.assert_array_equal(figures[2].values, volume.losses[:, :, 1].numpy())
    assert "number 3 held at 0" in " ".join(figures[2].notes)


def test_places_that_were_read_are_dots_where_others_are_not(plane: surface.Surface) -> None:
    assert surface_map(plane).read is None
    read = torch.zeros_like(plane.read)
    read[1, 2] = read[3, 0] = True
    figure = surface_map(dataclasses.replace(plane, read=read, tolerance=0.01))
    np.testing.assert_array_equal(figure.read, [[plane.alphas[1], plane.betas[2]], [plane.alphas[3], plane.betas[0]]])
    assert "Read at 2 of 35 places" in " ".join(figure.notes)
    assert "to within 1.0% of the range" in " ".join(figure.notes)
    assert draw_terrain(figure).startswith(b"\x89PNG")
    assert any(trace.get("mode") == "markers" for trace in describe(figure)["data"])


def test_the_page_of_a_run_shows_what_lies_around_its_records(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = (torch.randn(40, 4).double(), torch.arange(40) % 3)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    lf.train(model, data, lf.Recipe(epochs=3, batch_size=10, lr=0.1), out=tmp_path / "run", device="cpu",
             recording=lf.Recording(at=3, pairs=None))  # fmt: skip
    landscape = lf.Landscape(model, data, device="cpu")
    probes = [get("plane_around").at(2).using(steps=3), get("tunnel_width").at(2).using(cuts=2, threshold=2.0)]
    atlas = lf.survey(tmp_path / "run", landscape, probes=probes)
    figures = around(atlas)
    assert [figure.name for figure in figures] == ["tunnel-width", "around-1", "around-2"]
    widths = atlas["tunnel_width"].values
    np.testing.assert_allclose(figures[0].series[1].y, np.median(widths[:, 2], axis=1))
    np.testing.assert_allclose(figures[2].values, atlas["around_loss"].values[1])
    assert f"angle {float(atlas['around_angle'].values[0]):.2f}°" in " ".join(figures[1].notes)
    material = gather(atlas)
    assert [figure.name for figure in material.deep] == ["tunnel-width", "around-1", "around-2"]
    assert not any("no figure" in note for note in material.notes)
