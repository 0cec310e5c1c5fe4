"""A survey gives what a plain loop of direct calls gives, and measures nothing twice."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SmallRun, calls, counting_probe, record, write_run
from torch import nn

from landform import store
from landform.atlas import Atlas
from landform.engine import InProcess, Progress, Result, Unit
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import DEFAULT, Moment, Probe, Value, get
from landform.survey import survey

STEPS = list(range(0, 17, 2))


def raising(moment: Moment, at: int) -> dict[str, float]:
    if moment.record.step == at:
        raise RuntimeError("no such luck\nand more")
    return {"lucky": 1.0}


def random_number(moment: Moment) -> dict[str, torch.Tensor]:
    return {"random": torch.rand(())}


def whole(moment: Moment) -> dict[str, float]:
    return {"whole": float(len(moment.trajectory))}


@pytest.mark.parametrize("kind", ["plain_run", "batchnorm_run"])
def test_it_equals_a_plain_loop(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run: SmallRun = request.getfixturevalue(kind)
    atlas = survey(run.folder, run.sets, out=tmp_path)
    trajectory = run.trajectory
    points = {record.step: record.point for record in trajectory.records if not record.partner}
    assert list(points) == STEPS
    for name, landscape in run.sets.items():
        for quantity, function in (("loss", landscape.loss), ("error", landscape.error)):
            expected = [float(function(point)) for point in points.values()]
            found = atlas[quantity]
            assert found.dims == ("set", "time")
            assert list(found.values[list(found.coords["set"]).index(name)]) == expected
        expected = [float(landscape.gradient(point).double().norm()) for point in points.values()]
        np.testing.assert_allclose(atlas["gradient_norm"].values[list(run.sets).index(name)], expected, rtol=1e-12)
    path = torch.stack(list(points.values())).double()
    np.testing.assert_allclose(atlas["distance"].values, (path - path[0]).norm(dim=1), rtol=1e-12)
    np.testing.assert_allclose(
        atlas["relative_distance"].values, (path - path[0]).norm(dim=1) / path[0].norm(), rtol=1e-12
    )
    np.testing.assert_allclose(atlas["parameter_norm"].values, path.norm(dim=1), rtol=1e-12)
    steps = path.diff(dim=0)
    cosines = torch.nn.functional.cosine_similarity(steps[:-1], steps[1:], dim=1)
    np.testing.assert_allclose(atlas["step_cosine"].values, cosines, rtol=1e-9)
    assert list(atlas["step_cosine"].coords["step"]) == STEPS[1:-1]
    assert list(atlas["loss"].coords["time"]) == [step / 4 for step in STEPS]
    assert atlas["distance"].dims == ("time",)
    assert atlas.notes == ()


def test_one_landscape_is_the_training_set_and_progress_is_told(small_run: SmallRun) -> None:
    told: list[tuple[int, int]] = []
    atlas = survey(
        small_run.trajectory, small_run.train, probes="loss", progress=lambda done, total: told.append((done, total))
    )
    assert atlas["loss"].dims == ("time",)
    assert str(atlas["loss"].coords["set"]) == "train"
    assert told == [(done, len(STEPS)) for done in range(len(STEPS) + 1)]
    stored = atlas.results("loss")[3]
    assert (stored.probe, stored.set, stored.step, stored.epoch) == ("loss", "train", 6, 1.5)
    assert stored.dtype == "float32"
    assert stored.seconds > 0
    assert stored.seed is None


def test_nothing_is_measured_twice_and_only_what_changed_again(small_run: SmallRun, tmp_path: Path) -> None:
    log = tmp_path / "log"
    probes = [counting_probe(log, "a"), counting_probe(log, "b")]
    survey(small_run.folder, small_run.train, probes=probes)
    assert len(calls(log)) == 2 * len(STEPS)
    told: list[tuple[int, int]] = []
    survey(small_run.folder, small_run.train, probes=probes, progress=lambda *at: told.append(at))
    assert len(calls(log)) == 2 * len(STEPS)
    assert told == [(2 * len(STEPS), 2 * len(STEPS))]

    log.unlink()
    atlas = survey(small_run.folder, small_run.train, probes=[probes[0], probes[1].using(scale=2.0)])
    assert sorted(calls(log)) == sorted(f"b {step}" for step in STEPS)
    np.testing.assert_allclose(atlas["b"].values, 2 * atlas["a"].values)
    assert atlas.settings("b") == {"scale": 2.0}

    log.unlink()
    survey(small_run.folder, small_run.train, probes=[replace(probes[0], version=2)])
    assert sorted(calls(log)) == sorted(f"a {step}" for step in STEPS)


def test_another_landscape_is_measured_anew_but_not_what_needs_none(small_run: SmallRun, tmp_path: Path) -> None:
    first = survey(small_run.folder, small_run.train, probes=["loss", "distance"])
    before = {stored.file: stored.written for stored in first.stored()}
    values = first["loss"].values
    atlas = survey(small_run.folder, {"train": small_run.test}, probes=["loss", "distance"])
    after = {stored.file: stored.written for stored in atlas.stored()}
    assert set(before) == set(after)
    for file, written in before.items():
        assert (after[file] == written) == file.startswith("distance"), file
    assert not np.array_equal(atlas["loss"].values, values)


def test_a_half_measured_change_is_not_mixed_with_what_was_before(small_run: SmallRun, tmp_path: Path) -> None:
    log = tmp_path / "log"
    survey(small_run.folder, small_run.train, probes=counting_probe(log))
    half = counting_probe(log, scale=3.0).at(3)
    atlas = survey(small_run.folder, small_run.train, probes=half)
    assert list(atlas["sum"].coords["step"]) == [0, 8, 16]
    assert len(atlas.stored()) == len(STEPS)  # the others are kept, for whoever goes back
    log.unlink()
    atlas = survey(small_run.folder, small_run.train, probes=counting_probe(log))
    assert sorted(calls(log)) == ["sum 0", "sum 16", "sum 8"]
    assert list(atlas["sum"].coords["step"]) == STEPS


def test_a_changed_run_is_measured_anew(small_run: SmallRun, tmp_path: Path) -> None:
    log = tmp_path / "log"
    probes = [counting_probe(log), get("distance")]
    old = survey(small_run.folder, small_run.train, probes=probes)["sum"].values
    log.unlink()
    other = record(tmp_path / "other", lr=0.3, steps=12)
    shutil.rmtree(small_run.folder / "points")
    shutil.copytree(other.folder / "points", small_run.folder / "points")
    atlas = survey(small_run.folder, small_run.train, probes=probes)
    assert sorted(calls(log)) == sorted(f"sum {step}" for step in STEPS if 0 < step <= 12)  # both start alike
    assert list(atlas["sum"].coords["step"]) == [step for step in STEPS if step <= 12]
    assert not np.array_equal(atlas["sum"].values[1:], old[1:7])
    assert atlas["distance"].shape == (7,)


def test_a_longer_run_only_adds(plain_run: SmallRun, small_run: SmallRun, tmp_path: Path) -> None:
    files = sorted((small_run.folder / "points").iterdir())
    for file in files[-4:]:
        file.unlink()
    short = survey(small_run.folder, small_run.train, probes=["step_cosine", "parameter_norm"])
    assert short["parameter_norm"].shape == (7,)
    written = {stored.file: stored.written for stored in short.stored()}
    for file in files[-4:]:
        shutil.copy(plain_run.folder / "points" / file.name, file)
    atlas = survey(small_run.folder, small_run.train, probes=["step_cosine", "parameter_norm"])
    assert atlas["parameter_norm"].shape == (9,)
    assert atlas["step_cosine"].shape == (7,)
    assert {s.file: s.written for s in atlas.stored() if s.file in written} == written


def test_times(small_run: SmallRun) -> None:
    distance = get("parameter_norm")
    for times, steps in (("all", STEPS), ("pairs", STEPS[:-1]), (3, [0, 8, 16]), (1, [16]), ((0.9, 2.1, 2.2), [4, 8])):
        atlas = survey(small_run.folder, small_run.train, probes=replace(distance, name="norm").at(times))
        assert list(atlas["parameter_norm"].coords["step"]) == steps, times
        atlas.forget("norm")


def test_partner_and_trajectory(small_run: SmallRun) -> None:
    def gap(moment: Moment) -> dict[str, float]:
        return {"gap": moment.partner.step - moment.record.step}

    probes = [
        Probe("gap", gap, needs=("partner",)),
        Probe("whole", whole, needs=("trajectory",)),
        Probe("never", gap, needs=("partner", "before"), times=1),
    ]
    atlas = survey(small_run.folder, small_run.train, probes=probes)
    assert list(atlas["gap"].values) == [1.0] * 8
    assert list(atlas["whole"].values) == [len(small_run.trajectory)] * 9
    assert atlas.notes == ("never was not measured: no record has beside it what it needs.",)


def test_a_failing_probe_is_noted_and_the_others_go_on(small_run: SmallRun) -> None:
    lucky = Probe("lucky", raising, {"at": 4})
    atlas = survey(small_run.folder, small_run.sets, probes=["loss", lucky])
    assert np.isfinite(atlas["loss"].values).all()
    assert list(atlas["lucky"].coords["step"]) == [step for step in STEPS if step != 4]
    assert atlas.notes == (
        "lucky on train could not be measured at step 4: RuntimeError: no such luck",
        "lucky on test could not be measured at step 4: RuntimeError: no such luck",
    )
    assert survey(small_run.folder, small_run.train, probes=[replace(lucky, settings={"at": -1})]).notes == ()


def test_looking_at_what_was_not_asked_for_is_noted(small_run: SmallRun) -> None:
    atlas = survey(small_run.folder, small_run.train, probes=[Probe("whole", whole, times=(0,)), "loss"])
    assert "add 'trajectory' to its needs" in atlas.notes[0]
    assert atlas.names() == ("loss",)


def test_without_labels_there_is_no_error_but_the_rest(small_run: SmallRun) -> None:
    inputs = torch.randn(12, 6)
    regression = Landscape(small_run.model, (inputs, torch.randn(12, 3)), loss="mse", device="cpu")
    atlas = survey(small_run.folder, regression)
    assert set(atlas.names()) == {*DEFAULT, "relative_distance"} - {"error"}
    assert atlas.notes == ("error was not measured on train: its targets are not labels, so there is no error.",)


def test_random_draws_do_not_depend_on_what_else_is_measured(small_run: SmallRun, tmp_path: Path) -> None:
    drawing = Probe("random", random_number, needs=())
    state = torch.get_rng_state()
    alone = survey(small_run.folder, small_run.train, probes=[drawing], out=tmp_path / "alone")
    among = survey(small_run.folder, small_run.train, probes=["distance", drawing], out=tmp_path / "among")
    np.testing.assert_array_equal(alone["random"].values, among["random"].values)
    assert len(set(alone["random"].values)) == len(STEPS)
    assert torch.equal(torch.get_rng_state(), state)


def test_points_that_are_not_numbers_are_surveyed(small_run: SmallRun, tmp_path: Path) -> None:
    here = small_run.train.here
    dead, blown = here.clone(), here.clone()
    dead[0], blown[0] = torch.nan, torch.inf
    trajectory = write_run(tmp_path / "diverged", [here, dead, blown, here], small_run.model)
    atlas = survey(trajectory, small_run.train)
    np.testing.assert_array_equal(
        np.isfinite(atlas["loss"].values), [True, False, bool(torch.isfinite(small_run.train.loss(blown))), True]
    )
    np.testing.assert_array_equal(np.isfinite(atlas["distance"].values), [True, False, False, True])
    assert atlas["parameter_norm"].values[2] == np.inf
    assert atlas.notes == ()


def test_damaged_records_are_named_and_passed_over(small_run: SmallRun) -> None:
    files = sorted((small_run.folder / "points").iterdir())
    cut, changed = files[2], files[6]
    cut.write_bytes(cut.read_bytes()[:-9])
    content = bytearray(changed.read_bytes())
    content[-3] ^= 1
    changed.write_bytes(content)
    atlas = survey(small_run.folder, small_run.train, probes=["loss", "parameter_norm"])
    assert any(cut.name in note and "skipped" in note for note in atlas.notes)
    missing = set(STEPS) - set(atlas["parameter_norm"].coords["step"])
    assert missing == {int(cut.stem), int(changed.stem)} & set(STEPS)
    if int(changed.stem) in STEPS:
        assert any(changed.name in note for note in atlas.notes)


class Elsewhere(InProcess):
    """Runs units from last to first, each pickled on its way there and back, as a cluster would."""

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        there = [pickle.loads(pickle.dumps(unit)) for unit in reversed(units)]
        return (pickle.loads(pickle.dumps(result)) for result in super().run(there, progress=progress))


@pytest.mark.parametrize("kind", ["plain_run", "batchnorm_run"])
def test_every_engine_gives_the_same_bits(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run: SmallRun = request.getfixturevalue(kind)
    here = survey(run.folder, run.sets, out=tmp_path / "here")
    there = survey(run.folder, run.sets, out=tmp_path / "there", engine=Elsewhere())
    assert there.names() == here.names()
    for name in here.names():
        np.testing.assert_array_equal(here[name].values, there[name].values)


def test_an_engine_by_name(small_run: SmallRun, tmp_path: Path) -> None:
    here = survey(small_run.folder, small_run.train, probes=["loss"], out=tmp_path / "here")
    named = survey(small_run.folder, small_run.train, probes=["loss"], out=tmp_path / "named", engine="inline")
    np.testing.assert_allclose(named["loss"].values, here["loss"].values, rtol=1e-5)
    with pytest.raises(BadInput, match="no engine 'elsewhere'"):
        survey(small_run.folder, small_run.train, engine="elsewhere")


def test_a_damaged_result_is_measured_again(small_run: SmallRun, tmp_path: Path) -> None:
    log = tmp_path / "log"
    survey(small_run.folder, small_run.train, probes=counting_probe(log))
    log.unlink()
    changed, cut = (small_run.folder / "atlas" / f"sum.{step:09d}.safetensors" for step in (4, 8))
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:50])
    atlas = survey(small_run.folder, small_run.train, probes=counting_probe(log))
    assert sorted(calls(log)) == ["sum 4", "sum 8"]
    assert atlas["sum"].shape == (9,)
    assert atlas.notes == ()


def test_two_surveys_of_one_run_are_refused(small_run: SmallRun) -> None:
    lock = Atlas(small_run.folder).lock()
    try:
        with pytest.raises(BadInput, match="atlas"):
            survey(small_run.folder, small_run.train, probes="loss")
    finally:
        lock.release()
    survey(small_run.folder, small_run.train, probes="loss")


def test_two_probes_of_one_quantity_are_refused(small_run: SmallRun, tmp_path: Path) -> None:
    first = Probe("first", whole, needs=("trajectory",))
    with pytest.raises(BadInput, match="which probe first measures already"):
        survey(small_run.folder, small_run.train, probes=[first, replace(first, name="second")])


def test_misuse_is_one_sentence(small_run: SmallRun, tmp_path: Path) -> None:
    other = Landscape(nn.Linear(6, 3), (torch.randn(4, 6), torch.zeros(4).long()), device="cpu")
    wrong = [
        ({"landscape": other}, "give the model that was trained"),
        ({"landscape": {}}, "empty"),
        ({"landscape": small_run.model}, "give a Landscape"),
        ({"landscape": {"train": small_run.model}}, "is a Sequential"),
        ({"landscape": {"a/b": small_run.train}}, "cannot name a set"),
        ({"probes": ["los"]}, "There is no probe 'los'"),
        ({"probes": [3]}, "is not a probe"),
        ({"probes": []}, "no probe to take"),
        ({"probes": ["loss", "loss"]}, "Two probes are named"),
        ({"budget": 0}, "share of the training's time"),
        ({"budget": float("nan")}, "share of the training's time"),
        ({"run": tmp_path / "nowhere"}, "nowhere"),
    ]
    for changed, said in wrong:
        arguments = {"run": small_run.folder, "landscape": small_run.train, **changed}
        with pytest.raises(BadInput, match=said):
            survey(arguments.pop("run"), arguments.pop("landscape"), **arguments)
    empty = write_run(tmp_path / "empty", [], small_run.model)
    with pytest.raises(BadInput, match="holds no record yet"):
        survey(empty, small_run.train)
    timeless = write_run(tmp_path / "timeless", [small_run.train.here], small_run.model)
    with pytest.raises(BadInput, match="how long training took"):
        survey(timeless, small_run.train, budget=0.5)


def test_values_with_dimensions(small_run: SmallRun) -> None:
    def layers(moment: Moment, kind: str) -> dict[str, Value]:
        views = moment.landscape.layout.views(moment.point)
        norms = torch.stack([view.norm() for name, view in views.items() if kind in name])
        return {"layer_norm": Value(norms, ("layer",), {"layer": [name for name in views if kind in name]})}

    atlas = survey(small_run.folder, small_run.sets, probes=[Probe("layers", layers, {"kind": "weight"})])
    found = atlas["layer_norm"]
    assert found.dims == ("set", "time", "layer")
    assert found.shape == (2, 9, 2)
    assert list(found.coords["layer"]) == ["0.weight", "2.weight"]
    assert atlas.settings("layer_norm") == {"kind": "weight"}


def test_a_set_name_on_disk_is_a_name(small_run: SmallRun) -> None:
    survey(small_run.folder, {"test.1": small_run.test}, probes=["loss"])
    assert (small_run.folder / "atlas" / "loss@test.1.000000004.safetensors").is_file()
    assert store.open_tensors(small_run.folder / "atlas" / "loss@test.1.000000004.safetensors").read("loss").dim() == 0


def test_functions_of_probes_may_be_partial(small_run: SmallRun) -> None:
    atlas = survey(small_run.folder, small_run.train, probes=[Probe("lucky", partial(raising, at=2))])
    assert atlas["lucky"].shape == (8,)
