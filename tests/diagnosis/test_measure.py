import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import diagnosis, paths
from landform.cli import main
from landform.diagnosis import Measured, measure
from landform.errors import BadInput


@pytest.fixture(scope="module")
def landscape():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(1)
    torch.manual_seed(0)
    return lf.Landscape(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (x, y), dtype=torch.float64)


@pytest.fixture(scope="module")
def ends(landscape):
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        point = torch.randn(landscape.layout.size, dtype=torch.float64)
        for _ in range(60):
            point = point - 0.5 * landscape.gradient(point)
        found.append(point)
    return found


@pytest.fixture(scope="module")
def found(landscape, ends):
    return measure(landscape, *ends, steps=40, samples=90)


def test_sharpness_is_that_of_the_whole_hessian(landscape, ends, found):
    def loss(point):
        p = landscape.layout.views(point)
        h = torch.tanh(landscape._data.inputs @ p["0.weight"].T + p["0.bias"])
        return nn.functional.cross_entropy(h @ p["2.weight"].T + p["2.bias"], landscape._data.targets)

    hessians = [torch.autograd.functional.hessian(loss, end) for end in ends]
    top = np.mean([float(torch.linalg.eigvalsh(H)[-1]) for H in hessians])
    trace = np.mean([float(H.trace()) for H in hessians])
    assert found.values["log_eigenvalue"] == pytest.approx(math.log(top), abs=2e-3)
    assert abs(found.values["log_trace"] - math.log(trace)) < 4 * found.errors["log_trace"] + 1e-3
    losses = [float(loss(end)) for end in ends]
    assert found.values["train_loss"] == pytest.approx(np.mean(losses))


def test_connectivity_is_equation_4_on_the_curve_that_rooms_train(landscape, ends, found):
    curve = paths.curve(landscape, *ends, steps=40, positions=5, refine=0).more()
    errors = [float(landscape.error(point)) for point in curve.points(torch.linspace(0, 1, 5))]
    deviation = [(errors[0] + errors[-1]) / 2 - error for error in errors]
    assert found.values["connectivity"] == pytest.approx(100 * max(deviation, key=abs))
    assert found.values["curve_error"] == pytest.approx(100 * max(errors[1:-1]))
    assert found.values["train_error"] == pytest.approx(50 * (errors[0] + errors[-1]))
    assert found.steps == 40
    assert found.values["distance"] == pytest.approx(float((ends[0] - ends[1]).norm()))


def test_similarity_is_one_for_one_function_and_less_for_two(landscape, ends, found):
    views = landscape.layout.views(ends[0])
    order = torch.tensor([4, 2, 0, 1, 3])
    turned = landscape.layout.join(
        {
            "0.weight": views["0.weight"][order],
            "0.bias": views["0.bias"][order],
            "2.weight": views["2.weight"][:, order],
            "2.bias": views["2.bias"],
        }
    )
    same = measure(landscape, ends[0], turned, steps=1, samples=20)
    assert same.values["similarity"] == pytest.approx(1)
    assert 0 < found.values["similarity"] < 0.999


def test_one_network_alone_leaves_out_what_takes_two(landscape, ends):
    alone = measure(landscape, ends[0], samples=30)
    assert set(alone.values) == {"train_loss", "train_error", "log_eigenvalue", "log_trace"}
    assert "need a second network" in alone.notes[-1]


def test_a_curve_that_has_not_settled_is_said(landscape, ends):
    hasty = measure(landscape, *ends, steps=2, samples=20, seed=3)
    more = measure(landscape, *ends, steps=4, samples=20, seed=3)
    for one in (hasty, more):
        assert (abs(one.moved) > 1) == any("has not settled" in note for note in one.notes)


def test_measured_networks_are_diagnosed(found, landscape_table):
    told = diagnosis.diagnose(found, landscape_table)
    assert {"train_loss", "connectivity", "similarity", "log_trace"} <= set(told.measures)
    (sentence,) = [each for each in told.evidence if each.startswith("mode connectivity")]
    assert f"{found.values['connectivity']:.4g}" in sentence
    assert isinstance(found, Measured)


def test_misuse(landscape, ends):
    with pytest.raises(BadInput, match="one and the same"):
        measure(landscape, ends[0], ends[0].clone())
    with pytest.raises(BadInput, match="at least 1 of each"):
        measure(landscape, ends[0], steps=0)
    regression = lf.Landscape(nn.Linear(2, 1), (torch.randn(4, 2), torch.randn(4, 1)), loss="mse")
    with pytest.raises(BadInput, match="targets are no labels"):
        measure(regression, regression.here)
    loader = lf.Landscape(nn.Linear(2, 2), [(torch.randn(4, 2), torch.zeros(4, dtype=torch.long))])
    with pytest.raises(BadInput, match="data in memory"):
        measure(loader, loader.here)


def test_the_command_measures_a_run_and_its_twin(tmp_path, monkeypatch, capsys, landscape_rows):
    monkeypatch.chdir(tmp_path)
    lines = [",".join(landscape_rows[0]), *(",".join(map(str, row.values())) for row in landscape_rows)]
    (tmp_path / "known.csv").write_text("\n".join(lines))
    small = ["--model-option", "width=4", "--data-option", "per_class=6", "--records", "2"]
    assert main(["train", "--out", "run", "--epochs", "3", *small]) == 0
    capsys.readouterr()
    asked = ["diagnose", "run", "--fit-on", "known.csv", "--steps", "5", "--json"]
    assert main([*asked, "--twin"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measured"]["steps"] == 5
    assert "connectivity" in told["measures"]
    runs = [lf.Trajectory(tmp_path / name) for name in ("run", "run/twin")]
    assert not torch.equal(runs[0].points[0], runs[1].points[0])
    recipes = [run.run["settings"]["recipe"] for run in runs]
    assert (recipes[1]["seed"], recipes[0]["seed"]) == (1, 0)
    for words, said in (
        (["run", "run/twin", "--twin"], "folder of one run"),
        (["run", "run", "run"], "two runs at most"),
        (["nowhere"], "nowhere"),
        (["run", "--measure", "mc=1"], "takes one of RUN"),
    ):
        assert main(["diagnose", *words, "--fit-on", "known.csv"]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
