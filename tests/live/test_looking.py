"""How runs stand, told from their folders."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from landform import live
from landform.errors import BadInput
from landform.live._folder import fingerprint
from landform.live._standing import _until
from landform.recording import Trajectory
from landform.store import is_shared


def names(folder: Path, **how: Any) -> list[str]:
    return [one.found.name for one in live.look(folder, **how)]


def test_a_run_while_it_is_trained_and_after(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0, 10, 40)
    now = live.look(tmp_path)[0]
    assert (now.state, now.going, now.step, now.epoch, now.until, now.records) == ("training", True, 40, 4.0, 8.0, 3)
    assert now.loss == pytest.approx(run.loss(40))
    assert now.line == pytest.approx([run.loss(10), run.loss(40)])
    # 10 s for 4 epochs: as much again for the other four.
    assert (now.seconds, now.left) == (10.0, 10.0)
    assert now.what == "Linear, 10 parameters"
    run.close()
    assert live.look(tmp_path)[0].state == "stopped"
    again = fake(tmp_path / "other").record(0, 80)
    again.close()
    assert [one.state for one in live.look(tmp_path)] == ["stopped", "finished"]
    endless = fake(tmp_path / "third", epochs=None).record(0, 5)
    endless.close()
    assert live.look(tmp_path)[2].state == "ended"


def test_what_is_told_agrees_with_the_trajectory(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "mine").record(0, 3, 7, 33).close()
    now, run = live.look(tmp_path)[0], Trajectory(tmp_path / "mine")
    last = run.records[-1]
    assert (now.step, now.epoch, now.loss, now.seconds) == (last.step, last.epoch, last.loss, last.seconds)
    assert now.line == tuple(record.loss for record in run.records if record.loss is not None)


def test_only_what_is_new_is_read_again(tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake(tmp_path / "mine").record(0, 1, 2)
    runs = live.Runs(tmp_path)
    runs.look()
    opened: list[str] = []
    from landform import store

    plain = store.open_tensors
    monkeypatch.setattr(store, "open_tensors", lambda path: opened.append(Path(path).name) or plain(path))
    runs.look()
    assert opened == []
    run.record(3)
    assert runs.look()[0].step == 3
    assert opened == ["000000003.safetensors"]
    run.close()
    settled = [os.utime(tmp_path / "mine" / each, (1e9, 1e9)) for each in ("run.json", "points")]
    assert len(settled) == 2
    first = runs.look()[0]
    assert runs.look()[0] is first  # nothing has happened: not even made anew


def test_diverged_damaged_and_empty_runs_are_told(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "nan").record(0).record(10, loss=math.nan).close()
    fake(tmp_path / "cut").record(0, 10, 20).close()
    last = tmp_path / "cut" / "points" / "000000020.safetensors"
    last.write_bytes(last.read_bytes()[:-3])
    fake(tmp_path / "empty").close()
    shutil.copytree(tmp_path / "empty", tmp_path / "worse")
    (tmp_path / "worse" / "run.json").write_text("{}")
    cut, empty, nan, worse = live.look(tmp_path)
    assert nan.diverged
    assert nan.to_json()["diverged"] is True
    assert (cut.step, cut.note) == (10, "000000020.safetensors is damaged.")
    assert (empty.records, empty.loss, empty.line) == (0, None, ())
    assert worse.state == "unreadable"
    assert "damaged" in worse.note


def test_what_a_survey_measured(tmp_path: Path) -> None:
    import landform as lf

    data = lf.data.digits(per_class=4)
    net = lf.models.build("mlp", inputs=(1, 8, 8), classes=10, width=4, depth=1, seed=0)
    recipe = lf.Recipe(epochs=2, batch_size=20)
    lf.train(net, data, recipe, out=tmp_path / "mine", recording=lf.Recording(at=[0, 2, 4]), device="cpu")
    landscape = lf.Landscape(net, data, device="cpu")
    atlas = lf.survey(
        tmp_path / "mine", {"train": landscape, "test": landscape.on(data.test)}, probes=["loss", "error"]
    )
    now = live.look(tmp_path)[0]
    assert now.state == "finished"
    assert now.measured == {
        f"{where} {name}": pytest.approx(float(atlas[name].values[place, -1]))
        for place, where in enumerate(("train", "test"))
        for name in ("loss", "error")
    }
    assert now.results == len(atlas.stored())
    lock = atlas.lock()
    assert live.look(tmp_path)[0].state == "measuring"
    lock.release()
    assert live.look(tmp_path)[0].state == "finished"


def test_where_runs_are_looked_for(tmp_path: Path, fake: Any) -> None:
    for name in ("b/run-10", "b/run-2", "a", "a/children/000000001-0", "study/parents/one", ".hidden/x"):
        fake(tmp_path / name).record(0).close()
    (tmp_path / "study" / "study.json").write_text("{}")
    (tmp_path / "note.txt").write_text("no run")
    assert names(tmp_path) == ["a", "b/run-2", "b/run-10", "study"]
    assert names(tmp_path, children=True) == ["a", "a/children/000000001-0", "b/run-2", "b/run-10", "study"]
    assert live.Runs(tmp_path).children("a") == ["a/children/000000001-0"]
    # Of a folder that is a run or a study itself, what lies in it is shown too.
    assert names(tmp_path / "a", children=True) == [".", "children/000000001-0"]
    assert names(tmp_path / "study") == [".", "parents/one"]
    assert [one.found.kind for one in live.look(tmp_path / "study")] == ["study", "run"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "outside" / "secret").record(0, 10).close()
    runs = tmp_path / "runs"
    fake(runs / "mine").record(0).close()
    (runs / "linked").symlink_to(tmp_path / "outside" / "secret")
    (runs / "folder").symlink_to(tmp_path / "outside")
    (runs / "again").symlink_to(runs / "mine")
    half = runs / "half"
    half.mkdir()
    (half / "run.json").symlink_to(tmp_path / "outside" / "secret" / "run.json")
    found = live.Runs(runs)
    assert [one.found.name for one in found.look()] == ["mine"]
    assert found.listing().left_out == ("folder", "half/run.json", "linked")
    # Points, and single records, that lie elsewhere.
    (half / "run.json").unlink()
    shutil.copy(tmp_path / "outside" / "secret" / "run.json", half)
    (half / "points").symlink_to(tmp_path / "outside" / "secret" / "points")
    assert [(one.found.name, one.records) for one in live.look(runs)] == [("half", 0), ("mine", 1)]
    record = runs / "mine" / "points" / "000000010.safetensors"
    record.symlink_to(tmp_path / "outside" / "secret" / "points" / "000000010.safetensors")
    assert live.look(runs)[1].records == 1
    for folder in (half, runs / "mine"):
        with pytest.raises(BadInput, match="leads out of"):
            fingerprint(folder, runs)
    assert len(fingerprint(tmp_path / "outside", tmp_path)) == 16


def test_what_several_processes_record(tmp_path: Path, fake: Any) -> None:
    first, second = (fake(tmp_path / "wide" / "shards" / f"0000{k}").record(0, 10) for k in range(2))
    now = live.look(tmp_path)
    assert [(one.found.name, one.state, one.step) for one in now] == [("wide", "training", 10)]
    assert "landform survey joins them" in now[0].note
    assert next(live.watch(tmp_path / "wide")).standing.step == 10
    first.close()
    second.close()
    assert live.look(tmp_path)[0].state == "stopped"


def test_a_fingerprint_changes_with_what_is_recorded(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0)
    before = fingerprint(tmp_path / "mine", tmp_path)
    (tmp_path / "mine" / "report.html").write_text("a page made of it")
    assert fingerprint(tmp_path / "mine", tmp_path) == before
    run.record(1)
    assert fingerprint(tmp_path / "mine", tmp_path) != before
    run.close()


def test_names_are_looked_up_and_never_opened(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "runs" / "mine").record(0).close()
    fake(tmp_path / "other").record(0).close()
    runs = live.Runs(tmp_path / "runs")
    assert runs.find("mine").folder == tmp_path / "runs" / "mine"
    for name in ("../other", "mine/../../other", str(tmp_path / "other"), "mine/", "./mine", "", "mine\0", "MINE "):
        with pytest.raises(BadInput, match="no run"):
            runs.find(name)
    with pytest.raises(BadInput, match="is not there"):
        live.look(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        live.look(tmp_path / "file")


def test_a_file_system_of_several_machines(tmp_path: Path, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mounts"
    monkeypatch.setattr("landform.store._writers._MOUNTS", mounts)
    for kind, shared in (("nfs4", True), ("ext4", False)):
        mounts.write_text(f"1 2 {os.major(device)}:{os.minor(device)} / / rw - {kind} x rw\n")
        assert is_shared(tmp_path) is shared
    # There a lock may be held unseen: what has just changed counts as going on.
    mounts.write_text(f"1 2 {os.major(device)}:{os.minor(device)} / / rw - nfs4 x rw\n")
    fake(tmp_path / "mine").record(0, 10).close()
    assert live.look(tmp_path)[0].state == "training"
    for path in ("run.json", "points"):
        os.utime(tmp_path / "mine" / path, (1e9, 1e9))
    assert live.look(tmp_path)[0].state == "stopped"


def test_how_far_a_sweep_is(tmp_path: Path) -> None:
    import landform as lf

    lf.sweep(lambda lr, seed=0: {"loss": lr}, {"lr": [0.1, 0.2]}, out=tmp_path / "grid", engine="inline")
    now = live.look(tmp_path)[0]
    assert (now.found.kind, now.state, now.note) == ("sweep", "finished", "2 of 2 done")
    told = (tmp_path / "grid" / "status.json").read_bytes()
    (tmp_path.parent / f"{tmp_path.name}.json").write_bytes(told)
    (tmp_path / "grid" / "status.json").unlink()
    (tmp_path / "grid" / "status.json").symlink_to(tmp_path.parent / f"{tmp_path.name}.json")
    assert live.look(tmp_path)[0].note == ""  # what lies outside is not read


def test_a_study(tmp_path: Path) -> None:
    from landform import store

    store.write_json(
        store.make_folder(tmp_path / "kernel") / "study.json", {"study": "adversarial-kernel", "scale": "own"}
    )
    runs = live.Runs(tmp_path)
    now = runs.look()[0]
    assert (now.found.kind, now.state, now.what) == ("study", "ended", "study adversarial-kernel, scale own")
    assert runs.look()[0] is now
    (tmp_path / "kernel" / "claims.json").write_text("[]")
    assert runs.look()[0].state == "finished"


def test_the_planned_end() -> None:
    assert _until({"recipe": {"epochs": 2.5}}, 10) == 25
    assert _until({"recorder": {"at": [0, 5, 200]}}, 10) == 200
    assert _until({"recorder": {"at": 100}}, 10) is None
    assert _until({}, 10) is None


def test_json(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "mine").record(0, 80).close()
    told = json.loads(json.dumps(live.look(tmp_path)[0].to_json()))
    assert (told["name"], told["state"], told["step"]) == ("mine", "finished", 80)
