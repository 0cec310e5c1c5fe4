"""``landform surface``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import Choice, load_data, options
from landform.cli._paths import landscape_of, points_of
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from landform.landscape import Landscape
    from landform.recording import Trajectory
    from landform.surface import Directions, Projection, Surface

_RANDOM = ("filter", "layer", "model", "unit", "gaussian")


def surface(
    *runs: Path,
    at: float | None = None,
    directions: Literal["filter", "layer", "model", "unit", "gaussian", "hessian", "path", "radial"] = "filter",
    biases: Literal["zero", "whole", "keep"] = "zero",
    norms: Literal["zero", "whole", "keep"] = "zero",
    line: bool = False,
    extent: float | None = None,
    steps: int | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    trajectory: bool = False,
    quadratic: bool = False,
    tunnel: float | None = None,
    scale: Literal["auto", "linear", "log"] = "auto",
    keep: Path | None = None,
    loss: str | None = None,
    batch_size: int = 512,
    out: Path | None = None,
    model: str | None = None,
    data: str | None = None,
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Read loss and error on a plane around the weights of a run, and write a page with its map, hills and valleys.

    Of one run the plane lies around its last point, or that at an epoch; of three runs it goes through the three last
    points. With --line, or of two runs, it is a line.

    For example:

        landform surface runs/mine
        landform surface runs/mine --directions path --out way.png
        landform surface runs/mine --at 2.5 --quadratic --tolerance 0.01
        landform surface runs/a runs/b runs/c

    Args:
        runs: folders of runs of one model.
        at: the epoch; the recorded time nearest to it is taken instead of the last one.
        directions: random ones scaled to each filter, layer or all weights of the point, of length one (unit) or not
            scaled (gaussian); hessian (its top eigenvectors); path (principal components of the run's records, whose
            way is drawn); radial (the weights themselves, and at right angles to them a random one).
        biases: what becomes of biases in random directions: zero (they stay), whole (each vector as one filter), keep
            (moved as drawn).
        norms: the same for scales and shifts of normalisation layers.
        line: a line instead of a plane.
        extent: how far to go on both sides, in units of the directions; by default 1, or as far as the points lie.
        steps: how many places along each direction; by default 25, of a line 51.
        tolerance: read only where the surface bends, and interpolate elsewhere to within this share of its range.
        seed: of random directions.
        trajectory: draw the run's way on the plane, whatever spans it.
        quadratic: draw what gradient and Hessian at the centre foretell over it.
        tunnel: also measure how wide the tunnel around the point is at this loss, in three units.
        scale: of the losses; auto is log where they differ by more than a factor of thirty.
        keep: a folder to make the surface in: interrupted, it is gone on with; finished, read from there.
        loss: name of the loss; by default whichever fits the data.
        batch_size: samples at a time.
        out: a .html page, or a .png or .svg figure; by default surface.html in the first run's folder.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        json: print what was found as JSON.
    """
    if not 1 <= len(runs) <= 3:
        raise BadInput(f"landform surface reads around one run, or through two or three; {len(runs)} are given.")
    target = runs[0] / "surface.html" if out is None else out
    if target.suffix not in (".html", ".png", ".svg"):
        raise BadInput(f"--out is {target}: give a name that ends in .html, .png or .svg.")
    if len(runs) > 1 and (directions != "filter" or trajectory):
        raise BadInput(f"Through {len(runs)} runs there is one plane or line: leave --directions and --trajectory out.")
    axes = 1 if line or len(runs) == 2 else 2
    if trajectory and axes == 1:
        raise BadInput("--trajectory is drawn on a plane: leave --line out.")
    from landform.recording import Trajectory
    from landform.report import check_installed

    check_installed()
    run = Trajectory(runs[0])
    points, names = points_of(runs, at) if len(runs) > 1 else _here(runs[0], run, at)
    chosen = settled(
        runs[0],
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    started = time.perf_counter()
    with use(threads):
        dataset = load_data(chosen[1])
        landscape = landscape_of(*chosen, dataset, loss=loss, batch_size=batch_size, device=device)
        if landscape.layout.size != len(points[0]):
            raise BadInput(
                f"{runs[0]} has points of {len(points[0]):,} numbers, but the model {chosen[0].name} has "
                f"{landscape.layout.size:,} parameters: give the model that the run was trained with."
            )
        how = {"biases": biases, "norms": norms, "seed": seed}
        going = "It goes on where it was when the command is given again." if keep else "Nothing of it was kept."
        with going_on(going):
            width = _tunnel(landscape, points[0], tunnel, how)
            basis = _basis(landscape, run, points, names, directions, axes, how)
            with progress("reading the surface") as bar:
                found = _read(landscape, basis, points[0], axes, extent, steps, tolerance, keep, bar)
            drawn: dict[str, Any] = {}
            if axes == 2 and (directions == "path" or trajectory):
                drawn["ways"] = found.project(run.points, names=[f"epoch {epoch:.4g}" for epoch in run.epochs])
            if quadratic:
                from landform.surface import quadratic as foretold

                drawn["foretold"] = foretold(landscape, found)
    _write(found, target, scale, drawn, f"Around {names[0]}" if len(runs) == 1 else f"Through {', '.join(names)}")
    if json:
        answer(_numbers(found, names, target, drawn, width))
        return
    say(f"{names[0]}" if len(runs) == 1 else f"Through {', '.join(names)}")
    table(_rows(found, drawn))
    if width is not None:
        say(f"Tunnel: {width}.")
    say(f"Read in {time.perf_counter() - started:.1f} s.")
    say(f"Drawn: {target}")


def _here(folder: Path, run: Trajectory, at: float | None) -> tuple[list[Tensor], list[str]]:
    """The point of one run that is looked at."""
    if not len(run):
        raise BadInput(f"{folder} holds no record yet: record a run first.")
    record = run.records[len(run) - 1] if at is None else run.at(epoch=at)
    return [record.point], [f"{folder}, epoch {record.epoch:.4g}"]


def _basis(
    landscape: Landscape, run: Trajectory, points: list[Tensor], names: list[str], directions: str, axes: int, how: Any
) -> Directions:
    from landform import surface as room

    if len(points) > 1:
        return room.through(landscape, *points, names=names)
    here = points[0]
    if directions == "hessian":
        return room.hessian(landscape, here, axes)
    if directions == "path":
        return room.principal(landscape, run.points, axes)
    if directions == "radial":
        straight = room.radial(landscape, here)
        if axes == 1:
            return straight
        # What is at right angles to the point is left of a random direction of the same norm.
        other = room.random(landscape, here, 1, scale="model", **how).vectors[0].double()
        point = here.to(other)
        other = other - (other @ point) / (point @ point) * point
        beside = room.along(
            landscape,
            (other * (point.norm() / other.norm()))[None].to(landscape.dtype),
            how=f"random at right angles to the weights, seed {how['seed']}",
            unit="norm of the weights",
        )
        return room.join(straight, beside)
    return room.random(landscape, here, axes, scale=directions, **how)  # type: ignore[arg-type]


def _read(
    landscape: Landscape,
    basis: Directions,
    here: Tensor,
    axes: int,
    extent: float | None,
    steps: int | None,
    tolerance: float | None,
    keep: Path | None,
    bar: Any,
) -> Surface:
    from landform import surface as room

    # Principal components are taken about the run's last point, the others at the point itself.
    given: dict[str, Any] = {"directions": basis, "extent": extent, "tolerance": tolerance, "out": keep}
    if basis.marks is None:
        given["center"] = here
    make = room.line if axes == 1 else room.plane
    return make(landscape, steps=steps or (51 if axes == 1 else 25), progress=bar, **given)


def _tunnel(landscape: Landscape, point: Tensor, threshold: float | None, how: Any) -> Any:
    if threshold is None:
        return None
    from landform import surface as room

    with progress("measuring the tunnel") as bar:
        return room.tunnel(landscape, point, threshold=threshold, progress=bar, **how)


def _write(found: Surface, target: Path, scale: Any, drawn: dict[str, Any], title: str) -> None:
    from landform.report import draw, surface_figures, surface_page

    if target.suffix == ".html":
        surface_page(found, target, scale=scale, title=title, **drawn)
        return
    first = surface_figures(found, scale=scale, title=title, **drawn)[0]
    kind: Any = target.suffix[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(draw(first, kind))


def _rows(found: Surface, drawn: dict[str, Any]) -> list[tuple[str, str]]:
    finite = found.losses[found.losses.isfinite()]
    rows = [
        ("loss at the centre", f"{found.centre_loss:.4g}"),
        ("lowest and highest loss", f"{float(finite.min()):.4g}, {float(finite.max()):.4g}" if len(finite) else "none"),
        ("directions", str(found.basis)),
        ("a coordinate of 1", found.basis.unit),
        ("places read", f"{int(found.read.sum())} of {found.read.numel()}"),
    ]
    if found.centre_error is not None:
        rows.insert(1, ("wrong labels at the centre", f"{found.centre_error:.2%}"))
    ways: Projection | None = drawn.get("ways")
    if ways is not None:
        rows.append(("of the run in the plane", f"{ways.share:.1%}, at most {ways.residual:.3g} off it"))
    if "foretold" in drawn:
        rows.append(("to second order", str(drawn["foretold"]).removeprefix("to second order: ")))
    return rows


def _numbers(found: Surface, names: list[str], target: Path, drawn: dict[str, Any], width: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "points": names,
        "drawn": str(target),
        "axes": [axis.tolist() for axis in found.axes],
        "losses": found.losses.tolist(),
        "errors": None if found.errors is None else found.errors.tolist(),
        "centre": {"loss": found.centre_loss, "error": found.centre_error},
        "directions": {
            "how": found.basis.how,
            "unit": found.basis.unit,
            "norms": found.basis.norms.tolist(),
            "angle": found.basis.angle,
            "biases": found.basis.biases,
            "normalisation layers": found.basis.norms_of_layers,
            "shares": None if found.basis.shares is None else found.basis.shares.tolist(),
        },
        "landscape": found.about,
        "read": int(found.read.sum()),
        "passes": found.passes,
        "tolerance": found.tolerance,
    }
    if "ways" in drawn:
        ways: Projection = drawn["ways"]
        told["way"] = {
            "coordinates": ways.coordinates.tolist(), "residuals": ways.residuals.tolist(), "share": ways.share,
        }  # fmt: skip
    if "foretold" in drawn:
        told["curvatures"] = drawn["foretold"].principal.tolist()
    if width is not None:
        told["tunnel"] = {
            "threshold": width.threshold,
            **{unit: getattr(width, unit).tolist() for unit in ("raw", "relative", "filter")},
        }
    return told
