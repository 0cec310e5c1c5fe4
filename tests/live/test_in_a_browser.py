"""The served pages in Chromium, in real time: a folder of 200 runs, two of them compared, one while it is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from written_runs import Fake, write_runs

from landform import live

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served") / "runs"
    write_runs(place, 200)
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[live.Server]:
    with live.serve(folder, port=0, every=0.2) as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(chromium: Any) -> Iterator[None]:
    """Nothing may stand on the console after a test."""
    chromium.console.clear()
    yield
    assert chromium.console == []


PAINTED = "performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)[0] || 0"
FRAME = "document.querySelector('iframe').contentDocument"


@pytest.mark.timing
def test_first_paint_over_200_runs(folder: Path, chromium: Any) -> None:
    with live.serve(folder, port=0) as fresh:  # which has read nothing yet
        chromium.open(fresh.url)
        chromium.until(PAINTED)
        assert chromium.ask("document.querySelectorAll('tbody tr').length") == 200
        assert chromium.ask(PAINTED) < 2000
        chromium.open("about:blank")


def test_the_list_sorts_finds_and_keeps_its_ticks(server: live.Server, folder: Path, chromium: Any) -> None:
    chromium.open(server.url)
    names = "Array.from(document.querySelectorAll('tbody tr:not([hidden])')).map((row) => row.dataset.key)"
    assert len(chromium.ask(names)) == 200
    chromium.until("document.querySelectorAll('tbody polyline').length === 200")
    assert chromium.ask("document.querySelector('tbody time').textContent").endswith("ago")
    losses = "Array.from(document.querySelectorAll('tbody tr')).map((row) => parseFloat(row.cells[5].dataset.value))"
    chromium.ask("document.querySelectorAll('thead button')[3].click()")
    found = chromium.ask(losses)
    assert found == sorted(found)
    chromium.ask("document.querySelectorAll('thead button')[3].click()")
    assert chromium.ask(losses) == found[::-1]
    assert chromium.ask("document.querySelector('[aria-sort]').ariaSort") == "descending"
    chromium.ask(
        "(() => { const f = document.querySelector('[data-find]'); f.value = 'mlp-11';"
        " f.dispatchEvent(new Event('input')); })()"
    )
    assert len(chromium.ask(names)) == 11
    assert chromium.ask("document.querySelector('[data-compare]').disabled") is True
    chromium.ask("document.querySelector('tr[data-key=\"grid-0/mlp-11\"] input').click()")
    # A run that appears takes its place; what was ticked stays ticked.
    run = Fake(folder / "grid-0" / "mlp-11x").record(0, 10)
    chromium.until("document.querySelector('tr[data-key=\"grid-0/mlp-11x\"]')")
    assert chromium.ask("document.querySelector('tr[data-key=\"grid-0/mlp-11x\"] .badge').textContent") == "training"
    assert len(chromium.ask(names)) == 12
    assert chromium.ask("document.querySelectorAll('tbody input:checked').length") == 1
    run.record(20)
    chromium.until("document.querySelector('tr[data-key=\"grid-0/mlp-11x\"]').textContent.includes('2 of 8')")
    run.close()
    chromium.until("document.querySelector('tr[data-key=\"grid-0/mlp-11x\"] .badge').textContent === 'stopped'")
    assert chromium.ask("document.querySelectorAll('tbody input:checked').length") == 1


def test_two_runs_are_compared(server: live.Server, chromium: Any) -> None:
    chromium.open(server.url)
    for name in ("grid-0/mlp-3", "grid-3/mlp-180"):
        chromium.ask(f"document.querySelector('tr[data-key=\"{name}\"] input').click()")
    assert chromium.ask("document.querySelector('[data-compare]').textContent") == "Compare 2"
    chromium.ask("document.querySelector('[data-compare]').click()")
    chromium.until("location.pathname === '/show' && document.readyState === 'complete'")
    chromium.until(f"{FRAME}.querySelectorAll('.plot .main-svg').length > 0")
    assert chromium.ask(f"{FRAME}.querySelector('h1').textContent") == "mlp-3 and mlp-180"
    traces = f"Array.from({FRAME}.querySelectorAll('#training-curve .legendtext')).map((text) => text.textContent)"
    assert [name.partition(":")[0] for name in chromium.ask(traces)] == ["mlp-3", "mlp-180"]
    # Back in the list they are still ticked.
    chromium.ask("document.querySelector('.back').click()")
    chromium.until("location.pathname === '/' && document.querySelectorAll('tbody input:checked').length === 2")


def test_a_report_while_the_run_is_trained(server: live.Server, folder: Path, chromium: Any) -> None:
    run = Fake(folder / "now").record(0, 10, 20)
    time.sleep(0.6)  # a listing is good for half a second
    chromium.open(server.url + "show?run=now")
    times = f"{FRAME} && {FRAME}.querySelector('.sub') && {FRAME}.querySelector('.sub').textContent"
    chromium.until(f"({times} || '').includes('3 recorded times')")
    chromium.until(f"{FRAME}.querySelectorAll('.plot .main-svg').length > 0")
    chromium.ask("document.querySelector('iframe').contentWindow.scrollTo(0, 300)")
    assert chromium.ask("document.querySelector('.badge').textContent") == "training"
    run.record(40)
    chromium.until(f"({times} || '').includes('4 recorded times')")
    chromium.until("document.querySelectorAll('iframe').length === 1")
    assert chromium.ask("document.querySelector('iframe').contentWindow.scrollY") == 300
    assert "epoch 4 of 8" in chromium.ask("document.querySelector('.one').textContent")
    # Told to hold still, it does.
    chromium.ask("document.querySelector('[data-keep-up]').click()")
    run.record(80)
    run.close()
    chromium.until("document.querySelector('.badge').textContent === 'finished'")
    assert "4 recorded times" in chromium.ask(times)
    chromium.ask("document.querySelector('[data-keep-up]').click()")
    chromium.until(f"({times} || '').includes('5 recorded times')")


def test_every_kind_of_figure_is_drawn_under_the_policy(tmp_path: Path, chromium: Any) -> None:
    import landform as lf

    data = lf.data.digits(per_class=4)
    net = lf.models.build("mlp", inputs=(1, 8, 8), classes=10, width=4, depth=1, seed=0)
    recipe = lf.Recipe(epochs=2, batch_size=20)
    lf.train(net, data, recipe, out=tmp_path / "mine", recording=lf.Recording(at=[0, 4]), device="cpu")
    landscape = lf.Landscape(net, data, device="cpu")
    lf.survey(tmp_path / "mine", {"train": landscape}, probes=["loss", "plane_around"])
    with live.serve(tmp_path, port=0) as server:
        chromium.open(server.url + "show?run=mine")
        chromium.until(f"{FRAME} && {FRAME}.querySelectorAll('.plot').length > 2")
        chromium.until(
            f"Array.from({FRAME}.querySelectorAll('.plot')).every((place) => place.querySelector('.main-svg, canvas'))"
        )
        chromium.open("about:blank")


def test_nothing_is_wider_than_the_screen(server: live.Server, chromium: Any) -> None:
    for size in ((390, 844), (1280, 900)):
        chromium.resize(*size)
        for path in ("", "show?run=grid-0/mlp-3", "show?run=grid-0/mlp-3&run=grid-3/mlp-180", "show?run=nothing"):
            chromium.open(server.url + path)
            assert chromium.ask("document.documentElement.scrollWidth") <= size[0], path
    chromium.console.clear()  # the page that is not there is told as such


def test_a_server_that_ends_is_told(folder: Path, chromium: Any) -> None:
    with live.serve(folder, port=0, every=0.2) as server:
        chromium.open(server.url)
        chromium.until("document.querySelectorAll('tbody polyline').length > 199")
        assert chromium.ask("document.querySelector('.gone').hidden") is True
    chromium.until("!document.querySelector('.gone').hidden")
    chromium.open("about:blank")
    chromium.console.clear()  # the browser's own words about it
