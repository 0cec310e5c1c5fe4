"""``landform info``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from landform.cli._show import answer, table

_EXTRAS = {
    "report": ("jinja2", "matplotlib", "plotly"),
    "data": ("pyarrow", "pillow", "datasets"),
    "analysis": ("xarray",),
    "yaml": ("PyYAML",),
    "ray": ("ray",),
    "flower": ("flwr",),
    "lightning": ("lightning",),
    "transformers": ("transformers", "accelerate"),
    "peft": ("peft",),
    "track": ("tensorboard", "wandb", "mlflow-skinny"),
}


def info(run: Path | None = None, /, *, json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Say what a run's folder holds or, without a run, what landform runs on.

    For example:

        landform info
        landform info runs/mine

    Args:
        run: the run's folder.
        json: print JSON instead of a table.
    """
    found = about_machine() if run is None else about_run(run)
    if json:
        answer(found)
    else:
        if resumable := found.get("resumable_at"):
            found["resumable_at"] = f"{len(resumable)} steps, the last of them {resumable[-1]}"
        table([(name.replace("_", " "), _text(value)) for name, value in found.items()])


def about_machine() -> dict[str, Any]:
    """What landform runs on: versions, device, threads, where data sets are looked for."""
    import torch

    import landform
    from landform.landscape import find_device

    device = find_device("auto")
    root = os.environ.get("LANDFORM_DATA")
    missing = {name: [p for p in parts if not _installed(p)] for name, parts in _EXTRAS.items()}
    return {
        "landform": landform.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "data_root": root if root else "LANDFORM_DATA is not set",
        "data_root_exists": bool(root) and Path(str(root)).is_dir(),
        "extras": [name for name, parts in missing.items() if not parts],
        "extras_missing": [name for name, parts in missing.items() if parts],
    }


def about_run(folder: Path) -> dict[str, Any]:
    """What a run's folder holds.

    Args:
        folder: the run's folder.

    Returns:
        Names and values, plain JSON.
    """
    from landform import store
    from landform.atlas import Atlas
    from landform.cli._told import recall
    from landform.recording import Trajectory

    run = Trajectory(folder)
    atlas = Atlas(folder)
    told = recall(folder)
    page = folder / "report.html"
    return {
        "run": str(folder),
        "made": run.run["made"],
        "landform": run.run["landform"],
        "torch": run.run["torch"],
        "model": told["model"].name if "model" in told else "not known (landform survey needs --model)",
        "data": told["data"].name if "data" in told else "not known (landform survey needs --data)",
        "parameters": run.layout.size,
        "records": len(run),
        "epochs": round(run.epochs[-1], 4) if run.epochs else 0,
        "steps": run.steps[-1] if run.steps else 0,
        "steps_per_epoch": run.run["epoch"],
        "resumable_at": [record.step for record in run.resumable],
        "pairs": len(run.pairs),
        "children": [child.folder.name for child in run.children],
        "curves": sorted(run.curves),
        "left_out": [f"{name} at {len(steps)} times" for name, steps in sorted(run.skipped.items())],
        "disk_use": store.size_text(run.disk_use),
        "damaged": [str(path) for path in run.damaged],
        "measured": list(atlas.names()),
        "notes": list(atlas.notes),
        "report": str(page) if page.is_file() else None,
    }


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
