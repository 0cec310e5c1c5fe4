"""What a survey would take is told from few samples, and nothing is written."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from small_run import SmallRun
from torch import Tensor, nn

import landform as lf
from landform.probes import Moment, Probe
from landform.survey import rehearse, survey


def pausing(each: float, most: int, moment: Moment) -> dict[str, float]:
    """Takes so many seconds for each sample it looks at."""
    count = min(most, len(moment.landscape._data))  # type: ignore[arg-type]
    time.sleep(0.02 + each * count)
    return {f"paused-{most}".replace("-", "_"): 0.0}


def pause(each: float, most: int = 10**9) -> Probe:
    settings = {} if most == 10**9 else {"samples": most}
    return Probe(f"pause_{most}", partial(_pausing, each, most), settings=settings, times=3, cost=9.0)


def _pausing(each: float, most: int, moment: Moment, samples: int = 0) -> dict[str, float]:
    return pausing(each, most, moment)


@pytest.fixture
def wide(tmp_path: Path) -> tuple[Path, lf.Landscape]:
    """A run of a small model over many samples, looked at four at a time."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    x, y = torch.randn(320, 3), torch.arange(320) % 2
    lf.train(model, (x, y), lf.Recipe(epochs=2, batch_size=64, lr=0.1), out=tmp_path / "run", device="cpu")
    return tmp_path / "run", lf.Landscape(model, (x, y), batch_size=4, device="cpu")


def test_time_is_continued_to_all_samples(wide: tuple[Path, lf.Landscape]) -> None:
    run, landscape = wide
    found = rehearse(run, landscape, probes=[pause(0.001), pause(0.001, most=30)])
    every, few = found.parts
    assert found.samples == {"train": (40, 320)}
    # 0.02 and 0.001 for each of 320 samples, of which 60 were looked at.
    assert every.seconds == pytest.approx(0.34, abs=0.15)
    assert few.seconds == pytest.approx(0.05, abs=0.03)  # it never looks at more than 30
    assert found.seconds == pytest.approx(3 * (every.seconds + few.seconds))
    assert "Measuring would take about" in str(found)
    assert "40 of 320 of train" in str(found)


def test_memory_is_that_of_the_process_and_what_it_adds(wide: tuple[Path, lf.Landscape]) -> None:
    run, landscape = wide
    held: list[Tensor] = []

    def hoard(moment: Moment) -> dict[str, float]:
        held.append(torch.ones(len(moment.landscape._data) * 250_000))  # type: ignore[arg-type]  # a megabyte each
        time.sleep(0.05)
        held.clear()
        return {"hoard": 0.0}

    # What was freed and not given back to the system must not hide it: two hundred megabytes of the heap.
    torch.empty(30 * 2**20, dtype=torch.uint8)
    freed = [torch.ones(250_000) for _ in range(200)]
    del freed
    (part,) = rehearse(run, landscape, probes=[Probe("hoard", hoard, times=1)]).parts
    (plain,) = rehearse(run, landscape, probes=["loss"]).parts
    if part.bytes is None or plain.bytes is None:
        pytest.skip("this system does not tell what a process holds")
    assert part.bytes - plain.bytes == pytest.approx(320e6, rel=0.4)


def test_what_cannot_be_rehearsed_is_named(small_run: SmallRun) -> None:
    def fail(moment: Moment) -> dict[str, float]:
        raise lf.BadInput("There is no luck today.")

    found = rehearse(small_run.folder, small_run.sets, probes=["loss", Probe("luck", fail), "kernel_velocity"])
    parts = {(part.probe, part.set): part for part in found.parts}
    assert parts["luck", "train"].failure == "There is no luck today."
    assert math.isfinite(found.seconds)
    assert parts["loss", "test"].failure is None


def test_nothing_is_written(small_run: SmallRun) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_run.folder.rglob("*")}
    rehearse(small_run.folder, small_run.sets, probes=["loss", "distance", "eigenvalues"])
    assert {path: path.stat().st_mtime_ns for path in small_run.folder.rglob("*")} == before


def test_a_stream_is_rehearsed_by_its_batches(small_run: SmallRun) -> None:
    data = small_run.train._data
    batches = [(data.inputs[i : i + 2], data.targets[i : i + 2]) for i in range(0, len(data), 2)]  # type: ignore
    found = rehearse(small_run.folder, small_run.train.on(batches), probes=["loss"])
    assert found.samples["train"] == (2, len(batches))


def test_misuse(small_run: SmallRun) -> None:
    with pytest.raises(lf.BadInput, match="luck"):
        rehearse(small_run.folder, small_run.train, probes=["luck"])
    with pytest.raises(lf.BadInput, match="Landscape"):
        rehearse(small_run.folder, None)  # type: ignore[arg-type]


@pytest.mark.timing
def test_it_comes_true(wide: tuple[Path, lf.Landscape]) -> None:
    run, small = wide
    inputs = torch.randn(60_000, 3)
    landscape = small.on((inputs, torch.zeros(60_000, dtype=torch.long)))
    probes = [lf.probes.get(name).at(3) for name in ("loss", "gradient_norm")]
    told = rehearse(run, landscape, probes=probes)
    atlas = survey(run, landscape, probes=probes)
    spent = sum(stored.seconds for stored in atlas.stored())
    assert spent / 1.5 < told.seconds < 1.5 * spent
