"""The page about one surface: a map, hills and valleys, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from landform import store
from landform.errors import BadInput
from landform.report._material import Drawn
from landform.report._page import check_installed, render
from landform.report._surface_figures import Scales, reliefs, surface_line, surface_map

if TYPE_CHECKING:
    from landform.surface import MergeTree, Projection, Quadratic, Surface


def surface_figures(
    surface: Surface,
    *,
    scale: Scales = "auto",
    ways: Mapping[str, Projection] | Projection | None = None,
    foretold: Quadratic | None = None,
    tree: MergeTree | None = None,
    title: str | None = None,
) -> list[Drawn]:
    """Every figure of a line or a plane.

    Args:
        surface: the line or the plane.
        scale: of the losses' colours.
        ways: trajectories on the plane.
        foretold: the loss to second order.
        tree: basins of the plane.
        title: what is to be seen.

    Returns:
        Of a plane the map, the hills and valleys, and the map of the errors; of a line its curves; of a volume the maps
        of the three planes through its middle.
    """
    errors = surface.errors is not None
    if len(surface.axes) == 3:
        titles = [f"{title or 'Loss in a volume'}, across direction {i + 1}" for i in range(3)]
        maps = [surface_map(surface.cut(i), scale=scale, title=titles[i]) for i in range(3)]
        return [replace(one, name=f"across-{i + 1}") for i, one in enumerate(maps)]
    if len(surface.axes) == 1:
        return [
            surface_line(surface, foretold=foretold, title=title),
            *([surface_line(surface, error=True)] if errors else []),
        ]
    flat = surface_map(surface, scale=scale, ways=ways, foretold=foretold, tree=tree, title=title)
    return [flat, reliefs(flat), *([surface_map(surface, error=True, ways=ways)] if errors else [])]


def surface_page(
    surface: Surface,
    path: str | Path,
    *,
    scale: Scales = "auto",
    ways: Mapping[str, Projection] | Projection | None = None,
    foretold: Quadratic | None = None,
    tree: MergeTree | None = None,
    title: str = "A loss surface",
    command: str = "",
) -> Path:
    """Write a page about a line or a plane, in which hills and valleys can be turned.

    The page is one file, and opens without a network.

    Args:
        surface: the line or the plane.
        path: where the page shall lie.
        scale: of the losses' colours: ``"auto"``, ``"linear"`` or ``"log"``.
        ways: trajectories on the plane, as ``surface.project`` gives them.
        foretold: the loss to second order.
        tree: basins of the plane.
        title: of the page.
        command: that makes the page again.

    Returns:
        Where the page lies.

    Raises:
        BadInput: when the page cannot be written, or the ``report`` extra is not installed.
    """
    check_installed()
    target = Path(path)
    if target.is_dir():
        raise BadInput(f"{target} is a folder: give the name of a file, such as {target / 'surface.html'}.")
    described = surface_figures(surface, scale=scale, ways=ways, foretold=foretold, tree=tree)
    store.make_folder(target.parent)
    text = render(
        "surface.html",
        described,
        settings={},
        title=title,
        about=surface.about,
        told=_told(surface, ways, tree),
        notes=_notes(surface, foretold, tree),
        command=command,
    )
    store.write_text(target, text)
    return target


def _told(
    surface: Surface, ways: Mapping[str, Projection] | Projection | None, tree: MergeTree | None
) -> list[tuple[str, str]]:
    """Headline numbers."""
    found = [("loss at the centre", f"{surface.centre_loss:.4g}")]
    if surface.centre_error is not None:
        found.append(("wrong labels there", f"{surface.centre_error:.2%}"))
    finite = surface.losses[surface.losses.isfinite()]
    found.append(("lowest loss seen", f"{float(finite.min()):.4g}"))
    found.append(("highest loss seen", f"{float(finite.max()):.4g}"))
    if len(surface.axes) > 1:
        found.append(("angle", f"{surface.basis.angle:.2f}°"))
    found.append(("norms", ", ".join(f"{norm:.3g}" for norm in surface.basis.norms.tolist())))
    each = {} if ways is None else ways if isinstance(ways, Mapping) else {"trajectory": ways}
    found += [(f"of the {name} in the plane", f"{one.share:.1%}") for name, one in each.items()]
    return found if tree is None else [*found, ("basins" if len(tree) > 1 else "basin", str(len(tree)))]


def _notes(surface: Surface, foretold: Quadratic | None, tree: MergeTree | None) -> list[str]:
    found = [
        f"Directions: {surface.basis}.",
        f"Units: a coordinate of 1 is one {surface.basis.unit}.",
        f"{surface.how.rstrip('.')}.",
        f"{int(surface.read.sum())} of {surface.read.numel()} places were read; this took {surface.passes} forward "
        "passes over the data.",
    ]
    if foretold is not None:
        found.append(f"{str(foretold)[0].upper()}{str(foretold)[1:]}.")
    return found if tree is None else [*found, f"{tree}."]
