"""What the callbacks of training frameworks have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from landform.errors import BadInput
from landform.recording._distributed import is_sharded
from landform.recording._recorder import Recorder
from landform.recording._times import log_spaced

# Times recorded where the user names none.
_USUAL = 50


def begin(
    folder: str | Path,
    model: nn.Module,
    optimizer: Any,
    options: Mapping[str, Any],
    *,
    per_epoch: float | None,
    steps: float | None,
    done: int,
    first: bool,
) -> Recorder | None:
    """Make the recorder of a framework's run, with the framework's answers where the user gave none.

    Args:
        folder: where the run shall lie.
        model: what is trained.
        optimizer: its optimiser, or None.
        options: what the user asked for, as for `Recorder`.
        per_epoch: steps in an epoch, where they are known.
        steps: steps until the end, where they are known.
        done: steps taken already, in a training that goes on.
        first: whether this is the first of several processes.

    Returns:
        The recorder; None where another process records.

    Raises:
        BadInput: when nobody knows how long an epoch is, or the run to go on with has no record of this step.
    """
    if not first and not any(map(is_sharded, model.parameters())):
        return None
    known = {name: value for name, value in options.items() if not (name in ("at", "epoch") and value is None)}
    if "epoch" not in known:
        if per_epoch is None or not math.isfinite(per_epoch) or per_epoch < 1:
            raise BadInput("The data do not tell how long an epoch is: give epoch=, the number of steps in one.")
        known["epoch"] = int(per_epoch)
    if "at" not in known:
        planned = steps is not None and math.isfinite(steps) and steps >= 1
        known["at"] = log_spaced(_USUAL, until=int(steps or 1)) if planned else known["epoch"]
    recorder = Recorder(folder, model, optimizer, **{"resume": done > 0, **known})
    if recorder.steps != done:
        recorder.close()
        raise BadInput(
            f"Training goes on at step {done}, and the run in {folder} would at step {recorder.steps}: record into the "
            "folder of the run that goes on, with at= such that the steps of checkpoints are recorded."
        )
    return recorder


def numbers_in(found: Mapping[str, Any], without: Iterable[str] = ()) -> dict[str, float]:
    """The finite numbers among what a framework reports.

    Args:
        found: values by name.
        without: names to leave out.

    Returns:
        Numbers by name.
    """
    left_out = set(without)
    return {
        str(name): float(value)
        for name, value in found.items()
        if name not in left_out
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }
