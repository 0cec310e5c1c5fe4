"""``landform list``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from landform.cli._show import answer, say, table
from landform.errors import BadInput


def list_(
    what: Literal["probes", "studies", "models", "data", "methods", "runs"],
    /,
    *,
    folder: Path = Path("runs"),
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """List what there is: probes, studies, models, data sets, methods of merging, or the runs in a folder.

    For example:

        landform list models
        landform list runs --folder runs

    Args:
        what: probes, studies, models, data, methods or runs.
        folder: where to look for runs.
        json: print JSON instead of a table.
    """
    known = {"probes": _probes, "studies": _studies, "models": _models, "data": _data, "methods": _methods}
    rows = _runs(folder) if what == "runs" else known[what]()
    if json:
        answer(rows)
    elif rows:
        table([tuple(row.values()) for row in rows], tuple(rows[0]))
    else:
        say(f"There is no run in {folder} yet: landform train --out {folder / 'mine'} makes one.")


def _probes() -> list[dict[str, object]]:
    from landform import probes

    found = [probes.get(name) for name in probes.names()]
    usual = set(probes.DEFAULT)
    return [{"name": p.name, "measures": p.doc, "usual": "yes" if p.name in usual else "no"} for p in found]


def _studies() -> list[dict[str, object]]:
    from landform.studies import STUDIES

    return [{"name": s.name, "question": s.question, "scales": ", ".join(s.scales)} for s in STUDIES.values()]


def _models() -> list[dict[str, object]]:
    from landform import models

    return [{"name": name, "what": _first_line(getattr(models, name))} for name in models.names()]


def _data() -> list[dict[str, object]]:
    from landform import data

    return [{"name": name, "what": _first_line(getattr(data, name))} for name in data.names()]


def _methods() -> list[dict[str, object]]:
    from landform import merging

    found = [merging.get(name) for name in merging.methods()]
    return [
        {
            "name": method.name,
            "what": method.doc,
            "needs": " ".join(["base"] * method.base + ["data"] * (method.whole is not None)),
            "settings": " ".join(f"{name}={setting.default}" for name, setting in method.settings.items()),
        }
        for method in found
    ]


def _runs(folder: Path) -> list[dict[str, object]]:
    from landform.recording import Trajectory

    if not folder.is_dir():
        return []
    rows: list[dict[str, object]] = []
    for place in sorted(each.parent for each in folder.glob("*/run.json")):
        try:
            run = Trajectory(place)
            rows.append(
                {
                    "run": str(place),
                    "records": len(run),
                    "epochs": round(run.epochs[-1], 4) if run.epochs else 0,
                    "parameters": run.layout.size,
                    "made": run.run["made"],
                }
            )
        except BadInput as why:
            say(f"landform: {why}")
    return rows


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".").replace("`", "")
