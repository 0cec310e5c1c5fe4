from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from landform import store
from landform.errors import BadInput, Damaged
from landform.layout import Layout
from landform.recording import RecordData, Recorder, RunWriter, Trajectory

STEPS = (0, 1, 2, 5, 10, 14)


def write_run(folder: Path, steps: tuple[int, ...] = STEPS, **options) -> torch.Tensor:
    layout = Layout.of(nn.Linear(3, 2))
    points = torch.randn(len(steps), layout.size, generator=torch.Generator().manual_seed(0))
    writer = RunWriter(folder, layout=layout, epoch=4, settings={"model": "Linear"}, **options)
    for step, point in zip(steps, points, strict=True):
        writer.write(RecordData(step, point, loss=1.0 / (step + 1), curves={"loss": ([step], [1.0 / (step + 1)])}))
    writer.close()
    return points


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    folder = tmp_path_factory.mktemp("trajectory") / "run"
    return folder, write_run(folder)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        3,
        np.int64(2),
        slice(3, 7),
        slice(None),
        slice(-2, None),
        slice(None, None, -2),
        slice(4, 2),
        [0, -1, 2],
        [],
    ],
)
def test_points_are_indexed_like_a_matrix(run, index) -> None:
    folder, points = run
    found = Trajectory(folder).points[index]
    expected = points.numpy()[index if not isinstance(index, list) else np.array(index, dtype=int)]
    assert np.array_equal(found.numpy(), expected)
    assert found.shape == expected.shape


def test_points_and_records_are_sequences(run) -> None:
    trajectory = Trajectory(run[0])
    assert len(trajectory) == len(trajectory.points) == len(trajectory.records) == 6
    assert trajectory.points.shape == (6, 8)
    assert torch.equal(torch.stack(list(trajectory.points)), run[1])
    assert torch.equal(trajectory.points[torch.tensor([1, 3])], run[1][[1, 3]])
    assert [record.step for record in trajectory.records] == list(STEPS)
    assert [record.step for record in trajectory.records[1:3]] == [1, 2]
    for bad in (6, -7, 10**9):
        with pytest.raises(BadInput, match="There are 6 records"):
            trajectory.points[bad]
    for bad in ("a", 1.5, [0.5], None):
        with pytest.raises(BadInput, match="An index must be a whole number"):
            trajectory.points[bad]


@given(epoch=st.floats(-5, 10))
def test_at_finds_the_nearest_record(run, epoch: float) -> None:
    record = Trajectory(run[0]).at(epoch=epoch)
    distances = [abs(step / 4 - epoch) for step in STEPS]
    assert abs(record.epoch - epoch) <= min(distances) + 1e-12
    assert Trajectory(run[0]).at(step=epoch * 4) == record


def test_at_takes_one_time(run) -> None:
    trajectory = Trajectory(run[0])
    assert trajectory.at(step=12).step == 10  # the earlier of two equally near ones
    for bad in ({}, {"epoch": 1, "step": 4}):
        with pytest.raises(BadInput, match="Give one time"):
            trajectory.at(**bad)
    with pytest.raises(BadInput, match="got nan"):
        trajectory.at(epoch=float("nan"))


def test_times_curves_and_names(run) -> None:
    trajectory = Trajectory(run[0])
    assert trajectory.steps == list(STEPS)
    assert trajectory.epochs == trajectory.times == [step / 4 for step in STEPS]
    assert trajectory.curves["loss"][0].tolist() == list(STEPS)
    assert trajectory.curves["loss"][1].tolist() == [1.0 / (step + 1) for step in STEPS]
    assert repr(trajectory).startswith(
        f"Trajectory('{run[0]}': Linear of 8 parameters, 6 records over steps 0 to 14 (epoch 3.5), "
    )
    assert repr(trajectory.records[1]) == "Record(step=1, epoch=0.25, loss=0.5)"
    assert trajectory.damaged == []
    assert trajectory.resumable == []
    assert trajectory.records[0].optimizer is None


def test_a_run_without_a_record_yet(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ())
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.points[:].shape == (0, 8)
    assert trajectory.curves == {}
    assert "0 records over no steps" in repr(trajectory)
    with pytest.raises(BadInput, match="holds no record yet"):
        trajectory.at(epoch=1)


def test_digests_name_what_a_measurement_depends_on(tmp_path: Path) -> None:
    layout = Layout.of(nn.Linear(3, 2))
    zero = torch.zeros(layout.size)
    kinds = [
        RecordData(1, zero),
        RecordData(1, zero, seconds=5.0, loss=3.0, curves={"loss": ([1], [3.0])}),
        RecordData(2, zero),
        RecordData(1, zero + 1),
        RecordData(1, zero, buffers={"mean": torch.ones(2)}),
        RecordData(1, zero, optimizer={"momentum_buffer": zero}),
    ]
    digests = []
    for number, data in enumerate(kinds):
        writer = RunWriter(tmp_path / str(number), layout=layout, epoch=4)
        writer.write(data)
        writer.close()
        digests.append(Trajectory(tmp_path / str(number)).records[0].digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 5
    assert all(len(digest) == 16 for digest in digests)


def test_children(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    assert Trajectory(tmp_path / "run").children == []
    for name in ("b", "a"):
        write_run(tmp_path / "run" / "children" / name, (5, 6), parent={"step": 5, "epoch": 1.25})
    (tmp_path / "run" / "children" / "no-run").mkdir()
    children = Trajectory(tmp_path / "run").children
    assert [child.folder.name for child in children] == ["a", "b"]
    assert children[0].parent == children[0].run["parent"] == {"step": 5, "epoch": 1.25}
    assert Trajectory(tmp_path / "run").parent is None
    description = tmp_path / "run" / "children" / "a" / "run.json"
    description.write_text(description.read_text().replace("1.25", "1.75"))
    trajectory = Trajectory(tmp_path / "run")
    assert [child.folder.name for child in trajectory.children] == ["b"]
    assert trajectory.damaged == [description]


# ---------------------------------------------------------------------------------------------- damage


def test_a_damaged_record_is_named_and_refused_and_the_others_are_read(run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    cut = folder / "points" / "000000002.safetensors"
    cut.write_bytes(cut.read_bytes()[:-3])
    flipped = folder / "points" / "000000010.safetensors"
    data = bytearray(flipped.read_bytes())
    place = data.index(run[1][4].numpy().tobytes())
    data[place + 5] ^= 16
    flipped.write_bytes(data)

    trajectory = Trajectory(folder)
    assert trajectory.steps == list(STEPS)
    assert trajectory.damaged == [cut]
    assert ", 1 damaged)" in repr(trajectory)
    assert trajectory.verify() == trajectory.damaged == [cut, flipped]
    assert torch.equal(trajectory.points[[0, 1, 3, 5]], run[1][[0, 1, 3, 5]])
    for read in (lambda: trajectory.points[2], lambda: trajectory.points[1:4], lambda: trajectory.at(step=2)):
        with pytest.raises(Damaged, match=r"000000002\.safetensors is damaged"):
            read()
    with pytest.raises(Damaged, match=r"000000010\.safetensors is damaged"):
        trajectory.points[4]
    assert trajectory.curves["loss"][0].tolist() == [0, 1, 5, 10, 14]
    assert np.isnan(trajectory.seconds[2])


@settings(deadline=None, max_examples=120)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_any_damage_to_a_record_is_refused(run, tmp_path_factory, where: float, bit: int, cut: bool) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged-run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run[0], folder)
    path = folder / "points" / "000000005.safetensors"
    data = bytearray(path.read_bytes())
    place = int(where * len(data))
    if cut:
        data = data[:place]
    else:
        data[place] ^= 1 << bit
    path.write_bytes(data)
    assert Trajectory(folder).verify() == [path]
    trajectory = Trajectory(folder)
    try:
        point = trajectory.points[3]
    except Damaged as why:
        assert str(path) in str(why)  # noqa: PT017 (either is right)
    else:
        assert torch.equal(point, run[1][3])  # the change lies in a curve, which is refused below
        assert 5 not in trajectory.curves["loss"][0].tolist()
        assert trajectory.damaged == [path]


def test_a_record_of_another_run_or_step_is_refused(run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    points = folder / "points"
    shutil.copy(points / "000000001.safetensors", points / "000000003.safetensors")
    store.write_tensors(points / "000000004.safetensors", {"point": torch.ones(3)}, {"step": "4"})
    store.write_tensors(points / "000000006.safetensors", {}, {"step": "6"})
    (points / "something.safetensors").touch()
    trajectory = Trajectory(folder)
    assert [path.name for path in trajectory.damaged] == [f"00000000{n}.safetensors" for n in (3, 4, 6)]
    with pytest.raises(Damaged, match="is not the record it should be"):
        trajectory.records[3]


def test_damaged_values_after_the_last_record(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", nn.Linear(2, 2), epoch=4, at=[2], pairs=None)
    for _ in range(4):
        recorder.step(loss=1.0)
    recorder.close()
    (rest,) = (tmp_path / "run" / "curves").iterdir()
    assert rest.name == "000000004.safetensors"
    assert Trajectory(tmp_path / "run").curves["loss"][0].tolist() == [1, 2, 3, 4]
    rest.write_bytes(rest.read_bytes()[:100])
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.curves["loss"][0].tolist() == [1, 2]
    assert trajectory.damaged == trajectory.verify() == [rest]


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for bad in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(BadInput, match="is not a run"):
            Trajectory(bad)


def test_a_damaged_or_later_description(run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    described = json.loads((folder / "run.json").read_text())
    del described["crc32"]
    store.write_json(folder / "run.json", {**described, "schema": 2, "landform": "3.0"})
    with pytest.raises(BadInput, match=r"run\.json was written by landform 3\.0 in schema 2"):
        Trajectory(folder)
    (folder / "run.json").write_text('{"schema": 1')
    with pytest.raises(Damaged, match=r"run\.json is damaged"):
        Trajectory(folder)
    store.write_json(folder / "run.json", {"schema": 1})
    with pytest.raises(Damaged, match=r"run\.json"):
        Trajectory(folder)
