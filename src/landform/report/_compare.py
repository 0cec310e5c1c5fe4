"""Two runs side by side: what differs in how they were trained, and every curve of both in one figure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landform import store
from landform.atlas import Atlas
from landform.errors import BadInput
from landform.recording import Trajectory
from landform.report._facts import facts
from landform.report._figure import Figure, Series
from landform.report._figures import figures
from landform.report._gather import gather
from landform.report._lines import Times
from landform.report._material import Drawn, Material
from landform.report._page import check_installed, render
from landform.report._panels import Panels


@dataclass(frozen=True)
class Comparison:
    """Two runs or more, side by side.

    Attributes:
        names: of the runs.
        facts: headline numbers: the label, and the text of each run.
        differing: settings that differ: where it stands, and each run's value.
        figures: the curves of all runs in one figure each.
        notes: what only some of them have.
    """

    names: tuple[str, ...]
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


def comparison(sources: Sequence[Atlas | Trajectory | str | Path], times: Times = "auto") -> Comparison:
    """Put runs side by side.

    Args:
        sources: their folders, trajectories or atlases.
        times: how time is drawn.

    Returns:
        What differs, and the figures.

    Raises:
        BadInput: when there are fewer than two, or one of them is no run.
    """
    if len(sources) < 2:
        raise BadInput(f"There is {len(sources)} run: give two at least to compare.")
    every = [gather(source) for source in sources]
    names = _names(every, sources)
    drawn = [{figure.name: figure for figure in figures(material, times)} for material in every]
    shared = [name for name in drawn[0] if all(name in each for each in drawn)]
    merged = [_merged([each[name] for each in drawn], names) for name in shared]
    notes = []
    for name in dict.fromkeys(name for each in drawn for name in each):
        there = [run for run, each in zip(names, drawn, strict=True) if name in each]
        if len(there) < len(names):
            notes.append(f"{name.replace('-', ' ')} was measured along {' and '.join(there)} alone.")
    if not shared:
        notes.append("Nothing was measured along all of them: survey each with the same probes.")
    return Comparison(
        names,
        tuple(_facts(every)),
        tuple(_differing(every)),
        tuple(figure for figure in merged if figure is not None),
        tuple(notes),
    )


def compare(
    sources: Sequence[Atlas | Trajectory | str | Path], path: str | Path = "compare.html", *, times: Times = "auto"
) -> Path:
    """Write a page that sets runs side by side.

    Args:
        sources: the runs.
        path: where the page shall lie.
        times: how time is drawn: ``"log"``, ``"linear"`` or ``"auto"``.

    Returns:
        Where the page lies.

    Raises:
        BadInput: when there are fewer than two runs, or the page cannot be written.
    """
    check_installed()
    target = Path(path)
    if target.is_dir():
        raise BadInput(f"{target} is a folder: give the name of a file, such as {target / 'compare.html'}.")
    found = comparison(sources, times)
    folders = [str(one.folder if isinstance(one, Atlas | Trajectory) else one) for one in sources]
    command = shlex.join(["landform", "compare", *folders, "--out", str(target)])
    store.make_folder(target.parent)
    store.write_text(target, render("compare.html", found.figures, material=found, settings={}, command=command))
    return target


def _names(every: Sequence[Material], sources: Sequence[Any]) -> tuple[str, ...]:
    names = [material.name for material in every]
    if len(set(names)) < len(names):  # runs/a/net and runs/b/net
        names = [str(one.folder if isinstance(one, Atlas | Trajectory) else one) for one in sources]
    return tuple(names)


def _facts(every: Sequence[Material]) -> list[tuple[str, tuple[str, ...]]]:
    rows = [{fact.label: fact.text for fact in facts(material)} for material in every]
    labels = dict.fromkeys(label for row in rows for label in row)
    return [(label, tuple(row.get(label, "-") for row in rows)) for label in labels]


def _differing(every: Sequence[Material]) -> list[tuple[str, tuple[str, ...]]]:
    """Settings of which the runs have different values, the seconds of training aside."""
    flat = [
        {f"{group}: {name}": str(value) for group, each in material.settings.items() for name, value in each.items()}
        for material in every
    ]
    names = dict.fromkeys(name for one in flat for name in one)
    return [
        (name.replace("_", " "), tuple(one.get(name, "-") for one in flat))
        for name in names
        if len({one.get(name) for one in flat}) > 1
    ]


def _merged(same: Sequence[Drawn], names: Sequence[str]) -> Figure | None:
    """One figure of several runs: what is the same has one colour, the lines of a run have one dash."""
    if not all(isinstance(each, Figure) for each in same) or isinstance(same[0], Panels):
        return None
    first = same[0]
    assert isinstance(first, Figure)
    lines: list[Series] = []
    for place, (figure, name) in enumerate(zip(same, names, strict=True)):
        assert isinstance(figure, Figure)
        lines += [replace(one, name=f"{name}: {one.name}", dash=place) for one in figure.series]
    # A log axis needs a place for zero that suits all of them.
    zeros = [figure.x.zero_at for figure in same if isinstance(figure, Figure) and figure.x.zero_at is not None]
    x = replace(first.x, zero_at=min(zeros)) if zeros and first.x.scale == "log" else first.x
    return replace(first, x=x, series=tuple(lines))
