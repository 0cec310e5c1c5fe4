"""Figures of the study of federated averaging in the kernel regime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.report._bands import band, table_of
from landform.report._figure import Axis, Figure, Series
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.studies import FederatedProtocol, run_of, zoo_cell

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]
_DIVISIONS = {"iid": "iid clients", "dirichlet": "Dirichlet clients"}


def figures_of_federated(protocol: FederatedProtocol, found: Found) -> list[Drawn]:
    """Everything that is drawn.

    Args:
        protocol: the study's.
        found: by kind of part.

    Returns:
        The figures there is something to draw for.
    """
    drawn: list[Drawn] = []
    if found.get("lazy"):
        parts = found["lazy"]
        drawn += [_curves(protocol, parts), _nearer(protocol, parts), _asymmetry(protocol, parts)]
        drawn.append(_spectrum(protocol, parts))
    if found.get("scaling"):
        drawn += [_steps(protocol, found["scaling"]), _clients(protocol, found["scaling"])]
    if found.get("gap"):
        drawn.append(_gap(found["gap"]))
    for name in protocol.zoo:
        parts = [part for part in found.get("zoo", ()) if part["subject"] == name]
        if parts:
            drawn += [_zoo_curves(protocol, name, parts), _zoo_rounds(protocol, name, parts)]
    return drawn


def _share(rows: Sequence[Sequence[float | None]]) -> Any:
    """Curves over where they begin."""
    table = table_of(rows)
    return table / table[:, :1]


def _curves(protocol: FederatedProtocol, parts: Sequence[Part]) -> Panels:
    t = np.arange(protocol.rounds + 1.0)
    panels = []
    for width in (protocol.widths[0], protocol.widths[-1]):
        lines: list[Series] = []
        for place, steps in enumerate(protocol.steps):
            runs = [run_of(part, width, steps) for part in parts]
            seen = band(f"K = {steps}", t, _share([run["losses"] for run in runs]), place, log=True, style="points")
            told = band(f"K = {steps}, predicted", t, _share([run["limit"]["losses"] for run in runs]), place, log=True)
            bound = float(np.mean([run["bound"] for run in runs]))
            lines.append(seen)
            lines.append(Series(told.name, t, told.y, "line", place, dash=0))
            lines.append(Series(f"K = {steps}, bound", t, bound**t, "line", place, dash=2))
        panels.append(Panel(f"{width:,} units", Axis("loss over the first", "log"), tuple(lines)))
    return Panels(
        "curves",
        "Rounds, trained and predicted",
        "Training loss over that of the first round: of the server's network (points, with standard errors over "
        "seeds), by the operator of the lazy round on the limit kernel H-infinity and the network's first residuals "
        "(lines), and by the theorem's bound (dotted), whose constants are from memory.",
        "A bound on the slowest part of the residual: faster parts go first.",
        Axis("round"),
        tuple(panels),
    )


def _nearer(protocol: FederatedProtocol, parts: Sequence[Part]) -> Figure:
    lines = []
    widths = [float(width) for width in protocol.widths]
    for place, steps in enumerate(protocol.steps):
        rows = [[_off(run_of(part, width, steps), "limit") for width in protocol.widths] for part in parts]
        lines.append(band(f"K = {steps}", widths, rows, place, log=True))
    return Figure(
        "nearer",
        "Width brings training to its kernel",
        f"Difference between the mean factor of the loss over {protocol.rounds} rounds and that predicted from the "
        "limit kernel, by the width of the network and the number K of local steps. The line is at 0.005.",
        "Geometric means over seeds: a difference that is 0 by chance pulls them down.",
        Axis("units (log scale)", "log"),
        Axis("difference of the contraction (log scale)", "log"),
        tuple(lines),
        reference=0.005,
    )


def _off(run: Part, kernel: str) -> float | None:
    if run["observed"] is None or run[kernel]["contraction"] is None:
        return None
    return abs(float(run["observed"]) - float(run[kernel]["contraction"]))


def _asymmetry(protocol: FederatedProtocol, parts: Sequence[Part]) -> Figure:
    widths = np.array(protocol.widths, dtype=float)
    lines = []
    for place, steps in enumerate(protocol.steps):
        if steps == 1:
            continue
        rows = [
            [max(value for _, value in run_of(part, width, steps)["asymmetry"]) for width in protocol.widths]
            for part in parts
        ]
        lines.append(band(f"K = {steps}", widths, rows, place, log=True))
    first = float(lines[-1].y[0])
    lines.append(Series("width^-1/2", widths, first * (widths / widths[0]) ** -0.5, "line", 5, dash=1))
    return Figure(
        "asymmetry",
        "The Gram matrix and its transpose",
        "Largest difference between a client's block of the Gram matrix and its transpose, over the block's largest "
        "entry, before the last of K local steps, the largest over clients and rounds, by the width of the network. "
        "With K = 1 it is 0.",
        "Rows see the server's weights, columns the client's: patterns of active units differ where these have moved.",
        Axis("units (log scale)", "log"),
        Axis("asymmetry (log scale)", "log"),
        tuple(lines),
    )


def _spectrum(protocol: FederatedProtocol, parts: Sequence[Part]) -> Figure:
    part, most = parts[0], protocol.steps[-1]
    ranks = np.arange(1.0, len(part["spectrum"]) + 1)
    lines = [Series("H-infinity", ranks, np.array(part["spectrum"])[::-1], "line", 0, dash=0)]
    for place, width in enumerate((protocol.widths[0], protocol.widths[-1]), start=1):
        values = run_of(part, width, most)["eigenvalues"]
        if values is not None:
            lines.append(Series(f"{width:,} units", ranks, np.array(values)[::-1], "points", place, dash=place))
    return Figure(
        "spectrum",
        "The spectrum of the asymmetric Gram matrix",
        f"Eigenvalues of H-infinity, and real parts of those of H before the last of {most} local steps of the first "
        "round, with the rows of the server's weights and the columns of each client's own, seed 0.",
        "Eigenvalues of a matrix that is not symmetric bound no norm; imaginary parts are small.",
        Axis("rank"),
        Axis("eigenvalue (log scale)", "log"),
        tuple(lines),
    )


def _rows(parts: Sequence[Part], which: str, **where: Any) -> list[float | None]:
    """One number of each seed, of the cell where all this holds."""
    found: list[float | None] = []
    for part in parts:
        cells = [cell for cell in part["cells"] if all(cell[key] == value for key, value in where.items())]
        found.append(cells[0][which] if cells else None)
    return found


def _across(parts: Sequence[Part], key: str, values: Sequence[float], which: str, **where: Any) -> Any:
    return table_of(list(zip(*[_rows(parts, which, **{key: value}, **where) for value in values], strict=True)))


def _steps(protocol: FederatedProtocol, parts: Sequence[Part]) -> Panels:
    x = [float(steps) for steps in protocol.scaled_steps]
    panels = []
    for division, name in (("iid", "iid clients"), ("labels", "clients sorted by target")):
        lines: list[Series] = []
        for place, clients in enumerate(protocol.scaled_clients):
            where = {"division": division, "clients": clients, "mean": False}
            seen = _across(parts, "steps", protocol.scaled_steps, "trained", **where)
            told = band("", x, _across(parts, "steps", protocol.scaled_steps, "predicted", **where), place, log=True)
            lines.append(band(f"N = {clients}", x, seen, place, log=True, style="points"))
            lines.append(Series(f"N = {clients}, predicted", np.array(x), told.y, "line", place, dash=0))
        top = float(lines[-1].y[0])
        lines.append(Series("1/K", np.array(x), top / np.array(x), "line", 5, dash=1))
        panels.append(Panel(name, Axis("rounds", "log"), tuple(lines)))
    return Panels(
        "steps",
        "Rounds by local steps",
        f"Rounds to {protocol.share:.0%} of the loss, in a line between logarithms, by the number K of local steps and "
        f"N of clients, {protocol.scaled_width:,} units: trained (points) and by the lazy operator (lines).",
        "Losses are sums over a client's samples, as in the analysis.",
        Axis("local steps K (log scale)", "log"),
        tuple(panels),
    )


def _clients(protocol: FederatedProtocol, parts: Sequence[Part]) -> Figure:
    x = [float(clients) for clients in protocol.scaled_clients]
    middle = protocol.scaled_steps[len(protocol.scaled_steps) // 2]
    lines = []
    for place, (mean, division) in enumerate(((False, "iid"), (False, "labels"), (True, "iid"), (True, "labels"))):
        name = f"{'means' if mean else 'sums'}, {'iid' if division == 'iid' else 'sorted by target'}"
        where = {"division": division, "mean": mean, "steps": middle}
        rows = _across(parts, "clients", protocol.scaled_clients, "trained", **where)
        lines.append(band(name, x, rows, place, log=True))
    return Figure(
        "clients",
        "Rounds by clients",
        f"Rounds to {protocol.share:.0%} of the loss by the number of clients, K = {middle}: with losses that are sums "
        "over a client's samples, as in the analysis, and that are means, as is usual.",
        f"Rates of sums and means are such that both take the same steps with {protocol.clients} clients.",
        Axis("clients N (log scale)", "log"),
        Axis("rounds (log scale)", "log"),
        tuple(lines),
    )


def _gap(parts: Sequence[Part]) -> Figure:
    x = [each["noise"] for each in parts[0]["levels"]]
    keys: tuple[tuple[str, Callable[[Part], float]], ...] = (
        ("bound sqrt(2 y H^-1 y / n)", lambda each: each["bound"]),
        ("gap, trained", lambda each: each["test"] - each["train"]),
        ("test loss, trained", lambda each: each["test"]),
        ("test loss, kernel at the end", lambda each: each["kernel"]),
        ("training loss", lambda each: each["train"]),
    )
    return Figure(
        "gap",
        "The generalisation bound and the gap",
        "Mean distance of the prediction from the target, at most 1, on training and on new samples; their difference; "
        "that of the limit kernel's own solution; and the leading term of the bound, by the share of labels that are "
        "drawn at random. Digits below five against the others.",
        "The bound's further term, with a constant of its own, is left out; above 1 it says nothing.",
        Axis("share of random labels", percent=True),
        Axis("clipped distance (log scale)", "log"),
        tuple(
            band(name, x, [[take(each) for each in part["levels"]] for part in parts], place, log=True)
            for place, (name, take) in enumerate(keys)
        ),
        reference=1.0,
    )


def _zoo_curves(protocol: FederatedProtocol, name: str, parts: Sequence[Part]) -> Panels:
    clients = protocol.zoo_clients[0]
    panels = []
    for division, label in _DIVISIONS.items():
        lines = []
        for place, steps in enumerate(protocol.zoo_steps):
            cells = [zoo_cell(part, division, clients, steps) for part in parts]
            times = cells[0]["rounds"]
            lines.append(band(f"K = {steps}", times, [cell["losses"] for cell in cells], place, log=True, style="line"))
        panels.append(Panel(f"{label}, N = {clients}", Axis("loss", "log"), tuple(lines)))
    return Panels(
        f"zoo-{name}",
        f"Rounds of a network ({name})",
        "Training loss of the server's network by round and number K of local steps.",
        "Equally many rounds are not equal work: a round of K steps costs each client K gradients.",
        Axis("round"),
        tuple(panels),
    )


def _zoo_rounds(protocol: FederatedProtocol, name: str, parts: Sequence[Part]) -> Panels:
    x = [float(steps) for steps in protocol.zoo_steps]
    rounds, errors, spreads = [], [], []
    for i, (division, label) in enumerate(_DIVISIONS.items()):
        for j, clients in enumerate(protocol.zoo_clients):
            place, told = 2 * i + j, f"{label}, N = {clients}"
            cells = [[zoo_cell(part, division, clients, steps) for steps in protocol.zoo_steps] for part in parts]
            rounds.append(band(told, x, [[c["reached"] for c in row] for row in cells], place, log=True))
            errors.append(band(told, x, [[c["error"] for c in row] for row in cells], place))
            spreads.append(band(told, x, [[c["spread"] for c in row] for row in cells], place))
    return Panels(
        f"zoo-rounds-{name}",
        f"Local steps, clients and divisions ({name})",
        f"By the number K of local steps: rounds to a training loss of {protocol.levels[name]:g}; test error at the "
        "end; how far clients come apart within a round (distance from their mean over the mean's way).",
        "A seed that does not reach the loss in its rounds is left out of the first row.",
        Axis("local steps K (log scale)", "log"),
        (
            Panel("rounds to the loss", Axis("rounds", "log"), tuple(rounds)),
            Panel("wrong test labels", Axis("labels", percent=True), tuple(errors)),
            Panel("distance of clients from their mean", Axis("over the mean's way"), tuple(spreads)),
        ),
    )
