"""A function over a grid: files, resuming, misuse, and the same bits from every engine."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import landform as lf
from landform import store
from landform.diagnosis import read_table
from landform.engine import InProcess, Processes, status
from landform.errors import BadInput
from landform.sweeps import Cell, cells_of, open_sweep


def line(lr: float, width: int = 1, seed: int = 0) -> dict[str, Any]:
    """Something like a training: numbers of torch's global generator and of the seed."""
    torch.manual_seed(seed)
    w = torch.randn(width)
    for _ in range(10):
        w = w - lr * torch.sin(w)
    return {"train_loss": float(w.square().mean()), "weights": w, "steps": 10}


def drawn(name: str) -> dict[str, Any]:
    return {"draw": torch.rand(3)}


def bad_at_two(x: int, folder: str = "") -> dict[str, Any]:
    if folder:
        with open(f"{folder}/calls", "a") as file:
            file.write(f"{x}\n")
    if x == 2 and not Path(folder, "mended").exists():
        raise RuntimeError("two is poison")
    return {"square": x * x}


def nothing(x: int, seed: int) -> None:
    return None


def odd(kind: str) -> Any:
    return {
        "nan": {"loss": math.nan, "bound": -math.inf},
        "kinds": {"a": np.float32(1.5), "b": torch.tensor(2), "c": True, "d": "text", "e": None, "f": [1, 2]},
        "list": [1, 2],
        "setting": {"kind": 1},
        "object": {"a": object()},
    }[kind]


# One worker of pytest-xdist runs all of these.
pytestmark = pytest.mark.xdist_group("processes")

# Starting a process takes seconds: these are shared.
SHARED = Processes(2, retries=1)


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    SHARED.close()


GRID = {"lr": [0.1, 0.2], "width": [1, 3]}


def test_every_cell_is_a_row_of_the_table(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = lf.sweep(line, GRID, seeds=2, out=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, 8) for k in range(9)]
    assert [(row.settings["lr"], row.settings["width"], row.seed) for row in found] == [
        (lr, width, seed) for lr in (0.1, 0.2) for width in (1, 3) for seed in (0, 1)
    ]
    for row in found:
        expected = line(**row.settings, seed=row.seed or 0)
        assert row.numbers == {"train_loss": expected["train_loss"], "steps": 10}
        assert torch.equal(found.array(row, "weights"), expected["weights"])
    assert found["train_loss"] == [row.numbers["train_loss"] for row in found]
    table = read_table(found.table)
    assert table["learning_rate"].tolist() == [0.1] * 4 + [0.2] * 4
    assert table["train_loss"].tolist() == found["train_loss"]
    assert len(list((tmp_path / "units").iterdir())) == 8
    assert (tmp_path / "units" / "lr=0.1+width=3+seed=1.safetensors").is_file()
    assert (status(tmp_path).state, status(tmp_path).done) == ("finished", 8)


def test_engines_agree_to_the_bit(tmp_path: Path) -> None:
    here = lf.sweep(drawn, {"name": ["a", "b", "c"]}, out=tmp_path / "here")
    there = lf.sweep(drawn, {"name": ["a", "b", "c"]}, out=tmp_path / "there", engine=SHARED)
    again = lf.sweep(drawn, {"name": ["c", "b", "a"]}, out=tmp_path / "again", engine=InProcess())
    for one, two in zip(here, there, strict=True):
        assert torch.equal(here.array(one, "draw"), there.array(two, "draw"))
    for one, two in zip(here, list(again)[::-1], strict=True):
        assert torch.equal(here.array(one, "draw"), again.array(two, "draw"))
    for unit in (tmp_path / "here" / "units").iterdir():
        arrays, _ = store.read_tensors(unit)
        same, _ = store.read_tensors(tmp_path / "there" / "units" / unit.name)
        assert arrays.keys() == same.keys()
        assert all(torch.equal(arrays[name], same[name]) for name in arrays)


def test_a_poisoned_cell_fails_alone_and_is_tried_again(tmp_path: Path) -> None:
    grid = {"x": [1, 2, 3], "folder": str(tmp_path)}
    found = lf.sweep(bad_at_two, grid, out=tmp_path / "out")
    assert found["square"] == [1, 9]
    assert list(found.failures.values()) == ["RuntimeError: two is poison"]
    assert status(tmp_path / "out").failed == found.failures
    (tmp_path / "mended").touch()
    found = lf.sweep(bad_at_two, grid, out=tmp_path / "out")
    assert found["square"] == [1, 4, 9]
    assert found.failures == {}
    assert (tmp_path / "calls").read_text().split() == ["1", "2", "3", "2"]


def test_a_larger_grid_keeps_what_is_done(tmp_path: Path) -> None:
    lf.sweep(bad_at_two, {"x": [1, 3], "folder": str(tmp_path)}, out=tmp_path / "out")
    found = lf.sweep(bad_at_two, {"x": [5, 3, 1], "folder": str(tmp_path)}, out=tmp_path / "out")
    assert found["square"] == [25, 9, 1]
    assert (tmp_path / "calls").read_text().split() == ["1", "3", "5"]
    assert open_sweep(tmp_path / "out")["square"] == [1, 9, 25]


def test_the_index_holds_nothing_that_the_files_do_not(tmp_path: Path) -> None:
    found = lf.sweep(line, GRID, out=tmp_path)
    before = found.table.read_text()
    (tmp_path / "index.json").unlink()
    assert [row.numbers for row in open_sweep(tmp_path)] == [row.numbers for row in found]
    (tmp_path / "index.json").write_text("{}")
    assert lf.sweep(line, GRID, out=tmp_path).table.read_text() == before
    assert (tmp_path / "index.json").stat().st_size > 100
    # A unit that is gone, and one that is damaged, are not believed on the index's word.
    first, second, *_ = sorted((tmp_path / "units").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    seen = open_sweep(tmp_path)
    assert len(seen) == 2
    assert second.name in seen.notes[0]
    assert lf.sweep(line, GRID, out=tmp_path).table.read_text() == before


def test_none_and_odd_values(tmp_path: Path) -> None:
    assert len(lf.sweep(nothing, {"x": [1]}, seeds=[3, 5], out=tmp_path / "none")) == 2
    found = lf.sweep(odd, {"kind": ["nan", "kinds", "list", "setting", "object"]}, out=tmp_path / "odd")
    assert len(found) == 2
    nan, kinds = found.rows
    assert math.isnan(nan.numbers["loss"])  # type: ignore[arg-type]
    assert nan.numbers["bound"] == -math.inf
    assert kinds.numbers == {"a": 1.5, "b": 2, "c": True, "d": "text", "e": None}
    assert found.array(kinds, "f").tolist() == [1, 2]
    again = open_sweep(tmp_path / "odd")
    assert repr(again.rows) == repr(found.rows)
    reasons = " ".join(found.failures.values())
    for said in ("returned a list", "named 'kind'", "a is a object"):
        assert said in reasons


def test_misuse_is_one_sentence(tmp_path: Path) -> None:
    def refused(match: str, *args: Any, **options: Any) -> None:
        with pytest.raises(BadInput, match=match):
            lf.sweep(*args, **{"out": tmp_path / "refused", **options})

    refused("has no parameter 'rate'", line, {"rate": [1]})
    refused("takes no seed", drawn, {"name": ["a"]}, seeds=2)
    refused("grid is empty", line, {"lr": []})
    refused("seeds is 0", line, {"lr": [1]}, seeds=0)
    refused("is no function", 3, {"lr": [1]})
    refused("cannot be a setting", line, {"a b": [1]})
    refused("no setting of a grid", line, {"seed": [1]})
    refused("is not JSON", line, {"lr": [object()]})
    refused("is not JSON", line, {"lr": [math.nan]})
    refused("no engine", line, {"lr": [1]}, engine="spark")
    lf.sweep(line, {"lr": [0.1]}, out=tmp_path / "line")
    refused("holds a sweep of", drawn, {"name": ["a"]}, out=tmp_path / "line")
    with pytest.raises(BadInput, match="holds no sweep"):
        open_sweep(tmp_path / "nowhere")
    found = open_sweep(tmp_path / "line")
    with pytest.raises(BadInput, match="no column 'nothing'"):
        found["nothing"]
    with pytest.raises(BadInput, match="no array 'nothing'"):
        found.array(found.rows[0], "nothing")
    lock = store.Lock(tmp_path / "line")
    try:
        refused("give another folder", line, {"lr": [0.2]}, out=tmp_path / "line")
    finally:
        lock.release()


values = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(), st.none())


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), values, max_size=3), st.integers(0, 9))
def test_names_of_cells_can_name_files(settings: dict[str, Any], seed: int) -> None:
    settings.pop("seed", None)
    cell = Cell(settings, seed)
    assert store.check_name(cell.name) == cell.name or len(cell.name) <= 100
    assert "/" not in cell.name
    assert not cell.name.startswith(".")
    assert Cell(json.loads(json.dumps(settings)), seed).name == cell.name


@given(st.lists(st.tuples(values, values), max_size=6, unique_by=repr))
def test_different_cells_have_different_names(pairs: list[tuple[Any, Any]]) -> None:
    cells = [Cell({"a": a, "b": b}, 0) for a, b in pairs]
    assert len({cell.name for cell in cells}) == len({cell.key for cell in cells})


def test_cells_of_a_grid() -> None:
    cells = cells_of({"a": [1, 2], "b": "x", "c": np.linspace(0, 1, 2)}, [7])
    assert [cell.settings for cell in cells] == [{"a": a, "b": "x", "c": c} for a in (1, 2) for c in (0.0, 1.0)]
    assert {cell.seed for cell in cells} == {7}
    assert [cell.settings for cell in cells_of([{"a": 1}, {"b": 2}, {"a": 1}])] == [{"a": 1}, {"b": 2}]


SCRIPT = """
import sys, time
from pathlib import Path
import landform as lf
from landform.engine import Processes

def slow(x, seed):
    Path(sys.argv[1], f"called-{x}-{seed}").touch()
    time.sleep(0.02)
    return {"y": x * x + seed, "line": list(range(2000))}

if __name__ == "__main__":
    lf.sweep(slow, {"x": list(range(30))}, seeds=2, out=Path(sys.argv[1], "out"))
"""


def test_a_driver_killed_in_mid_write_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path)]
    driver = subprocess.Popen(command)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and len(list(tmp_path.glob("out/units/*.safetensors"))) < 5:
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = {path.name: path.read_bytes() for path in tmp_path.glob("out/units/*.safetensors")}
    assert 5 <= len(done) < 60
    # What a write leaves behind that was cut in the middle: half a file under a temporary name.
    (tmp_path / "out" / "units" / ".x=29+seed=1.safetensors.0a1b2c3d.tmp").write_bytes(b"half")
    assert status(tmp_path / "out").state == "stopped"
    assert len(open_sweep(tmp_path / "out")) == len(done)
    for mark in tmp_path.glob("called-*"):
        mark.unlink()
    subprocess.run(command, check=True, timeout=900)
    assert open_sweep(tmp_path / "out")["y"] == [x * x + seed for x in range(30) for seed in range(2)]
    assert len(list(tmp_path.glob("called-*"))) == 60 - len(done)
    assert all((tmp_path / "out" / "units" / name).read_bytes() == content for name, content in done.items())
    assert not list(tmp_path.glob("out/units/.*"))


def test_a_process_that_dies_costs_nothing(tmp_path: Path) -> None:
    found = lf.sweep(dies_once, {"x": [1, 2, 3], "folder": str(tmp_path)}, out=tmp_path / "out", engine=SHARED)
    assert found["x_"] == [1, 2, 3]
    assert found.failures == {}


def dies_once(x: int, folder: str) -> dict[str, Any]:
    if x == 2 and not Path(folder, "died").exists():
        Path(folder, "died").touch()
        os._exit(1)
    return {"x_": x}
