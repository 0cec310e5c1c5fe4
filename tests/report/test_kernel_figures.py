"""Heat maps and kernel figures: what they say, and that both backends draw it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from landform.errors import BadInput
from landform.report import Material, Measured
from landform.report import _kernel_figures as figures
from landform.report._heat import HeatAxis, HeatMap, describe_heat, draw_heat
from landform.report._material import Spread


def test_a_kernel_map_sorts_samples_by_class() -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, 2])
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    kernel = features @ features.T
    shown = figures.kernel_map(kernel, labels)
    order = [1, 3, 2, 0, 4, 5]
    np.testing.assert_allclose(shown.values, kernel[order][:, order])
    assert shown.x.groups == (("0", 2), ("1", 1), ("2", 3))
    assert shown.x.borders == [1.5, 2.5]
    assert [name for _, name in shown.x.ticks] == ["0", "1", "2"]
    assert shown.diverging
    assert shown.span[0] == -shown.span[1]
    cosines = figures.kernel_map(kernel, labels, normalised=True)
    np.testing.assert_allclose(np.diagonal(cosines.values), 1.0)
    assert cosines.span == (-1.0, 1.0)
    assert figures.kernel_map(kernel.abs() + 3 * torch.eye(6), labels, normalised=True).span == (0.0, 1.0)
    full = torch.einsum("nm,kl->nmkl", kernel, torch.eye(3))
    np.testing.assert_allclose(figures.kernel_map(full).values, 3 * kernel, rtol=1e-6)
    with pytest.raises(BadInput, match="samples with themselves"):
        figures.kernel_map(kernel[:, :3])
    with pytest.raises(BadInput, match="one each"):
        figures.kernel_map(kernel, labels[:2])


def test_a_distance_map_names_its_times() -> None:
    distances = torch.tensor([[0.0, 0.1, 0.4], [0.1, 0.0, 0.3], [0.4, 0.3, torch.nan]])
    shown = figures.distance_map(distances, [0.0, 0.125, 20.0])
    assert shown.x.names == ("0", "0.125", "20")
    assert shown.span == (0.0, pytest.approx(0.4))
    with pytest.raises(BadInput, match=r"\[2, 2\]"):
        figures.distance_map(distances, [0.0, 1.0])


@pytest.mark.parametrize("diverging", [False, True])
def test_both_backends_draw_a_heat_map(diverging: bool) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    values = np.array([[0.0, 1.0, np.nan], [-2.0 if diverging else 2.0, 3.0, 4.0]])
    x = HeatAxis("columns", ("a", "b", "c"), (("first", 2), ("last", 1)))
    shown = HeatMap("map", "A map", "how", "what", x, HeatAxis("rows", ("r", "s")), values, "heat", diverging)
    described = describe_heat(shown)
    graph_objects.Figure(described)  # raises on an unknown property
    json.dumps(described, allow_nan=False)
    (trace,) = described["data"]
    assert trace["z"][0] == [0.0, 1.0, None]
    assert (trace["zmin"], trace["zmax"]) == ((-4.0, 4.0) if diverging else (0.0, 4.0))
    assert trace["text"][1][2] == "s, c"
    assert described["layout"]["xaxis"]["ticktext"] == ["first", "last"]
    assert described["layout"]["yaxis"]["autorange"] == "reversed"
    assert len(described["layout"]["shapes"]) == 1
    assert draw_heat(shown).startswith(b"\x89PNG")
    assert draw_heat(shown, "svg") == draw_heat(shown, "svg")
    assert "heat" in draw_heat(shown, "svg").decode()


def test_what_is_no_heat_map_is_said() -> None:
    axis = HeatAxis("cells", ("a", "b"))
    with pytest.raises(BadInput, match="2 rows and 2 columns"):
        HeatMap("map", "", "", "", axis, axis, np.zeros((2, 3)), "heat")
    with pytest.raises(BadInput, match="do not count"):
        HeatMap("map", "", "", "", HeatAxis("cells", ("a", "b"), (("all", 3),)), axis, np.zeros((2, 2)), "heat")
    flat = HeatMap("map", "", "", "", axis, axis, np.full((2, 2), np.nan), "heat")
    assert flat.span == (0.0, 1.0)


def test_many_cells_are_named_sparingly() -> None:
    assert len(HeatAxis("cells", tuple(map(str, range(50)))).ticks) <= 9
    many = HeatAxis("cells", tuple(map(str, range(100))), tuple((str(i), 1) for i in range(100)))
    assert len(many.ticks) <= 27


def test_figures_of_what_was_measured_and_of_nothing() -> None:
    assert figures.velocity(Material("empty")) is None
    assert figures.decay(Material("empty")) is None
    epochs = np.array([0.0, 1.0, 2.0])
    values = np.array([[4.0, 2.0, 1.0], [8.0, 2.0, 0.5], [np.nan] * 3])
    material = Material(
        "run",
        measured={"kernel_velocity": Measured(epochs, np.array([[0.3, 0.1, np.nan]]))},
        spread={"kernel_eigenvalues": Spread(epochs, values, ("1", "2", "3"))},
    )
    decay = figures.decay(material)
    assert [series.name for series in decay.series] == ["epoch 0", "epoch 1"]
    assert decay.series[1].y.tolist() == [1.0, 0.25, 0.0625]
    assert [series.name for series in figures.eigenvalues(material).series] == [f"eigenvalue {i}" for i in (1, 2, 3)]
    assert figures.velocity(material).series[0].y[:2].tolist() == [0.3, 0.1]


def test_ranks_that_few_samples_do_not_have_are_left_out() -> None:
    values = np.array([[0.1, 0.5, 0.8, 1.0, np.nan], [0.2, 0.6, 0.9, 1.0, np.nan]])
    spread = Spread(np.array([0.0, 1.0]), values, ("1", "2", "3", "4", "5"))
    shown = figures.label_energy(Material("run", spread={"kernel_label_energy": spread}))
    assert [series.name for series in shown.series] == ["first 1", "first 2", "first 4"]
    assert shown.series[2].y.tolist() == [1.0, 1.0]
