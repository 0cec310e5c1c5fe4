"""Pages in a real browser: nothing on the console, every figure drawn, hovering reads all rows at once."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from landform.report import Axis, Figure, HeatAxis, HeatMap, Material, Panel, Panels, Series
from landform.report._page import page

BROWSER = next((name for name in ("chromium", "google-chrome", "chromium-browser") if shutil.which(name)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")

T = np.array([0.0, 1.0, 2.0, 4.0])
LOG = Axis("epoch (log scale)", "log", zero_at=0.5)


def figures() -> list[Figure | HeatMap | Panels]:
    line = Series("test", T, T + 1, "marked", 1, T + 0.5, T + 1.5)
    other = Series("train", T, 2 * T + 1, "marked", 0)
    axis = HeatAxis("cells", ("a", "b"))
    return [
        Panels(
            "rows",
            "Rows",
            "caption",
            "fools",
            LOG,
            (Panel("above", Axis(""), (line, other)), Panel("below", Axis("", percent=True), (line,))),
            (1.5, 1.0, 2.0),
            "here",
        ),
        Figure("one", "One", "caption", "fools", LOG, Axis("value"), (line,)),
        HeatMap("map", "Map", "caption", "fools", axis, axis, np.eye(2), "heat"),
    ]


# After the page has drawn: what it shows on hovering over the second time, and what the buttons do, in the title.
_ACTS = """
<script>
window.addEventListener("error", (e) => { document.body.dataset.failed = e.message; });
window.addEventListener("load", function () {
  setTimeout(function () {
    const rows = document.querySelector('[data-figure="rows"]');
    const drawn = document.querySelectorAll(".plot .main-svg").length;
    const place = rows.getBoundingClientRect(), axis = rows._fullLayout.xaxis, above = rows._fullLayout.yaxis;
    const where = { clientX: place.left + axis._offset + axis.d2p(1), clientY: place.top + above._offset + 30 };
    const cover = rows.querySelector(".nsewdrag");
    cover.dispatchEvent(new MouseEvent("mouseover", { bubbles: true, ...where }));
    cover.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, ...where }));
    setTimeout(function () { after(rows, drawn); }, 500);
  }, 500);
  function after(rows, drawn) {
    const read = Array.from(rows.querySelectorAll(".hoverlayer text")).map((t) => t.textContent).join("|");
    document.querySelector('[data-take="rows"] [data-as="scale"]').click();
    const linear = rows.layout.xaxis.type + " " + rows.data[rows.data.length - 1].x.join(",");
    document.querySelector('[data-take="rows"] [data-as="scale"]').click();
    const back = rows.layout.xaxis.type;
    const keep = function (text) { document.body.dataset.saved = text; };
    URL.createObjectURL = function (blob) { blob.text().then(keep); return "#"; };
    document.querySelector('[data-take="rows"] [data-as="csv"]').click();
    Object.assign(document.body.dataset, { drawn: drawn, read: read, linear: linear, back: back });
  }
});
</script>
"""


def opened(path: Path, tmp_path: Path, *more: str) -> tuple[str, str]:
    """The page's elements after its scripts have run, and what stands on its console."""
    assert BROWSER is not None
    plain = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    told = ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=6000", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *plain, *told, *more, path.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize("size", ["1200,900", "390,844"])
def test_a_page_in_a_browser(tmp_path: Path, size: str) -> None:
    html = page(Material("a run"), figures()).replace("</body>", f"{_ACTS}</body>")
    path = tmp_path / "page.html"
    path.write_text(html)
    found, console = opened(path, tmp_path, f"--window-size={size}")
    assert console == ""
    assert "data-failed" not in found

    def told(name: str) -> str:
        seen = re.search(rf'data-{name}="([^"]*)"', found)
        assert seen is not None, name
        return seen[1]

    assert int(told("drawn")) >= 3
    # Both rows are read at the one time: 2 and 3 above, 2 (as a share) below.
    assert told("read").count("at epoch 1") == 3
    assert told("linear") == "linear 0,1,2,4"
    assert told("back") == "log"
    assert told("saved").startswith("panel,series,epoch (log scale),value,low,high\nabove,test,0,1,0.5,1.5\n")


def test_the_numbers_of_every_kind_of_figure() -> None:
    from landform.report._numbers import as_csv

    rows, one, heat = (as_csv(figure) for figure in figures())
    assert rows.count("\n") == 1 + 3 * 4
    assert one.splitlines()[2] == "test,1,2,1.5,2.5"
    assert heat.splitlines() == ["row,column,heat", "a,a,1", "a,b,0", "b,a,0", "b,b,1"]


def test_panels_are_drawn_as_files_too() -> None:
    from landform.errors import BadInput
    from landform.report import draw

    rows = figures()[0]
    assert draw(rows).startswith(b"\x89PNG")
    assert draw(rows, "svg") == draw(rows, "svg")
    with pytest.raises(BadInput, match="no panel"):
        Panels("none", "", "", "", LOG, ())
