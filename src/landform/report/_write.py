"""Writing the page: what is imported when landform is, so that the rest is loaded at its first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from landform import store
from landform.atlas import Atlas
from landform.errors import BadInput
from landform.recording import Trajectory

if TYPE_CHECKING:
    from landform.report._lines import Times
    from landform.report._material import Drawn


def report(
    source: Atlas | Trajectory | str | Path,
    path: str | Path | None = None,
    *,
    times: Times = "auto",
    drawings: Literal["png", "svg"] | None = None,
) -> Path:
    """Write a page about a run or a study: what was trained, what was measured, how to read it and what fools it.

    The page is one file, and opens without a network.

    Args:
        source: the run's folder, its trajectory, or the atlas that a survey returned; or the folder of a study.
        path: where the page shall lie; ``report.html`` in the run's folder by default.
        times: how time is drawn: ``"log"``, ``"linear"``, or ``"auto"``: log where most records are early ones.
        drawings: also write every figure as a file of this kind into a folder ``figures`` beside the page.

    Returns:
        Where the page lies.

    Raises:
        BadInput: when there is no run there, the page cannot be written, or the ``report`` extra is not installed.
    """
    from landform.report._draw import draw
    from landform.report._figures import figures
    from landform.report._gather import gather
    from landform.report._page import check_installed, page, study_page
    from landform.report._study_page import gather_study, is_study

    if times not in ("auto", "linear", "log"):
        raise BadInput(f"times is {times!r}: give 'auto', 'linear' or 'log'.")
    if drawings not in (None, "png", "svg"):
        raise BadInput(f"drawings is {drawings!r}: give 'png', 'svg' or None.")
    check_installed()
    if not isinstance(source, Atlas | Trajectory | str | Path):
        raise BadInput(
            f"A report is made from a run's folder, a Trajectory or an Atlas; got a {type(source).__name__}."
        )
    folder = source.folder if isinstance(source, Atlas | Trajectory) else Path(source)
    study = gather_study(folder, times) if is_study(folder) else None
    path = folder / "report.html" if path is None else Path(path)
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give the name of a file, such as {path / 'report.html'}.")
    if study is not None:
        described: Sequence[Drawn] = study.figures
        text = study_page(study)
    else:
        material = gather(source)
        described = figures(material, times)
        text = page(material, described)
    store.make_folder(path.parent)
    store.write_text(path, text)
    if drawings is not None:
        place = store.make_folder(path.parent / "figures")
        for figure in described:
            store.write_bytes(place / f"{figure.name}.{drawings}", draw(figure, drawings))
    return path
