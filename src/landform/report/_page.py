"""The page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from landform import store
from landform.atlas import Atlas
from landform.errors import BadInput, try_import
from landform.recording import Trajectory
from landform.report._facts import facts, number
from landform.report._figure import Figure
from landform.report._figures import figures
from landform.report._gather import gather
from landform.report._heat import HeatMap
from landform.report._lines import Times
from landform.report._material import Material
from landform.report._matplotlib import draw
from landform.report._plotly import describe
from landform.report._style import DARK, LIGHT


def report(
    source: Atlas | Trajectory | str | Path,
    path: str | Path | None = None,
    *,
    times: Times = "auto",
    drawings: Literal["png", "svg"] | None = None,
) -> Path:
    """Write a page about a run: what was trained, what was measured along it, how to read it and what fools it.

    The page is one file, and opens without a network.

    Args:
        source: the run's folder, its trajectory, or the atlas that a survey returned.
        path: where the page shall lie; ``report.html`` in the run's folder by default.
        times: how time is drawn: ``"log"``, ``"linear"``, or ``"auto"``: log where most records are early ones.
        drawings: also write every figure as a file of this kind into a folder ``figures`` beside the page.

    Returns:
        Where the page lies.

    Raises:
        BadInput: when there is no run there, the page cannot be written, or the ``report`` extra is not installed.
    """
    if times not in ("auto", "linear", "log"):
        raise BadInput(f"times is {times!r}: give 'auto', 'linear' or 'log'.")
    if drawings not in (None, "png", "svg"):
        raise BadInput(f"drawings is {drawings!r}: give 'png', 'svg' or None.")
    check_installed()
    material = gather(source)
    folder = source.folder if isinstance(source, Atlas | Trajectory) else Path(source)
    path = folder / "report.html" if path is None else Path(path)
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give the name of a file, such as {path / 'report.html'}.")
    described = figures(material, times)
    store.make_folder(path.parent)
    store.write_text(path, page(material, described))
    if drawings is not None:
        place = store.make_folder(path.parent / "figures")
        for figure in described:
            store.write_bytes(place / f"{figure.name}.{drawings}", draw(figure, drawings))
    return path


def check_installed() -> None:
    """Say what is missing before work begins.

    Raises:
        BadInput: when the ``report`` extra is not installed.
    """
    for module in ("jinja2", "plotly", "matplotlib"):
        try_import(module, "report")


def page(material: Material, described: Sequence[Figure | HeatMap]) -> str:
    """Write the page.

    Args:
        material: what was measured.
        described: the figures.

    Returns:
        HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(files("landform.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        material=material,
        facts=facts(material),
        settings={name: _texts(group) for name, group in material.settings.items()},
        figures=described,
        drawn=_for_script({figure.name: describe(figure) for figure in described}),
        palette=_for_script({"light": LIGHT, "dark": DARK}),
        library=_library() if described else "",
    )


def _texts(group: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _text(value) for name, value in group.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        return number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _library() -> str:
    """The source of plotly.js, which plotly's own package brings; put into the page once."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")


def _for_script(content: Any) -> str:
    """JSON that can stand in a script element, whatever text is in it."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
