"""The study of the taxonomy in seconds: its stacks beside plain loops, its table, its claims."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import landform as lf
from landform import diagnosis, store
from landform.errors import BadInput
from landform.layout import Layout
from landform.report._page import study_page
from landform.report._taxonomy_study_page import gather
from landform.studies import read_claims
from landform.studies._taxonomy import TAXONOMY, parts_of, taxonomy_cells, taxonomy_study
from landform.studies._taxonomy_claims import claims_of_taxonomy
from landform.studies._taxonomy_measure import _mixed, _sharpness, measure_group, signed
from landform.studies._taxonomy_protocol import SCALES, Block, Cell, Pruning, TaxonomyProtocol
from landform.studies._taxonomy_pruning import magnitude_mask, pruned, regimes
from landform.studies._taxonomy_stacks import bends, retrain, train_own
from landform.studies._taxonomy_table import grids_of, moved, read_own_table, table_rows
from landform.training import Recipe, train
from landform.training._noise import order, seed_of

TINY = TaxonomyProtocol(
    data="digits",
    model="mlp",
    model_options={"depth": 1},
    recipe=Recipe(epochs=3, lr=0.05),
    blocks=(
        Block((2, 4, 6, 10), (20, 40), amounts=(8,), noises=(0.0, 0.2)),
        Block((4,), (20, 40), amounts=(8, 4), noises=(0.0,)),
        Block((4,), (20, 40), amounts=(8,), noises=(0.0, 0.5)),
    ),
    pruning=Pruning(6, 20, epochs=(1, 2), densities=(0.1, 0.2, 0.5, 0.9), again=1),
    seeds=2,
    steps=3,
    samples=30,
    mixed=2,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taxonomy") / "here"
    told: list[str] = []
    taxonomy_study(folder, protocol=TINY, device="cpu", say=told.append)
    cells = taxonomy_cells(folder)
    far = sum(abs(value) > 1 for value in moved(cells))
    assert any(f"of {far} of {len(cells)} cells moves by more than 1 point" in text for text in told) == (far > 0)
    return folder


def test_every_cell_is_trained_and_measured_once(study: Path) -> None:
    cells = taxonomy_cells(study)
    assert len(cells) == len(TINY.cells()) == 20
    for cell in cells:
        assert [run["seed"] for run in cell["runs"]] == [0, 1]
        assert all(run["eigenvalue"] > 0 and run["trace"] > 0 and run["converged"] for run in cell["runs"])
        assert len(cell["curves"]) == len(cell["cka"]) == len(cell["distance"]) == 1
        (curve,) = cell["curves"]
        ends = [pytest.approx(run["train_error"], abs=1e-3) for run in cell["runs"]]
        assert [curve["curve"][0], curve["curve"][-1]] == [curve["line"][0], curve["line"][-1]] == ends
    assert any(cell["curves"][0]["half"] != cell["curves"][0]["curve"] for cell in cells)
    names = [unit.name for unit in parts_of(TINY, study, "cpu")]
    assert len(set(names)) == len(names) == 1 + 5
    assert len(parts_of(replace(TINY, apart=True), study, "cpu")) == 1 + 10


def test_the_table_says_what_was_measured(study: Path) -> None:
    table, cells = read_own_table(study, "digits"), taxonomy_cells(study)
    assert len(table) == 20
    wanted = {*diagnosis.MEASURES, *diagnosis.TESTED, "width", "parameters", "data", "batch_size", "label_noise"}
    assert wanted <= set(table.columns)
    for row in range(len(table)):
        knobs = ("width", "data", "batch_size", "label_noise")
        (cell,) = [c for c in cells if all(c[name] == table[name][row] for name in knobs)]
        mean = np.mean([run["test_accuracy"] for run in cell["runs"]])
        assert table["test_accuracy"][row] == pytest.approx(mean, rel=1e-5)
        top = np.log(np.mean([run["eigenvalue"] for run in cell["runs"]]))
        assert table["log_eigenvalue"][row] == pytest.approx(top, abs=1e-4)
        curve = cell["curves"][0]["curve"]
        middle = (curve[0] + curve[-1]) / 2
        furthest = max(range(5), key=lambda place: abs(middle - curve[place]))
        assert table["connectivity"][row] == pytest.approx(middle - curve[furthest], abs=1e-3)
        assert table["curve_error"][row] == pytest.approx(max(curve[1:4]), abs=1e-3)
    grids = grids_of(table)
    assert {name: grid.load for name, grid in grids.items()} == {
        "width": "width", "noise": "width", "labels": "label_noise", "data": "data",
    }  # fmt: skip
    assert grids["noise"].fixed["label_noise"] == 0.2
    assert grids["labels"].fixed["width"] == 4


def test_answers_follow_from_the_cells_beside_with_the_same_noise(study: Path) -> None:
    table = read_own_table(study, "digits")
    for row in range(len(table)):

        def won(knob: str, up: bool, row: int = row) -> float:
            same = [n for n in ("width", "data", "batch_size", "label_noise") if n != knob]
            among = [
                other for other in range(len(table))
                if all(table[n][other] == table[n][row] for n in same)
                and (table[knob][other] >= table[knob][row] if up else table[knob][other] <= table[knob][row])
            ]  # fmt: skip
            return float(max(table["test_accuracy"][other] for other in among) - table["test_accuracy"][row])

        hotter, colder, wider = won("batch_size", False), won("batch_size", True), won("width", True)
        found = table.labels["temperature"][row]
        assert found == ("small" if hotter > colder else "large" if hotter < colder else "optimal")
        best = max(hotter, colder)
        expected = "width" if wider > best else "batch" if wider < best else "optimal"
        # With half of the labels wrong there is but one width.
        assert table.labels["width-or-batch"][row] == ("" if table["label_noise"][row] == 0.5 else expected)


def test_a_study_goes_on_and_refuses_another(study: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (study / "results").iterdir()}
    claims = [claim.to_json() for claim in read_claims(study)]
    (study / "results" / "pruning.json").unlink()
    again = taxonomy_study(study, protocol=TINY, device="cpu")
    assert [claim.to_json() for claim in again] == claims
    after = {path.name: path.stat().st_mtime_ns for path in (study / "results").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"pruning.json"}
    with pytest.raises(BadInput, match="another"):
        taxonomy_study(study, protocol=replace(TINY, seeds=3), device="cpu")
    with pytest.raises(BadInput, match="no scale 'huge'"):
        taxonomy_study(study, scale="huge")


def test_protocols_survive_json() -> None:
    for protocol in (*SCALES.values(), TINY):
        assert TAXONOMY.read(json.loads(json.dumps(protocol.to_json()))) == protocol
    small = SCALES["small"]
    assert len(small.cells()) >= 80
    assert small.seeds == 4
    with pytest.raises(BadInput, match="2 networks"):
        replace(TINY, seeds=1)
    with pytest.raises(BadInput, match="begin"):
        replace(TINY, begin="somewhere")  # type: ignore[arg-type]


def test_a_stack_with_labels_of_their_own_is_trained_as_each_alone() -> None:
    sets = [TINY.dataset(8, noise) for noise in (0.0, 0.2, 0.2)]
    nets = [TINY.net(data, 6, seed) for seed, data in enumerate(sets)]
    recipes = [replace(TINY.recipe, batch_size=20, seed=seed) for seed in range(3)]
    plain = [train(copy.deepcopy(net), data, recipe) for net, data, recipe in zip(nets, sets, recipes, strict=True)]
    targets = [data.train.targets for data in sets]
    assert 0 < int((targets[0] != targets[1]).sum()) == round(0.2 * len(targets[0]))
    found = train_own(nets, sets[0].train.inputs, targets, recipes, "cpu")
    assert found[0].how.stack
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one.point, other.point, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def pairs() -> tuple[Any, lf.Landscape, torch.Tensor]:
    data = TINY.dataset(8)
    nets = [TINY.net(data, 6, seed) for seed in range(4)]
    landscape = lf.Landscape(nets[0], data, device="cpu")
    return data, landscape, torch.stack([landscape.layout.point(net) for net in nets])


def test_one_bend_is_that_of_a_plain_curve(pairs: tuple[Any, lf.Landscape, torch.Tensor]) -> None:
    data, landscape, points = pairs
    recipe = Recipe(batch_size=32, optimizer="adam", lr=0.02, schedule="cosine")
    a, b = points[:2]
    plain = lf.paths.curve(landscape, a, b, steps=9, recipe=recipe, seed=5, positions=3, refine=0)
    x, y = data.train.inputs, data.train.targets
    found = bends(landscape, [(a, b)], [(a + b) / 2], [y], x, recipe, 9, seed=5)
    torch.testing.assert_close(found[0], plain.nodes[1], rtol=1e-4, atol=1e-5)


def test_a_stack_of_bends_is_a_plain_loop_with_the_same_draws(
    pairs: tuple[Any, lf.Landscape, torch.Tensor],
) -> None:
    data, landscape, points = pairs
    recipe = Recipe(batch_size=32, optimizer="adam", lr=0.02, schedule="cosine")
    x, y = data.train.inputs, data.train.targets
    ends = [(points[i], points[j]) for i, j in ((0, 1), (1, 2), (2, 3), (3, 0))]
    own = [y, y.flip(0), y, y]
    found = bends(landscape, ends, [(a + b) / 2 for a, b in ends], own, x, recipe, 6, seed=2)
    per_epoch = recipe.steps_per_epoch(len(x))
    rates = replace(recipe, epochs=6 / per_epoch).rates(range(6), per_epoch)
    net = copy.deepcopy(landscape._model)
    layout = Layout.of(net)
    for (a, b), labels, bend in zip(ends, own, found, strict=True):
        free = ((a + b) / 2).requires_grad_()
        adam = torch.optim.Adam([free])
        for step in range(6):
            epoch, place = divmod(step, per_epoch)
            at = order(len(x), 2, epoch)[32 * place : 32 * (place + 1)]
            torch.manual_seed(seed_of((2,) * len(ends), "dropout", step))
            t = float(torch.rand(1))
            point = (1 - t) ** 2 * a + 2 * t * (1 - t) * free + t**2 * b
            outputs = torch.func.functional_call(net, layout.views(point), (x[at],))
            adam.param_groups[0]["lr"] = float(rates[step])
            adam.zero_grad()
            F.cross_entropy(outputs, labels[at]).backward()
            adam.step()
        torch.testing.assert_close(bend, free.detach(), rtol=1e-4, atol=1e-5)


def test_bends_of_networks_with_batchnorm_are_those_of_plain_curves() -> None:
    data = lf.data.digits(per_class=4, flat=False)
    nets = [lf.models.small_cnn(inputs=(1, 8, 8), classes=10, width=2, norm="batch", seed=seed) for seed in range(2)]
    landscape = lf.Landscape(nets[0], data, device="cpu")
    a, b = (landscape.layout.point(net) for net in nets)
    recipe = Recipe(batch_size=16, lr=0.01)
    x, y = data.train.inputs, data.train.targets
    found = bends(landscape, [(a, b)], [(a + b) / 2], [y], x, recipe, 2, seed=1)
    plain = lf.paths.curve(landscape, a, b, steps=2, recipe=recipe, seed=1, positions=3, refine=0)
    torch.testing.assert_close(found[0], plain.nodes[1])


def test_pruned_networks_keep_their_zeros_and_train_as_masked_ones() -> None:
    data = TINY.dataset(8)
    net = TINY.net(data, 6, 0)
    layout = Layout.of(net)
    point = layout.point(net)
    masks = [magnitude_mask(layout, point, density) for density in (0.25, 0.5, 0.5)]
    for slot in layout.slots:
        kept = masks[0][slot.start : slot.stop]
        if len(slot.shape) < 2:
            assert bool(kept.all())
        else:
            sizes = point[slot.start : slot.stop].abs()
            assert int(kept.sum()) == round(0.25 * slot.size)
            assert float(sizes[kept == 1].min()) >= float(sizes[kept == 0].max())
    recipes = [Recipe(epochs=2, batch_size=20, lr=0.05, seed=seed) for seed in range(3)]
    x, y = data.train.inputs, data.train.targets
    found = retrain(net, [point] * 3, masks, y, x, recipes, "cpu")
    assert bool((found[torch.stack(masks) == 0] == 0).all())
    free = (point * masks[1]).clone()
    momentum = torch.zeros_like(free)
    for step in range(recipes[1].steps(len(x))):
        epoch, place = divmod(step, recipes[1].steps_per_epoch(len(x)))
        at = order(len(x), 1, epoch)[20 * place : 20 * (place + 1)]
        leaf = free.clone().requires_grad_()
        F.cross_entropy(torch.func.functional_call(net, layout.views(leaf), (x[at],)), y[at]).backward()
        assert leaf.grad is not None
        momentum = 0.9 * momentum + leaf.grad * masks[1]
        free = free - 0.05 * momentum
    torch.testing.assert_close(found[1], free, rtol=1e-4, atol=1e-5)


def test_sharpness_is_that_of_the_dense_hessian(pairs: tuple[Any, lf.Landscape, torch.Tensor]) -> None:
    _, landscape, points = pairs
    few = landscape.subset(25)
    found = _sharpness(few, points[1])
    dense = few.hessian(points[1]).dense().double()
    assert found["eigenvalue"] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=5e-3)
    assert found["trace"] == pytest.approx(float(dense.trace()), rel=1e-3)
    bent = lf.models.mlp(inputs=(64,), classes=10, width=2, depth=1, activation="tanh", seed=0)
    landscape = lf.Landscape(bent, TINY.dataset(1), device="cpu")
    exact = float(landscape.hessian(landscape.here).dense().trace())
    assert _sharpness(landscape, landscape.here)["trace"] == pytest.approx(exact, rel=0.25)


def test_similarity_is_measured_between_training_samples(pairs: tuple[Any, lf.Landscape, torch.Tensor]) -> None:
    data = pairs[0]
    inputs, _ = _mixed(data, 2)
    assert inputs.shape == (2 * len(data.train), 64)
    again, _ = _mixed(data, 2)
    assert inputs.equal(again)
    apart = torch.cdist(inputs, data.train.inputs).min(1).values > 0.1
    assert float(apart.float().mean()) > 0.9  # a sample may be mixed with itself


def test_networks_that_diverge_leave_their_cell_empty(tmp_path: Path) -> None:
    wild = replace(TINY, recipe=replace(TINY.recipe, lr=1e30))
    cells = [Cell(4, batch, 8, 0.0) for batch in (10, 20)]
    measure_group(tmp_path, wild, "cpu", cells, "wild")
    found = store.read_json(tmp_path / "results" / "wild.json")["cells"]
    assert [cell["curves"] for cell in found] == [[], []]
    rows = table_rows(found, wild.steps)
    assert all(row["test_acc"] is None and row["mode_connectivity"] is None and row["cka"] is None for row in rows)


def test_random_bends_begin_elsewhere(tmp_path: Path) -> None:
    cells = [Cell(4, 40, 8, 0.0)]
    random = replace(TINY, begin="random")
    for name, protocol in (("linear", TINY), ("random", random)):
        measure_group(tmp_path, protocol, "cpu", cells, name)
    linear, fresh = (store.read_json(tmp_path / "results" / f"{n}.json")["cells"][0] for n in ("linear", "random"))
    assert linear["runs"] == fresh["runs"]
    assert linear["curves"][0]["half"] != fresh["curves"][0]["half"]


def test_the_sign_of_connectivity() -> None:
    assert signed([1.0, 5.0, 30.0, 4.0, 3.0]) == -28.0
    assert signed([10.0, 4.0, 3.0, 4.0, 12.0]) == 8.0
    assert signed([2.0, 2.0, 2.0]) == 0.0


def _cell(width: int, batch: int, noise: float, **values: float) -> dict[str, Any]:
    """A cell made up."""
    run = {"train_loss": values["loss"], "train_error": 100 * values["loss"], "test_loss": 1.0,
           "test_accuracy": values["accuracy"], "eigenvalue": values["sharp"], "trace": 3 * values["sharp"],
           "converged": True}  # fmt: skip
    ends = 100 * values["loss"]
    path = [ends, ends, ends - values["mc"], ends, ends]
    curve = {"seeds": [0, 1], "half": [*path[:2], path[2] + 3, *path[3:]], "curve": path, "line": path}
    return {
        "width": width, "batch_size": batch, "data": 100, "label_noise": noise, "parameters": 10 * width,
        "runs": [{"seed": 0, **run}, {"seed": 1, **run}], "curves": [curve], "cka": [values["cka"]], "distance": [1.0],
    }  # fmt: skip


def _claims(folder: Path, cells: list[dict[str, Any]], cut: list[dict[str, Any]]) -> dict[str, Any]:
    from landform.studies._taxonomy_table import write_table

    write_table(folder, table_rows(cells, 10))
    table = read_own_table(folder, "made up")
    return {claim.id: claim for claim in claims_of_taxonomy(TINY, table, cells, cut, "own")}


def test_claims_follow_the_numbers(tmp_path: Path) -> None:
    widths, batches = (4, 8, 16, 32, 64), (16, 32, 64)
    clean = [
        _cell(w, b, 0.0, loss=0.001, accuracy=80 + w / 8, sharp=100 / w, mc=-40 / w, cka=0.5 + w / 200)
        for w in widths for b in batches
    ]  # fmt: skip
    # Cold cells of the noisy grid are trained to zero loss: flat, poorly connected, worse.
    noisy = [
        _cell(w, b, 0.1, loss=0.001 if b == 64 else 0.4, accuracy=70 if b == 64 else 78, sharp=1 if b == 64 else 5,
              mc=-9 if b == 64 else 1, cka=0.5)
        for w in widths for b in batches
    ]  # fmt: skip
    cut = [
        {"density": d, "epochs": e, "train_error": [1.0] * 3, "cka": [0.9, 0.95, 0.99],
         "test_accuracy": [(60 + 10 * (e == 2) if d == 0.1 else 90 - 5 * (e == 2)) + s for s in (0.0, 0.1, 0.2)],
         "connectivity": [-10 * (1 - d)] * 3}
        for d in (0.1, 0.2, 0.5, 0.8) for e in (2, 20)
    ]  # fmt: skip
    held = _claims(tmp_path, clean + noisy, cut)
    assert len(held) == 7 + 3 + 4 + 2 + 2
    sweep = ("sweep-sharpness", "sweep-connectivity", "sweep-similarity", "sweep-accuracy")
    assert [held[id].verdict for id in sweep] == ["reproduced"] * 4
    assert held["sweep-sharpness"].value == pytest.approx(-1.0)
    assert held["sweep-accuracy"].value == pytest.approx(1.0)
    assert held["noise-column"].verdict == "reproduced"
    assert held["noise-column"].value == pytest.approx(8.0)
    assert held["C3-noise"].verdict == "reproduced"
    assert held["steps"].value == 1.0
    assert held["pruning-density"].verdict == "reproduced"
    assert held["pruning-temperature"].verdict == "reproduced"
    assert held["pruning-temperature"].value == pytest.approx(15.0)
    assert regimes(cut, -1.0, 0.97) == ["I"] * 8
    assert regimes(cut, -6.0, 0.9) == ["I"] * 4 + ["II-B"] * 4
    other = [{**cell, "width": 256 // cell["width"]} for cell in clean]
    turned = _claims(tmp_path, other + [{**c, "label_noise": 0.0, "data": 50} for c in noisy], [])
    assert [turned[id].verdict for id in sweep] == ["contradicted"] * 4
    assert "noise-column" not in turned
    assert "pruning-density" not in turned


def test_the_page_has_every_grid(study: Path, tmp_path: Path) -> None:
    material = gather(study)
    names = [figure.name for figure in material.figures]
    assert len(set(names)) == len(names)
    shown = ("sweep", "map-connectivity", "noise-map-test-accuracy", "data-map-similarity", "labels-map-connectivity",
             "steps", "pruning-connectivity")  # fmt: skip
    assert set(shown) <= set(names)
    assert "40 networks" in material.sentence
    assert str(study) not in json.dumps(material.settings) + material.sentence + material.command
    page = study_page(material)
    assert "Pruned networks" in page
    assert "mc after 6 steps" in page
    cells, cut = taxonomy_cells(study), pruned(study)
    assert len(cut) == 8
    found = claims_of_taxonomy(TINY, read_own_table(study, "digits"), cells, cut, "own")
    assert [claim.to_json() for claim in found] == [claim.to_json() for claim in material.claims]
    empty = tmp_path / "empty"
    store.make_folder(empty)
    store.write_json(empty / "study.json", store.read_json(study / "study.json"))
    with pytest.raises(BadInput, match="holds too few results yet"):
        gather(empty)


def test_numbers_that_are_missing_stay_out_of_means(study: Path) -> None:
    cells: list[Mapping[str, Any]] = taxonomy_cells(study)
    first = copy.deepcopy(dict(cells[0]))
    first["runs"][0] = {"seed": 0, "train_loss": None, "train_error": None, "test_loss": None, "test_accuracy": None}
    (row,) = table_rows([first], 3)
    assert row["test_acc"] == first["runs"][1]["test_accuracy"]
    assert row["hessian_top"] == first["runs"][1]["eigenvalue"]
    assert row["test_acc_std"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in row.values())
