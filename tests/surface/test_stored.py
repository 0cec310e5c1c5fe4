"""Surfaces on disk: the same after reading, gone on with after a kill, refused where they do not fit."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

import landform as lf
from landform import surface
from landform.surface._reading import Reader, read
from landform.surface._stored import Stored


def _landscape(seed=0, **settings):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    data = (torch.randn(20, 4), torch.arange(20) % 3)
    return lf.Landscape(model, data, device="cpu", dtype=torch.float64, **settings)


def _same(a, b):
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if dataclasses.is_dataclass(x):
            _same(x, y)
        elif isinstance(x, torch.Tensor):
            assert torch.equal(x, y) or torch.allclose(x, y, rtol=0, atol=0, equal_nan=True), field.name
        elif isinstance(x, tuple) and x and isinstance(x[0], torch.Tensor):
            assert all(torch.equal(one, other) for one, other in zip(x, y, strict=True)), field.name
        else:
            assert x == y, field.name


def test_a_surface_is_the_same_after_it_was_written(tmp_path):
    landscape = _landscape()
    points = torch.randn(5, landscape.layout.size).double()
    for name, given in (
        ("random", "filter"),
        ("through", surface.through(landscape, *points[:3], names=("a", "b", "c"))),
        ("principal", surface.principal(landscape, points)),
        ("hessian", surface.hessian(landscape)),
    ):
        plane = surface.plane(landscape, directions=given, steps=3)
        folder = surface.save(plane, tmp_path / name)
        _same(plane, surface.load(folder))
    line = surface.line(landscape, steps=3)
    bare = dataclasses.replace(line, errors=None, centre_error=None, losses=torch.tensor([math.nan, 1.0, math.inf]))
    _same(dataclasses.replace(bare, losses=bare.losses), surface.load(surface.save(bare, tmp_path / "bare")))
    with pytest.raises(lf.BadInput, match="already"):
        surface.save(line, tmp_path / "bare")


def _parts(landscape, steps=12):
    basis = surface.random(landscape)
    axes = (torch.linspace(-1, 1, steps).double(),) * 2
    grid = torch.cartesian_prod(*axes)
    return basis, axes, grid


def test_what_was_read_is_not_read_again(tmp_path):
    landscape = _landscape()
    basis, axes, grid = _parts(landscape)
    asked = []

    def reading(at):
        asked.append(len(at))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return read(landscape, landscape.here, basis.vectors, at)

    stored = Stored(tmp_path, landscape, basis, landscape.here, axes)
    with pytest.raises(KeyboardInterrupt):
        stored.read(reading, grid)
    stored.release()
    with pytest.raises(lf.BadInput, match="is not finished"):
        surface.load(tmp_path)
    again, seen = Stored(tmp_path, landscape, basis, landscape.here, axes), []
    found = again.read(reading, grid, lambda *now: seen.append(now))
    assert asked == [64, 64, 64, 16]  # the first of these were kept, the second interrupted
    assert seen == [(128, 144), (144, 144)]
    plain = landscape.read(landscape.here + grid @ basis.vectors)
    assert torch.allclose(found.losses, plain.loss)
    assert torch.equal(found.errors, plain.error)
    again.release()


@pytest.mark.parametrize("tolerance", [None, 1e-4])
def test_an_interrupted_plane_becomes_what_it_would_have_been(tmp_path, monkeypatch, tolerance):
    landscape = _landscape()
    settings = {"steps": 33, "extent": 2.0, "tolerance": tolerance}
    whole = surface.plane(landscape, **settings)
    plain, asked = Reader.read, []

    def watched(self, coordinates, **more):
        asked.append(len(coordinates))
        return plain(self, coordinates, **more)

    monkeypatch.setattr(Reader, "read", watched)
    calls = []

    def stop(done, total):
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surface.plane(landscape, out=tmp_path, progress=stop, **settings)
    before = sum(asked)
    made = surface.plane(landscape, out=tmp_path, **settings)
    assert 0 < before < sum(asked) == int(whole.read.sum())
    assert torch.allclose(made.losses, whole.losses, rtol=1e-10)
    assert torch.equal(made.read, whole.read)
    _same(made, surface.load(tmp_path))


@pytest.mark.parametrize("change", ["landscape", "centre", "directions", "grid"])
def test_another_surface_is_not_gone_on_with(tmp_path, change):
    landscape = _landscape()
    basis, axes, _ = _parts(landscape)
    here = landscape.here
    Stored(tmp_path, landscape, basis, here, axes).release()
    landscape = _landscape(weight_decay=0.1) if change == "landscape" else landscape
    here = here + 1 if change == "centre" else here
    basis = surface.random(landscape, seed=1) if change == "directions" else basis
    axes = (axes[0], axes[0] + 0.1) if change == "grid" else axes
    with pytest.raises(lf.BadInput, match=f"is another one \\(its {change} differ"):
        Stored(tmp_path, landscape, basis, here, axes)


def test_one_process_at_a_time(tmp_path):
    landscape = _landscape()
    basis, axes, _ = _parts(landscape)
    first = Stored(tmp_path, landscape, basis, landscape.here, axes)
    with pytest.raises(lf.BadInput, match="already"):
        Stored(tmp_path, landscape, basis, landscape.here, axes)
    first.release()
    Stored(tmp_path, landscape, basis, landscape.here, axes).release()


@pytest.mark.parametrize("name", ["surface.json", "frame.safetensors", "values.safetensors"])
def test_damage_is_named(tmp_path, name):
    folder = surface.save(surface.line(_landscape(), steps=3), tmp_path / "one")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(lf.errors.Damaged, match=name):
        surface.load(folder)
    with pytest.raises(lf.BadInput, match="no surface in"):
        surface.load(tmp_path)


_KILLED = """
import sys, time
import torch
from torch import nn
import landform as lf
torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
slow = "slow" in sys.argv
landscape = lf.Landscape(model, (torch.randn(20, 4), torch.arange(20) % 3), device="cpu", dtype=torch.float64)
def told(done, total):
    print(done, flush=True)
    time.sleep(0.2 if slow else 0)
plane = lf.surface.plane(landscape, steps=21, out=sys.argv[1], progress=told)
print("made", plane.passes)
"""


def test_a_surface_whose_process_was_killed_is_gone_on_with(tmp_path):
    folder = tmp_path / "plane"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _KILLED, str(folder)]
    process = subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline().strip() == "64"
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not json.loads((folder / "surface.json").read_text())["finished"]
    first = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.split()
    assert int(first[0]) > 64  # what was read before was not read again
    made = surface.load(folder)
    whole = surface.plane(_landscape(), steps=21)
    assert torch.allclose(made.losses, whole.losses, rtol=1e-12)
    assert torch.equal(made.errors, whole.errors)
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "frame.safetensors",
        "surface.json",
        "values.safetensors",
    ]
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert again.startswith("made")  # it was read from the disk
