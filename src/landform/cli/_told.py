"""What ``landform train`` was told about model and data, for the commands that come after it."""

from __future__ import annotations

from pathlib import Path

from landform.cli._choose import Choice
from landform.errors import BadInput
from landform.recording import Trajectory


def recall(folder: Path) -> dict[str, Choice]:
    """Find out which model and data a run was trained with.

    Args:
        folder: the run's folder.

    Returns:
        ``model`` and ``data``, as far as the run says.
    """
    settings = Trajectory(folder).run["settings"]
    told = settings.get("command", {})
    return {
        part: Choice(told[part]["name"], told[part].get("options", {}))
        for part in ("model", "data")
        if isinstance(told.get(part), dict) and "name" in told[part]
    }


def settled(folder: Path, model: Choice | None, data: Choice | None) -> tuple[Choice, Choice]:
    """Decide with which model and data to look at a run: what was asked for, else what it was trained with.

    Args:
        folder: the run's folder.
        model: asked for, or None.
        data: asked for, or None.

    Returns:
        Model and data.

    Raises:
        BadInput: when nobody says.
    """
    told = recall(folder)
    for part, asked, example in (("model", model, "my_module:build"), ("data", data, "cifar10")):
        if asked is None and part not in told:
            raise BadInput(
                f"{folder} does not say with which {part} it was trained (it was not made by landform train): give "
                f"--{part}, such as --{part} {example}."
            )
    return model or told["model"], data or told["data"]
