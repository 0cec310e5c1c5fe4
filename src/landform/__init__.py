"""The geometry of neural-network training: the loss landscape a run moves through, and what moves along it.

Three nouns, and functions between them: a `Landscape` is a loss as a function of a point, a `Trajectory` is the points
a training run visited, an `Atlas` is what was measured along it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from landform import data, models, probes
from landform._later import later
from landform.atlas import Atlas
from landform.errors import BadInput, Damaged
from landform.landscape import Landscape
from landform.layout import Layout
from landform.recording import Recorder, Trajectory, every, log_spaced
from landform.report import report
from landform.survey import survey
from landform.training import (
    Constant,
    Cosine,
    Cyclic,
    Recipe,
    Recording,
    Step,
    Trained,
    spawn,
    train,
    train_many,
)

if TYPE_CHECKING:
    from types import ModuleType

    from landform import (
        alignment,
        attacks,
        curvature,
        diagnosis,
        functions,
        kernel,
        merging,
        parallel,
        paths,
        series,
        studies,
        surface,
        sweeps,
        theory,
    )
    from landform.diagnosis import diagnose
    from landform.sweeps import sweep
    from landform.training import Federated, Federation, federated

    # Not by its import: that would put the room below those that ask this one for the version.
    live: ModuleType

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "BadInput",
    "Constant",
    "Cosine",
    "Cyclic",
    "Damaged",
    "Federated",
    "Federation",
    "Landscape",
    "Layout",
    "Recipe",
    "Recorder",
    "Recording",
    "Step",
    "Trained",
    "Trajectory",
    "alignment",
    "attacks",
    "curvature",
    "data",
    "diagnose",
    "diagnosis",
    "every",
    "federated",
    "functions",
    "kernel",
    "live",
    "log_spaced",
    "merging",
    "models",
    "parallel",
    "paths",
    "probes",
    "report",
    "series",
    "spawn",
    "studies",
    "surface",
    "survey",
    "sweep",
    "sweeps",
    "theory",
    "train",
    "train_many",
]

# Rooms that are loaded when first used, and names with the room each is in.
_ROOMS = (
    "alignment",
    "attacks",
    "curvature",
    "diagnosis",
    "functions",
    "kernel",
    "live",
    "merging",
    "parallel",
    "paths",
    "series",
    "studies",
    "surface",
    "sweeps",
    "theory",
)
_LATER = {
    "Federated": "training",
    "Federation": "training",
    "diagnose": "diagnosis",
    "federated": "training",
    "sweep": "sweeps",
}
__getattr__ = later(__name__, {**dict.fromkeys(_ROOMS, ""), **_LATER})


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted({*globals(), *__all__})
