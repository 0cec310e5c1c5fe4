"""The probe of children, and probes that look at all sets, on a real small family of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import landform as lf
from landform import functions, kernel, paths
from landform.probes import Moment, Probe, Value, get
from landform.survey import survey


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, lf.Landscape]]:
    folder = tmp_path_factory.mktemp("family") / "parent"
    data = lf.data.digits(per_class=12)
    net = lf.models.build("mlp", inputs=(1, 8, 8), classes=10, width=10, depth=2, seed=0)
    recipe = lf.Recipe(epochs=4, batch_size=20, lr=0.2, momentum=0.5)
    recording = lf.Recording(at=[0, 6, 12, 24], resumable_at=[0, 12])
    lf.train(net, data, recipe, out=folder, recording=recording, device="cpu")
    lf.spawn(folder, net, data, at=[0, 2], children=3, device="cpu")
    landscape = lf.Landscape(net, data, device="cpu")
    return folder, {"train": landscape, "test": landscape.on(data.test)}


def test_the_probe_is_the_mean_over_pairs(family: tuple[Path, dict[str, lf.Landscape]], tmp_path: Path) -> None:
    folder, sets = family
    atlas = survey(folder, sets, probes=["children"], out=tmp_path)
    assert atlas.notes == ()
    assert atlas["children_barrier"].coords["time"].tolist() == [0.0, 2.0]
    run = lf.Trajectory(folder)
    kin = [child for child in run.children if child.parent is not None and child.parent["step"] == 12]
    points = torch.stack([child.points[-1] for child in kin])
    assert len(points) == 3
    pairs = [(0, 1), (0, 2), (1, 2)]
    for row, landscape in enumerate(sets.values()):
        lines = [paths.barrier(landscape, points[i], points[j], steps=21, refine=0) for i, j in pairs]
        seen = functions.compare_all(landscape, points, patterns=True)
        expected = {
            "children_barrier": np.mean([line.height for line in lines]),
            "children_barrier_error": np.mean([line.error_height for line in lines]),
            "children_error": float(landscape.error(points).mean()),
            "children_disagreement": np.mean([float(seen.disagreement[i, j]) for i, j in pairs]),
            "children_distance": np.mean([float((points[i] - points[j]).norm()) for i, j in pairs]),
        }
        for name, value in expected.items():
            assert atlas[name].values[row, 1] == pytest.approx(value, rel=1e-5), name
        curve = atlas["children_error_line"].values[row, 1]
        assert curve == pytest.approx(np.mean([line.errors.numpy() for line in lines], axis=0))
    assert 0 < atlas["children_kernel_distance"].values[0, 1] < 1
    assert 0 < atlas["children_angle"].values[0, 0] < 180
    assert kernel.distance(torch.eye(2), torch.eye(2)) == 0


def test_it_is_taken_again_when_there_are_other_children(
    family: tuple[Path, dict[str, lf.Landscape]], tmp_path: Path
) -> None:
    folder, sets = family
    survey(folder, sets["train"], probes=["children"], out=tmp_path)
    before = {each.file: each.seconds for each in lf.Atlas(tmp_path).results("children_barrier")}
    survey(folder, sets["train"], probes=["children"], out=tmp_path)
    assert {each.file: each.seconds for each in lf.Atlas(tmp_path).results("children_barrier")} == before
    child = lf.Trajectory(folder).children[0]
    gone = child.folder.rename(tmp_path / "gone")
    try:
        survey(folder, sets["train"], probes=["children"], out=tmp_path)
        after = {each.file: each.seconds for each in lf.Atlas(tmp_path).results("children_barrier")}
        assert sum(after[file] != before[file] for file in before) == 1
    finally:
        gone.rename(child.folder)


def test_a_run_without_children_is_told_so(tmp_path: Path) -> None:
    data = lf.data.digits(per_class=5)
    net = lf.models.build("mlp", inputs=(1, 8, 8), classes=10, width=4, depth=1, seed=0)
    lf.train(net, data, lf.Recipe(epochs=1), out=tmp_path / "run", device="cpu")
    atlas = survey(tmp_path / "run", lf.Landscape(net, data, device="cpu"), probes=["children"])
    assert atlas.notes == ("children was not measured: no record has beside it what it needs.",)


def between(moment: Moment) -> Mapping[str, Value]:
    losses = [float(one.loss(moment.record.point)) for one in moment.sets.values()]
    return {"gap": Value(torch.tensor(losses), ("on",), {"on": list(moment.sets)})}


def test_a_probe_of_all_sets_is_taken_once_and_again_when_one_of_them_changes(
    family: tuple[Path, dict[str, lf.Landscape]], tmp_path: Path
) -> None:
    folder, sets = family
    probe = Probe("gap", between, needs=("sets",), times=2)
    atlas = survey(folder, sets, probes=[probe], out=tmp_path)
    assert atlas["gap"].dims == ("time", "on")
    assert atlas["gap"].coords["on"].tolist() == ["train", "test"]
    first = [each.basis for each in atlas.results("gap")]
    atlas = survey(folder, {**sets, "test": sets["test"].subset(5)}, probes=[probe], out=tmp_path)
    assert all(basis not in first for basis in (each.basis for each in atlas.results("gap")))


def test_the_onset_probe_along_a_run(family: tuple[Path, dict[str, lf.Landscape]], tmp_path: Path) -> None:
    folder, sets = family
    quick = get("onset").using(epochs=1, samples=30).at((0.0, 2.0))
    atlas = survey(folder, sets, probes=[quick], out=tmp_path)
    assert atlas.notes == ()
    point = lf.Trajectory(folder).at(epoch=2).point
    direct = kernel.onset(sets["train"], point, sets, epochs=1, samples=30, lr=0.2 / 5)
    assert atlas["onset_lr"].values.tolist() == pytest.approx([0.04, 0.04])
    assert atlas["onset_linearised"].values[1].tolist() == pytest.approx(direct.linearised.last.tolist())
    assert atlas["onset_machine"].values[1].tolist() == pytest.approx(direct.machine.tolist())


def test_the_plane_of_a_family(family: tuple[Path, dict[str, lf.Landscape]], tmp_path: Path) -> None:
    folder, sets = family
    probe = get("family_plane").using(steps=7).at((2.0,))
    atlas = survey(folder, sets["train"], probes=[probe], out=tmp_path)
    assert atlas.notes == ()
    run = lf.Trajectory(folder)
    start = run.at(epoch=2).point
    kin = [child for child in run.children if child.parent is not None and child.parent["step"] == 12][:2]
    alphas, betas = (atlas[f"family_plane_{axis}s"].values[0] for axis in ("family_alpha", "family_beta"))
    ways = atlas["family_plane_ways"].values[0]
    ends = [ways[1 + i][~np.isnan(ways[1 + i]).any(1)][-1] for i in range(2)]
    # The first child's end lies on the first axis; distances on the plane are those between points.
    assert ends[0][1] == pytest.approx(0, abs=1e-4)
    assert ends[0][0] == pytest.approx(float((kin[0].points[-1] - start).norm()), rel=1e-4)
    apart = float((kin[0].points[-1] - kin[1].points[-1]).norm())
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(apart, rel=1e-4)
    # The surface is the landscape there.
    u = (kin[0].points[-1] - start) / (kin[0].points[-1] - start).norm()
    v = kin[1].points[-1] - start
    v = v - (v @ u) * u
    point = start + float(alphas[2]) * u + float(betas[5]) * v / v.norm()
    assert atlas["family_plane_loss"].values[0, 2, 5] == pytest.approx(float(sets["train"].loss(point)), rel=1e-4)
    assert 0 < float(atlas["family_plane_share"].values[0]) <= 1
