"""Function distances along a run against plain comparisons, and their figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import functions
from landform.errors import BadInput
from landform.probes import get
from landform.report import _function_figures as figures
from landform.report import draw, gather
from landform.report._heat import draw_heat

PROBES = [get(name) for name in ("function_from_start", "function_to_end", "function_step")]


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=made, dtype=torch.float64)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0)


def net(norm: bool = False, unit: type[nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(8) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(5, 8), middle, unit(), nn.Linear(8, 3)).double()


def run_of(folder: Path, model: nn.Module, **recipe) -> lf.Trajectory:
    settings = {"lr": 0.3, **recipe}
    lf.train(model, pair(), lf.Recipe(epochs=4, batch_size=20, **settings), out=folder, device="cpu",
             recording=lf.Recording(at=4, pairs=None))  # fmt: skip
    return lf.Trajectory(folder)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batchnorm"])
def test_distances_along_a_run_equal_comparisons_of_its_points(tmp_path: Path, norm: bool) -> None:
    run = run_of(tmp_path / "run", net(norm))
    landscape = lf.Landscape(net(norm), pair(), device="cpu")
    atlas = lf.survey(run, landscape, probes=PROBES)
    last = len(run) - 1
    ends = {"from_start": lambda i: 0, "to_end": lambda i: last, "step": lambda i: i - 1}
    for name, other in ends.items():
        steps = atlas[f"disagreement_{name}"].coords["step"]
        assert len(steps) == (last if name == "step" else last + 1)
        for at, step in enumerate(steps):
            i = run.steps.index(int(step))
            plain = functions.compare(landscape, run.points[other(i)], run.points[i])
            assert plain.patterns is not None
            expected = {
                "disagreement": plain.disagreement,
                "softmax_distance": plain.softmax_distance,
                "output_distance": plain.output_distance,
                "logit_cosine": plain.logit_cosine,
                "activation_distance": float(plain.patterns.total),
            }
            for kind, value in expected.items():
                assert atlas[f"{kind}_{name}"].values[at] == pytest.approx(value, abs=1e-12), (kind, name)
    assert atlas["disagreement_from_start"].values[0] == 0
    assert atlas["disagreement_to_end"].values[-1] == 0
    assert atlas["softmax_distance_from_start"].values[-1] > 0.1


def test_without_units_there_are_no_patterns(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", net(unit=nn.Tanh))
    atlas = lf.survey(run, lf.Landscape(net(unit=nn.Tanh), pair(), device="cpu"), probes=PROBES[:1])
    assert set(atlas.names()) == {
        "output_distance_from_start", "logit_cosine_from_start", "disagreement_from_start",
        "softmax_distance_from_start",
    }  # fmt: skip


def test_a_diverged_run_leaves_gaps(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", net(), lr=1e200, weight_decay=1.0)
    atlas = lf.survey(run, lf.Landscape(net(), pair(), device="cpu"), probes=PROBES)
    assert atlas["disagreement_from_start"].values[0] == 0
    assert math.isnan(atlas["disagreement_from_start"].values[-1])
    assert math.isnan(atlas["activation_distance_from_start"].values[-1])
    assert np.isnan(atlas["softmax_distance_to_end"].values).all()
    material = gather(atlas)
    assert figures.from_start(material) is not None
    assert figures.to_end(material) is None


def test_figures_say_what_was_measured(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", net())
    landscape = lf.Landscape(net(), pair(), device="cpu")
    sets = {"train": landscape, "test": landscape.subset(30)}
    material = gather(lf.survey(run, sets, probes=PROBES))
    for make in (figures.from_start, figures.to_end, figures.step):
        figure = make(material)
        assert figure is not None
        assert [s.name for s in figure.series][:3] == [
            "other label, train", "softmax distance, train", "units on another piece, train",
        ]  # fmt: skip
        assert len(figure.series) == 6
        assert draw(figure).startswith(b"\x89PNG")
    np.testing.assert_array_equal(
        figures.from_start(material).series[3].y, material.measured["disagreement_from_start"].values[1]
    )
    other = run_of(tmp_path / "other", net())
    only = gather(lf.survey(other, landscape, probes=PROBES[2:]))
    assert figures.step(only).title == "How the function moves (train)"
    assert figures.from_start(only) is None


def test_heat_maps_of_layers_and_of_pairs() -> None:
    landscape = lf.Landscape(net(), pair(), device="cpu")
    a = landscape.here
    found = functions.layer_cka(landscape, a, a + 0.3)
    heat = figures.layer_map(found)
    np.testing.assert_array_equal(heat.values, found.values.numpy())
    assert heat.y.names == ("0  1", "1  2", "2  3", "3  4")
    assert heat.x.names == ("1", "2", "3", "4")
    assert draw_heat(heat).startswith(b"\x89PNG")
    every = functions.compare_all(landscape, torch.stack((a, a + 0.3, -a)))
    pairs = figures.pair_map(every.disagreement, ["a", "b", "c"], measure="disagreement")
    np.testing.assert_array_equal(pairs.values, every.disagreement.numpy())
    assert not pairs.diverging
    assert figures.pair_map(every.logit_cosine, measure="logit_cosine").diverging
    with pytest.raises(BadInput, match="3 points and 2 names"):
        figures.pair_map(every.cka, ["a", "b"], measure="cka")
    with pytest.raises(BadInput, match=r"\[n, n\]; got shape \[3\]"):
        figures.pair_map([1.0, 2.0, 3.0], measure="cka")
