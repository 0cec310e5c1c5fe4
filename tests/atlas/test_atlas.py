"""The atlas keeps results, finds them again, and can do without its index."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from landform import store
from landform.atlas import Atlas, Stored
from landform.errors import BadInput, Damaged

VALUES = {
    "height": (torch.tensor(2.5, dtype=torch.float64), (), {}),
    "widths": (torch.arange(3.0), ("side",), {"side": ["a", "b", "c"]}),
}


def about(step: int = 0, *, probe: str = "shape", set: str | None = "train", **changed: Any) -> Stored:
    settings = {"k": 2, "nested": {"x": [1, None]}}
    return replace(
        Stored(probe, set, step, step / 4, "basis", {"record": f"r{step}"}, 1, settings, 0.25, "float32", 7), **changed
    )


@pytest.fixture
def filled(tmp_path: Path) -> Atlas:
    atlas = Atlas(tmp_path)
    for step in (0, 3, 8):
        for name in ("train", "test"):
            scaled = {q: (numbers * (step + 1), dims, coords) for q, (numbers, dims, coords) in VALUES.items()}
            atlas.write(about(step, set=name), scaled)
        atlas.write(about(step, probe="norm", set=None, settings={}, seed=None), {"norm": (torch.tensor(step), (), {})})
    return atlas


def everything(atlas: Atlas) -> dict[str, Any]:
    found: dict[str, Any] = {"stored": sorted(atlas.stored(), key=lambda stored: stored.file)}
    for name in atlas.names():
        labelled = atlas[name]
        found[name] = (labelled.dims, labelled.values.tolist(), {k: v.tolist() for k, v in labelled.coords.items()})
    return found


def test_what_is_written_is_read(filled: Atlas) -> None:
    atlas = Atlas(filled.folder)
    assert atlas.names() == tuple(atlas) == ("height", "norm", "widths")
    assert len(atlas) == 3
    assert "norm" in atlas
    assert "loss" not in atlas
    widths = atlas["widths"]
    assert widths.dims == ("set", "time", "side")
    assert widths.values[1, 2].tolist() == [0, 9, 18]
    assert widths.coords["set"].tolist() == ["train", "test"]
    assert widths.coords["side"].tolist() == ["a", "b", "c"]
    assert widths.coords["time"].tolist() == [0, 0.75, 2]
    assert widths.coords["step"].tolist() == [0, 3, 8]
    norm = atlas["norm"]
    assert (norm.dims, norm.values.tolist(), norm.values.dtype) == (("time",), [0, 3, 8], np.int64)
    assert "set" not in norm.coords
    assert atlas.settings("widths") == {"k": 2, "nested": {"x": [1, None]}}
    assert [(s.step, s.set, s.seconds, s.dtype, s.seed) for s in atlas.results("widths")[:2]] == [
        (0, "test", 0.25, "float32", 7),
        (0, "train", 0.25, "float32", 7),
    ]
    with pytest.raises(ValueError, match="read-only"):
        widths.values[0] = 1
    assert repr(widths) == "Labelled('widths', (set: 2, time: 3, side: 3), float32)"
    assert repr(atlas).endswith("height, norm, widths)")


def test_files_can_be_read_without_landform(filled: Atlas) -> None:
    from safetensors import safe_open

    with safe_open(filled.folder / "atlas" / "shape@test.000000003.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("widths"), 4 * torch.arange(3.0))
        assert '"seconds":0.25' in file.metadata()["result"]


def test_a_result_takes_the_place_of_an_older_one(filled: Atlas) -> None:
    reader = Atlas(filled.folder)
    assert reader["norm"].values[1] == 3
    filled.write(about(3, probe="norm", set=None, settings={}), {"norm": (torch.tensor(50), (), {})})
    assert reader["norm"].values[1] == 50
    assert Atlas(filled.folder)["norm"].values[1] == 50
    assert len(filled.stored()) == 9


def test_the_index_is_made_anew_from_the_files(filled: Atlas) -> None:
    expected = everything(filled)
    rows = filled._index.rows()
    assert len(rows) == 9
    filled.rebuild()
    assert filled._index.rows() == rows
    assert everything(filled) == expected
    (filled.folder / "atlas.sqlite").unlink()
    assert everything(Atlas(filled.folder)) == expected
    assert filled._index.rows() == rows


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "table", "row", "later", "old"])
def test_a_damaged_index_is_no_harm(filled: Atlas, damage: str) -> None:
    expected, rows = everything(filled), filled._index.rows()
    path = filled.folder / "atlas.sqlite"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "noise":
        path.write_bytes(os.urandom(5000))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 10])
    else:
        base = sqlite3.connect(path)
        statements = {
            "table": "DROP TABLE results",
            "row": "UPDATE results SET result = '{}' WHERE file LIKE 'norm%'",
            "later": "PRAGMA user_version=99",
            "old": "DELETE FROM results WHERE file LIKE '%3%'",
        }
        with base:
            base.execute(statements[damage])
        base.close()
    atlas = Atlas(filled.folder)
    assert everything(atlas) == expected
    atlas.write(about(9, probe="norm", set=None, settings={}), {"norm": (torch.tensor(9), (), {})})
    again = Atlas(filled.folder)
    assert again["norm"].values.tolist() == [0, 3, 8, 9]
    assert set(rows) < set(again._index.rows())


def test_the_index_spares_reading_the_files(filled: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Stored:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("landform.atlas._atlas.read_header", refuse)
    assert len(Atlas(filled.folder).stored()) == 9


def test_a_copied_folder_is_the_same_atlas(filled: Atlas, tmp_path: Path) -> None:
    shutil.copytree(filled.folder / "atlas", tmp_path / "copy" / "atlas")
    shutil.copy(filled.folder / "atlas.sqlite", tmp_path / "copy")
    assert everything(Atlas(tmp_path / "copy")) == everything(filled)


def test_a_folder_that_cannot_be_written_can_be_read(filled: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = everything(filled)
    (filled.folder / "atlas.sqlite").unlink()
    monkeypatch.setattr("landform.atlas._index.os.access", lambda path, mode: False)  # root may write everywhere
    assert everything(Atlas(filled.folder)) == expected
    assert not (filled.folder / "atlas.sqlite").exists()


def test_a_busy_index_is_passed_over(filled: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(path: Path, timeout: float) -> sqlite3.Connection:
        failure = sqlite3.OperationalError("database is locked")
        failure.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise failure

    expected = everything(filled)
    with monkeypatch.context() as patch:
        patch.setattr("landform.atlas._index.sqlite3.connect", busy)
        atlas = Atlas(filled.folder)
        assert everything(atlas) == expected
        atlas.write(about(9, probe="norm", set=None, settings={}), {"norm": (torch.tensor(9), (), {})})
    assert Atlas(filled.folder)["norm"].values.tolist() == [0, 3, 8, 9]


def test_a_damaged_result_is_named_and_not_used(filled: Atlas) -> None:
    path = filled.folder / "atlas" / "norm.000000003.safetensors"
    sound = path.read_bytes()
    path.write_bytes(sound[:40])
    atlas = Atlas(filled.folder)
    assert atlas["norm"].coords["step"].tolist() == [0, 8]
    assert len(atlas.notes) == 1
    assert path.name in atlas.notes[0]
    assert atlas.find("norm", None, 3) is None
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    atlas = Atlas(filled.folder)
    with pytest.raises(Damaged, match=path.name):
        atlas["norm"]
    assert [atlas.sound(stored) for stored in atlas.results("norm")] == [True, False, True]
    assert path.name in atlas.notes[0]
    shutil.copy(path.with_name("norm.000000008.safetensors"), path)
    assert any("not the result it should be" in note for note in Atlas(filled.folder).notes)
    path.write_bytes(sound)
    atlas = Atlas(filled.folder)
    assert atlas["norm"].coords["step"].tolist() == [0, 3, 8]
    assert atlas.notes == ()


def test_half_written_and_foreign_files_are_passed_over(filled: Atlas) -> None:
    expected = everything(filled)
    folder = filled.folder / "atlas"
    (folder / ".norm.000000011.safetensors.0123abcd.tmp").write_bytes(b"half")
    (folder / "readme.txt").write_text("mine")
    store.write_tensors(folder / "foreign.safetensors", {"x": torch.zeros(1)})
    atlas = Atlas(filled.folder)
    assert everything(atlas) == expected
    assert any("foreign" in note for note in atlas.notes)
    atlas.lock().release()
    assert not list(folder.glob(".*.tmp"))


def test_only_what_was_measured_like_the_latest_is_shown(filled: Atlas) -> None:
    filled.write(about(3, settings={"k": 5}, basis="other"), VALUES)
    height = Atlas(filled.folder)["height"]
    assert (height.dims, height.values.tolist()) == (("time",), [2.5])
    assert str(height.coords["set"]) == "train"
    assert filled.settings("height") == {"k": 5}
    # Another landscape for one set: the other set is shown as it was.
    filled.write(about(3), VALUES)
    filled.write(about(8, set="test", basis="new data"), VALUES)
    assert filled["height"].coords["step"].tolist() == [0, 3, 8]
    np.testing.assert_array_equal(filled["height"].values[1], [np.nan, np.nan, 2.5])


def test_results_are_dropped_and_forgotten(filled: Atlas) -> None:
    filled.drop([filled.results("norm")[0]])
    assert Atlas(filled.folder)["norm"].coords["step"].tolist() == [3, 8]
    assert filled.forget("norm") == 2
    assert Atlas(filled.folder).names() == ("height", "widths")
    assert len(filled._index.rows()) == 6


def test_notes(tmp_path: Path) -> None:
    atlas = Atlas(tmp_path)
    assert atlas.notes == ()
    atlas.annotate({"loss": ["One.", "Two."], "error": ["Three."]})
    atlas.annotate({"loss": ["Four."]})
    assert set(Atlas(tmp_path).notes) == {"Three.", "Four."}
    (tmp_path / "atlas" / "notes.json").write_text("{")
    assert "damaged" in atlas.notes[0]


def test_another_process_sees_what_is_written(filled: Atlas) -> None:
    code = "import sys; from landform.atlas import Atlas; print(Atlas(sys.argv[1])['norm'].values.tolist())"
    said = subprocess.run([sys.executable, "-c", code, filled.folder], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[0, 3, 8]"


def test_xarray(filled: Atlas) -> None:
    pytest.importorskip("xarray", reason="needs the analysis extra")
    filled.write(about(11, probe="norm", set=None, settings={}, seed=None), {"norm": (torch.tensor(11), (), {})})
    array = filled["widths"].to_xarray()
    assert array.dims == ("set", "time", "side")
    np.testing.assert_array_equal(array.values, filled["widths"].values)
    assert float(array.sel(set="test", side="c", time=0.75)) == 8
    assert array.step.values.tolist() == [0, 3, 8]
    assert array.attrs == {"k": 2}
    whole = filled.to_xarray()
    assert set(whole.data_vars) == {"height", "widths", "norm"}
    assert whole.step.values.tolist() == [0, 3, 8, 11]
    np.testing.assert_array_equal(whole["height"].sel(set="train").values, [2.5, 10, 22.5, np.nan])
    np.testing.assert_array_equal(whole["norm"].values, [0, 3, 8, 11])
    for name in filled.names():
        times = filled[name].coords["time"]
        np.testing.assert_array_equal(whole[name].sel(time=times).values, filled[name].values)


def test_xarray_of_unlike_quantities(tmp_path: Path) -> None:
    pytest.importorskip("xarray", reason="needs the analysis extra")
    atlas = Atlas(tmp_path)
    assert len(atlas.to_xarray()) == 0
    atlas.write(about(0), {"a": (torch.zeros(2), ("k",), {})})
    atlas.write(about(0, probe="other", set="test"), {"b": (torch.ones(3), ("k",), {})})
    atlas.write(about(4, probe="other", set="test"), {"b": (torch.ones(1), ("k",), {})})
    whole = atlas.to_xarray()
    assert dict(whole.sizes) == {"set": 2, "time": 2, "k_of_a": 2, "k_of_b": 3}
    assert whole["a"].sel(set="train", time=0).values.tolist() == [0, 0]
    assert np.isnan(whole["b"].sel(set="train")).all()
    assert whole["b_k_length"].values.tolist() == [3, 1]


def test_without_xarray_it_says_what_to_install(filled: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    for needing in (filled.to_xarray, filled["norm"].to_xarray):
        with pytest.raises(BadInput, match=r"landform\[analysis\]"):
            needing()


def test_misuse_is_one_sentence(filled: Atlas, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no folder"):
        Atlas(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="it has height, norm, widths"):
        filled["loss"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="run a survey first"):
        Atlas(tmp_path / "empty").settings("loss")
    with pytest.raises(BadInput, match="which probe norm measures already"):
        filled.write(about(0), {"norm": (torch.zeros(()), (), {})})
    with pytest.raises(BadInput, match="cannot name a set"):
        filled.write(about(0, set="a@b"), VALUES)
    held = filled.lock()
    with pytest.raises(BadInput, match="already"):
        filled.lock()
    held.release()
    filled.lock().release()
